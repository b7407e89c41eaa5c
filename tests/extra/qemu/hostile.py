"""Images whose worker means harm: those of reworker.py with another program, hostile.c, which
is told by the kernel's command line what to do."""
import os
import subprocess
import tempfile

import eif
import reworker


def make(image, build, words, target):
    """target.eif: the image, with a guest that does the words; target.erofs is linked beside it."""
    parts = list(reworker.sections(image))
    kernel, cmdline = (next(data for kind, data in parts if kind == wanted) for wanted in (eif.KERNEL, eif.CMDLINE))
    first, second, *others = [data for kind, data in parts if kind == eif.RAMDISK]
    cmdline += f" hostile={words}".encode()
    with tempfile.TemporaryDirectory(prefix="tee-hostile-") as folder:
        subprocess.run(["strip", "-o", f"{folder}/init", f"{build}/tests/qemu_hostile"], check=True)
        with open(f"{folder}/init", "rb") as file:
            first = eif.pack(reworker.replace(first, {"init": file.read()}), level=3)
    text = next(data for name, _, data, _ in reworker.members(reworker.unpack(second)) if name == "toolchain/image")
    changed = {"ramdisk": str(len(first)), "cmdline": cmdline.decode()}
    lines = [f"{word} {changed.get(word, rest)}" for word, _, rest in
             (line.partition(" ") for line in text.decode().splitlines())]
    text = "".join(line.rstrip() + "\n" for line in lines).encode()
    eif.write(target + ".eif", kernel, cmdline, [first, reworker.replace(second, {"toolchain/image": text}), *others])
    os.symlink(os.path.abspath(image[:-4] + ".erofs"), target + ".erofs")
