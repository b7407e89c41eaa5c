#!/usr/bin/env python3
"""test_recorder.py RECORDER_LAB [TEST...]: the recorder against servers, builds and hosts that
do what they should, and against those that do not."""
import gzip
import hashlib
import os
import pathlib
import resource
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import recorder_world as world  # noqa: E402

LAB = os.path.abspath(sys.argv[1])
SLOW = bool(os.environ.get('TSAN_OPTIONS') or os.environ.get('ASAN_OPTIONS'))
STALL = 3000
IMPATIENT = 800  # where a failure is what is waited for


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.mkdtemp(prefix='tc-recorder.')
        cls.root = world.Authority(cls.shared, 'one')
        cls.other = world.Authority(cls.shared, 'two')
        cls.longer = world.Authority(cls.shared, 'three')

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.shared)

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='tc-recorder.')
        self.egress = world.Egress(self.folder)
        self.recorders = []

    def tearDown(self):
        for recorder in self.recorders:
            recorder.close()
        self.egress.close()
        shutil.rmtree(self.folder)

    def recorder(self, *options):
        recorder = world.Recorder(LAB, self.egress, self.folder, '--bundle', self.root.pem, '--stall',
                                  STALL, *options)
        self.recorders.append(recorder)
        return recorder

    def serve(self, answer, name='good.test', context=None):
        server = world.Server(context or self.root.server(name), answer)
        self.egress.routes[name] = server
        return server

    def one_line(self, recorder, **expected):
        lines = recorder.finish()
        self.assertIsInstance(lines, list, lines)
        self.assertEqual(len(lines), 1, lines)
        for key, value in expected.items():
            self.assertEqual(lines[0].get(key), value, lines[0])
        return lines[0]

    def broken(self, recorder, *words):
        said = recorder.finish()
        self.assertIsInstance(said, str, said)
        for word in words:
            self.assertIn(word, said)


class Delivery(Case):
    def test_one_get(self):
        server = self.serve(world.always(b'hello', fields='Content-Type: text/plain\r\n'))
        recorder = self.recorder()
        answer = recorder.get('good.test', '/a?b=c')
        self.assertEqual((answer.status, answer.body), (200, b'hello'))
        self.assertEqual(server.requests[0].line, 'GET /a?b=c HTTP/1.1')
        self.assertEqual(server.requests[0].fields['host'], 'good.test')
        line = self.one_line(recorder, outcome='ok', method='GET', url='https://good.test/a?b=c',
                             status=200, host='good.test', port=443, address='192.0.2.7')
        text = str(line)
        self.assertIn(hashlib.sha256(b'hello').hexdigest(), text)
        self.assertIn(hashlib.sha256(b'').hexdigest(), text)
        der = ssl.PEM_cert_to_DER_cert(self.root.pem.read_text())
        self.assertIn(hashlib.sha256(der).hexdigest(), text)
        self.assertIn('TLSv1.3', text)

    def test_tls12_upstream(self):
        context = self.root.server('good.test')
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.serve(world.always(), context=context)
        recorder = self.recorder()
        self.assertEqual(recorder.get('good.test').body, b'hello')
        self.assertIn('TLSv1.2', str(self.one_line(recorder, outcome='ok')))

    def test_keep_alive_both_ways(self):
        server = self.serve(world.always())
        recorder = self.recorder()
        with recorder.tls('good.test') as sock:
            for _ in range(5):
                answer = recorder.exchange(sock, b'GET / HTTP/1.1\r\nHost: good.test\r\n\r\n')
                self.assertEqual(answer.body, b'hello')
        self.assertEqual(recorder.get('good.test').body, b'hello')
        self.assertEqual(server.connections, 1)
        self.assertEqual(len(recorder.finish()), 6)

    def test_pipelined_requests(self):
        self.serve(lambda request, sock: sock.sendall(world.response(request.target.encode())))
        recorder = self.recorder()
        with recorder.tls('good.test') as sock:
            sock.sendall(b''.join(b'GET /%d HTTP/1.1\r\nHost: good.test\r\n\r\n' % i for i in range(3)))
            reader = world.Reader(sock)
            for i in range(3):
                self.assertEqual(recorder.answer(reader).body, b'/%d' % i)
        self.assertEqual(len(recorder.finish()), 3)

    def test_framings(self):
        body = bytes(range(256)) * 700
        chunked = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n' + b''.join(
            b'%x\r\n' % len(body[at:at + 1000]) + body[at:at + 1000] + b'\r\n'
            for at in range(0, len(body), 1000)) + b'0\r\nTrailer-Field: x\r\n\r\n'
        answers = {
            '/length': world.response(body), '/chunked': chunked,
            '/close': b'HTTP/1.1 200 OK\r\n\r\n' + body,
            '/empty': world.response(b''), '/204': b'HTTP/1.1 204 No Content\r\n\r\n',
            '/304': b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n',
            '/information': b'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n' + world.response(body)}

        def answer(request, sock):
            sock.sendall(answers[request.target])
            if request.target == '/close':
                sock.unwrap()
                return False
        self.serve(answer)
        recorder = self.recorder()
        for path in answers:
            got = recorder.get('good.test', path)
            wanted = body if path in ('/length', '/chunked', '/close', '/information') else b''
            self.assertEqual(got.body, wanted, path)
        with recorder.tls('good.test') as sock:
            sock.sendall(b'GET /chunked HTTP/1.0\r\nHost: good.test\r\n\r\n')
            head, _, got = world.Reader(sock).rest().partition(b'\r\n\r\n')
            self.assertEqual(got, body)
            self.assertNotIn(b'chunked', head)
        lines = recorder.finish()
        self.assertEqual([line['outcome'] for line in lines], ['ok'] * 8)

    def test_head_and_gzip(self):
        packed = gzip.compress(b'text' * 1000)
        fields = 'Content-Encoding: gzip\r\nSet-Cookie: a=b\r\nAlt-Svc: h3=":443"\r\n'
        data = world.response(packed, fields=fields)
        self.serve(lambda request, sock: sock.sendall(
            data[:-len(packed)] if request.method == 'HEAD' else data))
        recorder = self.recorder()
        answer = recorder.get('good.test', method='HEAD')
        self.assertEqual(answer.fields['content-length'], str(len(packed)))
        answer = recorder.get('good.test', fields='Accept-Encoding: gzip\r\n')
        self.assertEqual(answer.body, packed)
        self.assertEqual(answer.fields['set-cookie'], 'a=b')
        self.assertNotIn('alt-svc', answer.fields)
        self.assertNotIn('a=b', str(recorder.finish()))

    def test_requests_with_bodies(self):
        server = self.serve(lambda request, sock: sock.sendall(
            world.response(hashlib.sha256(request.body).hexdigest().encode())))
        recorder = self.recorder()
        big = os.urandom(1 << 20)
        for body in b'', b'small', big:
            answer = recorder.get('good.test', method='POST', body=body,
                                  fields=f'Content-Length: {len(body)}\r\n')
            self.assertEqual(answer.body.decode(), hashlib.sha256(body).hexdigest())
            chunks = b''.join(b'%x\r\n' % len(body[at:at + 7000]) + body[at:at + 7000] + b'\r\n'
                              for at in range(0, len(body), 7000)) + b'0\r\n\r\n'
            answer = recorder.get('good.test', method='POST', body=chunks,
                                  fields='Transfer-Encoding: chunked\r\n')
            self.assertEqual(answer.body.decode(), hashlib.sha256(body).hexdigest())
        lines = recorder.finish()
        self.assertEqual(len(lines), 6)
        self.assertIn(hashlib.sha256(big).hexdigest(), str(lines[4]))
        self.assertIn(hashlib.sha256(big).hexdigest(), str(lines[5]))
        self.assertEqual(server.requests[1].fields['content-length'], '0')

    def test_expect_is_answered_here(self):
        server = self.serve(world.always())
        recorder = self.recorder()
        with recorder.tls('good.test') as sock:
            sock.sendall(b'POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 4\r\n'
                         b'Expect: 100-continue\r\n\r\n')
            reader = world.Reader(sock)
            self.assertEqual(reader.head(), b'HTTP/1.1 100 Continue')
            sock.sendall(b'body')
            self.assertEqual(recorder.answer(reader).body, b'hello')
        self.assertNotIn('expect', server.requests[0].fields)
        self.assertEqual(server.requests[0].body, b'body')
        self.one_line(recorder, outcome='ok')

    def test_plain_http(self):
        self.egress.routes['plain.test'] = world.Server(None, world.always())
        recorder = self.recorder('--plain', 'plain.test')
        self.assertEqual(recorder.get('plain.test', port=80).body, b'hello')
        self.one_line(recorder, outcome='ok', url='http://plain.test/', scheme='http')

    def test_many_bytes(self):
        size, piece = (32 << 20 if SLOW else 256 << 20), os.urandom(1 << 20)
        wanted = hashlib.sha256(piece * (size >> 20)).hexdigest()

        def answer(_request, sock):
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % size)
            for _ in range(size >> 20):
                sock.sendall(piece)
        self.serve(answer)
        recorder = self.recorder()
        with recorder.tls('good.test') as sock:
            sock.sendall(b'GET / HTTP/1.1\r\nHost: good.test\r\n\r\n')
            reader, digest, left = world.Reader(sock), hashlib.sha256(), size
            reader.head()
            while left:
                part = reader.data or sock.recv(65536)
                reader.data = b''
                digest.update(part)
                left -= len(part)
        self.assertEqual(digest.hexdigest(), wanted)
        self.assertIn(wanted, str(self.one_line(recorder, outcome='ok')))
        self.assertLess(int(recorder.rss), (1 << 20) if SLOW else 64 << 10)

    def test_credential(self):
        server = self.serve(world.always())
        other = self.serve(world.always(), name='other.test')
        recorder = self.recorder('--credential', 'good.test=Authorization=Bearer hidden-word')
        recorder.get('good.test', fields='Authorization: Basic of-the-build\r\n')
        recorder.get('other.test')
        self.assertEqual(server.requests[0].fields['authorization'], 'Bearer hidden-word')
        self.assertNotIn('authorization', other.requests[0].fields)
        lines = str(recorder.finish())
        self.assertNotIn('hidden-word', lines)
        self.assertNotIn('of-the-build', lines)

    def test_no_credential_without_tls(self):
        server = world.Server(None, world.always())
        self.egress.routes['good.test'] = server
        recorder = self.recorder('--plain', 'good.test', '--credential',
                                 'good.test=Authorization=Bearer hidden-word')
        self.assertEqual(recorder.get('good.test', port=80).body, b'hello')
        self.assertNotIn('authorization', server.requests[0].fields)
        recorder.finish()

    def test_extra_anchor_for_its_host_alone(self):
        self.serve(world.always(), context=self.other.server('good.test'))
        self.serve(world.always(), name='other.test', context=self.other.server('other.test'))
        recorder = self.recorder('--ca', f'good.test={self.other.pem}')
        self.assertEqual(recorder.get('good.test').body, b'hello')
        with self.assertRaises((EOFError, OSError, AssertionError)):
            self.assertEqual(recorder.get('other.test').status, 200)
        self.broken(recorder, 'other.test', 'certificate')

    def test_the_longer_pattern_has_the_anchor(self):
        other, longer = f'*.test={self.other.pem}', f'*.b.test={self.longer.pem}'
        for options in (('--ca', other, '--ca', longer), ('--ca', longer, '--ca', other)):
            for authority, good in ((self.longer, True), (self.other, False)):
                with self.subTest(options=options, good=good):
                    self.serve(world.always(), name='a.b.test', context=authority.server('a.b.test'))
                    recorder = self.recorder(*options)
                    if good:
                        self.assertEqual(recorder.get('a.b.test').body, b'hello')
                        recorder.finish()
                    else:
                        self.assertEqual(recorder.get('a.b.test').status, 502)
                        self.broken(recorder, 'a.b.test', 'certificate')

    def test_extra_anchor_is_named(self):
        self.serve(world.always(), context=self.other.server('good.test'))
        recorder = self.recorder('--ca', f'good.test={self.other.pem}')
        recorder.get('good.test')
        self.assertIn('root.pem', str(self.one_line(recorder, outcome='ok')))

    def test_the_workers_own_question(self):
        self.serve(world.always(b'refs'))
        recorder = self.recorder('--allow', 'nobody.test')
        self.assertEqual(recorder.ask('get https://good.test/info'), 'got refs')
        self.assertTrue(recorder.ask('get http://good.test/info').startswith('no usage'))
        self.one_line(recorder, url='https://good.test/info')

    def test_small_writes_to_the_host(self):
        self.serve(world.always(b'x' * 100000))
        recorder = self.recorder('--piece', 7)
        self.assertEqual(len(recorder.get('good.test').body), 100000)
        self.one_line(recorder, outcome='ok')

    def test_pinned_by_the_source(self):
        body = b'a crate'
        lock = pathlib.Path(self.folder) / 'Cargo.lock'
        lock.write_text('version = 3\n\n[[package]]\nname = "a"\nversion = "1.0.0"\n'
                        'source = "registry+https://index.example.org/"\n'
                        f'checksum = "{hashlib.sha256(body).hexdigest()}"\n')
        self.serve(world.always(body))
        recorder = self.recorder('--lock', lock)
        recorder.get('good.test')
        self.assertIn('Cargo.lock', str(self.one_line(recorder, outcome='ok')))

    @unittest.skipUnless(shutil.which('curl'), 'needs curl')
    def test_curl(self):
        self.serve(world.always(b'by curl'))
        recorder = self.recorder()
        got = subprocess.run(['curl', '-sS', '--cacert', f'{self.folder}/ca.pem', '--proxy',
                              f'http://127.0.0.1:{recorder.port}', 'https://good.test/x'],
                             check=True, stdout=subprocess.PIPE).stdout
        self.assertEqual(got, b'by curl')
        self.one_line(recorder, outcome='ok')

    def test_trust_stores(self):
        recorder = self.recorder()
        pem = subprocess.run(['openssl', 'pkcs12', '-in', f'{self.folder}/ca.p12', '-passin',
                              'pass:changeit', '-nokeys'], check=True, stdout=subprocess.PIPE).stdout
        self.assertIn(b'BEGIN CERTIFICATE', pem)
        if shutil.which('keytool'):
            said = subprocess.run(['keytool', '-list', '-keystore', f'{self.folder}/ca.p12',
                                   '-storepass', 'changeit'], check=True, stdout=subprocess.PIPE).stdout
            self.assertIn(b'trustedCertEntry', said)
        recorder.finish()


class Refusals(Case):
    """What the build may not do: an answer, a line, no byte to anybody, and the build goes on."""

    def denied(self, recorder, *words):
        lines = recorder.finish()
        self.assertIsInstance(lines, list, lines)
        self.assertEqual([line['outcome'] for line in lines], ['denied'] * len(lines))
        self.assertEqual(self.egress.dialled, [])
        for word in words:
            self.assertIn(word, lines[-1]['reason'])
        return lines

    def test_host_not_allowed(self):
        recorder = self.recorder('--allow', 'good.test')
        answer = recorder.get('bad.test')
        self.assertEqual(answer.status, 403)
        self.assertIn(b'network.allow', answer.body)
        self.denied(recorder, 'bad.test:443', 'network.allow')

    def test_plain_http_not_allowed(self):
        recorder = self.recorder()
        self.assertEqual(recorder.get('good.test', port=80).status, 403)
        self.denied(recorder, 'plain_http')

    def smuggle(self, data, status=400):
        recorder = self.recorder('--plain', 'good.test')
        with recorder.raw('good.test', 80) as sock:
            sock.sendall(data)
            answer = recorder.answer(world.Reader(sock))
        self.assertEqual(answer.status, status, data)
        self.assertEqual(answer.fields['connection'], 'close')
        self.denied(recorder)

    def test_smuggling(self):
        host = b'Host: good.test\r\n'
        for head in (
                b'GET / HTTP/1.1\n' + host + b'\r\n', b'GET / HTTP/1.1\r\nHost: good.test\n\r\n',
                b'GET / HTTP/1.1\r\n' + host + b'A: b\r\n c\r\n\r\n',
                b'POST / HTTP/1.1\r\n' + host + b'Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n',
                b'POST / HTTP/1.1\r\n' + host + b'Content-Length: 4\r\nContent-Length: 4\r\n\r\n',
                b'POST / HTTP/1.1\r\n' + host + b'Transfer-Encoding: gzip, chunked\r\n\r\n',
                b'GET / HTTP/1.1\r\n' + host + host + b'\r\n', b'GET / HTTP/1.1\r\n\r\n',
                b'GET http://good.test/ HTTP/1.1\r\n' + host + b'\r\n',
                # It would show the build what was added to its request.
                b'TRACE / HTTP/1.1\r\n' + host + b'\r\n',
                b'CONNECT good.test:443 HTTP/1.1\r\n' + host + b'\r\n',
                b'GET / HTTP/1.1\r\n' + host + b'A : b\r\n\r\n',
                b'GET / HTTP/1.1\r\n' + host + b'A: b\x00\r\n\r\n',
                b'GET / HTTP/2.0\r\n' + host + b'\r\n',
                b'GET / HTTP/1.1\r\n' + host + b'A: ' + b'x' * 70000 + b'\r\n\r\n',
                b'POST / HTTP/1.1\r\n' + host + b'Transfer-Encoding: chunked\r\n\r\n5;\nhello\r\n'):
            self.smuggle(head)

    def test_another_host(self):
        self.smuggle(b'GET / HTTP/1.1\r\nHost: bad.test\r\n\r\n', 403)
        self.smuggle(b'GET / HTTP/1.1\r\nHost: good.test:81\r\n\r\n', 403)

    def test_another_sni(self):
        recorder = self.recorder()
        context = ssl.create_default_context(cafile=f'{self.folder}/ca.pem')
        context.check_hostname = False  # so that it is not the build that refuses
        with self.assertRaises(ssl.SSLError):
            context.wrap_socket(recorder.raw('good.test'), server_hostname='bad.test')
        self.denied(recorder, 'bad.test', 'good.test', 'SNI')

    def test_http2_alone(self):
        recorder = self.recorder()
        with self.assertRaises(ssl.SSLError):
            recorder.tls('good.test', alpn=('h2',))
        self.denied(recorder)

    def test_old_tls(self):
        recorder = self.recorder()
        context = ssl.create_default_context(cafile=f'{self.folder}/ca.pem')
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers('ALL:@SECLEVEL=0')
        with self.assertRaises((ssl.SSLError, OSError)):
            context.wrap_socket(recorder.raw('good.test'), server_hostname='good.test')
        self.denied(recorder)

    def test_other_protocols(self):
        for data, word in ((b'SSH-2.0-OpenSSH\r\n', 'ssh'), (b'\x00\x01\x02\x03', 'neither'),
                           (b'003egit-upload-pack /x\0host=good.test\0', 'git'),
                           (b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'HTTP/2')):
            recorder = self.recorder()
            with recorder.raw('good.test', 9418) as sock:
                sock.sendall(data)
                self.assertEqual(sock.recv(100), b'')
            self.denied(recorder, word, 'network.opaque', 'good.test:9418')

    def test_addresses(self):
        recorder = self.recorder()
        for address in '169.254.169.254', '127.0.0.1', '198.51.100.4':
            with recorder.raw(address, 80) as sock:
                self.assertEqual(sock.recv(100), b'')
        self.assertEqual([line['host'] for line in self.denied(recorder, 'name')],
                         ['169.254.169.254', '127.0.0.1', '198.51.100.4'])

    def test_refusals_without_connection(self):
        recorder = self.recorder()
        for _ in range(3):
            recorder.ask('deny udp:192.0.2.1:443 no datagrams')
        self.assertEqual(len(self.denied(recorder, 'no datagrams')), 1)

    def test_distrust_is_the_builds_own(self):
        recorder = self.recorder()
        with self.assertRaises(ssl.SSLError):
            ssl.create_default_context(cafile=self.other.pem).wrap_socket(
                recorder.raw('good.test'), server_hostname='good.test')
        self.denied(recorder, 'unknown ca')

    def test_upload_cut_by_the_build(self):
        recorder = self.recorder()
        with recorder.tls('good.test') as sock:
            sock.sendall(b'POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 9\r\n\r\nabc')
        self.denied(recorder, 'the build')


class Pinned(Case):
    def pinned(self, *digests):
        pins = [f'https://good.test/{i}={digest}' for i, digest in enumerate(digests)]
        return self.recorder(*(word for pin in pins for word in ('--pin', pin)))

    def test_pinned(self):
        self.serve(world.always(b'hello'))
        recorder = self.pinned(hashlib.sha256(b'hello').hexdigest())
        self.assertEqual(recorder.get('good.test', '/0').body, b'hello')
        answer = recorder.get('good.test', '/other')
        self.assertEqual(answer.status, 403)
        self.assertIn(b'network.pinned', answer.body)
        self.assertEqual([line['outcome'] for line in recorder.finish()], ['ok', 'denied'])

    def test_other_bytes(self):
        self.serve(world.always(b'other'))
        recorder = self.pinned(hashlib.sha256(b'hello').hexdigest())
        recorder.get('good.test', '/0')
        self.broken(recorder, 'network.pinned')

    def test_no_body_in_place_of_it(self):
        """204 and 304 have none, and nobody asked for none."""
        for status, fields in (204, ''), (304, ''), (304, 'If-None-Match: "v1"\r\n'):
            with self.subTest(status=status, fields=fields):
                self.serve(lambda _, sock, line=status: sock.sendall(f'HTTP/1.1 {line} X\r\n\r\n'.encode()))
                recorder = self.pinned(hashlib.sha256(b'hello').hexdigest())
                recorder.get('good.test', '/0', fields=fields)
                if fields:
                    self.one_line(recorder, outcome='ok', status=status)
                else:
                    self.broken(recorder, 'network.pinned')


class Failures(Case):
    """What the host can cause: nothing is signed, whatever the build makes of it."""

    def fails(self, *words, name='good.test'):
        recorder = self.recorder('--stall', IMPATIENT)
        try:
            answer = recorder.get(name)
            self.assertEqual(answer.status, 502)
        except (EOFError, OSError):
            pass
        self.assertIn(name, recorder.ask('wait'))
        self.broken(recorder, name, *words)

    def test_wrong_name(self):
        self.serve(world.always(), context=self.root.server('other.test'))
        self.fails('ostname mismatch')
        self.assertEqual(len(self.egress.dialled), 4)

    def test_expired(self):
        self.serve(world.always(), context=self.root.server('good.test', end='20240101000000Z'))
        self.fails('expired')

    def test_not_yet_valid(self):
        self.serve(world.always(), context=self.root.server('good.test', start='20980101000000Z',
                                                            end='20990201000000Z'))
        self.fails('not yet valid')

    def test_self_signed(self):
        self.serve(world.always(), context=self.root.server('good.test', own=True))
        self.fails('certificate')

    def test_another_root(self):
        self.serve(world.always(), context=self.other.server('good.test'))
        self.fails('certificate')

    def test_old_tls_upstream(self):
        context = self.root.server('good.test')
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers('ALL:@SECLEVEL=0')
        self.serve(world.always(), context=context)
        self.fails('TLS')

    def test_plain_text_on_443(self):
        self.egress.routes['good.test'] = lambda sock: sock.sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n')
        self.fails('TLS')

    def test_plain_text_before_tls(self):
        """The host puts an answer of its own before the server's."""
        server = world.Server(self.root.server('good.test'), world.always())

        def route(sock):
            sock.sendall(world.response(b'forged'))
            server(sock)
        self.egress.routes['good.test'] = route
        self.fails()
        self.egress.answer = world.frame(0, b'192.0.2.7') + world.response(b'forged')
        self.egress.routes['good.test'] = server
        self.fails('before TLS')

    def test_no_such_name(self):
        self.fails('no such name')

    def test_hostile_egress(self):
        for answer in (b'', b'\0', b'\0\1\0\0', b'\0\0\xff\xff' + b'x' * 65535, b'\0\0\0\x09short',
                       world.frame(7, b'\x1b[2J\xff')):
            self.egress.routes['good.test'] = answer
            self.fails()

    def test_hang_up_at_once(self):
        self.egress.routes['good.test'] = lambda sock: None
        self.fails()

    def test_silence_of_upstream(self):
        event = threading.Event()
        self.egress.routes['good.test'] = lambda sock: event.wait(60)
        self.fails('stalled')
        event.set()

    def test_dripping_upstream(self):
        """One byte at a time, each in time for the next."""
        stop = threading.Event()

        def answer(_request, sock):
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n')
            while not stop.wait(0.3):
                sock.sendall(b'x')
            return False
        self.serve(answer)
        self.fails('stalled')
        stop.set()

    def test_dripping_head(self):
        stop = threading.Event()

        def answer(_request, sock):
            for byte in b'HTTP/1.1 200 OK\r\nA: ' + b'x' * 1000:
                if stop.wait(0.3):
                    return False
                sock.sendall(bytes([byte]))
        self.serve(answer)
        self.fails('stalled')
        stop.set()

    def test_malformed_responses(self):
        for data in (b'HTTP/1.1 200 OK\nContent-Length: 0\n\n', b'ICY 200 OK\r\n\r\n',
                     b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n',
                     b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n',
                     b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
                     b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n',
                     b'HTTP/1.1 103 Early\r\n\r\n' * 40, b'HTTP/1.1 200 OK\r\nA: ' + b'x' * 70000):
            self.serve(lambda request, sock, data=data: sock.sendall(data) or False)
            self.fails()

    def test_swapped_bytes(self):
        """The host changes a byte of the ciphertext, one place after the other."""
        server = world.Server(self.root.server('good.test'), world.always(b'x' * 3000))
        for at in range(5, 4000, 601 if SLOW else 199):
            def change(start, data, at=at):
                data = bytearray(data)
                if start <= at < start + len(data):
                    data[at - start] ^= 1
                return bytes(data)
            self.egress.routes['good.test'] = world.through(server, change)
            recorder = self.recorder('--stall', IMPATIENT)
            try:
                answer = recorder.get('good.test')
                good = answer.body == b'x' * 3000
            except (EOFError, OSError, AssertionError):
                good = False
            said = recorder.finish()
            self.assertTrue(isinstance(said, str) or good, f'byte {at}: {said}')

    def cut_everywhere(self, data, end, step):
        """Upstream's bytes end after each of so many, every time it is asked."""
        def answer(_request, sock):
            for at in range(0, len(data), 50):  # records of their own
                sock.sendall(data[at:at + 50])
            return end(sock)
        server = world.Server(self.root.server('good.test'), answer)
        total = []
        whole = world.through(server, lambda start, data: total.append(len(data)) or data)
        self.egress.routes['good.test'] = whole
        recorder = self.recorder()
        self.assertEqual(recorder.get('good.test').status, 200)
        self.assertIsInstance(recorder.finish(), list)
        # A signature's size varies by some bytes: the last alert is for the test below.
        for cut in range(0, sum(total) - 40, step):
            def change(start, data, cut=cut):
                return data if start + len(data) <= cut else (data[:max(cut - start, 0)],)
            self.egress.routes['good.test'] = world.through(server, change)
            recorder = self.recorder('--stall', IMPATIENT)
            try:
                body = recorder.get('good.test').body
            except (EOFError, OSError):
                body = None
            said = recorder.finish()
            # The alert that ends TLS is after the body: a body whose end was said before is whole.
            self.assertTrue(isinstance(said, str) or (body == b'y' * 300 and b'Length' in data),
                            f'cut at {cut}: {said}')

    def test_cut_at_each_byte(self):
        step = 211 if SLOW else 61
        self.cut_everywhere(world.response(b'y' * 300), lambda sock: sock.unwrap() and False, step)
        self.cut_everywhere(b'HTTP/1.1 200 OK\r\n\r\n' + b'y' * 300,
                            lambda sock: sock.unwrap() and False, step)

    def test_no_end_of_tls(self):
        """A body until the end of the connection, which ends as anybody could end it."""
        self.serve(lambda request, sock: sock.sendall(b'HTTP/1.1 200 OK\r\n\r\n' + b'y' * 300) or False)
        self.fails('broke off')

    def test_body_cut_at_each_byte(self):
        """The server itself ends within its response, over and over."""
        data = world.response(b'y' * 40)
        chunked = (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
                   b'14\r\n' + b'y' * 20 + b'\r\n14\r\n' + b'y' * 20 + b'\r\n0\r\n\r\n')
        for whole in data, chunked:
            for cut in range(0, len(whole), 9 if SLOW else 3):
                self.serve(lambda request, sock, data=whole[:cut]: sock.sendall(data) or False)
                self.fails()

    def test_post_is_not_repeated(self):
        server = self.serve(lambda request, sock: False)
        recorder = self.recorder()
        self.assertEqual(recorder.get('good.test', method='POST', body=b'x',
                                      fields='Content-Length: 1\r\n').status, 502)
        self.assertEqual(len(server.requests), 1)
        self.broken(recorder, 'POST')

    def test_the_reason_stays(self):
        recorder = self.recorder()
        recorder.get('first.test')
        self.assertIn('first.test', recorder.ask('wait'))
        with self.assertRaises((EOFError, OSError)):
            recorder.get('second.test')
        self.broken(recorder, 'first.test')


class Retries(Case):
    """Ordinary flaky networks do not end builds."""

    def flaky(self, first, later, body, cuts=1, fields=''):
        """A server that breaks off after so many bytes of the body, and then answers by `later`."""
        count = [0]

        def answer(request, sock):
            count[0] += 1
            if count[0] <= cuts:
                sock.sendall(f'HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{fields}\r\n'.encode()
                             + body[:first])
                return False
            return later(request, sock)
        return self.serve(answer)

    def test_dial_again(self):
        server = world.Server(self.root.server('good.test'), world.always())
        tries = []

        def sometimes(sock):
            tries.append(1)
            if len(tries) > 2:
                server(sock)
        self.egress.routes['good.test'] = sometimes
        recorder = self.recorder()
        self.assertEqual(recorder.get('good.test', method='POST', body=b'x',
                                      fields='Content-Length: 1\r\n').body, b'hello')
        self.one_line(recorder, outcome='ok', attempts=3)

    def test_from_the_start_with_the_same_bytes(self):
        body = os.urandom(200000)
        self.flaky(70000, world.always(body), body)
        recorder = self.recorder()
        self.assertEqual(recorder.get('good.test').body, body)
        self.one_line(recorder, outcome='ok', attempts=2)

    def test_from_the_start_with_other_bytes(self):
        body = os.urandom(200000)
        self.flaky(70000, world.always(body[:10] + b'!' + body[11:]), body)
        recorder = self.recorder()
        with self.assertRaises((EOFError, OSError)):
            recorder.get('good.test')
        self.broken(recorder, 'other bytes')

    def resume(self, answer_etag, first_etag='"v1"', shift=0):
        body, ranges = os.urandom(200000), []

        def later(request, sock):
            ranges.append((request.fields.get('range'), request.fields.get('if-range')))
            if 'range' not in request.fields:
                sock.sendall(world.response(body, fields=f'ETag: {answer_etag}\r\n'))
                return
            at = int(request.fields['range'][len('bytes='):-1]) + shift
            sock.sendall(world.response(body[at:], '206 Partial Content', f'ETag: {answer_etag}\r\n'
                                        f'Content-Range: bytes {at}-{len(body) - 1}/{len(body)}\r\n'))
        self.flaky(70000, later, body, fields=f'ETag: {first_etag}\r\n')
        recorder = self.recorder()
        try:
            got = recorder.get('good.test').body
        except (EOFError, OSError):
            got = None
        return recorder, got == body, ranges

    def test_resume_by_range(self):
        recorder, same, ranges = self.resume('"v1"')
        self.assertTrue(same)
        self.assertEqual(len(ranges), 1)
        self.assertEqual(ranges[0][1], '"v1"')
        self.one_line(recorder, outcome='ok', attempts=2)

    def test_no_range_for_a_weak_validator(self):
        recorder, same, ranges = self.resume('W/"v1"', 'W/"v1"')
        self.assertTrue(same)
        self.assertEqual(ranges, [(None, None)])
        self.one_line(recorder, outcome='ok')

    def test_resume_of_another_version(self):
        recorder, same, _ = self.resume('"v2"')
        self.assertFalse(same)
        self.broken(recorder, 'range')

    def test_resume_of_another_place(self):
        recorder, same, _ = self.resume('"v1"', shift=1)
        self.assertFalse(same)
        self.broken(recorder, 'range')

    def resume_chunks(self, last, until):
        """Nobody says how long the whole is but the range."""
        body, begun = os.urandom(2000), []

        def answer(_request, sock):
            if begun:
                sock.sendall(world.response(body[1000:until], '206 Partial Content', 'ETag: "v1"\r\n'
                                            f'Content-Range: bytes 1000-{last}/2000\r\n'))
                return True
            begun.append(1)
            sock.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: "v1"\r\n\r\n'
                         b'3e8\r\n' + body[:1000] + b'\r\n')
            return False
        self.serve(answer)
        recorder = self.recorder()
        try:
            self.assertEqual(recorder.get('good.test').body, body)
        except (EOFError, OSError):
            pass
        return recorder

    def test_resume_without_length(self):
        self.one_line(self.resume_chunks(1999, 2000), outcome='ok', attempts=2)

    def test_resume_that_ends_early(self):
        self.broken(self.resume_chunks(1499, 1500), 'range')
        self.broken(self.resume_chunks(1999, 1500), 'range')

    def test_another_answer_to_the_head_that_was_passed(self):
        """Nothing of the body was: a digest of what was delivered tells nothing."""
        for status, etag in ('200 OK', '"v1"'), ('404 Not Found', '"v1"'), ('200 OK', '"v2"'):
            with self.subTest(status=status, etag=etag):
                self.flaky(0, world.always(b'other', status, f'ETag: {etag}\r\n'), b'hello',
                           fields='ETag: "v1"\r\n')
                recorder = self.recorder()
                if (status, etag) == ('200 OK', '"v1"'):
                    self.assertEqual(recorder.get('good.test').body, b'other')
                    self.one_line(recorder, outcome='ok', attempts=2)
                    continue
                with self.assertRaises((EOFError, OSError)):
                    recorder.get('good.test')
                self.broken(recorder, 'otherwise')

    def test_no_tls_request_by_a_plain_connection(self):
        """Of the same name and port, and kept."""
        plain = world.Server(None, world.always(b'plain'))
        tls = world.Server(self.root.server('good.test'), world.always(b'proven'))
        self.egress.routes['good.test'] = lambda sock: (tls if plain.connections else plain)(sock)
        recorder = self.recorder('--plain', 'good.test')
        with recorder.raw('good.test') as sock:
            answer = recorder.exchange(sock, b'GET / HTTP/1.1\r\nHost: good.test:443\r\n\r\n')
            self.assertEqual(answer.body, b'plain')
            self.assertEqual(recorder.get('good.test').body, b'proven')
        self.assertEqual([line['scheme'] for line in recorder.finish()], ['http', 'https'])

    def test_stale_keep_alive(self):
        """A server that ends connections after each answer without saying so."""
        server = self.serve(lambda request, sock: sock.sendall(world.response()) or False)
        recorder = self.recorder()
        with recorder.tls('good.test') as sock:
            for _ in range(6):
                answer = recorder.exchange(sock, b'GET / HTTP/1.1\r\nHost: good.test\r\n\r\n')
                self.assertEqual(answer.body, b'hello')
        self.assertEqual(server.connections, 6)
        self.assertEqual(len(recorder.finish()), 6)


class Cuts(Case):
    def test_cut_with_bytes_at_hand(self):
        def answer(_request, sock):
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n')
            while True:
                sock.sendall(b'z' * 100000)
        self.serve(answer)
        recorder = self.recorder()
        with recorder.tls('good.test') as sock:
            sock.sendall(b'GET / HTTP/1.1\r\nHost: good.test\r\n\r\n')
            sock.recv(1000)
        self.one_line(recorder, outcome='cut', status=200)

    def test_gave_up_before_the_answer(self):
        arrived, stop = threading.Event(), threading.Event()

        def answer(_request, _sock):
            arrived.set()
            stop.wait(60)
            return False
        self.serve(answer)
        recorder = self.recorder()
        with recorder.tls('good.test') as sock:
            sock.sendall(b'GET / HTTP/1.1\r\nHost: good.test\r\n\r\n')
            arrived.wait(60)
        self.assertIn('good.test', recorder.ask('wait'))
        self.broken(recorder, 'hung up')
        stop.set()

    def test_gave_up_within_a_slow_body(self):
        stop, wait = threading.Event(), threading.Event()

        def answer(_request, sock):
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n')
            sock.sendall(b'z' * 300)
            stop.wait(60)
            return False
        self.serve(answer)
        recorder = self.recorder()
        with recorder.tls('good.test') as sock:
            answer = sock.sendall(b'GET / HTTP/1.1\r\nHost: good.test\r\n\r\n')
            world.Reader(sock).take(300)
            wait.wait(STALL / 1000 / 4)
        self.broken(recorder, 'hung up')
        stop.set()

    def test_gave_up_while_a_stream_was_opened(self):
        """The host does not take the stream of a second attempt: that is waiting too."""
        begun, wait = threading.Event(), threading.Event()

        def answer(_request, sock):
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n' + b'z' * 300)
            begun.wait(60)
            return False
        self.serve(answer)
        recorder = self.recorder('--stall', 2 * STALL, '--slow-open', STALL // 2)
        with recorder.tls('good.test') as sock:
            sock.sendall(b'GET / HTTP/1.1\r\nHost: good.test\r\n\r\n')
            world.Reader(sock).take(300)
            begun.set()
            wait.wait(STALL / 1000 / 3)
        self.broken(recorder, 'hung up')

    def test_a_body_that_never_ends(self):
        """Bounded memory, and an end when the build ends."""
        def answer(_request, sock):
            sock.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
            while True:
                sock.sendall(b'10000\r\n' + b'z' * 0x10000 + b'\r\n')
        self.serve(answer)
        recorder = self.recorder()
        with recorder.tls('good.test') as sock:
            sock.sendall(b'GET / HTTP/1.1\r\nHost: good.test\r\n\r\n')
            for _ in range(200):
                sock.recv(1 << 16)
        self.one_line(recorder, outcome='cut')
        self.assertLess(int(recorder.rss), (1 << 20) if SLOW else 64 << 10)


class Archive(Case):
    def store(self):
        self.bodies = {'/a': b'first', '/b': os.urandom(150000), '/c': b'', '/twice': b'one'}

        def answer(request, sock):
            body = self.bodies[request.target]
            if request.target == '/twice':
                self.bodies['/twice'] = b'two'
            sock.sendall(world.response(body, fields='Content-Type: x/y\r\nSet-Cookie: s=1\r\n'))
        self.serve(answer)
        recorder = self.recorder('--store')
        wanted = {}
        for path in '/a', '/b', '/c', '/twice', '/twice':
            wanted.setdefault(path, []).append(recorder.get('good.test', path).body)
        self.live = recorder.finish()
        self.assertEqual(len(self.egress.stored), 5)
        self.egress.keep()
        del self.egress.routes['good.test']
        self.egress.dialled.clear()
        return wanted

    def test_replay(self):
        wanted = self.store()
        recorder = self.recorder('--replay')
        for path, bodies in wanted.items():
            for body in bodies:
                answer = recorder.get('good.test', path)
                self.assertEqual((answer.status, answer.body), (200, body))
                self.assertEqual(answer.fields['content-type'], 'x/y')
                self.assertNotIn('set-cookie', answer.fields)
        self.assertEqual(recorder.get('good.test', '/twice').body, b'two')
        self.assertEqual(self.egress.dialled, [])
        lines = recorder.finish()
        self.assertEqual([line['outcome'] for line in lines], ['ok'] * 6)
        for line in lines:
            self.assertIn('archive', str(line))

    def test_who_has_everything_may_go(self):
        """The archive's last frame comes when the build has left with the whole body."""
        self.store()
        gone = threading.Event()
        self.egress.before_end = lambda: gone.wait(60)
        recorder = self.recorder('--replay')
        self.assertEqual(recorder.get('good.test', '/b').body, self.bodies['/b'])
        gone.set()
        self.one_line(recorder, outcome='ok')

    def test_what_is_not_in_it(self):
        self.store()
        recorder = self.recorder('--replay')
        answer = recorder.get('good.test', '/other')
        self.assertEqual(answer.status, 403)
        self.assertIn(b'archive', answer.body)
        self.assertEqual(recorder.get('good.test', '/a', method='POST', body=b'x',
                                      fields='Content-Length: 1\r\n').status, 403)
        self.assertEqual([line['outcome'] for line in recorder.finish()], ['denied', 'denied'])

    def test_forged(self):
        self.store()
        good = dict(self.egress.archive)
        for key, (line, body) in good.items():
            if b'"size":0}' in line:
                continue
            other = [pair for pair in good.values() if pair[0] != line][0]
            for forged in ((line, bytes([body[0] ^ 1]) + body[1:]), (line, body[:-1]),
                           (line, body + b'x'), other,
                           (line.replace(b'200', b'201'), body)):
                self.egress.archive = dict(good)
                self.egress.archive[key] = forged
                recorder = self.recorder('--replay')
                path = '/' + line.decode().split('good.test/')[1].split('"')[0]
                for _ in range(2 if path == '/twice' else 1):
                    try:
                        recorder.get('good.test', path)
                    except (EOFError, OSError):
                        pass
                self.broken(recorder, 'archive')

    def test_forged_index(self):
        self.store()
        for index in (self.egress.index[:-1], self.egress.index.replace(b':200', b': 200'),
                      b'{}\n', b'x' * 70000, self.egress.index.replace(b'GET', b'GET\n')):
            self.egress.index = index
            recorder = self.recorder('--replay')
            self.assertTrue(recorder.first.startswith('no '), (recorder.first, index))

    def test_an_archive_that_is_not_kept(self):
        self.serve(world.always())
        self.egress.store_answer = 1
        recorder = self.recorder('--store')
        try:
            recorder.get('good.test')
        except (EOFError, OSError):
            pass
        self.broken(recorder, 'archive')


class Opaque(Case):
    def test_opaque(self):
        def server(sock):
            sock.sendall(b'SSH-2.0-server\r\n')
            data = sock.recv(100)
            sock.sendall(data.upper())
        self.egress.routes['good.test'] = server
        recorder = self.recorder('--opaque', 'good.test:22')
        with recorder.raw('good.test', 22) as sock:
            self.assertEqual(world.receive(sock, 16), b'SSH-2.0-server\r\n')
            sock.sendall(b'hello')
            self.assertEqual(world.receive(sock, 5), b'HELLO')
            self.assertEqual(sock.recv(10), b'')
        line = self.one_line(recorder, outcome='opaque', host='good.test', port=22)
        self.assertIn('21', str(line))

    def test_other_port(self):
        recorder = self.recorder('--opaque', 'good.test:22')
        with recorder.raw('good.test', 23) as sock:
            sock.sendall(b'SSH-2.0-x\r\n')
            self.assertEqual(sock.recv(10), b'')
        self.one_line(recorder, outcome='denied')

    def test_not_dialled(self):
        recorder = self.recorder('--opaque', 'good.test:22')
        with recorder.raw('good.test', 22) as sock:
            self.assertEqual(sock.recv(10), b'')
        self.broken(recorder, 'no such name')


class Crowds(Case):
    def test_parallel_requests(self):
        self.serve(lambda request, sock: sock.sendall(world.response(request.target.encode() * 999)))
        recorder = self.recorder()
        wrong = []

        def ask(number):
            for i in range(8):
                path = f'/{number}-{i}'
                if recorder.get('good.test', path).body != path.encode() * 999:
                    wrong.append(path)
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        self.assertEqual(len(recorder.finish()), 24 * 8)

    def test_ten_thousand_connections(self):
        """All open at once, most of them silent: those who ask are answered."""
        count = 1000 if SLOW else 10000
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < count + 500:
            self.skipTest(f'only {hard} descriptors')
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.serve(world.always())
        recorder = self.recorder()
        crowd = []
        for i in range(count):
            sock = socket.create_connection(('127.0.0.1', recorder.port), timeout=60)
            sock.sendall(b'CONNECT good.test:443 HTTP/1.1\r\n\r\n')
            crowd.append(sock)
        self.assertEqual(recorder.get('good.test').body, b'hello')
        for sock in crowd:
            sock.close()
        self.one_line(recorder, outcome='ok')
        self.assertLess(int(recorder.rss), (2 << 20) if SLOW else 256 << 10)

    def test_slow_builds_hold_their_place_alone(self):
        """A head that comes byte by byte ends after its time; with it all, for the host may
        have slowed the build down."""
        recorder = self.recorder('--stall', IMPATIENT)
        stop = threading.Event()
        with recorder.raw('good.test', 80) as sock:
            try:
                for byte in b'GET / HTTP/1.1\r\nA: ' + b'x' * 1000:
                    sock.sendall(bytes([byte]))
                    if stop.wait(0.1):
                        break
                self.fail('it may go on for ever')
            except OSError:
                pass
        self.broken(recorder, 'good.test', 'stalled')

    def test_slow_handshake(self):
        """The same before TLS is there."""
        recorder = self.recorder('--stall', IMPATIENT)
        with recorder.raw('good.test') as sock:
            sock.sendall(b'\x16\x03\x01\x02\x00\x01')
            try:
                self.assertEqual(sock.recv(1), b'')
            except OSError:
                pass
        self.broken(recorder, 'good.test', 'stalled')

    def test_silence_is_no_failure(self):
        """A connection that has nothing to ask is left alone for long, and ends nothing."""
        self.serve(world.always())
        recorder = self.recorder('--stall', IMPATIENT)
        stop = threading.Event()
        with recorder.raw('good.test') as silent:
            stop.wait(3 * IMPATIENT / 1000)
            context = ssl.create_default_context(cafile=recorder.folder / 'ca.pem')
            with context.wrap_socket(silent, server_hostname='good.test') as sock:
                sock.sendall(b'GET / HTTP/1.1\r\nHost: good.test\r\nConnection: close\r\n\r\n')
                self.assertTrue(sock.recv(100).startswith(b'HTTP/1.1 200'))
        self.one_line(recorder, outcome='ok')

    def test_free_with_open_connections(self):
        stop = threading.Event()
        self.serve(lambda request, sock: stop.wait(60) and False)
        recorder = self.recorder()
        with recorder.tls('good.test') as sock, recorder.raw('good.test') as silent:
            sock.sendall(b'GET / HTTP/1.1\r\nHost: good.test\r\n\r\n')
            recorder.close()
            self.assertEqual(silent.recv(10), b'')
        stop.set()


if __name__ == '__main__':
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=1)
