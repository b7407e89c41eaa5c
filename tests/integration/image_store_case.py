"""What the tests of images by path and in the store share: an image (image_lab.py), a store of its
own and a project that is built with it on the local back end."""
import json
import os
import shutil
import subprocess
import sys
import tarfile

import image_lab
from common_case import run_cases

TOOL = os.path.abspath(sys.argv[1])
WANTED = sys.argv[2:]
LIMITS = {"memory": "256M", "disk": "128M", "timeout": "60s"}
ROOT = os.geteuid() == 0


class Lab:
    erofs = None  # made once

    def __init__(self, base):
        self.base = base
        self.data = base / "data"
        self.store = self.data / "tee-compile/images"
        self.root = self.data / "tee-compile/development-root.pem"
        self.env = {**os.environ, "XDG_DATA_HOME": str(self.data), "NO_COLOR": "1"}
        self.project = base / "project"
        self.project.mkdir()
        self.out = base / "release.tar"
        if Lab.erofs is None:
            Lab.erofs = self.make_erofs("marker of the image\n")
        self.source = base / "source"
        self.source.mkdir()
        self.image = self.new("mini")

    def make_erofs(self, marker):
        root = self.base / "root"
        image_lab.make_root(root, {"etc/marker": marker})
        data = image_lab.make_erofs(root)
        shutil.rmtree(root)
        return data

    def new(self, name, erofs=None, **more):
        return image_lab.Image(self.source, name, erofs=erofs or Lab.erofs, **more)

    def run(self, *args, expect=0, env=None):
        done = subprocess.run([TOOL, *map(str, args)], capture_output=True, text=True, timeout=120,
                              env={**self.env, **(env or {})}, cwd=self.base, stdin=subprocess.DEVNULL)
        assert done.returncode == expect, \
            f"{args}: exit {done.returncode}, expected {expect}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def pull(self, image, *args, expect=0, source=None, pcr0=None, **kwargs):
        return self.run("image", "pull", source or image.eif, "--pcr0", pcr0 or image.pcrs()[0], *args,
                        expect=expect, **kwargs)

    def refuse(self, image, word, expect=1, **kwargs):
        said = self.pull(image, expect=expect, **kwargs)
        assert word in said, said
        assert self.stored() == [], self.stored()
        return said

    def stored(self):
        """What is in the store, but for what is always there."""
        if not self.store.exists():
            return []
        return sorted(p.name for p in self.store.iterdir() if p.name not in ("lock", "names"))

    def list(self, expect=0):
        return json.loads(self.run("image", "list", "--json", expect=expect))["images"]

    def folder(self, image):
        return self.store / image.pcrs()[0]

    def spec(self, cmd="cat /etc/marker > out", **more):
        spec = {"language": "mini", "input": {"cmd": cmd}, "output": {"files": ["out"]},
                "limits": LIMITS, **more}
        (self.project / "build.json").write_text(json.dumps(spec))

    def build(self, *args, expect=0, **kwargs):
        said = self.run("build", "--dir", self.project, "--output", self.out, *args, expect=expect,
                        **kwargs)
        if expect != 0:
            assert not self.out.exists()
        return said

    def verify(self, *args, expect=0):
        return json.loads(self.run("verify", "--json", "--root", self.root, *args, self.out, expect=expect))

    def output(self):
        with tarfile.open(self.out) as tar:
            return tar.extractfile("outputs/out").read().decode()

    def loops(self):
        if not ROOT:
            return ""
        said = subprocess.run(["losetup", "-a"], capture_output=True, text=True).stdout
        return "".join(line for line in said.splitlines() if str(self.base) in line)


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def certificate_of(lab):
    key, certificate = lab.base / "signer.key", lab.base / "signer.crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1",
                    "-nodes", "-keyout", key, "-out", certificate, "-days", "30", "-subj", "/CN=t"],
                   check=True, capture_output=True)
    return key, certificate


def main(names):
    sys.exit(1 if run_cases(names, WANTED, Lab) else 0)
