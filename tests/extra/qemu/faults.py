#!/usr/bin/python3
"""faults.py BUILD_FOLDER IMAGE.eif qemu|nitro [NAME...]: what can go wrong with a virtual
machine or an enclave, whose image has C.

  killed   the emulator is killed at each step
  client   the client is killed at each step, by SIGKILL and by SIGINT
  full     the disk is full: for the bundle, for log and console
  hostile  the image's worker is a program that means harm (hostile.c)

Whatever it is: no bundle, no process and no file is left but the named ones, and the message
says what happened and where log and console are. qemu takes the emulator that is in PATH;
nitro the double of the driver (qemu_nitro_client), and NITRO_EMULATOR and NITRO_FIRMWARE name
its emulator."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import backend  # noqa: E402
import hostile  # noqa: E402
from backend import PATIENCE, check  # noqa: E402

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background jobs, and by who is started there

# What says that a step has begun.
STEPS = {"boot": "worker: ", "source": "sending the source", "build": "building (input.cmd)"}
LONG = "cc -o hello hello.c && echo compiled && sleep 600"
CONSOLES = {"qemu": "the machine's console is in {out}/release.tar.console",
            "nitro": "an enclave shows its console with --debug alone"}


class Lab(backend.Lab):
    def __init__(self, build, image, back_end, base):
        super().__init__(build, image, None, base)
        self.build, self.back_end, self.count = build, back_end, 0
        (base / "tmp").mkdir(exist_ok=True)
        self.env["TMPDIR"] = f"{base}/tmp"
        if back_end == "nitro":
            self.tool = f"{build}/tests/qemu_nitro_client"
            self.env["TEE_COMPILE_WORKER"] = f"{build}/src/tee-compile-worker"

    def folder(self):
        self.count += 1
        out = self.base / f"out-{self.count}"
        out.mkdir()
        return out

    def console(self, out):
        return CONSOLES[self.back_end].format(out=out)

    def finish(self, what, process, out, words, said="", expect=2, leaves=("console", "log")):
        """What it said, once it has ended as it has to."""
        if expect < 0:  # what would be left might hold stderr open
            process.wait(PATIENCE)
            self.check_nothing_left(what)
        said += process.communicate(timeout=PATIENCE)[1]
        last = said.splitlines()[-1] if said else ""
        print("   " + last[:600])
        if process.returncode != expect:
            print(said[-3000:], file=sys.stderr)
        check(f"{what}: ends", process.returncode, expect)
        for word in words:
            check(f"{what}: says {word!r}", bool(re.search(word, last)), True)
        left = {path.name for path in out.iterdir()} - {f"release.tar.{name}" for name in leaves}
        check(f"{what}: leaves no bundle", left, set())
        check(f"{what}: and nothing else", "something of the enclave stayed" in said, False)
        self.check_nothing_left(what)
        if expect == 2:
            check(f"{what}: and no temporary file", list((self.base / "tmp").iterdir()), [])
        return said


def read_until(process, word):
    said = ""
    for line in process.stderr:
        said += line
        if word in line:
            return said
    sys.exit(f"FAILED: never said {word!r}: {said}")


def await_emulator(lab, process):
    """One that stays: a first may be tried with a KVM that does not work, and ends by itself."""
    seen = {}
    while process.poll() is None:
        for pid in lab.emulators():
            if time.monotonic() - seen.setdefault(pid, time.monotonic()) > 2:
                return
        time.sleep(0.05)


def at_each_step(lab, name, act, image=None, steps=tuple(STEPS), **ends):
    for step in steps:
        word, what, out = STEPS[step], f"{name} at {step}", lab.folder()
        process = lab.start(lab.project(f"{name}-{step}", LONG), out / "release.tar", image=image)
        said = read_until(process, "compiled" if step == "build" else word)
        await_emulator(lab, process)
        act(process)
        yield what, out, step, lambda *words: lab.finish(what, process, out, words, said, **ends)


def killed(lab):
    def act(process):
        # Whichever there is: one that was tried with KVM is started again.
        while process.poll() is None:
            for pid in lab.emulators():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)
    for what, out, step, finish in at_each_step(lab, "killed", act):
        reason = {"qemu": "the emulator ended with signal 9",
                  "nitro": "enclave ended before its session" if step == "boot" else "the enclave ended, and its device"}[lab.back_end]
        said = finish(reason, f"{re.escape(lab.console(out))}|its console says nothing")
        check(f"{what}: its log", os.path.exists(f"{out}/release.tar.log"), step == "build")
        check(f"{what}: its console", os.path.exists(f"{out}/release.tar.console"),
              lab.back_end == "qemu" and lab.console(out) in said)


def client(lab):
    killed_so = {"act": lambda process: process.kill(), "expect": -signal.SIGKILL, "leaves": ()}
    for *_, finish in at_each_step(lab, "client killed", **killed_so):
        finish()
    # A guest that does not care who has gone.
    for *_, finish in at_each_step(lab, "client of a hanging guest killed", image=make(lab, "hang"), steps=["boot"], **killed_so):
        finish()
    # The double of the driver is the client, and had no time to clean up.
    for folder in (lab.base / "tmp").glob("tee-nitro-*"):
        shutil.rmtree(folder)
    for *_, finish in at_each_step(lab, "client interrupted", lambda process: process.send_signal(signal.SIGINT), leaves=()):
        finish("interrupted")


def on_small_disk(lab, what, cmd, *words, image=None):
    """In a mount namespace of its own, a disk with little room."""
    project, folder = lab.project(what.replace(" ", "-"), cmd), lab.folder()
    script = """mount -t tmpfs -o size=256k none "$1" && "$2" build --backend "$3" --dir "$4" --image "$5" --output "$1/release.tar"
                status=$?; ls -A "$1" | sed 's/^/left: /' >&2; exit $status"""
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "bash", "-c", script, "bash", folder, lab.tool,
                           lab.back_end, project, image or lab.image],
                          env=lab.env, capture_output=True, text=True, timeout=PATIENCE, check=False)
    lines = done.stderr.splitlines()
    said = [line for line in lines if not line.startswith("left: ")][-1]
    print("   " + said[:600])
    check(f"{what}: ends", done.returncode, 2)
    for word in words:
        check(f"{what}: says {word!r}", word in said, True)
    left = {line[6:] for line in lines if line.startswith("left: ")}
    check(f"{what}: no bundle", left - {"release.tar.log", "release.tar.console"}, set())
    lab.check_nothing_left(what)


def full(lab):
    on_small_disk(lab, "no room for the bundle", "cc -o hello hello.c && head -c 4000000 /dev/urandom > big && cat big >> hello",
                  "cannot write the bundle: No space left on device")
    on_small_disk(lab, "no room for the log", "cc -o hello hello.c && head -c 4000000 /dev/zero | tr '\\0' x",
                  "cannot write the log: No space left on device")
    if lab.back_end == "qemu":  # which alone keeps one
        on_small_disk(lab, "no room for the console", None, "did not connect: the emulator ended with status 0",
                      "cannot write the console's log: No space left on device", image=make(lab, "flood,last"))


def make(lab, words):
    target = f"{lab.base}/{words.replace(',', '-')}"
    if not os.path.exists(target + ".eif"):
        hostile.make(lab.image, lab.build, words, target)
    return target + ".eif"


def hostile_guests(lab):
    """What each does, what the client says, what the console ends with."""
    qemu = lab.back_end == "qemu"
    early = "did not connect: the emulator ended with status 0" if qemu else "ended before its session began"
    cases = (("hang", "did not connect within", None),
             ("connect,hang", "the worker", None),
             ("panic", early, "Attempted to kill init"),
             ("last", early, "last words"),
             ("flood,last", f"{early}|did not connect within", "last words"),
             ("connect,flood,last", "the worker", "last words"),
             ("connect,storm,last", "the worker", "last words"),
             ("connect,garbage,await,last", "the worker", "last words"))
    # Those that hang cost nothing but time: all at once.
    started = []
    for words, *_ in cases[:2]:
        out = lab.folder()
        started.append((lab.start(lab.project(f"hostile-{words}"), out / "release.tar", image=make(lab, words)), out))
    for words, reason, last in cases[2:]:
        out = lab.folder()
        process = lab.start(lab.project(f"hostile-{words}"), out / "release.tar", "--debug", image=make(lab, words))
        said = process.communicate(timeout=PATIENCE)[1]
        judge(lab, words, process, out, said, reason, last)
    for (process, out), (words, reason, _) in zip(started, cases):
        judge(lab, words, process, out, process.communicate(timeout=PATIENCE)[1], reason, None)
    lab.check_nothing_left("hostile guests")


def judge(lab, words, process, out, said, reason, last):
    what = f"a guest that does {words}"
    message = said.splitlines()[-1]
    print("   " + message[:600])
    check(f"{what}: ends", process.returncode, 2)
    check(f"{what}: says {reason!r}", bool(re.search(reason, message)), True)
    # On a busy machine a flood or a storm outlasts the patience of the host.
    slow = ("flood" in words or "storm" in words) and ("within" in message or "has not moved" in message)
    check(f"{what}: no escape sequence gets through", "\033" in said or "\x9b" in said or "\r" in said, False)
    left = {path.name for path in out.iterdir()}
    check(f"{what}: leaves no bundle", left, {"release.tar.console"} if lab.back_end == "qemu" and left else set())
    if lab.back_end == "qemu":
        console = (out / "release.tar.console").read_text(errors="replace") if left else ""
        check(f"{what}: its console", (lab.console(out) in message) == bool(console), True)
        check(f"{what}: is no larger than is said", len(console) < (4 << 20) + (80 << 10), True)
        if last and not slow:
            check(f"{what}: its console ends well", last in console[-4096:], True)
    else:
        check(f"{what}: where its console is", ("what its console said is above" if last else lab.console(out)) in message, True)
    if last and "flood" not in words and not slow:  # which may be more than anybody takes
        check(f"{what}: --debug shows it", last in said, True)
    storm = re.search(r"storm: (\d+) of 10000 were let", said)
    if "storm" in words and not slow:
        check(f"{what}: 10000 connections", bool(storm) and 1 <= int(storm[1]) < 2000, True)


def main():
    if len(sys.argv) < 4 or sys.argv[3] not in CONSOLES:
        sys.exit(__doc__)
    build, image = (os.path.abspath(path) for path in sys.argv[1:3])
    tests = {"killed": killed, "client": client, "full": full, "hostile": hostile_guests}
    base = pathlib.Path(tempfile.mkdtemp(prefix="tee-faults-"))
    lab = Lab(build, image, sys.argv[3], base)
    try:
        for name, test in tests.items():
            if name in sys.argv[4:] or not sys.argv[4:]:
                print(f"-- {sys.argv[3]}: {name}", flush=True)
                test(lab)
    finally:
        for pid, *_ in list(lab.processes()):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(base, ignore_errors=True)
    print("faults: every check passed")


if __name__ == "__main__":
    main()
