"""What the tests of deploy/aws share: the files, their user data as read, and how a case fails."""
import pathlib
import shutil
import subprocess
import sys
import tempfile

import yaml

PROJECT = pathlib.Path(sys.argv[1])
AWS = PROJECT / "deploy/aws"
SCRIPTS = ("install", "enclave-resources", "register-runner")


def run(*command, text=None, env=None):
    return subprocess.run([str(c) for c in command], input=text, capture_output=True, text=True, env=env, check=False)


def expect(condition, *seen):
    if not condition:
        raise AssertionError(" ".join(str(s) for s in seen))


def need(tool):
    expect(shutil.which(tool), f"there is no {tool}: script/setup installs it")
    return tool


def cloud_config():
    text = (AWS / "cloud-init.yaml").read_text()
    expect(text.startswith("#cloud-config\n"), "the first line is not what cloud-init looks for")
    expect(len(text) < 15 << 10, "AWS takes 16 KiB of user data, once they are filled in")
    return yaml.safe_load(text)


def written():
    return {file["path"]: file for file in cloud_config()["write_files"]}


def packages():
    return written()["/etc/tee-compile/packages"]["content"].split()


def main(names):
    failed = 0
    for name, test in list(names.items()):
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
