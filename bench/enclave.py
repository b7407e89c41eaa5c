#!/usr/bin/python3
"""bench/enclave.py [--rounds N] [--memory SIZE] [--least] [--limits memory=SIZE,disk=SIZE]
                 QEMU_FOLDER PROJECT NAME=IMAGE.eif[,IMAGE.erofs]...

Prints what an enclave image costs under software emulation: sizes; the time from the
start of the machine until its worker takes the source, which is when the toolchain is
mounted, and until the commands of PROJECT are done; the guest's memory that was ever
touched; and with --least the least memory, in steps of 16 MiB, with which the build
comes to its end. IMAGE.erofs is served for an image whose toolchain is paged in.
QEMU_FOLDER is what tests/extra/qemu/build.sh prints. Figures, not tests: nothing here
can fail by being slow.

A build does not begin with less memory than its limits, and those of the examples are
wide: --limits replaces them in a copy of PROJECT. With what the least memory is told of:

    bench/enclave.py --least --limits memory=32M,disk=8M QEMU_FOLDER examples/c-hello c=c.eif,c.erofs
    bench/enclave.py --least --limits memory=144M,disk=16M QEMU_FOLDER examples/rust-hello rust=rust.eif,rust.erofs
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

BUILD = Path(os.environ.get('TEE_COMPILE_BUILD', Path(__file__).resolve().parent.parent / 'build'))
STEP = 16
RECEIVE, OUTPUTS = 1, 5  # phases of a session, src/core/wire.h


def run(qemu, image, pages, project, memory):
    """(milliseconds by phase, peak of the emulator in MiB), or None without a bundle."""
    with tempfile.TemporaryDirectory(prefix='tee-bench-') as folder:
        command = [str(BUILD / 'tests/qemu_machine'), f'{qemu}/qemu-system-x86_64', f'{qemu}/share', image,
                   memory, f'{folder}/console', pages or '-', project, f'{folder}/release.tar']
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        said = process.stderr.read()
        # The peak of the largest process below it, which the emulator is.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        if status != 0:
            return None
        times = {int(phase): int(at) for at, phase in re.findall(r'^at (\d+) ms: phase (\d+)', said, re.MULTILINE)}
        return times, usage.ru_maxrss >> 10


def copy_project(project, target, limits):
    shutil.copytree(project, target)
    build_file = Path(target) / 'build.json'
    spec = json.loads(build_file.read_text(encoding='utf-8'))
    spec.setdefault('limits', {}).update(limit.split('=', 1) for limit in limits.split(',') if limit)
    build_file.write_text(json.dumps(spec), encoding='utf-8')
    return str(target)


def least(qemu, image, pages, project):
    """By halving: what is enough stays enough with more."""
    low, high = 2, 128  # steps; the first is too little for the kernel alone
    if run(qemu, image, pages, project, f'{high * STEP}M') is None:
        return f'more than {high * STEP} MiB'
    while high - low > 1:
        middle = (low + high) // 2
        if run(qemu, image, pages, project, f'{middle * STEP}M') is None:
            low = middle
        else:
            high = middle
    return f'{high * STEP} MiB'


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--memory', default='1G')
    parser.add_argument('--least', action='store_true')
    parser.add_argument('--limits', default='', metavar='NAME=VALUE,...')
    parser.add_argument('qemu')
    parser.add_argument('project')
    parser.add_argument('images', nargs='+', metavar='NAME=IMAGE.eif[,IMAGE.erofs]')
    return parser.parse_args()


def measure(options, project):
    print(f'{"image":16} {"EIF":>10} {"outside":>10} {"ready":>8} {"built":>8} {"touched":>9}  least memory')
    for given in options.images:
        name, _, paths = given.partition('=')
        image, _, pages = paths.partition(',')
        results = [run(options.qemu, image, pages, project, options.memory) for _ in range(options.rounds)]
        good = [result for result in results if result]
        sizes = f'{os.path.getsize(image) / 2**20:7.1f}MiB {os.path.getsize(pages) / 2**20 if pages else 0:7.1f}MiB'
        if not good:
            print(f'{name:16} {sizes}  no build in {options.memory}')
            continue
        times = [f'{statistics.median(result[0][phase] for result in good) / 1000:7.2f}s' for phase in (RECEIVE, OUTPUTS)]
        peak = statistics.median(result[1] for result in good)
        least_memory = least(options.qemu, image, pages, project) if options.least else '-'
        print(f'{name:16} {sizes} {" ".join(times)} {peak:6.0f}MiB  {least_memory}', flush=True)


def main():
    options = parse()
    with tempfile.TemporaryDirectory(prefix='tee-bench-') as folder:
        measure(options, copy_project(options.project, f'{folder}/project', options.limits))


if __name__ == '__main__':
    main()
