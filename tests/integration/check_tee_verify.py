#!/usr/bin/env python3
"""check_tee_verify.py TEE_VERIFY TEE_COMPILE MAKE_BUNDLE ARCHIVE...

tee-verify is one static program with the relying party's commands and nothing of
what builds: no interpreter, no needed library, no symbol that one of the archives
(src/host, src/worker) defines. What it answers is what tee-compile answers."""
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

TEE_VERIFY, TEE_COMPILE, MAKE_BUNDLE = map(os.path.abspath, sys.argv[1:4])
ARCHIVES = sys.argv[4:]
PT_DYNAMIC, PT_INTERP, DT_NEEDED, ET_DYN = 2, 3, 1, 3


def elf(path):
    """(type, has an interpreter, number of needed libraries) of a 64-bit ELF file."""
    data = Path(path).read_bytes()
    assert data[:5] == b'\x7fELF\x02', path
    order = '<' if data[5] == 1 else '>'
    kind, = struct.unpack_from(order + 'H', data, 16)
    offset, = struct.unpack_from(order + 'Q', data, 32)
    size, count = struct.unpack_from(order + 'HH', data, 54)
    interpreter, needed = False, 0
    for i in range(count):
        at = offset + i * size
        segment, = struct.unpack_from(order + 'I', data, at)
        start, = struct.unpack_from(order + 'Q', data, at + 8)
        length, = struct.unpack_from(order + 'Q', data, at + 32)
        interpreter |= segment == PT_INTERP
        if segment == PT_DYNAMIC:
            tags = [struct.unpack_from(order + 'q', data, start + j)[0] for j in range(0, length, 16)]
            needed += tags.count(DT_NEEDED)
    return kind, interpreter, needed


def symbols(path):
    """Global functions and data that are defined there."""
    out = subprocess.run(['nm', '--defined-only', path], check=True, capture_output=True,
                         text=True).stdout
    lines = (line.split() for line in out.splitlines())
    return {parts[2] for parts in lines if len(parts) == 3 and parts[1] in 'TDBR'}


def run(*arguments, **more):
    return subprocess.run(arguments, capture_output=True, text=True, check=False, **more)


def check_form():
    assert elf(TEE_VERIFY) == (ET_DYN, False, 0), elf(TEE_VERIFY)
    kind, interpreter, needed = elf(TEE_COMPILE)
    assert kind == ET_DYN and interpreter and needed > 0, 'the reader of ELF sees nothing'


def check_symbols():
    forbidden = set().union(*map(symbols, ARCHIVES))
    assert len(forbidden) > 40 and all(ARCHIVES), 'the archives define too little'
    mine = symbols(TEE_VERIFY)
    assert 'tc_cmd_attestation' in mine and 'tc_verify_bundle' in mine, 'stripped?'
    assert not mine & forbidden, sorted(mine & forbidden)
    assert not {name for name in mine if name.startswith('git_')}, 'libgit2 is in it'
    assert symbols(TEE_COMPILE) & forbidden, 'tee-compile has them, or this test sees nothing'


def check_commands():
    usage = run(TEE_VERIFY, '--help')
    listed = {line.split()[0] for line in usage.stdout.splitlines() if line.startswith('  ')}
    assert {'verify', 'report', 'attestation'} <= listed and 'build' not in listed, usage.stdout
    build = run(TEE_VERIFY, 'build', '--image', 'host')
    assert build.returncode == 2 and 'tee-compile' in build.stderr, build
    helped = run(TEE_VERIFY, 'attestation', '--help')
    assert helped.returncode == 0 and 'tee-verify attestation' in helped.stdout, helped
    assert 'tee-compile' not in helped.stdout, helped.stdout


def check_answers(scratch):
    bundle, root = scratch / 'sample.tar', scratch / 'root.der'
    made = run(MAKE_BUNDLE, bundle, root)
    assert made.returncode == 0, made
    for options in ([], ['--root', root], ['--root', root, '--allow-unmeasured'],
                    ['--root', root, '--nonce', 'ff']):
        answers = [run(tool, 'verify', '--json', *options, bundle)
                   for tool in (TEE_VERIFY, TEE_COMPILE)]
        assert answers[0].returncode == answers[1].returncode, answers
        assert json.loads(answers[0].stdout) == json.loads(answers[1].stdout), answers


def source_of(tool, bundle, folder):
    answer = run(tool, 'verify', '--json', '--source', folder, bundle)
    assert answer.stdout, answer.stderr
    return [c for c in json.loads(answer.stdout)['checks'] if c['name'] == 'source']


def check_source(scratch):
    bundle, folder = scratch / 'sample.tar', scratch / 'source'
    (folder / 'd/empty').mkdir(parents=True)
    (folder / 'build.json').write_text('{"language": "c", "input": {"cmd": "true"}, '
                                       '"output": {"files": ["x"]}}', encoding='utf-8')
    (folder / 'd/run').write_text('#!/bin/sh\n', encoding='utf-8')
    (folder / 'd/run').chmod(0o755)
    (folder / 'link').symlink_to('d/run')
    mine, theirs = (source_of(tool, bundle, folder) for tool in (TEE_VERIFY, TEE_COMPILE))
    assert mine == theirs and mine[0]['result'] == 'fail', (mine, theirs)
    (folder / '.git').mkdir()
    # Everything else is good, so that this one thing leaves the answer open.
    good = ['verify', '--root', scratch / 'root.der', '--pcr', '0=' + '10' * 48]
    git = run(TEE_VERIFY, *good, '--source', folder, bundle)
    assert git.returncode == 2 and 'git archive' in git.stdout, git
    (folder / '.git').rmdir()
    os.mkfifo(folder / 'fifo')
    fifo = run(TEE_VERIFY, *good, '--source', folder, bundle)
    assert fifo.returncode == 2 and 'fifo' in fifo.stdout, fifo
    gone = run(TEE_VERIFY, *good, '--source', scratch / 'gone', bundle)
    assert gone.returncode == 2 and 'gone' in gone.stdout, gone


def main():
    check_form()
    check_symbols()
    check_commands()
    with tempfile.TemporaryDirectory() as folder:
        check_answers(Path(folder))
        check_source(Path(folder))


main()
