#!/usr/bin/env python3
"""What a build's commands find, what of what they make and say is shipped and reported, and
what is said when they fail.

usage: test_build.py TEE_COMPILE [NAME...]"""
import base64
import hashlib
import json
import os
import tarfile
import tempfile

from cli_case import main, refused


def test_world_of_the_build(p):
    p.spec("{ id -u; hostname; pwd; echo $HOME $TZ $LANG $SOURCE_DATE_EPOCH; stat -c %Y build.json; "
           "touch $HOME/x /tmp/y; echo /home/* /root/* /var/* /run/* /sys/*; "
           "touch /usr/x /etc/x /x 2>/dev/null || echo ro; cat /etc/shadow 2>&1 || true; } > out")
    p.build()
    lines = p.output().decode().splitlines()
    assert lines[:5] == ["1000", "tee-compile", "/build", "/home/build UTC0 C.UTF-8 315532800",
                         "315532800"], lines
    assert lines[5] == "/home/build /root/* /var/* /run/* /sys/*", lines
    assert lines[6] == "ro" and "No such file" in lines[7], lines


def test_vendor_and_collect(p):
    p.spec("cp vendored out", input={"vendor": "echo v > vendored", "collect": {"cc": "gcc -dumpversion"},
                                     "env": ["GREETING=hello there"]})
    p.build()
    assert p.output() == b"v\n"
    assert "hello there" in p.run("report", p.out).stdout
    json.loads(p.run("report", "--json", p.out).stdout)
    p.run("report", "--markdown", p.out)


def test_collected_is_what_was_said(p):
    p.spec("echo > out", input={"collect": {"lines": "printf 'one\\n\\ttwo\\033[31m\\377\\n'",
                                            "long": "seq 2000"}})
    p.build()
    said = {b["name"]: base64.b64decode(b["content"])
            for b in p.statement()["predicate"]["runDetails"]["byproducts"] if "content" in b}
    assert said["lines"] == b"one\n\ttwo\\x1b[31m\\xff\n", said
    assert len(said["long"]) <= 4096 and said["long"].startswith(b"1\n2\n3\n"), said
    assert said["long"].endswith(b"\n[cut]\n"), said
    report = p.run("report", p.out).stdout
    assert "\n  build said   one\n                       two\\x1b[31m\\xff\n  asked" in report, report
    assert "\n  build said   1\n               2\n               3\n" in report, report
    assert "\n  asked        printf 'one\\n\\ttwo\\033[31m\\377\\n'\n" in report, report
    assert "x5c" not in report, report
    markdown = p.run("report", "--markdown", p.out).stdout
    eight = "&#160;" * 8
    assert f"| build said | <code>one</code><br><code>{eight}two&#92;x1b&#91;31m&#92;xff</code> |" in markdown, markdown


def test_image_of_the_build_file(p):
    p.spec("echo > out", image="host")
    p.run("build", "--dir", p.dir, "--output", p.out)
    p.spec("echo > out", image="rust", source={"git": True, "omit": ["x"]})
    said = p.run("build", "--dir", p.dir, "--output", p.out, expect=2,
                 env={"XDG_DATA_HOME": str(p.base / "no-images")}).stderr
    assert 'image rust ("image" of the build file) is not on this machine' in said
    said = p.build("-mem", "512").stderr
    for warning in ("names image rust; this build uses host", "source.git is ignored",
                    "source.omit is ignored", "-mem is ignored"):
        assert f"warning: " in said and warning in said, said


def test_no_log(p):
    p.spec("echo noise; echo > out")
    p.build("--no-log")
    with tarfile.open(p.out) as tar:
        assert "attestation/build.log" not in tar.getnames()
    p.verify()
    assert "not kept: built with --no-log" in p.run("report", p.out).stdout
    p.build()
    assert "--no-log" not in p.run("report", p.out).stdout


def test_host_tools_are_reported(p):
    p.spec("echo > out")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as tool:
        os.chmod(tool, 0o755)
        os.mkdir(f"{tool}/bin", 0o755)
        os.chmod(f"{tool}/bin", 0o755)
        p.build("--host-tool", tool)
        for form in ([], ["--markdown"]):
            assert "host tool" in p.run("report", *form, p.out).stdout
        assert f"\n  host tool    {tool}/bin\n" in p.run("report", p.out).stdout
    p.build()
    assert "host tool" not in p.run("report", p.out).stdout


def test_redaction(p):
    p.spec("echo 'Authorization: Bearer abcdef'; echo password=hunter2; echo > out")
    result = p.build()
    assert "hunter2" not in result.stderr and "abcdef" not in result.stderr
    with tarfile.open(p.out) as tar:
        assert b"hunter2" not in tar.extractfile("attestation/build.log").read()


def test_terminal_escapes(p):
    p.spec("printf '\\033[31mred\\n'; echo > out")
    assert "\033[31m" not in p.build().stderr


# --- builds that fail ---

def test_failing_command(p):
    p.spec("echo before; false; echo after > out")
    refused(p, 1, "exit status 1", "release.tar.log")
    assert p.log() == "before\n"


def test_failing_pipeline(p):
    p.spec("false | true; echo > out")
    refused(p, 1, "input.cmd failed")


def test_no_output(p):
    p.spec("true")
    refused(p, 1, "no file that matches")


def test_bad_build_files(p):
    for text, words in (("{", ["build.json:1:"]), ('{\n "language": "c",\n "language": "d"}', ["language"]),
                        ('{"langage":"c"}', ["langage", "language"])):
        p.write("build.json", text)
        refused(p, 2, *words)
    (p.dir / "build.json").unlink()
    refused(p, 2, "build.json")
    p.spec("echo > out", files=["../out"])
    refused(p, 2, "output")
    p.spec("echo > out", network={"mode": "open"})
    refused(p, 2, "network")
    assert p.left() == []


# --- outputs ---

def test_outputs_refused(p):
    for cmd, word in (("ln -s /etc/passwd out", "leaves"), ("ln -s ../../etc/passwd out", "leaves"),
                      ("mkfifo out", "FIFO"), ("ln -s nowhere out", "nothing"),
                      ("mkdir d; ln -s d out", "folder"), ("echo > out; chmod 0 out", "read"),
                      ("ln -s out out", "leaves"),
                      ("python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('out')\"", "socket")):
        p.spec(cmd)
        refused(p, 1, word)


def test_too_many_outputs(p):
    p.spec("mkdir out; cd out; seq 100000 | xargs touch", limits={"memory": "1G", "disk": "1G"})
    refused(p, 1, "10000")


def test_outputs_shipped(p):
    p.spec("mkdir -p out/deep; echo 1 > out/deep/one; ln -s deep/one out/link; echo x > out/.hidden; "
           "ln /build/out/deep/one out/hard; echo exe > out/run; chmod 700 out/run; "
           "ln -s /build/out/run out/absolute", files=["out"])
    p.build()
    with tarfile.open(p.out) as tar:
        names = [n for n in tar.getnames() if n.startswith("outputs/")]
        assert names == [f"outputs/out/{n}" for n in
                         (".hidden", "absolute", "deep/one", "hard", "link", "run")], names
        assert all(m.isfile() for m in tar.getmembers())
        assert tar.getmember("outputs/out/run").mode == 0o755
    p.verify()


def test_background_process_cannot_change_an_output(p):
    p.spec("echo good > out; (trap '' TERM HUP INT; setsid sh -c "
           "'while :; do echo evil > /build/out; done' &) ; sleep 0.2; echo good > out.tmp; mv out.tmp out",
           files=["out"])
    p.build()
    p.verify()
    first = p.output()
    stated = p.statement()["subject"][0]["digest"]["sha256"]
    assert hashlib.sha256(first).hexdigest() == stated


main(globals())
