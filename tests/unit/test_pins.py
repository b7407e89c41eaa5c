#!/usr/bin/env python3
"""test_pins.py PINS_LAB: lock files, Go modules and lists of refs against other readers.

Whatever PINS_LAB reads, Python's TOML, JSON and zip readers, and pip's, read alike or refuse:
over samples, and over a hundred changed copies of each. Then what git, cargo, npm and go
themselves write, without a network; a tool that is not there is named and left out.
"""
import base64
import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
from pathlib import Path

LAB = sys.argv[1]
CHANGES = 100
failures = []
checks = 0


def check(good, what):
    global checks
    checks += 1
    if not good:
        failures.append(what)
        print(f'FAILED: {what}', file=sys.stderr)


def lab(*args, data=b''):
    """Its answer, or None when that is no."""
    run = subprocess.run([LAB, *args], input=data, capture_output=True)
    if run.returncode not in (0, 1):
        raise SystemExit(f'pins_lab {args}: status {run.returncode}: {run.stderr[-2000:]!r}')
    return None if run.returncode else run.stdout


def pins(path, data):
    answer = lab('pins', path, data=data)
    return None if answer is None else {tuple(line.split()) for line in answer.decode().splitlines()}


def changed(data, chance):
    """A copy with one to three small changes."""
    copy = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(copy))
        kind = chance.randrange(5)
        if kind == 0:
            copy[at] = chance.choice(b' \t\n\r"\\[]{}=#,:-\'x0')
        elif kind == 1:
            copy[at] ^= 1 << chance.randrange(8)
        elif kind == 2:
            del copy[at:at + chance.randint(1, 40)]
        elif kind == 3:
            start = chance.randrange(len(copy))
            copy[at:at] = copy[start:start + chance.randint(1, 80)]
        else:
            copy.insert(at, chance.choice(b' \t\n\r"\\[]{}=#,:-\'x0'))
        if not copy:
            return b'\n'
    return bytes(copy)


def compare(what, path, samples, oracle):
    """oracle(data): what another reader says, or None when it refuses."""
    chance = random.Random(what)
    read = 0
    for number, sample in enumerate(samples):
        check(pins(path, sample) == oracle(sample) != None, f'{what}: sample {number}')
        for _ in range(CHANGES):
            copy = changed(sample, chance)
            ours = pins(path, copy)
            if ours is None:
                continue
            theirs = oracle(copy)
            read += theirs is not None
            check(theirs is None or ours == theirs, f'{what}: {copy!r}: {ours} and {theirs}')
    check(read > 0, f'{what}: no changed copy was read')
    print(f'{what}: {read} of {len(samples) * CHANGES} changed copies were read by both')


# --- Cargo.lock


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def cargo_oracle(data):
    import tomllib
    try:
        lock = tomllib.loads(data.decode('utf-8'))
        packages = lock.get('package', [])
        if not isinstance(packages, list):
            packages = []
        sums = [p['checksum'] for p in packages if 'checksum' in p]
        metadata = lock.get('metadata', {})
        if isinstance(metadata, dict):
            sums += [v for k, v in metadata.items() if k.startswith('checksum ') and v != '<none>']
        return {('sha256', bytes.fromhex(s).hex()) for s in sums if len(bytes.fromhex(s)) == 32}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValueError, TypeError):
        return None


def cargo_samples():
    new = 'version = 4\n\n' + '\n'.join(
        f'[[package]]\nname = "{n}"\nversion = "1.0.{len(n)}"\n'
        f'source = "registry+https://registry.example.org/index"\nchecksum = "{sha(n)}"\n'
        f'dependencies = [\n "x",\n "{n} 1.0.0 (registry+https://registry.example.org/index)",\n]\n'
        for n in ('a', 'bb', 'c-c_c'))
    old = ('[[package]]\nname = "a"\nversion = "0.1.0"\n\n[metadata]\n' + ''.join(
        f'"checksum {n} 1.0.0 (registry+https://x)" = "{sha(n)}"\n' for n in ('a', 'b')) +
        '"checksum g 1.0.0 (git+https://x)" = "<none>"\n')
    return [new.encode(), old.encode(), new.replace('\n', '\r\n').encode()]


# --- package-lock.json


def npm_oracle(data):
    def pairs(items):
        if len({k for k, _ in items}) != len(items):
            raise ValueError('a key twice')
        return dict(items)

    found = set()

    def integrity(package):
        words = [w.split('?')[0].partition('-') for w in package.get('integrity', '').split()]
        for name in ('sha512', 'sha384', 'sha256', 'sha1'):
            mine = [w[2] for w in words if w[0] == name and w[1]]
            if mine and name != 'sha384':
                found.update((name, base64.b64decode(m, validate=True).hex()) for m in mine)
            if mine:
                return

    def dependencies(parent):
        for dependency in parent.get('dependencies', {}).values():
            integrity(dependency)
            dependencies(dependency)

    try:
        lock = json.loads(data.decode('utf-8'), object_pairs_hook=pairs)
        for package in lock.get('packages', {}).values():
            integrity(package)
        dependencies(lock)
        return found
    except (ValueError, AttributeError, TypeError):
        return None


def sri(name, text):
    return f'{name}-' + base64.b64encode(hashlib.new(name, text.encode()).digest()).decode()


def npm_samples():
    packages = {'': {'name': 'x', 'dependencies': {'a': '^1.0.0'}},
                'node_modules/a': {'version': '1.0.0', 'integrity': sri('sha512', 'a')},
                'node_modules/b': {'version': '1.0.0', 'integrity': sri('sha1', 'b')},
                'node_modules/l': {'resolved': 'l', 'link': True}}
    tree = {'a': {'version': '1.0.0', 'integrity': sri('sha512', 'a'), 'dependencies': {
        'c': {'version': '2.0.0', 'requires': {'d': '1'},
              'integrity': f'{sri("sha1", "c")} {sri("sha256", "c")}?opt {sri("sha256", "d")}'}}}}
    return [json.dumps({'lockfileVersion': version, **parts}, indent=2).encode() for version, parts in (
        (1, {'dependencies': tree}), (2, {'packages': packages, 'dependencies': tree}),
        (3, {'packages': packages}))]


# --- requirements.txt, by pip's own reader


def pip_oracle(data):
    from pip._internal.req.req_file import parse_requirements
    from pip._internal.exceptions import RequirementsFileParseError, InstallationError
    from pip._internal.network.session import PipSession
    # Its option parser prints how it is used.
    with tempfile.NamedTemporaryFile(suffix='.txt') as file, contextlib.redirect_stderr(io.StringIO()):
        file.write(data)
        file.flush()
        found = set()
        try:
            if b'\0' in data:
                return None
            for line in parse_requirements(file.name, session=PipSession()):
                for name, values in ((line.options or {}).get('hashes') or {}).items():
                    if name == 'sha384':
                        continue
                    for value in values:
                        size = {'sha256': 32, 'sha512': 64}[name]
                        found.add((name, bytes.fromhex(value).hex()))
                        if len(value) != 2 * size:
                            return None
            return found
        except (RequirementsFileParseError, InstallationError, ValueError, KeyError, OSError):
            return None


def pip_samples():
    return [(f'--index-url https://x\na==1.0 ; python_version < "9" \\\n'
             f'    --hash=sha256:{sha("a")} \\\n    --hash=sha512:{sha("a") + sha("b")} # why\n'
             f'# b==1 --hash=sha256:{sha("b")}\nc==1 --hash=sha256:{sha("c")}\nd>=2\n').encode()]


# --- the zip of a Go module


def h1(files):
    text = ''.join(f'{hashlib.sha256(data).hexdigest()}  {name}\n' for name, data in sorted(files))
    return hashlib.sha256(text.encode()).hexdigest()


def zip_oracle(data):
    """The h1 digest by the directory, as go has it; None: it cannot be read."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [info.filename for info in archive.infolist()]
            if len(set(names)) != len(names):
                return None
            return h1([(info.filename, archive.read(info)) for info in archive.infolist()])
    except Exception:  # it has dozens of its own
        return None


class Unseekable(io.RawIOBase):
    def __init__(self):
        super().__init__()
        self.data = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.data += bytes(data)
        return len(data)


def make_zip(files, method=zipfile.ZIP_DEFLATED, streamed=False, comment=b''):
    out = Unseekable() if streamed else io.BytesIO()
    with zipfile.ZipFile(out, 'w', method) as archive:
        for name, data in files:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            archive.writestr(info, data)
        archive.comment = comment
    return bytes(out.data) if streamed else out.getvalue()


def zip_digest(data, piece=65536):
    answer = lab('zip', str(piece), data=data)
    return None if answer is None else answer.decode().strip()


def test_zip():
    noise = random.Random(1).randbytes(100000)
    files = [('m@v1.0.0/b.go', b'package m\n' * 5000), ('m@v1.0.0/a.go', noise),
             ('m@v1.0.0/empty', b''), ('m@v1.0.0/\u00e9', b'x'), ('m@v1.0.0/B.go', noise[:70000] * 2)]
    stored = zipfile.ZIP_STORED
    for number, (data, expected) in enumerate((
            (make_zip(files, streamed=True), h1(files)), (make_zip(files), h1(files)),
            (make_zip(files, stored), h1(files)), (make_zip([]), h1([])),
            (make_zip([('m/', b''), ('m/a', b'x')], stored), h1([('m/', b''), ('m/a', b'x')])))):
        for piece in (1, 7, 4096, len(data)):
            check(zip_digest(data, piece) == expected, f'zip {number} in pieces of {piece}')
    small = files[:1] + [('m@v1.0.0/a.go', noise[:300]), ('m@v1.0.0/empty', b'')]
    chance, same, refused = random.Random('zip'), 0, 0
    for sample in (make_zip(small, streamed=True), make_zip(small), make_zip(small, stored)):
        for cut in range(0, len(sample), 11):
            check(zip_digest(sample[:cut]) is None, f'a zip of {cut} bytes')
        for _ in range(CHANGES):
            copy = changed(sample, chance)
            ours = zip_digest(copy)
            refused += ours is None
            same += ours is not None
            check(ours is None or ours == zip_oracle(copy), f'a changed zip: {copy!r}')
    check(same > 0 and refused > 0, f'changed zips: {same} read, {refused} refused')
    print(f'zip: {same} changed copies were read alike, {refused} were refused')
    test_zip_attacks(files)


def test_zip_attacks(files):
    plain = make_zip(files)
    hidden = make_zip([('m@v1.0.0/evil.go', b'evil')], zipfile.ZIP_STORED)
    evil = hidden[:hidden.index(b'PK\1\2')]
    directory = plain.index(b'PK\1\2')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        twice = make_zip(files + files[:1])

    def moved(by, more=0):
        """plain's directory, when `by` bytes have come to stand in front of it, and as if
        it had so many entries more."""
        out = bytearray(plain[directory:])
        out[-6:-2] = (directory + by).to_bytes(4, 'little')
        out[-14] += more
        out[-12] += more
        return bytes(out)

    for what, data in {
            'a file that the directory lacks': plain[:directory] + evil + moved(len(evil)),
            'a file that the directory only counts': plain[:directory] + evil + moved(len(evil), 1),
            'a gap': plain[:directory] + b'\0' * 9 + moved(9),
            'bytes in front': b'#!/bin/sh\n' + plain,
            'a zip in front': hidden + plain,
            'bytes behind': plain + b'\0',
            'a comment': make_zip(files, comment=b'x'),
            'a comment that is not there': plain[:-2] + b'\1\0',
            'a name twice': twice,
            'another offset in the directory': plain[:directory + 42] + b'\1' + plain[directory + 43:],
            'other names in the directory':
                plain[:directory] + plain[directory:].replace(b'a.go', b'c.go'),
            'other names in front': plain[:directory].replace(b'a.go', b'c.go') + plain[directory:],
            'a line feed in a name': make_zip([('a\nb', b'')]),
            'no zip': b'<html>', 'nothing': b'',
    }.items():
        check(zip_digest(data) is None, f'a zip with {what}')
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            with archive.open('m/bomb', 'w') as member:
                for _ in range(510):
                    member.write(bytes(1 << 20))
        file.seek(0)
        run = subprocess.run([LAB, 'zip', '65536'], stdin=file, capture_output=True)
        check(run.returncode == 1 and b'larger than 500 MiB' in run.stderr, f'a bomb: {run.stderr!r}')


# --- what the tools write themselves


def run(*args, cwd=None, **env):
    # The tools' own settings of the machine would decide what they write.
    clean = {k: v for k, v in os.environ.items()
             if not k.upper().startswith(('GIT_', 'CARGO_', 'NPM_', 'GO', 'PIP_'))}
    result = subprocess.run(args, cwd=cwd, capture_output=True, env={**clean, **env})
    if result.returncode:
        raise SystemExit(f'{args}: status {result.returncode}: {result.stderr.decode()[-2000:]}')
    return result.stdout


def git_answer(root, protocol=None):
    env = {'GIT_PROJECT_ROOT': str(root), 'GIT_HTTP_EXPORT_ALL': '1', 'PATH_INFO': '/repo/.git/info/refs',
           'QUERY_STRING': 'service=git-upload-pack', 'REQUEST_METHOD': 'GET', 'PATH': os.environ['PATH'],
           'HOME': str(root), 'GIT_CONFIG_NOSYSTEM': '1'}
    if protocol:
        env['GIT_PROTOCOL'] = protocol
    result = subprocess.run(['git', 'http-backend'], env=env, capture_output=True)
    return result.stdout.partition(b'\r\n\r\n')[2]


def test_git(folder):
    repo = folder / 'repo'
    who = {'GIT_AUTHOR_NAME': 'a', 'GIT_AUTHOR_EMAIL': 'a@example.org', 'GIT_COMMITTER_NAME': 'a',
           'GIT_COMMITTER_EMAIL': 'a@example.org', 'HOME': str(folder), 'GIT_CONFIG_NOSYSTEM': '1'}

    def git(*args):
        return run('git', '-C', str(repo), *args, **who).decode().strip()

    run('git', 'init', '-q', '-b', 'main', str(repo), **who)
    for number in range(3):
        git('commit', '-q', '--allow-empty', '-m', str(number))
        git('tag', f'light-{number}')
        git('tag', '-a', '-m', 'x', f'v{number}')
    git('tag', '-a', '-m', 'x', 'of-a-tag', 'v1')
    git('branch', 'side/branch', 'HEAD~1')
    refs = git('for-each-ref', '--format=%(refname)').splitlines()
    for protocol in (None, 'version=1'):
        body = git_answer(folder, protocol)
        for ref in refs:
            commit, own = git('rev-parse', f'{ref}^{{commit}}'), git('rev-parse', ref)
            expected = commit if commit == own else f'{commit} {own}'
            answer = lab('refs', ref, data=body)
            check(answer and answer.decode().strip() == expected, f'{protocol}: {ref}: {answer}')
        check(lab('refs', 'refs/heads/none', data=body) is None, 'a ref that is not there')
    check(lab('refs', refs[0], data=git_answer(folder, 'version=2')) is None, 'version 2')
    check(len(refs) == 9, f'{len(refs)} refs')


def test_cargo(folder):
    """A registry on the disk; cargo writes the lock and takes the crates by it."""
    registry, project = folder / 'registry', folder / 'project'
    (registry / 'index/le/af').mkdir(parents=True)
    (project / 'src').mkdir(parents=True)
    crate = registry / 'leaf-1.0.0.crate'
    with tarfile.open(crate, 'w:gz') as tar:
        for name, data in (('Cargo.toml', b'[package]\nname = "leaf"\nversion = "1.0.0"\n'), ('src/lib.rs', b'')):
            info = tarfile.TarInfo(f'leaf-1.0.0/{name}')
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    digest = hashlib.sha256(crate.read_bytes()).hexdigest()
    (registry / 'index/le/af/leaf').write_text(json.dumps({
        'name': 'leaf', 'vers': '1.0.0', 'deps': [], 'cksum': digest, 'features': {}, 'yanked': False}))
    (project / 'src/lib.rs').write_text('')
    (project / 'Cargo.toml').write_text('[package]\nname = "p"\nversion = "0.1.0"\n'
                                        '[dependencies]\nleaf = "1"\n')
    (project / '.cargo').mkdir()
    (project / '.cargo/config.toml').write_text(
        f'[source.crates-io]\nreplace-with = "disk"\n[source.disk]\nlocal-registry = "{registry}"\n')
    home = {'CARGO_HOME': str(folder / 'home')}
    run('cargo', 'generate-lockfile', '--offline', cwd=project, **home)
    run('cargo', 'fetch', '--locked', '--offline', cwd=project, **home)
    check(pins('Cargo.lock', (project / 'Cargo.lock').read_bytes()) == {('sha256', digest)}, 'cargo')


def test_npm(folder):
    package, project = folder / 'leaf', folder / 'project'
    package.mkdir()
    project.mkdir()
    (package / 'package.json').write_text('{"name":"leaf","version":"1.0.0"}')
    (project / 'package.json').write_text('{"name":"p","version":"1.0.0"}')
    home = {'HOME': str(folder), 'npm_config_cache': str(folder / 'cache')}
    run('npm', 'pack', '--offline', '--pack-destination', str(project), cwd=package, **home)
    digest = hashlib.sha512((project / 'leaf-1.0.0.tgz').read_bytes()).hexdigest()
    for version in ('1', '2', '3'):
        run('npm', 'install', '--offline', '--no-audit', '--package-lock-only', '--lockfile-version', version,
            './leaf-1.0.0.tgz', cwd=project, **home)
        lock = project / 'package-lock.json'
        check(pins('package-lock.json', lock.read_bytes()) == {('sha512', digest)}, f'npm, version {version}')
        lock.unlink()


def test_go(folder):
    proxy, project = folder / 'proxy/example.org/leaf/@v', folder / 'project'
    proxy.mkdir(parents=True)
    project.mkdir()
    mod = b'module example.org/leaf\n\ngo 1.16\n'
    (proxy / 'list').write_text('v1.0.0\n')
    (proxy / 'v1.0.0.info').write_text('{"Version":"v1.0.0","Time":"2020-01-01T00:00:00Z"}')
    (proxy / 'v1.0.0.mod').write_bytes(mod)
    data = make_zip([('example.org/leaf@v1.0.0/leaf.go', b'package leaf\n'),
                     ('example.org/leaf@v1.0.0/go.mod', mod)], streamed=True)
    (proxy / 'v1.0.0.zip').write_bytes(data)
    (project / 'go.mod').write_text('module example.org/p\n\ngo 1.16\n\nrequire example.org/leaf v1.0.0\n')
    (project / 'p.go').write_text('package p\n\nimport _ "example.org/leaf"\n')
    env = {'GOPROXY': f'file://{folder}/proxy', 'GOSUMDB': 'off', 'GOFLAGS': '-mod=mod -modcacherw',
           'GOPATH': str(folder / 'path'), 'GOCACHE': str(folder / 'cache'), 'HOME': str(folder),
           'GOTOOLCHAIN': 'local', 'GOENV': 'off', 'XDG_CONFIG_HOME': str(folder / 'config')}
    # Else it leaves a process behind that writes there while the folder is removed.
    telemetry = folder / 'config/go/telemetry'
    telemetry.mkdir(parents=True)
    (telemetry / 'mode').write_text('off')
    run('go', 'mod', 'tidy', cwd=project, **env)
    check(sorted(path.name for path in telemetry.iterdir()) == ['mode'], 'go: telemetry')
    found = pins('go.sum', (project / 'go.sum').read_bytes())
    check(found == {('gozip', zip_digest(data)), ('gomod', lab('gomod', '-', data=mod).decode().strip())},
          f'go: {found}')


def main():
    try:
        import tomllib
        del tomllib
        compare('Cargo.lock', 'Cargo.lock', cargo_samples(), cargo_oracle)
    except ImportError:
        print('left out: tomllib, which Python has from 3.11 on')
    compare('package-lock.json', 'package-lock.json', npm_samples(), npm_oracle)
    try:
        import pip._internal.req.req_file
        compare('requirements.txt', 'requirements.txt', pip_samples(), pip_oracle)
    except ImportError:
        print('left out: pip')
    test_zip()
    for name, test in (('git', test_git), ('cargo', test_cargo), ('npm', test_npm), ('go', test_go)):
        if not shutil.which(name):
            print(f'left out: {name}')
            continue
        with tempfile.TemporaryDirectory() as folder:
            test(Path(folder))
        print(f'{name}: compared')
    print(f'{checks} checks, {len(failures)} failures')
    sys.exit(1 if failures else 0)


main()
