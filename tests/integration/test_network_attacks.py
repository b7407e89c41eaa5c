#!/usr/bin/env python3
"""Builds that try to get around the recorder, and what the host could forge of what was recorded.

usage: test_network_attacks.py TEE_COMPILE [NAME...]"""
from network_case import HELLO, main


def test_other_protocols(p):
    """ssh, git://, DNS over TLS and bare TCP meet nobody, and are written down."""
    p.spec("for port in 22 853 9418 21; do (timeout 20 bash -c \"exec 3<>/dev/tcp/good.test/$port; "
           "echo SSH-2.0-x >&3; cat <&3\" || true) >> out 2>&1; done; "
           "timeout 20 git clone -q git://good.test/thing.git >> out 2>&1 || true")
    p.build()
    p.verify()
    assert p.lab.proxy.asked == []
    assert all(e["outcome"] == "denied" for e in p.transcript()) and p.transcript()


def test_slow_queries_over_tcp(p):
    """Whoever sends a query byte by byte, or none, keeps nobody else waiting."""
    (p.dir / "slow.py").write_text("""
import socket, subprocess, sys, time
server = open('/etc/resolv.conf').read().split()[1]
slow = socket.create_connection((server, 53))
silent = [socket.create_connection((server, 53)) for _ in range(100)]
curl = subprocess.Popen(['curl', '-fsS', '--max-time', '40', 'https://good.test/hello', '-o', 'out'])
while curl.poll() is None:
    try:
        slow.send(b'\\0')
    except OSError:
        pass
    time.sleep(0.3)
sys.exit(curl.returncode)
""")
    p.spec("/usr/bin/python3 slow.py")
    p.build()
    assert p.output() == HELLO
    p.verify()
    assert any("queries over TCP" in e["reason"] for e in p.transcript() if e["outcome"] == "denied")


def test_metadata_and_addresses(p):
    p.spec("for to in http://169.254.169.254/latest/meta-data http://127.0.0.1:1/ https://192.0.2.1/ "
           "'http://[fd00:ec2::254]/'; do curl -gsS --max-time 20 $to >> out 2>&1 || true; done")
    p.build()
    p.verify()
    assert p.lab.proxy.asked == []
    assert {e["outcome"] for e in p.transcript()} == {"denied"}


def test_host_other_than_sni(p):
    p.spec("curl -sS -H 'Host: evil.test' https://good.test/hello > out || true; "
           "curl -sSk --connect-to good.test:443:sub.good.test:443 https://good.test/hello >> out || true")
    p.build()
    p.verify()
    assert ("evil.test", 443) not in p.lab.proxy.asked
    assert p.transcript()[0]["outcome"] == "denied"


def test_smuggling(p):
    """Heads with two readings are refused, and none of them reaches a server."""
    (p.dir / "smuggle.py").write_text(r"""
import socket, ssl
context = ssl.create_default_context()
for head in (b"GET /hello HTTP/1.1\nHost: good.test\n\n",
             b"GET /hello HTTP/1.1\r\nHost: good.test\r\nX: a\r\n b\r\n\r\n",
             b"POST /p HTTP/1.1\r\nHost: good.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
             b"GET /hello HTTP/1.1\r\nHost: good.test\r\nHost: evil.test\r\n\r\n",
             b"GET https://evil.test/hello HTTP/1.1\r\nHost: good.test\r\n\r\n",
             b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n"):
    with context.wrap_socket(socket.create_connection(("good.test", 443)), server_hostname="good.test") as s:
        s.settimeout(20)
        s.sendall(head)
        answer = b""
        try:
            while piece := s.recv(4096):
                answer += piece
        except OSError:
            pass
        assert b" 200 " not in answer, (head, answer)
open("out", "w").write("refused all\n")
""")
    p.spec("/usr/bin/python3 smuggle.py")
    p.build()
    p.verify()
    assert p.output() == b"refused all\n" and p.lab.proxy.asked == []


def test_credentials_of_the_build_are_redacted(p):
    p.spec("curl -fsS -H 'Authorization: Bearer abcdefgh12345678' "
           "'https://good.test/hello?access_token=abcdefgh12345678' > out")
    p.build()
    p.verify()
    assert b"abcdefgh12345678" not in p.member("attestation/network.jsonl")


def test_forged_archive(p):
    """The host may change what it keeps: not one byte of it reaches a build that is signed."""
    net = p.base / "net.tar"
    p.spec("curl -fsS https://good.test/hello > out")
    p.build("--archive", net)
    p.out.unlink()
    data = net.read_bytes()
    assert HELLO in data
    net.write_bytes(data.replace(HELLO, HELLO.upper()))
    p.build("--replay", net, expect=None)
    assert not p.out.exists()


def test_forged_transcript(p):
    p.spec("curl -fsS https://good.test/hello > out")
    p.build()
    bundle = p.out.read_bytes()
    for old, new in ((b'"status":200', b'"status":201'), (b"good.test/hello", b"good.test/hellO")):
        assert old in bundle
        p.out.write_bytes(bundle.replace(old, new, 1))
        p.verify(expect=1)


main(globals())
