#!/usr/bin/env python3
"""Builds that download: what they get, and what is written down of it.

usage: test_network.py TEE_COMPILE [NAME...]"""
import hashlib
import json
import shutil
import subprocess

from network_case import BIG, GIT, HELLO, main, sha256
from network_lab import Site


def test_curl(p):
    p.spec("curl -fsS https://good.test/hello > out; curl -fsS https://sub.good.test/big > big", files=["out", "big"])
    p.build()
    assert p.output() == HELLO and p.output("big") == BIG
    p.verify()
    lines = p.transcript()
    assert [(e["host"], e["outcome"]) for e in lines] == [("good.test", "ok"), ("sub.good.test", "ok")], lines
    assert ("https://good.test/hello", sha256(HELLO)) in p.dependencies()
    assert ("https://sub.good.test/big", sha256(BIG)) in p.dependencies()
    assert p.lab.proxy.asked == [("good.test", 443), ("sub.good.test", 443)]


def test_wget(p):
    p.spec("wget -q -O out https://good.test/hello")
    p.build()
    assert p.output() == HELLO
    p.verify()


def test_python(p):
    p.spec("/usr/bin/python3 -c 'import urllib.request as u; "
           "open(\"out\", \"wb\").write(u.urlopen(\"https://good.test/hello\").read())'")
    p.build()
    assert p.output() == HELLO
    p.verify()


def test_git_clone(p):
    work, bare = p.base / "work", p.lab.folder / "git/thing.git"
    work.mkdir()
    (work / "file").write_text("in a repository\n")
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*GIT, *arguments], cwd=work, check=True, capture_output=True)
    shutil.rmtree(bare, ignore_errors=True)
    subprocess.run([*GIT, "clone", "-q", "--bare", work, bare], check=True, capture_output=True)
    p.spec("git clone -q https://good.test/git/thing.git thing; cp thing/file out")
    p.build()
    assert p.output() == b"in a repository\n"
    p.verify()
    assert {e["method"] for e in p.transcript()} == {"GET", "POST"}


def test_forms_of_bodies(p):
    p.spec("curl -fsS https://good.test/chunked > out; curl -fsSI https://good.test/big >> out; "
           "curl -fsSL https://good.test/moved >> out; curl -fsS https://good.test/empty >> out; "
           "curl -sS https://good.test/none >> out; curl -fsS --data-binary @root.pem https://good.test/post >> out; "
           "curl -fsS -H 'Transfer-Encoding: chunked' --data-binary @root.pem https://good.test/post >> out; "
           "curl -fsS https://good.test/hello https://good.test/hello >> out")
    p.build()
    p.verify()
    out = p.output()
    digest = sha256((p.dir / "root.pem").read_bytes()).encode()
    assert out.startswith(b"one\ntwo\n") and HELLO in out and out.count(digest) == 2 and out.endswith(2 * HELLO)
    assert [e["status"] for e in p.transcript()] == [200, 200, 302, 200, 200, 404, 200, 200, 200, 200]


def test_many_at_once(p):
    p.spec("for i in $(seq 40); do curl -fsS https://good.test/hello > o.$i & done; wait; cat o.* > out")
    p.build()
    assert p.output() == 40 * HELLO
    p.verify()
    assert len(p.transcript()) == 40


def test_collect_and_vendor_are_recorded(p):
    p.spec("cat vendored > out")
    spec = json.loads((p.dir / "build.json").read_text())
    spec["input"]["vendor"] = "curl -fsS https://good.test/hello > vendored"
    spec["input"]["collect"] = {"far": "curl -fsS https://good.test/empty"}
    (p.dir / "build.json").write_text(json.dumps(spec))
    p.build()
    p.verify()
    assert len(p.transcript()) == 2


def test_archive_and_replay(p):
    """What was kept serves the same build once more, and nobody is dialled for it."""
    net, live = p.base / "net.tar", p.base / "live.tar"
    p.spec("curl -fsS https://good.test/hello > out; curl -fsS https://good.test/chunked >> out; "
           "curl -sS https://good.test/none >> out; curl -fsS https://sub.good.test/big > big; "
           "curl -fsS --data-binary @root.pem https://good.test/post >> out", files=["out", "big"])
    p.build("--archive", net)
    p.verify()
    first = p.output(), p.output("big")
    p.out.rename(live)
    p.lab.proxy.asked.clear()
    p.build("--replay", net)
    assert (p.output(), p.output("big")) == first and p.lab.proxy.asked == []
    assert {e["origin"] for e in p.transcript()} == {"archive"}
    p.verify(expect=1)
    p.verify("--allow-replayed")
    p.verify("--live", live)
    # What is not in it ends the build unsigned: the host wrote the archive.
    p.out.unlink()
    p.spec("curl -fsS https://good.test/empty > out || echo refused > out")
    said = p.build("--replay", net, expect=2).stderr
    assert "https://good.test/empty" in said and "not in the archive" in said, said
    assert not p.out.exists() and p.lab.proxy.asked == []


def test_credentials(p):
    """The host's credential goes to its host alone, and is seen by nobody else."""
    secret = "Bearer s3cr3t-of-the-host"
    file = p.base / "credential"
    file.write_text(f"Authorization: {secret}\n")
    file.chmod(0o600)
    p.spec("curl -fsS https://good.test/hello > out; curl -fsS https://sub.good.test/hello >> out; env > env; "
           "cat /proc/*/environ /proc/*/cmdline >> env", files=["out", "env"])
    Site.seen = []
    try:
        p.build("--credential", f"good.test={file}")
        seen = {host: headers.get("Authorization") for host, _, _, headers in Site.seen}
    finally:
        Site.seen = None
    assert seen == {"good.test": secret, "sub.good.test": None}, seen
    p.verify()
    assert b"s3cr3t" not in p.out.read_bytes()


def test_witness(p):
    """The worker reads the ref itself, where build.json asks for it."""
    bare = p.lab.folder / "git/witness.git"
    shutil.rmtree(bare, ignore_errors=True)
    p.spec("echo > out", witness=True)
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "x"],
                      ["remote", "add", "origin", "https://good.test/git/witness.git"]):
        subprocess.run([*GIT, *arguments], cwd=p.dir, check=True, capture_output=True)
    subprocess.run([*GIT, "clone", "-q", "--bare", p.dir, bare], check=True, capture_output=True)
    net = p.base / "witness.net.tar"
    p.build("--archive", net)
    p.verify()
    assert "itnessed" in json.dumps(p.statement()), p.statement()
    assert [e["url"] for e in p.transcript()] == ["https://good.test/git/witness.git/info/refs?service=git-upload-pack"]
    # A replay asks nobody.
    p.out.unlink()
    said = p.build("--replay", net).stderr
    assert "not witnessed" in said, said
    assert "itnessed" not in json.dumps(p.statement()) and p.transcript() == []
    p.verify("--allow-replayed")
    # Not pushed: the server names another commit.
    p.out.unlink()
    subprocess.run([*GIT, "commit", "-q", "--allow-empty", "-m", "y"], cwd=p.dir, check=True, capture_output=True)
    assert "witness" in p.build(expect=1).stderr


def test_pins_of_the_source(p):
    (p.dir / "package-lock.json").write_text(json.dumps({
        "name": "x", "lockfileVersion": 3, "packages": {"": {"name": "x"}, "node_modules/hello": {
            "version": "1.0.0", "resolved": "https://good.test/hello", "integrity": "sha512-" +
            __import__("base64").b64encode(hashlib.sha512(HELLO).digest()).decode()}}}))
    p.spec("curl -fsS http://plain.test/hello > out", plain_http=["plain.test"])
    p.build()
    p.verify()  # without TLS, but pinned
    assert [e.get("pinnedBy") for e in p.transcript()] == ["package-lock.json"]


def test_offline_stays_offline(p):
    p.spec("! curl -sS --max-time 5 https://good.test/hello; env > out", mode="offline", ca={})
    spec = json.loads((p.dir / "build.json").read_text())
    spec["network"] = {"mode": "offline"}
    (p.dir / "build.json").write_text(json.dumps(spec))
    p.build()
    p.verify()
    assert p.transcript() == [] and b"SSL_CERT_FILE" not in p.output()


main(globals())
