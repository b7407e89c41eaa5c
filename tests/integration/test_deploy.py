#!/usr/bin/env python3
"""deploy/aws, as far as its files can be judged without AWS: the user data by a linter, by what it
must say of the runner's user and by the packages that building needs; every script by another
linter, the units by systemd, the rules of the network by a kernel.

usage: test_deploy.py PROJECT"""
import json
import os
import pathlib
import re
import shutil

from deploy_case import AWS, PROJECT, SCRIPTS, cloud_config, expect, main, need, packages, run, written

RULES = ("{extends: default, rules: {line-length: {max: 130}, document-start: disable,"
         " comments: {require-starting-space: false}}}")

# What Debian and Ubuntu call the packages of what meson looks for, and of what runs it.
PACKAGES = {"jansson": "libjansson-dev", "libcrypto": "libssl-dev", "libcurl": "libcurl4-openssl-dev",
            "libgit2": "libgit2-dev", "libseccomp": "libseccomp-dev", "libssl": "libssl-dev",
            "threads": "build-essential", "zlib": "zlib1g-dev"}
TOOLS = {"build-essential", "meson", "ninja-build", "pkg-config", "python3"}


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


main(globals())
