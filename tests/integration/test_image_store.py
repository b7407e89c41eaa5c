#!/usr/bin/env python3
"""The image store and builds with an image on the local back end: what people do,
and what a host or a thief of the disk could try. The images are image_lab.py's.

usage: test_image_store.py TEE_COMPILE [NAME...]"""
import fcntl
import hashlib
import http.server
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading

import image_lab

TOOL = os.path.abspath(sys.argv[1])
WANTED = sys.argv[2:]
LIMITS = {"memory": "256M", "disk": "128M", "timeout": "60s"}
ROOT = os.geteuid() == 0
# As root the test runs where it lies, beside the images' recipes.
RECIPES = [path.parent.name for path in pathlib.Path(__file__).parents[2].glob("images/*/recipe.json")
           if path.parent.name not in ("builder", "kernel")] if ROOT else ["c"]
assert "c" in RECIPES, RECIPES
FUSE = shutil.which("erofsfuse") and os.access("/dev/fuse", os.R_OK | os.W_OK)
CAN_MOUNT = ROOT or FUSE


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


# --- taking in ---

def test_pull_list_remove(lab):
    assert "no images yet" in lab.run("image", "list") and lab.list() == []
    assert not lab.store.exists()  # asking makes nothing
    pcrs = lab.image.pcrs()
    (lab.source / "mini.spdx.json").write_text("{}")
    said = json.loads(lab.pull(lab.image, "--json"))
    assert said["verdict"] == "done" and [said[f"pcr{i}"] for i in range(3)] == pcrs, said
    assert said["checks"][0]["result"] == "pass"
    (one,) = lab.list()
    assert one["good"] and one["newest"] and one["name"] == "mini" and one["packages"] == 3
    assert [one[f"pcr{i}"] for i in range(3)] == pcrs
    assert one["size"] == lab.image.eif.stat().st_size + lab.image.erofs.stat().st_size
    assert lab.stored() == [pcrs[0]]
    assert sorted(os.listdir(lab.folder(lab.image))) == ["image.eif", "image.erofs", "image.spdx.json"]
    for path in (lab.store, lab.folder(lab.image), lab.store / "names/mini"):
        assert path.stat().st_mode & 0o077 == 0, path
    measured = json.loads(lab.run("image", "measure", "--json", lab.image.eif))
    assert pcrs[0] in json.dumps(measured)
    lab.pull(lab.image)  # again: the same
    assert lab.stored() == [pcrs[0]]
    lab.run("image", "remove", "mini")
    assert lab.stored() == [] and os.listdir(lab.store / "names") == [] and lab.list() == []
    lab.run("image", "remove", "mini", expect=2)


def test_pull_by_url(lab):
    lab.pull(lab.image, source=f"file://{lab.image.eif}")
    assert lab.stored() == [lab.image.pcrs()[0]]
    lab.run("image", "remove", lab.image.pcrs()[0].upper())
    lab.image.erofs.unlink()
    lab.refuse(lab.image, "mini.erofs", source=f"file://{lab.image.eif}", expect=2)
    lab.refuse(lab.image, "http", source="http://127.0.0.1:1/mini.eif", expect=2)
    lab.refuse(lab.image, ".eif", source="https://127.0.0.1:1/mini.eif?x=1", expect=2)


def test_pull_wants_a_reason(lab):
    pcr0 = lab.image.pcrs()[0]
    said = lab.run("image", "pull", lab.image.eif, expect=1)
    assert f"--pcr0 {pcr0}" in said and "no list that you trust names it" in said
    lab.refuse(lab.image, "another image", pcr0="ab" * 48)
    lab.refuse(lab.image, "96 hex digits", pcr0="ab", expect=2)
    said = lab.run("image", "pull", lab.image.eif, "--pcr0", "ab" * 48, "--pcr0", pcr0, expect=2)
    assert "given twice" in said, said
    lab.run("image", "trust", "add", "--pcr0", pcr0, "--name", "mini")
    assert "by your own word" in lab.run("image", "pull", lab.image.eif)


def signed_list(lab, sequence, key, **changes):
    pcrs = lab.image.pcrs()
    entry = {"name": "mini", "version": "1", "architecture": "x86_64", "pcr0": pcrs[0], "pcr1": pcrs[1],
             "pcr2": pcrs[2], "recipe": hashlib.sha256(b"mini").hexdigest(), "valid_from": "2020-01-01T00:00:00Z",
             "valid_until": "2099-01-01T00:00:00Z", **changes}
    draft = lab.base / "draft.json"
    draft.write_text(json.dumps({"type": "tee-compile/images/1", "sequence": sequence,
                                 "issued": "2026-01-01T00:00:00Z", "next_update": "2099-01-01T00:00:00Z",
                                 "images": [entry]}))
    lab.run("image", "trust", "sign", "--key", key, "-o", lab.base / "list.json", draft)
    lab.run("image", "trust", "update", lab.base / "list.json")


def test_pull_by_a_list(lab):
    key, public = lab.base / "key", lab.base / "public"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
    lab.run("image", "trust", "add", "--key", public)
    signed_list(lab, 1, key)
    assert "by the list of" in lab.run("image", "pull", lab.image.eif)
    lab.run("image", "remove", "mini")
    signed_list(lab, 2, key, pcr2="00" * 48)
    lab.refuse(lab.image, "PCR2 is not the entry's")
    signed_list(lab, 3, key, valid_until="2021-01-01T00:00:00Z")
    assert "no list that you trust" in lab.run("image", "pull", lab.image.eif, expect=1)
    signed_list(lab, 4, key, revoked={"reason": "leaked a key"})
    lab.refuse(lab.image, "leaked a key")  # also with --pcr0
    # The entry must say what the image says of itself.
    signed_list(lab, 5, key, name="rust")
    lab.refuse(lab.image, "the image's name is not the entry's")
    signed_list(lab, 6, key, recipe="ee" * 32)
    lab.refuse(lab.image, "the image's recipe is not the entry's")
    signed_list(lab, 7, key)
    lab.run("image", "pull", lab.image.eif)
    lab.run("image", "remove", "mini")
    lab.run("image", "trust", "add", "--pcr0", lab.image.pcrs()[0], "--name", "mini", "--recipe", "ee" * 32)
    lab.refuse(lab.image, "recipe is not the one you gave")


def test_revoked_after_it_was_pulled(lab):
    """What is in the store, or lies in a folder, is no longer used, and is shown as what it is."""
    key, public = lab.base / "key", lab.base / "public"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
    lab.run("image", "trust", "add", "--key", public)
    lab.spec("false")
    lab.pull(lab.image)
    assert lab.list()[0]["revoked"] is False and "REVOKED" not in lab.run("image", "list")
    signed_list(lab, 1, key, recipe="ee" * 32)
    assert "recipe is not the entry's" in lab.build(expect=1)
    assert lab.list()[0]["revoked"] is False
    signed_list(lab, 2, key, revoked={"reason": "leaked \x1b a key"})
    for words in ([], ["--image", "mini"], ["--image", lab.image.pcrs()[0]], ["--image", lab.image.eif]):
        said = lab.build(*words, expect=1)
        assert "is revoked by the list of" in said and "leaked \\x1b a key" in said, said
    assert lab.list()[0]["revoked"] is True and "leaked" in lab.list()[0]["revocation"]
    assert "REVOKED mini 1 is revoked by the list of" in lab.run("image", "list")
    lab.run("image", "remove", "mini")


def certificate_of(lab):
    key, certificate = lab.base / "signer.key", lab.base / "signer.crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1",
                    "-nodes", "-keyout", key, "-out", certificate, "-days", "30", "-subj", "/CN=t"],
                   check=True, capture_output=True)
    return key, certificate


def test_pull_by_a_certificate(lab):
    """Such a list speaks of images that were signed with the certificate, and of no others."""
    key, certificate = certificate_of(lab)
    lab.run("image", "trust", "add", "--key", certificate)
    signed_list(lab, 1, key)
    assert "no list that you trust" in lab.run("image", "pull", lab.image.eif, expect=1)
    signed = lab.source / "signed.eif"
    lab.run("image", "sign", lab.image.eif, "--key", key, "--cert", certificate, "-o", signed)
    shutil.copy(lab.image.erofs, lab.source / "signed.erofs")
    assert "by the list of" in lab.run("image", "pull", signed)


class Server:
    """Serves a folder by https on the loopback, but for the files that a test has put
    something else in place of: those go on for as long as somebody takes them."""
    ENOUGH = 64 << 20  # of which nobody should ever ask for so much

    def __init__(self, lab, endless=None, size=None):
        server, self.sent, self.broke_off = self, 0, False

        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __init__(self, *args):
                super().__init__(*args, directory=str(lab.source))

            def log_message(self, *_):
                pass

            def do_GET(self):
                if self.path != f"/{endless}":
                    super().do_GET()
                    return
                self.send_response(200)
                self.send_header(*(("Content-Length", size) if size else ("Transfer-Encoding", "chunked")))
                self.end_headers()
                piece = bytes(1 << 16)
                try:
                    while server.sent < server.ENOUGH:
                        self.wfile.write(piece if size else b"10000\r\n" + piece + b"\r\n")
                        server.sent += len(piece)
                except OSError:
                    server.broke_off = True
                self.close_connection = True

        key, certificate = lab.base / "server.key", lab.base / "server.crt"
        if not key.exists():
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                            "-nodes", "-keyout", key, "-out", certificate, "-days", "30", "-subj",
                            "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                           check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = False
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.url = f"https://localhost:{self.http.server_port}/mini.eif"
        self.env = {"SSL_CERT_FILE": str(certificate)}
        self.thread = threading.Thread(target=self.http.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


def test_pull_by_https(lab):
    with Server(lab) as server:
        lab.pull(lab.image, source=server.url, env=server.env)
        assert lab.stored() == [lab.image.pcrs()[0]]


# --- attacks on what is taken in ---

def test_servers_without_an_end(lab):
    """Of a file system as much is taken as the image says, and no disk is filled."""
    for size in (None, 1 << 40):
        with Server(lab, "mini.erofs", size) as server:
            lab.refuse(lab.image, "larger than", source=server.url, env=server.env)
        assert server.broke_off and server.sent < server.ENOUGH // 2, server.sent


def test_a_file_system_that_is_too_large(lab):
    """The same by a path: what is too much is not copied first."""
    size = len(lab.image.data + lab.image.tree)
    for more in (1, 1 << 26):
        os.truncate(lab.image.erofs, size + more)
        lab.refuse(lab.image, f"larger than the {size} bytes")
        lab.refuse(lab.image, "larger than", source=f"file://{lab.image.eif}")


def test_a_list_of_contents_that_is_too_large(lab):
    sbom = lab.source / "mini.spdx.json"
    sbom.write_text("{}")
    os.truncate(sbom, (64 << 20) + 1)
    lab.refuse(lab.image, "larger than")

def test_damaged_files(lab):
    image, data = lab.image, len(lab.image.data)
    for at, word in ((0, "root hash"), (data // 2, "root hash"), (data - 1, "root hash"),
                     (data, "hash tree"), (data + len(image.tree) - 1, "hash tree")):
        image.write()
        flip(image.erofs, at)
        lab.refuse(image, word)
    whole = image.data + image.tree
    for wrong in (whole[:-4096], whole + bytes(4096), image.data, b"", whole[4096:] + whole[:4096],
                  bytes(len(whole))):
        image.erofs.write_bytes(wrong)
        lab.refuse(image, "mini.erofs")
    image.write()
    size = image.eif.stat().st_size
    for at in (0, 100, 560, size // 2, size - 1):
        image.write()
        flip(image.eif, at)
        lab.refuse(image, "mini.eif" if at else "eif")
    image.write()
    image.eif.write_bytes(image.eif.read_bytes() + b"\0")
    lab.refuse(image, "eif")
    image.eif.write_bytes(b"")
    lab.refuse(image, "eif")


def test_another_file_system(lab):
    other = lab.new("other", erofs=lab.make_erofs("another\n"))
    shutil.copy(other.erofs, lab.image.erofs)
    lab.refuse(lab.image, "mini.erofs")
    shutil.copy(other.eif, lab.image.eif)
    lab.refuse(lab.image, "another image")


def test_moved_bounds(lab):
    """PCR0 is the same in each: nothing else says that the machine is another one."""
    image = lab.image
    kernel, first, second = image.kernel, image.first, image.second
    line, pcr0 = image.cmdline, image.pcrs()[0]
    attacks = [
        ("kernel", {"kernel": kernel + line[:1].encode(), "cmdline": line[1:]}),
        ("kernel", {"kernel": kernel[:-1], "cmdline": kernel[-1:].decode() + line}),
        ("first ramdisk", {"cmdline": line[:-1], "ramdisks": [line[-1:].encode() + first, second]}),
        ("first ramdisk", {"cmdline": line + first[:4].decode(), "ramdisks": [first[4:], second]}),
        ("no image of tee-compile", {"ramdisks": [first[:-4], first[-4:] + second]}),
        ("no image of tee-compile", {"ramdisks": [first + second[:512], second[512:]]}),
        ("no image of tee-compile", {"ramdisks": [first + second]}),
        ("no image of tee-compile", {"ramdisks": [first, second[:512], second[512:]]}),
        ("no image of tee-compile", {"ramdisks": [first[:512], first[512:], second]}),
    ]
    for word, sections in attacks:
        image.write(image.eif, **sections)
        measured = lab.run("image", "measure", "--json", image.eif)
        assert pcr0 in measured, "the attack is none"
        # What is found even where the toolchain's ramdisk is cut in two.
        told = word[:2] != "no" or sections["ramdisks"][0] == first and len(sections["ramdisks"]) == 3
        assert ("is not the image that was made" in measured) == told, measured
        assert ("is not the image that was made" in lab.run("image", "inspect", image.eif)) == told
        lab.refuse(image, word)
    image.write()
    assert json.loads(lab.run("image", "measure", "--json", image.eif))["warnings"] == []
    image.write(image.eif, flags=1)  # neither is the architecture
    lab.refuse(image, "aarch64")
    image.write(image.eif, metadata=b'{"x": 1}')  # not measured, and nothing reads it
    lab.pull(image)


def test_lies_about_itself(lab):
    image = lab.image
    for word, changes in (("command line", {"cmdline": "init=/bin/sh"}), ("kernel", {"kernel": 1}),
                          ("first ramdisk", {"ramdisk": 1}), ("no image", {"name": "../x"}),
                          ("no image", {"kernel": "01"})):
        image.second = image.ramdisk(**changes)
        image.write()
        lab.refuse(image, word)
    image.second = image.ramdisk()
    third = b"a third ramdisk could replace /init " * 32
    image.write(image.eif, ramdisks=[image.first, image.second, third])
    boot = [image.kernel, image.cmdline.encode(), image.first, image.second, third]
    lab.refuse(image, "expected 2 ramdisks", pcr0=image_lab.measure(boot))
    for extra in (1, -1):  # of the blocks in all, and as many in the file
        image.second = image.ramdisk(extra_blocks=extra)
        image.write()
        whole = image.data + image.tree
        image.erofs.write_bytes(whole + bytes(4096) if extra > 0 else whole[:-4096])
        lab.refuse(image, "blocks" if extra > 0 else "", expect=1)
    image.second = image.ramdisk()[:-512]
    image.write()
    lab.refuse(image, "no image")
    image.second = b"a ramdisk of somebody else" + bytes(486)
    image.write()
    lab.refuse(image, "no image")


def test_odd_sources(lab):
    image = lab.image
    image.erofs.unlink()
    lab.refuse(image, "mini.erofs", expect=2)
    image.erofs.mkdir()
    lab.refuse(image, "mini.erofs", expect=2)
    image.erofs.rmdir()
    os.mkfifo(image.erofs)
    lab.refuse(image, "no regular file", expect=2)
    lab.refuse(image, ".eif", source=lab.base, expect=2)
    lab.refuse(image, "cannot open", source=lab.base / "none.eif", expect=2)
    os.mkfifo(lab.base / "pipe.eif")
    lab.refuse(image, "no regular file", source=lab.base / "pipe.eif", expect=2)
    lab.run("image", "pull", expect=2)
    lab.run("image", "pull", "a.eif", "b.eif", expect=2)
    lab.run("image", "list", "x", expect=2)
    lab.run("image", "remove", expect=2)
    lab.run("image", "remove", "../x", expect=2)


def test_odd_images(lab):
    """What is named as an image and is no file."""
    lab.spec()
    for make in (os.mkfifo, os.mkdir):
        for path in (lab.image.eif, lab.image.erofs):
            path.unlink()
            make(path, 0o700)
            said = lab.build("--image", lab.image.eif, expect=2)
            assert f"{path} is no regular file" in said, said
            if make is os.mkdir:
                path.rmdir()
            else:
                path.unlink()
            lab.image.write()


def test_what_killed_commands_left(lab):
    lab.pull(lab.image)
    dead, live = lab.store / ".part-dead", lab.store / ".part-live"
    for folder in (dead, live):
        folder.mkdir()
        (folder / "image.eif").write_text("half")
    holder = os.open(live, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    lab.pull(lab.image)
    assert not dead.exists() and (live / "image.eif").exists()
    os.close(holder)
    lab.run("image", "remove", "mini")
    assert not live.exists()


def test_a_fifo_does_not_make_the_store_wait(lab):
    lab.pull(lab.image)
    os.mkfifo(lab.store / ".part-aa")
    lab.pull(lab.image)
    assert lab.stored() == [lab.image.pcrs()[0]]
    os.mkfifo(lab.store / ".part-aa")
    lab.run("image", "remove", "mini")
    assert lab.stored() == []


def is_waiting_for_a_lock(pid):
    lines = pathlib.Path("/proc/locks").read_text().splitlines()
    return any(f"-> FLOCK  ADVISORY  WRITE {pid} " in line for line in lines)


def test_one_change_at_a_time(lab):
    """Whoever changes the store waits for the one who does, whoever reads it does not."""
    lab.pull(lab.image)
    for words in (["pull", lab.image.eif, "--pcr0", lab.image.pcrs()[0]], ["remove", "mini"]):
        with open(lab.store / "lock", "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            process = subprocess.Popen([TOOL, "image", *map(str, words)], env=lab.env,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and not is_waiting_for_a_lock(process.pid):
                pass
            assert process.returncode is None, f"{words[0]} did not wait"
            assert lab.list()[0]["good"] and lab.stored() == [lab.image.pcrs()[0]]
        assert process.wait(60) == 0
    assert lab.stored() == []


def test_a_lock_that_is_a_symlink(lab):
    lab.pull(lab.image)
    lock, elsewhere = lab.store / "lock", lab.base / "elsewhere"
    lock.unlink()
    lock.symlink_to(elsewhere)
    for there in (False, True):
        if there:
            elsewhere.write_text("whatever")
        said = lab.pull(lab.image, expect=2) + lab.run("image", "remove", "mini", expect=2)
        assert said.count("cannot open") == 2 and "/lock" in said, said
        assert elsewhere.exists() == there and lab.list()[0]["good"]


def test_remove_passes_over_names_that_are_none(lab):
    """What was removed is said to be, whatever else lies among the names."""
    other = lab.new("other")
    lab.pull(lab.image)
    lab.pull(other)
    names = lab.store / "names"
    (names / "junk").write_text("no PCR0\n")
    (names / "link").symlink_to("/etc/passwd")
    (names / "folder").mkdir()
    os.mkfifo(names / "pipe")
    (names / "other").write_text("damaged\n")
    assert "removed" in lab.run("image", "remove", lab.image.pcrs()[0])
    assert sorted(p.name for p in names.iterdir()) == ["folder", "other"]
    assert (names / "other").read_text() == other.pcrs()[0] + "\n"
    (names / "other").unlink()
    (names / "other").symlink_to("/etc/passwd")
    assert "stood for" not in lab.pull(other)
    assert (names / "other").read_text() == other.pcrs()[0] + "\n" and not (names / "other").is_symlink()


def test_interrupted_pull(lab):
    """A signal that is there from the start is heeded before anything has a name."""
    def block():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        os.kill(os.getpid(), signal.SIGTERM)
    done = subprocess.run([TOOL, "image", "pull", lab.image.eif, "--pcr0", lab.image.pcrs()[0]],
                          env=lab.env, capture_output=True, text=True, preexec_fn=block)
    assert done.returncode == 2 and "interrupted" in done.stderr, done
    assert lab.stored() == [], lab.stored()


# --- the store ---

def test_newest_of_a_name(lab):
    first = lab.image
    second = lab.new("mini", packages=4, stem="second")
    move = "stood for PCR0 {} and now stands for PCR0 {}\n".format
    assert "stood for" not in lab.pull(first)
    assert "stood for" not in lab.pull(first)
    said = lab.pull(second)
    assert "the name mini " + move(first.pcrs()[0], second.pcrs()[0]) in said, said
    assert move(second.pcrs()[0], first.pcrs()[0]) in lab.pull(first)
    lab.pull(second)
    newest = {one["pcr0"]: one["newest"] for one in lab.list()}
    assert newest == {first.pcrs()[0]: False, second.pcrs()[0]: True}
    lab.run("image", "remove", "mini")
    assert lab.list()[0]["pcr0"] == first.pcrs()[0] and lab.list()[0]["newest"]
    lab.pull(second)
    lab.run("image", "remove", first.pcrs()[0])
    assert lab.list()[0]["newest"] and lab.list()[0]["pcr0"] == second.pcrs()[0]


def test_swapped_in_the_store(lab):
    lab.spec()
    other = lab.new("other", erofs=lab.make_erofs("another\n"))
    lab.pull(lab.image)
    lab.pull(other)
    here, there = lab.folder(lab.image), lab.folder(other)
    for name in ("image.erofs", "image.eif"):
        shutil.copy(there / name, here / name)
        said = lab.build("--image", "mini", expect=1)
        assert name in said and "tee-compile image remove" in said, said
    shutil.copy(lab.image.eif, here / "image.eif")
    for name in ("image.erofs", "image.eif"):
        lab.pull(lab.image)
        flip(here / name, (here / name).stat().st_size // 2)
        assert name in lab.build(expect=1)
    assert [one["good"] for one in lab.list(expect=1)].count(False) == 1
    assert "DAMAGED" in lab.run("image", "list", expect=1)
    lab.pull(lab.image)  # mends it
    flip(here / "image.erofs", len(lab.image.data) + 1)
    assert "hash tree" in lab.build(expect=1)
    lab.pull(lab.image)
    os.truncate(here / "image.erofs", len(lab.image.data + lab.image.tree) - 4096)
    (cut,) = [one for one in lab.list(expect=1) if not one["good"]]
    assert cut["pcr0"] == lab.image.pcrs()[0] and "is cut" in cut["problem"], cut
    (here / "image.erofs").unlink()
    assert "image.erofs" in lab.build(expect=2)
    assert not lab.list(expect=1)[0]["good"] or not lab.list(expect=1)[1]["good"]
    lab.run("image", "remove", lab.image.pcrs()[0])
    assert lab.list()[0]["name"] == "other"


def test_symlinks_in_the_store(lab):
    lab.spec()
    lab.pull(lab.image)
    here = lab.folder(lab.image)
    for name in ("image.eif", "image.erofs"):
        away = lab.base / name
        (here / name).rename(away)
        (here / name).symlink_to(away)
        said = lab.build(expect=1)
        assert "symlink" in said, said
        (here / name).unlink()
        away.rename(here / name)
    elsewhere = lab.base / "elsewhere"
    here.rename(elsewhere)
    here.symlink_to(elsewhere)
    assert "symlinks are not followed" in lab.build(expect=1)
    lab.run("image", "remove", lab.image.pcrs()[0])
    assert (elsewhere / "image.eif").exists() and not here.is_symlink()
    lab.pull(lab.image)
    names = lab.store / "names"
    names.rename(lab.base / "names")
    names.symlink_to(lab.base / "names")
    assert "symlinks are not followed" in lab.build(expect=1)
    names.unlink()
    (lab.base / "names").rename(names)
    (names / "mini").unlink()
    (names / "mini").symlink_to(lab.image.eif)
    lab.build(expect=2)
    (names / "mini").unlink()
    (names / "mini").write_text("not a PCR0\n")
    assert "holds no PCR0" in lab.build(expect=1)


def test_others_may_not_write(lab):
    lab.spec()
    lab.pull(lab.image)
    for path in (lab.store, lab.folder(lab.image), lab.folder(lab.image) / "image.erofs",
                 lab.folder(lab.image) / "image.eif", lab.store / "names"):
        mode = path.stat().st_mode
        path.chmod(mode | 0o020)
        assert "others can write" in lab.build(expect=2), path
        path.chmod(mode)


def test_files_that_others_own(lab):
    """The build mounts what it has measured: nobody may be able to rewrite it in between."""
    lab.spec("false")
    for path in (lab.image.eif, lab.image.erofs):
        for bit in (0o020, 0o002):
            path.chmod(0o644 | bit)
            said = lab.build("--image", lab.image.eif, expect=2)
            assert f"others can write to {path}" in said and "chmod go-w" in said, said
        path.chmod(0o644)
        if ROOT:
            os.chown(path, 65534, 65534)
            said = lab.build("--image", lab.image.eif, expect=2)
            assert f"{path} belongs to user 65534" in said and "image pull" in said, said
            os.chown(path, 0, 0)
    lab.image.eif.chmod(0o666)
    lab.pull(lab.image)  # a copy of one's own


# --- building ---

def test_choice(lab):
    lab.spec(image="nowhere")
    said = lab.build(expect=2)
    for word in ("image nowhere", '"image" of the build file', "no recipe of that name", "image build FOLDER", "image pull",
                 "--image host"):
        assert word in said, said
    for name in RECIPES:
        assert f"image build images/{name} " in lab.build("--image", name, expect=2), name
    assert "can be the name of none" in lab.build("--image", "No", expect=2)
    lab.spec()
    said = lab.build(expect=2)
    assert "image mini" in said and '"language"' in said, said
    assert "--image" in lab.build("--image", "x", expect=2)
    assert "none.eif" in lab.build("--image", "./none.eif", expect=2)
    said = lab.build("--image", "ab" * 48, expect=2)
    assert "ab" * 48 in said and "image list" in said, said
    lab.spec(language="host")
    assert "image host" in lab.build(expect=2)  # a language is no wish for an unmeasured build
    lab.spec(image="../../x")
    lab.build(expect=2)
    # Only the command line names files: build.json may be somebody else's.
    for word in ("mini.eif", "x.eif"):
        shutil.copy(lab.image.eif, lab.base / word)
        shutil.copy(lab.image.erofs, (lab.base / word).with_suffix(".erofs"))
        lab.spec(image=word)
        assert f"image {word} " in lab.build(expect=2)
    lab.spec(language="x.eif")
    assert "image x.eif " in lab.build(expect=2)
    lab.pull(lab.image)
    lab.spec()
    said = lab.build("--image", "mini", "--host-tool", "/opt", expect=2)
    assert "--host-tool goes with --image host" in said, said


def test_missing_tools(lab):
    """Where the file system cannot be mounted the message says what is missing."""
    if ROOT:
        return
    lab.spec()
    lab.pull(lab.image)
    said = lab.build(expect=2, env={"PATH": "/nonexistent"})
    assert "erofsfuse" in said and "build as root" in said, said


def need_mount():
    """False, and said aloud, where this user cannot mount at all."""
    if not CAN_MOUNT:
        print("  not tried: no erofsfuse or no /dev/fuse for this user", flush=True)
    return CAN_MOUNT


def test_build(lab):
    if not need_mount():
        return
    pcrs = lab.image.pcrs()
    lab.spec("cat /etc/marker > out; cat /etc/secret >> out 2>/dev/null || echo denied >> out; "
             "ls /usr/bin | cat >> out; (echo x > /etc/marker) 2>/dev/null || echo read-only >> out")
    lab.pull(lab.image)
    said = lab.build()
    assert f"image: mini, PCR0 {pcrs[0]}" in said and f"--pcr 0={pcrs[0]}" in said, said
    lines = lab.output().splitlines()
    assert lines[:2] == ["marker of the image", "denied"] and lines[-1] == "read-only", lines
    assert lines[2:-1] == sorted([*image_lab.PROGRAMS, "sh"]), lines
    report = lab.run("report", lab.out)
    for word in (pcrs[0], pcrs[1], pcrs[2], "mini", hashlib.sha256(b"mini").hexdigest()):
        assert word in report, report
    with tarfile.open(lab.out) as tar:
        statement = tar.extractfile("attestation/statement.json").read().decode()
    for i in range(3):
        assert f"pkg:deb/debian/package-{i:04}@1.{i}-1?arch=amd64" in statement, statement
    asked = lab.verify(*sum((["--pcr", f"{i}={pcrs[i]}"] for i in range(3)), []))
    assert asked["verdict"] == "development" and asked["hardware"] is False
    checks = {c["name"]: c["result"] for c in asked["checks"]}
    assert checks["image"] == checks["image-trust"] == "pass", checks
    lab.verify(expect=1)                                # nobody has named the image
    lab.verify("--allow-unmeasured", expect=1)          # and it is not the unmeasured one
    lab.verify("--pcr", "0=" + "ab" * 48, expect=1)
    lab.verify("--pcr", f"2={pcrs[2]}", expect=1)       # PCR2 alone names nothing
    lab.run("image", "trust", "add", "--pcr0", pcrs[0], "--name", "mini")
    checks = {c["name"]: c["result"] for c in lab.verify()["checks"]}
    assert checks["image-trust"] == checks["image-name"] == "pass", checks
    assert lab.loops() == "", lab.loops()


def test_weaker_is_said(lab):
    """Where there are enclaves and none can start, auto warns, with what mends it; where there are none it does not."""
    if not ROOT or not need_mount() or os.path.exists("/dev/nitro_enclaves"):
        return
    lab.spec()
    lab.pull(lab.image)
    said = lab.build()
    assert "warning: no enclave" not in said and "(auto: no enclave device is here)" in said, said
    hide = ["unshare", "--mount", "--propagation", "private", "bash", "-c",
            'mount -t tmpfs none /sys/module && mkdir /sys/module/nitro_enclaves; exec "$@"', "-"]
    done = subprocess.run([*hide, TOOL, "build", "--dir", lab.project, "--output", lab.out, "--json"],
                          capture_output=True, text=True, timeout=120, env=lab.env)
    assert done.returncode == 0, done.stderr
    assert "warning: no enclave can start here: " in done.stderr and "Mend it: " in done.stderr, done.stderr
    assert "no enclave can start here" in json.loads(done.stdout)["build"]["because"], done.stdout


def test_build_by_every_word(lab):
    if not need_mount():
        return
    lab.spec(language="c", image="mini")
    said = lab.build("--image", lab.image.eif)   # from beside the store
    assert "the build file names" not in said and not lab.store.exists()
    lab.out.unlink()
    lab.image.erofs.unlink()
    assert "mini.erofs" in lab.build("--image", lab.image.eif, expect=2)
    lab.image.write()
    flip(lab.image.erofs, 5000)
    said = lab.build("--image", lab.image.eif, expect=1)
    # Before it runs and sees the source, where nothing checks each page.
    assert "root hash" in said and "sending the source" not in said and "building" not in said, said
    lab.image.erofs.write_bytes(lab.image.data + lab.image.tree + bytes(4096))
    assert "bytes, saw" in lab.build("--image", lab.image.eif, expect=1)
    lab.image.write()
    lab.pull(lab.image)
    lab.build()                                    # "image"
    lab.build("--image", lab.image.pcrs()[0])
    lab.spec()
    lab.build()                                    # "language"
    lab.spec(language="c", image="rust")
    assert "names image rust; this build uses mini" in lab.build("--image", "mini")
    checks = {c["name"]: c["result"] for c in lab.verify("--pcr", f"0={lab.image.pcrs()[0]}")["checks"]}
    assert checks["image-name"] == "not-asked", checks
    lab.run("image", "trust", "add", "--pcr0", lab.image.pcrs()[0], "--name", "mini")
    checks = {c["name"]: c["result"] for c in lab.verify(expect=1)["checks"]}
    assert checks["image-name"] == "fail", checks  # build.json asked for another


def test_self_contained(lab):
    alone = lab.new("alone", self_contained=True, stem="alone")
    assert not alone.erofs.exists()
    lab.pull(alone)
    assert os.listdir(lab.folder(alone)) == ["image.eif"] and lab.list()[0]["self_contained"]
    for at in (-1, -100, -600):
        data = bytearray(alone.second)
        data[at] ^= 1
        bad = lab.new("bad", self_contained=True, stem="bad")
        bad.second = bytes(data)
        bad.write()
        assert "no image of tee-compile" in lab.pull(bad, expect=1)
    if not need_mount():
        return
    lab.spec(image="alone")
    lab.build()
    assert lab.output() == "marker of the image\n"
    lab.verify("--pcr", f"0={alone.pcrs()[0]}")
    assert lab.loops() == "", lab.loops()


def test_signed_image(lab):
    key, certificate = certificate_of(lab)
    signed = lab.source / "signed.eif"
    lab.run("image", "sign", lab.image.eif, "--key", key, "--cert", certificate, "-o", signed)
    shutil.copy(lab.image.erofs, lab.source / "signed.erofs")
    measured = json.loads(lab.run("image", "measure", "--json", "--cert", certificate, signed))
    pcr8 = next(value for name, value in walk(measured) if "8" in name and len(str(value)) == 96)
    lab.pull(lab.image, source=signed)
    if not need_mount():
        return
    lab.spec()
    lab.build()
    lab.verify("--pcr", f"0={lab.image.pcrs()[0]}", "--pcr", f"8={pcr8}")
    lab.verify("--pcr", f"0={lab.image.pcrs()[0]}", "--pcr", "8=" + "00" * 48, expect=1)


def descendants(pid):
    out = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True).stdout
    parents = {}
    for line in out.splitlines()[1:]:
        child, parent = map(int, line.split())
        parents.setdefault(parent, []).append(child)
    found, todo = [], [pid]
    while todo:
        below = parents.get(todo.pop(), [])
        found += below
        todo += below
    return found


def walk(value, name=""):
    if isinstance(value, dict):
        for key, below in value.items():
            yield from walk(below, key)
    elif isinstance(value, list):
        for below in value:
            yield from walk(below, name)
    else:
        yield name, value


def test_no_file_system(lab):
    """Measured and well hashed, and yet nothing that can be mounted."""
    if not need_mount():
        return
    lab.spec()
    for data in (bytes(40960), Lab.erofs[:1024] + bytes(len(Lab.erofs) - 1024)):
        junk = lab.new("junk", erofs=data, stem="junk")
        assert "no EROFS" in lab.build("--image", junk.eif, expect=1)
        assert lab.loops() == "", lab.loops()
    hollow = lab.new("hollow", erofs=Lab.erofs[:1152] + bytes(len(Lab.erofs) - 1152), stem="hollow")
    said = lab.build("--image", hollow.eif, expect=2)
    assert "EROFS" in said or "erofsfuse could not serve" in said, said
    assert lab.loops() == "", lab.loops()


def test_file_system_with_devices(lab):
    """A kernel would open them by the paths in the image: it is not asked to."""
    if not need_mount():
        return
    lab.spec()
    for at, byte, word in ((80, 0x08, "features"), (86, 1, "further devices")):
        for self_contained in (False, True):
            data = bytearray(Lab.erofs)
            data[1024 + at] |= byte
            image = lab.new("bad", erofs=bytes(data), stem="bad", self_contained=self_contained)
            assert word in lab.build("--image", image.eif, expect=1)
            assert lab.loops() == "", lab.loops()


def start_build(lab):
    """One whose command has said "started"."""
    process = subprocess.Popen([TOOL, "build", "--dir", lab.project, "--output", lab.out],
                               stderr=subprocess.PIPE, text=True, env=lab.env)
    for line in process.stderr:
        if "started" in line:
            break
    return process


def test_failed_build_leaves_nothing(lab):
    if not need_mount():
        return
    lab.pull(lab.image)
    lab.spec("false")
    lab.build(expect=1)
    lab.spec("echo started; sleep 60")
    process = start_build(lab)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 2 and not lab.out.exists()
    process = start_build(lab)
    process.kill()
    process.communicate(timeout=30)
    # The pipe's end is the end of the last process that had it; the device goes with
    # the last mount.
    subprocess.run(["sync"], check=True)
    assert not lab.out.exists()
    lab.run("image", "remove", "mini")
    mounts = pathlib.Path("/proc/self/mountinfo").read_text()
    assert str(lab.base) not in mounts and "erofsfuse" not in mounts, mounts


def test_mount_of_the_image(lab):
    """In the worker's world, below what the sandbox does for itself: neither set-uid
    files nor devices of an image count, and nobody writes to it."""
    if not need_mount():
        return
    lab.pull(lab.image)
    lab.spec("echo started; sleep 60")
    process = start_build(lab)
    mounts = []
    for pid in descendants(process.pid):
        try:
            lines = pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
        except OSError:  # not for this user to see
            continue
        mounts += [line.split() for line in lines if " - erofs " in line or " - fuse" in line]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert any(fields[4] == "/toolchain" for fields in mounts), mounts
    for fields in mounts:
        assert {"ro", "nosuid", "nodev"} <= set(fields[5].split(",")), fields
        assert "ro" in fields[-1].split(","), fields  # of the file system itself


def test_erofsfuse_dies(lab):
    """A toolchain that goes away ends the build, whatever the command makes of it."""
    if ROOT or not need_mount():
        return
    lab.pull(lab.image)
    lab.spec("echo started; while read -t 1 < /etc/marker; do :; done; echo went on; echo > out")
    process = start_build(lab)
    below = [pid for pid in descendants(process.pid)
             if pathlib.Path(f"/proc/{pid}/comm").read_text() == "erofsfuse\n"]
    assert len(below) == 1, below
    os.kill(below[0], signal.SIGKILL)
    said = process.communicate(timeout=60)[1]
    # 2, the worker's end, and not 1, the command's.
    assert process.returncode == 2 and not lab.out.exists(), said


def main():
    tests = {n[5:]: f for n, f in globals().items() if n.startswith("test_")}
    failed = 0
    for name, test in tests.items():
        if WANTED and name not in WANTED:
            continue
        base = pathlib.Path(tempfile.mkdtemp(prefix="tee-compile-test-"))
        try:
            test(Lab(base))
            print(f"ok {name}", flush=True)
        except Exception as problem:  # every test is run, whatever one does
            failed += 1
            print(f"FAILED {name}: {type(problem).__name__}: {problem}", flush=True)
        shutil.rmtree(base, ignore_errors=True)
    sys.exit(1 if failed else 0)


main()
