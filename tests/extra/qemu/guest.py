#!/usr/bin/python3
"""guest.py QEMU_FOLDER PREPARED_FOLDER BUILD_FOLDER: the worker's NSM client on the
emulator's NSM, and a kernel's vsock on the project's device. The checks are in an
/init of their own (guest.c, nsm.c, stream.c); this starts it, echoes what it sends,
compares the PCRs that it read with a measurement in Python, and reads the console."""
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import boot  # noqa: E402
import eif  # noqa: E402
from image import CMDLINE  # noqa: E402


class Echo(threading.Thread):
    """Sends back all of what a connection brought, once its end came."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(16)
        self.start()

    def run(self):
        while True:
            peer = self.socket.accept()[0]
            data = b""
            while piece := peer.recv(1 << 16):
                data += piece
            peer.sendall(data)
            peer.close()


def run(tools, image):
    with tempfile.TemporaryDirectory(prefix="tee-qemu-") as folder:
        vm, vhost = f"{folder}/vm", f"{folder}/vhost"
        Echo(vm + "_7303")
        daemon = boot.start_device(tools, folder, vm, vhost)
        try:
            result = subprocess.run(
                [f"{tools.folder}/qemu-system-x86_64", "-M", "nitro-enclave,vsock=c,id=tee-compile-test",
                 "-accel", "tcg", "-m", "256M", "-kernel", image, "-append", "reboot=t", "-nographic",
                 "-no-reboot", "-L", f"{tools.folder}/share", "-chardev", f"socket,id=c,path={vhost}"],
                stdin=subprocess.DEVNULL, capture_output=True, timeout=boot.PATIENCE, check=False)
        finally:
            daemon.kill()
            daemon.wait()
        return result.stdout.decode(errors="replace").replace("\r", "")


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    folder, prepared, build = sys.argv[1:]
    kernel = open(f"{prepared}/bzImage", "rb").read()
    cpio = eif.Cpio()
    cpio.folder("dev")
    with tempfile.TemporaryDirectory(prefix="tee-guest-") as work:
        subprocess.run(["strip", "-o", f"{work}/init", f"{build}/tests/qemu_guest"], check=True)
        cpio.file("init", open(f"{work}/init", "rb").read(), 0o755)
        ramdisks = [eif.pack(cpio.bytes())]
        eif.write(f"{work}/guest.eif", kernel, CMDLINE, ramdisks)
        console = run(boot.Tools(folder, build, "own"), f"{work}/guest.eif")
    lines = re.findall(r"^guest: (.*)$", console, re.MULTILINE)
    print("\n".join(lines))
    last = re.fullmatch(r"(\d+) good, (\d+) bad", lines[-1] if lines else "")
    if not last:
        print(console[-4000:], file=sys.stderr)
    boot.check("the guest came to its end", last is not None, True)
    boot.check("its checks", (int(last[1]) > 40, int(last[2])), (True, 0))
    boot.check("PCR0-2 as DescribePCR gives them", [line.split(" ")[1] for line in lines if line.startswith("pcr")],
               eif.measure(kernel, CMDLINE, ramdisks))
    print("guest: every check passed")


if __name__ == "__main__":
    main()
