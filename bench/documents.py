#!/usr/bin/python3
"""bench/documents.py DOCUMENT [--rounds N] [--megabytes N] [--peer 'PROGRAM...']...

What verification costs. One Nitro document (a real one; cbor2 takes it apart once,
outside what is measured): tee-compile and tee-verify as processes, the loop inside a
process, `openssl verify` and `openssl dgst -verify` on the same parts, and any other
verifier (--peer; {file} and {ms} in it become the document and its signed time). A
bundle with an output of N megabytes: `tee-verify verify` against `sha256sum` of the
same bytes (build works here, as root or with subordinate ids). What is compared
alternates, so that a machine that slows down slows both; processor time is given
beside the clock's, for machines that have other work. Figures, not tests."""
import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get('TEE_BUILD', ROOT / 'build'))


def row(what, figure, note=''):
    print(f'{what:<44} {figure:>12}  {note}', flush=True)


def timed(command):
    """Milliseconds by the clock and of the processor; the command must say yes."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    took = (time.perf_counter() - start) * 1000
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f'{shlex.join(map(str, command))}: exit status {process.returncode}')
    return took, (usage.ru_utime + usage.ru_stime) * 1000


def alternate(rounds, named):
    """Medians (clock, processor) of each command list, one round of all after the other."""
    taken = {name: [] for name in named}
    for _ in range(rounds):
        for name, commands in named.items():
            taken[name].append([sum(part) for part in zip(*map(timed, commands))])
    return {name: [statistics.median(part) for part in zip(*values)]
            for name, values in taken.items()}


def rows(median, base, rounds):
    for name, (clock, cpu) in median.items():
        row(name, f'{clock:.1f} ms', f'processor {cpu:.1f} ms; medians of {rounds}; '
            f'{clock / base[0]:.2f} and {cpu / base[1]:.2f} of the first row')


def take_apart(document, scratch):
    """The files that openssl needs, and the signed time in seconds."""
    protected, _, payload, signature = cbor2.loads(document)
    fields = cbor2.loads(payload)

    def pem(name, ders):
        text = b''.join(x509.load_der_x509_certificate(d).public_bytes(Encoding.PEM) for d in ders)
        (scratch / name).write_bytes(text)
        return scratch / name

    leaf = x509.load_der_x509_certificate(fields['certificate'])
    (scratch / 'key.pem').write_bytes(
        leaf.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (scratch / 'signed').write_bytes(cbor2.dumps(['Signature1', protected, b'', payload]))
    (scratch / 'signature').write_bytes(encode_dss_signature(
        int.from_bytes(signature[:48], 'big'), int.from_bytes(signature[48:], 'big')))
    bundle = fields['cabundle']
    return (pem('root.pem', bundle[:1]), pem('chain.pem', bundle[1:]),
            pem('leaf.pem', [fields['certificate']]), fields['timestamp'])


def one_document(path, scratch, rounds, peers):
    root, chain, leaf, ms = take_apart(path.read_bytes(), scratch)
    openssl = [['openssl', 'verify', '-CAfile', root, '-untrusted', chain, '-attime',
                str(ms // 1000), leaf],
               ['openssl', 'dgst', '-sha384', '-verify', scratch / 'key.pem', '-signature',
                scratch / 'signature', scratch / 'signed']]
    ours = ['attestation', 'verify', '--allow-debug', path]
    named = {'openssl verify, then openssl dgst -verify': openssl,
             'tee-compile attestation verify': [[BUILD / 'src/tee-compile', *ours]],
             'tee-verify attestation verify': [[BUILD / 'src/tee-verify', *ours]]}
    for peer in peers:
        command = [word.format(file=path, ms=ms) for word in shlex.split(peer)]
        named[f'peer: {Path(command[0]).name}'] = [command]
    median = alternate(rounds, named)
    rows(median, next(iter(median.values())), rounds)
    loop = BUILD / 'tests/document_loop'
    if not loop.exists():
        subprocess.run(['ninja', '-C', BUILD, 'tests/document_loop'], check=True,
                       stdout=subprocess.DEVNULL)
    inside = statistics.median(
        int(subprocess.run([loop, path, '20'], check=True, capture_output=True).stdout)
        for _ in range(max(3, rounds // 4)))
    row('inside a process', f'{inside / 1e6:.2f} ms', 'processor time, mean of 20 in a loop')


def large_bundle(scratch, megabytes, rounds):
    project, bundle = scratch / 'project', scratch / 'large.tar'
    project.mkdir()
    # Bytes that do not compress and differ all over, at the speed of a cipher.
    (project / 'build.json').write_text(f'''{{"language": "c", "input": {{"cmd":
        "openssl enc -aes-128-ctr -nosalt -K {"0" * 32} -iv {"0" * 32} -in /dev/zero 2>/dev/null | head -c {megabytes}M >out || test \\"$(stat -c %s out)\\" -eq {megabytes << 20}"}},
        "output": {{"files": ["out"]}},
        "limits": {{"disk": "{2 * megabytes + 64}M", "memory": "{2 * megabytes + 512}M"}}}}''',
                                        encoding='utf-8')
    home = scratch / 'home'
    environment = {**os.environ, 'XDG_DATA_HOME': str(home)}
    built = subprocess.run([BUILD / 'src/tee-compile', 'build', '--image', 'host', '--dir', project,
                            '--output', bundle, '--extract', scratch / 'extracted'],
                           env=environment, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        row('bundle', 'not run', built.stderr.strip().splitlines()[-1])
        return
    verify = [BUILD / 'src/tee-verify', 'verify', '--root', home / 'tee-compile/development-root.pem',
              '--allow-unmeasured', bundle]
    dynamic = [BUILD / 'src/tee-compile', *verify[1:]]
    digest = ['sha256sum', scratch / 'extracted/out']
    openssl = ['openssl', 'dgst', '-sha256', scratch / 'extracted/out']
    median = alternate(rounds, {f'sha256sum, {megabytes} MB': [digest],
                                f'openssl dgst -sha256, {megabytes} MB': [openssl],
                                f'tee-verify verify, {megabytes} MB': [verify],
                                f'tee-compile verify, {megabytes} MB': [dynamic]})
    rows(median, next(iter(median.values())), rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('document', type=Path)
    parser.add_argument('--rounds', type=int, default=21)
    parser.add_argument('--megabytes', type=int, default=1024, help='0: no bundle')
    parser.add_argument('--peer', action='append', default=[])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one_document(options.document.resolve(), Path(folder), options.rounds, options.peer)
        if options.megabytes > 0:
            large_bundle(Path(folder), options.megabytes, max(3, options.rounds // 4))


main()
