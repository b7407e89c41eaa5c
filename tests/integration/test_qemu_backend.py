#!/usr/bin/env python3
"""The qemu back end without an emulator: a program in its place, which plays a guest
over the real vsock device (tests/unit/fake_emulator.c), does what a guest and a host
can do wrong. Whatever it is: a message that says what happened and where the console
is, no bundle, and nothing left. The image's kernel is the text that says what the
program does. A real boot is tests/extra/qemu.

usage: test_qemu_backend.py TEE_COMPILE FAKE_EMULATOR [NAME...]"""
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time

import image_lab
from common_case import run_cases

TOOL, FAKE = (os.path.abspath(path) for path in sys.argv[1:3])
WANTED = sys.argv[3:]
LIMITS = {"memory": "64M", "disk": "64M", "timeout": "60s"}


class Lab:
    erofs = None

    def __init__(self, base):
        self.base = base
        self.env = {**os.environ, "XDG_DATA_HOME": str(base / "data"), "NO_COLOR": "1", "TMPDIR": str(base / "tmp")}
        self.project, self.out_folder = base / "project", base / "out"
        for folder in (self.project, self.out_folder, base / "tmp"):
            folder.mkdir()
        self.out = self.out_folder / "release.tar"
        spec = {"language": "mini", "input": {"cmd": "true"}, "output": {"files": ["out"]}, "limits": LIMITS}
        (self.project / "build.json").write_text(json.dumps(spec))
        if Lab.erofs is None:
            # Nothing mounts it: what counts is that it is the one whose hash is in the image.
            Lab.erofs = bytes(1024) + b"\xe2\xe1\xf5\xe0" + bytes(4096 * 4 - 1028)

    def command(self, guest, *args, emulator=FAKE, out=None):
        folder = self.base / f"image-{len(list(self.base.iterdir()))}"
        folder.mkdir()
        image = image_lab.Image(folder, erofs=Lab.erofs, kernel=guest.encode() + b"\n")
        return [TOOL, "build", "--dir", str(self.project), "--backend", "qemu", "--image", str(image.eif),
                "--output", str(out or self.out), *(["--emulator", emulator] if emulator else []), *args]

    def start(self, guest, *args, **kwargs):
        return subprocess.Popen(self.command(guest, *args, **kwargs), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env={**self.env, "FAKE_MARK": str(self.project / "mark")}, cwd=self.base)

    def fail(self, guest, *words, expect=2, process=None, options=(), **kwargs):
        """A build that comes to nothing, and what it says."""
        process = process or self.start(guest, *options, **kwargs)
        said = "".join(process.communicate(timeout=120))
        assert process.returncode == expect, (process.returncode, said)
        for word in words:
            assert word in said, (word, said)
        self.check_clean(guest)
        return said

    def check_clean(self, guest):
        left = sorted(path.name for path in self.out_folder.iterdir())
        assert left in ([], ["release.tar.console"]), left
        assert not list((self.base / "tmp").iterdir())
        await_none(str(self.base), guest)

    def console(self):
        return (self.out_folder / "release.tar.console").read_text(errors="replace")


def relatives(base):
    """Processes that are this lab's: with its folder in the command line or the environment."""
    for folder in pathlib.Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            known = base.encode() in (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if known and state != "Z":
            yield int(folder.name)


def await_none(base, what):
    """The kernel ends orphans at once, but not within the call that made them."""
    for _ in range(1000):
        left = list(relatives(base))
        if not left:
            return
        time.sleep(0.01)
    raise AssertionError(f"{what}: still there: {left}")


def is_emulator(pid):
    """With a machine: another is only asked which ones it has, and may be there a moment before."""
    try:
        return os.readlink(f"/proc/{pid}/exe") == FAKE and \
            b"-accel" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def find_emulator(lab, *known):
    """Once it runs. known: of those that were tried before, on the real processor."""
    for _ in range(6000):
        for pid in relatives(str(lab.base)):
            if pid not in known and is_emulator(pid):
                return pid
        time.sleep(0.01)
    raise AssertionError("no emulator was started")


def await_file(path):
    for _ in range(6000):
        if path.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} was not made")


# --- what is missing ---

def test_no_emulator(lab):
    lab.env["PATH"] = str(lab.base)
    said = lab.fail("fail", "there is no qemu-system-x86_64 in PATH: apt-get install qemu-system-x86", emulator=None)
    assert "console" not in said, said
    lab.fail("fail", "cannot find the emulator /nowhere/qemu", emulator="/nowhere/qemu")
    lab.fail("fail", "is no program that this user can run", emulator=str(lab.project / "build.json"))


def test_found_in_path(lab):
    (lab.base / "bin").mkdir()
    (lab.base / "bin/qemu-system-x86_64").symlink_to(FAKE)
    lab.env["PATH"] = f"/nowhere::{lab.base}/bin"
    lab.fail("fail", "the emulator ended with status 7", emulator=None)
    lab.env["PATH"] = str(lab.base)
    (lab.base / "another").symlink_to(FAKE)
    lab.fail("fail", "the emulator ended with status 7", emulator="another")


def test_another_program(lab):
    lab.fail("fail", "names neither nitro-enclave nor microvm", "/bin/echo", emulator="/bin/echo")
    lab.fail("fail", "/bin/true -M help printed nothing", emulator="/bin/true")


def test_no_image(lab):
    for image in ("host", "nowhere"):
        command = [TOOL, "build", "--dir", str(lab.project), "--backend", "qemu", "--image", image, "--output", str(lab.out)]
        done = subprocess.run(command, capture_output=True, text=True, env=lab.env, check=False)
        assert done.returncode == 2, done
        if image == "host":
            assert "--backend qemu runs images, and --image host is none" in done.stderr, done.stderr
    assert not list(lab.out_folder.iterdir())


def test_options(lab):
    for words, reason in ((["--emulator", FAKE], "--emulator goes with --backend qemu"),
                          (["--backend", "qemu", "--emulator", ""], "--emulator goes with"),
                          (["--backend", "vm"], "expected auto")):
        done = subprocess.run([TOOL, "build", "--dir", str(lab.project), "--output", str(lab.out), *words],
                              capture_output=True, text=True, env=lab.env, check=False)
        assert done.returncode == 2 and reason in done.stderr, done
    assert not list(lab.out_folder.iterdir())


def test_too_much_memory(lab):
    spec = json.loads((lab.project / "build.json").read_text())
    spec["limits"]["memory"] = "512T"
    (lab.project / "build.json").write_text(json.dumps(spec))
    lab.fail("fail", "the machine would have", "lower the limits")


# --- a guest that goes wrong ---

def test_emulator_fails(lab):
    said = lab.fail("arguments fail", "the guest did not connect: the emulator ended with status 7", "; it said last: ", "|argument -no-reboot; ",
                    f"the machine's console is in {lab.out}.console")
    assert "NOT attested by hardware" in said and "emulated (TCG)" in said, said
    console = lab.console()
    assert "argument tcg\n" in console and "argument console=ttyS0 panic=1 reboot=t tsc_early_khz=" in console, console
    assert "argument -sandbox\nargument on," in console and "no sandbox" not in said, (console, said)
    memory = int(re.search(r"size=(\d+)B", console)[1])
    assert (128 + 256 << 20) <= memory <= (128 + 300 << 20), memory


def test_says_it_once(lab):
    """Where the console is, once; what is not KVM's fault is not said to be."""
    said = lab.fail("open last last fail", "; it said last: no endlast words|last words; the machine's console is in ")
    assert said.count("console") == 2 and said.count("release.tar.console") == 1 and "\\x0a" not in said, said
    kvm = os.access("/dev/kvm", os.R_OK | os.W_OK)
    assert "KVM does not work" not in said and said.count("no end") == 1 + kvm, said
    if kvm:  # and why it did not
        assert ("; with KVM the guest did not connect: the emulator ended with status 7; it said last: no endlast words|last words\n"
                in said), said


def test_noise_leaves_room(lab):
    """What a guest says last does not push out where its log is; nor does a long name."""
    lab.fail("noise fail", r"\x1b; the machine's console is in " + f"{lab.out}.console\n")
    folder = lab.base / ("x" * 200) / ("y" * 200) / ("z" * 200)
    folder.mkdir(parents=True)
    said = "".join(lab.start("noise fail", out=folder / "release.tar").communicate(timeout=120))
    assert f"the machine's console is in {folder}/release.tar.console\n" in said, said
    assert "build: the guest did not connect: the emulator ended with status 7; it said last: " in said, said


def test_no_core(lab):
    """Neither the guest's memory nor that of what signs ends in a folder."""
    raised = (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2
    resource.setrlimit(resource.RLIMIT_CORE, raised)
    process = lab.start("session mark wait")
    await_file(lab.project / "mark")
    own = [pid for pid in relatives(str(lab.base)) if pid != process.pid]
    limits = [re.search(r"Max core file size +(\S+)", pathlib.Path(f"/proc/{pid}/limits").read_text())[1] for pid in own]
    process.send_signal(signal.SIGINT)
    lab.fail("session mark wait", "interrupted", process=process)
    assert len(own) >= 5 and set(limits) <= {"0", "1"}, limits


def test_without_sandbox(lab):
    """Not every build of the emulator can confine itself: it is said, and it is used."""
    lab.env["FAKE_NO_SANDBOX"] = "1"
    lab.fail("arguments fail", "this emulator has no sandbox (-sandbox)", "status 7")
    assert "argument -M\nargument microvm" in lab.console() and "argument -sandbox" not in lab.console(), lab.console()


def test_ends_at_once(lab):
    lab.fail("", "the guest did not connect: the emulator ended with status 0", "its console says nothing")


def test_dies_before_it_connects(lab):
    process = lab.start("wait")
    pid = find_emulator(lab)
    os.kill(pid, signal.SIGKILL)
    if os.access("/dev/kvm", os.R_OK | os.W_OK):  # and is started again without it
        os.kill(find_emulator(lab, pid), signal.SIGKILL)
    lab.fail("wait", "the emulator ended with signal 9", process=process)


def test_dies_in_the_session(lab):
    process = lab.start("session mark wait")
    await_file(lab.project / "mark")
    os.kill(find_emulator(lab), signal.SIGKILL)
    lab.fail("session mark wait", "the emulator ended with signal 9", process=process)


def test_hangs_in_the_session(lab):
    """Stopped, it is as silent as one that hangs: the user need not wait for it to end."""
    process = lab.start("session mark wait")
    await_file(lab.project / "mark")
    os.kill(find_emulator(lab), signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    lab.fail("session mark wait", "interrupted", process=process)


def test_garbage_on_the_control_port(lab):
    lab.fail("garbage", "the worker", f"the machine's console is in {lab.out}.console")
    assert "session: " in lab.console(), lab.console()


def test_breaks_the_device(lab):
    lab.fail("break wait", "the guest cannot connect: the vsock device has ended", "driver broke a queue")


def test_floods_the_console(lab):
    lab.fail("arguments flood last fail", "last words", "status 7")
    console = lab.console()
    assert len(console) < (4 << 20) + (80 << 10) and "bytes are left out here" in console
    assert console.startswith("argument ") and console.endswith("last words\n"), console[-200:]


def test_debug(lab):
    """The console on stderr too, where it cannot move a cursor."""
    said = lab.fail("arguments escape last fail", "argument -M\n", "\\x1b[31mred\nlast words\n", options=["--debug"])
    assert "\r" not in said and "\033" not in said and b"\033[31mred\r\n" in (lab.out_folder / "release.tar.console").read_bytes(), said
    lab.fail("open fail", "no end\ntee-compile build: ", options=["--debug"])
    said = lab.fail("arguments escape last fail", "status 7")
    assert "argument -M\n" not in said, said


def test_debug_unread(lab):
    """The guest does not wait for whoever looks on."""
    process = lab.start("flood flood mark last fail", "--debug")
    await_file(lab.project / "mark")
    lab.fail("flood", "status 7", process=process)
    assert lab.console().endswith("last words\n")


def test_storm_of_connections(lab):
    """10,000 connections beside the session: the host takes its share of them and goes on."""
    lab.fail("session storm last", "the machine's console is in")
    let = int(re.search(r"storm: (\d+)", lab.console())[1])
    assert 64 <= let < 2000 and lab.console().endswith("last words\n"), lab.console()


def test_attester(lab):
    """What answers in the place of an NSM, once; and nothing else listens."""
    lab.fail("nsm nsm own", "the guest did not connect")
    assert re.search(r"nsm: .*development-.*\nnsm: refused\nown: refused\n", lab.console()), lab.console()


# --- who waits for it ---

def test_interrupt(lab):
    process = lab.start("wait")
    find_emulator(lab)
    process.send_signal(signal.SIGINT)
    said = lab.fail("wait", "interrupted", process=process)
    assert "console is in" not in said and not list(lab.out_folder.iterdir()), said


def test_interrupt_in_the_session(lab):
    process = lab.start("session mark wait")
    await_file(lab.project / "mark")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 2
    lab.check_clean("session wait")


def test_client_is_killed(lab):
    for guest in ("wait", "session mark wait"):
        process = lab.start(guest)
        find_emulator(lab)
        if "mark" in guest:
            await_file(lab.project / "mark")
        process.kill()
        process.communicate(timeout=60)
        await_none(str(lab.base), guest)
        assert not list(lab.out_folder.iterdir())


def test_two_at_once(lab):
    """One's end is not the other's."""
    first = lab.start("wait", out=lab.out_folder / "one.tar")
    find_emulator(lab)
    second = lab.start("arguments fail", out=lab.out_folder / "two.tar")
    said = "".join(second.communicate(timeout=60))
    assert "status 7" in said and "two.tar.console" in said, said
    assert first.poll() is None
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    assert first.returncode == 2
    await_none(str(lab.base), "two at once")
    assert [path.name for path in lab.out_folder.iterdir()] == ["two.tar.console"]


def end_relatives(base):
    for pid in relatives(str(base)):
        os.kill(pid, signal.SIGKILL)


sys.exit(1 if run_cases(globals(), WANTED, Lab, end_relatives) else 0)
