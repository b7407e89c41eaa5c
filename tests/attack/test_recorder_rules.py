#!/usr/bin/env python3
"""test_recorder_rules.py RECORDER_LAB [TEST...]: the recorder keeps to what may be fetched, whoever
asks and however many."""
import hashlib
import pathlib
import resource
import socket
import ssl
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import recorder_world as world  # noqa: E402
from recorder_case import IMPATIENT, PATIENT, SLOW, Case, main  # noqa: E402


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


class Denied(Case):
    """The image's deny list against a server's chain of three: server, intermediate, root."""

    def chain(self):
        below = self.root.below(self.folder, 'below')
        context = below.server('good.test')
        both = pathlib.Path(self.folder) / 'chain.pem'
        both.write_text(context.pem.read_text() + below.pem.read_text())
        context.load_cert_chain(both, context.pem.with_suffix('.key'))
        self.server = self.serve(world.always(), context=context)
        return {'CN=good.test': context.pem, 'CN=below below': below.pem,
                'CN=test root one': self.root.pem}

    def denying(self, *lines):
        path = pathlib.Path(self.folder) / 'denied'
        path.write_text(''.join(f'{line}\n' for line in lines))
        return path

    def test_each_certificate_and_key(self):
        for subject, pem in self.chain().items():
            for kind, digest in zip(('certificate', 'key'), world.digests(pem)):
                with self.subTest(subject=subject, kind=kind):
                    denied = self.denying('# a comment', f'{kind} {digest}')
                    recorder = self.recorder('--stall', IMPATIENT, '--denied', denied)
                    self.assertEqual(recorder.get('good.test').status, 502)
                    self.broken(recorder, 'good.test', 'its certificate was not accepted', subject,
                                f'{kind} {digest}', 'denied-certificates')
        self.assertEqual(self.server.requests, [])

    def test_others(self):
        """What is listed as the other thing, or is another's, denies nothing."""
        certificates = [world.digests(pem) for pem in self.chain().values()]
        other = world.digests(self.other.pem)
        denied = self.denying(*(f'key {one}' for one, _ in certificates),
                              *(f'certificate {key}' for _, key in certificates),
                              f'certificate {other[0]}', f'key {other[1]}')
        recorder = self.recorder('--denied', denied)
        self.assertEqual(recorder.get('good.test').body, b'hello')
        self.one_line(recorder, outcome='ok')

    def test_extra_anchor(self):
        digest, key = world.digests(self.other.pem)
        for line in (f'certificate {digest}', f'key {key}'):
            recorder = self.recorder('--denied', self.denying(line), '--ca',
                                     f'good.test={self.other.pem}')
            self.assertIn('no refused', recorder.first)
            self.assertIn(line, recorder.first)


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
        """All open at once, most of them silent: those who ask are answered.

        Each silent one keeps its place for a thirtieth of the stall; who waits for a place for
        longer than a twelfth is late, and his silence the host's doing. A busy machine must not
        come near that."""
        count, stall = (1000, PATIENT) if SLOW else (10000, 24000)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < count + 500:
            self.skipTest(f'only {hard} descriptors')
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.serve(world.always())
        recorder = self.recorder('--stall', stall)
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

    def test_who_waited_for_a_place_may_have_given_up(self):
        """Who hangs up without a word is no one's fault, unless the host could have kept all places."""
        full = 256  # TC_RECORDER_CONNECTIONS
        for waits in True, False:
            begun, go = threading.Semaphore(0), threading.Event()

            def answer(_request, sock, begun=begun, go=go):
                begun.release()
                go.wait(60)
                sock.sendall(world.response())
            self.egress.routes['good.test'] = world.Server(None, answer)
            recorder = self.recorder('--plain', 'good.test', '--stall', 12000)
            crowd = [recorder.raw('good.test', 80) for _ in range(full)]
            for sock in crowd:
                sock.sendall(b'GET / HTTP/1.1\r\nHost: good.test\r\nConnection: close\r\n\r\n')
            for _ in crowd:
                begun.acquire()
            with self.subTest(waits=waits):
                if waits:
                    silent = recorder.raw('good.test', 80)
                    time.sleep(1.5)  # longer than a twelfth of the stall
                go.set()
                for sock in crowd:
                    self.assertEqual(recorder.answer(world.Reader(sock)).body, b'hello')
                    sock.close()
                if not waits:
                    silent = recorder.raw('good.test', 80)
                silent.close()
                if waits:
                    self.assertIn('waited for one of the recorder', recorder.ask('wait'))
                    self.broken(recorder, 'good.test')
                else:
                    self.assertEqual(len(recorder.finish()), full)

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
    main()
