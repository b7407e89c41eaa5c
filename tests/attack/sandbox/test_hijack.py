#!/usr/bin/env python3
"""Where a build's packets go: real stages, namespace, sandbox and local back end, with a
recorder that says on each connection what it was meant for.

    test_hijack.py WORKER SANDBOX_RUN ANYIP_WORKER PRINT_RULES [unittest arguments]
"""
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

WORKER, RUN, ANYIP_WORKER, PRINT_RULES = (os.path.abspath(path) for path in sys.argv[1:5])
# What src/worker/netns_nft.c says that its rules are.
RULES = """table inet tee_compile {
\tchain output {
\t\ttype nat hook output priority -100; policy accept;
\t\tip daddr 127.0.0.0/8 return
\t\tip6 daddr ::1 return
\t\tmeta l4proto tcp redirect to :1023
\t\tudp dport 53 redirect to :53
\t}
}
"""
PORT = 4711  # that build.json would have named as opaque

FOLDER = tempfile.mkdtemp(prefix="tee-compile-hijack.", dir="/var/tmp")
os.chmod(FOLDER, 0o755)

# Runs inside, with what a build has: /usr/bin/python3.
INSIDE = r"""
import ctypes, errno, os, socket, struct, sys

def ask(target, port, family=socket.AF_INET, send=b"GET / HTTP/1.1\r\n\r\n"):
    s = socket.socket(family)
    s.settimeout(20)
    try:
        s.connect((target, port))
        s.sendall(send)
        text = b""
        while True:
            piece = s.recv(4096)
            if not piece:
                break
            text += piece
        return text.decode() or "CLOSED\n"
    except ConnectionResetError:
        return "CLOSED\n"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error)) + "\n"
    finally:
        s.close()

def name_of(number):
    return errno.errorcode.get(number, str(number))

def attempt(what, function):
    try:
        print(what, "GOT", function(), flush=True)
    except (OSError, socket.timeout) as error:
        print(what, "REFUSED", name_of(error.errno) if error.errno else error, flush=True)
"""


def inside(code):
    return f"/usr/bin/python3 - <<'END_OF_CODE'\n{INSIDE}\n{code}\nEND_OF_CODE"


class Hijack:
    worker = None

    def run_inside(self, *commands, network=PORT):
        devroot = os.path.join(FOLDER, "dev")
        os.makedirs(devroot, mode=0o700, exist_ok=True)
        line = [RUN_COPY, self.worker, devroot, "--network", str(network), "--memory", str(512 << 20),
                *commands]
        done = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=120,
                              check=False)
        text = done.stdout + done.stderr
        self.assertEqual(done.returncode, 0, text)
        return text

    def code(self, code, **more):
        return self.run_inside(inside(code) + "\ntouch out", **more)

    def test_names_have_addresses_of_their_own(self):
        text = self.code("""
a, b = socket.gethostbyname('one.example.org'), socket.gethostbyname('two.example.org')
print('SAME', a == socket.gethostbyname('ONE.example.org.'), 'OTHER', a != b)
print(ask('one.example.org', 443), ask('two.example.org', 80), ask(a, 443))
print(sorted({x[0].name for x in socket.getaddrinfo('one.example.org', 443)}))
""")
        self.assertIn("SAME True OTHER True", text)
        self.assertRegex(text, r"TARGET \[one.example.org\] 198\.18\.\d+\.\d+ 443")
        self.assertRegex(text, r"TARGET \[two.example.org\] 198\.18\.\d+\.\d+ 80")
        self.assertEqual(len(re.findall(r"TARGET \[one.example.org\]", text)), 2, text)
        self.assertIn("['AF_INET']", text)

    def test_addresses_reach_nobody_but_the_recorder(self):
        text = self.code("""
for target in ('169.254.169.254', '192.0.2.1', '10.0.0.1', '224.0.0.1'):
    print(target, ask(target, 80))
for target in ('2001:db8::1', 'fd00:ec2::254', '::ffff:192.0.2.7'):
    print(target, ask(target, 443, socket.AF_INET6))
""")
        for target in ("169.254.169.254", "192.0.2.1", "10.0.0.1"):
            self.assertIn(f"{target} TARGET [] {target} 80", text)
        for target in ("2001:db8::1", "fd00:ec2::254"):
            self.assertIn(f"{target} TARGET [] {target} 443", text)

    def test_usual_ports_of_other_protocols_are_caught(self):
        text = self.code(f"""
for port in (21, 22, 443, 853, 873, {PORT}):
    print(ask('git.example.org', port, send=b''))
""")
        for port in (21, 22, 443, 853, 873, PORT):
            self.assertRegex(text, rf"TARGET \[git.example.org\] 198\.18\.\d+\.\d+ {port}\n")

    def test_services_of_the_host_are_out_of_reach(self):
        reached = []
        with socket.create_server(("127.0.0.1", 0)) as v4, \
             socket.create_server(("::1", 0), family=socket.AF_INET6) as v6:
            def serve(server):
                while True:
                    try:
                        connection, _ = server.accept()
                    except OSError:
                        return
                    reached.append(connection)
                    connection.close()
            for server in (v4, v6):
                threading.Thread(target=serve, args=(server,), daemon=True).start()
            ports = v4.getsockname()[1], v6.getsockname()[1]
            own = socket.gethostbyname(socket.gethostname())
            text = self.code(f"""
print('V4', ask('127.0.0.1', {ports[0]}))
print('V6', ask('::1', {ports[1]}, socket.AF_INET6))
print('OWN', ask({own!r}, {ports[0]}))
""")
        self.assertIn("V4 ECONNREFUSED", text)
        self.assertIn("V6 ECONNREFUSED", text)
        self.assertEqual(reached, [])

    def test_listeners_of_the_worker_serve_no_direct_connection(self):
        text = self.code(f"""
print('DIRECT', ask('127.0.0.1', {self.own_port}))
print('DIRECT6', ask('::1', {self.own_port}, socket.AF_INET6))
print(ask('denied.example.org', 443))
""")
        self.assertIn("DIRECT CLOSED", text)
        self.assertIn("DIRECT6 CLOSED", text)
        self.assertIn(f"DENIED 127.0.0.1:{self.own_port}: ", text)
        self.assertIn(f"DENIED ::1:{self.own_port}: ", text)

    def test_build_has_its_own_loopback(self):
        text = self.code("""
for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1'), (socket.AF_INET, '0.0.0.0')):
    server = socket.create_server((address, 8080), family=family)
    client = socket.create_connection((address if address != '0.0.0.0' else '127.0.0.1', 8080))
    connection, _ = server.accept()
    connection.sendall(b'mine')
    print('OWN', address, client.recv(4))
    for s in (connection, client, server):
        s.close()
""")
        for address in ("127.0.0.1", "::1", "0.0.0.0"):
            self.assertIn(f"OWN {address} b'mine'", text)

    def test_datagrams_and_raw_sockets_go_nowhere(self):
        received = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("0.0.0.0", 0))
            port = server.getsockname()[1]
            text = self.code(f"""
def quic(address, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(2)
    s.connect((address, port))
    s.send(b'x' * 1200)
    return s.recv(100)
attempt('quic', lambda: quic('192.0.2.1', 443))
attempt('udp', lambda: quic('127.0.0.1', {port}))
attempt('named', lambda: quic('one.example.org', 443))
attempt('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP))
attempt('raw6', lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6))
attempt('icmp', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
attempt('ping', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP))
attempt('packet', lambda: socket.socket(17, socket.SOCK_RAW, 3))
attempt('packet-dgram', lambda: socket.socket(17, socket.SOCK_DGRAM, 3))
attempt('vsock', lambda: socket.socket(40, socket.SOCK_STREAM))
attempt('xdp', lambda: socket.socket(44, socket.SOCK_RAW))
attempt('low', lambda: socket.create_server(('127.0.0.1', 999)))
def route():
    s = socket.socket(16, socket.SOCK_RAW, 0)
    body = struct.pack('=BBBBBBBBI', 2, 0, 0, 0, 255, 3, 253, 2, 0)  # del: local default
    s.send(struct.pack('=IHHII', 16 + len(body), 25, 5, 1, 0) + body)
    answer = s.recv(4096)
    number = -struct.unpack_from('=i', answer, 16)[0]
    raise OSError(number, 'route') if number else None
attempt('route', route)
attempt('netfilter', lambda: socket.socket(16, socket.SOCK_RAW, 12))
""")
            server.setblocking(False)
            try:
                received.append(server.recv(100))
            except BlockingIOError:
                pass
        self.assertEqual(received, [])
        for what in ("quic", "udp", "named"):
            self.assertIn(f"{what} REFUSED ECONNREFUSED", text)
        for what in ("raw", "raw6", "icmp", "ping", "packet", "packet-dgram", "vsock", "xdp", "low", "route",
                     "netfilter"):
            self.assertRegex(text, rf"(?m)^{what} REFUSED (EPERM|EACCES|EAFNOSUPPORT|EPROTONOSUPPORT)$")

    def test_names_carry_nothing_out(self):
        """What a tunnel would send as queries is answered here, or not at all."""
        text = self.code(r"""
def query(name, kind, address='198.18.0.1', more=b'', tcp=False, flags=0x0100):
    labels = b''.join(bytes([len(l)]) + l for l in name) + b'\0'
    message = struct.pack('!HHHHHH', 7, flags, 1, 0, 0, 0) + labels + struct.pack('!HH', kind, 1) + more
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    s.settimeout(2)
    s.connect((address, 53))
    s.send(struct.pack('!H', len(message)) + message if tcp else message)
    answer = s.recv(4096)
    if tcp:
        answer = answer[2:] or s.recv(4096)
    return 'rcode', answer[3] & 15, 'answers', struct.unpack_from('!H', answer, 6)[0]
secret = [b'a' * 60, b'b' * 60, b'example', b'org']
for kind in (16, 10, 28, 65, 64, 2, 15, 255):
    attempt(f'kind{kind}', lambda: query(secret, kind))
attempt('a', lambda: query(secret, 1))
attempt('other-server', lambda: query(secret, 1, '192.0.2.53'))
attempt('loopback', lambda: query(secret, 1, '127.0.0.1'))
attempt('tcp', lambda: query(secret, 1, tcp=True))
attempt('blank', lambda: query([b'a b', b'org'], 1))
attempt('trailing', lambda: query(secret, 1, more=b'secret'))
attempt('response', lambda: query(secret, 1, flags=0x8100))
""")
        for kind in (16, 10, 28, 65, 64, 2, 15, 255):
            self.assertIn(f"kind{kind} GOT ('rcode', 0, 'answers', 0)", text)
        for what in ("a", "other-server", "loopback", "tcp"):
            self.assertIn(f"{what} GOT ('rcode', 0, 'answers', 1)", text)
        self.assertIn("blank GOT ('rcode', 3, 'answers', 0)", text)
        for what in ("trailing", "response"):
            self.assertRegex(text, rf"(?m)^{what} REFUSED timed out$")

    def test_too_many_names_are_refused(self):
        text = self.code(r"""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
s.connect(('198.18.0.1', 53))
seen = set()
def query(i):
    label = b'n%d' % i
    s.send(struct.pack('!HHHHHH', i & 65535, 0x0100, 1, 0, 0, 0) + bytes([len(label)]) + label
           + b'\7example\3org\0' + struct.pack('!HH', 1, 1))
    answer = s.recv(512)
    return answer[-4:] if struct.unpack_from('!H', answer, 6)[0] else None
given = [query(i) for i in range(65600)]
print('GIVEN', sum(a is not None for a in given), 'DIFFERENT', len({a for a in given if a}))
print('AGAIN', query(17) == given[17])
print(ask(socket.inet_ntoa(given[65000]), 443))
""")
        self.assertIn("GIVEN 65536 DIFFERENT 65536", text)
        self.assertIn("AGAIN True", text)
        self.assertRegex(text, r"TARGET \[n65000.example.org\]")

    def test_names_live_as_long_as_the_session(self):
        text = self.run_inside(inside("print('FIRST', socket.gethostbyname('one.example.org'))"),
                               inside("print('SECOND', socket.gethostbyname('one.example.org'))") + "\ntouch out")
        first, second = re.findall(r"(?:FIRST|SECOND) (\S+)", text)
        self.assertEqual(first, second)

    def test_files_of_the_worker_are_shown(self):
        text = self.run_inside("cat /dev/tee-compile/ca.pem /etc/passwd /etc/resolv.conf; ls -l /dev/tee-compile; "
                               "! test -e /etc/there-is-none; ! echo x > /dev/tee-compile/ca.pem; "
                               "! rm /dev/tee-compile/ca.pem; ! echo x > /etc/passwd; ls /proc/self/fd > out")
        self.assertIn("shown\n", text)
        self.assertIn("build:x:1000:1000:covered", text)
        self.assertNotIn("nobody sees it", text)

    def test_offline_has_nothing(self):
        text = self.code("""
print('NAME', end=' ')
attempt('name', lambda: socket.gethostbyname('one.example.org'))
print('ADDRESS', ask('192.0.2.1', 443))
""", network=0)
        self.assertIn("ADDRESS ENETUNREACH", text)
        self.assertNotIn("GOT", text)


class Anyip(Hijack, unittest.TestCase):
    own_port = 443

    @classmethod
    def setUpClass(cls):
        cls.worker = ANYIP_COPY

    def test_other_ports_are_closed(self):
        text = self.code("print('OTHER', ask('git.example.org', 9418))")
        self.assertIn("OTHER ECONNREFUSED", text)


@unittest.skipUnless(os.path.exists("/usr/sbin/nft"), "there is no nft: apt-get install nftables")
class Nftables(Hijack, unittest.TestCase):
    own_port = 1023

    @classmethod
    def setUpClass(cls):
        cls.worker = WORKER_COPY

    def test_every_port_is_caught(self):
        text = self.code("""
for port in (1, 1023, 9418, 65535):
    print(ask('git.example.org', port))
print(ask('2001:db8::7', 9418, socket.AF_INET6))
""")
        for port in (1, 1023, 9418, 65535):
            self.assertRegex(text, rf"TARGET \[git.example.org\] 198\.18\.\d+\.\d+ {port}\n")
        self.assertIn("TARGET [] 2001:db8::7 9418", text)

    # As people read them, and in each expression.
    def test_rules_are_those_that_nft_makes(self):
        show = "/usr/sbin/nft --debug=netlink -y list ruleset"

        def printed(whose, command, rules=None):
            done = subprocess.run([PRINT_RULES, whose, command], input=rules, capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            return done.stdout
        oracle = printed("none", f"/usr/sbin/nft -f - && {show}", RULES)
        self.assertIn(RULES, oracle)
        self.assertIn("[ redir proto_min reg 1 ", oracle)
        self.assertEqual(printed("ours", show), oracle)


if __name__ == "__main__":
    try:
        # Where the worker's uid may read them.
        RUN_COPY, WORKER_COPY, ANYIP_COPY = (shutil.copy(path, FOLDER) for path in (RUN, WORKER, ANYIP_WORKER))
        unittest.main(argv=[sys.argv[0]] + sys.argv[5:], verbosity=2)
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
