#!/usr/bin/env python3
"""The words that a user types: what is offered for them, what is refused, and that neither words
nor failures get to a terminal or a reader of JSON as they should not.

usage: test_command_line.py TEE_COMPILE [NAME...]"""
import json
import os
import pathlib
import subprocess

from cli_case import main


def test_usage(p):
    p.spec("echo > out")
    p.run("build", "--image", "host", "--dir", p.base / "none", "--output", p.out, expect=2)
    p.run("build", "--image", "host", "--dir", p.dir, "--output", "/proc/x/release.tar", expect=2)
    p.run("build", "--dir", p.dir, "--output", p.out, expect=2)
    p.run("build", "--image", "host", "--wrong", expect=2)
    p.run("build", "--image", "host", "--dir", p.dir, "--output", "-", expect=2)
    for name in ("release.tar", "release.tar.log", "release.tar.console"):
        said = p.build("--detached", f"{p.base}/./{name}", expect=2).stderr
        assert "a name of its own" in said, said
    p.run("buidl", expect=2)
    assert p.left() == []


def test_json_whatever_happens(p):
    p.spec("exit 3")
    for args, expect in ((["verify", "none.tar"], 2), (["verify"], 2), (["report", "none.tar"], 2),
                         (["build", "--bogus"], 2), (["build", "--image", "host", "--dir", p.dir], 1),
                         (["verify", "--policy", "none", "x.tar"], 2), (["attestation", "verify", "none"], 2)):
        said = json.loads(p.run(*args, "--json", expect=expect).stdout)
        assert said["verdict"] in ("undecided", "failed") and said["reason"] and said["checks"] == [], said


def test_arguments_are_escaped(p):
    """What a user, or whoever wrote the script, gives as a path cannot drive the terminal."""
    p.spec("echo > out")
    evil = f"{p.base}/a\033[31m\nb\r"
    os.mkdir(evil)
    for args in (["build", "--image", "host", "--dir", p.dir, "--output", evil],
                 ["build", "--image", "host", "--dir", p.dir, "--output", f"{evil}/c/d"],
                 ["build", "--image", "host", "--dir", p.dir, "--output", f"{evil}/."],
                 ["build", "--image", "host", "--dir", p.dir, "--output", p.out, "--extract", f"{evil}/x/y"],
                 ["build", "--image", "host", "--dir", p.dir, "--output", p.out, "--host-tool", evil],
                 ["build", "--image", "host", "--dir", p.dir, "--output", p.out, "--host-tool", "a\033\nb"],
                 ["build", "--image", "host", "--dir", evil + "/x", "--output", p.out],
                 ["build", "--image", "host", "--dir", evil, "--output", p.out],
                 ["build", "--image", "a\033\nb", "--dir", p.dir], ["build", "--backend", "a\033\nb"],
                 ["build", "a\033\nb"], ["build", "--a\033\nb"],
                 ["report", evil + "/x"], ["report", "--a\033\nb"], ["a\033\nb"],
                 ["verify", "--root", evil + "/x", p.out], ["verify", evil + "/x"], ["verify", "--a\033\nb"]):
        said = p.run(*args, expect=2)
        text = said.stderr + said.stdout
        assert "\033" not in text and "\r" not in text and "\nb" not in text, (args, text)


def test_completion(p):
    """What bash offers for a word: files where files are meant, and each word once."""
    script = pathlib.Path(__file__).resolve().parents[2] / "completions/tee-compile.bash"
    for name in ("one", "two"):
        p.write(name, "")
        tool = p.base / name / "tee-compile-emulator"
        tool.parent.mkdir()
        tool.write_text("#!/bin/sh\n")
        tool.chmod(0o755)
    ask = f'source {script}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _tee_compile; printf "%s\\n" "${{COMPREPLY[@]}}"'
    env = {**os.environ, "PATH": f"{p.base}/one:{p.base}/two:{os.environ['PATH']}"}
    for words, expected in ((["build", "--build-file", "t"], ["two"]),
                            (["build", "--emulator", "tee-compile-em"], ["tee-compile-emulator"]),
                            (["doctor", ""], ["--backend", "--json", "--help"]),
                            (["verify", "--commit", ""], []),
                            (["verify", "o"], ["one"])):
        done = subprocess.run(["bash", "-c", ask, "-", "tee-compile", *words], capture_output=True, text=True,
                              timeout=60, cwd=p.dir, env=env)
        assert done.stdout.split() == expected and not done.stderr, (words, done)


main(globals())
