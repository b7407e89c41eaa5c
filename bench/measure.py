#!/usr/bin/python3
"""bench/measure.py [--rounds N] [--megabytes N] [--folder DIR]

What `tee-compile image measure` of a large image takes, against `openssl dgst
-sha384` of the same file: once with the bulk in the first ramdisk, where it is
hashed once, and once in the second, where PCR0 and PCR2 each hash it. The two
programs alternate, so that a machine that slows down slows both. Figures, not
tests: nothing here can fail by being slow.
"""
import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOL = os.environ.get('TEE_COMPILE', str(ROOT / 'build/src/tee-compile'))


def run(arguments):
    """Seconds of wall clock and of processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    subprocess.run(list(map(str, arguments)), stdout=subprocess.DEVNULL, check=True)
    seconds = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(name, image, rounds):
    tool, openssl = [], []
    for _ in range(rounds):
        openssl.append(run(['openssl', 'dgst', '-sha384', image]))
        tool.append(run([TOOL, 'image', 'measure', image]))
    ours, theirs = (statistics.median(s for s, _ in times) for times in (tool, openssl))
    our_cpu, their_cpu = (statistics.median(c for _, c in times) for times in (tool, openssl))
    print(f'{name:<28} {ours:7.2f} s {theirs:7.2f} s {ours / theirs:6.2f}   '
          f'{our_cpu:6.2f} s {their_cpu:6.2f} s', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[1])
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--megabytes', type=int, default=1024)
    parser.add_argument('--folder', help='where the images are made; twice their size')
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder) as scratch:
        scratch = Path(scratch)
        (scratch / 'small').write_bytes(b'0707' * 1024)
        with open(scratch / 'large', 'wb') as file:
            for _ in range(wanted.megabytes):
                file.write(os.urandom(1 << 20))
        print(f'{wanted.megabytes} MiB, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, '
              f'median of {wanted.rounds}\n{"":<28} {"measure":>9} {"openssl":>9} {"ratio":>6}   '
              f'{"processor":>8} {"openssl":>8}')
        for name, order in (('bulk in the first ramdisk', ['large', 'small']),
                            ('bulk in the second ramdisk', ['small', 'large'])):
            image = scratch / 'image.eif'
            run([TOOL, 'image', 'assemble', '--kernel', scratch / 'small', '--cmdline', 'x',
                 '--ramdisk', scratch / order[0], '--ramdisk', scratch / order[1], '-o', image])
            compare(name, image, wanted.rounds)
            image.unlink()


if __name__ == '__main__':
    sys.exit(main())
