#!/usr/bin/env python3
"""What build.json allows a build to download, and what its verifier then has to allow.

usage: test_network_rules.py TEE_COMPILE [NAME...]"""
import json
import subprocess

from network_case import HELLO, TOOL, main, sha256


def test_host_that_is_not_allowed(p):
    p.spec("curl -sS https://good.test/hello > out || true; curl -fsS https://sub.good.test/hello >> out",
           allow=["*.good.test"])
    p.build()
    p.verify()
    denied = [e for e in p.transcript() if e["outcome"] == "denied"]
    assert len(denied) == 1 and "good.test" in denied[0]["reason"] and "allow" in denied[0]["reason"], denied
    assert ("good.test", 443) not in p.lab.proxy.asked


def test_refusals_stand_in_the_log(p):
    """Programs that show a bare 403 would leave their user without the reason."""
    said = p.fails('tee-compile: refused: good.test:443: not in network.allow of build.json: add "good.test"',
                   "tee-compile: refused: 198.51.100.1:80: ", "tee-compile: refused: [2001:db8::1]:80: ", status=1,
                   allow=[], cmd="for i in 1 2; do curl -fsS https://good.test/$i || true; done; "
                   "curl -gfsS 'http://[2001:db8::1]/' || curl -fsS http://198.51.100.1/")
    log = p.out.with_name(f"{p.out.name}.log").read_text()
    assert said.count("refused: good.test") == 1 and "tee-compile: refused: good.test" in log, (said, log)
    many = p.fails("more, not shown", status=1, allow=[],
                   cmd="for i in $(seq 9); do curl -fsS https://h$i.test/ || true; done; false")
    assert many.count("tee-compile: refused: h") == 8, many
    assert "refused: " not in p.fails(cmd="curl -fsS https://good.test/hello; false", status=1)


def test_plain_http(p):
    p.spec("curl -sS http://plain.test/hello > out || true")
    p.build()
    p.verify()
    assert "plain_http" in json.dumps(p.transcript()) and p.lab.proxy.asked == []
    p.spec("curl -fsS http://plain.test/hello > out", plain_http=["plain.test"])
    p.build()
    assert p.output() == HELLO
    p.verify(expect=1)
    p.verify("--allow-unauthenticated")


def test_the_hint_is_the_command_that_works(p):
    p.spec("curl -fsS http://plain.test/hello > out", plain_http=["plain.test"])
    for option, words in (("--archive", ["--allow-unauthenticated"]),
                          ("--replay", ["--allow-unauthenticated", "--allow-replayed"])):
        hint = p.build(option, p.base / "net.tar").stderr.split("check it: tee-compile ")[1].splitlines()[0]
        assert [word for word in hint.split() if word.startswith("--allow-un") or word == "--allow-replayed"] == [
            "--allow-unmeasured", *words], hint
        check = subprocess.run(["sh", "-c", f'"$0" {hint}', TOOL], capture_output=True, text=True, check=False)
        assert check.returncode == 0, (hint, check.stdout)
        p.out.unlink()


def test_opaque(p):
    asks = "exec 3<>/dev/tcp/raw.test/4711; echo shout >&3; head -n1 <&3 > out"
    p.spec(asks, opaque=["raw.test:4711"])
    p.build()
    assert p.output() == b"SHOUT\n"
    p.verify(expect=1)
    p.verify("--allow-unauthenticated")
    p.spec(f"({asks}) || echo refused > out; test -s out || echo refused > out")
    p.build()
    assert p.output() == b"refused\n"
    p.verify()


def test_pinned(p):
    url = "https://good.test/hello"
    p.spec(f"curl -fsS {url} > out; curl -sS https://good.test/big > /dev/null || true", mode="pinned",
           pinned=[{"url": url, "sha256": sha256(HELLO)}])
    p.build()
    p.verify()
    assert [e["outcome"] for e in p.transcript()] == ["ok", "denied"]
    p.out.unlink()
    p.fails(cmd=f"curl -fsS {url} > out || true; echo > out", mode="pinned",
            pinned=[{"url": url, "sha256": sha256(b"other")}])


def test_what_build_json_pins_is_pinned_by_the_source(p):
    url = "http://plain.test/hello"
    p.spec(f"curl -fsS {url} > out", mode="pinned", plain_http=["plain.test"],
           pinned=[{"url": url, "sha256": sha256(HELLO)}])
    p.build()
    assert [e["pinnedBy"] for e in p.transcript()] == ["build.json"]
    policy = p.base / "policy.json"
    policy.write_text(json.dumps({"type": "tee-compile/policy/1", "network": {"pinned_only": True}}))
    p.verify("--policy", policy)


main(globals())
