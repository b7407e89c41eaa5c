#!/usr/bin/env python3
"""Hostile commands against the real stages, sandbox and local back end.

    test_sandbox.py WORKER SANDBOX_RUN PROBE OOM_WORKER [unittest arguments]

Run by root it tests root and, in a mount namespace of its own with its own
/etc/passwd and /etc/subuid, an ordinary user; run by an ordinary user, that one.
"""
import errno
import glob
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

WORKER, RUN, PROBE, OOM_WORKER = (os.path.abspath(path) for path in sys.argv[1:5])
EXITED, SIGNALED, TIMEOUT, MEMORY, PROCESSES, KILLED, NOT_STARTED = range(1, 8)
USER = 54321
CGROUPS = [f"/sys/fs/cgroup/{name}" for name in ("memory", "pids")]

FOLDER = tempfile.mkdtemp(prefix="tee-compile-sandbox.", dir="/var/tmp")  # not /tmp: the build has its own
TOOLS = os.path.join(FOLDER, "tools", "bin")


def set_up():
    os.chmod(FOLDER, 0o755)
    os.makedirs(TOOLS)
    for path in (WORKER, RUN, PROBE, OOM_WORKER):
        shutil.copy(path, TOOLS)
        os.chmod(os.path.join(TOOLS, os.path.basename(path)), 0o755)
    for name, text in (
        ("passwd", f"root:x:0:0::/:/bin/sh\ntester:x:{USER}:{USER}::/:/bin/sh\n"),
        ("group", f"root:x:0:\ntester:x:{USER}:\n"),
        ("subid", "tester:1000000:65536\n"),
    ):
        with open(os.path.join(FOLDER, name), "w", encoding="ascii") as file:
            file.write(text)


def as_user(command):
    """The command for an ordinary user whom the machine does not know."""
    binds = " && ".join(
        f"mount --bind {FOLDER}/{source} /etc/{target}"
        for source, target in (("passwd", "passwd"), ("group", "group"), ("subid", "subuid"), ("subid", "subgid"))
    )
    return ["unshare", "--mount", "sh", "-c",
            f'{binds} && exec setpriv --reuid {USER} --regid {USER} --clear-groups "$@"', "sh"] + command


# Run inside; a process's own files are its own.
WALK = """
import errno, os
tried = 0
for top, folders, files in os.walk('/proc'):
    if top == '/proc':
        folders[:] = [name for name in folders if not name.isdigit()]
    for name in files:
        path = os.path.join(top, name)
        tried += 1
        for flags in (os.O_WRONLY, os.O_RDWR):
            try:
                os.close(os.open(path, flags | os.O_NONBLOCK))
                print('OPENED', path)
            except OSError as error:
                if path == '/proc/sys/kernel/shmmax':
                    print(path, 'refused', errno.errorcode[error.errno])
print('tried', tried)
"""


class Result:
    def __init__(self, text, errors, status):
        self.text, self.errors, self.status = text, errors, status
        self.ends = [(int(end), int(code)) for end, code in re.findall(r"^END (\d+) STATUS (\d+)$", text, re.M)]
        found = re.search(r"^VERDICTS ([01]*)$", text, re.M)
        self.verdicts = found.group(1) if found else None

    def __str__(self):
        return f"\n{self.text}\n{self.errors}\nstatus {self.status}"


class Sandbox:
    """How a test starts commands; one for each kind of user."""

    user = False

    def command(self, *commands, **limits):
        options = []
        for name, value in limits.items():
            options += ["--" + name.replace("_", "-"), str(value)]
        devroot = os.path.join(FOLDER, "dev-user" if self.user else "dev")
        if not os.path.isdir(devroot):
            os.mkdir(devroot, 0o700)
            if self.user and os.geteuid() == 0:
                os.chown(devroot, USER, USER)
        line = [os.path.join(TOOLS, os.path.basename(RUN)), os.path.join(TOOLS, os.path.basename(WORKER)), devroot]
        if TOOLS in " ".join(commands):
            options += ["--host-tool", os.path.dirname(TOOLS)]
        line += options + list(commands)
        return as_user(line) if self.user and os.geteuid() == 0 else line

    def run_commands(self, *commands, **limits):
        # The limit of time only ends a harness that hangs.
        done = subprocess.run(self.command(*commands, **limits), capture_output=True, text=True,
                              errors="replace", timeout=300, check=False)
        return Result(done.stdout, done.stderr, done.returncode)

    def check_end(self, end, *commands, **limits):
        """The last command ends so, and what is not a clean end is never told to
        the monitor as one."""
        result = self.run_commands(*commands, **limits)
        self.assertTrue(result.ends, result)
        self.assertEqual(result.ends[-1][0], end, result)
        clean = end == EXITED and result.ends[-1][1] == 0
        self.assertEqual(result.verdicts[-1], "1" if clean else "0", result)
        self.assertEqual(result.status == 0, clean, result)
        return result

    # --- what must work ---

    def test_plain_build(self):
        result = self.check_end(EXITED, "cat source.txt; echo first > out", "test $(cat out) = first; echo second > out")
        self.assertEqual(result.verdicts, "111", result)
        self.assertIn("source\n", result.text)
        self.assertEqual(result.text.count("out: second"), 2, result)

    def test_world(self):
        result = self.check_end(EXITED, "id -u; id -g; hostname; pwd; echo TZ=$TZ; umask; ulimit -n; ulimit -c; "
                                "echo to-stderr > /dev/stderr; cat /proc/self/status; ls /proc/self/fd | wc -l")
        for line in ("1000", "tee-compile", "/build", "TZ=UTC0", "0022", "16384", "to-stderr"):
            self.assertIn(f"{line}\n", result.text)
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertIn(f"{name}:\t0000000000000000", result.text)
        self.assertIn("NoNewPrivs:\t1", result.text)
        self.assertIn("Seccomp:\t2", result.text)
        self.assertRegex(result.text, r"\n4\n")  # 0, 1, 2, and the folder that ls reads

    def test_allowed(self):
        names = ("unix", "inet", "inet6", "route", "clone")
        result = self.check_end(EXITED, self.probes(names))
        for name in names:
            self.assertIn(f"{name}: ALLOWED", result.text)

    def test_exit_status(self):
        self.assertEqual(self.check_end(EXITED, "exit 3").ends, [(EXITED, 3)])
        self.assertEqual(self.check_end(EXITED, "exit 125").ends, [(EXITED, 125)])
        self.check_end(EXITED, "false | true")
        self.check_end(EXITED, "kill -9 $$")

    def test_not_started(self):
        # More than the kernel takes as one argument.
        path = os.path.join(FOLDER, "long")
        with open(path, "w", encoding="ascii") as file:
            file.write("true " + "x" * 200000)
        os.chmod(path, 0o644)
        result = self.check_end(NOT_STARTED, "@" + path)
        self.assertIn("sandbox could not be set up", result.text)
        # bwrap runs, the command does not.
        result = self.check_end(NOT_STARTED, "echo RAN", misbehave=6)
        self.assertNotIn("RAN", result.text)

    # --- escapes ---

    def probes(self, names):
        tool = os.path.join(TOOLS, os.path.basename(PROBE))
        return "; ".join(f"{tool} {name}" for name in names)

    def test_system_calls(self):
        names = """vsock vsock-high-bits vsock-pair packet alg alg-high-bits key-family x25-high-bits
            netlink-kobject netlink-netfilter netlink-high-bits raw-ip io_uring bpf perf userfaultfd keyctl mount
            fsopen open_tree unshare-user unshare-net clone-user clone-user-net clone3 clone3-user setns chroot
            tiocsti tiocsti-high-bits i386 x32 new-call""".split()
        result = self.check_end(EXITED, self.probes(names))
        for name in names:
            self.assertRegex(result.text, rf"(?m)^{name}: refused", result)
        # By the filter, and not because something else happens to be in the way.
        for name, reason in (("vsock", "EAFNOSUPPORT"), ("vsock-pair", "EAFNOSUPPORT"), ("io_uring", "ENOSYS"), ("clone3", "ENOSYS"),
                             ("mount", "ENOSYS"), ("unshare-user", "ENOSYS"), ("clone-user", "EPERM"),
                             ("bpf", "ENOSYS"), ("tiocsti", "EPERM"), ("tiocsti-high-bits", "EPERM"),
                             ("keyctl", "ENOSYS"), ("new-call", "ENOSYS"), ("netlink-kobject", "EPROTONOSUPPORT")):
            self.assertIn(f"{name}: refused {reason}", result.text)

    def test_host_files(self):
        result = self.check_end(EXITED, "for f in /root /var /run /sys/kernel /work /scratch /toolchain /cgroup "
                                "/dev/nsm /dev/vsock /dev/kmsg /dev/mem /dev/kvm /etc/shadow /etc/machine-id /etc/ssh "
                                "/etc/hostname /proc/1/root/scratch /boot /mnt /opt /srv; do "
                                "test ! -e $f || echo SEEN $f; done; ls /home; ls -a /home/build /tmp /dev/shm | sort -u; "
                                "cat /etc/resolv.conf")
        self.assertIn("nameserver 198.18.0.1\n\nEND", result.text)  # the worker's, not the machine's
        self.assertNotIn("SEEN", result.text)
        self.assertIn("\nbuild\n", "\n" + result.text)

    def test_read_only(self):
        result = self.check_end(EXITED, "for f in / /usr /usr/bin /etc /dev /home /proc; do "
                                "if { : > $f/x; } 2>/dev/null; then echo WROTE $f; fi; done; test ! -e /sys/kernel; "
                                "for d in /build /tmp /home/build /dev/shm; do : > $d/x; echo wrote $d; done")
        self.assertNotIn("WROTE", result.text)
        self.assertEqual(result.text.count("wrote"), 4, result)

    def test_proc_is_read_only(self):
        """Every file of /proc that is no process's own, by an open that would write."""
        result = self.check_end(EXITED, f"python3 - <<'WALK'\n{WALK}\nWALK")
        self.assertNotIn("OPENED", result.text, result)
        tried = int(re.search(r"^tried (\d+)$", result.text, re.M).group(1))
        self.assertGreater(tried, 200, result)
        self.assertIn("/proc/sys/kernel/shmmax refused EROFS", result.text)

    def test_worker_is_out_of_reach(self):
        tool = os.path.join(TOOLS, os.path.basename(PROBE))
        # Every process that shows is the build's; its PID 1 is filtered as well,
        # so that tracing it gains nothing.
        result = self.check_end(EXITED, "cat /proc/[0-9]*/comm | sort | uniq -c; grep -h -E '^(Seccomp|NoNewPrivs|CapEff):' /proc/1/status; "
                                f"for pid in 2000 4194304; do {tool} signal $pid; done; grep -l stages /proc/*/cmdline || true; "
                                "ls -l /proc/1/fd || true; ip route 2>/dev/null || true; cat /proc/net/dev")
        self.assertNotIn("worker", result.text.split("\nEND")[0])
        self.assertIn("Seccomp:\t2", result.text)
        self.assertIn("CapEff:\t0000000000000000", result.text)
        self.assertNotIn("ALLOWED", result.text)
        self.assertNotIn("eth0", result.text)

    def test_log_is_not_readable(self):
        result = self.check_end(EXITED, "if cat < /proc/self/fd/1 2>/dev/null; then echo READ; else echo kept; fi")
        self.assertIn("kept", result.text)

    # --- what outlives a command ---

    def check_gone(self, leave):
        """leave starts something that takes the lock; then nothing may hold it."""
        ready = "until ! flock -n /build/lock true; do :; done"
        result = self.check_end(EXITED, f"{leave}\n{ready}\necho good > out",
                                "flock -n /build/lock true && echo free")
        self.assertIn("free", result.text)
        # Whatever the survivor made of it before: it does not change any more.
        outs = re.findall(r"^out: .*$", result.text, re.M)
        self.assertEqual((len(outs), len(set(outs))), (2, 1), result)

    def test_background(self):
        self.check_gone("flock /build/lock sleep 1000 > /dev/null 2>&1 &")

    def test_daemon(self):
        self.check_gone("( trap '' TERM HUP INT; setsid flock /build/lock sh -c \"trap '' TERM; while :; do echo evil > /build/out; done\" "
                        "< /dev/null > /dev/null 2>&1 & ) &")

    def test_many_daemons(self):
        self.check_gone("for i in 1 2 3 4 5 6 7 8; do ( setsid sh -c 'while :; do (:) & wait; done' >/dev/null 2>&1 & ) ; done; "
                        "( setsid flock /build/lock sleep 1000 > /dev/null 2>&1 & )")

    def test_log_held_open(self):
        # The session reads the log to its end: a survivor would keep it from it.
        result = self.check_end(EXITED, "sleep 1000 & setsid sleep 1001 & echo x > out")
        self.assertIn("out: x", result.text)

    # --- limits ---

    def test_fork_bomb(self):
        self.check_end(PROCESSES, "set +e; b() { b | b & }; b; wait; sleep 1; exit 0", processes=40, timeout=60)

    def test_processes_hidden(self):
        # By python: a shell waits, longer each time, and tries again.
        self.check_end(PROCESSES, """python3 -c '
import subprocess
for i in range(100):
    try:
        subprocess.Popen(["sleep", "1000"])
    except OSError:
        pass' || true; exit 0""", processes=20)

    def test_disk(self):
        for folder in ("/tmp", "/build", "$HOME", "/dev/shm"):
            with self.subTest(folder=folder):
                self.check_end(MEMORY, f"dd if=/dev/zero of={folder}/fill bs=1M 2>/dev/null || true; exit 0",
                               memory="32M", disk="16M")

    def test_disk_by_parts(self):
        self.check_end(MEMORY, "for d in /tmp /build $HOME /dev/shm; do head -c 14M /dev/zero > $d/fill || true; done; exit 0",
                       memory="32M", disk="8M")

    def test_disk_probe_hides(self):
        self.check_end(MEMORY, "fallocate -l 1G /tmp/big 2>/dev/null || rm -f /tmp/big; exit 0", memory="32M", disk="16M")

    def test_empty_files(self):
        self.check_end(MEMORY, "mkdir d; cd d; i=0; (while :; do : > f$i; i=$((i+1)); done) || true; exit 0",
                       memory="16M", disk="4M", timeout=100)

    def test_memory(self):
        self.check_end(MEMORY, "python3 -c 'x = bytearray(1 << 30)' || true; exit 0", memory="64M", disk="16M")

    def test_within_limits(self):
        # Red if the limits are tighter than they say: 60 of 64 MiB of disk.
        self.check_end(EXITED, "head -c 60M /dev/zero > /build/a; rm /build/a", memory="64M", disk="64M")

    def test_exhaustion_is_sticky(self):
        result = self.run_commands("dd if=/dev/zero of=/tmp/f bs=1M 2>/dev/null || true; rm -f /tmp/f; exit 0", "true",
                                   memory="32M", disk="16M")
        self.assertEqual(len(result.ends), 1, result)
        self.assertIn("FAIL start refused", result.text)
        self.assertNotEqual(result.status, 0, result)

    def test_oom_score(self):
        result = self.check_end(EXITED, "cat /proc/self/oom_score_adj; echo -1 > /proc/self/oom_score_adj || echo kept")
        self.assertIn("kept", result.text)

    def check_oom_refused(self, line, before=()):
        done = subprocess.run([*before, *line], capture_output=True, text=True, errors="replace", timeout=300,
                              check=False, env={**os.environ, "TC_TEST_DEBUG": "1"})
        result = Result(done.stdout, done.stderr, done.returncode)
        self.assertNotEqual(result.status, 0, result)
        self.assertNotIn("RAN", result.text, result)
        self.assertIn("withdraw itself from the OOM killer", result.text + result.errors)

    def test_oom_score_can_be_lowered(self):
        """A build that withdrew from the OOM killer would meet ENOMEM, which it could hide."""
        line = self.command("echo RAN")
        worker = os.path.join(TOOLS, os.path.basename(WORKER))
        self.check_oom_refused([os.path.join(TOOLS, os.path.basename(OOM_WORKER)) if word == worker else word
                                for word in line])

    def test_oom_score_is_low(self):
        """The same where the machine lets root (CAP_SYS_RESOURCE) start it with a low one."""
        low = ["sh", "-c", 'echo -500 > /proc/self/oom_score_adj && exec "$@"', "sh"]
        if subprocess.run([*low, "true"], check=False, capture_output=True).returncode != 0:
            self.skipTest("nobody may lower oom_score_adj here; test_oom_score_can_be_lowered stands in")
        self.check_oom_refused(self.command("echo RAN"), low)

    def test_timeout(self):
        self.check_end(TIMEOUT, "sleep 1000 || true; exit 0", timeout=1)
        self.check_end(TIMEOUT, "trap '' TERM INT HUP; while :; do :; done", timeout=1)

    def test_timeout_is_for_all(self):
        result = self.run_commands("sleep 3", "sleep 4", timeout=6)
        self.assertEqual([end for end, _ in result.ends], [EXITED, TIMEOUT], result)

    def test_log_limit(self):
        self.check_end(KILLED, "yes", log="64K")

    def test_too_little_memory(self):
        result = self.run_commands("true", memory="64T", disk="64M")
        self.assertIn("FAIL prepare unavailable", result.text)
        self.assertRegex(result.text, r"limits.memory 64\.0 TiB.*only .* are available")

    def test_too_few_processes(self):
        """A host that caps forks below what build.json allows could let a probe fail unseen."""
        line = self.command("true", processes=300)
        at = line.index(os.path.join(TOOLS, os.path.basename(RUN)))
        line[at:at] = ["prlimit", "--nproc=200:200", "--"]
        done = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=300, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"FAIL prepare unavailable.*RLIMIT_NPROC .* is 200, expected at least 302")

    # --- the worker's own processes ---

    def test_session_filter(self):
        result = self.run_commands("true", misbehave=3)
        for name in ("open", "fork", "socket", "inet pair", "ptrace", "kill", "exec"):
            self.assertIn(f"{name} refused", result.text)
        # Host, stages, monitor, recorder, and nothing of the others'.
        self.assertEqual(re.findall(r"^fd (\d+)$", result.text, re.M), ["3", "4", "5", "6"], result)
        text = result.text.split("RECORDER")[1]
        for name in ("open", "fork", "ptrace", "kill", "exec", "listen", "inet", "inet6", "unix", "netlink", "packet",
                     "inet pair", "setuid", "process by clone"):
            self.assertIn(f"{name} refused", text)
        self.assertIn("thread started", text)
        # Session, stages, monitor, the host's dialler, the trust anchors.
        self.assertRegex(text, r"fds 3 4 5 6( 7)?\n")
        for name in ("socket", "fork"):  # the collector's
            self.assertIn(f"{name} refused", result.text.split("END")[-1])

    def test_out_of_order(self):
        result = self.run_commands("echo RAN", misbehave=1)
        self.assertNotIn("RAN", result.text)
        self.assertIn("out of its order", result.text)
        result = self.run_commands("true", misbehave=2)
        self.assertIn("out of its order", result.text)
        self.assertNotEqual(result.status, 0, result)

    def test_monitor_dies(self):
        result = self.run_commands("sleep 1000", misbehave=4)
        self.assertEqual(result.ends[0][0], KILLED, result)
        self.assertNotEqual(result.status, 0, result)

    def test_session_dies(self):
        result = self.run_commands("sleep 1000", misbehave=5)
        self.assertNotEqual(result.status, 0, result)

    def test_everything_dies_with_the_client(self):
        with subprocess.Popen(self.command("echo RUNNING; sleep 1000 & setsid sleep 1001"), stdout=subprocess.PIPE) as client:
            while b"RUNNING" not in client.stdout.readline():
                self.assertIsNone(client.poll())
            family = descendants(client.pid)
            # attester, launcher, stages, monitor, session, bwrap, its PID 1, bash; the sleeps may come
            self.assertGreaterEqual(len(family), 8, family)
            watched = [os.pidfd_open(pid) for pid in family]
            client.send_signal(signal.SIGKILL)
            client.wait()
            poll = select.poll()
            for fd in watched:
                poll.register(fd, select.POLLIN)
            while watched:
                ended = poll.poll(60000)
                self.assertTrue(ended, "something outlived the client")
                for fd, _ in ended:
                    poll.unregister(fd)
                    watched.remove(fd)
                    os.close(fd)
        # What it could not tidy up, a later one does, once the kernel lets go of the dead:
        # their new parent has to reap them first.
        for _ in range(50):
            self.check_end(EXITED, "true")
            if not self.leftovers():
                break
        self.assertEqual(self.leftovers(), [])

    def leftovers(self):
        return [path for top in CGROUPS for path in glob.glob(f"{top}{'/tee-compile' if self.user else ''}/tee-compile.*")
                if not os.path.isdir("/proc/" + path.rsplit(".", 1)[1])]


def descendants(pid):
    parents = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="latin-1") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(path.split("/")[2])] = int(fields[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


@unittest.skipIf(os.geteuid() != 0, "these are root's")
class AsRoot(Sandbox, unittest.TestCase):
    def test_kernel_uid(self):
        """What the build does is done by a uid that is nobody's on this machine."""
        with subprocess.Popen(self.command("echo RUNNING; exec sleep 1000"), stdout=subprocess.PIPE) as client:
            while b"RUNNING" not in client.stdout.readline():
                self.assertIsNone(client.poll())
            uids = set()
            for pid in descendants(client.pid):
                with open(f"/proc/{pid}/status", encoding="ascii") as file:
                    uids.add(int(re.search(r"^Uid:\t\d+\t(\d+)", file.read(), re.M).group(1)))
            client.kill()
        base = 0x70000000
        self.assertTrue({base, base + 1, base + 2, base + 3, base + 1000} <= uids, uids)
        # Beside them only the attester, which runs as the client does.
        self.assertEqual(uids - {base, base + 1, base + 2, base + 3, base + 1000}, {0})


class AsUser(Sandbox, unittest.TestCase):
    user = True

    @classmethod
    def setUpClass(cls):
        cls.owners = {}
        if os.geteuid() != 0:
            return
        # A group that is there already, of a user of this machine or of a test that was
        # killed, is lent for as long as this takes.
        for top in filter(os.path.isdir, CGROUPS):
            path = f"{top}/tee-compile"
            if os.path.isdir(path):
                cls.owners[path] = os.stat(path)
            else:
                os.mkdir(path)
            for name in ("", "/cgroup.procs"):
                os.chown(path + name, USER, USER)

    @classmethod
    def tearDownClass(cls):
        if os.geteuid() != 0:
            return
        for top in CGROUPS:
            path = f"{top}/tee-compile"
            if path in cls.owners:
                for name in ("", "/cgroup.procs"):
                    os.chown(path + name, cls.owners[path].st_uid, cls.owners[path].st_gid)
                continue
            for part in [*glob.glob(f"{path}/*/build"), *glob.glob(f"{path}/tee-compile.*"), path]:
                remove_group(part)


def remove_group(path):
    """A group is busy until somebody has reaped the last of the dead in it."""
    for _ in range(1000):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.01)
        else:
            return
    raise RuntimeError(f"{path} stays busy")


if __name__ == "__main__":
    set_up()
    try:
        unittest.main(argv=[sys.argv[0]] + sys.argv[5:], verbosity=2)
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
