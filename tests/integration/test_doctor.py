#!/usr/bin/env python3
"""Which back ends can be used here, which one is taken, and what mends it where none can: by
doctor, and by a build, which must agree.

usage: test_doctor.py TEE_COMPILE [NAME...]"""
import json
import os
import subprocess

import image_lab
from cli_case import TOOL, main


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


main(globals())
