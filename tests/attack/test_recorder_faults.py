#!/usr/bin/env python3
"""test_recorder_faults.py RECORDER_LAB [TEST...]: the recorder with servers, builds and hosts
that fail, or that do not do what they should."""
import os
import pathlib
import ssl
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import recorder_world as world  # noqa: E402
from recorder_case import IMPATIENT, PATIENT, SLOW, STALL, Case, main  # noqa: E402


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

    def test_short_keys(self):
        """Security level 2: RSA from 2048 bits."""
        for bits in 1024, 2048:
            self.serve(world.always(), context=self.root.server('good.test', bits=bits))
            if bits == 1024:
                self.fails('certificate', 'too weak')
                continue
            recorder = self.recorder()
            self.assertEqual(recorder.get('good.test').body, b'hello')
            self.one_line(recorder, outcome='ok')

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
        self.flaky(70000, world.always(body[:10] + bytes([body[10] ^ 1]) + body[11:]), body)
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

    def test_body_of_another_head(self):
        """A later attempt goes on with the head that the build has, or not at all."""
        strong, weak = 'ETag: "v1"\r\n', 'ETag: W/"v1"\r\n'
        for first, later, good in (
                ('Content-Type: a/b\r\n', 'Content-Type: a/c\r\n', False),
                ('', 'Content-Encoding: gzip\r\n', False),
                ('X-Version: 1\r\n', 'X-Version: 2\r\n', False),
                ('X-Version: 1\r\n', '', False),
                (weak, 'ETag: W/"v2"\r\n', False),
                ('Date: a\r\nAge: 1\r\nX: 1\r\n', 'Date: b\r\nX: 1\r\nConnection: close\r\n', True),
                (strong + 'X: 1\r\n', strong + 'X: 2\r\n', True),
                (strong + 'Content-Encoding: gzip\r\n', strong, False),
                (strong + 'Content-Type: a/b\r\n', strong + 'Content-Type: a/c\r\n', False)):
            for cut in (0, 3):
                with self.subTest(first=first, later=later, cut=cut):
                    # Whoever is asked for a range may answer with the whole.
                    self.flaky(cut, lambda request, sock, later=later: sock.sendall(
                        world.response(b'hello', fields=later)), b'hello', fields=first)
                    recorder = self.recorder()
                    if good:
                        self.assertEqual(recorder.get('good.test').body, b'hello')
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
        recorder = self.recorder('--stall', PATIENT)
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
        recorder = self.recorder('--stall', PATIENT)
        with recorder.tls('good.test') as sock:
            sock.sendall(b'GET / HTTP/1.1\r\nHost: good.test\r\n\r\n')
            for _ in range(200):
                sock.recv(1 << 16)
        self.one_line(recorder, outcome='cut')
        self.assertLess(int(recorder.rss), (1 << 20) if SLOW else 64 << 10)


if __name__ == '__main__':
    main()
