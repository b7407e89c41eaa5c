#!/usr/bin/env python3
"""Which files of a folder or a repository a build gets, and which states of one are refused.

usage: test_build_source.py TEE_COMPILE [NAME...]"""
import hashlib
import json
import os
import shutil
import tarfile

from cli_case import main, refused


def test_same_bytes_from_another_folder(p):
    p.write("main.c", '#include <stdio.h>\nint main(void) { puts(__FILE__); }\n')
    p.spec("gcc -g -o out main.c")
    p.build()
    first = p.output()
    other = p.base / "elsewhere"
    shutil.copytree(p.dir, other)
    p.run("build", "--image", "host", "--dir", other, "--output", p.base / "b.tar")
    with tarfile.open(p.base / "b.tar") as tar:
        assert tar.extractfile("outputs/out").read() == first


def test_git_folder(p):
    p.spec("{ git status --porcelain; git describe --tags --exact-match --dirty; git rev-parse HEAD; "
           "git tag; git fsck --strict; cat .git/config; } > /tmp/o 2>&1; mv /tmp/o out",
           source={"git": True})
    p.write("sub/a file", "x")
    p.write("run.sh", "#!/bin/sh\n", 0o755)
    os.symlink("run.sh", p.dir / "link")
    commit = p.commit()
    p.git("tag", "-a", "v1.0", "-m", "one")
    p.git("tag", "light")
    p.git("config", "core.fsmonitor", "touch /tmp/tee-compile-was-here")
    p.git("config", "user.secret", "hunter2")
    p.build()
    text = p.output().decode()
    assert text.splitlines()[:4] == ["v1.0", commit, "light", "v1.0"], text
    assert text.splitlines()[4] == "[core]", f"git fsck complains: {text}"
    assert "hunter2" not in text and "fsmonitor" not in text, text
    assert not os.path.exists("/tmp/tee-compile-was-here")


def test_submodules(p):
    inner = p.base / "inner"
    inner.mkdir()
    (inner / "lib.txt").write_text("library\n")
    for args in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        p.git(*args, cwd=inner)
    p.spec("cat sub/lib.txt > out")
    p.commit()
    p.git("submodule", "add", "-q", str(inner), "sub")
    p.commit()
    p.build()
    assert p.output() == b"library\n"
    digest = p.statement()["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"]["sha256"]
    shutil.rmtree(p.dir / "sub")
    os.mkdir(p.dir / "sub")
    assert "not checked out" in p.build("--allow-dirty", expect=2).stderr
    p.spec("test ! -e sub/lib.txt; echo none > out", source={"omit": ["sub"]})
    p.commit()
    p.build()
    assert p.output() == b"none\n"
    assert digest != p.statement()["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"]["sha256"]


def test_dirty(p):
    p.spec("cp in out")
    p.write("in", "one")
    p.commit()
    p.write("in", "two")
    refused(p, 2, "differs from HEAD", "in")
    p.build("--allow-dirty")
    assert p.output() == b"two"
    assert "gitCommit" not in json.dumps(p.statement())


def test_untracked_is_not_source(p):
    p.spec("test ! -e stray; echo > out")
    p.commit()
    p.write("stray", "x")
    assert "1 untracked" in p.build().stderr


def test_lfs(p):
    content = b"large file\n"
    oid = hashlib.sha256(content).hexdigest()
    p.spec("cp big out")
    p.write("big", f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n")
    p.commit()
    refused(p, 2, "git lfs fetch")
    store = p.dir / f".git/lfs/objects/{oid[:2]}/{oid[2:4]}/{oid}"
    store.parent.mkdir(parents=True)
    store.write_bytes(b"wrong size!")
    store.write_bytes(content[::-1])
    refused(p, 2, "digest")
    store.write_bytes(content)
    p.build()
    assert p.output() == content


def test_hostile_repository(p):
    marker = p.base / "marker"
    p.spec("cp in out")
    p.write("in", "one\n")
    p.write(".gitattributes", "* filter=evil\n")
    p.commit()
    for key in ("core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "filter.evil.process",
                "core.sshCommand", "diff.external", "core.pager", "core.editor"):
        p.git("config", key, f"touch {marker}; cat")
    hooks = p.dir / ".git/hooks"
    for name in ("post-checkout", "pre-commit", "post-index-change", "fsmonitor-watchman"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (hooks / name).chmod(0o755)
    p.build()
    assert p.output() == b"one\n"
    assert not marker.exists()


def test_extract_inside_a_plain_project(p):
    p.spec("echo > out")
    assert "every file in it is source" in p.build("--extract", f"{p.dir}/files/", expect=2).stderr
    assert p.left() == [] and [f.name for f in p.dir.iterdir()] == ["build.json"]
    p.build("--extract", f"{p.dir}-files")
    p.verify("--source", p.dir)


main(globals())
