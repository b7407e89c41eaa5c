#!/usr/bin/python3
"""driver.py BUILD_FOLDER KERNEL_FOLDER MODULE.ko: the nitro back end on the kernel's own driver, in
an emulated machine of eight processors. MODULE.ko is that driver with a device that runs nothing
(device.c), KERNEL_FOLDER the unpacked packages of the kernel that it was built for.

  rules    the double of the driver answers each call as the kernel does (nitro_rules)
  mend     doctor names what is missing, one after the other, and its commands mend it
  image    it lies in the enclave's memory where the driver says, in pages of 2 MiB and of 1 GiB
  ends     Ctrl-C, SIGKILL, an enclave that ends: the message, and everything is given back
  two      at once
  aws      deploy/aws/enclave-resources sets aside what doctor looks for"""
import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.normpath(f"{HERE}/../../..")
sys.path[:0] = [f"{PROJECT}/tests/extra/qemu", f"{PROJECT}/tests/integration"]
import image_lab  # noqa: E402
import vhost  # noqa: E402
from vhost import check, module, read, run  # noqa: E402

PATIENCE = 3600  # seconds; a bound for a machine that hangs, not a claim about speed
MODULES = ("vsock", "vmw_vsock_virtio_transport_common", "vsock_loopback")
PROGRAMS = ("bash", "mount", "cat", "cmp", "cp", "cut", "dmesg", "grep", "head", "mkdir", "paste", "perl", "sed", "seq",
            "sleep", "sort", "stat", "tail", "tee", "tr", "wc")
SMALL = {"language": "c", "input": {"cmd": "true"}, "output": {"files": ["hello"]},
         "network": {"mode": "offline"}, "limits": {"timeout": "1h", "memory": "128M", "disk": "64M"}}
LARGE = dict(SMALL, limits={"timeout": "1h", "memory": "1G", "disk": "64M"})


def make_host(build, kernel, driver, folder):
    tree = vhost.Tree()
    for name in ("proc", "sys", "dev", "tmp", "run", "root/data", "var/tmp", "etc/tee-compile"):
        tree.folder(name)
    for name in PROGRAMS:
        tree.program(vhost.find_program(name), f"usr/bin/{name}")
    tree.program(f"{build}/src/tee-compile", "usr/bin/tee-compile")
    tree.program(f"{build}/tests/nitro_rules", "usr/bin/nitro_rules")
    tree.file("usr/bin/tee-compile-worker", b"", 0o755)  # which is there and not used
    tree.file("usr/bin/enclave-resources", read(f"{PROJECT}/deploy/aws/enclave-resources"), 0o755)
    for name in MODULES:
        tree.file(f"modules/{name}.ko", read(module(kernel, name)))
    tree.file("modules/order", "".join(f"/modules/{name}.ko\n" for name in MODULES).encode())
    tree.file("nitro_enclaves.ko", read(driver))
    tree.file("init", read(f"{HERE}/driver_guest.sh"), 0o755)
    for name, text in (("small", SMALL), ("large", LARGE)):
        tree.file(f"{name}/build.json", json.dumps(text).encode())
    image = image_lab.Image(folder)
    tree.file("image.eif", read(str(image.eif)))
    tree.file("image.erofs", read(str(image.erofs)))
    tree.cpio.link("bin", "usr/bin")
    return tree.cpio.bytes()


def boot(kernel, ramdisk):
    process = subprocess.Popen(
        ["qemu-system-x86_64", "-no-user-config", "-nodefaults", "-M", "q35", "-accel", "tcg", "-cpu",
         "max,vendor=GenuineIntel", "-smp", "8,sockets=1,cores=4,threads=2", "-m", "8G", "-device", "pci-testdev",
         "-kernel", glob.glob(f"{kernel}/boot/vmlinuz-*")[0], "-initrd", ramdisk, "-append",
         "console=ttyS0 rdinit=/init panic=-1 loglevel=1 mitigations=off nowatchdog rcupdate.rcu_cpu_stall_suppress=1 "
         "hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=0",
         "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"],
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


def judge_rules(said, build):
    double = run(f"{build}/tests/nitro_rules", "double").splitlines()
    kernel = said["rule"]
    for mine, theirs in zip(double, kernel):
        if mine.strip() != theirs:
            sys.exit(f"FAILED: the double says {mine!r}, and the kernel {theirs!r}")
    check("rules: as many as the double knows", len(kernel), len(double))
    print(f"ok: the double answers {len(double)} questions as the kernel does", flush=True)


def judge_mending(said):
    print("\n".join("   " + line for line in said["doctor"]))
    first, last = said["doctor"][0], said["doctor"][-1]
    check("without the driver there is none", "/dev/nitro_enclaves" in first, True)
    check("its commands mend it", (last.split()[1], "no" in [line.split()[1] for line in said["doctor"][1:-1]]),
          ("yes", True))


def judge_build(said, name):
    check(f"{name}: the image lies where it belongs", said[f"{name} image"], ["same"])
    check(f"{name}: pages, processors and slots are back", said[f"{name} back"], ["all"])


def judge(lines, build):
    said = {}
    for line in lines:
        if line.startswith("== "):
            what, _, value = line[3:].partition(": ")
            said.setdefault(what, []).append(value.strip())
    check("the machine came to its end", said.get("end"), ["yes"])
    check("its modules were loaded", said.get("not loaded"), None)
    judge_rules(said, build)
    judge_mending(said)
    for name in ("small", "large", "killed", "ended"):
        judge_build(said, name)
    memory = {name: [int(number) for number in re.findall(r"\d+", said[f"{name} memory"][0])]
              for name in ("small", "large")}
    check("small: pages of 2 MiB alone", memory["small"][1] < 1024, True)
    check("large: a page of 1 GiB, before those of 2 MiB", (memory["large"][0], memory["large"][1] > 1024), (1024, True))
    for name in ("small", "large"):
        check(f"{name}: Ctrl-C is heard", (said[f"{name} status"], "interrupted" in said[f"{name} said"][-1]),
              (["2"], True))
    check("ended: and that is said",
          (said["ended status"], "the enclave ended before its session began" in said["ended said"][-1]), (["2"], True))
    cids = said["two cids"][0].split()
    check("two at once: two CIDs", (len(cids), len(set(cids))), (2, 2))
    check("two at once: all is back", said["two back"], ["all"])
    check("deploy/aws: what is set aside is enough", said["aws"][-1].split()[1], "yes")


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    build, kernel, driver = sys.argv[1:4]
    with tempfile.TemporaryDirectory(prefix="tee-driver-") as folder:
        with open(f"{folder}/host.cpio", "wb") as file:
            file.write(make_host(build, kernel, driver, folder))
        lines = boot(kernel, f"{folder}/host.cpio")
    judge(lines, build)
    print("driver: every check passed")


if __name__ == "__main__":
    main()
