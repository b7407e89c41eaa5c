#!/usr/bin/env python3
"""test_recorder.py RECORDER_LAB [TEST...]: the recorder with servers and builds that do what they
should, and what is kept and answered again."""
import gzip
import hashlib
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import recorder_world as world  # noqa: E402
from recorder_case import SLOW, Case, main  # noqa: E402


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

    def test_alpn_upstream(self):
        """A server that knows HTTP/2 as well is asked for the one that is spoken."""
        context, chosen = self.root.server('good.test'), []
        context.set_alpn_protocols(['h2', 'http/1.1'])

        def answer(_request, sock):
            chosen.append(sock.selected_alpn_protocol())
            sock.sendall(world.response())
        self.serve(answer, context=context)
        recorder = self.recorder()
        self.assertEqual(recorder.get('good.test').body, b'hello')
        self.assertEqual(chosen, ['http/1.1'])
        self.one_line(recorder, outcome='ok')

    def test_no_kept_connection_for_post(self):
        """It could not be tried again on another one, were this one stale."""
        server = self.serve(world.always())
        recorder = self.recorder()
        post = b'POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 1\r\n\r\nx'
        with recorder.tls('good.test') as sock:
            for request, connections in ((b'GET / HTTP/1.1\r\nHost: good.test\r\n\r\n', 1), (post, 2), (post, 3)):
                self.assertEqual(recorder.exchange(sock, request).body, b'hello')
                self.assertEqual(server.connections, connections)
        self.assertEqual(len(recorder.finish()), 3)

    def twice(self, answer, between=lambda: None, context=None, name='good.test', port=443):
        """Two requests of one connection; both answers are to be the server's first words."""
        server = world.Server(context, answer)
        self.egress.routes[name] = server
        recorder = self.recorder('--plain', 'good.test')
        with (recorder.tls if port == 443 else recorder.raw)(name, port) as sock:
            for _ in range(2):
                got = recorder.exchange(sock, b'GET / HTTP/1.1\r\nHost: good.test\r\n\r\n')
                self.assertEqual(got.body, b'hello')
                between()
        self.assertEqual(server.connections, 2)
        self.assertEqual(len(recorder.finish()), 2)

    def test_bytes_behind_an_answer(self):
        """They are no answer to the next request: such a connection is not kept."""
        more = world.response(b'forged')
        for port in 443, 80:
            context = self.root.server('good.test') if port == 443 else None
            with self.subTest(port=port, when='with it'):
                self.twice(lambda request, sock: sock.sendall(world.response() + more), context=context, port=port)
            with self.subTest(port=port, when='later'):
                go, went = threading.Event(), threading.Event()

                def answer(_request, sock):
                    sock.sendall(world.response())
                    go.wait(60)
                    go.clear()
                    sock.sendall(more)
                    went.set()

                def between():
                    went.clear()
                    go.set()
                    went.wait(60)
                self.twice(answer, between, context, port=port)

    def test_bytes_behind_an_answer_below_tls(self):
        """A record behind those that fill the recorder's buffer, come with them in one piece."""
        head, more, begun = len(world.response(b'')), world.response(b'forged' * 20), []
        body = b'hello' + bytes(65536 - 5 - head - 4)

        def answer(_request, sock):
            begun.append(1)
            sock.sendall(world.response(body))
            sock.sendall(more)
        server = world.Server(self.root.server('good.test'), answer)

        def upwards(sock, ours):
            while data := sock.recv(65536):
                ours.sendall(data)

        def together(sock):
            ours, theirs = socket.socketpair()
            for function, argument in (server, theirs), (lambda end: upwards(sock, end), ours):
                threading.Thread(target=world.quietly, args=(function, argument), daemon=True).start()
            held = b''
            while data := ours.recv(1 << 20):
                held += data
                if not begun or len(held) > 65536 + len(more):
                    begun.clear()
                    sock.sendall(held)
                    held = b''
        self.egress.routes['good.test'] = together
        recorder = self.recorder()
        with recorder.tls('good.test') as sock:
            for _ in range(2):
                got = recorder.exchange(sock, b'GET / HTTP/1.1\r\nHost: good.test\r\n\r\n')
                self.assertEqual(got.body, body)
        self.assertEqual(len(recorder.finish()), 2)

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
        for path, more in ('/other', {}), ('/a', {'method': 'POST', 'body': b'x',
                                                  'fields': 'Content-Length: 1\r\n'}):
            recorder = self.recorder('--replay')
            answer = recorder.get('good.test', path, **more)
            self.assertEqual(answer.status, 502)
            self.assertIn(b'archive', answer.body)
            self.broken(recorder, path, 'not in the archive')

    def test_what_the_rules_refuse(self):
        """As it was live: the host has no part in it, and the build is signed."""
        self.store()
        recorder = self.recorder('--replay', '--allow', 'good.test')
        self.assertEqual(recorder.get('other.test').status, 403)
        self.assertEqual([line['outcome'] for line in recorder.finish()], ['denied'])

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

    def test_parts(self):
        """The archive knows a part by its order alone: one that was not asked for is not given."""
        body = b'0123456789'

        def answer(request, sock):
            first, last = map(int, request.fields['range'].removeprefix('bytes=').split('-'))
            sock.sendall(world.response(body[first:last + 1], '206 Partial Content',
                                        fields=f'Content-Range: bytes {first}-{last}/10\r\n'))
        self.serve(answer)
        recorder = self.recorder('--store')
        self.assertEqual(recorder.get('good.test', '/', fields='Range: bytes=2-4\r\n').body, b'234')
        self.assertEqual(recorder.get('good.test', '/', fields='Range: bytes=7-9\r\n').body, b'789')
        recorder.finish()
        self.egress.keep()
        for first, second in (('2-4', '7-9'), ('2-', '7-'), ('2-100', '-3')):
            recorder = self.recorder('--replay')
            for part, seen in ((first, b'234'), (second, b'789'), (second, b'789')):
                answer = recorder.get('good.test', '/', fields=f'Range: bytes={part}\r\n')
                self.assertEqual((answer.status, answer.body), (206, seen))
            recorder.finish()
        for part in '7-9', '-3', '3-4', '2-3', '3-', None:
            recorder = self.recorder('--replay')
            answer = recorder.get('good.test', '/', fields=f'Range: bytes={part}\r\n' if part else '')
            self.assertEqual(answer.status, 502, part)
            self.broken(recorder, 'part of it')

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


if __name__ == '__main__':
    main()
