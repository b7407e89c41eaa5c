"""What a recorder under test talks to: builds, the host's egress, servers, certificates."""
import hashlib
import json
import os
import pathlib
import select
import socket
import ssl
import struct
import subprocess
import threading

DIAL, STORE, REPLAY, HEAD, DATA, END = 1, 2, 3, 16, 17, 18
HEADER = b'{"type":"tee-compile/network/1"}\n'


def run(*args):
    subprocess.run(args, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.PIPE)


class Authority:
    """A test root and the certificates below it, made by the openssl command."""

    def __init__(self, folder, name):
        self.folder = pathlib.Path(folder) / name
        self.folder.mkdir()
        (self.folder / 'index').write_text('')
        (self.folder / 'index.attr').write_text('unique_subject = no\n')
        (self.folder / 'config').write_text(f'''[ca]
default_ca = it
[it]
database = {self.folder}/index
new_certs_dir = {self.folder}
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
''')
        self.pem = self.folder / 'root.pem'
        self.key = self.folder / 'root.key'
        run('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
            '-keyout', self.key, '-out', self.pem, '-days', '30', '-subj', f'/CN=test root {name}',
            '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign')

    def server(self, name, start='20200101000000Z', end='20990101000000Z', own=False, bits=None):
        """A server's context for a certificate of that name; own: signed by itself; bits: of RSA."""
        key, csr, pem = (self.folder / f'{name}{end}{own}{bits}.{kind}' for kind in ('key', 'csr', 'pem'))
        if not pem.exists():
            kind = [f'rsa:{bits}'] if bits else ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256']
            made = ['openssl', 'req', '-newkey', *kind, '-nodes', '-keyout', key, '-subj', f'/CN={name}', '-addext', f'subjectAltName=DNS:{name}']
            if own:
                run(*made, '-x509', '-out', pem)
            else:
                run(*made, '-out', csr)
                run('openssl', 'ca', '-batch', '-notext', '-config', self.folder / 'config', '-cert',
                    self.pem, '-keyfile', self.key, '-in', csr, '-out', pem, '-startdate', start,
                    '-enddate', end)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if bits:
            context.set_ciphers('DEFAULT:@SECLEVEL=0')
        context.load_cert_chain(pem, key)
        context.pem = pem
        return context

    def below(self, folder, name):
        """An authority whose certificate this one signed: its servers send that as well."""
        below = Authority(folder, name)
        csr = below.folder / 'root.csr'
        run('openssl', 'req', '-new', '-key', below.key, '-out', csr, '-subj', f'/CN=below {name}',
            '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign')
        run('openssl', 'ca', '-batch', '-notext', '-config', self.folder / 'config', '-cert', self.pem,
            '-keyfile', self.key, '-in', csr, '-out', below.pem, '-startdate', '20200101000000Z',
            '-enddate', '20990101000000Z')
        return below


def digests(pem):
    """Of a certificate and of its key, as a deny list has them."""
    der = ssl.PEM_cert_to_DER_cert(pathlib.Path(pem).read_text())
    key = subprocess.run(['openssl', 'x509', '-in', pem, '-noout', '-pubkey'], check=True,
                         capture_output=True).stdout
    key = subprocess.run(['openssl', 'pkey', '-pubin', '-outform', 'DER'], input=key, check=True,
                         capture_output=True).stdout
    return hashlib.sha256(der).hexdigest(), hashlib.sha256(key).hexdigest()


def receive(sock, size):
    data = b''
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def frame(kind, payload=b''):
    return struct.pack('>BBH', kind, 0, len(payload)) + payload


def read_frame(sock):
    kind, zero, size = struct.unpack('>BBH', receive(sock, 4))
    assert zero == 0
    return kind, receive(sock, size)


class Egress:
    """The host. routes: name -> function(sock) that is the server, or an address to answer no."""

    def __init__(self, folder):
        self.path = f'{folder}/egress'
        self.routes = {}
        self.dialled = []
        self.stored = []        # (line, body) of what came by STORE
        self.archive = {}       # digest of a line -> (line, body)
        self.index = b''
        self.store_answer = 0
        self.before_end = lambda: None  # of a replayed response
        self.answer = frame(0, b'192.0.2.7')
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(4096)
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        with sock:
            try:
                kind, payload = read_frame(sock)
                {DIAL: self.dial, STORE: self.store, REPLAY: self.replay}[kind](sock, payload)
            except (OSError, EOFError, ValueError):
                pass

    def dial(self, sock, payload):
        port, name = struct.unpack('>H', payload[:2])[0], payload[2:].decode()
        self.dialled.append((name, port))
        server = self.routes.get(name)
        if server is None:
            sock.sendall(frame(1, b'no such name'))
            return
        if isinstance(server, bytes):
            sock.sendall(server)
            return
        sock.sendall(self.answer)
        server(sock)

    def store(self, sock, _payload):
        sock.sendall(frame(0))
        kind, line = read_frame(sock)
        assert kind == HEAD
        body = b''
        while True:
            kind, payload = read_frame(sock)
            if kind == END:
                break
            assert kind == DATA and payload
            body += payload
        self.stored.append((line, body))
        sock.sendall(frame(self.store_answer))

    def keep(self):
        """What was stored becomes the archive."""
        for line, body in self.stored:
            known = json.loads(line)
            known['sha256'], known['size'] = hashlib.sha256(body).hexdigest(), len(body)
            line = json.dumps(known, separators=(',', ':')).encode() + b'\n'
            self.index += line
            self.archive[hashlib.sha256(line).digest()] = (line, body)

    def replay(self, sock, payload):
        if payload == bytes(32):
            answer = frame(0)
            for at in range(0, len(self.index), 1000):
                answer += frame(DATA, self.index[at:at + 1000])
            sock.sendall(answer + frame(END))
            return
        line, body = self.archive[payload]
        sock.sendall(frame(0) + frame(HEAD, line))
        for at in range(0, len(body), 60000):
            sock.sendall(frame(DATA, body[at:at + 60000]))
        self.before_end()
        sock.sendall(frame(END))

    def close(self):
        # The thread first: it would accept for whoever gets the descriptor next.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()


class Request:
    def __init__(self, head, body):
        self.head = head
        self.body = body
        self.line, *lines = head.decode('latin-1').split('\r\n')
        self.method, self.target, _ = self.line.split(' ')
        self.fields = {name.lower(): value for name, value in
                       (line.split(': ', 1) for line in lines if line)}


class Reader:
    """Heads and bodies from a socket."""

    def __init__(self, sock):
        self.sock = sock
        self.data = b''

    def more(self):
        got = self.sock.recv(65536)
        self.data += got
        return bool(got)

    def head(self):
        while b'\r\n\r\n' not in self.data:
            if not self.more():
                if self.data:
                    raise EOFError('within a head')
                return None
        head, _, self.data = self.data.partition(b'\r\n\r\n')
        return head

    def take(self, size):
        while len(self.data) < size:
            if not self.more():
                raise EOFError('within a body')
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def line(self):
        while b'\r\n' not in self.data:
            if not self.more():
                raise EOFError('within a line')
        line, _, self.data = self.data.partition(b'\r\n')
        return line

    def chunks(self):
        body = b''
        while True:
            size = int(self.line(), 16)
            if size == 0:
                assert self.line() == b''
                return body
            body += self.take(size)
            assert self.line() == b''

    def rest(self):
        while self.more():
            pass
        taken, self.data = self.data, b''
        return taken

    def body(self, fields):
        if fields.get('transfer-encoding') == 'chunked':
            return self.chunks()
        return self.take(int(fields.get('content-length', 0)))


class Server:
    """HTTP/1.1 by a function(request, sock) that writes what it likes; false ends."""

    def __init__(self, context, answer):
        self.context = context
        self.answer = answer
        self.requests = []
        self.connections = 0

    def __call__(self, sock):
        self.connections += 1
        if self.context:
            sock = self.context.wrap_socket(sock, server_side=True)
        reader = Reader(sock)
        while True:
            head = reader.head()
            if head is None:
                return
            fields = Request(head, b'').fields
            request = Request(head, reader.body(fields))
            self.requests.append(request)
            if self.answer(request, sock) is False:
                return


def response(body=b'hello', status='200 OK', fields=''):
    return f'HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n'.encode() + body


def always(*args, **kwargs):
    data = response(*args, **kwargs)
    return lambda request, sock: sock.sendall(data)


def through(server, change):
    """The server behind a host that has bytes its way: change(n, data) -> data or None to cut,
    of what the server sends from byte n on."""
    def relay(sock):
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=quietly, args=(server, theirs), daemon=True)
        thread.start()
        sent = 0
        with ours:
            while True:
                ready, _, _ = select.select([sock, ours], [], [])
                if sock in ready:
                    data = sock.recv(65536)
                    if not data:
                        return
                    ours.sendall(data)
                if ours in ready:
                    data = ours.recv(65536)
                    if not data:
                        return
                    changed = change(sent, data)
                    sent += len(data)
                    if changed is None:
                        return
                    if isinstance(changed, tuple):
                        sock.sendall(changed[0])
                        return
                    sock.sendall(changed)
    return relay


def quietly(function, sock):
    with sock:
        try:
            function(sock)
        except (OSError, EOFError, ValueError):
            pass


class Answer:
    def __init__(self, head, body):
        self.head = head
        self.body = body
        lines = head.decode('latin-1').split('\r\n')
        self.status = int(lines[0].split(' ')[1])
        self.fields = {name.lower(): value for name, value in
                       (line.split(': ', 1) for line in lines[1:])}


class Recorder:
    """One recorder_lab."""

    def __init__(self, lab, egress, folder, *options):
        self.folder = pathlib.Path(folder)
        self.process = subprocess.Popen([lab, egress.path, folder, *map(str, options)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.first = self.process.stdout.readline().strip()
        self.port = int(self.first.split()[1]) if self.first.startswith('port ') else None
        self.done = False

    def ask(self, command):
        self.process.stdin.write(command + '\n')
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def raw(self, name, port=443):
        """A connection of the build."""
        sock = socket.create_connection(('127.0.0.1', self.port), timeout=60)
        sock.sendall(f'CONNECT {name}:{port} HTTP/1.1\r\n\r\n'.encode())
        if not receive(sock, len(b'HTTP/1.1 200 OK\r\n\r\n')).startswith(b'HTTP/1.1 200'):
            raise EOFError
        return sock

    def tls(self, name, port=443, sni=None, alpn=('http/1.1',)):
        context = ssl.create_default_context(cafile=self.folder / 'ca.pem')
        context.set_alpn_protocols(list(alpn))
        return context.wrap_socket(self.raw(name, port), server_hostname=sni or name)

    def exchange(self, sock, request, method='GET'):
        """One answer to these bytes."""
        sock.sendall(request)
        return self.answer(Reader(sock), method)

    @staticmethod
    def answer(reader, method='GET'):
        head = reader.head()
        if head is None:
            raise EOFError
        answer = Answer(head, b'')
        if method == 'HEAD' or answer.status in (204, 304):
            return answer
        if 'content-length' in answer.fields or 'transfer-encoding' in answer.fields:
            answer.body = reader.body(answer.fields)
        else:
            answer.body = reader.rest()
        return answer

    def get(self, name, path='/', port=443, fields='', method='GET', body=b''):
        """A whole request of a connection of its own, by TLS unless the port is 80."""
        with (self.raw if port == 80 else self.tls)(name, port) as sock:
            host = name if port in (80, 443) else f'{name}:{port}'
            return self.exchange(sock, f'{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n'
                                 .encode() + body, method)

    def finish(self):
        """The transcript's lines, or a text that says why there is no transcript."""
        said = self.ask('finish')
        self.close()
        if said.startswith('broken '):
            return said
        kind, count, last, digest, self.rss, self.cpu = said.split()
        assert kind == 'finished', said
        data = (self.folder / 'network.jsonl').read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
        lines = data.splitlines(keepends=True)
        assert lines[0] == HEADER and len(lines) == int(count) + 1
        chain = hashlib.sha256(lines[0]).digest()
        for line in lines[1:]:
            chain = hashlib.sha256(chain + line).digest()
        assert chain.hex() == last
        return [json.loads(line) for line in lines[1:]]

    def close(self):
        if self.done:
            return
        self.done = True
        if self.process.poll() is None:
            try:
                self.process.stdin.write('free\n')
                self.process.stdin.close()
            except BrokenPipeError:
                pass
        rest = self.process.stdout.read()
        status = self.process.wait(60)
        if self.port is not None and (status != 0 or 'freed' not in rest):
            raise RuntimeError(f'recorder_lab ended with {status}: {rest}')


def cleaned(folder):
    os.makedirs(folder, exist_ok=True)
    return str(folder)
