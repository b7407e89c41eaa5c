#!/usr/bin/env python3
"""deploy/aws, as far as it can be judged without AWS: the user data by a linter, by what it
must say of the runner's user and by the packages that building needs; every script by
another linter, the units by systemd; the set-up and the registration with made-up commands
around them, in failure above all; and what gives enclaves their resources over a made-up
/sys.

usage: test_deploy.py PROJECT"""
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

import yaml

PROJECT = pathlib.Path(sys.argv[1])
AWS = PROJECT / "deploy/aws"
RULES = ("{extends: default, rules: {line-length: {max: 130}, document-start: disable,"
         " comments: {require-starting-space: false}}}")
SCRIPTS = ("install", "enclave-resources", "register-runner")

# What Debian and Ubuntu call the packages of what meson looks for, and of what runs it.
PACKAGES = {"jansson": "libjansson-dev", "libcrypto": "libssl-dev", "libcurl": "libcurl4-openssl-dev",
            "libgit2": "libgit2-dev", "libseccomp": "libseccomp-dev", "libssl": "libssl-dev",
            "threads": "build-essential", "zlib": "zlib1g-dev"}
TOOLS = {"build-essential", "meson", "ninja-build", "pkg-config", "python3"}


def run(*command, text=None, env=None):
    return subprocess.run([str(c) for c in command], input=text, capture_output=True, text=True, env=env, check=False)


def expect(condition, *seen):
    if not condition:
        raise AssertionError(" ".join(str(s) for s in seen))


def need(tool):
    expect(shutil.which(tool), f"there is no {tool}: script/setup installs it")
    return tool


# --- the user data ---

def cloud_config():
    text = (AWS / "cloud-init.yaml").read_text()
    expect(text.startswith("#cloud-config\n"), "the first line is not what cloud-init looks for")
    expect(len(text) < 15 << 10, "AWS takes 16 KiB of user data, once they are filled in")
    return yaml.safe_load(text)


def written():
    return {file["path"]: file for file in cloud_config()["write_files"]}


def packages():
    return written()["/etc/tee-compile/packages"]["content"].split()


def test_user_data_is_well_formed():
    done = run(need("yamllint"), "--strict", "--config-data", RULES, AWS / "cloud-init.yaml")
    expect(done.returncode == 0, done.stdout)
    # Where cloud-init itself is there, its own schema is asked too.
    if shutil.which("cloud-init"):
        done = run("cloud-init", "schema", "--config-file", AWS / "cloud-init.yaml")
        expect(done.returncode == 0, done.stdout, done.stderr)
    # packages: would be installed before the values are looked at, and before there is a timer.
    known = {"users", "groups", "write_files", "runcmd"}
    expect(set(cloud_config()) <= known, set(cloud_config()) - known)
    for package in packages():
        expect(re.fullmatch("[a-z0-9][a-z0-9+.-]+", package), package)


def test_packages_are_enough_to_build(base):
    """meson is asked what the configuration of `install` looks for; what a search without
    dependency() would find is read from its files."""
    expect("meson setup" in (AWS / "install").read_text() and "-Dtests=false" in (AWS / "install").read_text(),
           "install builds the tests, which need more")
    done = run(need("meson"), "setup", "--buildtype=release", "-Dtests=false", "-Dwerror=false", base + "/build",
               PROJECT)
    expect(done.returncode == 0, done.stdout, done.stderr)
    found = json.loads(run("meson", "introspect", "--dependencies", base + "/build").stdout)
    names = {dependency["name"] for dependency in found}
    expect({"libcrypto", "libcurl"} <= names, names)
    expect(names <= set(PACKAGES), "name the Debian package in PACKAGES of", names - set(PACKAGES))
    missing = {PACKAGES[name] for name in names} | TOOLS
    missing -= set(packages())
    expect(not missing, "cloud-init.yaml does not install", missing)
    expect(run("meson", "introspect", "--tests", base + "/build").stdout.strip() == "[]", "there are tests")
    texts = (PROJECT / "meson.build").read_text() + (PROJECT / "src/meson.build").read_text()
    expect(set(re.findall(r"^ *subdir\('(\w+)'\)", texts, re.M)) == {"src", "tests"}, "another folder has to be read")
    expect(set(re.findall(r"find_program\(([^,)]*)", texts)) == {"'../script/embed'"}, "another program is needed")
    expect("find_library(" not in texts and "find_installation(" not in texts, "a library without pkg-config")


def test_readme_names_what_is_needed():
    needs = (PROJECT / "README.md").read_text().split("## Needs")[1].split("\n## ")[0]
    for name in ("meson", "OpenSSL 3", "jansson", "libcurl 7.74", "libgit2 1.1", "libseccomp", "zlib", "cmocka", "libcbor"):
        expect(name in needs, name, needs)


def test_runner_is_nobody_else():
    config = cloud_config()
    user, = config["users"]
    expect(user["groups"] == ["ne"] and user["lock_passwd"] is True, user)
    expect(not {"sudo", "primary_group", "ssh_authorized_keys", "doas"} & set(user), user)
    unit = (AWS / "actions-runner.service").read_text()
    for line in ("User=runner", "NoNewPrivileges=yes", "SuccessAction=poweroff", "FailureAction=poweroff"):
        expect(f"\n{line}\n" in unit, line, unit)
    requires, = re.findall(r"^Requires=(.*)$", unit, re.M)
    expect("no-metadata.service" in requires.split(), unit)
    script = (AWS / "install").read_text()
    place = script.find("systemctl enable --now no-metadata.service")
    expect(script.find("systemctl daemon-reload") < place < script.find("register-runner\n"), script)


# In a network of its own: prints, for root and for somebody else, whether each address answers.
METADATA = """
set -eu
ip link set lo up
ip address add 169.254.169.254/32 dev lo
ip -6 address add fd00:ec2::254/128 dev lo nodad
ip address add 169.254.169.123/32 dev lo
nft -f "$1"
nft -f "$1"
exec /usr/bin/python3 -c '
import os, socket
for address in ("169.254.169.254", "fd00:ec2::254", "169.254.169.123"):
    server = socket.create_server((address, 80), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    for uid in (0, 65534):
        child = os.fork()
        if child == 0:
            os.setuid(uid)
            try:
                socket.create_connection((address, 80), 5).close()
                os._exit(0)
            except OSError:
                os._exit(1)
        print(address, uid, os.waitpid(child, 0)[1] == 0)
'"""


def test_metadata_are_for_root():
    """A kernel's own answer: by user, in whatever unit a program runs."""
    if os.geteuid() != 0:
        print("SKIPPED: a network of its own with another user in it wants root", flush=True)
        return
    done = run("unshare", "--net", "bash", "-c", METADATA, "-", AWS / "no-metadata.nft")
    expect(done.returncode == 0, done.stdout, done.stderr)
    expect(done.stdout.split("\n")[:-1] == [
        "169.254.169.254 0 True", "169.254.169.254 65534 False", "fd00:ec2::254 0 True", "fd00:ec2::254 65534 False",
        "169.254.169.123 0 True", "169.254.169.123 65534 True"], done.stdout)


def test_an_instance_that_fails_ends():
    expect("\nON_FAILURE=poweroff\n" in "\n" + written()["/etc/tee-compile/instance.conf"]["content"], "unless asked for")


def test_secrets_are_for_root():
    files = written()
    for name in ("runner", "source"):
        expect(files[f"/etc/tee-compile/{name}.conf"]["permissions"] == "0600", files)
    for path, file in files.items():
        expect(("TOKEN" in file["content"]) == (path == "/etc/tee-compile/runner.conf"), path)
    script = (AWS / "register-runner").read_text()
    expect("--ephemeral" in script and "shred --remove" in script and "--token" not in script, script)


def test_apt_waits(base):
    """By apt itself, which reads only files of some names."""
    if not shutil.which("apt-config"):
        print("SKIPPED test_apt_waits: there is no apt-config; what apt makes of its file is NOT checked")
        return
    parts = pathlib.Path(base) / "parts"
    parts.mkdir()
    file, = (file for path, file in written().items() if path.startswith("/etc/apt/apt.conf.d/"))
    (parts / pathlib.Path(file["path"]).name).write_text(file["content"])
    config = pathlib.Path(base) / "apt.conf"
    config.write_text(f'Dir::Etc::parts "{parts}";\nDir::Etc::main "/dev/null";\n')
    done = run("apt-config", "dump", env={**os.environ, "APT_CONFIG": str(config)})
    for line in ('DPkg::Lock::Timeout "600";', 'APT::Periodic::Enable "0";'):
        expect(line in done.stdout.splitlines(), line, done.stdout[-500:], done.stderr)


def test_what_is_fetched_is_compared():
    config = cloud_config()
    texts = [c for words in config["runcmd"] for c in words] + [(AWS / s).read_text() for s in SCRIPTS]
    for text in texts:
        expect(text.count("curl ") == text.count("sha256sum --check --strict") == text.count("--proto '=https'"), text)


def test_scripts():
    need("shellcheck")
    for script in SCRIPTS:
        done = run("shellcheck", AWS / script)
        expect(done.returncode == 0, done.stdout)
        expect((AWS / script).stat().st_mode & 0o111 == 0o111, script, "is not executable")
    for words in cloud_config()["runcmd"]:
        expect(words[:2] == ["bash", "-euc"], words)
        done = run("shellcheck", "--shell=bash", "-", text=words[2])
        expect(done.returncode == 0, done.stdout)


def test_units(base):
    """By systemd itself, in a root that has what they refer to. What it warns of counts."""
    if not shutil.which("systemd-analyze"):
        print("SKIPPED test_units: there is no systemd-analyze; the units of deploy/aws are NOT checked")
        return
    units = pathlib.Path(base) / "etc/systemd/system"
    units.mkdir(parents=True)
    ours = list(AWS.glob("*.service"))
    texts = {unit.name: unit.read_text() for unit in ours}
    texts.update((pathlib.Path(file["path"]).name, file["content"]) for file in cloud_config()["write_files"]
                 if file["path"].startswith("/etc/systemd/system/"))
    expect(set(texts) == {"actions-runner.service", "enclave-resources.service", "instance-end.service",
                          "instance-end.timer", "no-metadata.service"}, set(texts))
    for name, text in texts.items():
        (units / name).write_text(text)
        for program in re.findall(r"^ExecStart=(\S+)", text, re.M):
            file = pathlib.Path(base + program)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("#!/bin/sh\n")
            file.chmod(0o755)
    for name in ("basic", "multi-user", "network-online", "shutdown", "sysinit", "timers"):
        (units / f"{name}.target").write_text("[Unit]\nDescription=Made up\n")
    done = run("systemd-analyze", "verify", "--man=no", f"--root={base}", *texts)
    expect(done.returncode == 0 and not done.stderr, done.stderr)
    # It does not say when what a unit hands over to is not there.
    for name, text in texts.items():
        for others in re.findall(r"^(?:OnFailure|Requires)=(.+)$", text, re.M):
            expect(set(others.split()) <= set(texts), name, "refers to", others)
    for name, line in (("no-metadata.service", "ExecStart=/usr/sbin/nft -f /etc/tee-compile/no-metadata.nft"),
                       ("enclave-resources.service", "ExecStart=/usr/local/sbin/enclave-resources"),
                       ("enclave-resources.service", "ConditionPathExists=!/etc/nitro_enclaves/allocator.yaml"),
                       ("instance-end.service", "ExecStart=/usr/bin/systemctl --no-block poweroff"),
                       ("actions-runner.service", "User=runner"), ("actions-runner.service", "NoNewPrivileges=yes")):
        expect(f"\n{line}\n" in texts[name], name, "lacks", line)
    runner = texts["actions-runner.service"]
    for line in ("Requires=enclave-resources.service no-metadata.service", "OnFailure=instance-end.service"):
        expect(f"\n{line}\n" in runner, line, runner)
    expect(re.search(r"^After=.*\benclave-resources\.service no-metadata\.service\b", runner, re.M), runner)
    expect("\nOnBootSec=12h\n" in texts["instance-end.timer"], texts["instance-end.timer"])


# --- a set-up that fails ---

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


# --- the resources ---

class Machine:
    """Cores of two threads; node: of each core. One size of page is missing where it is None."""

    def __init__(self, base, nodes, large="0", small="0", pool="", config="MEMORY_MIB=3000\nCPUS=2\n"):
        self.root = pathlib.Path(base)
        self.put("etc/tee-compile/enclaves.conf", config)
        self.pool = self.put("sys/module/nitro_enclaves/parameters/ne_cpus", pool + "\n")
        self.nodes = nodes
        for core, node in enumerate(nodes):
            for cpu in (core, core + len(nodes)):
                self.put(f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list",
                         f"{core},{core + len(nodes)}\n")
                self.put(f"sys/devices/system/cpu/cpu{cpu}/node{node}/x", "")
        for node in set(nodes):
            for kind, count in (("1048576kB", large), ("2048kB", small)):
                if count is not None:
                    self.put(self.pages(node, kind), count + "\n")
            (self.root / f"sys/devices/system/node/node{node}").mkdir(parents=True, exist_ok=True)

    @staticmethod
    def pages(node, kind):
        return f"sys/devices/system/node/node{node}/hugepages/hugepages-{kind}/nr_hugepages"

    def put(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def count(self, node, kind):
        return int((self.root / self.pages(node, kind)).read_text())

    def run(self, status=0):
        done = run(AWS / "enclave-resources", env={"ENCLAVE_RESOURCES_ROOT": str(self.root), "PATH": "/usr/bin:/bin"})
        expect(done.returncode == status, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr


def test_resources(base):
    machine = Machine(base, [0, 0, 0, 0])
    said = machine.run()
    expect(machine.pool.read_text() == "3,7\n", machine.pool.read_text())
    expect((machine.count(0, "1048576kB"), machine.count(0, "2048kB")) == (2, 476), said)
    expect("processors 3,7 and 3000 MiB of node 0" in said, said)
    machine.run()
    expect(machine.pool.read_text() == "3,7\n", "a second start changes nothing")


def test_resources_without_large_pages(base):
    machine = Machine(base, [0, 0], large=None)
    machine.run()
    expect(machine.count(0, "2048kB") == 1500, "all in small ones")


def test_resources_of_the_node_that_has_them(base):
    """The first node has processor 0 alone; memory follows the processors."""
    machine = Machine(base, [0, 1, 1], config="MEMORY_MIB=1024\nCPUS=4\n")
    machine.run()
    expect(machine.pool.read_text() == "1,2,4,5\n", machine.pool.read_text())
    expect((machine.count(0, "1048576kB"), machine.count(1, "1048576kB")) == (0, 1), "of node 1")


def test_resources_that_are_more(base):
    """Pages that somebody else reserved stay."""
    machine = Machine(base, [0, 0], large="9", pool="1,3")
    machine.run()
    expect((machine.count(0, "1048576kB"), machine.count(0, "2048kB")) == (9, 0), "none taken, none added")


def test_resources_that_are_missing(base):
    for number, (machine, text) in enumerate((
            ({"nodes": [0]}, "besides processor 0's core"),
            ({"nodes": [0, 0, 1], "config": "MEMORY_MIB=64\nCPUS=3\n"}, "besides processor 0's core"),
            ({"nodes": [0, 0], "large": None, "small": None}, "gives 0 MiB of huge pages, not 3000"),
            ({"nodes": [0, 0, 0], "pool": "1", "config": "MEMORY_MIB=64\nCPUS=2\n"}, "fewer than 2 processors"),
            ({"nodes": [0, 0], "config": "MEMORY_MIB=lots\nCPUS=2\n"}, "lacks a line MEMORY_MIB=NUMBER"),
            ({"nodes": [0, 0], "config": "MEMORY_MIB=64\n"}, "lacks a line CPUS=NUMBER"))):
        said = Machine(f"{base}/{number}", **machine).run(status=1)
        expect(text in said, text, said)
    machine = Machine(f"{base}/driver", [0, 0])
    machine.pool.unlink()
    expect("modprobe nitro_enclaves" in machine.run(status=1), "the driver is named")


def main():
    failed = 0
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        with tempfile.TemporaryDirectory(prefix="tee-compile-deploy-") as base:
            try:
                test(base) if test.__code__.co_argcount else test()
                print("ok", name)
            except AssertionError as problem:
                failed += 1
                print("FAILED", name, problem)
    sys.exit(1 if failed else 0)


main()
