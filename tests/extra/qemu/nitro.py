#!/usr/bin/python3
"""nitro.py QEMU_FOLDER BUILD_FOLDER IMAGE.eif EROFS [SOURCES]: builds by the nitro back end, over the
double of the driver that boots the memory that it is given (nitro.c).

  1. A session from start to end with a paged toolchain; PCR0-2 of the document are those
     of a measurement in Python; the document, signed, verifies.
  2. Two builds at once, each with its own enclave.
  3. A toolchain that is not the image's, a killed emulator, and memory that is not there
     give no bundle and a reason.

With SOURCES (script/fetch-source) and an image with C instead: GNU hello and lua are built,
judged as in 1, and run.
"""
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import boot  # noqa: E402
import eif  # noqa: E402
import projects  # noqa: E402
import reworker  # noqa: E402


class Lab:
    def __init__(self, folder, tools, build, image, project):
        self.folder, self.tools, self.build, self.image, self.project = folder, tools, build, image, project

    def start(self, name, memory="256M", image=None):
        return subprocess.Popen(
            [f"{self.build}/tests/qemu_nitro", f"{self.tools}/qemu-system-x86_64", f"{self.tools}/share",
             image or self.image, memory, f"{self.folder}/{name}.console", self.project, f"{self.folder}/{name}.tar"],
            stderr=subprocess.PIPE, text=True)

    def finish(self, process, name, patience=boot.PATIENCE):
        said = process.communicate(timeout=patience)[1]
        try:
            with open(f"{self.folder}/{name}.console", errors="replace", encoding="utf-8") as file:
                console = file.read()
        except FileNotFoundError:
            console = ""
        return process.returncode, said, console


def measure(image):
    parts = list(reworker.sections(image))
    kernel, cmdline = (next(data for kind, data in parts if kind == wanted) for wanted in (eif.KERNEL, eif.CMDLINE))
    return eif.measure(kernel, cmdline, [data for kind, data in parts if kind == eif.RAMDISK])


def try_session(lab, pcrs):
    status, said, console = lab.finish(lab.start("one"), "one")
    if status != 0:
        print(console[-6000:], said[-3000:], sep="\n----\n", file=sys.stderr)
    boot.check("a build through the back end and the double", status, 0)
    print("".join(f"   {line}\n" for line in said.splitlines() if line.startswith(("enclave:", "at "))), end="")
    boot.judge(f"{lab.build}/src/tee-compile", HERE, lab.project, f"{lab.folder}/one.tar", pcrs, lab.folder)
    boot.run_built(lab.folder)


def output(lab, name):
    with tarfile.open(f"{lab.folder}/{name}.tar") as tar:
        return tar.extractfile("outputs/hello").read()


def try_two(lab):
    processes = [lab.start("left"), lab.start("right")]
    ends = [lab.finish(process, name) for process, name in zip(processes, ("left", "right"))]
    boot.check("two at once", [end[0] for end in ends], [0, 0])
    cids = {line.split("CID ")[1] for end in ends for line in end[1].splitlines() if line.startswith("enclave:")}
    boot.check("with a CID of its own each", len(cids), 2)
    boot.check("and the same output", output(lab, "left") == output(lab, "right") == output(lab, "one"), True)


def try_failures(lab):
    other = f"{lab.folder}/other.eif"
    shutil.copy(lab.image, other)
    shutil.copy(lab.image, f"{lab.folder}/other.erofs")
    status, said, _ = lab.finish(lab.start("other", image=other), "other")
    boot.check("another toolchain", (status, os.path.exists(f"{lab.folder}/other.tar")), (2, False))
    print("   " + said.strip().splitlines()[-1])

    status, said, _ = lab.finish(lab.start("much", memory="8G"), "much")
    boot.check("more memory than there is", (status, "of huge pages on NUMA node 0" in said), (1, True))
    print("   " + said.strip().splitlines()[-1])

    process = lab.start("killed")
    for line in process.stderr:
        if "phase" in line:
            break
    children = subprocess.run(["pgrep", "-P", str(process.pid), "qemu-system"], capture_output=True, text=True).stdout.split()
    boot.check("one emulator", len(children), 1)
    subprocess.run(["kill", "-KILL", children[0]], check=True)
    status, said, _ = lab.finish(process, "killed")
    boot.check("an enclave that is killed", (status, os.path.exists(f"{lab.folder}/killed.tar")), (1, False))
    print("   " + said.strip().splitlines()[-1])


def try_real(lab, sources, pcrs):
    for name, command, output, arguments, answer in projects.PROJECTS:
        lab.project = f"{lab.folder}/{name}"
        projects.copy(sources, name, command, output, lab.project)
        status, said, console = lab.finish(lab.start(name, memory="768M"), name, 12 * boot.PATIENCE)
        if status != 0:
            print(console[-6000:], said[-3000:], sep="\n----\n", file=sys.stderr)
        boot.check(f"{name} through the back end and the double", status, 0)
        shutil.rmtree(f"{lab.folder}/out", ignore_errors=True)
        boot.judge(f"{lab.build}/src/tee-compile", HERE, lab.project, f"{lab.folder}/{name}.tar", pcrs, lab.folder)
        boot.check(f"{name}: runs", projects.run(f"{lab.build}/src/tee-compile", lab.image, f"{lab.folder}/out/{output}", arguments), answer)


def main():
    if len(sys.argv) not in (5, 6):
        sys.exit(__doc__)
    tools, build, given, erofs = sys.argv[1:5]
    with tempfile.TemporaryDirectory(prefix="tee-nitro-") as folder:
        project = shutil.copytree(f"{HERE}/../../../examples/c-hello", f"{folder}/c-hello")
        boot.limit(project)
        image = shutil.copy(given, f"{folder}/image.eif")
        os.symlink(os.path.abspath(erofs), f"{folder}/image.erofs")
        lab = Lab(folder, tools, build, image, project)
        if len(sys.argv) == 6:
            try_real(lab, os.path.abspath(sys.argv[5]), measure(image))
            print("nitro: every check passed")
            return
        try_session(lab, measure(image))
        try_two(lab)
        try_failures(lab)
    print("nitro: every check passed")


if __name__ == "__main__":
    main()
