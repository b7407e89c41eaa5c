#!/usr/bin/env python3
"""The project's own tools, called wrongly: a message and an exit status, no traceback.
And the threat model: each test that it names is there.

usage: test_tools.py PROJECT MAKE_BUNDLE"""
import os
import subprocess
import sys
import tempfile

PROJECT, MAKE_BUNDLE = (os.path.abspath(path) for path in sys.argv[1:3])
BENCH, CHECK, FETCH = (os.path.join(PROJECT, path) for path in
                       ("bench/run.py", "tests/integration/check_bundle.py", "script/fetch-source"))


def refused(status, word, program, *arguments):
    # The benchmark never gets as far as a build.
    command = [sys.executable, program] if program.endswith(".py") else [program]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=60,
                          env={**os.environ, "TEE_COMPILE": "/bin/false", "PYTHONDONTWRITEBYTECODE": "1"})
    said = f"{program} {arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    assert done.returncode == status, said
    assert word in done.stderr and "Traceback" not in done.stderr, said


def check_threat_model():
    with open(os.path.join(PROJECT, "docs/threat-model.md"), encoding="utf-8") as file:
        text = file.read().split("## What stops what")[1]
    rows = [line.strip("|\n ").split("|") for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10, rows
    for row in rows:
        for path in row[-1].split(","):
            assert os.path.exists(os.path.join(PROJECT, path.strip())), f"{path.strip()} does not exist: {row[0]}"


def main():
    check_threat_model()
    with tempfile.TemporaryDirectory() as folder:
        empty, missing, text = folder, folder + "/missing", folder + "/text"
        with open(text, "w", encoding="ascii") as file:
            file.write("no bundle")
        refused(2, "expected NAME=FOLDER", BENCH, "--source", "foo")
        refused(2, "expected NAME=FOLDER", BENCH, "--source", "zlib=")
        refused(2, "is unknown: expected zlib or xz-utils", BENCH, "--source", "zlip=" + empty)
        refused(2, "found no configure", BENCH, "--source", "zlib=" + missing)
        refused(2, "found no configure", BENCH, "--source", "zlib=" + empty)
        refused(2, "whole number from 1", BENCH, "--rounds", "0")
        refused(2, "MAKE_BUNDLE has to be a program", CHECK)
        refused(2, "check_bundle.py --bundle FILE", CHECK, text)
        refused(2, "MAKE_BUNDLE has to be a program", CHECK, missing)
        refused(1, "expected a bundle", CHECK, "--bundle", missing)
        refused(1, "expected a bundle", CHECK, "--bundle", text)
        bundle = folder + "/release.tar"
        subprocess.run([MAKE_BUNDLE, bundle, folder + "/root.pem"], check=True)
        subprocess.run([sys.executable, CHECK, "--bundle", bundle], check=True)
        subprocess.run(["tar", "--delete", "-f", bundle, "attestation/document.cbor"], check=True)
        refused(1, "expected a bundle", CHECK, "--bundle", bundle)
        refused(2, "usage:", FETCH)
        refused(2, "usage:", FETCH, folder)
        refused(2, "is no name of a Debian source package", FETCH, folder, "--compile")
        refused(2, "is no name of a Debian source package", FETCH, folder, "zlib/sid")
    print("every wrong call was refused with a reason")


main()
