#!/usr/bin/env python3
"""How builds end: interrupted, killed, read by nobody, or with a name that is taken meanwhile. No
process, control group or half of a result stays behind.

usage: test_build_ends.py TEE_COMPILE [NAME...]"""
import fcntl
import os
import select
import signal
import struct
import subprocess
import termios

from cli_case import TOOL, main
from common_case import descendants


def start(p, *args):
    return subprocess.Popen([TOOL, "build", "--image", "host", "--dir", str(p.dir), "--output", str(p.out),
                             *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process, word):
    seen = ""
    while word not in seen:
        line = process.stderr.readline()
        assert line, seen
        seen += line
    return seen


def gone(pids):
    for pid in pids:
        fd = None
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            import select
            assert select.select([fd], [], [], 20)[0], f"process {pid} lives on"
        finally:
            os.close(fd)


def test_all_names_or_none(p):
    """Somebody takes the last name while the build runs."""
    p.spec("echo started; sleep 3; echo > out")
    detached, folder = p.base / "detached.tar", p.base / "extracted"
    detached.write_text("the one before")
    process = start(p, "--detached", str(detached), "--extract", str(folder))
    wait_for(process, "started")
    p.out.mkdir()
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 2 and "cannot " in err, (process.returncode, err)
    assert p.left() == ["release.tar", "release.tar.log"], p.left()
    p.out.rmdir()
    p.build("--detached", detached, "--extract", folder)
    p.verify("--artifact", folder / "out", bundle=detached)


def test_what_failed_before(p):
    """Logs of an earlier build are nobody's source, and do not outlive the next one."""
    p.out = p.dir / "release.tar"
    p.spec("echo said; ls -A > out; exit 1")
    p.build(expect=1)
    log, console = p.dir / "release.tar.log", p.dir / "release.tar.console"
    assert log.exists()
    console.write_text("what a machine said")
    p.run("build", "--image", "none", "--dir", p.dir, "--output", p.out, expect=2)
    assert log.exists() and console.exists()  # nothing began: they are of the last one still
    p.spec("ls -A > out")
    p.build()
    assert not log.exists() and not console.exists()
    assert p.output() == b"build.json\nout\n", p.output()
    console.write_text("of another build")
    log.write_text("of another build")
    p.verify("--source", p.dir)
    p.build("--host-tool", "/none", expect=2)
    assert not log.exists() and not console.exists()
    p.verify("--source", p.dir)
    # One that began takes away the bundles that are there: they are not of this build.
    detached = p.base / "detached.tar"
    p.build("--detached", detached)
    p.spec("exit 1")
    p.build("--detached", detached, expect=1)
    assert not p.out.exists() and not detached.exists()


def test_interrupt_leaves_nothing(p):
    p.spec("echo started; sleep 100; echo > out")
    process = start(p)
    wait_for(process, "started")
    below = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 2
    assert "interrupted; nothing was kept" in said, said
    gone(below)
    assert p.left() == [], p.left()


def test_ignored_signals_stay_ignored(p):
    """As nohup and a shell's background jobs start a command."""
    p.spec("echo started; sleep 2; echo > out")
    ignored = (signal.SIGHUP, signal.SIGINT)
    before = [signal.signal(number, signal.SIG_IGN) for number in ignored]
    process = start(p)
    for number, handler in zip(ignored, before):
        signal.signal(number, handler)
    wait_for(process, "started")
    for number in ignored:
        process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, (process.returncode, said)
    p.verify()


def test_closed_standard_files(p):
    """What is said to nobody must not end up in what is built."""
    p.spec("echo said; echo > out")
    for closed in ("<&-", "2>&-", "<&- >&-", "<&- 2>&-", "<&- >&- 2>&-"):
        command = f'exec "$@" {closed}'
        done = subprocess.run(["sh", "-c", command, "sh", TOOL, "build", "--image", "host", "--dir", str(p.dir),
                               "--output", str(p.out)], timeout=120, check=False)
        assert done.returncode == 0, (closed, done)
        p.verify()
        if closed == "<&- 2>&-":  # what was asked for, and cannot be said, is no success
            lost = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", TOOL, "report", "--json", str(p.out)],
                                  timeout=120, check=False)
            assert lost.returncode == 2, lost
        p.out.unlink()


def test_interrupt_is_heard_while_nobody_reads(p):
    """A full pipe on stderr must not make the client deaf."""
    p.spec("yes | head -c 1000000; sleep 100; echo > out")
    process = start(p)
    full = struct.pack("i", 0)
    before = -1
    while before < 32768 or before != struct.unpack("i", full)[0]:
        assert process.poll() is None
        before = struct.unpack("i", full)[0]
        select.select([], [], [], 0.2)  # until the pipe grows no more
        full = fcntl.ioctl(process.stderr, termios.FIONREAD, full)
    below = descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    gone(below)
    process.communicate(timeout=30)
    assert process.returncode == 2, process.returncode
    assert p.left() == [], p.left()


def test_interrupt_is_heard_while_no_terminal_reads(p):
    """A terminal that is ready for a byte need not be for a line."""
    p.spec("yes | head -c 1000000; sleep 100; echo > out")
    master, slave = os.openpty()
    process = subprocess.Popen([TOOL, "build", "--image", "host", "--dir", str(p.dir), "--output", str(p.out)],
                               stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    full = struct.pack("i", 0)
    rounds = 0  # in which there was no more to read than before
    while rounds < 5:
        assert process.poll() is None
        before = struct.unpack("i", full)[0]
        select.select([], [], [], 0.2)
        full = fcntl.ioctl(master, termios.FIONREAD, full)
        rounds = rounds + 1 if 2048 < before == struct.unpack("i", full)[0] else 0
    below = descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    gone(below)
    while process.poll() is None:  # its last words are nobody's duty to read either
        process.send_signal(signal.SIGTERM)
        select.select([], [], [], 0.05)
    os.close(master)
    assert process.returncode in (2, -signal.SIGTERM), process.returncode
    assert p.left() == [], p.left()


def test_interrupt_before_the_worker_starts(p):
    """Where a hostile configuration, or a lock, makes the client wait for ever."""
    p.spec("echo > out")
    p.commit()
    os.mkfifo(p.base / "fifo")
    with (p.dir / ".git/config").open("a") as config:
        config.write(f"[include]\n\tpath = {p.base}/fifo\n")
    process = start(p)
    # It waits for a writer once it has opened the FIFO: a writer that does not wait tells.
    while process.poll() is None:
        try:
            writer = os.open(p.base / "fifo", os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError:
            select.select([], [], [], 0.05)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    os.close(writer)
    assert process.returncode == -signal.SIGTERM, process.returncode
    assert p.left() == ["fifo"], p.left()


def test_reader_that_goes_away(p):
    p.spec("seq 100000; echo > out")
    process = start(p, "--extract", p.base / "files")
    process.stderr.readline()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert p.left() == ["files", "release.tar"], p.left()
    p.verify()


def test_result_that_cannot_be_written(p):
    p.spec("echo > out")
    with open("/dev/full", "w") as full:
        done = subprocess.run([TOOL, "build", "--json", "--image", "host", "--dir", p.dir, "--output", p.out],
                              stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and "cannot write the result" in done.stderr, done


def test_killed_client_leaves_no_process(p):
    p.spec("echo started; sleep 100; echo > out")
    process = start(p)
    wait_for(process, "started")
    below = descendants(process.pid)
    process.kill()
    process.communicate()
    gone(below)
    assert p.left() == [], p.left()
    p.spec("echo > out")
    p.build()  # sweeps what the kill left of control groups
    p.build()  # and what was not yet empty then


def test_killed_worker(p):
    p.spec("echo started; sleep 100; echo > out")
    process = start(p)
    wait_for(process, "started")
    below = descendants(process.pid)
    for number in (signal.SIGSTOP, signal.SIGKILL):  # none sees another's end and tells of it
        for pid in below:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 2, (process.returncode, said)
    gone(below)
    assert p.left() == ["release.tar.log"], p.left()


main(globals())
