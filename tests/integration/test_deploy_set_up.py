#!/usr/bin/env python3
"""The set-up of deploy/aws and the registration of the runner, with made-up commands around them, in
failure above all.

usage: test_deploy_set_up.py PROJECT"""
import hashlib
import io
import os
import pathlib
import re
import shutil
import tarfile

from deploy_case import AWS, cloud_config, expect, main, packages, run, written

CURL = """while [ $# -gt 1 ]; do
    if [ "$1" = --output ]; then output=$2; fi
    shift
done
echo "curl $1" >>"$CALLS"
cp "$FETCHED" "$output" || exit 22
"""


class SetUp:
    """A root, and in front of PATH what the set-up calls and this machine must not do."""

    def __init__(self, base, files, commands):
        self.base = pathlib.Path(base)
        self.calls = self.base / "calls"
        self.token = self.put("etc/tee-compile/runner.conf",
                              "URL=https://example.org/o/r\nTOKEN=secret\nLABELS=enclave\n")
        self.archive = self.base / "archive.tar.gz"
        self.pack(files)
        for name, text in commands.items():
            self.put(f"bin/{name}", "#!/bin/sh\n" + text).chmod(0o755)

    def put(self, path, text):
        file = self.base / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def pack(self, files):
        with tarfile.open(self.archive, "w:gz") as archive:
            for name, text in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode, entry.uid = len(text), 0o755, 1000
                archive.addfile(entry, io.BytesIO(text.encode()))

    def digest(self):
        return hashlib.sha256(self.archive.read_bytes()).hexdigest()

    def run(self, *command, **env):
        env = {"CALLS": str(self.calls), "FETCHED": str(self.archive), "PATH": f"{self.base}/bin:/usr/bin:/bin", **env}
        return run(*command, env=env)

    def called(self):
        return self.calls.read_text().splitlines() if self.calls.exists() else []


# As it is presigned: no shell may read this.
PRESIGNED = "https://example.org/t?a=1&b=$(touch)%2Fx;c='d"
SOURCE = f"ARCHIVE={PRESIGNED}\nARCHIVE_SHA256={{}}\n"
RUNNER = ("# https://github.com/OWNER/REPOSITORY\nURL=https://example.org/o/r\nTOKEN=secret\nLABELS=enclave\n"
          f"ARCHIVE=https://example.org/r\nARCHIVE_SHA256={'1' * 64}\n")
BEGIN = ["systemctl daemon-reload", "systemctl enable --now instance-end.timer"]


def run_user_data(base, install="exit 0", instance="ON_FAILURE=poweroff\n", digest=None, fetched=True,
                  modules="exit 0", without=(), source=SOURCE, runner=RUNNER):
    """The command of the user data as it is, but for where /etc and /opt are."""
    setup = SetUp(base, {"t/deploy/aws/install":
                         f'#!/bin/sh\necho install of $(stat -c %u "$0") >>$CALLS\n{install}\n'}, {
        "curl": CURL, "modinfo": modules, "systemctl": 'echo "systemctl $*" >>"$CALLS"',
        "apt-get": 'echo "apt-get $DEBIAN_FRONTEND $*" >>"$CALLS"', **{command: "exit 1" for command in without}})
    if not fetched:
        setup.archive.unlink()
        digest = "0" * 64
    setup.put("etc/tee-compile/runner.conf", runner)
    setup.put("etc/tee-compile/source.conf", source.format(digest or setup.digest()))
    setup.put("etc/tee-compile/packages", written()["/etc/tee-compile/packages"]["content"])
    if instance is not None:
        setup.put("etc/tee-compile/instance.conf", instance)
    command, = cloud_config()["runcmd"]
    text = re.sub(r"(?<![\w/])/(etc|opt)/", rf"{base}/\1/", command[2])
    return setup, setup.run(*command[:2], text)


def test_set_up(base):
    setup, done = run_user_data(base)
    expect(done.returncode == 0, done.stdout, done.stderr)
    expected = [*BEGIN, "apt-get noninteractive update", f"apt-get noninteractive install --yes {' '.join(packages())}",
                f"curl {PRESIGNED}", f"install of {os.geteuid()}"]
    expect(setup.called() == expected, setup.called())
    expect(not setup.token.exists(), "whatever install did with it, the token is gone")


def test_set_up_fetches_modules_of_this_kernel(base):
    wanted = f"apt-get noninteractive install --yes linux-modules-extra-{os.uname().release}"
    for missing in ("nitro_enclaves", "vsock"):
        setup, done = run_user_data(f"{base}/{missing}", modules=f'[ "$1" != {missing} ]')
        expect(done.returncode == 0 and wanted in setup.called(), missing, done.stderr, setup.called())


def test_set_up_that_is_not_filled_in(base):
    """Before anything is installed, each by its name, and nothing of what is there instead."""
    texts = {name: written()[f"/etc/tee-compile/{name}.conf"]["content"] for name in ("source", "runner")}
    setup, done = run_user_data(f"{base}/all", **texts)
    for name, text in texts.items():
        for value in re.findall(r"^(\w+)=__", text, re.M):
            expect(f"tee-compile: {value} of {name}.conf " in done.stdout, name, value, done.stdout)
    expect(done.returncode == 1 and setup.called() == [*BEGIN, "systemctl poweroff"], done.returncode, setup.called())
    expect(not setup.token.exists(), "leaves the token")
    filled = {"source": SOURCE, "runner": RUNNER}
    expect({(name, value) for name in texts for value in re.findall(r"^(\w+)=", texts[name], re.M)}
           == {(name, value) for name in texts for value in re.findall(r"^(\w+)=", filled[name], re.M)}, texts)
    number = 0
    for name, text in filled.items():
        for value in re.findall(r"^(\w+)=", text, re.M):
            for instead in ("__ABC", "__ABC__", "", '"ABC"', "'ABC'", None):
                number += 1
                line = "" if instead is None else f"{value}={instead}\n"
                changed = re.sub(rf"^{value}=.*\n", line, text, flags=re.M)
                setup, done = run_user_data(f"{base}/{number}", **{name: changed})
                said = [line for line in done.stdout.splitlines() if "not filled in" in line]
                expect(len(said) == 1 and f" {value} of {name}.conf " in said[0], value, instead, done.stdout)
                expect("ABC" not in done.stdout + done.stderr, "the value is shown", done.stdout, done.stderr)
                expect(setup.called() == [*BEGIN, "systemctl poweroff"], value, instead, setup.called())


def test_set_up_that_fails(base):
    for number, change in enumerate(({"install": "exit 3"}, {"fetched": False}, {"digest": "1" * 64},
                                     {"install": "kill -9 $$"}, {"install": "exit 3", "instance": None},
                                     {"without": ["apt-get"]})):
        setup, done = run_user_data(f"{base}/{number}", **change)
        expect(done.returncode != 0, change, done.stdout, done.stderr)
        expect("the set-up failed with status" in done.stdout, change, done.stdout)
        expect(not setup.token.exists(), change, "leaves the token")
        expect(setup.called()[-1] == "systemctl poweroff", change, setup.called())
        expect((f"install of {os.geteuid()}" in setup.called()) == ("install" in change), change, setup.called())


def test_set_up_that_fails_twice(base):
    setup, done = run_user_data(f"{base}/0", install="exit 3", without=["shred"])
    expect(not setup.token.exists() and setup.called()[-1] == "systemctl poweroff", "shred", done.stderr)
    setup, done = run_user_data(f"{base}/1", install="exit 3", without=["shred", "rm"])
    expect(setup.called()[-1] == "systemctl poweroff", "shred, rm", done.stderr)


def test_set_up_that_fails_and_is_kept(base):
    setup, done = run_user_data(base, install="exit 3", instance="ON_FAILURE=keep\n")
    expect(done.returncode == 3 and not setup.token.exists(), done.returncode, "leaves the token")
    expect("systemctl poweroff" not in setup.called(), setup.called())


def test_installation(base):
    """`install` as it is, but for where /etc and /usr are: above all in which order."""
    names = ("meson", "ninja", "udevadm", "modprobe", "systemctl", "register-runner")
    setup = SetUp(base, {}, {name: f'echo "{name} $*" >>"$CALLS"' for name in names})
    folder = setup.base / "t/deploy/aws"
    shutil.copytree(AWS, folder)
    text = re.sub(r"(?<![\w/])/(etc|usr)/(?!bin/)", rf"{base}/\1/", (AWS / "install").read_text())
    (folder / "install").write_text(text)
    for path in ("etc/systemd/system", "etc/udev/rules.d", "etc/modules-load.d", "usr/local/sbin"):
        (setup.base / path).mkdir(parents=True)
    done = setup.run(folder / "install")
    expect(done.returncode == 0, done.stdout, done.stderr)
    expected = [
        # The rule first, then the driver; for one that was there at boot, the event once more.
        "udevadm control --reload", "modprobe vsock", "modprobe nitro_enclaves",
        "udevadm trigger --action=add --subsystem-match=misc --sysname-match=nitro_enclaves", "udevadm settle",
        "systemctl daemon-reload", "systemctl enable --now no-metadata.service",
        "systemctl enable --now enclave-resources.service", "register-runner ",
        "systemctl enable --now actions-runner.service"]
    called = [call for call in setup.called() if call.split()[0] not in ("meson", "ninja")]
    expect(called == expected, called)
    rule = (setup.base / "etc/udev/rules.d/90-nitro-enclaves.rules").read_text()
    expect(rule == 'KERNEL=="nitro_enclaves", SUBSYSTEM=="misc", GROUP="ne", MODE="0660"\n', rule)
    modules = (setup.base / "etc/modules-load.d/nitro-enclaves.conf").read_text()
    expect(modules == "nitro_enclaves\nvsock\n", modules)
    for path in ("usr/local/sbin/enclave-resources", "usr/local/sbin/register-runner", "etc/tee-compile/no-metadata.nft",
                 *(f"etc/systemd/system/{unit.name}" for unit in AWS.glob("*.service"))):
        expect((setup.base / path).read_bytes() == (AWS / pathlib.Path(path).name).read_bytes(), path)


def register(base, findings, configure="exit 0", digest=None, registered=False, without=()):
    setup = SetUp(base, {"bin/installdependencies.sh": "#!/bin/sh\n", "config.sh":
                         f'#!/bin/sh\necho "config $* $ACTIONS_RUNNER_INPUT_TOKEN" >>"$CALLS"\n{configure}\n'}, {
        "curl": CURL, "chown": 'echo "chown $*" >>"$CALLS"\n', "runuser":
        'if [ "$*" = "-l runner -c tee-compile doctor --backend nitro" ]; then echo "$FINDINGS"; '
        'case $FINDINGS in *yes*) exit 0 ;; *) exit 1 ;; esac; fi\n'
        'echo "as $2" >>"$CALLS"\nshift 3\nexec "$@"',
        **{command: "exit 1" for command in without}})
    with setup.token.open("a") as file:
        file.write(f"ARCHIVE=https://example.org/r\nARCHIVE_SHA256={digest or setup.digest()}\n")
    if registered:
        setup.put("opt/actions-runner/.runner", "")
    return setup, setup.run(AWS / "register-runner", FINDINGS=findings, REGISTER_RUNNER_ROOT=str(base))


USABLE = "nitro  yes  enclaves can start"
USELESS = "nitro  no   there is no device"


def test_registration(base):
    setup, done = register(base, USABLE)
    expect(done.returncode == 0 and not setup.token.exists(), done.stdout, done.stderr)
    expect(re.fullmatch("config --unattended --ephemeral --url https://example.org/o/r --labels enclave"
                        r" --name enclave-\S+ secret", setup.called()[-1]), setup.called())
    folder = f"{base}/opt/actions-runner"
    expect(setup.called()[-3:-1] == [f"chown -R runner: {folder}", "as runner"], "it is the runner's", setup.called())
    setup, done = register(base + "/again", USABLE, registered=True)
    expect(done.returncode == 0 and not setup.token.exists() and not setup.called(), "once", setup.called())


def test_registration_that_fails(base):
    for number, change in enumerate(({"findings": USELESS}, {"findings": ""}, {"findings": USABLE, "digest": "1" * 64},
                                     {"findings": USABLE, "configure": "exit 4"},
                                     {"findings": USABLE, "configure": "exit 4", "without": ["shred"]})):
        setup, done = register(f"{base}/{number}", **change)
        expect(done.returncode != 0 and not setup.token.exists(), change, done.returncode, "or the token is there")
        expect(("curl https://example.org/r" in setup.called()) == (change["findings"] == USABLE), change, setup.called())
    setup, done = register(f"{base}/no", USELESS)
    expect("can start no enclave" in done.stderr and "no device" in done.stdout, done.stdout, done.stderr)


main(globals())
