#!/usr/bin/python3
"""check_http1.py HTTP1_READ CORPUS: whatever the project's parser of HTTP accepts, h11 accepts
as the same messages: first line, fields, body, and where the next message begins. And what the
project writes for such a head h11 reads as the same head, without the fields of one connection.

The inputs are the fuzzers' corpus, each file with every byte left out, doubled, replaced and
preceded by what smuggling is made of, and pairs of files at seams chosen by a fixed generator.
The other direction does not hold on purpose: h11 reads bare LF, folded lines and more.
"""
import random
import struct
import subprocess
import sys
from pathlib import Path

import h11

TRICKS = [b'\r', b'\n', b'\r\n', b' ', b'\t', b':', b',', b';', b'\0', b'\x0b', b'\x7f', b'\xa0', b'0', b'#']
SEAMS = 4000
HEADS_MIN = 20000
CAP = 1 << 20


def inputs(seeds):
    for seed in seeds:
        yield seed
        for at in range(len(seed)):
            before, byte, after = seed[:at], seed[at:at + 1], seed[at + 1:]
            yield before + after
            yield before + byte * 2 + after
            for trick in TRICKS:
                yield before + trick + byte + after
                yield before + trick + after
    chooser = random.Random(1)
    for _ in range(SEAMS):
        first, second = chooser.choice(seeds), chooser.choice(seeds)
        yield first[:chooser.randrange(len(first) + 1)] + second[chooser.randrange(len(second) + 1):]


def events(connection):
    """h11's events; its complaint, or that more is needed, ends them."""
    ended = False
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return
        if event is h11.NEED_DATA and not ended:
            ended = True
            connection.receive_data(b'')
        elif event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return
        else:
            yield event


def connect(kind):
    if kind == 'Q':
        return h11.Connection(h11.SERVER, max_incomplete_event_size=CAP)
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=CAP)
    connection.send(h11.Request(method='HEAD' if kind == 'H' else 'GET', target='/',
                                headers=[('Host', 'example.org')]))
    connection.send(h11.EndOfMessage())
    return connection


def first_line(head):
    if isinstance(head, h11.Request):
        return head.method.hex(), head.target.hex()
    return str(head.status_code), head.reason.hex()


def h11_reads(kind, data):
    """[(first, second, fields, body, whole)], of as many messages as h11 accepts a head of."""
    messages = []
    connection = connect(kind)
    connection.receive_data(data)
    while True:
        done = False
        for event in events(connection):
            if isinstance(event, h11.InformationalResponse):
                messages.append((*first_line(event), list(event.headers), b'', True))
            elif isinstance(event, (h11.Request, h11.Response)):
                messages.append((*first_line(event), list(event.headers), b'', False))
            elif isinstance(event, h11.Data):
                messages[-1] = (*messages[-1][:3], messages[-1][3] + bytes(event.data), False)
            elif isinstance(event, h11.EndOfMessage):
                messages[-1] = (*messages[-1][:4], True)
                done = True
                break
        rest = connection.trailing_data[0]
        if not done or not rest:
            return messages
        connection = connect(kind)
        connection.receive_data(rest)


def our_messages(line):
    for word in line.split(' ')[:-1]:
        first, second, written, body, state, *fields = word.split(',')
        pairs = [tuple(bytes.fromhex(part) for part in field.split('=')) for field in fields]
        yield first, second, pairs, bytes.fromhex(written), bytes.fromhex(body), state


DROPPED = {b'connection', b'keep-alive', b'te', b'trailer', b'upgrade', b'http2-settings', b'expect',
           b'host', b'content-length', b'transfer-encoding'}
DROPPED_OF_RESPONSES = {b'alt-svc', b'strict-transport-security', b'public-key-pins',
                        b'public-key-pins-report-only'}
FRAMING = {b'content-length', b'transfer-encoding', b'connection'}


def passed_on(fields, dropped):
    """The fields that are no one connection's."""
    for name, value in fields:
        if name.lower() == b'connection':
            dropped = dropped | {option.strip(b' \t').lower() for option in value.split(b',')}
    return [(name, value) for name, value in fields
            if name.lower() not in dropped and not name.lower().startswith(b'proxy-')]


def written_differs(kind, first, second, fields, written):
    """What h11 does not like of a head that was written anew."""
    theirs = h11_reads(kind, written)
    if len(theirs) != 1 or theirs[0][:2] != (first, second) or theirs[0][3]:
        return f'h11 reads {theirs}'
    seen = theirs[0][2]
    length = [value for name, value in fields if name.lower() == b'content-length']
    chunked = any(name.lower() == b'transfer-encoding' for name, _ in fields)
    framing = [field for field in seen if field[0] in FRAMING]
    if kind == 'Q':
        wanted = [(b'host', b'example.org')] + passed_on(fields, DROPPED | {b'x-extra'})
        wanted.append((b'x-extra', b'yes'))
        bodiless = False
    else:
        wanted = passed_on(fields, DROPPED | DROPPED_OF_RESPONSES)
        bodiless = first[0] == '1' or first in ('204', '304') or kind == 'H'
    if bodiless:
        keeps = kind == 'H' and length and not (first[0] == '1' or first in ('204', '304'))
        frame = [(b'content-length', length[0])] if keeps else []
    elif chunked:
        frame = [(b'transfer-encoding', b'chunked')]
    elif length:
        frame = [(b'content-length', length[0])]
    else:
        frame = [] if kind == 'Q' else [(b'connection', b'close')]
    if framing != frame:
        return f'framing {framing}, expected {frame}'
    if not same_fields(wanted, [field for field in seen if field[0] not in FRAMING]):
        return f'fields {seen}, expected {wanted}'
    return None


def same_fields(ours, theirs):
    def plain(name, value):
        name = name.lower()
        # h11 gives this one back in lower case.
        return name, value.lower() if name == b'transfer-encoding' else value
    return [plain(*field) for field in ours] == [plain(*field) for field in theirs]


def differences(kind, data, line, seen_written):
    """(heads compared, what differs or None)"""
    ours = list(our_messages(line))
    if not ours:
        return 0, None
    theirs = h11_reads(kind, data)
    for number, (first, second, fields, written, body, state) in enumerate(ours):
        if (kind, written) not in seen_written:
            seen_written.add((kind, written))
            difference = written_differs(kind, first, second, fields, written)
            if difference:
                return number, f'message {number}: {difference}'
        if number >= len(theirs):
            return number, f'message {number}: h11 refuses it'
        their_first, their_second, their_fields, their_body, whole = theirs[number]
        if (first, second) != (their_first, their_second) or not same_fields(fields, their_fields):
            return number, f'message {number}: another head: {theirs[number]}'
        if state == 'whole' and (not whole or body != their_body):
            return number, f'message {number}: another body: {their_body!r}, whole: {whole}'
        if state == 'open' and (whole or body != their_body):
            return number, f'message {number}: open here, there {their_body!r}, whole: {whole}'
        if state == 'refused' and not their_body.startswith(body):
            return number, f'message {number}: data before the refusal: {their_body!r}'
    return len(ours), None


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    seeds = [path.read_bytes() for path in sorted(Path(sys.argv[2]).iterdir())]
    cases = []
    for data in dict.fromkeys(inputs(seeds)):
        kinds = 'RH' if data.startswith(b'HTTP') else 'Q'
        cases += [(kind, data) for kind in kinds]
    stream = b''.join(struct.pack('>BI', ord(kind), len(data)) + data for kind, data in cases)
    lines = subprocess.run([sys.argv[1]], input=stream, stdout=subprocess.PIPE,
                           check=True).stdout.decode().split('\n')[:-1]
    if len(lines) != len(cases):
        print(f'{len(cases)} inputs, {len(lines)} answers', file=sys.stderr)
        return 1
    heads = failed = 0
    written = set()
    for (kind, data), line in zip(cases, lines):
        count, difference = differences(kind, data, line, written)
        heads += count
        if difference:
            failed += 1
            if failed <= 10:
                print(f'{kind} {data!r}\n  here {line}\n  {difference}')
    print(f'{len(cases)} inputs, {heads} heads that both read the same, '
          f'{len(written)} written anew, {failed} differences')
    if heads < HEADS_MIN:
        print(f'expected at least {HEADS_MIN} heads to compare', file=sys.stderr)
        return 1
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
