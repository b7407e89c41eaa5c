#!/usr/bin/python3
"""boot.py QEMU_FOLDER PREPARED_FOLDER BUILD_FOLDER packaged|own|launcher: one enclave
image, booted by an independent implementation of the enclave's machine; over Debian's
vsock device, over the project's own, or all of it by the project's launcher.

  1. An image with the worker and a toolchain boots, takes one session with
     examples/c-hello and ends by itself.
  2. PCR0-2 of the document are those that a measurement in Python gives.
  3. The document is unsigned, as that machine makes them, and `verify` refuses the
     bundle for this reason and no other: with the same claims signed by a root of
     ours, given by name, the same bundle passes.
  4. With less and less memory there is a whole session or none.
  5. An image with the same PCR0 whose kernel has swallowed the first words of the
     command line gets no session.
  6. The same with the toolchain outside of the image, paged in; PCR1 is the first
     image's. A page server that lies, stalls or dies gets no session.
"""
import datetime
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import eif  # noqa: E402
from image import CMDLINE, PACKAGES, RECIPE, Parts  # noqa: E402

DOCUMENT = "attestation/document.cbor"
STATEMENT = "attestation/statement.json"
PATIENCE = 600  # seconds; a bound for a machine that hangs, not a claim about speed


def check(what, seen, expected):
    if seen != expected:
        sys.exit(f"FAILED: {what}: expected {expected!r}, saw {seen!r}")
    print(f"ok: {what}")


class Heartbeat(threading.Thread):
    """The parent's side of Nitro's sign of life."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.seen = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(4)
        self.start()

    def run(self):
        while True:
            peer = self.socket.accept()[0]
            byte = peer.recv(16)
            self.seen.append(byte)
            peer.sendall(byte)
            peer.close()


class Outcome:
    def __init__(self):
        self.status = None       # of the client: 0 with a whole bundle
        self.said = ""           # by the client
        self.console = ""
        self.ended = None        # QEMU's exit status
        self.heartbeats = []
        self.seconds = {}


def expect_listening(process):
    if process.stdout.readline() != "listening\n":
        sys.exit(f"FAILED: {process.args[0]} does not listen")


def wait_for(path, process):
    """No sleeping on a guess: until it is there or its maker is dead."""
    while not os.path.exists(path):
        if process.poll() is not None:
            sys.exit(f"FAILED: {process.args[0]} ended before {path} was there")
        time.sleep(0.01)


class Liar(threading.Thread):
    """A page server with one fault. Speaks NBD by its published description."""

    def __init__(self, path, image, tree, fault):
        super().__init__(daemon=True)
        self.path, self.image, self.tree, self.asked = path, image, tree, 0
        self.fault, _, life = fault.partition(" after ")
        self.life = int(life or 0)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(1)
        self.start()

    def run(self):
        try:
            self.serve(self.socket.accept()[0])
        except OSError:
            pass  # the guest is gone

    @staticmethod
    def take(peer, size):
        data = b""
        while len(data) < size:
            piece = peer.recv(size - len(data))
            if not piece:
                raise OSError("hung up")
            data += piece
        return data

    def serve(self, peer):
        size, fault = len(self.image), self.fault
        peer.sendall(b"NBDMAGIC" + (b"IHAVENOT" if fault == "greeting" else b"IHAVEOPT") + b"\0\3")
        self.take(peer, 20)
        if fault == "smaller":
            size -= 4096
        elif fault == "larger":
            size += 1 << 30
        peer.sendall(struct.pack(">QH", size, 1 if fault == "writable" else 3))
        while True:
            magic, _, command, cookie, offset, length = struct.unpack(">IHHQQI", self.take(peer, 28))
            if magic != 0x25609513 or command != 0:
                return
            self.asked += 1
            data = bytearray(self.image[offset:offset + length])
            # From the second read on: the first is the superblock's.
            late = self.asked > 1
            error = 0
            if fault == "first bit":
                data[0] ^= 1
            elif fault == "bit" and late:
                data[len(data) // 2] ^= 1
            elif fault == "zeros" and late:
                data = bytearray(len(data))
            elif fault == "elsewhere" and late:
                data = bytearray(self.image[offset + 4096:offset + 4096 + length].ljust(length, b"\0"))
            elif fault == "another image":
                data = bytearray(byte ^ 0x55 for byte in data)
            elif fault == "tree" and offset + length > self.tree:
                data[-1] ^= 1
            elif fault == "cookie" and late:
                cookie ^= 1
            elif fault == "magic" and late:
                peer.sendall(struct.pack(">IIQ", 0x67446699, 0, cookie) + data)
                continue
            elif fault == "twice" and late:
                peer.sendall(struct.pack(">IIQ", 0x67446698, 0, cookie) + data)
            elif fault == "flood" and late:
                while True:
                    peer.sendall(struct.pack(">IIQ", 0x67446698, 0, cookie) + data)
            elif fault == "error" and late:
                error, data = 5, b""
            elif fault == "short" and late:
                peer.sendall(struct.pack(">IIQ", 0x67446698, 0, cookie) + data[:100])
                peer.close()
                return
            elif fault == "stall" and late:
                continue
            elif fault == "death" and self.asked > self.life:
                peer.close()
                return
            peer.sendall(struct.pack(">IIQ", 0x67446698, error, cookie) + data)


def start_device(tools, folder, vm, vhost):
    """Of the two the packaged one is the oracle: what passes over it is no peculiarity of ours."""
    output = open(f"{folder}/daemon", "w")
    if tools.way == "own":
        daemon = subprocess.Popen([f"{tools.build}/tests/qemu_vsockdev", vhost, vm], text=True,
                                  stdout=subprocess.PIPE, stderr=output)
        expect_listening(daemon)
        return daemon
    daemon = subprocess.Popen([f"{tools.folder}/vhost-device-vsock", "--vm",
                               f"guest-cid=4,uds-path={vm},socket={vhost}"],
                              stdout=subprocess.DEVNULL, stderr=output)
    wait_for(vhost, daemon)
    return daemon


class Tools:
    """Where the emulator and the build are, and by which way the machine runs."""

    def __init__(self, folder, build, way):
        self.folder, self.build, self.way = folder, build, way


def serve_pages(tools, path, pages):
    """pages is a file for the product's server, or makes a server of the test's own at path."""
    if not isinstance(pages, str):
        return pages(path)
    server = subprocess.Popen([f"{tools.build}/tests/qemu_pages", path, pages], stdout=subprocess.PIPE, text=True)
    expect_listening(server)
    return server


class Network:
    """What the launcher is told of the network: its environment, and an archive to write or
    to replay. end() takes the network away from a machine that runs."""

    def __init__(self, environment=None, *options):
        self.environment, self.options, self.process = environment or {}, options, None

    def end(self):
        self.process.send_signal(signal.SIGUSR1)


def boot(tools, client, image, bundle, project, memory, pages=None):
    """The machine put together here, or by the launcher."""
    with tempfile.TemporaryDirectory(prefix="tee-qemu-") as folder:
        if tools.way == "launcher":
            return launch(tools, folder, image, bundle, project, memory, pages, Network())
        return assemble(tools, folder, client, image, bundle, project, memory, pages)


def launch(tools, folder, image, bundle, project, memory, pages, network):
    outcome, console = Outcome(), f"{folder}/console"
    given = pages or "-"
    if pages and not isinstance(pages, str):
        server = pages(f"{folder}/pages")
        given = f"socket:{server.path}"
    start = time.monotonic()
    with subprocess.Popen([f"{tools.build}/tests/qemu_machine", f"{tools.folder}/qemu-system-x86_64",
                           f"{tools.folder}/share", image, memory, console, given, project, bundle,
                           *network.options], stderr=subprocess.PIPE, text=True,
                          env={**os.environ, **network.environment}) as process:
        network.process = process
        try:
            outcome.said = process.communicate(timeout=2 * PATIENCE)[1]
        finally:
            process.kill()
    outcome.seconds["machine"] = time.monotonic() - start
    outcome.status = process.returncode
    outcome.ended = None if process.returncode == 3 else 0
    outcome.console = open(console, errors="replace").read()
    return outcome


def assemble(tools, folder, client, image, bundle, project, memory, pages):
    outcome = Outcome()
    vm, vhost, console = (f"{folder}/{name}" for name in ("vm", "vhost", "console"))
    heartbeat = Heartbeat(vm + "_7305")
    session = subprocess.Popen([client, vm + "_7301", project, bundle], text=True,
                               stdout=subprocess.PIPE, stderr=open(f"{folder}/client", "w+"))
    expect_listening(session)
    server = serve_pages(tools, vm + "_7302", pages) if pages else None
    daemon = start_device(tools, folder, vm, vhost)
    start = time.monotonic()
    with open(console, "w") as output:
        machine = subprocess.Popen(
            [f"{tools.folder}/qemu-system-x86_64", "-M", "nitro-enclave,vsock=c,id=tee-compile-test",
             "-accel", "tcg", "-m", memory, "-kernel", image, "-append", "reboot=t", "-nographic",
             "-no-reboot", "-L", f"{tools.folder}/share", "-chardev", f"socket,id=c,path={vhost}"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        outcome.ended = machine.wait(timeout=PATIENCE)
        outcome.seconds["machine"] = time.monotonic() - start
        # The guest's end hangs up on the client, when there was a connection.
        outcome.status = session.wait(timeout=10)
    except subprocess.TimeoutExpired:
        pass
    finally:
        others = [server] if isinstance(server, subprocess.Popen) else []
        for process in (machine, session, daemon, *others):
            process.kill()
            process.wait()
    outcome.said = open(f"{folder}/client").read()
    outcome.console = open(console, errors="replace").read()
    outcome.heartbeats = heartbeat.seen
    return outcome


def tell_times(outcome):
    """Figures for people; nothing is asserted about them."""
    times = [line[3:] for line in outcome.said.splitlines() if line.startswith("at ")]
    print(f"   {'; '.join(times)}; machine ended after {outcome.seconds.get('machine', 0):.1f} s")


def explain(outcome):
    print(outcome.console[-6000:], outcome.said[-3000:], sep="\n----\n", file=sys.stderr)


def make_root(when):
    """A chain of two, as strict as the product asks: root and leaf, P-384."""
    def certificate(name, key, issuer, issuer_key, ca):
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, issuer)]
        usage = x509.KeyUsage(True, False, False, False, False, ca, ca, False, False)
        return (x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1])
                .public_key(key.public_key()).serial_number(x509.random_serial_number())
                .not_valid_before(when - datetime.timedelta(days=1))
                .not_valid_after(when + datetime.timedelta(days=1))
                .add_extension(x509.BasicConstraints(ca, None), True)
                .add_extension(usage, ca).sign(issuer_key, hashes.SHA384()))
    keys = [ec.generate_private_key(ec.SECP384R1()) for _ in range(2)]
    root = certificate("a test's root", keys[0], "a test's root", keys[0], True)
    leaf = certificate("a test's signer", keys[1], "a test's root", keys[0], False)
    return root, leaf, keys[1]


def sign_again(document, signer=None):
    """The same claims under a root of ours: signer, what make_root gave, or a new one."""
    claims = cbor2.loads(cbor2.loads(document)[2])
    when = datetime.datetime.fromtimestamp(claims["timestamp"] / 1000, datetime.timezone.utc)
    root, leaf, key = signer or make_root(when)
    der = serialization.Encoding.DER
    claims["certificate"], claims["cabundle"] = leaf.public_bytes(der), [root.public_bytes(der)]
    protected, payload = cbor2.dumps({1: -35}), cbor2.dumps(claims)
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    r, s = utils.decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA384())))
    signature = r.to_bytes(48, "big") + s.to_bytes(48, "big")
    return cbor2.dumps([protected, {}, payload, signature]), root.public_bytes(serialization.Encoding.PEM)


def replace_document(source, target, document):
    """Block by block, so that all but this member stays as the client wrote it."""
    with open(source, "rb") as file:
        data = file.read()
    with open(target, "wb") as new:
        at = 0
        while data[at] != 0:
            head, size = bytearray(data[at:at + 512]), int(data[at + 124:at + 135], 8)
            body = data[at + 512:at + 512 + size]
            at += 512 + (size + 511) // 512 * 512
            if head[:100].rstrip(b"\0") == DOCUMENT.encode():
                body = document
                head[124:135] = b"%011o" % len(body)
                head[148:156] = b" " * 8
                head[148:156] = b"%06o\0 " % sum(head)
            new.write(head + body + bytes(-len(body) % 512))
        new.write(data[at:])


def verify(tool, *arguments):
    result = subprocess.run([tool, "verify", "--json", *arguments], capture_output=True, text=True)
    return result.returncode, json.loads(result.stdout)


def judge(tool, here, project, bundle, pcrs, folder, options=(), signer=None):
    """options: what `verify` is told besides. Leaves signed.tar and root.pem in folder."""
    with tarfile.open(bundle) as tar:
        document = tar.extractfile(DOCUMENT).read()
    cose = cbor2.loads(document)
    claims = cbor2.loads(cose[2])
    check("PCR0-2 of the NSM", [claims["pcrs"][i].hex() for i in range(3)], pcrs)
    check("digests recomputed", subprocess.run(
        ["/usr/bin/python3", f"{here}/../../integration/check_bundle.py", "--bundle", bundle]).returncode, 0)
    check("QEMU's algorithm and signature", (cbor2.loads(cose[0]), set(cose[3])), ({1: -1}, {0}))

    status, verdict = verify(tool, "--source", project, *options, bundle)
    check("an unsigned document is refused", (status, verdict["verdict"]), (1, "refused"))
    judged = [(item["name"], item["seen"]) for item in verdict["checks"] if item["result"] == "fail"]
    check("for that and nothing else", judged,
          [("document", "attestation document: COSE protected header: algorithm -1; expected ES384 (-35): "
            "an emulator's document, which nobody signed")])

    signed, pem = sign_again(document, signer)
    replace_document(bundle, f"{folder}/signed.tar", signed)
    with open(f"{folder}/root.pem", "wb") as file:
        file.write(pem)
    status, verdict = verify(tool, "--source", project, "--root", f"{folder}/root.pem", "--pcr", f"0={pcrs[0]}",
                             "--extract", f"{folder}/out", *options, f"{folder}/signed.tar")
    if status != 0:
        print(json.dumps(verdict, indent=1), file=sys.stderr)
    check("the same claims, signed, pass", (status, verdict["verdict"]), (0, "development"))


def run_built(folder):
    greeting = subprocess.run([f"{folder}/out/hello"], capture_output=True, text=True)
    check("what was compiled runs", greeting.returncode, 0)
    print(greeting.stdout, end="")


def check_quoted(bundle, pcrs):
    """What the image says of itself stands in the statement."""
    with tarfile.open(bundle) as tar:
        statement = json.load(tar.extractfile(STATEMENT))
    _, image, *packages = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    check("the image in the statement", (image["digest"]["sha384"], image["annotations"]),
          (pcrs[0], {"measured": True, "name": "c", "pcr1": pcrs[1], "pcr2": pcrs[2], "recipe": RECIPE}))
    check("its packages", [(item["uri"], item["digest"]) for item in packages],
          [(f"pkg:deb/debian/{name.replace('+', '%2B')}@{version}?arch={architecture}", {"sha256": digest})
           for name, version, architecture, digest in PACKAGES])


def try_cut_cmdline(tools, client, project, folder, kernel, ramdisks, pcrs):
    """The kernel does not mind what is behind it; no PCR says where it ends."""
    image, bundle = f"{folder}/cut.eif", f"{folder}/cut.tar"
    taken = len(CMDLINE.split(b" ")[0]) + 1
    cut = kernel + CMDLINE[:taken], CMDLINE[taken:]
    check("the cut image's PCRs", eif.measure(*cut, ramdisks), pcrs)
    eif.write(image, *cut, ramdisks)
    outcome = boot(tools, client, image, bundle, project, "1G")
    check("a command line that was cut: no bundle and an end",
          (os.path.exists(bundle), outcome.status != 0, outcome.ended), (False, True, 0))
    check("and the host is told why", "is not the measured one" in outcome.said, True)
    print("   " + outcome.said.strip().splitlines()[-1])


def try_small_memory(tools, client, image, project, folder, whole):
    """From too little upwards. Whatever the size, never a session on a part.

    The smallest is what holds the image and the kernel beside it: below, this
    machine loads one over the other, which Nitro's launcher refuses to do.
    """
    answers = []
    least = (os.path.getsize(image) >> 20) + 64
    for memory in range(least, least + 64 * 6, 64):
        bundle = f"{folder}/small-{memory}.tar"
        outcome = boot(tools, client, image, bundle, project, f"{memory}M")
        in_part = "unpacked in part" in outcome.said + outcome.console
        answers.append((memory, outcome.status == 0, in_part))
        print(f"   {memory} MiB: bundle {outcome.status == 0}, said to be in part {in_part}, "
              f"machine ended with {outcome.ended}: {outcome.said.strip().splitlines()[-1:]}")
        if outcome.status == 0:
            with tarfile.open(bundle) as tar:
                check(f"{memory} MiB: what was built is whole",
                      tar.extractfile("outputs/hello").read() == whole, True)
            break
        check(f"{memory} MiB: no bundle", os.path.exists(bundle), False)
    check("an incomplete unpack was met and named", any(part for _, _, part in answers), True)


def limit(folder):
    """The example with limits that small enclaves can keep."""
    with open(f"{folder}/build.json", encoding="utf-8") as file:
        spec = json.load(file)
    spec["limits"].update(memory="32M", disk="8M")
    with open(f"{folder}/build.json", "w", encoding="utf-8") as file:
        json.dump(spec, file)


def try_paged(tools, build, image, project, folder, prepared, whole):
    client, paged = f"{build}/tests/qemu_session", f"{prepared}/paged.img"
    for memory in (96, 128, 192, 256, 512):
        bundle = f"{folder}/paged-{memory}.tar"
        outcome = boot(tools, client, image, bundle, project, f"{memory}M", paged)
        print(f"   paged, {memory} MiB: bundle {outcome.status == 0}, "
              f"{outcome.said.strip().splitlines()[-1:]}")
        if outcome.status == 0:
            tell_times(outcome)
            break
    if outcome.status != 0:
        explain(outcome)
    check("a session with a paged toolchain", outcome.status, 0)
    with tarfile.open(bundle) as tar:
        check("the same output", tar.extractfile("outputs/hello").read() == whole, True)

    with open(paged, "rb") as file:
        data = file.read()
    with open(f"{prepared}/root.verity", encoding="ascii") as file:
        tree = int(file.read().split("data ")[1].split()[0]) * 4096

    # Where the server lies about nothing that is read, there is nothing to find.
    bundle = f"{folder}/larger.tar"
    outcome = boot(tools, client, image, bundle, project, "512M", lambda path: Liar(path, data, tree, "larger"))
    check("page server whose file is larger: the measured part is read", outcome.status, 0)
    with tarfile.open(bundle) as tar:
        check("and the output is the same", tar.extractfile("outputs/hello").read() == whole, True)
    for fault in ("greeting", "smaller", "writable", "first bit", "bit", "zeros", "elsewhere", "another image", "tree",
                  "cookie", "magic", "twice", "flood", "error", "short", "stall", "death after 5", "death after 20",
                  "death after 40"):
        bundle = f"{folder}/fault.tar"
        outcome = boot(tools, client, image, bundle, project, "512M",
                       lambda path, fault=fault: Liar(path, data, tree, fault))
        reason = [line for line in outcome.console.splitlines() if "panic" in line or "worker:" in line]
        print(f"   {fault}: {outcome.said.strip().splitlines()[-1:]} {reason[:1]}")
        check(f"page server with fault '{fault}': no bundle and an end",
              (os.path.exists(bundle), outcome.status != 0, outcome.ended), (False, True, 0))


def main():
    if len(sys.argv) != 5 or sys.argv[4] not in ("packaged", "own", "launcher"):
        sys.exit(__doc__)
    folder, prepared, build, way = sys.argv[1:]
    tools = Tools(folder, build, way)
    here = os.path.dirname(os.path.abspath(__file__))
    project, client = f"{here}/../../../examples/c-hello", f"{build}/tests/qemu_session"
    tool = f"{build}/src/tee-compile"
    with tempfile.TemporaryDirectory(prefix="tee-image-") as folder:
        # A copy, since the example lies inside this repository's work tree.
        copy = shutil.copytree(project, f"{folder}/c-hello")
        limit(copy)
        parts = Parts(prepared, build)
        kernel, ramdisks = parts.kernel, parts.ramdisks("root.erofs")
        image, bundle = f"{folder}/image.eif", f"{folder}/release.tar"
        eif.write(image, kernel, CMDLINE, ramdisks)
        print(f"kernel {len(kernel)}, ramdisks {[len(r) for r in ramdisks]}, image {os.path.getsize(image)} bytes")

        outcome = boot(tools, client, image, bundle, copy, "1G")
        if outcome.status != 0:
            explain(outcome)
        check("a session in the enclave", (outcome.status, outcome.ended), (0, 0))
        if way != "launcher":  # which answers it by itself
            check("heartbeat", outcome.heartbeats, [b"\xb7"])
        tell_times(outcome)
        pcrs = eif.measure(kernel, CMDLINE, ramdisks)
        judge(tool, here, copy, bundle, pcrs, folder)
        run_built(folder)
        check_quoted(bundle, pcrs)
        with tarfile.open(bundle) as tar:
            whole = tar.extractfile("outputs/hello").read()
        try_small_memory(tools, client, image, copy, folder, whole)

        paged = parts.ramdisks("root.verity")
        eif.write(image, kernel, CMDLINE, paged)
        print(f"paged image {os.path.getsize(image)} bytes")
        check("PCR1 does not depend on the toolchain", eif.measure(kernel, CMDLINE, paged)[1], pcrs[1])
        try_cut_cmdline(tools, client, copy, folder, kernel, paged, eif.measure(kernel, CMDLINE, paged))
        try_paged(tools, build, image, copy, folder, prepared, whole)
    print("boot: every check passed")


if __name__ == "__main__":
    main()
