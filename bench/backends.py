#!/usr/bin/python3
"""bench/backends.py [--rounds N] [--megabytes N] [--backend NAME]... [--emulator PROGRAM] [--emulated] [IMAGE...]

Prints, for each back end (default: local and qemu) and each IMAGE (a name, a path of an .eif, or
"host", which only local has; default: host), how long it takes from the start of `tee-compile
build` until the first command of the build speaks, and in which step:

  read     the project and the image: hashed, compared, found complete
  start    the worker: a sandbox, or a machine that boots and mounts the toolchain
  source   a small source to the worker, until it begins with the command
  command  the sandbox, until a line of the command's has arrived here

and the megabytes per second of a large file, to the worker as source and back as output, against
the same build without it: until the command begins (the client says that it sends when the worker
does, which a large source is through by then), and from the first output to the end. Each way includes what is done with the bytes: packed, sent by vsock (or
a socket), hashed, written; sealed, hashed, sent, written, verified. Rounds alternate between all of these, so
that a machine that slows down slows all. Figures, not tests: nothing here can fail by being slow.

With --emulated a virtual machine has an emulated processor at once (TCG). Without, the real one is
tried first wherever /dev/kvm is, and "start" has the time that this takes where it does not work.

    bench/backends.py --emulated host c.eif rust.eif
    bench/backends.py --backend qemu --megabytes 0 c.eif
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Ends at once where the real processor is asked for, so that the emulated one is.
EMULATED = """#!/bin/sh
case " $* " in *" -accel kvm "*) exit 1 ;; esac
exec "{}" "$@"
"""
ROOT = Path(__file__).resolve().parent.parent
TOOL = os.environ.get('TEE_COMPILE', str(ROOT / 'build/src/tee-compile'))
# What the client says on stderr as each step begins.
MARKS = {'worker: ': 'start', 'sending the source': 'source', 'building (input.cmd)': 'command',
         'the first command speaks': 'speaks', 'receiving outputs': 'outputs'}
STEPS = (('read', 'begin', 'start'), ('start', 'start', 'source'), ('source', 'source', 'command'),
         ('command', 'command', 'speaks'), ('all', 'begin', 'speaks'))


def make_project(folder, megabytes):
    folder.mkdir()
    command = 'echo the first command speaks' + ('; cp large out' if megabytes else '; : >out')
    (folder / 'build.json').write_text(json.dumps({
        'language': 'c', 'input': {'cmd': command}, 'output': {'files': ['out']}, 'network': {'mode': 'offline'},
        'limits': {'timeout': '1h', 'memory': '256M', 'disk': f'{64 + 4 * megabytes}M'}}), encoding='utf-8')
    if megabytes:
        with open(folder / 'large', 'wb') as file:
            for _ in range(megabytes):
                file.write(os.urandom(1 << 20))
    return folder


def build(project, backend, image, emulator, scratch):
    """{mark: seconds since an arbitrary moment}, with its begin and end."""
    command = [TOOL, 'build', '--dir', project, '--backend', backend, '--image', image, '--output', scratch / 'release.tar']
    if backend == 'qemu':
        command += ['--emulator', emulator]
    times, said = {'begin': time.monotonic()}, []
    with subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, env={**os.environ, 'NO_COLOR': '1'}) as process:
        for line in process.stderr:
            said.append(line)
            for word, mark in MARKS.items():
                if word in line:
                    times.setdefault(mark, time.monotonic())
    times['end'] = time.monotonic()
    if process.returncode != 0 or len(times) != len(MARKS) + 2:
        sys.exit(f'{backend} with {image}: exit status {process.returncode}, and it said:\n{"".join(said)}')
    return times


def median(runs, begin, end):
    return statistics.median(times[end] - times[begin] for times in runs)


def rate(large, small, begin, end, megabytes):
    """Per second; what a small file takes is what all else takes."""
    spent = median(large, begin, end) - median(small, begin, end)
    return f'{megabytes / spent:7.1f}' if spent > 0 else '      -'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--megabytes', type=int, default=64, help='of the large file; 0: only the times')
    parser.add_argument('--backend', action='append', choices=('local', 'qemu', 'nitro'))
    parser.add_argument('--emulator', default='qemu-system-x86_64')
    parser.add_argument('--emulated', action='store_true')
    parser.add_argument('images', nargs='*', default=['host'])
    wanted = parser.parse_args()
    pairs = [(backend, image) for backend in wanted.backend or ['local', 'qemu'] for image in wanted.images
             if backend == 'local' or image != 'host']
    if not pairs:
        parser.error('a virtual machine and an enclave run images: name one')
    with tempfile.TemporaryDirectory(prefix='tee-bench-') as scratch:
        scratch = Path(scratch)
        if wanted.emulated:
            (scratch / 'emulated').write_text(EMULATED.format(wanted.emulator), encoding='utf-8')
            (scratch / 'emulated').chmod(0o755)
            wanted.emulator = scratch / 'emulated'
        small, large = {pair: [] for pair in pairs}, {pair: [] for pair in pairs}
        runs = [(make_project(scratch / 'small', 0), small)]
        if wanted.megabytes:
            runs.append((make_project(scratch / 'large', wanted.megabytes), large))
        for _ in range(wanted.rounds):
            for pair in pairs:
                for project, times in runs:
                    times[pair].append(build(project, *pair, wanted.emulator, scratch))
        print(f'{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, median of {wanted.rounds}; seconds until the first '
              f'command speaks, and MB/s of {wanted.megabytes} MiB\n{"":<24}'
              + ''.join(f'{name:>9}' for name, _, _ in STEPS) + f'{"to it":>9}{"from it":>9}')
        for pair in pairs:
            name = f'{pair[0]} {Path(pair[1]).name}'
            line = ''.join(f'{median(small[pair], begin, end):9.2f}' for _, begin, end in STEPS)
            if wanted.megabytes:
                line += f'  {rate(large[pair], small[pair], "start", "command", wanted.megabytes * 1.048576)}'
                line += f'  {rate(large[pair], small[pair], "outputs", "end", wanted.megabytes * 1.048576)}'
            print(f'{name:<24}{line}', flush=True)


if __name__ == '__main__':
    sys.exit(main())
