#!/usr/bin/python3
"""Reports of builds with a network, as people and scripts see them.

test_network_report.py TEE_COMPILE MAKE_BUNDLE
"""
import json
import os
import subprocess
import sys
import tempfile

TOOL, MAKE_BUNDLE = (os.path.abspath(path) for path in sys.argv[1:3])


def expect(what, seen, expected):
    if seen != expected:
        sys.exit(f"{what}: expected {expected!r}, saw {seen!r}")


def contains(what, text, *parts):
    for part in parts:
        if part not in text:
            sys.exit(f"{what}: {part!r} is not in {text!r}")


def run(base, *words):
    done = subprocess.run([TOOL, *words], cwd=base, capture_output=True, text=True, check=False,
                          env={**os.environ, "XDG_DATA_HOME": f"{base}/data"})
    return done.returncode, done.stdout, done.stderr


def make(base, name, *words):
    subprocess.run([MAKE_BUNDLE, f"{base}/{name}.tar", f"{base}/{name}.pem", *words], check=True)
    with open(f"{base}/{name}.tar", "rb") as file:
        data = file.read()
    at = data.index(b'{"_type":')
    statement, _ = json.JSONDecoder().raw_decode(data[at:].split(b"\n")[0].split(b"\0")[0].decode())
    image = statement["predicate"]["buildDefinition"]["resolvedDependencies"][1]
    return image["digest"]["sha384"]


def check_report(base):
    code, out, _ = run(base, "report", "network.tar")
    expect("report", code, 0)
    lines = out.splitlines()
    contains("first", lines[1], "extra CA", "registry.corp  certs/ca.pem  sha256 caca")
    contains("report", out, "every port (nftables); 5 exchanges", "plain HTTP   deb.example.org",
             "not recorded git.example.org:22", "pinned       2 of 4 downloads",
             "witnessed    https://git.example.org/app.git", "witnessed    refs/heads/main",
             "https://index.example.org/a/b?token=[redacted]")
    first = next(line for line in lines if line.endswith("static.example.org"))
    expect("row", first.split(), ["2", "10", "B", "2/2", "static.example.org"])
    code, out, _ = run(base, "report", "network.tar", "--markdown")
    expect("markdown", code, 0)
    contains("markdown", out.splitlines()[4], "| extra CA |")
    code, out, _ = run(base, "report", "network.tar", "--json")
    expect("json", code, 0)
    hosts = {row["host"]: row for row in json.loads(out)["hosts"]}
    expect("json row", hosts["deb.example.org"],
           {"host": "deb.example.org", "exchanges": 1, "bytes": 5, "bodies": 1, "pinned": 0,
            "denied": 0, "plain_http": True, "opaque": False})
    code, out, _ = run(base, "report", "replayed.tar")
    contains("replayed", out, "replayed     from the archive afaf")


def checks_of(out):
    return {check["name"]: check["result"] for check in json.loads(out)["checks"]}


def check_verify(base, pcr0):
    common = ("verify", "--root", "network.pem", "network.tar")
    code, out, _ = run(base, *common, "--json")
    expect("unauthenticated", code, 1)
    expect("network", json.loads(out)["network"],
           {"extra_ca": [{"host": "registry.corp", "path": "certs/ca.pem", "sha256": "ca" * 32}],
            "mode": "record", "replayed": False, "downloads": 4, "pinned": 2,
            "plain_http": ["deb.example.org"], "opaque": ["git.example.org:22"]})
    expect("the one that failed", [n for n, r in checks_of(out).items() if r == "fail"], ["unauthenticated"])
    code, out, _ = run(base, *common, "--allow-unauthenticated")
    expect("allowed", code, 0)
    contains("allowed", out, "NOT ALL OF IT IS AUTHENTICATED", "EXTRA CA     for registry.corp")
    code, out, _ = run(base, "verify", "--root", "replayed.pem", "replayed.tar")
    expect("replayed", code, 1)
    contains("replayed", out, "give the bundle of the live build with --live")
    code, out, _ = run(base, "verify", "--root", "replayed.pem", "replayed.tar", "--allow-replayed")
    expect("replay allowed", code, 0)
    contains("replay allowed", out, "REPLAYED: the builder's archive")
    # The live bundle has another root here: it counts for nothing, and the answer is no.
    code, out, _ = run(base, "verify", "--root", "replayed.pem", "replayed.tar", "--live", "network.tar")
    expect("live of another root", code, 1)
    contains("live of another root", out, "the live bundle is refused")
    for words in (("--live", "-"), ("--live", "nowhere.tar"), ("--live", "a", "--live", "b")):
        code, _, err = run(base, "verify", "--root", "replayed.pem", "replayed.tar", *words)
        expect(f"{words}", code, 2)
        contains(f"{words}", err, "--live" if "nowhere.tar" not in words else "nowhere.tar")
    # A path is quoted as it was given: a backslash of it is no escape of the message's.
    code, _, err = run(base, "verify", "--root", "replayed.pem", "replayed.tar", "--live", "no\\x1b\x1b.tar")
    expect("a path with an escape", code, 2)
    contains("a path with an escape", err, "cannot open no\\x5cx1b\\x1b.tar: ")
    folder = os.path.join(base, "a\\b")
    os.mkdir(folder)
    code, _, err = run(base, "verify", "--root", "replayed.pem", "replayed.tar", "--live", folder)
    expect("a folder", code, 2)
    contains("a folder", err, "--live " + folder.replace("\\", "\\x5c") + ": ")
    expect("PCR0", pcr0, "10" * 48)


def main():
    with tempfile.TemporaryDirectory() as base:
        pcr0 = make(base, "network", "network")
        make(base, "replayed", "replayed")
        code, _, err = run(base, "image", "trust", "add", "--pcr0", pcr0, "--name", "c")
        expect(err, code, 0)
        check_report(base)
        check_verify(base, pcr0)
    print("reports of builds with a network: as they should be")


if __name__ == "__main__":
    main()
