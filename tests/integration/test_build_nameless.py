#!/usr/bin/env python3
"""Builds whose outputs lie on a file system that knows no file without a name: what is not finished
has a hidden name then, which is no source of the build and does not outlive it.

usage: test_build_nameless.py TEE_COMPILE [NAME...], with NO_TMPFILE=MODULE in the environment"""
import fcntl
import os
import re
import select
import signal
import subprocess
import time

from cli_case import TOOL, main

HIDDEN = re.compile(r"\.release\.tar(\.log)?\.[0-9a-f]{16}\.part|\.(detached|net)\.tar\.[0-9a-f]{16}\.part")


def start(p, *args, **kwargs):
    p.out = p.dir / "release.tar"
    return subprocess.Popen([TOOL, "build", "--image", "host", "--dir", str(p.dir), "--output", str(p.out), *map(str, args)],
                            text=True, env={**os.environ, "LD_PRELOAD": os.environ["NO_TMPFILE"]}, **kwargs)


def names(p):
    return sorted(path.name for path in p.dir.iterdir())


def until(process, condition):
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < end, (process.returncode, process.args)
        select.select([], [], [], 0.02)


def test_is_no_source(p):
    p.spec("ls -A > out")
    process = start(p)
    assert process.wait(timeout=120) == 0
    assert names(p) == ["build.json", "release.tar"], names(p)
    assert p.output() == b"build.json\nout\n", p.output()
    p.verify("--source", p.dir)
    # As a kill leaves it: a file, and nothing else that is called so.
    part = p.dir / ".release.tar.0123456789abcdef.part"
    part.write_text("half")
    p.verify("--source", p.dir)
    part.unlink()
    part.symlink_to("/etc")
    p.verify("--source", p.dir, expect=1)
    part.unlink()
    part.mkdir()
    p.verify("--source", p.dir, expect=1)


def test_interrupt_leaves_nothing(p):
    p.spec("echo started; sleep 100; echo > out", network={"mode": "record"})
    process = start(p, "--archive", p.dir / "net.tar", "--detached", p.dir / "detached.tar", stderr=subprocess.PIPE)
    while "started" not in process.stderr.readline():
        assert process.poll() is None
    hidden = [name for name in names(p) if HIDDEN.fullmatch(name)]
    assert len(hidden) == 5, names(p)  # the archive's are two
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 2 and names(p) == ["build.json"], (process.returncode, names(p))


def test_nothing_hidden_while_nobody_reads(p):
    """A signal that ends the client while it prints finds nothing left to clean up."""
    p.spec("echo > out")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        pass
    fcntl.fcntl(writer, fcntl.F_SETFL, 0)
    process = start(p, "--json", stdout=writer)
    until(process, lambda: names(p) == ["build.json", "release.tar"])
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == -signal.SIGINT
    assert names(p) == ["build.json", "release.tar"], names(p)
    os.close(reader)
    os.close(writer)


main(globals())
