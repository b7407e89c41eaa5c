#!/usr/bin/python3
"""bench/run.py [--rounds N] [--files N] [--gigabytes N] [--source NAME=FOLDER]... [--skip-large]

Prints a table of what tee-compile costs: an empty build; real sources through the
tool and by the bare command, alternating, so that a machine that slows down slows
both; a source of many files; a large output, with the peak memory of the client and
of each kind of worker process. Without --source, zlib and xz are fetched by
script/fetch-source. Figures, not tests: nothing here can fail by being slow.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOL = os.environ.get('TEE_COMPILE', str(ROOT / 'build/src/tee-compile'))
DEFAULT_SOURCES = [('zlib', './configure --static && make', ['minigzip', 'example']),
                   ('xz-utils', './configure --disable-shared && make', ['src/xz/xz'])]


def write_project(folder, command, outputs, disk='1G', memory='1G'):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'build.json').write_text(json.dumps({
        'language': 'c', 'input': {'cmd': command}, 'output': {'files': outputs},
        'limits': {'timeout': '1h', 'memory': memory, 'disk': disk}}, indent=2), encoding='utf-8')


def children_of():
    """{parent: [process]} of the whole machine, once."""
    found = {}
    for entry in os.listdir('/proc'):
        if not entry.isdigit():
            continue
        try:
            stat = Path('/proc', entry, 'stat').read_text(encoding='utf-8', errors='replace')
        except OSError:
            continue  # it ended meanwhile
        found.setdefault(int(stat[stat.rindex(')') + 2:].split()[1]), []).append(int(entry))
    return found


class Watch(threading.Thread):
    """The highest VmHWM seen of each program name below a process.

    VmHWM is itself a high-water mark, so a sample misses only what a process grew
    by between the last sample and its end.
    """

    def __init__(self, top):
        super().__init__(daemon=True)
        self.top = top
        self.peaks = {}
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(0.05):
            tree = children_of()
            waiting = list(tree.get(self.top, []))
            while waiting:
                process = waiting.pop()
                waiting += tree.get(process, [])
                try:
                    text = Path('/proc', str(process), 'status').read_text(encoding='utf-8',
                                                                          errors='replace')
                except OSError:
                    continue
                name = re.search(r'^Name:\t(.*)$', text, re.MULTILINE)
                peak = re.search(r'^VmHWM:\s+(\d+) kB$', text, re.MULTILINE)
                if name and peak:
                    self.peaks[name[1]] = max(self.peaks.get(name[1], 0), int(peak[1]) * 1024)


def run(arguments, folder, log, watch=False):
    """Seconds, peak of the process and of what it waited for, peaks below it by name."""
    with open(log, 'wb') as output:
        start = time.monotonic()
        process = subprocess.Popen(arguments, cwd=folder, stdout=output, stderr=output)
        watcher = Watch(process.pid) if watch else None
        own = 0
        if watcher:
            watcher.start()
            while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                own = max(own, peak_of(process.pid))
                watcher.done.wait(0.05)
        _, status, _ = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if watcher:
            watcher.done.set()
            watcher.join()
    if process.returncode != 0:
        tail = Path(log).read_text(encoding='utf-8', errors='replace')[-3000:]
        sys.exit(f'{" ".join(map(str, arguments))}: exit status {process.returncode}\n{tail}')
    return seconds, own, watcher.peaks if watcher else {}


def peak_of(process):
    try:
        text = Path('/proc', str(process), 'status').read_text(encoding='utf-8')
    except OSError:
        return 0
    peak = re.search(r'^VmHWM:\s+(\d+) kB$', text, re.MULTILINE)
    return int(peak[1]) * 1024 if peak else 0  # a process that has ended has no memory


def build(project, scratch, watch=False):
    bundle = scratch / 'bench.tar'
    result = run([TOOL, 'build', '--dir', project, '--image', 'host', '--output', bundle], scratch,
                 scratch / 'log', watch)
    size = bundle.stat().st_size
    bundle.unlink()
    return result, size


def row(what, figure, note=''):
    print(f'{what:<38} {figure:>12}  {note}', flush=True)


def median(values):
    return statistics.median(values)


def empty_build(scratch, rounds):
    project = scratch / 'empty'
    write_project(project, 'echo done >out', ['out'])
    times = [build(project, scratch)[0][0] for _ in range(rounds)]
    row('empty build', f'{median(times):.2f} s', f'median of {rounds}')


def through_and_bare(scratch, name, source, command, outputs, rounds):
    project = scratch / ('tool-' + name)
    shutil.copytree(source, project, symlinks=True)
    write_project(project, command, outputs)
    tool, bare = [], []
    for _ in range(rounds):
        tool.append(build(project, scratch)[0][0])
        copy = scratch / ('bare-' + name)
        shutil.copytree(source, copy, symlinks=True)
        bare.append(run(['bash', '-euo', 'pipefail', '-c', command], copy, scratch / 'log')[0])
        shutil.rmtree(copy)
    row(name + ', bare command', f'{median(bare):.2f} s', f'median of {rounds}, alternating')
    row(name + ', through tee-compile', f'{median(tool):.2f} s',
        f'ratio {median(tool) / median(bare):.2f}')


def many_files(scratch, count, rounds):
    project = scratch / 'many'
    for i in range(count):
        path = project / f'd{i // 200:03}' / f'f{i}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'file {i}\n' * 20, encoding='utf-8')
    write_project(project, 'find . -type f | wc -l >out', ['out'])
    times = [build(project, scratch)[0][0] for _ in range(rounds)]
    row(f'source of {count} files', f'{median(times):.2f} s', f'median of {rounds}')


def large_output(scratch, gigabytes):
    project = scratch / 'large'
    # Bytes that do not compress and differ all over, at the speed of a cipher.
    command = (f'openssl enc -aes-128-ctr -nosalt -K {"0" * 32} -iv {"0" * 32} -in /dev/zero '
               f'2>/dev/null | head -c {gigabytes}G >out || test "$(stat -c %s out)" -eq '
               f'{gigabytes << 30}')
    write_project(project, command, ['out'], disk=f'{gigabytes + 1}G', memory=f'{gigabytes + 2}G')
    (seconds, client, peaks), size = build(project, scratch, watch=True)
    row(f'output of {gigabytes} GB', f'{seconds:.2f} s', f'bundle of {size / 2**30:.2f} GB')
    row('  peak memory of the client', f'{client / 2**20:.1f} MB', 'VmHWM')
    for name, peak in sorted(peaks.items()):
        row(f'  peak memory of {name}', f'{peak / 2**20:.1f} MB', 'VmHWM, largest of that name')


def fetch(scratch, names):
    """What Debian has, by script/fetch-source; a name that it could not get is left out."""
    done = subprocess.run([ROOT / 'script/fetch-source', scratch / 'source', *names], check=False)
    if done.returncode != 0:
        print('bench: not all sources could be fetched; give --source NAME=FOLDER', file=sys.stderr)
    return {name: scratch / 'source' / name for name in names if (scratch / 'source' / name).is_dir()}


def named_folder(text):
    """NAME=FOLDER, of a source that the table knows and a folder that is there."""
    name, mark, folder = text.partition('=')
    known = [source[0] for source in DEFAULT_SOURCES]
    if not mark or not folder:
        raise argparse.ArgumentTypeError(f'{text!r}: expected NAME=FOLDER')
    if name not in known:
        raise argparse.ArgumentTypeError(f'{name!r} is unknown: expected {" or ".join(known)}')
    if not Path(folder, 'configure').is_file():
        raise argparse.ArgumentTypeError(f'{folder!r}: expected a folder with the unpacked source of '
                                         f'{name}, found no configure in it')
    return name, Path(folder)


def count(text):
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f'{text!r}: expected a whole number from 1')
    return int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=count, default=5)
    parser.add_argument('--files', type=count, default=20000)
    parser.add_argument('--gigabytes', type=count, default=2)
    parser.add_argument('--source', action='append', default=[], metavar='NAME=FOLDER', type=named_folder,
                        help='a folder with the unpacked source of zlib or xz-utils')
    parser.add_argument('--skip-large', action='store_true')
    options = parser.parse_args()
    if not os.access(TOOL, os.X_OK):
        sys.exit(f'{TOOL} is missing: script/build, or name it by TEE_COMPILE')
    given = dict(options.source)

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        missing = [name for name, _, _ in DEFAULT_SOURCES if name not in given]
        if missing:
            given.update(fetch(scratch, missing))
        empty_build(scratch, options.rounds)
        for name, command, outputs in DEFAULT_SOURCES:
            if name in given:
                through_and_bare(scratch, name, given[name], command, outputs, options.rounds)
            else:
                row(name, 'not run', f'not fetched: give --source {name}=FOLDER')
        many_files(scratch, options.files, options.rounds)
        if not options.skip_large:
            large_output(scratch, options.gigabytes)


main()
