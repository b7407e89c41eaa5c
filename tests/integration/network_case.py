"""What the tests of builds that download share: a site under several names with good certificates and
with bad ones (network_lab.py), and a project that is built against it on the local back end."""
import hashlib
import json
import os
import shutil
import socketserver
import subprocess
import sys
import tarfile

import network_lab
from network_lab import Authority, Proxy, Server, Site, Tls, serve

TOOL = os.path.abspath(sys.argv[1])
WANTED = sys.argv[2:]
LIMITS = {"memory": "1G", "disk": "512M", "timeout": "120s"}
HELLO = b"hello from far away\n"
BIG = os.urandom(1 << 20) * 3
GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false", "-c",
       "init.defaultBranch=main"]


class Lab:
    """One site under several names, with good certificates and with bad ones."""

    def __init__(self, folder):
        self.folder = folder
        self.root, self.stranger = Authority(folder), Authority(folder, "stranger")
        Site.files = {"/hello": HELLO, "/big": BIG, "/empty": b"", "/pack.gz": b"\x1f\x8b\x08not really"}
        Site.git_root = folder / "git"
        good = self.tls(*self.root.issue("good.test", "*.good.test"))
        plain = serve(Server(("127.0.0.1", 0), Site)).server_address[1]
        self.map = {
            ("good.test", 443): good, ("sub.good.test", 443): good, ("good.test", 80): plain,
            ("plain.test", 80): plain, ("plain.test", 443): plain,
            ("wrong.test", 443): self.tls(*self.root.issue("other.test")),
            ("expired.test", 443): self.tls(*self.root.issue("expired.test", days=-1)),
            ("stranger.test", 443): self.tls(*self.stranger.issue("stranger.test")),
            ("raw.test", 4711): serve(Server(("127.0.0.1", 0), Echo)).server_address[1],
        }
        self.proxy = Proxy(self.map)

    def tls(self, chain, key):
        return serve(Tls(Site, chain, key)).server_address[1]


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(4096):
            self.request.sendall(data.upper())


class Project:
    def __init__(self, lab, base):
        self.lab, self.base = lab, base
        self.dir, self.out = base / "project", base / "release.tar"
        self.dir.mkdir()
        shutil.copy(lab.root.pem, self.dir / "root.pem")
        lab.proxy.asked.clear()

    def spec(self, cmd, files=("out",), hosts=("*.test",), limits=None, **network):
        network.setdefault("mode", "record")
        network.setdefault("ca", {host: "root.pem" for host in hosts})
        spec = {"language": "c", "input": {"cmd": cmd}, "output": {"files": list(files)},
                "limits": limits or LIMITS, "network": network}
        (self.dir / "build.json").write_text(json.dumps(spec))

    def run(self, *args, expect=0, env=None):
        done = subprocess.run([TOOL, *map(str, args)], capture_output=True, text=True, timeout=300,
                              env={**os.environ, **(env or {})}, check=False)
        assert expect is None or done.returncode == expect, (f"{' '.join(map(str, args))}: exit {done.returncode}, expected {expect}\n"
                                           f"{done.stdout}\n{done.stderr}")
        return done

    def build(self, *args, expect=0, env=None):
        return self.run("build", "--image", "host", "--dir", self.dir, "--output", self.out, *args, expect=expect,
                        env={"HTTPS_PROXY": self.lab.proxy.url, "NO_PROXY": "", **(env or {})})

    def verify(self, *args, expect=0):
        return self.run("verify", "--root", development_root(), "--allow-unmeasured", *args, self.out, expect=expect)

    def member(self, name):
        with tarfile.open(self.out) as tar:
            return tar.extractfile(name).read()

    def output(self, path="out"):
        return self.member(f"outputs/{path}")

    def transcript(self):
        lines = self.member("attestation/network.jsonl").decode().splitlines()
        return [json.loads(line) for line in lines[1:]]

    def statement(self):
        return json.loads(self.member("attestation/statement.json"))

    def dependencies(self):
        found = self.statement()["predicate"]["buildDefinition"]["resolvedDependencies"]
        return {(d["uri"], d["digest"]["sha256"]) for d in found if "uri" in d and "sha256" in d["digest"]}

    def fails(self, *words, cmd=None, status=2, **network):
        """The build ends unsigned, and says why, though its command would go on."""
        if cmd:
            self.spec(cmd, **network)
        done = self.build(expect=status)
        assert not self.out.exists()
        for word in words:
            assert word in done.stderr, f"no {word!r} in\n{done.stderr}"
        return done.stderr


def development_root():
    home = os.environ.get("XDG_DATA_HOME") or f"{os.environ['HOME']}/.local/share"
    return f"{home}/tee-compile/development-root.pem"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def main(names):
    network_lab.run_cases(names, WANTED, Lab, Project)
