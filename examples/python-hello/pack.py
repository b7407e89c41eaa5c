"""Packs the folder hello into one file that python3 runs, the same bytes every time."""
import os
import zipfile

with open("hello.pyz", "wb") as out:
    out.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(out, "a") as archive:
        for name in sorted(os.listdir("hello")):
            with open(os.path.join("hello", name), "rb") as file:
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), file.read())
os.chmod("hello.pyz", 0o755)
