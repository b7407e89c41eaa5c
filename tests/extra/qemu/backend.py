#!/usr/bin/python3
"""backend.py BUILD_FOLDER IMAGE.eif SOURCES [NAME...]: `tee-compile build --backend qemu` with the
QEMU that is in PATH, as it is packaged, and an image with C (images/c).

  real    GNU hello and lua, out of SOURCES (script/fetch-source), are built; the bundles verify,
          with the PCRs that `image measure` gives; what came out runs. Nothing was attested by
          hardware, and everybody says so.
  twice   two builds at once, and the bytes of what they made are the same
What goes wrong is faults.py's."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

import projects

PATIENCE = 3600  # seconds; a bound for a machine that hangs, not a claim about speed
SMALL = {"language": "c", "input": {"cmd": "cc -o hello hello.c && sleep ${WAIT:-0}"}, "output": {"files": ["hello"]},
         "network": {"mode": "offline"}, "limits": {"timeout": "30m", "memory": "256M", "disk": "64M"}}


def check(what, seen, expected):
    if seen != expected:
        sys.exit(f"FAILED: {what}: expected {expected!r}, saw {seen!r}")
    print(f"ok: {what}", flush=True)


class Lab:
    back_end = "qemu"

    def __init__(self, build, image, sources, base):
        self.tool, self.image, self.sources, self.base = f"{build}/src/tee-compile", image, sources, base
        self.env = {**os.environ, "XDG_DATA_HOME": f"{base}/data", "NO_COLOR": "1"}
        self.root = f"{base}/data/tee-compile/development-root.pem"

    def project(self, name, cmd=None):
        folder = self.base / name
        folder.mkdir()
        spec = json.loads(json.dumps(SMALL))
        if cmd:
            spec["input"]["cmd"] = cmd
        (folder / "build.json").write_text(json.dumps(spec))
        (folder / "hello.c").write_text('#include <stdio.h>\nint main(void) { return puts("hello") < 0; }\n')
        return folder

    def start(self, project, out, *options, image=None):
        return subprocess.Popen([self.tool, "build", "--dir", str(project), "--backend", self.back_end,
                                 "--image", image or self.image, "--output", str(out), *options], env=self.env, stdin=subprocess.DEVNULL, text=True,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def run(self, *arguments):
        return subprocess.run([self.tool, *map(str, arguments)], env=self.env, text=True, capture_output=True, check=False)

    def processes(self):
        """Of this lab: their environment names its folder."""
        for folder in pathlib.Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and f"XDG_DATA_HOME={self.base}/".encode() in (folder / "environ").read_bytes():
                    words = (folder / "cmdline").read_bytes().split(b"\0")
                    yield int(folder.name), os.readlink(folder / "exe"), words
            except OSError:
                continue

    def emulators(self):
        """Those that boot, and not those that are asked what they can."""
        return [pid for pid, exe, words in self.processes() if "qemu-system" in os.path.basename(exe) and b"-kernel" in words]

    def check_nothing_left(self, what):
        for _ in range(1000):
            left = list(self.processes())
            if not left:
                break
            time.sleep(0.01)
        check(f"{what}: no process is left", left, [])


def verify(lab, what, project, bundle):
    measured = json.loads(lab.run("image", "measure", "--json", lab.image).stdout)
    pcrs = [measured.get(f"pcr{i}") or measured["pcrs"][i] for i in range(3)]
    out = lab.base / f"{what}.files"
    said = lab.run("verify", "--json", "--root", lab.root, "--pcr", f"0={pcrs[0]}", "--source", project, "--extract", out,
                   bundle)
    verdict = json.loads(said.stdout)
    check(f"{what}: verified, and not by hardware", (said.returncode, verdict["verdict"], verdict["hardware"]),
          (0, "development", False))
    with tarfile.open(bundle) as tar:
        statement = json.load(tar.extractfile("attestation/statement.json"))
    image = next(item for item in statement["predicate"]["buildDefinition"]["resolvedDependencies"]
                 if "pcr1" in item.get("annotations", {}))
    check(f"{what}: the PCRs are those that image measure gives",
          [image["digest"]["sha384"], image["annotations"]["pcr1"], image["annotations"]["pcr2"]], pcrs)
    for words in (("verify", "--root", lab.root, "--pcr", f"0={pcrs[0]}", "--source", project), ("report",)):
        said = lab.run(*words, bundle)
        check(f"{what}: {words[0]} says that no hardware attests it",
              bool(re.search("attested by hardware|no hardware|development", said.stdout)), True)
    check(f"{what}: nobody else believes it", lab.run("verify", "--source", project, bundle).returncode, 1)
    return out


def real(lab):
    for name, command, output, arguments, answer in projects.PROJECTS:
        project, bundle = lab.base / name, lab.base / f"{name}.tar"
        projects.copy(lab.sources, name, command, output, project)
        start = time.monotonic()
        process = lab.start(project, bundle)
        said = process.communicate(timeout=2 * PATIENCE)[1]
        if process.returncode != 0:
            print(said[-6000:], file=sys.stderr)
        check(f"{name}: built in a virtual machine", process.returncode, 0)
        print(f"   in {time.monotonic() - start:.0f} s")
        check(f"{name}: says how", "NOT attested by hardware" in said, True)
        out = verify(lab, name, project, bundle)
        check(f"{name}: runs", projects.run(lab.tool, lab.image, f"{out}/{output}", arguments), answer)
        lab.check_nothing_left(name)


def twice(lab):
    project = lab.project("twice")
    builds = [lab.start(project, lab.base / f"twice-{i}.tar") for i in range(2)]
    for process in builds:
        said = process.communicate(timeout=PATIENCE)[1]
        check("two at once", (process.returncode, said[-2000:] if process.returncode else ""), (0, ""))
    made = []
    for i in range(2):
        with tarfile.open(lab.base / f"twice-{i}.tar") as tar:
            made.append(tar.extractfile("outputs/hello").read())
    check("the same bytes", made[0], made[1])
    lab.check_nothing_left("two at once")


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    build, image, sources = (os.path.abspath(path) for path in sys.argv[1:4])
    tests = {test.__name__: test for test in (twice, real)}
    if not shutil.which("qemu-system-x86_64"):
        sys.exit("backend: apt-get install --no-install-recommends qemu-system-x86")
    base = pathlib.Path(tempfile.mkdtemp(prefix="tee-qemu-backend-"))
    try:
        for name, test in tests.items():
            if name in sys.argv[4:] or not sys.argv[4:]:
                print(f"-- {name}", flush=True)
                test(Lab(build, image, sources, base))
    finally:
        shutil.rmtree(base, ignore_errors=True)
    print("backend: every check passed")


if __name__ == "__main__":
    main()
