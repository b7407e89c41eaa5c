#!/usr/bin/env python3
"""Builds with --archive, --replay and --credential: what is kept, that it is enough, what
forged archives come to, and where credentials go. The servers are on the loopback
(network_lab.py).

usage: test_archive.py TEE_COMPILE [NAME...]"""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

from network_lab import Authority, Proxy, Site, Tls, basic, run_cases, serve

TOOL = os.path.abspath(sys.argv[1])
WANTED = sys.argv[2:]
LIMITS = {"memory": "1G", "disk": "512M", "timeout": "120s"}
HELLO = b"hello from far away\n"
BIG = os.urandom(1 << 20) * 3
SECRET = "Bearer s3cr3t-of-the-host"
DOWNLOAD = ("curl -fsS https://good.test/hello > out; curl -fsS https://good.test/hello >> out; "
            "curl -fsS https://sub.good.test/big > big; curl -fsS https://good.test/empty; "
            "curl -fsS -d question https://good.test/post >> out; "
            "curl -sS -o /dev/null -w '%{http_code}' https://good.test/none >> out; curl -fsSI https://good.test/big > /dev/null")


class Lab:
    def __init__(self, folder):
        self.root = Authority(folder)
        Site.files = {"/hello": HELLO, "/big": BIG, "/empty": b""}
        Site.seen = []
        self.port = serve(Tls(Site, *self.root.issue("good.test", "*.good.test"))).server_address[1]
        self.map = {("good.test", 443): self.port, ("sub.good.test", 443): self.port}
        self.proxy = Proxy(self.map)


class Project:
    def __init__(self, lab, base):
        self.lab, self.base = lab, base
        self.dir, self.out, self.net = base / "project", base / "release.tar", base / "net.tar"
        self.dir.mkdir()
        shutil.copy(lab.root.pem, self.dir / "root.pem")
        lab.proxy.asked.clear()
        lab.proxy.authorizations.clear()
        Site.seen.clear()

    def spec(self, cmd=DOWNLOAD, files=("out", "big"), mode="record"):
        network = {"mode": mode} if mode == "offline" else {"mode": mode, "ca": {"*.test": "root.pem"}}
        (self.dir / "build.json").write_text(json.dumps({
            "language": "c", "input": {"cmd": cmd}, "output": {"files": list(files)}, "limits": LIMITS,
            "network": network}))

    def run(self, *args, expect=0, env=None):
        done = subprocess.run([TOOL, *map(str, args)], capture_output=True, text=True, timeout=300,
                              env={**os.environ, **(env or {})}, check=False)
        assert done.returncode == expect, (f"{' '.join(map(str, args))}: exit {done.returncode}, expected {expect}\n"
                                           f"{done.stdout}\n{done.stderr}")
        return done

    def build(self, *args, expect=0, env=None):
        return self.run("build", "--image", "host", "--dir", self.dir, "--output", self.out, *args, expect=expect,
                        env={"https_proxy": self.lab.proxy.url, "no_proxy": "", **(env or {})})

    def replay(self, archive, expect=0, out=None):
        """Where nothing answers but the archive."""
        out = out or self.base / "again.tar"
        out.unlink(missing_ok=True)
        done = self.run("build", "--image", "host", "--dir", self.dir, "--output", out, "--replay", archive,
                        expect=expect, env={"https_proxy": "http://127.0.0.1:1", "no_proxy": ""})
        assert expect == 0 or not out.exists()
        return done

    def verify(self, bundle, *args, expect=0):
        home = os.environ.get("XDG_DATA_HOME") or f"{os.environ['HOME']}/.local/share"
        return self.run("verify", "--root", f"{home}/tee-compile/development-root.pem", "--allow-unmeasured", *args,
                        bundle, expect=expect)


def member(bundle, name):
    with tarfile.open(bundle) as tar:
        return tar.extractfile(name).read()


def transcript(bundle):
    return [json.loads(line) for line in member(bundle, "attestation/network.jsonl").splitlines()[1:]]


def statement(bundle):
    return json.loads(member(bundle, "attestation/statement.json"))


def members(archive):
    with tarfile.open(archive) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers()}


def write_archive(path, files):
    """As the host writes it; bodies are named by whoever calls."""
    def block(name, size):
        head = bytearray(512)
        head[:len(name)] = name.encode()
        head[100:108], head[108:116], head[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
        head[124:136], head[136:148] = b"%011o\0" % size, b"00000000000\0"
        head[148:156], head[156], head[257:265] = b" " * 8, ord("0"), b"ustar\00000"
        head[329:337], head[337:345] = b"0000000\0", b"0000000\0"
        head[148:156] = b"%06o\0 " % sum(head)
        return bytes(head)

    with open(path, "wb") as out:
        for name, body in files.items():
            out.write(block(name, len(body)) + body + bytes(-len(body) % 512))
        out.write(bytes(1024))


def sha256(data):
    return hashlib.sha256(data).hexdigest()


# --- archives ---

def test_archive_and_replay(p):
    p.spec()
    p.build("--archive", p.net)
    live = transcript(p.out)
    files = members(p.net)
    lines = [json.loads(line) for line in files["archive.jsonl"].splitlines()]
    assert [(e["method"], e["url"], e["status"]) for e in lines] == [
        (e["method"], e["url"], e["status"]) for e in live], lines
    assert [(e["sha256"], e["size"]) for e in lines] == [
        (e["response"]["sha256"], e["response"]["size"]) for e in live]
    # Each body once, by its digest, and all of them.
    assert {name for name in files if name != "archive.jsonl"} == {"bodies/" + e["sha256"] for e in lines}
    assert all(name == "bodies/" + sha256(body) for name, body in files.items() if name != "archive.jsonl")
    assert len(live) == 7 and len(files) == 6, files.keys()

    asked = len(Site.seen)
    p.replay(p.net)
    again = p.base / "again.tar"
    assert len(Site.seen) == asked
    for path in ("outputs/out", "outputs/big"):
        assert member(again, path) == member(p.out, path)
    assert all(e["origin"] == "archive" for e in transcript(again))
    network = statement(again)["predicate"]["buildDefinition"]["externalParameters"]["network"]
    assert sha256(files["archive.jsonl"]) in json.dumps(network), network
    # A replay proves nothing of where it came from, unless the live one is there.
    p.verify(again, expect=1)
    p.verify(again, "--allow-replayed")
    p.verify(again, "--live", p.out)
    p.verify(p.out)


def test_replay_has_nothing_else(p):
    p.spec()
    p.build("--archive", p.net)
    asked = len(Site.seen)
    for more, url in (("curl -sS https://good.test/other", "GET https://good.test/other"),
                      ("curl -sS -d another https://good.test/post", "POST https://good.test/post")):
        p.spec(f"curl -fsS https://good.test/hello > out; {more} > big; true")
        said = p.replay(p.net, expect=2).stderr
        assert url in said and "not in the archive" in said, said
        assert not (p.base / "again.tar").exists()
    assert len(Site.seen) == asked


def test_failed_build_leaves_no_archive(p):
    p.spec("curl -fsS https://good.test/hello > out; false", files=["out"])
    p.build("--archive", p.net, expect=1)
    assert not p.net.exists()
    assert sorted(f.name for f in p.base.iterdir()) == ["project", "release.tar.log"] or \
        sorted(f.name for f in p.base.iterdir()) == ["project"], list(p.base.iterdir())


def test_archive_in_the_project_is_no_source(p):
    p.spec()
    inside = p.dir / "net.tar"
    p.build("--archive", inside)
    first = statement(p.out)["predicate"]["buildDefinition"]
    p.build("--archive", inside)
    assert statement(p.out)["predicate"]["buildDefinition"]["resolvedDependencies"][0] == first[
        "resolvedDependencies"][0]
    p.replay(inside)


def test_forged_archives(p):
    """A host that changes what was kept: refused by the tool, or, by one that lets it
    pass, by the worker."""
    p.spec()
    p.build("--archive", p.net)
    files = members(p.net)
    hello = "bodies/" + sha256(HELLO)
    forged = p.base / "forged.tar"
    write_archive(forged, files)
    assert forged.read_bytes() == p.net.read_bytes()

    # Another body under the old name, of the same size.
    write_archive(forged, {**files, hello: b"HELLO from far away\n"})
    done = p.replay(forged, expect=2)
    assert "good.test/hello" in done.stderr or "body" in done.stderr, done.stderr
    # Of another size, and none.
    write_archive(forged, {**files, hello: HELLO + b"!"})
    p.replay(forged, expect=2)
    write_archive(forged, {name: body for name, body in files.items() if name != hello})
    p.replay(forged, expect=2)
    # A line spelled otherwise, one twice, one less: the last two are archives, but others.
    index = files.pop("archive.jsonl")
    write_archive(forged, {**files, "archive.jsonl": index.replace(b'"status":200', b'"status": 200', 1)})
    p.replay(forged, expect=2)
    lines = index.splitlines(keepends=True)
    write_archive(forged, {**files, "archive.jsonl": b"".join(lines + lines[:1])})
    p.replay(forged)
    p.verify(p.base / "again.tar", "--live", p.out)
    # One that is right in itself and tells another story: a replay, and no more.
    other = b"HELLO from far away\n"
    changed = {name: body for name, body in files.items() if name != hello}
    changed["bodies/" + sha256(other)] = other
    changed["archive.jsonl"] = index.replace(sha256(HELLO).encode(), sha256(other).encode())
    write_archive(forged, changed)
    p.replay(forged)
    again = p.base / "again.tar"
    assert member(again, "outputs/out").startswith(other)
    p.verify(again, expect=1)
    p.verify(again, "--live", p.out, expect=1)
    # What is no archive.
    forged.write_bytes(p.net.read_bytes()[:-512])
    assert "build --archive" in p.replay(forged, expect=2).stderr
    forged.write_bytes(b"")
    p.replay(forged, expect=2)
    p.replay(p.out, expect=2)
    p.replay(p.base / "nowhere.tar", expect=2)


# --- credentials ---

def seen_authorizations():
    return {(host, headers.get("Authorization")) for host, _, _, headers in Site.seen}


def test_credentials(p):
    secret = p.base / "secret"
    secret.write_text(f"Authorization: {SECRET}\n")
    p.spec("curl -fsS https://good.test/hello > out; curl -fsS https://sub.good.test/big > big; env > env; "
           "cat /proc/*/environ >> env 2>/dev/null; true", files=["out", "big", "env"])
    p.build("--credential", f"good.test={secret}", "--archive", p.net)
    assert seen_authorizations() == {("good.test", SECRET), ("sub.good.test", None)}, seen_authorizations()
    for path in (p.out, p.net, pathlib.Path(f"{p.out}.log")):
        assert not path.exists() or b"s3cr3t" not in path.read_bytes(), path
    # The host's own wins over what the build sends, and is the only one.
    Site.seen.clear()
    p.spec("curl -fsS -H 'Authorization: mine' https://good.test/hello > out", files=["out"])
    p.build("--credential", f"good.test={secret}")
    assert seen_authorizations() == {("good.test", SECRET)}, seen_authorizations()


def test_bad_credentials(p):
    p.spec()
    for text in ("", "s3cr3t", "Authorization: a\nHost: b", "Host: s3cr3t", "Content-Length: 3", "A b: s3cr3t",
                 "Authorization: s3cr3t\x01", "Authorization: s3cr3t  b", "Authorization:", "A: " + "s3cr3t" * 2000):
        secret = p.base / "secret"
        secret.write_text(text)
        done = p.build("--credential", f"good.test={secret}", expect=2)
        assert "--credential good.test=" in done.stderr and "s3cr3t" not in done.stderr, done.stderr
    secret.write_text(f"Authorization: {SECRET}")
    for option in ("good.test", f"={secret}", "good.test=", f"GOOD.test={secret}", f"*.test={secret}",
                   f"good.test={p.base}/none", f"good.test={p.base}"):
        assert "--credential" in p.build("--credential", option, expect=2).stderr
    one = ("--credential", f"good.test={secret}")
    assert "same name" in p.build(*one, *one, expect=2).stderr
    p.build(*one * 65, expect=2)
    assert not Site.seen and not p.lab.proxy.asked


# --- the rest of the command line ---

def test_options(p):
    p.spec()
    assert "do not go together" in p.build("--archive", p.net, "--replay", p.net, expect=2).stderr
    assert "name of its own" in p.build("--archive", p.out, expect=2).stderr
    p.out.write_bytes(b"an archive")
    assert "name of its own" in p.build("--replay", p.out, expect=2).stderr and p.out.exists()
    p.out.unlink()
    p.build("--archive", p.base / "nowhere" / "net.tar", expect=2)
    for url in ("socks5://127.0.0.1:1", "https://127.0.0.1:1", "http://:secret@"):
        done = p.build(expect=2, env={"https_proxy": url})
        assert "proxy in the environment" in done.stderr and "secret" not in done.stderr, done.stderr
    p.spec("echo > out", files=["out"], mode="offline")
    for option in (("--archive", p.net), ("--replay", p.net), ("--credential", "a=b")):
        assert "offline" in p.build(*option, expect=2).stderr
    # Without a network its proxy is nobody's business.
    p.build(env={"https_proxy": "socks5://127.0.0.1:1"})
    assert not p.net.exists() and not p.lab.proxy.asked


def test_proxy_with_a_password(p):
    p.spec("curl -fsS https://good.test/hello > out", files=["out"])
    url = p.lab.proxy.url.replace("http://", "http://user:p%40ss@")
    p.build(env={"https_proxy": url})
    assert set(p.lab.proxy.authorizations) == {basic("user", "p@ss")}
    assert b"127.0.0.1" not in member(p.out, "attestation/network.jsonl")
    # Where it is not to be used: the name leads nowhere from here.
    done = p.build(expect=2, env={"https_proxy": url, "no_proxy": "good.test"})
    assert "good.test" in done.stderr
    assert len(p.lab.proxy.authorizations) == 1


if __name__ == "__main__":
    run_cases(globals(), WANTED, Lab, Project)
