#!/usr/bin/env python3
"""deploy/aws, as far as it can be judged without AWS: the user data by a linter and by
what it must say of the runner's user, every script by another linter, and what gives
enclaves their resources over a made-up /sys.

usage: test_deploy.py PROJECT"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

PROJECT = pathlib.Path(sys.argv[1])
AWS = PROJECT / "deploy/aws"
RULES = ("{extends: default, rules: {line-length: {max: 130}, document-start: disable,"
         " comments: {require-starting-space: false}}}")
SCRIPTS = ("install", "enclave-resources", "register-runner")


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
    return yaml.safe_load(text)


def test_user_data_is_well_formed():
    done = run(need("yamllint"), "--strict", "--config-data", RULES, AWS / "cloud-init.yaml")
    expect(done.returncode == 0, done.stdout)
    # Where cloud-init itself is there, its own schema is asked too.
    if shutil.which("cloud-init"):
        done = run("cloud-init", "schema", "--config-file", AWS / "cloud-init.yaml")
        expect(done.returncode == 0, done.stdout, done.stderr)
    known = {"users", "groups", "package_update", "packages", "write_files", "runcmd"}
    expect(set(cloud_config()) <= known, set(cloud_config()) - known)
    for package in cloud_config()["packages"]:
        expect(re.fullmatch("[a-z0-9][a-z0-9+.-]+", package), package)


def test_runner_is_nobody_else():
    config = cloud_config()
    user, = config["users"]
    expect(user["groups"] == ["ne"] and user["lock_passwd"] is True, user)
    expect(not {"sudo", "primary_group", "ssh_authorized_keys", "doas"} & set(user), user)
    unit = (AWS / "actions-runner.service").read_text()
    for line in ("User=runner", "NoNewPrivileges=yes", "SuccessAction=poweroff", "FailureAction=poweroff"):
        expect(f"\n{line}\n" in unit, line, unit)
    # The user data are kept from the job, and from what it leaves to its user's service manager.
    denied = "\nIPAddressDeny=169.254.169.254/32 fd00:ec2::254/128\n"
    slice_of_users = (AWS / "no-metadata.conf").read_text()
    expect(denied in unit and f"\n[Slice]{denied}" in slice_of_users, unit, slice_of_users)
    script = (AWS / "install").read_text()
    place = script.find("no-metadata.conf\" /etc/systemd/system/user.slice.d/")
    expect(0 < place < script.find("systemctl daemon-reload") < script.find("register-runner\n"), script)


def test_secrets_are_for_root():
    files = {f["path"]: f for f in cloud_config()["write_files"]}
    expect(files["/etc/tee-compile/runner.conf"]["permissions"] == "0600", files)
    for path, file in files.items():
        expect(("TOKEN" in file["content"]) == (path == "/etc/tee-compile/runner.conf"), path)
    script = (AWS / "register-runner").read_text()
    expect("--ephemeral" in script and "shred --remove" in script and "--token" not in script, script)


def test_what_is_fetched_is_compared():
    config = cloud_config()
    texts = [c for words in config["runcmd"] for c in words] + [(AWS / s).read_text() for s in SCRIPTS]
    for text in texts:
        expect(text.count("curl ") == text.count("sha256sum --check --strict"), text)


def test_scripts():
    need("shellcheck")
    for script in SCRIPTS:
        done = run("shellcheck", AWS / script)
        expect(done.returncode == 0, done.stdout)
        expect((AWS / script).stat().st_mode & 0o111 == 0o111, script, "is not executable")
    for words in cloud_config()["runcmd"]:
        expect(words[:2] == ["bash", "-euc"], words)
        done = run("shellcheck", "--shell=bash", "--exclude=SC1091,SC2154", "-", text=words[2])
        expect(done.returncode == 0, done.stdout)


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
