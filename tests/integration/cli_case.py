"""What the tests of the command line share: a project, and the client that builds it on the
local back end, or ends as expected."""
import json
import os
import pathlib
import subprocess
import sys
import tarfile

from common_case import run_cases

TOOL = os.path.abspath(sys.argv[1])
WANTED = sys.argv[2:]
LIMITS = {"memory": "512M", "disk": "256M", "timeout": "120s"}
GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false",
       "-c", "protocol.file.allow=always"]


class Started(subprocess.Popen):
    """Whatever a test starts, by pid: a client's control groups are named by its own."""

    pids = set()

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.pids.add(str(self.pid))


subprocess.Popen = Started  # which subprocess.run uses too


def groups_left():
    """Those of builds that run beside this test are not its business."""
    found = set()
    for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids"):
        if os.path.isdir(top):
            found |= {f"{top}/{n}" for n in os.listdir(top) if n.startswith("tee-compile.")}
    return {g for g in found if g.split(".")[1] in Started.pids}


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


def refused(p, expect, *words, args=()):
    result = p.build(*args, expect=expect)
    for word in words:
        assert word in result.stderr, f"{word!r} not in {result.stderr}"
    assert not p.out.exists()
    return result


def main(names):
    failed = run_cases(names, WANTED, Project)
    left = groups_left()
    if left:
        failed += 1
        print(f"FAILED: control groups are left: {left}")
    sys.exit(1 if failed else 0)
