#!/usr/bin/python3
"""reworker.py IMAGE.eif BUILD_FOLDER NEW.eif: the same image with the worker of this build,
for tests of the worker that need no new kernel and no new toolchain. NEW.erofs is linked
beside it. Its PCRs are its own: it is no image that anybody should trust."""
import os
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import eif  # noqa: E402


def sections(path):
    with open(path, "rb") as file:
        data = file.read()
    at = 548
    while at < len(data):
        kind, _, size = struct.unpack(">HHQ", data[at:at + 12])
        yield kind, data[at + 12:at + 12 + size]
        at += 12 + size


def members(archive):
    """Name, mode and contents of each member of a cpio archive in the newc format."""
    at = 0
    while True:
        fields = [int(archive[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110:at + 109 + name_size].decode()
        start = (at + 110 + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            return
        yield name, mode, archive[start:start + size], (fields[9], fields[10])
        at = (start + size + 3) // 4 * 4


def unpack(ramdisk):
    if ramdisk[:6] == b"070701":
        return ramdisk
    return subprocess.run(["zstd", "-d", "-q", "-c"], input=ramdisk, capture_output=True, check=False).stdout


def replace(ramdisk, changed):
    cpio = eif.Cpio()
    for name, mode, data, device in members(unpack(ramdisk)):
        # Private to the class, which has no other way to keep devices.
        cpio._add(name, mode, changed.get(name, data), device)  # pylint: disable=protected-access
    return cpio.bytes()


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    image, build, target = sys.argv[1:]
    parts = list(sections(image))
    kernel = next(data for kind, data in parts if kind == eif.KERNEL)
    cmdline = next(data for kind, data in parts if kind == eif.CMDLINE)
    first, *others = [data for kind, data in parts if kind == eif.RAMDISK]
    with tempfile.TemporaryDirectory(prefix="tee-worker-") as folder:
        subprocess.run(["strip", "-o", f"{folder}/worker", f"{build}/src/tee-compile-worker"], check=True)
        with open(f"{folder}/worker", "rb") as file:
            worker = file.read()
    new = subprocess.run(["zstd", "-3", "-q", "-c"], input=replace(first, {"init": worker}), capture_output=True,
                         check=True).stdout
    new += bytes(-len(new) % 4)
    text = next(data for name, _, data, _ in members(others[0]) if name == "toolchain/image")
    lines = text.decode().splitlines()
    lines = [f"ramdisk {len(new)}" if line.startswith("ramdisk ") else line for line in lines]
    second = replace(others[0], {"toolchain/image": "".join(line + "\n" for line in lines).encode()})
    eif.write(target, kernel, cmdline, [new, second, *others[1:]])
    root = image[:-4] + ".erofs"
    if os.path.exists(root):
        os.symlink(os.path.abspath(root), target[:-4] + ".erofs")


if __name__ == "__main__":
    main()
