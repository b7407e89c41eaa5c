"""Servers for builds that download: HTTPS and HTTP under names of the reserved domain
.test, a certificate authority of their own, and a CONNECT proxy that leads the names to
them. Everything is on the loopback."""
import base64
import gzip
import hashlib
import http.server
import os
import pathlib
import select
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading

HTTPS, HTTP = 443, 80


def run_openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """A root, and server certificates below it."""

    def __init__(self, folder, name="root"):
        self.folder, self.name = pathlib.Path(folder), name
        self.pem, self.key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        run_openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                    "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.pem,
                    "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")

    def issue(self, *hosts, days=30):
        """Days may be negative: a certificate that has expired."""
        base = self.folder / f"{self.name}-{hosts[0].replace('*', 'any')}{days}"
        key, request, chain, extensions = (base.with_suffix(s) for s in (".k", ".csr", ".chain", ".ext"))
        if chain.exists():
            return chain, key
        run_openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                    f"/CN={hosts[0]}", "-keyout", key, "-out", request)
        extensions.write_text("subjectAltName=" + ",".join(f"DNS:{host}" for host in hosts) + "\n")
        run_openssl("x509", "-req", "-in", request, "-CA", self.pem, "-CAkey", self.key, "-CAcreateserial", "-days",
                    str(days), "-extfile", extensions, "-out", chain)
        return chain, key


class Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512

    def handle_error(self, request, client_address):
        pass  # a peer that goes away is no news


class Tls(Server):
    """The handshake is made in the connection's own thread."""

    def __init__(self, handler, chain, key):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain, key)
        super().__init__(("127.0.0.1", 0), handler)

    def finish_request(self, request, client_address):
        request.settimeout(60)
        with self.context.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, client_address)


def serve(server):
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


class Proxy:
    """HTTP CONNECT; map is {(host, port): port here}. What it was asked for is kept."""

    def __init__(self, map):
        self.map, self.asked, self.authorizations = map, [], []
        lab = self

        class Handler(Quiet):
            def do_CONNECT(self):
                host, _, port = self.path.rpartition(":")
                lab.asked.append((host, int(port)))
                lab.authorizations.append(self.headers.get("Proxy-Authorization"))
                here = lab.map.get((host, int(port)))
                if here is None:
                    self.send_error(502, "no such host")
                    return
                with socket.create_connection(("127.0.0.1", here)) as upstream:
                    self.send_response(200)
                    self.end_headers()
                    relay(self.connection, upstream)
                self.close_connection = True

        self.server = serve(Server(("127.0.0.1", 0), Handler))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def relay(a, b):
    other, open_ends = {a: b, b: a}, {a, b}
    while open_ends:
        for end in select.select(list(open_ends), [], [])[0]:
            try:
                piece = end.recv(65536)
                if piece:
                    other[end].sendall(piece)
                    continue
            except OSError:
                return
            open_ends.discard(end)
            try:
                other[end].shutdown(socket.SHUT_WR)
            except OSError:
                return


class Site(Quiet):
    """What the tests download: files of the dictionary, and some that behave."""

    files = {}  # path: bytes
    seen = None  # a list of (host, method, path, headers), when wanted

    def do_GET(self):
        if self.seen is not None:
            self.seen.append((self.headers.get("Host"), self.command, self.path, dict(self.headers)))
        path = self.path.partition("?")[0]
        if path.startswith("/git/"):
            return self.git()
        if path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/hello")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in (b"one\n", b"two\n"):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            return self.wfile.write(b"0\r\n\r\n")
        if path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
            return None
        body = self.files.get(path)
        status = 200 if body is not None else 404
        body = body if body is not None else b"no such file\n"
        self.send_response(status)
        if path.endswith(".gz"):
            self.send_header("Content-Type", "application/gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return None

    do_HEAD = do_GET

    def do_POST(self):
        if self.path.startswith("/git/"):
            return self.git()
        size = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(size)
        text = hashlib.sha256(body).hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        return self.wfile.write(text)

    git_root = None

    def git(self):
        """Smart HTTP by git's own program."""
        path, _, query = self.path.partition("?")
        body = b""
        if self.command == "POST":
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        environment = {"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self.git_root), "GIT_HTTP_EXPORT_ALL": "1",
                       "PATH_INFO": path[len("/git"):], "QUERY_STRING": query, "REQUEST_METHOD": self.command,
                       "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
                       "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""), "GIT_CONFIG_COUNT": "1",
                       "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*", "REMOTE_ADDR": "127.0.0.1"}
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        status = next((int(value.split()[0]) for name, value in fields if name == "Status"), 200)
        self.send_response(status)
        for name, value in fields:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def run_cases(names, wanted, lab, project):
    """Each test_NAME of a script with a project of its own; lab is made once."""
    tests = {name[5:]: function for name, function in names.items() if name.startswith("test_")}
    failed = []
    with tempfile.TemporaryDirectory(prefix="tee-compile-network.", dir="/var/tmp") as folder:
        shared = lab(pathlib.Path(folder))
        for name in wanted or tests:
            base = pathlib.Path(folder) / f"test-{name}"
            base.mkdir()
            try:
                tests[name](project(shared, base))
                print(f"ok {name}", flush=True)
            except Exception as error:  # noqa: BLE001, the next ones shall run
                failed.append(name)
                print(f"FAILED {name}: {error!r}"[:6000].replace("\\n", "\n"), flush=True)
    if failed:
        sys.exit(f"failed: {' '.join(failed)}")
