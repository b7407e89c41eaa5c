#!/usr/bin/env python3
"""What verify says of the bundle of a build: by its source, its commit, its files, the root
of trust and the nonce.

usage: test_verify_command.py TEE_COMPILE [NAME...]"""
import base64
import json
import pathlib
import shutil
import subprocess

from cli_case import LIMITS, TOOL, main, root


def test_plain_folder(p):
    p.spec("printf 'hi\\n' > out")
    p.build()
    assert p.output() == b"hi\n"
    result = json.loads(p.verify("--json").stdout)
    assert result["verdict"] == "development" and result["hardware"] is False
    checks = {c["name"]: c["result"] for c in result["checks"]}
    assert checks["source"] == "not-asked" and checks["pcr16"] == "pass"
    assert "source not compared" in p.verify().stdout
    p.verify("--source", p.dir)


def test_git_commit_is_proven(p):
    p.spec("cp in out")
    p.write("in", "one\n")
    commit = p.commit()
    p.build("--nonce", "00ff")
    p.verify("--commit", commit, "--nonce", "00ff", "--source", p.dir)
    p.verify("--commit", "0" * 40, expect=1)
    p.verify("--nonce", "00fe", expect=1)
    p.write("in", "two\n")
    p.commit()
    p.verify("--source", p.dir, expect=1)


def test_verify_says_no(p):
    p.spec("echo > out")
    p.build()
    p.run("verify", p.out, expect=1)                          # AWS root
    p.run("verify", "--root", root(), p.out, expect=1)        # unmeasured
    p.run("verify", "--root", root(), p.base / "none.tar", expect=2)
    p.run("verify", "--root", "/etc/passwd", p.out, expect=2)
    p.run("verify", "--policy", "x", p.out, expect=2)


def test_detached(p):
    p.spec("echo 1 > out; echo 2 > two", files=["out", "two"])
    p.build("--detached", p.base / "app.att", "--extract", p.base / "files")
    out, two = p.base / "files/out", p.base / "files/two"
    p.verify("--artifact", out, "--artifact", two, bundle=p.base / "app.att")
    assert "two" in p.verify("--artifact", out, bundle=p.base / "app.att", expect=1).stdout
    out.write_bytes(b"other")
    p.verify("--artifact", out, "--artifact", two, bundle=p.base / "app.att", expect=1)


def test_source_of_a_plain_folder(p):
    """The bundle itself, where build puts it by default, is not part of the source."""
    p.spec("exit 1")
    done = subprocess.run([TOOL, "build", "--image", "host"], cwd=p.dir, capture_output=True, text=True)
    assert "; the build printed nothing: there is no log\n" in done.stderr, done.stderr
    p.spec("echo hi; exit 1")
    done = subprocess.run([TOOL, "build", "--image", "host"], cwd=p.dir, capture_output=True, text=True)
    assert "; the build's log is in release.tar.log\n" in done.stderr, done.stderr
    assert (p.dir / "release.tar.log").exists()
    p.spec("echo > out")
    subprocess.run([TOOL, "build", "--image", "host"], cwd=p.dir, check=True, capture_output=True)
    for bundle, source in (("release.tar", "."), (p.dir / "release.tar", p.dir)):
        done = subprocess.run([TOOL, "verify", "--root", root(), "--allow-unmeasured", "--source", source, bundle],
                              cwd=p.dir, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    p.write("more", "x")
    said = p.verify("--source", p.dir, bundle=p.dir / "release.tar", expect=1).stdout
    assert "every file in the folder counts" in said


def test_source_by_what_the_report_says(p):
    """Another build file, and a tree that was dirty, are compared as they were built."""
    p.write("ci/build.json", json.dumps({"language": "c", "input": {"cmd": "cp in out"}, "output": {"files": ["out"]},
                                         "limits": LIMITS}))
    p.write("in", "one")
    p.commit()
    p.build("--build-file", "ci/build.json")
    result = json.loads(p.verify("--source", p.dir, "--json").stdout)
    assert any("not build.json at the top" in text for text in result["warnings"]), result
    p.write("in", "two")
    said = p.verify("--source", p.dir, "--json", expect=2)
    checks = {c["name"]: c["result"] for c in json.loads(said.stdout)["checks"]}
    assert checks["source"] == "not-judged" and "differs from its commit" in said.stdout
    p.build("--build-file", "ci/build.json", "--allow-dirty")
    p.verify("--source", p.dir)
    p.write("in", "three")
    p.verify("--source", p.dir, expect=1)


def test_artifact_of_another_name(p):
    p.spec("echo 1 > app; echo 2 > helper; cp helper twin", files=["app", "helper", "twin"])
    p.build("--extract", p.base / "files")
    (p.base / "dl").mkdir()
    shutil.copy(p.base / "files/helper", p.base / "dl/app")
    said = p.verify("--artifact", p.base / "dl/app", expect=1).stdout
    assert "the name of one output and the bytes of another, helper" in said, said
    shutil.copy(p.base / "files/helper", p.base / "dl/renamed")
    checks = json.loads(p.verify("--json", "--artifact", p.base / "dl/renamed",
                                 "--artifact", p.base / "files/twin").stdout)["checks"]
    seen = {c["name"]: c["seen"] for c in checks}["artifacts"]
    assert "renamed is output helper" in seen and "twin is output twin" in seen, seen


def test_root_is_one_certificate(p):
    p.spec("echo > out")
    p.build()
    pem = pathlib.Path(root()).read_bytes()
    der = base64.b64decode(b"".join(pem.split(b"-----")[2].split()))
    for name, content, word in (("two.pem", pem + pem, "more than one"), ("tail.der", der + b"x", "bytes behind")):
        (p.base / name).write_bytes(content)
        said = p.run("verify", "--root", p.base / name, "--allow-unmeasured", p.out, expect=2).stderr
        assert word in said, said
    (p.base / "one.der").write_bytes(der)
    p.run("verify", "--root", p.base / "one.der", "--allow-unmeasured", p.out)


def test_a_bundle_packed_again(p):
    p.spec("echo > out")
    p.build()
    folder = p.base / "unpacked"
    folder.mkdir()
    subprocess.run(["tar", "xf", p.out], cwd=folder, check=True)
    subprocess.run(["tar", "cf", p.base / "again.tar", "attestation", "outputs"], cwd=folder, check=True)
    said = p.verify(bundle=p.base / "again.tar", expect=1).stdout
    assert "unpacked and packed again" in said and len(said.splitlines()) < 20, said


def test_the_hint_is_the_command_that_works(p):
    p.spec("echo 1 > out; echo 2 > two", files=["out", "two"])
    for args in ([], ["--detached", p.base / "it's app.att", "--extract", p.base / "some files"]):
        command = [TOOL, "build", "--image", "host", "--dir", p.dir, *args]
        done = subprocess.run([*map(str, command)], cwd=p.base, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        hint = [line for line in done.stderr.splitlines() if "check it: " in line][-1]
        hint = hint.split("check it: tee-compile ")[1]
        check = subprocess.run(["sh", "-c", f'"$0" {hint}', TOOL], cwd=p.base, capture_output=True, text=True)
        assert check.returncode == 0, (hint, check.stdout)
    assert p.left() == ["it's app.att", "release.tar", "some files"], p.left()


main(globals())
