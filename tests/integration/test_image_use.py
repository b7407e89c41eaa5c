#!/usr/bin/env python3
"""Builds with an image on the local back end: which image is taken, what its build finds and states,
which images are not mounted, and what is left behind.

usage: test_image_use.py TEE_COMPILE [NAME...]"""
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tarfile

import image_lab
from common_case import descendants
from image_store_case import ROOT, TOOL, Lab, certificate_of, flip, main

# As root the test runs where it lies, beside the images' recipes.
RECIPES = [path.parent.name for path in pathlib.Path(__file__).parents[2].glob("images/*/recipe.json")
           if path.parent.name not in ("builder", "kernel")] if ROOT else ["c"]
assert "c" in RECIPES, RECIPES
FUSE = shutil.which("erofsfuse") and os.access("/dev/fuse", os.R_OK | os.W_OK)
CAN_MOUNT = ROOT or FUSE


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


def walk(value, name=""):
    if isinstance(value, dict):
        for key, below in value.items():
            yield from walk(below, key)
    elif isinstance(value, list):
        for below in value:
            yield from walk(below, name)
    else:
        yield name, value


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


main(globals())
