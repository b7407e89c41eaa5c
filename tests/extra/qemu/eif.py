"""Enclave images for the tests: a writer and a measurement that share no code with
the product, after the format's published description."""
import hashlib
import json
import os
import stat
import struct
import subprocess
import zlib

KERNEL, CMDLINE, RAMDISK, METADATA = 1, 2, 3, 5
MARK = b"tee-compile: this ramdisk is complete\n"


class Cpio:
    """An initramfs in the newc format, members in the order in which they come."""

    def __init__(self):
        self.parts, self.count = [], 0

    def _add(self, name, mode, data, device=(0, 0)):
        self.count += 1
        raw = name.encode() + b"\0"
        fields = (self.count, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(raw), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + raw
        self.parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]

    def folder(self, name, mode=0o755):
        self._add(name, stat.S_IFDIR | mode, b"")

    def file(self, name, data, mode=0o644):
        self._add(name, stat.S_IFREG | mode, data)

    def link(self, name, target):
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def bytes(self):
        self._add("TRAILER!!!", 0, b"")
        self.count -= 1
        data = b"".join(self.parts)
        return data + bytes(-len(data) % 512)


def write(path, kernel, cmdline, ramdisks):
    sections = [(KERNEL, kernel), (CMDLINE, cmdline)]
    metadata = {"ImageName": "test", "ImageVersion": "1", "BuildMetadata": {}, "DockerInfo": {}, "CustomMetadata": {}}
    sections.append((METADATA, json.dumps(metadata).encode()))
    sections += [(RAMDISK, data) for data in ramdisks]
    offsets, sizes, body, at = [], [], b"", 548
    for kind, data in sections:
        offsets.append(at)
        sizes.append(len(data))
        body += struct.pack(">HHQ", kind, 0, len(data)) + data
        at += 12 + len(data)
    pad = [0] * (32 - len(sections))
    head = struct.pack(">4sHHQQHH32Q32QI", b".eif", 4, 0, 512 << 20, 2, 0, len(sections),
                       *offsets, *pad, *sizes, *pad, 0)
    crc = zlib.crc32(body, zlib.crc32(head))
    with open(path, "wb") as file:
        file.write(head + struct.pack(">I", crc) + body)


def measure(kernel, cmdline, ramdisks):
    def pcr(parts):
        digest = hashlib.sha384()
        for part in parts:
            digest.update(part)
        return hashlib.sha384(bytes(48) + digest.digest()).hexdigest()
    return [pcr([kernel, cmdline, *ramdisks]), pcr([kernel, cmdline, ramdisks[0]]), pcr(ramdisks[1:])]


def pack(ramdisk, level=19):
    """zstd, and zeros up to a multiple of 4: an uncompressed ramdisk that begins
    anywhere else is not unpacked, and nobody says so."""
    packed = subprocess.run(["zstd", f"-{level}", "-q", "-c"], input=ramdisk, capture_output=True, check=True).stdout
    return packed + bytes(-len(packed) % 4)


def libraries(program, ldd):
    """What the dynamic loader would load for it, and the loader."""
    found = set()
    for line in ldd(program).splitlines():
        for word in line.split():
            if word.startswith("/"):
                found.add(word)
                break
    return sorted(found)


def worker_ramdisk(worker, files, read=lambda path: open(path, "rb").read()):
    """The first ramdisk: /init, programs with their libraries below /usr, the mark last."""
    cpio = Cpio()
    for name in ("dev", "proc", "sys", "root", "toolchain", "usr"):
        cpio.folder(name)
    made = {"usr"}

    def parents(name):
        for i, letter in enumerate(name):
            if letter == "/" and name[:i] not in made:
                made.add(name[:i])
                cpio.folder(name[:i])
    for path in files:
        name = path.lstrip("/")
        if not name.startswith("usr/"):
            name = "usr/" + name
        parents(name)
        cpio.file(name, read(os.path.realpath(path)), 0o755)
    cpio.file("init", read(worker), 0o755)
    cpio.file("complete", MARK)
    return cpio.bytes()


def image_text(name, recipe, kernel, ramdisk, cmdline, packages):
    """What an image says of itself; packages as (name, version, architecture, sha256)."""
    lines = ["tee-compile/image/1", f"name {name}", f"recipe {recipe}", f"kernel {len(kernel)}",
             f"ramdisk {len(ramdisk)}", f"cmdline {cmdline.decode()}", f"packages {len(packages)}"]
    return "".join(line + "\n" for line in lines + [" ".join(package) for package in packages]).encode()


def toolchain_ramdisk(text, name, data):
    """The second: the image's text, the toolchain's one file, the mark last."""
    cpio = Cpio()
    cpio.folder("toolchain")
    cpio.file("toolchain/image", text)
    cpio.file("toolchain/" + name, data)
    cpio.file("toolchain/complete", MARK)
    return cpio.bytes()
