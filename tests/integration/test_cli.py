#!/usr/bin/env python3
"""The command line as users and scripts see it: exit statuses, messages, what is
left behind. Every build here is a real one on the local back end.

usage: test_cli.py TEE_COMPILE [NAME...]"""
import base64
import fcntl
import hashlib
import json
import os
import pathlib
import select
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import termios

import image_lab

TOOL = os.path.abspath(sys.argv[1])
WANTED = sys.argv[2:]
LIMITS = {"memory": "512M", "disk": "256M", "timeout": "120s"}
GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false",
       "-c", "protocol.file.allow=always"]


def cgroups():
    found = set()
    for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids"):
        if os.path.isdir(top):
            found |= {f"{top}/{n}" for n in os.listdir(top) if n.startswith("tee-compile.")}
    return found


def children():
    out = subprocess.run(["ps", "-eo", "pid,comm"], capture_output=True, text=True).stdout
    return {line for line in out.splitlines() if "tee-compile" in line or "bwrap" in line}


class Project:
    def __init__(self, base):
        self.base = base
        self.dir = base / "project"
        self.dir.mkdir()
        self.out = base / "release.tar"

    def write(self, path, text, mode=None):
        file = self.dir / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        if mode:
            file.chmod(mode)

    def spec(self, cmd, files=("out",), **more):
        spec = {"language": "c", "input": {"cmd": cmd}, "output": {"files": list(files)},
                "limits": dict(LIMITS)}
        for key, value in more.items():
            spec.setdefault(key, {}).update(value) if isinstance(value, dict) else spec.update({key: value})
        self.write("build.json", json.dumps(spec))

    def git(self, *args, cwd=None):
        return subprocess.run([*GIT, *args], cwd=cwd or self.dir, check=True, capture_output=True,
                              text=True).stdout.strip()

    def commit(self, message="x"):
        if not (self.dir / ".git").exists():
            self.git("init", "-q")
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD")

    def run(self, *args, expect=0, env=None):
        result = subprocess.run([TOOL, *map(str, args)], capture_output=True, text=True, timeout=120,
                                env={**os.environ, **(env or {})})
        assert result.returncode == expect, (
            f"{' '.join(map(str, args))}: exit {result.returncode}, expected {expect}\n"
            f"{result.stdout}\n{result.stderr}")
        return result

    def build(self, *args, expect=0, env=None):
        return self.run("build", "--image", "host", "--dir", self.dir, "--output", self.out, *args,
                        expect=expect, env=env)

    def verify(self, *args, expect=0, bundle=None):
        return self.run("verify", "--root", root(), "--allow-unmeasured", *args, bundle or self.out,
                        expect=expect)

    def log(self):
        return pathlib.Path(f"{self.out}.log").read_text()

    def left(self):
        return sorted(p.name for p in self.base.iterdir() if p.name != "project")

    def output(self, path="out"):
        with tarfile.open(self.out) as tar:
            return tar.extractfile(f"outputs/{path}").read()

    def statement(self):
        with tarfile.open(self.out) as tar:
            return json.load(tar.extractfile("attestation/statement.json"))


def root():
    home = os.environ.get("XDG_DATA_HOME") or f"{os.environ['HOME']}/.local/share"
    return f"{home}/tee-compile/development-root.pem"


# --- good builds ---

def test_plain_folder(p):
    p.spec("printf 'hi\\n' > out")
    p.build()
    assert p.output() == b"hi\n"
    result = json.loads(p.verify("--json").stdout)
    assert result["verdict"] == "development" and result["hardware"] is False
    checks = {c["name"]: c["result"] for c in result["checks"]}
    assert checks["source"] == "not-asked" and checks["pcr16"] == "pass"
    assert "source not compared" in p.verify().stdout
    p.verify("--source", p.dir)


def test_git_commit_is_proven(p):
    p.spec("cp in out")
    p.write("in", "one\n")
    commit = p.commit()
    p.build("--nonce", "00ff")
    p.verify("--commit", commit, "--nonce", "00ff", "--source", p.dir)
    p.verify("--commit", "0" * 40, expect=1)
    p.verify("--nonce", "00fe", expect=1)
    p.write("in", "two\n")
    p.commit()
    p.verify("--source", p.dir, expect=1)


def test_verify_says_no(p):
    p.spec("echo > out")
    p.build()
    p.run("verify", p.out, expect=1)                          # AWS root
    p.run("verify", "--root", root(), p.out, expect=1)        # unmeasured
    p.run("verify", "--root", root(), p.base / "none.tar", expect=2)
    p.run("verify", "--root", "/etc/passwd", p.out, expect=2)
    p.run("verify", "--policy", "x", p.out, expect=2)


def test_detached(p):
    p.spec("echo 1 > out; echo 2 > two", files=["out", "two"])
    p.build("--detached", p.base / "app.att", "--extract", p.base / "files")
    out, two = p.base / "files/out", p.base / "files/two"
    p.verify("--artifact", out, "--artifact", two, bundle=p.base / "app.att")
    assert "two" in p.verify("--artifact", out, bundle=p.base / "app.att", expect=1).stdout
    out.write_bytes(b"other")
    p.verify("--artifact", out, "--artifact", two, bundle=p.base / "app.att", expect=1)


def test_source_of_a_plain_folder(p):
    """The bundle itself, where build puts it by default, is not part of the source."""
    p.spec("exit 1")
    done = subprocess.run([TOOL, "build", "--image", "host"], cwd=p.dir, capture_output=True, text=True)
    assert "; the build printed nothing: there is no log\n" in done.stderr, done.stderr
    p.spec("echo hi; exit 1")
    done = subprocess.run([TOOL, "build", "--image", "host"], cwd=p.dir, capture_output=True, text=True)
    assert "; the build's log is in release.tar.log\n" in done.stderr, done.stderr
    assert (p.dir / "release.tar.log").exists()
    p.spec("echo > out")
    subprocess.run([TOOL, "build", "--image", "host"], cwd=p.dir, check=True, capture_output=True)
    for bundle, source in (("release.tar", "."), (p.dir / "release.tar", p.dir)):
        done = subprocess.run([TOOL, "verify", "--root", root(), "--allow-unmeasured", "--source", source, bundle],
                              cwd=p.dir, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    p.write("more", "x")
    said = p.verify("--source", p.dir, bundle=p.dir / "release.tar", expect=1).stdout
    assert "every file in the folder counts" in said


def test_source_by_what_the_report_says(p):
    """Another build file, and a tree that was dirty, are compared as they were built."""
    p.write("ci/build.json", json.dumps({"language": "c", "input": {"cmd": "cp in out"}, "output": {"files": ["out"]},
                                         "limits": LIMITS}))
    p.write("in", "one")
    p.commit()
    p.build("--build-file", "ci/build.json")
    result = json.loads(p.verify("--source", p.dir, "--json").stdout)
    assert any("not build.json at the top" in text for text in result["warnings"]), result
    p.write("in", "two")
    said = p.verify("--source", p.dir, "--json", expect=2)
    checks = {c["name"]: c["result"] for c in json.loads(said.stdout)["checks"]}
    assert checks["source"] == "not-judged" and "differs from its commit" in said.stdout
    p.build("--build-file", "ci/build.json", "--allow-dirty")
    p.verify("--source", p.dir)
    p.write("in", "three")
    p.verify("--source", p.dir, expect=1)


def test_artifact_of_another_name(p):
    p.spec("echo 1 > app; echo 2 > helper; cp helper twin", files=["app", "helper", "twin"])
    p.build("--extract", p.base / "files")
    (p.base / "dl").mkdir()
    shutil.copy(p.base / "files/helper", p.base / "dl/app")
    said = p.verify("--artifact", p.base / "dl/app", expect=1).stdout
    assert "the name of one output and the bytes of another, helper" in said, said
    shutil.copy(p.base / "files/helper", p.base / "dl/renamed")
    checks = json.loads(p.verify("--json", "--artifact", p.base / "dl/renamed",
                                 "--artifact", p.base / "files/twin").stdout)["checks"]
    seen = {c["name"]: c["seen"] for c in checks}["artifacts"]
    assert "renamed is output helper" in seen and "twin is output twin" in seen, seen


def test_root_is_one_certificate(p):
    p.spec("echo > out")
    p.build()
    pem = pathlib.Path(root()).read_bytes()
    der = base64.b64decode(b"".join(pem.split(b"-----")[2].split()))
    for name, content, word in (("two.pem", pem + pem, "more than one"), ("tail.der", der + b"x", "bytes behind")):
        (p.base / name).write_bytes(content)
        said = p.run("verify", "--root", p.base / name, "--allow-unmeasured", p.out, expect=2).stderr
        assert word in said, said
    (p.base / "one.der").write_bytes(der)
    p.run("verify", "--root", p.base / "one.der", "--allow-unmeasured", p.out)


def test_json_whatever_happens(p):
    p.spec("exit 3")
    for args, expect in ((["verify", "none.tar"], 2), (["verify"], 2), (["report", "none.tar"], 2),
                         (["build", "--bogus"], 2), (["build", "--image", "host", "--dir", p.dir], 1),
                         (["verify", "--policy", "none", "x.tar"], 2), (["attestation", "verify", "none"], 2)):
        said = json.loads(p.run(*args, "--json", expect=expect).stdout)
        assert said["verdict"] in ("undecided", "failed") and said["reason"] and said["checks"] == [], said


def test_a_bundle_packed_again(p):
    p.spec("echo > out")
    p.build()
    folder = p.base / "unpacked"
    folder.mkdir()
    subprocess.run(["tar", "xf", p.out], cwd=folder, check=True)
    subprocess.run(["tar", "cf", p.base / "again.tar", "attestation", "outputs"], cwd=folder, check=True)
    said = p.verify(bundle=p.base / "again.tar", expect=1).stdout
    assert "unpacked and packed again" in said and len(said.splitlines()) < 20, said


def test_same_bytes_from_another_folder(p):
    p.write("main.c", '#include <stdio.h>\nint main(void) { puts(__FILE__); }\n')
    p.spec("gcc -g -o out main.c")
    p.build()
    first = p.output()
    other = p.base / "elsewhere"
    shutil.copytree(p.dir, other)
    p.run("build", "--image", "host", "--dir", other, "--output", p.base / "b.tar")
    with tarfile.open(p.base / "b.tar") as tar:
        assert tar.extractfile("outputs/out").read() == first


def test_world_of_the_build(p):
    p.spec("{ id -u; hostname; pwd; echo $HOME $TZ $LANG $SOURCE_DATE_EPOCH; stat -c %Y build.json; "
           "touch $HOME/x /tmp/y; echo /home/* /root/* /var/* /run/* /sys/*; "
           "touch /usr/x /etc/x /x 2>/dev/null || echo ro; cat /etc/shadow 2>&1 || true; } > out")
    p.build()
    lines = p.output().decode().splitlines()
    assert lines[:5] == ["1000", "tee-compile", "/build", "/home/build UTC0 C.UTF-8 315532800",
                         "315532800"], lines
    assert lines[5] == "/home/build /root/* /var/* /run/* /sys/*", lines
    assert lines[6] == "ro" and "No such file" in lines[7], lines


def test_git_folder(p):
    p.spec("{ git status --porcelain; git describe --tags --exact-match --dirty; git rev-parse HEAD; "
           "git tag; git fsck --strict; cat .git/config; } > /tmp/o 2>&1; mv /tmp/o out",
           source={"git": True})
    p.write("sub/a file", "x")
    p.write("run.sh", "#!/bin/sh\n", 0o755)
    os.symlink("run.sh", p.dir / "link")
    commit = p.commit()
    p.git("tag", "-a", "v1.0", "-m", "one")
    p.git("tag", "light")
    p.git("config", "core.fsmonitor", "touch /tmp/tee-compile-was-here")
    p.git("config", "user.secret", "hunter2")
    p.build()
    text = p.output().decode()
    assert text.splitlines()[:4] == ["v1.0", commit, "light", "v1.0"], text
    assert text.splitlines()[4] == "[core]", f"git fsck complains: {text}"
    assert "hunter2" not in text and "fsmonitor" not in text, text
    assert not os.path.exists("/tmp/tee-compile-was-here")


def test_submodules(p):
    inner = p.base / "inner"
    inner.mkdir()
    (inner / "lib.txt").write_text("library\n")
    for args in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        p.git(*args, cwd=inner)
    p.spec("cat sub/lib.txt > out")
    p.commit()
    p.git("submodule", "add", "-q", str(inner), "sub")
    p.commit()
    p.build()
    assert p.output() == b"library\n"
    digest = p.statement()["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"]["sha256"]
    shutil.rmtree(p.dir / "sub")
    os.mkdir(p.dir / "sub")
    assert "not checked out" in p.build("--allow-dirty", expect=2).stderr
    p.spec("test ! -e sub/lib.txt; echo none > out", source={"omit": ["sub"]})
    p.commit()
    p.build()
    assert p.output() == b"none\n"
    assert digest != p.statement()["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"]["sha256"]


def test_vendor_and_collect(p):
    p.spec("cp vendored out", input={"vendor": "echo v > vendored", "collect": {"cc": "gcc -dumpversion"},
                                     "env": ["GREETING=hello there"]})
    p.build()
    assert p.output() == b"v\n"
    assert "hello there" in p.run("report", p.out).stdout
    json.loads(p.run("report", "--json", p.out).stdout)
    p.run("report", "--markdown", p.out)


def test_collected_is_what_was_said(p):
    p.spec("echo > out", input={"collect": {"lines": "printf 'one\\n\\ttwo\\033[31m\\377\\n'",
                                            "long": "seq 2000"}})
    p.build()
    said = {b["name"]: base64.b64decode(b["content"])
            for b in p.statement()["predicate"]["runDetails"]["byproducts"] if "content" in b}
    assert said["lines"] == b"one\n\ttwo\\x1b[31m\\xff\n", said
    assert len(said["long"]) <= 4096 and said["long"].startswith(b"1\n2\n3\n"), said
    assert said["long"].endswith(b"\n[cut]\n"), said
    report = p.run("report", p.out).stdout
    assert "\n  build said   one\n                       two\\x1b[31m\\xff\n  asked" in report, report
    assert "\n  build said   1\n               2\n               3\n" in report, report
    assert "\n  asked        printf 'one\\n\\ttwo\\033[31m\\377\\n'\n" in report, report
    assert "x5c" not in report, report
    markdown = p.run("report", "--markdown", p.out).stdout
    eight = "&#160;" * 8
    assert f"| build said | <code>one</code><br><code>{eight}two&#92;x1b&#91;31m&#92;xff</code> |" in markdown, markdown


def test_the_hint_is_the_command_that_works(p):
    p.spec("echo 1 > out; echo 2 > two", files=["out", "two"])
    for args in ([], ["--detached", p.base / "it's app.att", "--extract", p.base / "some files"]):
        command = [TOOL, "build", "--image", "host", "--dir", p.dir, *args]
        done = subprocess.run([*map(str, command)], cwd=p.base, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        hint = [line for line in done.stderr.splitlines() if "check it: " in line][-1]
        hint = hint.split("check it: tee-compile ")[1]
        check = subprocess.run(["sh", "-c", f'"$0" {hint}', TOOL], cwd=p.base, capture_output=True, text=True)
        assert check.returncode == 0, (hint, check.stdout)
    assert p.left() == ["it's app.att", "release.tar", "some files"], p.left()


def test_image_of_the_build_file(p):
    p.spec("echo > out", image="host")
    p.run("build", "--dir", p.dir, "--output", p.out)
    p.spec("echo > out", image="rust", source={"git": True, "omit": ["x"]})
    said = p.run("build", "--dir", p.dir, "--output", p.out, expect=2,
                 env={"XDG_DATA_HOME": str(p.base / "no-images")}).stderr
    assert 'image rust ("image" of the build file) is not on this machine' in said
    said = p.build("-mem", "512").stderr
    for warning in ("names image rust; this build uses host", "source.git is ignored",
                    "source.omit is ignored", "-mem is ignored"):
        assert f"warning: " in said and warning in said, said


def test_no_log(p):
    p.spec("echo noise; echo > out")
    p.build("--no-log")
    with tarfile.open(p.out) as tar:
        assert "attestation/build.log" not in tar.getnames()
    p.verify()
    assert "not kept: built with --no-log" in p.run("report", p.out).stdout
    p.build()
    assert "--no-log" not in p.run("report", p.out).stdout


def test_host_tools_are_reported(p):
    p.spec("echo > out")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as tool:
        os.chmod(tool, 0o755)
        os.mkdir(f"{tool}/bin", 0o755)
        os.chmod(f"{tool}/bin", 0o755)
        p.build("--host-tool", tool)
        for form in ([], ["--markdown"]):
            assert "host tool" in p.run("report", *form, p.out).stdout
        assert f"\n  host tool    {tool}/bin\n" in p.run("report", p.out).stdout
    p.build()
    assert "host tool" not in p.run("report", p.out).stdout


def test_redaction(p):
    p.spec("echo 'Authorization: Bearer abcdef'; echo password=hunter2; echo > out")
    result = p.build()
    assert "hunter2" not in result.stderr and "abcdef" not in result.stderr
    with tarfile.open(p.out) as tar:
        assert b"hunter2" not in tar.extractfile("attestation/build.log").read()


def test_terminal_escapes(p):
    p.spec("printf '\\033[31mred\\n'; echo > out")
    assert "\033[31m" not in p.build().stderr


def test_arguments_are_escaped(p):
    """What a user, or whoever wrote the script, gives as a path cannot drive the terminal."""
    p.spec("echo > out")
    evil = f"{p.base}/a\033[31m\nb\r"
    os.mkdir(evil)
    for args in (["build", "--image", "host", "--dir", p.dir, "--output", evil],
                 ["build", "--image", "host", "--dir", p.dir, "--output", f"{evil}/c/d"],
                 ["build", "--image", "host", "--dir", p.dir, "--output", f"{evil}/."],
                 ["build", "--image", "host", "--dir", p.dir, "--output", p.out, "--extract", f"{evil}/x/y"],
                 ["build", "--image", "host", "--dir", p.dir, "--output", p.out, "--host-tool", evil],
                 ["build", "--image", "host", "--dir", p.dir, "--output", p.out, "--host-tool", "a\033\nb"],
                 ["build", "--image", "host", "--dir", evil + "/x", "--output", p.out],
                 ["build", "--image", "host", "--dir", evil, "--output", p.out],
                 ["build", "--image", "a\033\nb", "--dir", p.dir], ["build", "--backend", "a\033\nb"],
                 ["build", "a\033\nb"], ["build", "--a\033\nb"],
                 ["report", evil + "/x"], ["report", "--a\033\nb"], ["a\033\nb"],
                 ["verify", "--root", evil + "/x", p.out], ["verify", evil + "/x"], ["verify", "--a\033\nb"]):
        said = p.run(*args, expect=2)
        text = said.stderr + said.stdout
        assert "\033" not in text and "\r" not in text and "\nb" not in text, (args, text)


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


# --- builds that fail ---

def refused(p, expect, *words, args=()):
    result = p.build(*args, expect=expect)
    for word in words:
        assert word in result.stderr, f"{word!r} not in {result.stderr}"
    assert not p.out.exists()
    return result


def test_failing_command(p):
    p.spec("echo before; false; echo after > out")
    refused(p, 1, "exit status 1", "release.tar.log")
    assert p.log() == "before\n"


def test_failing_pipeline(p):
    p.spec("false | true; echo > out")
    refused(p, 1, "input.cmd failed")


def test_no_output(p):
    p.spec("true")
    refused(p, 1, "no file that matches")


def test_bad_build_files(p):
    for text, words in (("{", ["build.json:1:"]), ('{\n "language": "c",\n "language": "d"}', ["language"]),
                        ('{"langage":"c"}', ["langage", "language"])):
        p.write("build.json", text)
        refused(p, 2, *words)
    (p.dir / "build.json").unlink()
    refused(p, 2, "build.json")
    p.spec("echo > out", files=["../out"])
    refused(p, 2, "output")
    p.spec("echo > out", network={"mode": "open"})
    refused(p, 2, "network")
    assert p.left() == []


def test_back_ends(p):
    """What cannot be had is said before anything starts, and what was chosen is in the result."""
    p.spec("echo > out")
    said = p.build("--backend", "cloud", expect=2).stderr
    assert "--backend cloud: expected auto, local, " in said and "nitro" in said, said
    said = p.build("--backend", "nitro", expect=2).stderr
    assert "--image host is none: name an image" in said, said
    for cpus in ("0", "-1", "2x", "", "1025"):
        assert "--cpus takes a number" in p.build("--cpus", cpus, expect=2).stderr
    assert not p.left(), p.left()
    done = p.build("--json")
    assert "worker: local back end; no enclave, NOT attested by hardware (auto: this machine's own" in done.stderr
    assert json.loads(done.stdout)["backend"] == "local"
    assert p.statement()["predicate"]["buildDefinition"]["internalParameters"]["claimed"] == {"backend": "local"}
    said = p.run("report", p.out).stdout
    assert "claimed end  local\n" in said and "processors   " in said and "NOT attested by hardware" in said, said
    done = p.build("--json", "--backend", "local")
    assert "(auto" not in done.stderr, done.stderr
    # An EIF after the reference's -nitro is taken for an enclave's, and not for another back end's.
    said = p.run("build", "--dir", p.dir, "--output", p.base / "b", "-nitro", p.base / "none.eif", expect=2).stderr
    assert "none.eif" in said and "local back end" not in said, said


def test_back_end_options(p):
    """What contradicts or would be ignored is refused before anything starts."""
    p.spec("echo > out")
    for words, reason in ((["--backend", "local", "--cpus", "2"], "--cpus goes with --backend qemu or nitro"),
                          (["--backend", "qemu", "--cpus", "256"], "at most 255 processors"),
                          (["--backend", "local", "-nitro", "x.eif"], "and --backend local is given"),
                          (["-nitro", "x.eif", "--backend", "qemu"], "and --backend qemu is given"),
                          (["-nitro", "x.eif", "--image", "y.eif"], "and --image y.eif is given")):
        said = p.run("build", "--dir", p.dir, "--output", p.out, *words, expect=2).stderr
        assert reason in said, (words, said)
    # What says the same twice is no contradiction; 288 is within the limit.
    for words in (["-nitro", "x.eif", "--image", "x.eif", "--backend", "nitro"],
                  ["--backend", "qemu", "--cpus", "255", "--image", "x.eif"]):
        said = p.run("build", "--dir", p.dir, "--output", p.out, *words, expect=2).stderr
        assert "x.eif" in said and "given" not in said and "processors" not in said, said
    assert not p.left(), p.left()
    assert "--cpus is ignored" in p.build("--cpus", "2").stderr
    assert "--cpus is ignored" not in p.build().stderr


def test_doctor(p):
    """Each back end: yes or no; where no, the command that mends it. A build agrees with it."""
    said = p.run("doctor", expect=0).stdout
    assert "local  yes  " in said and "\nauto   " in said, said
    found = json.loads(p.run("doctor", "--json").stdout)
    assert found["verdict"] == "done" and isinstance(found["images"], list)
    ends = {end["name"]: end for end in found["backends"]}
    assert ends["local"]["usable"] and not ends["local"]["hardware"] and ends["nitro"]["hardware"]
    for end in ends.values():
        assert end["why"] and end["images"] == ("fix" not in end) and end["usable"] >= end["images"], end
    assert [c["name"] for c in found["checks"]] == list(ends)
    able = [name for name in ("nitro", "local") if ends[name]["images"]]
    assert found["auto"] == (able[0] if able else None), found
    if not os.path.exists("/dev/nitro_enclaves"):
        assert not ends["nitro"]["usable"] and "nitro_enclaves" in ends["nitro"]["fix"], ends["nitro"]
    # An image that is not what its folder says; the user's own are not touched.
    home = {"XDG_DATA_HOME": str(p.base / "data")}
    damaged = p.base / "data/tee-compile/images" / ("ab" * 48)
    damaged.mkdir(parents=True, mode=0o700)
    (damaged / "image.eif").write_bytes(b"no image")
    image, *others = json.loads(p.run("doctor", "--json", env=home).stdout)["images"]
    assert others == [{"name": name, "here": False} for name in ("c", "rust", "go", "node", "python", "java")], others
    assert "image  rust, not here\n" in p.run("doctor", env=home).stdout
    assert image["here"] and image["pcr0"] == "ab" * 48 and image["complete"] is False and image["problem"], image
    assert "image  DAMAGED, PCR0 abab" in p.run("doctor", env=home).stdout
    for wrong in (["--jsn"], ["word"], ["--backend"], ["--backend", "auto"]):
        p.run("doctor", *wrong, expect=2)
    for name, end in ends.items():
        status = 0 if end["usable"] else 1
        done = p.run("doctor", "--backend", name, expect=status)
        assert done.stdout.startswith(name), done
        assert "image" not in [line.split()[0] for line in done.stdout.splitlines()], done.stdout
        one = json.loads(p.run("doctor", "--backend", name, "--json", expect=status).stdout)
        assert [other["name"] for other in one["backends"]] == [name] and "images" not in one, one
        assert one["verdict"] == ("done" if end["usable"] else "failed"), one
    assert "usage: tee-compile doctor" in p.run("doctor", "--help").stdout


def test_doctor_in_a_container(p):
    """Where parts of /proc are covered no worker can have its own: said before a build is tried."""
    if os.geteuid() != 0:
        return
    cover = ["unshare", "--mount", "--propagation", "private", "bash", "-c",
             'mount -t tmpfs -o ro none /proc/acpi || mount -t tmpfs -o ro none /proc/fs; exec "$@"', "-"]
    done = subprocess.run([*cover, TOOL, "doctor", "--backend", "local"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "no new /proc can be mounted" in done.stdout, done


def test_enclave_without_its_driver(p):
    """A machine with the module and no device: a weaker back end is taken with a warning, and the fix."""
    if os.geteuid() != 0 or os.path.exists("/dev/nitro_enclaves"):
        return
    hide = ["unshare", "--mount", "--propagation", "private", "bash", "-c",
            'mount -t tmpfs none /sys/module && mkdir /sys/module/nitro_enclaves; exec "$@"', "-"]
    done = subprocess.run([*hide, TOOL, "doctor", "--json"], capture_output=True, text=True, timeout=60)
    nitro = json.loads(done.stdout)["backends"][2]
    assert nitro["name"] == "nitro" and not nitro["usable"] and nitro["fix"], nitro


def test_doctor_without_a_home(p):
    """Back ends are judged where there is no place for images, which is said."""
    homeless = {"XDG_DATA_HOME": "", "HOME": ""}
    done = p.run("doctor", env=homeless)
    assert "local  yes  " in done.stdout and "not here" not in done.stdout, done.stdout
    assert "set HOME or XDG_DATA_HOME" in done.stdout and not done.stderr, done
    found = json.loads(p.run("doctor", "--json", env=homeless).stdout)
    assert found["verdict"] == "done" and found["images"] == [] and found["backends"][0]["usable"], found
    assert "set HOME or XDG_DATA_HOME" in found["images_unknown"], found
    assert "images_unknown" not in json.loads(p.run("doctor", "--json").stdout)


def without(programs, *command):
    """In a mount namespace where these are no programs of this machine."""
    hide = ["unshare", "--mount", "--map-root-user", "bash", "-c",
            f'for name in {" ".join(programs)}; do test ! -e "/usr/bin/$name" || '
            'mount --bind /dev/null "/usr/bin/$name" || exit 99; done; PATH=/usr/bin exec "$@"', "-"]
    return subprocess.run([*hide, *map(str, command)], capture_output=True, text=True, timeout=60)


def test_doctor_without_a_back_end(p):
    """Exit status 1, and why. Without a sandbox program no worker starts."""
    done = without(["bwrap", "qemu-system-x86_64"], TOOL, "doctor", "--json")
    found = json.loads(done.stdout)
    if os.access("/dev/nitro_enclaves", os.R_OK | os.W_OK):
        return
    assert done.returncode == 1 and found["verdict"] == "failed", done
    local = found["backends"][0]
    assert local["name"] == "local" and "apt-get install bubblewrap" in local["fix"], local
    assert found["auto"] is None, found
    said = without(["bwrap", "qemu-system-x86_64"], TOOL, "doctor").stdout
    assert "\nauto   none: it takes nitro or local, and neither can be used here\n" in said, said


def test_local_is_missing(p):
    """What auto would have taken cannot run an image: said by doctor, and by a build before it starts."""
    if os.access("/dev/nitro_enclaves", os.R_OK | os.W_OK):
        return
    qemu = json.loads(p.run("doctor", "--json").stdout)["backends"][1]["usable"]
    said = without(["bwrap"], TOOL, "doctor").stdout
    assert ("neither can be used here; --backend qemu runs images\n" in said) == qemu, said
    folder = p.base / "image"
    folder.mkdir()
    image = image_lab.Image(folder, erofs=bytes(1024) + b"\xe2\xe1\xf5\xe0" + bytes(4096 * 4 - 1028))
    p.spec("echo > out")
    for name in ("auto", "local"):
        done = without(["bwrap"], TOOL, "build", "--dir", p.dir, "--output", p.out, "--image", image.eif,
                       "--backend", name)
        assert done.returncode == 2 and "runs no image: there is no sandbox: apt-get install bubblewrap" in done.stderr, done
        assert ("; --backend qemu can run it here" in done.stderr) == qemu, done.stderr
        assert ("--backend auto finds none" in done.stderr) == (name == "auto"), done.stderr
    assert p.left() == ["image"], p.left()


def test_no_images_for_this_user(p):
    """A user who cannot mount images builds with --image host, and is told what mends it."""
    if os.geteuid() != 0:
        env = {"PATH": "/nonexistent"}  # where erofsfuse is looked for
        found = json.loads(p.run("doctor", "--json", env=env).stdout)
        said = p.run("doctor", env=env).stdout
    else:
        hide = ["unshare", "--mount", "bash", "-c", 'mkdir "$1" && mount --bind "$1" /dev && shift && exec "$@"', "-"]
        command = [*hide, p.base / "dev", TOOL, "doctor"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        (p.base / "dev").rmdir()
        done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60, check=True)
        found = json.loads(done.stdout)
    local = found["backends"][0]
    assert local["usable"] and not local["images"] and found["auto"] in (None, "nitro"), found
    assert ("erofsfuse" if os.geteuid() else "/dev/loop-control") in local["fix"], local
    assert "local  yes  for --image host alone: it cannot mount the images\n             mend it: " in said, said
    assert "local for --image host\n" in said and "auto   local" not in said, said


def test_completion(p):
    """What bash offers for a word: files where files are meant, and each word once."""
    script = pathlib.Path(__file__).resolve().parents[2] / "completions/tee-compile.bash"
    for name in ("one", "two"):
        p.write(name, "")
        tool = p.base / name / "tee-compile-emulator"
        tool.parent.mkdir()
        tool.write_text("#!/bin/sh\n")
        tool.chmod(0o755)
    ask = f'source {script}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _tee_compile; printf "%s\\n" "${{COMPREPLY[@]}}"'
    env = {**os.environ, "PATH": f"{p.base}/one:{p.base}/two:{os.environ['PATH']}"}
    for words, expected in ((["build", "--build-file", "t"], ["two"]),
                            (["build", "--emulator", "tee-compile-em"], ["tee-compile-emulator"]),
                            (["doctor", ""], ["--backend", "--json", "--help"]),
                            (["verify", "--commit", ""], []),
                            (["verify", "o"], ["one"])):
        done = subprocess.run(["bash", "-c", ask, "-", "tee-compile", *words], capture_output=True, text=True,
                              timeout=60, cwd=p.dir, env=env)
        assert done.stdout.split() == expected and not done.stderr, (words, done)


def test_usage(p):
    p.spec("echo > out")
    p.run("build", "--image", "host", "--dir", p.base / "none", "--output", p.out, expect=2)
    p.run("build", "--image", "host", "--dir", p.dir, "--output", "/proc/x/release.tar", expect=2)
    p.run("build", "--dir", p.dir, "--output", p.out, expect=2)
    p.run("build", "--image", "host", "--wrong", expect=2)
    p.run("build", "--image", "host", "--dir", p.dir, "--output", "-", expect=2)
    for name in ("release.tar", "release.tar.log", "release.tar.console"):
        said = p.build("--detached", f"{p.base}/./{name}", expect=2).stderr
        assert "a name of its own" in said, said
    p.run("buidl", expect=2)
    assert p.left() == []


def test_dirty(p):
    p.spec("cp in out")
    p.write("in", "one")
    p.commit()
    p.write("in", "two")
    refused(p, 2, "differs from HEAD", "in")
    p.build("--allow-dirty")
    assert p.output() == b"two"
    assert "gitCommit" not in json.dumps(p.statement())


def test_untracked_is_not_source(p):
    p.spec("test ! -e stray; echo > out")
    p.commit()
    p.write("stray", "x")
    assert "1 untracked" in p.build().stderr


def test_lfs(p):
    content = b"large file\n"
    oid = hashlib.sha256(content).hexdigest()
    p.spec("cp big out")
    p.write("big", f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n")
    p.commit()
    refused(p, 2, "git lfs fetch")
    store = p.dir / f".git/lfs/objects/{oid[:2]}/{oid[2:4]}/{oid}"
    store.parent.mkdir(parents=True)
    store.write_bytes(b"wrong size!")
    store.write_bytes(content[::-1])
    refused(p, 2, "digest")
    store.write_bytes(content)
    p.build()
    assert p.output() == content


def test_hostile_repository(p):
    marker = p.base / "marker"
    p.spec("cp in out")
    p.write("in", "one\n")
    p.write(".gitattributes", "* filter=evil\n")
    p.commit()
    for key in ("core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "filter.evil.process",
                "core.sshCommand", "diff.external", "core.pager", "core.editor"):
        p.git("config", key, f"touch {marker}; cat")
    hooks = p.dir / ".git/hooks"
    for name in ("post-checkout", "pre-commit", "post-index-change", "fsmonitor-watchman"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (hooks / name).chmod(0o755)
    p.build()
    assert p.output() == b"one\n"
    assert not marker.exists()


# --- limits: unsigned, whatever the exit status ---

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


# --- outputs ---

def test_outputs_refused(p):
    for cmd, word in (("ln -s /etc/passwd out", "leaves"), ("ln -s ../../etc/passwd out", "leaves"),
                      ("mkfifo out", "FIFO"), ("ln -s nowhere out", "nothing"),
                      ("mkdir d; ln -s d out", "folder"), ("echo > out; chmod 0 out", "read"),
                      ("ln -s out out", "leaves"),
                      ("python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('out')\"", "socket")):
        p.spec(cmd)
        refused(p, 1, word)


def test_too_many_outputs(p):
    p.spec("mkdir out; cd out; seq 100000 | xargs touch", limits={"memory": "1G", "disk": "1G"})
    refused(p, 1, "10000")


def test_outputs_shipped(p):
    p.spec("mkdir -p out/deep; echo 1 > out/deep/one; ln -s deep/one out/link; echo x > out/.hidden; "
           "ln /build/out/deep/one out/hard; echo exe > out/run; chmod 700 out/run; "
           "ln -s /build/out/run out/absolute", files=["out"])
    p.build()
    with tarfile.open(p.out) as tar:
        names = [n for n in tar.getnames() if n.startswith("outputs/")]
        assert names == [f"outputs/out/{n}" for n in
                         (".hidden", "absolute", "deep/one", "hard", "link", "run")], names
        assert all(m.isfile() for m in tar.getmembers())
        assert tar.getmember("outputs/out/run").mode == 0o755
    p.verify()


def test_background_process_cannot_change_an_output(p):
    p.spec("echo good > out; (trap '' TERM HUP INT; setsid sh -c "
           "'while :; do echo evil > /build/out; done' &) ; sleep 0.2; echo good > out.tmp; mv out.tmp out",
           files=["out"])
    p.build()
    p.verify()
    first = p.output()
    stated = p.statement()["subject"][0]["digest"]["sha256"]
    assert hashlib.sha256(first).hexdigest() == stated


# --- ends ---

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


def descendants(pid):
    out = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True).stdout
    parents = {}
    for line in out.splitlines()[1:]:
        child, parent = map(int, line.split())
        parents.setdefault(parent, []).append(child)
    found, todo = [], [pid]
    while todo:
        for child in parents.get(todo.pop(), []):
            found.append(child)
            todo.append(child)
    return found


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


def test_extract_inside_a_plain_project(p):
    p.spec("echo > out")
    assert "every file in it is source" in p.build("--extract", f"{p.dir}/files/", expect=2).stderr
    assert p.left() == [] and [f.name for f in p.dir.iterdir()] == ["build.json"]
    p.build("--extract", f"{p.dir}-files")
    p.verify("--source", p.dir)


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
    for pid in reversed(below):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.communicate(timeout=30)
    assert process.returncode == 2
    gone(below)
    assert p.left() == ["release.tar.log"], p.left()


def main():
    tests = {n[5:]: f for n, f in globals().items() if n.startswith("test_")}
    failed = 0
    before = cgroups()
    for name, test in tests.items():
        if WANTED and name not in WANTED:
            continue
        base = pathlib.Path(tempfile.mkdtemp(prefix="tee-compile-test-"))
        try:
            test(Project(base))
            print(f"ok {name}", flush=True)
        except Exception as problem:  # every test is run, whatever one does
            failed += 1
            print(f"FAILED {name}: {type(problem).__name__}: {problem}", flush=True)
        shutil.rmtree(base, ignore_errors=True)
    # Those of builds that run beside this test are not its business.
    left = {g for g in cgroups() - before if not os.path.exists(f"/proc/{g.split('.')[1]}")}
    if left:
        failed += 1
        print(f"FAILED: control groups are left: {left}")
    sys.exit(1 if failed else 0)


main()
