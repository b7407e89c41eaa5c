#!/usr/bin/env python3
"""Builds that download, on the local back end: what they get, what is written down, and
what ends them. The servers are on the loopback (network_lab.py).

usage: test_network.py TEE_COMPILE [NAME...]"""
import glob
import hashlib
import json
import os
import resource
import shutil
import ssl
import subprocess
import sys
import tarfile
import time

import image_lab
from network_lab import Authority, Proxy, Server, Site, Tls, run_cases, serve

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


class Echo(__import__("socketserver").BaseRequestHandler):
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


# --- what works ---

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


def test_forged_archive(p):
    """The host may change what it keeps: not one byte of it reaches a build that is signed."""
    net = p.base / "net.tar"
    p.spec("curl -fsS https://good.test/hello > out")
    p.build("--archive", net)
    p.out.unlink()
    data = net.read_bytes()
    assert HELLO in data
    net.write_bytes(data.replace(HELLO, HELLO.upper()))
    p.build("--replay", net, expect=None)
    assert not p.out.exists()


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


# --- what build.json allows ---

def test_host_that_is_not_allowed(p):
    p.spec("curl -sS https://good.test/hello > out || true; curl -fsS https://sub.good.test/hello >> out",
           allow=["*.good.test"])
    p.build()
    p.verify()
    denied = [e for e in p.transcript() if e["outcome"] == "denied"]
    assert len(denied) == 1 and "good.test" in denied[0]["reason"] and "allow" in denied[0]["reason"], denied
    assert ("good.test", 443) not in p.lab.proxy.asked


def test_refusals_stand_in_the_log(p):
    """Programs that show a bare 403 would leave their user without the reason."""
    said = p.fails('tee-compile: refused: good.test:443: not in network.allow of build.json: add "good.test"',
                   "tee-compile: refused: 198.51.100.1:80: ", "tee-compile: refused: [2001:db8::1]:80: ", status=1,
                   allow=[], cmd="for i in 1 2; do curl -fsS https://good.test/$i || true; done; "
                   "curl -gfsS 'http://[2001:db8::1]/' || curl -fsS http://198.51.100.1/")
    log = p.out.with_name(f"{p.out.name}.log").read_text()
    assert said.count("refused: good.test") == 1 and "tee-compile: refused: good.test" in log, (said, log)
    many = p.fails("more, not shown", status=1, allow=[],
                   cmd="for i in $(seq 9); do curl -fsS https://h$i.test/ || true; done; false")
    assert many.count("tee-compile: refused: h") == 8, many
    assert "refused: " not in p.fails(cmd="curl -fsS https://good.test/hello; false", status=1)


def test_plain_http(p):
    p.spec("curl -sS http://plain.test/hello > out || true")
    p.build()
    p.verify()
    assert "plain_http" in json.dumps(p.transcript()) and p.lab.proxy.asked == []
    p.spec("curl -fsS http://plain.test/hello > out", plain_http=["plain.test"])
    p.build()
    assert p.output() == HELLO
    p.verify(expect=1)
    p.verify("--allow-unauthenticated")


def test_the_hint_is_the_command_that_works(p):
    p.spec("curl -fsS http://plain.test/hello > out", plain_http=["plain.test"])
    for option, words in (("--archive", ["--allow-unauthenticated"]),
                          ("--replay", ["--allow-unauthenticated", "--allow-replayed"])):
        hint = p.build(option, p.base / "net.tar").stderr.split("check it: tee-compile ")[1].splitlines()[0]
        assert [word for word in hint.split() if word.startswith("--allow-un") or word == "--allow-replayed"] == [
            "--allow-unmeasured", *words], hint
        check = subprocess.run(["sh", "-c", f'"$0" {hint}', TOOL], capture_output=True, text=True, check=False)
        assert check.returncode == 0, (hint, check.stdout)
        p.out.unlink()


def test_opaque(p):
    asks = "exec 3<>/dev/tcp/raw.test/4711; echo shout >&3; head -n1 <&3 > out"
    p.spec(asks, opaque=["raw.test:4711"])
    p.build()
    assert p.output() == b"SHOUT\n"
    p.verify(expect=1)
    p.verify("--allow-unauthenticated")
    p.spec(f"({asks}) || echo refused > out; test -s out || echo refused > out")
    p.build()
    assert p.output() == b"refused\n"
    p.verify()


def test_pinned(p):
    url = "https://good.test/hello"
    p.spec(f"curl -fsS {url} > out; curl -sS https://good.test/big > /dev/null || true", mode="pinned",
           pinned=[{"url": url, "sha256": sha256(HELLO)}])
    p.build()
    p.verify()
    assert [e["outcome"] for e in p.transcript()] == ["ok", "denied"]
    p.out.unlink()
    p.fails(cmd=f"curl -fsS {url} > out || true; echo > out", mode="pinned",
            pinned=[{"url": url, "sha256": sha256(b"other")}])


def test_what_build_json_pins_is_pinned_by_the_source(p):
    url = "http://plain.test/hello"
    p.spec(f"curl -fsS {url} > out", mode="pinned", plain_http=["plain.test"],
           pinned=[{"url": url, "sha256": sha256(HELLO)}])
    p.build()
    assert [e["pinnedBy"] for e in p.transcript()] == ["build.json"]
    policy = p.base / "policy.json"
    policy.write_text(json.dumps({"type": "tee-compile/policy/1", "network": {"pinned_only": True}}))
    p.verify("--policy", policy)


# --- what ends a build unsigned, whatever its command makes of it ---

PLACE = "etc/tee-compile/denied-certificates"
GO_ON = "curl -sS --max-time 60 https://{}/hello > out || true; echo > out"


def test_wrong_name(p):
    p.fails("wrong.test", "other names", cmd=GO_ON.format("wrong.test"))


def test_expired(p):
    p.fails("expired.test", cmd=GO_ON.format("expired.test"))


def test_unknown_authority(p):
    p.fails("stranger.test", "network.ca", cmd=GO_ON.format("stranger.test"))


def test_authority_counts_for_its_host_alone(p):
    p.fails("good.test", cmd=GO_ON.format("good.test"), hosts=("sub.good.test",))


def test_plain_text_where_tls_belongs(p):
    p.fails("plain.test", "not TLS", cmd=GO_ON.format("plain.test"))


def test_no_such_host(p):
    p.fails("nowhere.test", cmd=GO_ON.format("nowhere.test"))


def test_body_that_is_cut(p):
    p.fails("good.test", cmd="curl -sS https://good.test/cut > out || true; echo > out")


def test_denied_certificates(p):
    """The deny list of an image: what it names is no server, and it is named itself."""
    if not (os.geteuid() == 0 or (shutil.which("erofsfuse") and os.access("/dev/fuse", os.R_OK | os.W_OK))):
        print("no image can be mounted here: test_denied_certificates is passed over")
        return
    chain, _ = p.lab.root.issue("good.test", "*.good.test")
    der = ssl.PEM_cert_to_DER_cert(chain.read_text())
    lists = {"none": "# nobody\n", "leaf": f"certificate {sha256(der)}\n", "broken": f"certificate {sha256(der)}"}
    for name, text in lists.items():
        (p.base / name).mkdir()
        image = image_lab.Image(p.base / name, name, files={PLACE: text, "etc/resolv.conf": ""},
                                programs=(*image_lab.PROGRAMS, "curl"))
        p.spec("curl -fsS https://good.test/hello > out" if name == "none" else GO_ON.format("good.test"))
        done = p.build("--image", image.eif, expect=0 if name == "none" else 2)
        if name == "none":
            network = p.statement()["predicate"]["buildDefinition"]["externalParameters"]["network"]
            assert network["deniedCertificates"] == {"count": 0, "digest": {"sha256": sha256(text.encode())}}, network
            assert sha256(text.encode()) in p.run("report", p.out).stdout
            p.out.unlink()
            continue
        assert not p.out.exists()
        for word in {"leaf": ("CN=good.test", f"certificate {sha256(der)}", PLACE), "broken": (PLACE, "line 1")}[name]:
            assert word in done.stderr, f"no {word!r} in\n{done.stderr}"


def test_missing_authority_file(p):
    p.fails("none.pem", cmd="echo > out", status=1, ca={"good.test": "none.pem"})


# --- attacks from inside ---

def test_other_protocols(p):
    """ssh, git://, DNS over TLS and bare TCP meet nobody, and are written down."""
    p.spec("for port in 22 853 9418 21; do (timeout 20 bash -c \"exec 3<>/dev/tcp/good.test/$port; "
           "echo SSH-2.0-x >&3; cat <&3\" || true) >> out 2>&1; done; "
           "timeout 20 git clone -q git://good.test/thing.git >> out 2>&1 || true")
    p.build()
    p.verify()
    assert p.lab.proxy.asked == []
    assert all(e["outcome"] == "denied" for e in p.transcript()) and p.transcript()


CROWD = """
import select, socket, sys
talk = sys.argv[1] == 'talk'
poller, socks, address = select.epoll(), {}, socket.gethostbyname('plain.test')
ready = served = 0


def look(patience):
    global ready
    for fd, _ in poller.poll(patience):
        ready += 1
        if talk:
            socks[fd].send(b'GET /empty HTTP/1.1\\r\\nHost: plain.test\\r\\nConnection: close\\r\\n\\r\\n')
        poller.unregister(fd)


for _ in range(10000):
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex((address, 80))
    socks[sock.fileno()] = sock
    poller.register(sock, select.EPOLLOUT)
    look(0)
while ready < len(socks):
    look(-1)
for sock in socks.values():
    if talk:
        sock.settimeout(3000)
        served += sock.recv(65536).startswith(b'HTTP/1.1 200')
open('out', 'w').write(str(served))
"""


def workers_below(pid):
    """Peaks of memory, in kilobytes, of the worker's processes below this one."""
    parents, peaks = {}, {}
    for folder in glob.glob("/proc/[0-9]*"):
        try:
            with open(f"{folder}/status") as file:
                said = dict(line.split(":", 1) for line in file if ":" in line)
        except OSError:
            continue
        number = int(folder.rpartition("/")[2])
        parents[number] = int(said["PPid"])
        if said["Name"].strip().startswith("tee-compile") and "VmHWM" in said:
            peaks[number] = int(said["VmHWM"].split()[0])

    def is_below(number):
        while number > 1 and number != pid:
            number = parents.get(number, 0)
        return number == pid
    return [peak for number, peak in peaks.items() if number != pid and is_below(number)]


def test_ten_thousand_connections(p):
    """All open at once: they are served, or the build ends and says why; it never hangs, and what
    the worker needs has a bound."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 16384:
        print("fewer descriptors than a build has elsewhere: test_ten_thousand_connections is passed over")
        return
    (p.dir / "crowd.py").write_text(CROWD)
    for how, served in ("silent", 0), ("talk", 10000):
        p.spec(f"/usr/bin/python3 crowd.py {how}", limits={**LIMITS, "timeout": "60m"}, plain_http=["plain.test"])
        building = subprocess.Popen([TOOL, "build", "--image", "host", "--dir", p.dir, "--output", p.out],
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                    env={**os.environ, "HTTPS_PROXY": p.lab.proxy.url, "NO_PROXY": ""})
        peak = 0
        while building.poll() is None:
            peak = max([peak, *workers_below(building.pid)])
            time.sleep(0.2)
        said = building.communicate()[1]
        assert 0 < peak < 256 << 10, peak
        if building.returncode == 0:
            assert p.output() == b"%d" % served, p.output()
            assert len(p.transcript()) == served
            p.verify("--allow-unauthenticated")
            p.out.unlink()
            continue
        assert building.returncode == 2 and not p.out.exists(), said
        assert "waited for one of the recorder's connections" in said, said


def test_slow_queries_over_tcp(p):
    """Whoever sends a query byte by byte, or none, keeps nobody else waiting."""
    (p.dir / "slow.py").write_text("""
import socket, subprocess, sys, time
server = open('/etc/resolv.conf').read().split()[1]
slow = socket.create_connection((server, 53))
silent = [socket.create_connection((server, 53)) for _ in range(100)]
curl = subprocess.Popen(['curl', '-fsS', '--max-time', '40', 'https://good.test/hello', '-o', 'out'])
while curl.poll() is None:
    try:
        slow.send(b'\\0')
    except OSError:
        pass
    time.sleep(0.3)
sys.exit(curl.returncode)
""")
    p.spec("/usr/bin/python3 slow.py")
    p.build()
    assert p.output() == HELLO
    p.verify()
    assert any("queries over TCP" in e["reason"] for e in p.transcript() if e["outcome"] == "denied")


def test_metadata_and_addresses(p):
    p.spec("for to in http://169.254.169.254/latest/meta-data http://127.0.0.1:1/ https://192.0.2.1/ "
           "'http://[fd00:ec2::254]/'; do curl -gsS --max-time 20 $to >> out 2>&1 || true; done")
    p.build()
    p.verify()
    assert p.lab.proxy.asked == []
    assert {e["outcome"] for e in p.transcript()} == {"denied"}


def test_host_other_than_sni(p):
    p.spec("curl -sS -H 'Host: evil.test' https://good.test/hello > out || true; "
           "curl -sSk --connect-to good.test:443:sub.good.test:443 https://good.test/hello >> out || true")
    p.build()
    p.verify()
    assert ("evil.test", 443) not in p.lab.proxy.asked
    assert p.transcript()[0]["outcome"] == "denied"


def test_smuggling(p):
    """Heads with two readings are refused, and none of them reaches a server."""
    (p.dir / "smuggle.py").write_text(r"""
import socket, ssl
context = ssl.create_default_context()
for head in (b"GET /hello HTTP/1.1\nHost: good.test\n\n",
             b"GET /hello HTTP/1.1\r\nHost: good.test\r\nX: a\r\n b\r\n\r\n",
             b"POST /p HTTP/1.1\r\nHost: good.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
             b"GET /hello HTTP/1.1\r\nHost: good.test\r\nHost: evil.test\r\n\r\n",
             b"GET https://evil.test/hello HTTP/1.1\r\nHost: good.test\r\n\r\n",
             b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n"):
    with context.wrap_socket(socket.create_connection(("good.test", 443)), server_hostname="good.test") as s:
        s.settimeout(20)
        s.sendall(head)
        answer = b""
        try:
            while piece := s.recv(4096):
                answer += piece
        except OSError:
            pass
        assert b" 200 " not in answer, (head, answer)
open("out", "w").write("refused all\n")
""")
    p.spec("/usr/bin/python3 smuggle.py")
    p.build()
    p.verify()
    assert p.output() == b"refused all\n" and p.lab.proxy.asked == []


def test_credentials_of_the_build_are_redacted(p):
    p.spec("curl -fsS -H 'Authorization: Bearer abcdefgh12345678' "
           "'https://good.test/hello?access_token=abcdefgh12345678' > out")
    p.build()
    p.verify()
    assert b"abcdefgh12345678" not in p.member("attestation/network.jsonl")


def test_forged_transcript(p):
    p.spec("curl -fsS https://good.test/hello > out")
    p.build()
    bundle = p.out.read_bytes()
    for old, new in ((b'"status":200', b'"status":201'), (b"good.test/hello", b"good.test/hellO")):
        assert old in bundle
        p.out.write_bytes(bundle.replace(old, new, 1))
        p.verify(expect=1)


if __name__ == "__main__":
    # The one that takes long is a test of its own.
    run_cases({name: case for name, case in globals().items() if WANTED or case is not test_ten_thousand_connections},
              WANTED, Lab, Project)
