#!/usr/bin/python3
"""network.py QEMU_FOLDER BUILD_FOLDER IMAGE.eif EROFS MEMORY [LIMIT=VALUE...]: builds that
download in an enclave, over the whole way: the sandbox's namespace, the recorder, the
guest's vsock, our device, the launcher's egress, a CONNECT proxy, local servers. EROFS is
the file of the image's toolchain, which needs bash and curl, "-" for an image that has it
inside. Nothing leaves the loopback.

  1. HTTPS under a root of the source, plain HTTP where build.json allows it, many at once.
     The kernel redirects by nftables; the transcript and the dependencies are what the
     servers sent; addresses, UDP and IPv6 lead nowhere; the document is refused for its
     missing signature alone, and passes once a root of ours has signed it.
  2. The same kept in an archive and replayed: nobody is dialled, the outputs are the same,
     and `verify` wants the live build beside it.
  3. The host's egress ends in the middle of a body, before it, and below a command that goes
     on: no bundle, and the client is told why.
"""
import datetime
import hashlib
import json
import os
import pathlib
import shutil
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, f"{HERE}/../../integration"]
import boot  # noqa: E402
import recipe  # noqa: E402
from network_lab import Authority, Proxy, Server, Site, Tls, serve  # noqa: E402

HELLO, BIG = b"hello from far away\n", os.urandom(1 << 20) * 3
MANY = 12
OUTPUTS = ["out", "big", "many", "said"]

# What must not lead anywhere fails, or the build does, and `said` has why. The second
# datagram of a socket meets what came of the first: the kernel's word that nobody is there.
DATAGRAMS = ["192.0.2.1/443", "169.254.169.254/123", "fd00:ec2::254/443"]
SCRIPT = f"""set -euo pipefail
nowhere() {{ if "$@" >>said 2>&1; then echo "$* led somewhere" >&2; exit 1; fi; }}
datagrams() {{ exec 3<>"/dev/udp/$1"; echo x >&3; sleep 0.2; echo x >&3; }}
curl -fsS https://good.test/hello >out
curl -fsS http://plain.test/hello >>out
curl -fsS https://sub.good.test/big >big
for i in $(seq {MANY}); do curl -fsS https://good.test/hello >many.$i & done
wait
cat many.* >many
nowhere curl -fsS --max-time 120 http://169.254.169.254/latest/meta-data
nowhere curl -gfsS --max-time 120 'http://[fd00:ec2::254]/latest/meta-data'
nowhere curl -fsS --max-time 120 https://192.0.2.1/
nowhere curl -fsS --max-time 120 https://other.example/
for to in {' '.join(DATAGRAMS)}; do nowhere bash -euc "$(declare -f datagrams); datagrams $to"; done
"""


class Far(Site):
    """One body that does not end: after half of it the network goes, by `end`."""

    end = None

    def do_GET(self):
        if self.path != "/dies":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", str(len(BIG)))
        self.end_headers()
        self.wfile.write(BIG[:len(BIG) // 2])
        self.wfile.flush()
        Far.end()
        self.rfile.read()  # until the relay has gone
        self.close_connection = True
        return None


class Lab:
    def __init__(self, arguments, folder):
        emulator, build, self.image, erofs, self.memory, *limits = arguments
        self.folder, self.tool = folder, f"{build}/src/tee-compile"
        self.tools = boot.Tools(emulator, build, "launcher")
        self.pages = None if erofs == "-" else erofs
        self.limits = {"timeout": "1h", **dict(limit.split("=", 1) for limit in limits)}
        self.measured = recipe.measure(self.tool, self.image)
        self.signer = boot.make_root(datetime.datetime.now(datetime.timezone.utc))
        self.root = Authority(folder)
        Far.files = {"/hello": HELLO, "/big": BIG}
        tls = serve(Tls(Far, *self.root.issue("good.test", "*.good.test"))).server_address[1]
        plain = serve(Server(("127.0.0.1", 0), Far)).server_address[1]
        self.proxy = Proxy({("good.test", 443): tls, ("sub.good.test", 443): tls, ("plain.test", 80): plain})

    def project(self, name, script):
        folder = self.folder / name
        folder.mkdir()
        shutil.copy(self.root.pem, folder / "root.pem")
        (folder / "build.sh").write_text(script)
        (folder / "build.json").write_text(json.dumps({
            "language": "c", "input": {"cmd": "bash build.sh"}, "output": {"files": OUTPUTS},
            "limits": self.limits, "network": {
                "mode": "record", "allow": ["good.test", "*.good.test", "plain.test"], "plain_http": ["plain.test"],
                "ca": {"good.test": "root.pem", "*.good.test": "root.pem"}}}))
        return str(folder)

    def run(self, project, bundle, *options):
        self.proxy.asked.clear()
        network = boot.Network({"HTTPS_PROXY": self.proxy.url, "NO_PROXY": ""}, *options)
        Far.end = network.end
        with tempfile.TemporaryDirectory(prefix="tee-qemu-") as folder:
            return boot.launch(self.tools, folder, self.image, str(bundle), project, self.memory, self.pages, network)

    def whole(self, what, project, bundle, *options):
        outcome = self.run(project, bundle, *options)
        if outcome.status != 0:
            boot.explain(outcome)
        boot.check(f"{what} in {self.memory}", (outcome.status, outcome.ended), (0, 0))
        boot.tell_times(outcome)

    def judge(self, project, bundle, *options):
        """The folder with what `verify` took out."""
        folder = f"{bundle}.judged"
        os.mkdir(folder)
        boot.judge(self.tool, HERE, project, bundle, [self.measured[f"pcr{i}"] for i in range(3)], folder,
                   ["--allow-unauthenticated", *options], self.signer)
        *outputs, said = [pathlib.Path(f"{folder}/out/{name}").read_bytes() for name in OUTPUTS]
        boot.check("what was downloaded", outputs == [2 * HELLO, BIG, MANY * HELLO], True)
        boot.check("datagrams are refused", said.count(b"write error: Connection refused"), len(DATAGRAMS))
        return folder


def read(bundle):
    with tarfile.open(bundle) as tar:
        lines = tar.extractfile("attestation/network.jsonl").read().splitlines()
        return json.load(tar.extractfile(boot.STATEMENT)), [json.loads(line) for line in lines[1:]]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def check_record(bundle, origin):
    statement, lines = read(bundle)
    text = json.dumps(statement)
    boot.check("the kernel redirects", '"hijack": "nftables"' in text, True)
    good = [(e["url"], e["status"], e["response"]["sha256"]) for e in lines if e["outcome"] == "ok"]
    wanted = [("https://good.test/hello", HELLO), ("http://plain.test/hello", HELLO), ("https://sub.good.test/big", BIG)]
    boot.check("the transcript", sorted(good), sorted((url, 200, sha256(body)) for url, body in
                                                      wanted + MANY * wanted[:1]))
    boot.check("their origin", {e.get("origin") for e in lines if e["outcome"] == "ok"}, {origin})
    boot.check("what was refused", sorted(e["host"] for e in lines if e["outcome"] != "ok"),
               sorted(["169.254.169.254", "192.0.2.1", "fd00:ec2::254", "other.example"]))
    boot.check("and how", {e["outcome"] for e in lines if e["outcome"] != "ok"}, {"denied"})
    found = {(item["uri"], item["digest"].get("sha256"))
             for item in statement["predicate"]["buildDefinition"]["resolvedDependencies"] if "uri" in item}
    boot.check("each body is a dependency", {(url, sha256(body)) for url, body in wanted} <= found, True)


def try_record_and_replay(lab):
    live, replayed, archive = (lab.folder / name for name in ("live.tar", "replayed.tar", "net.tar"))
    project = lab.project("record", SCRIPT)
    lab.whole("a build that downloads", project, live, f"archive={archive}")
    boot.check("whom the host dialled", set(lab.proxy.asked),
               {("good.test", 443), ("sub.good.test", 443), ("plain.test", 80)})
    check_record(live, None)
    judged = lab.judge(project, live)

    lab.whole("the same replayed", project, replayed, f"replay={archive}")
    boot.check("nobody was dialled", lab.proxy.asked, [])
    check_record(replayed, "archive")
    again = lab.judge(project, replayed, "--allow-replayed")
    for options, status in (([], 1), (["--live", f"{judged}/signed.tar"], 0)):
        boot.check(f"verify of the replay with {options[:1]}", boot.verify(
            lab.tool, "--root", f"{again}/root.pem", "--allow-unauthenticated", "--pcr", f"0={lab.measured['pcr0']}",
            *options, f"{again}/signed.tar")[0], status)


def try_lost_egress(lab):
    for name, script in (("in the middle", "curl -fsS https://good.test/dies >out\n"),
                         ("and nobody minds", "curl -sS https://good.test/dies >out || true\n"),
                         ("and more is asked", "curl -sS https://good.test/dies >out || true\n"
                                               "curl -sS https://good.test/hello >>out || true\n")):
        bundle = lab.folder / f"{name}.tar"
        outcome = lab.run(lab.project(name, f"touch {' '.join(OUTPUTS)}; {script}"), bundle)
        print(f"   {outcome.said.strip().splitlines()[-1:]}")
        if outcome.ended != 0 or "good.test" not in outcome.said:
            boot.explain(outcome)
        boot.check(f"the host's egress ends, {name}: no bundle and an end",
                   (bundle.exists(), outcome.status, outcome.ended), (False, 1, 0))
        boot.check("and the client is told why", "good.test" in outcome.said, True)


def main():
    if len(sys.argv) < 6:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="tee-network-") as folder:
        lab = Lab(sys.argv[1:], pathlib.Path(folder))
        try_record_and_replay(lab)
        try_lost_egress(lab)
    print("network: every check passed")


if __name__ == "__main__":
    main()
