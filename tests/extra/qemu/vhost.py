#!/usr/bin/python3
"""vhost.py BUILD_FOLDER KERNEL_FOLDER IMAGE.eif [short]: `build --backend qemu` where the kernel
offers vhost-vsock: on a host that is itself a virtual machine, emulated, with Debian's kernel and
the emulator of this machine. KERNEL_FOLDER is an unpacked package linux-image-*; the image needs
a shell, and compiles with what it has.

  one     the guest's vsock is the kernel's, and confined all the same; who knocks at the ports
          of its CID is not let in, and the build is none the worse for it; the bundle verifies
  killed  the emulator is killed in the middle: the client says so and ends, no bundle
  client  the client is killed by SIGKILL: no process and no listener is left
  first, second  at once, each with a CID of its own

short: the first alone."""
import glob
import json
import lzma
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import eif  # noqa: E402

PATIENCE = 3 * 3600  # seconds; a bound for a machine that hangs, not a claim about speed
HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = ("vsock", "vmw_vsock_virtio_transport_common", "vsock_loopback", "vhost_iotlb", "vhost", "vhost_vsock",
           "irqbypass", "kvm", "kvm-amd")
PROGRAMS = ("bash", "mount", "cat", "cp", "mkdir", "readlink", "sleep", "grep", "sed", "tr", "wc", "cut", "tail",
            "perl", "qemu-system-x86_64")
FIRMWARE = ("bios-256k.bin", "bios-microvm.bin", "qboot.rom", "linuxboot_dma.bin", "pvh.bin", "kvmvapic.bin")
COMPILE = "if command -v cc; then cc -o hello hello.c; else cp hello.c hello; fi"
PROJECT = {"language": "c", "input": {"cmd": "sleep WAIT; " + COMPILE}, "output": {"files": ["hello"]},
           "network": {"mode": "offline"}, "limits": {"timeout": "2h", "memory": "256M", "disk": "64M"}}


def check(what, seen, expected):
    if seen != expected:
        sys.exit(f"FAILED: {what}: expected {expected!r}, saw {seen!r}")
    print(f"ok: {what}", flush=True)


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    return lzma.decompress(data) if path.endswith(".xz") else data


class Tree:
    """The host's files, folders first."""

    def __init__(self):
        self.cpio, self.seen = eif.Cpio(), set()

    def folder(self, path):
        if path in self.seen or not path:
            return
        self.folder(os.path.dirname(path))
        self.seen.add(path)
        self.cpio.folder(path)

    def file(self, path, data, mode=0o644):
        path = path.lstrip("/")
        if path in self.seen:
            return
        self.folder(os.path.dirname(path))
        self.seen.add(path)
        self.cpio.file(path, data, mode)

    def program(self, path, target):
        self.file(target, read(path), 0o755)
        for library in eif.libraries(path, lambda name: run("ldd", name)):
            self.file(library, read(library), 0o755)


def find_program(name):
    for folder in ("/usr/bin", "/usr/sbin", "/bin", "/sbin"):
        if os.path.exists(f"{folder}/{name}"):
            return f"{folder}/{name}"
    sys.exit(f"FAILED: this test needs the program {name}")


def module(kernel, name):
    found = [str(path) for path in pathlib.Path(kernel).rglob("*.ko*") if path.name.split(".")[0] == name]
    if len(found) != 1:
        sys.exit(f"FAILED: {kernel} has not one module {name}: {found}")
    return found[0]


def make_host(build, kernel, image, short):
    tree = Tree()
    for name in ("proc", "sys", "dev", "tmp", "root/data", "var/tmp"):
        tree.folder(name)
    for name in PROGRAMS:
        tree.program(find_program(name), f"usr/bin/{name}")
    tree.program(f"{build}/src/tee-compile", "usr/bin/tee-compile")
    tree.file("usr/bin/tee-compile-worker", b"", 0o755)  # which is there and not used
    for path in glob.glob("/usr/lib/*/qemu/accel-tcg-x86_64.so"):  # Debian's emulator is in parts
        tree.program(path, path)
    for name in FIRMWARE:
        for folder in ("/usr/share/qemu", "/usr/share/seabios"):
            if os.path.exists(f"{folder}/{name}"):
                tree.file(f"usr/share/qemu/{name}", read(f"{folder}/{name}"))
    for name in MODULES:
        tree.file(f"modules/{name}.ko", read(module(kernel, name)))
    tree.file("modules/order", "".join(f"/modules/{name}.ko\n" for name in MODULES).encode())
    tree.file("init", read(f"{HERE}/vhost_guest.sh"), 0o755)
    tree.file("project/build.json", json.dumps(PROJECT).encode())
    tree.file("project/hello.c", b"int main(void) { return 0; }\n")
    tree.file("image.eif", read(image))
    tree.file("image.erofs", read(image[:-4] + ".erofs"))
    measured = json.loads(run(f"{build}/src/tee-compile", "image", "measure", "--json", image))
    tree.file("pcr0", (measured.get("pcr0") or measured["pcrs"][0]).encode())
    tree.file("rounds", b"short" if short else b"all")
    tree.cpio.link("bin", "usr/bin")
    return tree.cpio.bytes()


def boot(kernel, ramdisk):
    """What the host says, whole. Its processor is emulated, with AMD's virtual machines (SVM), so that there is KVM in
    it: an emulator within an emulator is ten times slower, and less faithful. Its clock counts instructions, so
    that the patience of what runs there does not depend on how busy this machine is."""
    vmlinuz = glob.glob(f"{kernel}/boot/vmlinuz-*")
    process = subprocess.Popen(
        ["qemu-system-x86_64", "-no-user-config", "-nodefaults", "-M", "q35", "-accel", "tcg", "-icount",
         "shift=0,sleep=off", "-cpu", "max,vendor=AuthenticAMD", "-smp", "1", "-m", "6G", "-kernel", vmlinuz[0],
         "-initrd", ramdisk, "-append", "console=ttyS0 rdinit=/init panic=-1 quiet mitigations=off nowatchdog "
         "rcupdate.rcu_cpu_stall_suppress=1 transparent_hugepage=never", "-display", "none", "-monitor", "none",
         "-serial", "stdio", "-no-reboot"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace")
    lines = []
    bound = threading.Timer(PATIENCE, process.kill)
    bound.start()
    try:
        for line in process.stdout:
            lines.append(line.rstrip())
            print("  " + line.rstrip(), flush=True)
    finally:
        bound.cancel()
        process.kill()
        process.wait()
    return lines


def judge_build(said, name, logs):
    if said[f"{name} status"] != ["0"]:
        print("\n".join(logs), file=sys.stderr)
    check(f"{name}: built", said[f"{name} status"], ["0"])
    status, _, verdict = said[f"{name} verify"][0].partition(" ")
    verdict = json.loads(verdict)
    check(f"{name}: verified, and not by hardware", (status, verdict["verdict"], verdict["hardware"]),
          ("0", "development", False))


def judge_words(words):
    check("the emulator was given the kernel's device",
          bool(re.search(r" -device vhost-vsock-device,guest-cid=\d+,vhostfd=3 ", words)), True)
    check("... and no other, and is confined", ("vhost-user" in words, " -sandbox on," in words), (False, True))
    return re.search(r"guest-cid=(\d+)", words).group(1)


def judge(lines, short):
    said = {}
    for line in lines:
        if line.startswith("== "):
            what, _, value = line[3:].partition(":")
            said.setdefault(what, []).append(value.strip())
    check("the host came to its end", said.get("end"), ["yes"])
    check("its modules were loaded", said.get("not loaded"), None)
    check("doctor says what is used", "(vhost-vsock)" in said["doctor"][0], True)
    judge_words(said["words"][0])
    # A port whose one stream the guest has opened already refuses everybody.
    knocks = [said[f"knock at {port}"][0] for port in (7301, 7302, 7303, 7304, 7305)]
    check("a stranger is let in nowhere", [knock for knock in knocks if knock not in ("closed unread", "refused")], [])
    check("... also where a listener waits", "closed unread" in knocks, True)
    judge_build(said, "one", lines)
    check("one: no emulator and no listener is left", (said["left"][0], said["after the end"]), ("", ["refused"]))
    if short:
        return
    check("killed: a failure that says why", (said["killed status"][0] != "0", said["left"][1],
                                              any("killed| " in line and "signal 9" in line for line in lines)),
          (True, "", True))
    check("client: no listener is left", said["after a kill"], ["refused"])
    cids = {judge_words(words) for words in said["words"][1:]}
    check("two at once: two CIDs", len(cids), 2)
    for name in ("first", "second"):
        judge_build(said, name, lines)


def main():
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    build, kernel, image = sys.argv[1:4]
    short = sys.argv[4:] == ["short"]
    with tempfile.TemporaryDirectory(prefix="tee-vhost-") as folder:
        with open(f"{folder}/host.cpio", "wb") as file:
            file.write(make_host(build, kernel, image, short))
        lines = boot(kernel, f"{folder}/host.cpio")
    judge(lines, short)


if __name__ == "__main__":
    main()
