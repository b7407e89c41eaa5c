#!/usr/bin/env python3
"""tee-compile image inspect, measure, sign, assemble, against an independent reader,
writer and measurer (eif_oracle.py).

usage: test_image_eif.py TEE_COMPILE"""
import datetime
import hashlib
import json
import os
import pathlib
import random
import resource
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import eif_oracle as eif  # noqa: E402
import image_lab  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

TOOL = os.path.abspath(sys.argv[1])
EMPTY_PCR2 = ('21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c'
              '10edb30948c90ba67310f7b964fc500a')
RANDOM = random.Random(7)


def run(*args, expect=0, stdin=None):
    result = subprocess.run([TOOL, 'image', *map(str, args)], capture_output=True, timeout=300,
                            input=stdin)
    assert result.returncode == expect, (
        f'{args}: exit {result.returncode}, expected {expect}\n{result.stdout}\n{result.stderr}')
    return result


def run_json(*args, expect=0, stdin=None):
    return json.loads(run(*args, '--json', expect=expect, stdin=stdin).stdout)


def check_of(answer, name):
    (found,) = [check for check in answer['checks'] if check['name'] == name]
    return found['result']


def sample(ramdisks=(b'0707one.', b'0707two'), metadata=b'{"a": 1}', more=()):
    return [(eif.KERNEL, b'KERNEL'), (eif.CMDLINE, b'reboot=t'), (eif.METADATA, metadata),
            *((eif.RAMDISK, data) for data in ramdisks), *more]


def make_key(folder, name, curve=ec.SECP384R1(), start=-1, days=30, password=None):
    key = ec.generate_private_key(curve)
    now = datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
                   .public_key(key.public_key()).serial_number(5)
                   .not_valid_before(now + datetime.timedelta(days=start))
                   .not_valid_after(now + datetime.timedelta(days=start + days))
                   .sign(key, hashes.SHA384()))
    hidden = (serialization.BestAvailableEncryption(password) if password
              else serialization.NoEncryption())
    (folder / f'{name}.key').write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden))
    (folder / f'{name}.pem').write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return key, certificate


def test_assemble(folder):
    for case in range(8):
        sizes = [RANDOM.choice([4, 8, 4096, 70000, 1 << 20]) for _ in range(1 + case % 5)]
        sizes[-1] += case  # the last one may have any length
        parts = {'kernel': RANDOM.randbytes(1 + 100003 * case)}
        for i, size in enumerate(sizes):
            parts[f'ramdisk{i}'] = b'0707' + RANDOM.randbytes(size - 4)
        for name, data in parts.items():
            (folder / name).write_bytes(data)
        metadata = json.dumps({'case': case}).encode()
        (folder / 'metadata').write_bytes(metadata)
        cmdline = 'reboot=t panic=-1 "quoted" ~' if case else ''
        ramdisks = [word for i in range(len(sizes)) for word in ('--ramdisk', folder / f'ramdisk{i}')]
        out = folder / 'a.eif'
        answer = run_json('assemble', '--kernel', folder / 'kernel', '--cmdline', cmdline, *ramdisks,
                          '--metadata', folder / 'metadata', '-o', out)
        image = eif.Image(out.read_bytes())
        assert out.read_bytes() == eif.build(
            [(eif.KERNEL, parts['kernel']), (eif.CMDLINE, cmdline.encode()),
             (eif.METADATA, metadata)] + [(eif.RAMDISK, parts[f'ramdisk{i}']) for i in range(len(sizes))])
        pcrs = [value.hex() for value in image.pcrs()]
        assert [answer[f'pcr{i}'] for i in range(3)] == pcrs
        assert (pcrs[2] == EMPTY_PCR2) == (len(sizes) == 1)
        measured = run_json('measure', out)
        assert [measured[f'pcr{i}'] for i in range(3)] == pcrs and 'pcr8' not in measured
        assert run_json('measure', '-', stdin=out.read_bytes()) == measured
        text = run('measure', out).stdout.decode()
        assert all(value in text for value in pcrs) and text.startswith('good: ')


def test_assemble_repeats(folder):
    (folder / 'k').write_bytes(b'K')
    (folder / 'r').write_bytes(b'0707')
    for name in ('one.eif', 'two.eif'):
        run('assemble', '--kernel', folder / 'k', '--cmdline', 'x', '--ramdisk', folder / 'r',
            '--output', folder / name)
    assert (folder / 'one.eif').read_bytes() == (folder / 'two.eif').read_bytes()
    (metadata,) = eif.Image((folder / 'one.eif').read_bytes()).parts(eif.METADATA)
    wanted = {'ImageName': str, 'ImageVersion': str, 'BuildMetadata': dict, 'DockerInfo': dict,
              'CustomMetadata': dict}
    for name, kind in wanted.items():
        assert isinstance(json.loads(metadata)[name], kind)


def test_assemble_refuses(folder):
    files = {'k': b'K', 'r': b'0707', 'odd': b'07070', 'gz': b'\x1f\x8b..', 'empty': b'',
             'list': b'[]'}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    out = folder / 'out.eif'
    out.write_bytes(b'before')

    def attempt(expect, words, kernel='k', cmdline='x', ramdisks=('r',), more=(), output=out):
        arguments = [word for name in ramdisks for word in ('--ramdisk', folder / name)]
        result = run('assemble', '--kernel', folder / kernel, '--cmdline', cmdline, *arguments,
                     *more, '-o', output, expect=expect)
        assert words.encode() in result.stderr, result.stderr
        assert result.stdout == b''
        assert out.read_bytes() == b'before'

    attempt(1, 'no multiple of 4', ramdisks=('odd', 'r'))
    attempt(1, 'byte 0x0a', cmdline='a\nb')
    attempt(1, 'byte 0xc3', cmdline='\u00e9')
    attempt(1, 'at most 2047', cmdline='x' * 2048)
    attempt(1, 'metadata', more=('--metadata', folder / 'list'))
    attempt(1, 'is empty', kernel='empty')
    attempt(1, 'is empty', ramdisks=('empty',))
    attempt(2, 'cannot read', kernel='absent')
    attempt(2, 'no regular file', kernel='.')
    attempt(2, '30 ramdisks', ramdisks=('r',) * 30)
    attempt(2, 'no image, got 1', more=('word',))
    attempt(2, 'unknown', more=('--nothing',))
    attempt(2, 'cannot write', output=folder / 'absent' / 'out.eif')
    for option in ('--kernel', '--cmdline', '--ramdisk', '-o'):
        arguments = {'--kernel': 'k', '--cmdline': 'x', '--ramdisk': 'r', '-o': 'o'}
        del arguments[option]
        result = run('assemble', *(word for pair in arguments.items() for word in pair), expect=2)
        assert b'is missing' in result.stderr and b'usage:' in result.stderr
    assert sorted(os.listdir(folder)) == sorted([*files, 'out.eif'])
    run('assemble', '--kernel', folder / 'k', '--cmdline', 'x', '--ramdisk', folder / 'odd',
        '--ramdisk', folder / 'gz', '-o', out)


def test_inspect(folder):
    metadata = '{"a": "\u202eb\u00e9", "c": "\\u001b[31m"}'.encode()
    data = eif.build(sample(metadata=metadata), flags=1, memory=12345, cpus=7)
    (folder / 'a.eif').write_bytes(data)
    image = eif.Image(data)
    answer = run_json('inspect', folder / 'a.eif')
    assert answer['architecture'] == 'aarch64'
    assert answer['header'] == {'version': 4, 'default_memory': 12345, 'default_cpus': 7,
                                'size': len(data), 'crc32': f'{image.crc:08x}'}
    assert answer['sections'] == [
        {'kind': eif.NAMES[kind], 'offset': offset, 'size': len(part),
         'sha256': hashlib.sha256(part).hexdigest()} for kind, offset, part in image.sections]
    assert answer['cmdline'] == 'reboot=t' and answer['metadata'].encode() == metadata
    assert [answer[f'pcr{i}'] for i in range(3)] == [value.hex() for value in image.pcrs()]
    text = run('inspect', folder / 'a.eif').stdout
    assert '\u202e'.encode() not in text and b'\x1b' not in text and b'aarch64' in text


def test_damaged(folder):
    good = eif.build(sample())
    path = folder / 'a.eif'
    pcrs = None
    for at in (15, 544, 547):  # a hint, the CRC itself: the PCRs stay
        path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1:])
        answer = run_json('measure', path, expect=1)
        assert answer['verdict'] == 'refused' and check_of(answer, 'crc') == 'fail'
        pcrs = [answer[f'pcr{i}'] for i in range(3)]
        assert pcrs == [value.hex() for value in eif.Image(good).pcrs()]
        text = run('measure', path, expect=1).stdout.decode()
        assert text.startswith('refused: ') and 'CRC-32' in text and pcrs[0] in text
        run('inspect', path, expect=1)
    path.write_bytes(good[:-1] + b'X')
    assert run_json('measure', path, expect=1)['pcr0'] != pcrs[0]


def test_malformed(folder):
    good = eif.build(sample())
    path = folder / 'a.eif'
    kernel = eif.SECTION.pack(eif.KERNEL, 0, 6)
    bad = {
        'trailing': eif.fix_crc(good + b'\0'),
        'cut': good[:-1],
        'empty': b'',
        'short': good[:547],
        'order': eif.build([sample()[1], sample()[0], *sample()[2:]]),
        'second kernel': eif.build([*sample(), (eif.KERNEL, b'K')]),
        'unknown kind': eif.build([*sample(), (6, b'K')]),
        'gap': eif.fix_crc(good[:28] + struct.pack('>Q', 549) + good[36:548] + b'\0' + good[548:]),
        'claim': eif.fix_crc(good.replace(kernel, eif.SECTION.pack(eif.KERNEL, 0, 1 << 39))),
        'no metadata': eif.build([sample()[0], sample()[1], *sample()[3:]]),
        'metadata': eif.build(sample(metadata=b'[]')),
        'control': eif.build([sample()[0], (eif.CMDLINE, b'a\x1b[31m'), *sample()[2:]]),
    }
    for name, data in bad.items():
        path.write_bytes(data)
        for verb in ('measure', 'inspect'):
            answer = run_json(verb, path, expect=1)
            assert answer['verdict'] == 'refused' and check_of(answer, 'format') == 'fail', name
            assert 'pcr0' not in answer
            result = run(verb, path, expect=1)
            assert result.stdout == b'' and result.stderr.count(b'\n') == 1 and b'\x1b' not in result.stderr


def test_undecided(folder):
    (folder / 'a.eif').write_bytes(eif.build(sample()))
    run('measure', folder / 'absent', expect=2)
    run('measure', folder, expect=2)
    run('measure', expect=2)
    run('measure', folder / 'a.eif', folder / 'a.eif', expect=2)
    run('measure', folder / 'a.eif', '--cert', folder / 'absent', expect=2)
    for words in (['measure', folder / 'absent'], ['inspect', folder], ['measure'], ['inspect', '--nonsense'],
                  ['sign', folder / 'a.eif'], ['assemble'], ['assemble', '--kernel'],
                  ['sign', folder / 'a.eif', '--key', folder / 'absent', '--cert', folder / 'absent', '-o', 'x']):
        answer = run_json(*words, expect=2)
        assert answer['verdict'] == 'undecided' and answer['checks'] == [] and answer['reason'], answer
    (folder / 'none.eif').write_bytes(b'none')
    answer = run_json('inspect', folder / 'none.eif', expect=1)
    assert answer['verdict'] == 'refused' and check_of(answer, 'format') == 'fail', answer
    with open('/dev/full', 'w') as full:
        for verb in ('inspect', 'measure', 'sign', 'assemble'):
            for words in ([verb, '--help'], [verb, '--json', folder / 'absent']):
                done = subprocess.run([TOOL, 'image', *map(str, words)], stdout=full, stderr=subprocess.PIPE)
                assert done.returncode == 2, (words, done)
    run('measur', expect=2)
    run(expect=2)
    assert b'did you mean measure' in run('measur', expect=2).stderr
    for verb in ('measure', 'inspect', 'sign', 'assemble'):
        assert b'usage:' in run(verb, '--help').stdout


def test_sign(folder):
    _, certificate = make_key(folder, 'me')
    make_key(folder, 'other')
    data = eif.build(sample())
    image, out = folder / 'a.eif', folder / 's.eif'
    image.write_bytes(data)
    wish = run_json('measure', image, '--cert', folder / 'me.pem')
    answer = run_json('sign', image, '--key', folder / 'me.key', '--cert', folder / 'me.pem', '-o', out)
    signed = eif.Image(out.read_bytes())
    assert signed.signer() == certificate
    assert signed.sections[:-1] == eif.Image(data).sections
    assert answer['pcr8'] == eif.pcr8(certificate).hex() == wish['pcr8_if_signed']
    assert answer['pcr0'] == wish['pcr0'] == signed.pcrs()[0].hex()
    assert 'pcr8' not in wish and check_of(wish, 'certificate') == 'not-asked'
    assert image.read_bytes() == data
    shown = run_json('inspect', out)
    assert shown['signature']['subject'] == 'CN=me' and shown['signature']['algorithm'] == 'ES384'
    assert check_of(shown, 'signature') == 'pass'
    assert run_json('measure', out, '--cert', folder / 'me.pem')['verdict'] == 'good'
    wrong = run_json('measure', out, '--cert', folder / 'other.pem', expect=1)
    assert check_of(wrong, 'certificate') == 'fail'
    # Over itself, by the other key.
    before = out.read_bytes()
    result = run('sign', out, '--key', folder / 'other.key', '--cert', folder / 'other.pem', '-o', out,
                 expect=2)
    assert b'--replace' in result.stderr and out.read_bytes() == before
    run('sign', out, '--key', folder / 'other.key', '--cert', folder / 'other.pem', '-o', out,
        '--replace')
    again = eif.Image(out.read_bytes())
    assert again.signer() != certificate and again.sections[:-1] == signed.sections[:-1]


def test_sign_refuses(folder):
    make_key(folder, 'me')
    make_key(folder, 'other')
    make_key(folder, 'past', start=-10, days=9)
    make_key(folder, 'future', start=1)
    make_key(folder, 'small', curve=ec.SECP256R1())
    make_key(folder, 'hidden', password=b'secret')
    good = eif.build(sample())
    out = folder / 'out.eif'

    def attempt(expect, words, data=good, key='me', certificate='me', name=None):
        (folder / 'a.eif').write_bytes(data)
        result = run('sign', name or folder / 'a.eif', '--key', folder / f'{key}.key', '--cert',
                     folder / f'{certificate}.pem', '-o', out, expect=expect)
        assert words.encode() in result.stderr, result.stderr
        assert not out.exists()

    attempt(1, 'public keys differ', certificate='other')
    attempt(1, 'not now', key='past', certificate='past')
    attempt(1, 'not now', key='future', certificate='future')
    attempt(1, 'not on P-384', key='small', certificate='small')
    attempt(2, 'pass phrase', key='hidden', certificate='hidden')
    attempt(2, 'cannot read the key', key='absent')
    attempt(2, 'certificate', certificate='absent')
    attempt(2, 'cannot open', name=folder / 'absent.eif')
    attempt(1, 'CRC-32', data=good[:15] + b'\1' + good[16:])
    attempt(1, 'cut off', data=good[:-1])
    attempt(1, 'leave out', data=eif.build(sample(ramdisks=(b'07070', b'0707'))))
    attempt(1, 'no room', data=eif.build(sample(ramdisks=[b'0707'] * 29)))
    assert not [name for name in os.listdir(folder) if name.endswith('.part')]


def test_foreign_signatures(folder):
    path = folder / 'a.eif'
    pcr0 = eif.Image(eif.build(sample())).pcrs()[0]
    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()):
        key, certificate = make_key(folder, 'me', curve=curve)

        def with_signature(section):
            path.write_bytes(eif.build(sample(more=[(eif.SIGNATURE, section)])))

        with_signature(eif.sign(pcr0, key, certificate))
        answer = run_json('measure', path)
        assert answer['pcr8'] == eif.pcr8(certificate).hex() and answer['warnings'] == []
        with_signature(eif.sign(bytes(48), key, certificate))  # another image's
        answer = run_json('measure', path, expect=1)
        assert check_of(answer, 'signature') == 'fail' and answer['pcr0'] == pcr0.hex()
        other = ec.generate_private_key(curve)
        with_signature(eif.sign(pcr0, other, certificate))
        assert check_of(run_json('measure', path, expect=1), 'signature') == 'fail'
        with_signature(b'\x80')
        answer = run_json('inspect', path, expect=1)
        assert check_of(answer, 'signature') == 'fail' and 'pcr8' not in answer
    key, certificate = make_key(folder, 'past', start=-10, days=9)
    with_signature(eif.sign(pcr0, key, certificate))
    (warning,) = run_json('measure', path)['warnings']
    assert 'expired' in warning


def test_signature_of_what_is_used(folder):
    """A bad signature is refused where an image is taken in or used; one that has expired is told."""
    image = image_lab.Image(folder)
    pcr0 = bytes.fromhex(image.pcrs()[0])
    env = {**os.environ, 'XDG_DATA_HOME': str(folder / 'data'), 'NO_COLOR': '1'}
    project = folder / 'project'
    project.mkdir()
    (project / 'build.json').write_text(json.dumps({'language': 'mini', 'input': {'cmd': 'false'},
                                                    'output': {'files': ['out']}}))

    def tool(*args):
        done = subprocess.run([TOOL, *map(str, args)], capture_output=True, text=True, env=env, cwd=folder)
        return done.returncode, done.stderr

    def with_signature(signed, key, certificate):
        sections = [(eif.KERNEL, image.kernel), (eif.CMDLINE, image.cmdline.encode()), (eif.METADATA, b'{}'),
                    (eif.RAMDISK, image.first), (eif.RAMDISK, image.second),
                    (eif.SIGNATURE, eif.sign(signed, key, certificate))]
        image.eif.write_bytes(eif.build(sections))

    pull = ['image', 'pull', image.eif, '--pcr0', pcr0.hex()]
    key, certificate = make_key(folder, 'me')
    with_signature(bytes(48), key, certificate)
    build = ['build', '--dir', project, '--output', folder / 'out.tar', '--image', image.eif]
    for words in (pull, build):
        status, said = tool(*words)
        assert status == 1 and 'mini.eif' in said and 'signature' in said, (status, said)
    with_signature(pcr0, key, certificate)
    status, said = tool(*pull)
    assert status == 0 and 'expired' not in said, (status, said)
    with_signature(pcr0, *make_key(folder, 'past', start=-10, days=9))
    status, said = tool(*pull)
    assert status == 0 and 'the signing certificate has expired' in said, (status, said)


def test_measured_text(folder):
    """What is measured is shown, and stands above the metadata, which anybody can write."""
    image = image_lab.Image(folder)
    answer = run_json('inspect', image.eif)
    recipe = hashlib.sha256(b'mini').hexdigest()
    assert answer['image']['name'] == 'mini' and answer['image']['recipe'] == recipe and not answer['warnings'], answer
    assert [package['name'] for package in answer['image']['packages']] == ['package-0000', 'package-0001', 'package-0002']
    shown = run('inspect', image.eif).stdout.decode()
    assert recipe in shown and '3 (--json names them)' in shown and 'not measured {}' in shown, shown
    image.write(image.eif, metadata=json.dumps({'CustomMetadata': {'Recipe': 'ab' * 32}}).encode())
    (warning,) = run_json('inspect', image.eif)['warnings']
    assert 'another recipe' in warning
    image.write(image.eif, metadata=json.dumps({'CustomMetadata': {'Recipe': recipe}}).encode() + b' ' * 1000)
    assert not run_json('inspect', image.eif)['warnings']
    assert '--json has all' in run('inspect', image.eif).stdout.decode()
    assert 'image' not in run_json('measure', image.eif)
    somebody = folder / 'a.eif'
    somebody.write_bytes(eif.build(sample()))
    assert 'image' not in run_json('inspect', somebody)


def test_moved_bounds(folder):
    """The same PCRs, another machine: said also where a further ramdisk hides it, and never signed."""
    image = image_lab.Image(folder)
    taken, left = image.cmdline[:8], image.cmdline[8:]
    pcrs = image.pcrs()
    make_key(folder, 'me')
    signer = ['--key', folder / 'me.key', '--cert', folder / 'me.pem']
    for ramdisks in ((image.first, image.second), (image.first, image.second[:512], image.second[512:])):
        path = folder / 'moved.eif'
        image.write(path, kernel=image.kernel + taken.encode(), cmdline=left, ramdisks=ramdisks)
        answer = run_json('measure', path)
        assert [answer[f'pcr{i}'] for i in range(3)] == pcrs
        (warning,) = answer['warnings']
        assert 'not the image that was made' in warning, warning
        with open(path, 'rb') as moved, open(folder / 'behind', 'w+b') as behind:
            behind.write(b'something else' + moved.read())
            behind.seek(14)
            said = subprocess.run([TOOL, 'image', 'measure', '-'], stdin=behind, capture_output=True, text=True)
            assert said.returncode == 0 and 'not the image that was made' in said.stdout, said
        said = run('sign', path, *signer, '-o', folder / 'signed.eif', expect=1)
        assert b'not the image that was made' in said.stderr and not (folder / 'signed.eif').exists(), said
    said = run('sign', image.eif, *signer, '-o', image.eif, expect=2)
    assert b'is the image itself' in said.stderr
    run('sign', image.eif, *signer, '-o', folder / 'signed.eif')


def test_warning(folder):
    path = folder / 'a.eif'
    path.write_bytes(eif.build(sample(ramdisks=(b'07070', b'0707'))))
    (warning,) = run_json('measure', path)['warnings']
    assert 'multiple of 4' in warning
    assert b'WARNING' in run('measure', path).stdout


def test_constant_memory(folder):
    """A quarter of a gigabyte through 64 MiB of memory, stacks and all; the file is sparse."""
    (folder / 'k').write_bytes(b'K')
    with open(folder / 'r', 'wb') as file:
        file.write(b'0707')
        file.truncate(256 << 20)
    out = folder / 'large.eif'
    for arguments in (['assemble', '--kernel', folder / 'k', '--cmdline', 'x', '--ramdisk',
                       folder / 'r', '-o', out], ['measure', out], ['inspect', out]):
        subprocess.run([TOOL, 'image', *map(str, arguments)], stdout=subprocess.DEVNULL, check=True,
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA,
                                                             (64 << 20, 64 << 20)))


def main():
    tests = {name: function for name, function in globals().items() if name.startswith('test_')}
    if b'__asan_init' in pathlib.Path(TOOL).read_bytes():
        del tests['test_constant_memory']  # the sanitizer reserves more than that for itself
        print('left out under AddressSanitizer: test_constant_memory')
    for name, function in tests.items():
        with tempfile.TemporaryDirectory() as folder:
            function(pathlib.Path(folder))
        print(f'ok {name}', flush=True)
    print(f'{len(tests)} passed, 0 failed')


main()
