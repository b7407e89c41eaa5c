#!/usr/bin/python3
"""bench/http.py [--rounds N]: what reading HTTP costs the recorder, beside h11 in the same run.

Bodies: megabytes of data a second of processor time that the decoder hands on, alone and with
SHA-256 of them, beside a copy and SHA-256 of the same number of bytes. "length" is a body of
known size, "chunked-N" one in chunks of N bytes. Heads: one typical request and response, read
and written anew. Medians; figures, not tests."""
import argparse
import os
import statistics
import subprocess
import time
from pathlib import Path

import h11

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get('TEE_BUILD', ROOT / 'build'))
MEGABYTES = 8


def h11_rate(framing, chunk):
    """Megabytes a second that h11 reads of a body."""
    if framing == 'chunked':
        field = ('Transfer-Encoding', 'chunked')
        piece = f'{chunk:x}\r\n'.encode() + bytes(chunk) + b'\r\n'
    else:
        field = ('Content-Length', str(1 << 40))
        piece = bytes(chunk)
    piece *= max(1, 65536 // len(piece))
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(f'POST / HTTP/1.1\r\nHost: a\r\n{field[0]}: {field[1]}\r\n\r\n'.encode())
    connection.next_event()
    total = 0
    start = time.process_time()
    while total < MEGABYTES << 20 and time.process_time() - start < 2:
        connection.receive_data(piece)
        while (event := connection.next_event()) is not h11.NEED_DATA:
            total += len(event.data)
    return total / (time.process_time() - start) / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--rounds', type=int, default=3)
    rounds = parser.parse_args().rounds
    subprocess.run(['ninja', '-C', BUILD, 'tests/http_loop'], check=True, stdout=subprocess.DEVNULL)
    figures = {}
    for _ in range(rounds):
        output = subprocess.run([BUILD / 'tests/http_loop'], check=True, stdout=subprocess.PIPE,
                                text=True).stdout
        for name, value in map(str.split, output.splitlines()):
            figures.setdefault(name, []).append(int(value))
    median = {name: statistics.median(values) for name, values in figures.items()}
    for name, value in median.items():
        framing, _, chunk = name.rpartition('-')
        note = ''
        if framing in ('length', 'chunked'):
            peer = h11_rate(framing, int(chunk))
            note = f'h11 {peer:.0f} MB/s: {value / peer:.0f} times'
        elif framing.endswith('-hashed'):
            note = f'{value / median["sha256-65536"]:.2f} of SHA-256 alone'
        unit = 'MB/s' if framing else 'ns'
        print(f'{name:<24} {value:>10.0f} {unit:<5} {note}', flush=True)


if __name__ == '__main__':
    main()
