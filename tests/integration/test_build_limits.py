#!/usr/bin/env python3
"""Builds that need more than they may have: unsigned, whatever the exit status, and the message
names the limit.

usage: test_build_limits.py TEE_COMPILE [NAME...]"""
import os
import subprocess

from cli_case import LIMITS, TOOL, main, refused


def limited(p, cmd, *words, **limits):
    p.spec(cmd, limits={**LIMITS, **limits})
    return refused(p, 1, *words)


def test_timeout(p):
    limited(p, "trap '' TERM INT; sleep 100", "limits.timeout", timeout="1s")


def test_memory(p):
    limited(p, "(tail /dev/zero || true); echo > out", "limits.memory", memory="64M", disk="16M")


def test_full_disk(p):
    for place in ("/build", "/tmp", "$HOME", "/dev/shm"):
        limited(p, f"(dd if=/dev/zero of={place}/x bs=1M || true) 2>/dev/null; rm -f {place}/x; echo > out",
                "limits.disk", memory="32M", disk="16M")


def test_probe_under_full_disk(p):
    limited(p, "if dd if=/dev/zero of=x bs=1M count=200 2>/dev/null; then echo yes; else echo no; fi "
               "> out; rm -f x; exit 0", "limits.disk", memory="32M", disk="16M")


def test_many_files(p):
    limited(p, "mkdir d; i=0; (while :; do : > d/$i; i=$((i+1)); done) || true; echo > out", "limits",
            memory="32M", disk="16M", timeout="60s")


def test_fork_bomb(p):
    limited(p, "b() { b | b & }; b 2>/dev/null; sleep 1; echo > out; exit 0", "limits.processes",
            processes=64)


def test_log(p):
    for limit, size in (("64K", 65536), ("4K", 4096)):
        limited(p, "yes | head -c 10000000; echo > out", "limits.log", log=limit)
        assert 0 < len(p.log()) <= size


def test_memory_of_the_machine(p):
    p.spec("echo > out", limits={"memory": "1T", "disk": "1M"})
    refused(p, 2, "available")


def test_source_larger_than_limits(p):
    p.write("big", os.urandom(40 << 20))
    p.spec("echo > out", limits={"memory": "16M", "disk": "8M"})
    refused(p, 1)


def test_too_few_descriptors(p):
    """Whatever runs out, the message does not blame the folders."""
    p.spec("echo > out")
    failed = 0
    for limit in range(8, 40, 4):
        done = subprocess.run(["prlimit", f"--nofile={limit}", "--", TOOL, "build", "--image", "host", "--dir",
                               str(p.dir), "--output", str(p.out)], capture_output=True, text=True, timeout=120)
        failed += done.returncode != 0
        assert "open to others" not in done.stderr, (limit, done.stderr)
    assert failed > 0


main(globals())
