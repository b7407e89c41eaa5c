"""Images of tee-compile for tests, in code that the product does not share: a small
root of this machine's bash and a few programs as EROFS, its hash tree, the second
ramdisk and the EIF. Kernel and first ramdisk are bytes that nothing boots."""
import hashlib
import os
import pathlib
import shutil
import struct
import subprocess
import zlib

BLOCK = 4096
MARK = b"tee-compile: this ramdisk is complete\n"
PROGRAMS = ("bash", "cat", "cp", "ls", "mkdir", "sha256sum", "id", "stat", "sleep", "dd", "rm")
KERNEL, CMDLINE, RAMDISK, METADATA = 1, 2, 3, 5


def libraries(program):
    out = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    for line in out.splitlines():
        for word in line.split():
            if word.startswith("/"):
                yield word
                break


def make_root(folder, files=None, programs=PROGRAMS):
    """A root as src/worker/spawner.h wants it."""
    for name in ("build", "home/build", "tmp", "proc", "dev", "sys", "usr/bin", "usr/lib64", "etc"):
        (folder / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (folder / name).symlink_to("usr/" + name)
    for name in programs:
        source = os.path.realpath(shutil.which(name))
        shutil.copy(source, folder / "usr/bin" / name)
        for library in libraries(source):
            target = folder / ("usr" + library if not library.startswith("/usr") else library[1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                shutil.copy(os.path.realpath(library), target)
    (folder / "usr/bin/sh").symlink_to("bash")
    (folder / "etc/passwd").write_text("root:x:0:0::/:/bin/bash\nbuild:x:1000:1000::/home/build:/bin/bash\n")
    (folder / "etc/secret").write_text("for root alone\n")
    (folder / "etc/secret").chmod(0o600)
    for name, text in (files or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def make_erofs(root):
    image = root.with_suffix(".raw")
    subprocess.run(["mkfs.erofs", "--quiet", "-T", "0", "--all-root", "-U",
                    "00000000-0000-4000-8000-000000000000", "-zlz4hc", str(image), str(root)],
                   check=True, capture_output=True)
    data = image.read_bytes()
    image.unlink()
    return data + bytes(-len(data) % BLOCK)


def hash_tree(data, salt):
    """dm-verity's, format 1: the root and the levels, highest first."""
    levels, level = [], data
    while len(level) > BLOCK or not levels:
        digests = b"".join(hashlib.sha256(salt + level[i:i + BLOCK]).digest()
                           for i in range(0, len(level), BLOCK))
        level = digests + bytes(-len(digests) % BLOCK)
        levels.insert(0, level)
    return hashlib.sha256(salt + level).hexdigest(), b"".join(levels)


def cpio(members):
    out = b""
    for number, (name, mode, data) in enumerate([*members, ("TRAILER!!!", 0, b"")], 1):
        raw = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + raw
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return out + bytes(-len(out) % 512)


def write_eif(path, sections, flags=0):
    offsets, sizes, body, at = [], [], b"", 548
    for kind, data in sections:
        offsets.append(at)
        sizes.append(len(data))
        body += struct.pack(">HHQ", kind, 0, len(data)) + data
        at += 12 + len(data)
    pad = [0] * (32 - len(sections))
    head = struct.pack(">4sHHQQHH32Q32QI", b".eif", 4, flags, 512 << 20, 2, 0, len(sections),
                       *offsets, *pad, *sizes, *pad, 0)
    crc = zlib.crc32(body, zlib.crc32(head))
    path.write_bytes(head + struct.pack(">I", crc) + body)


def measure(parts):
    return hashlib.sha384(bytes(48) + hashlib.sha384(b"".join(parts)).digest()).hexdigest()


class Image:
    """NAME.eif and NAME.erofs in a folder; the parts stay, to be put together otherwise."""

    def __init__(self, folder, name="mini", erofs=None, files=None, self_contained=False, packages=3, programs=PROGRAMS,
                 kernel=b"KERNEL" * 1000, cmdline="console=ttyS0 panic=1", stem=None):
        self.folder, self.name = pathlib.Path(folder), name
        self.kernel, self.cmdline, self.first = kernel, cmdline, b"FIRST" * 512 + bytes(512)
        self.salt = hashlib.sha256(b"salt of a test").digest()
        if erofs is None:
            root = self.folder / "root"
            make_root(root, files, programs)
            erofs = make_erofs(root)
            shutil.rmtree(root)
        self.data = erofs
        self.root, self.tree = hash_tree(erofs, self.salt)
        self.self_contained = self_contained
        self.packages = packages
        self.second = self.ramdisk()
        self.eif, self.erofs = (self.folder / f"{stem or name}{end}" for end in (".eif", ".erofs"))
        self.write()

    def text(self, **changes):
        values = {"name": self.name, "recipe": hashlib.sha256(self.name.encode()).hexdigest(),
                  "kernel": len(self.kernel), "ramdisk": len(self.first), "cmdline": self.cmdline, **changes}
        lines = ["tee-compile/image/1"] + [f"{key} {value}" for key, value in values.items()]
        lines.append(f"packages {self.packages}")
        for i in range(self.packages):
            lines.append(f"package-{i:04} 1.{i}-1 amd64 {hashlib.sha256(b'%d' % i).hexdigest()}")
        return ("\n".join(lines) + "\n").encode()

    def ramdisk(self, extra_blocks=0, **changes):
        data_blocks = len(self.data) // BLOCK
        total = data_blocks + len(self.tree) // BLOCK + extra_blocks
        verity = (f"tee-compile/verity/1\ndata {data_blocks}\ntotal {total}\nroot {self.root}\n"
                  f"salt {self.salt.hex()}\n").encode()
        what = ("root.erofs", self.data) if self.self_contained else ("root.verity", verity)
        return cpio([("toolchain", 0o40755, b""), ("toolchain/image", 0o100644, self.text(**changes)),
                     ("toolchain/" + what[0], 0o100644, what[1]),
                     ("toolchain/complete", 0o100644, MARK)])

    def write(self, path=None, kernel=None, cmdline=None, ramdisks=None, metadata=b"{}", flags=0):
        """The files, or an EIF of other sections at path."""
        write_eif(path or self.eif, [(KERNEL, kernel or self.kernel), (CMDLINE, (cmdline or self.cmdline).encode()),
                                     (METADATA, metadata),
                                     *((RAMDISK, one) for one in ramdisks or (self.first, self.second))], flags)
        if path is None and not self.self_contained:
            self.erofs.write_bytes(self.data + self.tree)

    def pcrs(self):
        boot = [self.kernel, self.cmdline.encode()]
        return [measure([*boot, self.first, self.second]), measure([*boot, self.first]),
                measure([self.second])]
