#!/usr/bin/python3
"""verify --policy as scripts see it: exit statuses, messages, JSON; and that the
policies in the documentation and in examples/ are ones.

test_policy.py TEE_COMPILE MAKE_BUNDLE PROJECT
"""
import json
import os
import re
import subprocess
import sys
import tempfile

TOOL, MAKE_BUNDLE, PROJECT = (os.path.abspath(path) for path in sys.argv[1:4])
TYPE = {"type": "tee-compile/policy/1"}


def run(base, policy, *more, feed=None):
    done = subprocess.run([TOOL, "verify", "--root", "root.pem", "--policy", policy, *more,
                           "good.tar"], cwd=base, capture_output=True, text=True, check=False,
                          input=feed, env={**os.environ, "XDG_DATA_HOME": f"{base}/data"})
    return done.returncode, done.stdout, done.stderr


def expect(what, seen, expected):
    if seen != expected:
        sys.exit(f"{what}: expected {expected!r}, saw {seen!r}")


def contains(what, text, part):
    if part not in text:
        sys.exit(f"{what}: {part!r} is not in {text!r}")


def write(base, value):
    with open(f"{base}/policy.json", "w", encoding="utf-8") as file:
        file.write(value if isinstance(value, str) else json.dumps(value))
    return "policy.json"


def check_exits(base):
    commit = "c0" * 20
    code, out, _ = run(base, write(base, {**TYPE, "commit": commit, "nonce": "01020304"}))
    expect("met", code, 0)
    contains("met", out, "pass       policy-commit")
    code, out, _ = run(base, write(base, {**TYPE, "commit": "00" * 20}))
    expect("missed", code, 1)
    contains("missed", out, f"expected {'00' * 20}\n             saw      {commit}")
    code, out, _ = run(base, write(base, {**TYPE, "commit": "00" * 20, "max_age": "1h"}), "--json")
    expect("missed in JSON", code, 1)
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    expect("result", checks["policy-commit"]["result"], "fail")
    expect("seen", checks["policy-commit"]["seen"], commit)
    expect("age by the clock", checks["policy-max-age"]["result"], "pass")
    expect("no check without its key", "policy-source" in checks, False)
    code, out, _ = run(base, write(base, {**TYPE, "repository": "https://example.org/app.git"}))
    expect("only claimed", code, 1)
    contains("only claimed", out, "witnessed by the worker")
    contains("only claimed", out, "claimed by the builder and not witnessed")


def check_errors(base):
    for text, message in ((json.dumps({**TYPE, "comit": "x"}), 'did you mean "commit"?'),
                          (json.dumps(TYPE), "expects nothing"), ("", "policy.json: the policy"),
                          (json.dumps({"type": "tee-compile/policy/2"}), "tee-compile/policy/2"),
                          (json.dumps({**TYPE, "log_proof": True}), "unknown key"),
                          (" " * 65537, "at most 65536")):
        code, out, err = run(base, write(base, text))
        expect(f"exit for {message}", code, 2)
        expect("nothing on stdout", out, "")
        contains("the message", err, message)
    code, _, err = run(base, "none.json")
    expect("a file that is not there", code, 2)
    contains("a file that is not there", err, "cannot read the policy none.json: No such file")
    expect("a folder", run(base, ".")[0], 2)
    code, _, _ = run(base, "/dev/stdin", feed=json.dumps({**TYPE, "build_file": "build.json"}))
    expect("from a pipe", code, 0)


def check_documentation(base):
    with open(f"{PROJECT}/docs/formats.md", encoding="utf-8") as file:
        section = file.read().split("## The policy", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"```json\n(.*?)```", section, re.S)
    expect("policies in docs/formats.md", len(blocks), 1)
    with open(f"{PROJECT}/examples/policy.json", encoding="utf-8") as file:
        blocks.append(file.read())
    for block in blocks:
        code, out, err = run(base, write(base, block), "--json")
        expect(f"a policy of the documentation ({err})", code, 1)
        policy = json.loads(block)
        keys = set(policy) - {"type", "network"}
        keys |= {f"network-{key.removesuffix('_only')}" for key in policy.get("network", {})}
        keys = {key.replace("_", "-") for key in keys}
        names = {check["name"] for check in json.loads(out)["checks"]}
        expect("a check a key", {f"policy-{key}" for key in keys} - names, set())
    keys = re.findall(r"`([a-z_.]+)`", "".join(re.findall(r"^\| (`[^|]*)\|", section, re.M)))
    policy = json.loads(blocks[0])
    expect("keys in the table", set(keys),
           set(policy) - {"type", "network"} | {f"network.{key}" for key in policy["network"]})


def main():
    with tempfile.TemporaryDirectory() as base:
        subprocess.run([MAKE_BUNDLE, f"{base}/good.tar", f"{base}/root.pem"], check=True)
        # The sample's image, under the name that its build.json asks for.
        subprocess.run([TOOL, "image", "trust", "add", "--pcr0", "10" * 48, "--name", "c"],
                       check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "XDG_DATA_HOME": f"{base}/data"})
        check_exits(base)
        check_errors(base)
        check_documentation(base)


if __name__ == "__main__":
    main()
