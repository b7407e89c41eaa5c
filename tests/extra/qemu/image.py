#!/usr/bin/python3
"""image.py PREPARED_FOLDER BUILD_FOLDER IMAGE.eif: an enclave image of what prepare.sh and
this machine have, written without any code of the product. Its toolchain is paged in:
PREPARED_FOLDER/paged.img."""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import eif  # noqa: E402

# no_timer_check: an emulator on a busy machine is too slow for the kernel's test of
# its timer, which ends in a panic; on the hardware the kernel leaves it out by itself.
CMDLINE = b"console=ttyS0 loglevel=4 panic=-1 reboot=k random.trust_cpu=off no_timer_check"
RECIPE = "4e" * 32
PACKAGES = [("g++", "4:14.2.0-1", "amd64", "60" * 32), ("make", "4.4.1-2", "amd64", "61" * 32)]
PROGRAMS = ("/usr/bin/bwrap", "/usr/sbin/nft")


def ldd(program):
    return subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout


def first_ramdisk(build):
    """The worker, what it starts, and their libraries."""
    files = []
    for program in PROGRAMS:
        if not os.path.exists(program):
            sys.exit(f"image: {program} is missing: apt-get install bubblewrap nftables")
        files += [file for file in [program, *eif.libraries(program, ldd)] if file not in files]
    with tempfile.TemporaryDirectory(prefix="tee-worker-") as folder:
        subprocess.run(["strip", "-o", f"{folder}/worker", f"{build}/src/tee-compile-worker"], check=True)
        return eif.pack(eif.worker_ramdisk(f"{folder}/worker", files))


class Parts:
    """Kernel and first ramdisk; the second with a toolchain of prepare.sh's, by the name of its file."""

    def __init__(self, prepared, build):
        self.prepared = prepared
        with open(f"{prepared}/bzImage", "rb") as file:
            self.kernel = file.read()
        self.first = first_ramdisk(build)
        self.text = eif.image_text("c", RECIPE, self.kernel, self.first, CMDLINE, PACKAGES)

    def ramdisks(self, name):
        with open(f"{self.prepared}/{name}", "rb") as file:
            return [self.first, eif.toolchain_ramdisk(self.text, name, file.read())]


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    prepared, build, image = sys.argv[1:]
    parts = Parts(prepared, build)
    eif.write(image, parts.kernel, CMDLINE, parts.ramdisks("root.verity"))


if __name__ == "__main__":
    main()
