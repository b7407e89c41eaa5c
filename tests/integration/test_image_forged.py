#!/usr/bin/env python3
"""Images whose files are not the ones that were made, or that lie about themselves: nothing of them
is stored.

usage: test_image_forged.py TEE_COMPILE [NAME...]"""
import json
import shutil

import image_lab
from image_store_case import flip, main


def test_damaged_files(lab):
    image, data = lab.image, len(lab.image.data)
    for at, word in ((0, "root hash"), (data // 2, "root hash"), (data - 1, "root hash"),
                     (data, "hash tree"), (data + len(image.tree) - 1, "hash tree")):
        image.write()
        flip(image.erofs, at)
        lab.refuse(image, word)
    whole = image.data + image.tree
    for wrong in (whole[:-4096], whole + bytes(4096), image.data, b"", whole[4096:] + whole[:4096],
                  bytes(len(whole))):
        image.erofs.write_bytes(wrong)
        lab.refuse(image, "mini.erofs")
    image.write()
    size = image.eif.stat().st_size
    for at in (0, 100, 560, size // 2, size - 1):
        image.write()
        flip(image.eif, at)
        lab.refuse(image, "mini.eif" if at else "eif")
    image.write()
    image.eif.write_bytes(image.eif.read_bytes() + b"\0")
    lab.refuse(image, "eif")
    image.eif.write_bytes(b"")
    lab.refuse(image, "eif")


def test_another_file_system(lab):
    other = lab.new("other", erofs=lab.make_erofs("another\n"))
    shutil.copy(other.erofs, lab.image.erofs)
    lab.refuse(lab.image, "mini.erofs")
    shutil.copy(other.eif, lab.image.eif)
    lab.refuse(lab.image, "another image")


def test_moved_bounds(lab):
    """PCR0 is the same in each: nothing else says that the machine is another one."""
    image = lab.image
    kernel, first, second = image.kernel, image.first, image.second
    line, pcr0 = image.cmdline, image.pcrs()[0]
    attacks = [
        ("kernel", {"kernel": kernel + line[:1].encode(), "cmdline": line[1:]}),
        ("kernel", {"kernel": kernel[:-1], "cmdline": kernel[-1:].decode() + line}),
        ("first ramdisk", {"cmdline": line[:-1], "ramdisks": [line[-1:].encode() + first, second]}),
        ("first ramdisk", {"cmdline": line + first[:4].decode(), "ramdisks": [first[4:], second]}),
        ("no image of tee-compile", {"ramdisks": [first[:-4], first[-4:] + second]}),
        ("no image of tee-compile", {"ramdisks": [first + second[:512], second[512:]]}),
        ("no image of tee-compile", {"ramdisks": [first + second]}),
        ("no image of tee-compile", {"ramdisks": [first, second[:512], second[512:]]}),
        ("no image of tee-compile", {"ramdisks": [first[:512], first[512:], second]}),
    ]
    for word, sections in attacks:
        image.write(image.eif, **sections)
        measured = lab.run("image", "measure", "--json", image.eif)
        assert pcr0 in measured, "the attack is none"
        # What is found even where the toolchain's ramdisk is cut in two.
        told = word[:2] != "no" or sections["ramdisks"][0] == first and len(sections["ramdisks"]) == 3
        assert ("is not the image that was made" in measured) == told, measured
        assert ("is not the image that was made" in lab.run("image", "inspect", image.eif)) == told
        lab.refuse(image, word)
    image.write()
    assert json.loads(lab.run("image", "measure", "--json", image.eif))["warnings"] == []
    image.write(image.eif, flags=1)  # neither is the architecture
    lab.refuse(image, "aarch64")
    image.write(image.eif, metadata=b'{"x": 1}')  # not measured, and nothing reads it
    lab.pull(image)


def test_lies_about_itself(lab):
    image = lab.image
    for word, changes in (("command line", {"cmdline": "init=/bin/sh"}), ("kernel", {"kernel": 1}),
                          ("first ramdisk", {"ramdisk": 1}), ("no image", {"name": "../x"}),
                          ("no image", {"kernel": "01"})):
        image.second = image.ramdisk(**changes)
        image.write()
        lab.refuse(image, word)
    image.second = image.ramdisk()
    third = b"a third ramdisk could replace /init " * 32
    image.write(image.eif, ramdisks=[image.first, image.second, third])
    boot = [image.kernel, image.cmdline.encode(), image.first, image.second, third]
    lab.refuse(image, "expected 2 ramdisks", pcr0=image_lab.measure(boot))
    for extra in (1, -1):  # of the blocks in all, and as many in the file
        image.second = image.ramdisk(extra_blocks=extra)
        image.write()
        whole = image.data + image.tree
        image.erofs.write_bytes(whole + bytes(4096) if extra > 0 else whole[:-4096])
        lab.refuse(image, "blocks" if extra > 0 else "", expect=1)
    image.second = image.ramdisk()[:-512]
    image.write()
    lab.refuse(image, "no image")
    image.second = b"a ramdisk of somebody else" + bytes(486)
    image.write()
    lab.refuse(image, "no image")


main(globals())
