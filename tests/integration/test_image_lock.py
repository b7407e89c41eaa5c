#!/usr/bin/env python3
"""tee-compile image lock, with the machine's own mirror of Debian and with a mirror on
the loopback that hands its files on, or changes them.

usage: test_image_lock.py TEE_COMPILE RECIPE

Exit status 77, a skip, where apt names no mirror of Debian. What a hostile mirror can
do is tested with real signatures: the files are Debian's, changed on their way."""
import hashlib
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import signals_case  # noqa: F401

TOOL = os.path.abspath(sys.argv[1])
RECIPE = pathlib.Path(sys.argv[2]).resolve()
NOBODY = 65534
DROP = object()
LINE = re.compile(r'\{"name":"([^"]+)","version":"([^"]+)","architecture":"(amd64|all)",'
                  r'"sha256":"([0-9a-f]{64})","size":([0-9]+),"archive":"(debian|debian-security)",'
                  r'"path":"(pool/[^"]+\.deb)"\},?')


def machine_mirror():
    """The URL of .../debian in /etc/apt, by a reading of our own."""
    apt = pathlib.Path('/etc/apt')
    for path in [apt / 'sources.list', *sorted((apt / 'sources.list.d').glob('*'))]:
        if path.suffix not in ('.list', '.sources') or not path.is_file():
            continue
        for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
            if line.lstrip().startswith('#'):
                continue
            match = re.search(r'(https?://\S+/debian)/?(\s|$)', line)
            if match:
                return match[1]
    return None


class Mirror(http.server.ThreadingHTTPServer):
    """Hands on what the machine's mirror has; change(path, bytes) may answer other
    bytes, None for 404, DROP for the end of the connection, or wait."""
    daemon_threads = True

    def __init__(self, upstream):
        super().__init__(('127.0.0.1', 0), Handler)
        self.upstream = upstream.removesuffix('/debian')
        self.cache = {}
        self.change = lambda path, data: data
        self.asked = threading.Event()
        self.url = f'http://127.0.0.1:{self.server_port}/debian'
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def fetch(self, path):
        if path not in self.cache:
            try:
                with urllib.request.urlopen(self.upstream + path, timeout=60) as answer:
                    self.cache[path] = answer.read()
            except urllib.error.HTTPError:
                self.cache[path] = None
        return self.cache[path]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.set()
        data = self.server.change(self.path, self.server.fetch(self.path))
        if data is DROP:
            self.close_connection = True
            return
        self.send_response(404 if data is None else 200)
        self.send_header('Content-Length', str(len(data or b'')))
        self.end_headers()
        try:
            self.wfile.write(data or b'')
        except ConnectionError:
            pass  # a refusal ends the other side

    def log_message(self, *args):
        pass


def lock(*args, expect=0, env=None, user=None, tool=TOOL):
    result = subprocess.run([tool, 'image', 'lock', *map(str, args)], capture_output=True, text=True,
                            timeout=300, env=env, user=user, group=user,
                            extra_groups=None if user is None else [])
    assert result.returncode == expect, (
        f'{args}: exit {result.returncode}, expected {expect}\n{result.stdout}\n{result.stderr}')
    return result


def leftovers():
    return set(pathlib.Path(tempfile.gettempdir()).glob('tee-compile-lock.*'))


def check_text(path):
    """Every line is as the format says; (name: (version, sha256, size, path))."""
    lines = path.read_text().split('\n')
    assert re.fullmatch(r'\{"lock":1,"suite":"trixie","architecture":"amd64",'
                        r'"snapshot":"[0-9]{8}T[0-9]{6}Z","packages":\[', lines[0]), lines[0]
    assert lines[-2:] == [']}', ''], lines[-2:]
    packages = {}
    for line in lines[1:-2]:
        match = LINE.fullmatch(line)
        assert match, line
        packages[match[1]] = (match[2], match[4], int(match[5]), match[7])
    assert list(packages) == sorted(packages)
    assert json.loads('\n'.join(lines))['packages'][0]['name'] == next(iter(packages))
    return packages


def test_lock(folder, mirror):
    seen = json.loads(lock(folder, '--json').stdout)
    packages = check_text(folder / 'lock.json')
    assert seen['verdict'] == 'locked' and seen['changed'] and seen['checks'] == [], seen
    assert seen['packages'] == len(packages) and seen['bytes'] == sum(p[2] for p in packages.values())
    # Asked for, essential, and only depended on.
    assert {'bash', 'ca-certificates', 'dpkg', 'libc6', 'openssl'} <= packages.keys()
    # Bytes and digests are those of the files.
    for name in ('base-passwd', 'sed'):
        data = mirror.fetch('/debian/' + packages[name][3])
        assert (hashlib.sha256(data).hexdigest(), len(data)) == packages[name][1:3], name
    # The same packages again: the lock stays, with its moment.
    before = (folder / 'lock.json').read_bytes()
    assert not json.loads(lock(folder, '--json').stdout)['changed']
    assert (folder / 'lock.json').read_bytes() == before
    return packages


def test_changes(folder, mirror, packages):
    """Another lock is replaced and the difference told; through another mirror the
    same packages come out."""
    path = folder / 'lock.json'
    good = path.read_text()
    version = packages['bash'][0]
    path.write_text(good.replace(f'"bash","version":"{version}"', '"bash","version":"0.1"'))
    told = lock(folder, '--mirror', mirror.url).stdout
    assert f'~ bash 0.1 -> {version}' in told, told
    assert check_text(path) == packages
    # An older version than the lock has is refused, also when the recipe was changed
    # since; without the lock it is not.
    newer = good.replace(f'"bash","version":"{version}"', f'"bash","version":"{version}.1"')
    write_recipe(folder, packages=[*json.loads((RECIPE / 'recipe.json').read_text())['packages'], 'patch'])
    path.write_text(newer)
    told = lock(folder, '--mirror', mirror.url, expect=2).stderr
    assert (f'expected bash {version}.1, which is locked, or newer; seen is {version}:' in told
            and 'delete lock.json' in told), told
    assert path.read_text() == newer
    shutil.copy(RECIPE / 'recipe.json', folder)
    path.write_text('{}')
    user, tool = None, TOOL
    if os.geteuid() == 0:
        # An ordinary user locks as well, where he can write. He may not reach the tool.
        user, tool = NOBODY, shutil.copy(TOOL, folder.parent / 'tool')
        for place in (folder, path):
            os.chown(place, user, user)
        folder.parent.chmod(0o711)
    lock(folder, '--mirror', mirror.url, '--no-security', user=user, tool=tool)
    assert check_text(path).keys() == packages.keys()


def refuse(folder, mirror, change, *words, args=()):
    """It ends with 2, says why, and the old lock is as it was."""
    mirror.change = change
    before = (folder / 'lock.json').read_bytes()
    told = lock(folder, '--mirror', mirror.url, *args, expect=2)
    mirror.change = lambda path, data: data
    assert any(word in told.stderr for word in words), told.stderr
    assert told.stdout == '' and (folder / 'lock.json').read_bytes() == before


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def test_hostile_mirrors(folder, mirror):
    def altered_release(path, data):
        return flip(data, data.index(b'Date:') + 12) if path.endswith('/trixie/InRelease') else data

    def unsigned(path, data):
        if not path.endswith('Release') or data is None:
            return data if not path.endswith('.gpg') else None
        if path.endswith('InRelease'):
            return None
        return data

    def altered_index(path, data):
        return flip(data, len(data) // 2) if data and '/trixie/main/binary-amd64/' in path else data

    def replaced_index(path, data):
        return b'Package: evil\n' if '/trixie/main/binary-amd64/' in path else data

    def no_security(path, data):
        return None if path.startswith('/debian-security/') else data

    def lost_index(path, data):
        return None if 'security' in path and 'Release' not in path else data

    def dropped_index(path, data):
        # By default a warning for apt, which then goes on without it.
        return DROP if 'security' in path and 'Release' not in path else data

    def nothing(path, data):
        return None

    def foreign(path, data):
        # All of another suite, with its real signatures.
        return mirror.fetch(path.replace('/dists/trixie', '/dists/bookworm')) if '/dists/trixie' in path else data

    def withheld(path, data):
        # Security updates are kept back behind another real signature.
        before, found, after = path.partition('/dists/trixie-security/')
        return mirror.fetch('/debian/dists/trixie-updates/' + after) if found else data

    refuse(folder, mirror, altered_release, 'not signed', 'invalid', 'NODATA', 'BADSIG')
    refuse(folder, mirror, unsigned, 'not signed')
    refuse(folder, mirror, altered_index, 'Hash Sum mismatch', 'unexpected size')
    refuse(folder, mirror, replaced_index, 'Hash Sum mismatch', 'unexpected size')
    refuse(folder, mirror, no_security, 'does not have a Release file')
    refuse(folder, mirror, lost_index, '404')
    refuse(folder, mirror, dropped_index, 'trixie-security')
    refuse(folder, mirror, nothing, 'does not have a Release file')
    refuse(folder, mirror, foreign, 'calls itself "bookworm')
    refuse(folder, mirror, withheld, 'the suite trixie-security calls itself "trixie-updates"')


def test_warning(folder, mirror):
    """Whatever apt warns of while it fetches ends it."""
    place = folder.parent / 'bin'
    place.mkdir()
    (place / 'apt-get').write_text(
        f'#!/bin/sh\n{shutil.which("apt-get")} "$@" || exit\necho "W: something is odd" >&2\n')
    (place / 'apt-get').chmod(0o755)
    before = (folder / 'lock.json').read_bytes()
    told = lock(folder, '--mirror', mirror.url, expect=2,
                env={**os.environ, 'PATH': f'{place}:{os.environ["PATH"]}'})
    assert 'without a warning: something is odd' in told.stderr, told.stderr
    assert (folder / 'lock.json').read_bytes() == before


def test_interrupt(folder, mirror):
    """A mirror that never answers, and a user who gives up: nothing stays."""
    before, hold = leftovers(), threading.Event()

    def stall(path, data):
        hold.wait(60)
        return data

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        mirror.change = stall
        mirror.asked.clear()
        with subprocess.Popen([TOOL, 'image', 'lock', folder, '--mirror', mirror.url],
                              stderr=subprocess.PIPE, text=True) as child:
            assert mirror.asked.wait(60)
            group = descendants(child.pid)
            assert len(group) >= 3, f'no apt runs: {group}'
            child.send_signal(number)
            told = child.communicate(timeout=60)[1]
        if number != signal.SIGKILL:
            assert child.returncode == 2 and 'interrupted' in told, (child.returncode, told)
        for pid in group:
            deadline = time.monotonic() + 60
            while is_running(pid):
                assert time.monotonic() < deadline, f'{pid} still runs'
                time.sleep(0.01)
        assert leftovers() == before, leftovers()
    hold.set()
    mirror.change = lambda path, data: data


def descendants(pid):
    """Its children first: the keeper, then apt, then what fetches for it."""
    children = [int(word) for word in pathlib.Path(
        f'/proc/{pid}/task/{pid}/children').read_text().split()]
    return children + [one for child in children for one in descendants(child)]


def is_running(pid):
    try:
        return pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_dates(folder, mirror):
    """Followed as the machine has them, and said when they are off."""
    write_recipe(folder, packages=['no-such-package-anywhere'])
    said = 'does not check how old an index is'
    for off, on in ((), ('Valid-Until', 'Date')), (('Valid-Until',), ('Date',)), (('Date',), ('Valid-Until',)):
        config = folder.parent / 'apt.conf'
        config.write_text('Dir::Etc::parts "/dev/null";\nDir::Etc::main "/dev/null";\n' + ''.join(
            f'Acquire::Check-{name} "{value}";\n' for value, names in (('false', off), ('true', on))
            for name in names))
        result = subprocess.run([TOOL, 'image', 'lock', folder, '--mirror', mirror.url], capture_output=True,
                                text=True, timeout=300, env={**os.environ, 'APT_CONFIG': str(config)})
        assert result.returncode == 2, result
        assert (said in result.stderr) == bool(off), (off, result.stderr)


def write_recipe(folder, **changes):
    recipe = json.loads((RECIPE / 'recipe.json').read_text())
    recipe.update(changes)
    (folder / 'recipe.json').write_text(json.dumps(recipe))


def test_faults(folder, mirror):
    def no(*args, word, **more):
        told = lock(*args, expect=2, **more)
        assert word in told.stderr, told.stderr

    no(word='expected one recipe')
    no(folder, folder, word='expected one recipe')
    no(folder, '--mirrors', 'x', word='--mirrors')
    no(folder / 'none', word='expected a recipe\'s folder')
    no(folder, '--mirror', 'ftp://127.0.0.1/debian', word='no URL of http, https or file')
    no(folder, '--mirror', f'{mirror.url} x', word='no URL')
    with tempfile.TemporaryDirectory() as empty:
        no(folder, word='apt-config is missing', env={'PATH': empty, 'HOME': empty})
        no(empty, word='recipe.json')
    write_recipe(folder, packages=['no-such-package-anywhere'])
    no(folder, '--mirror', mirror.url, word='no-such-package-anywhere')
    write_recipe(folder, packages=['mail-transport-agent'])
    no(folder, '--mirror', mirror.url, word='mail-transport-agent')
    write_recipe(folder, suite='nosuchsuite')
    no(folder, '--mirror', mirror.url, word='does not have a Release file')
    write_recipe(folder, script='../../etc/passwd')
    no(folder, word='script')
    failure = json.loads(lock(folder, '--json', expect=2).stdout)
    assert failure['verdict'] == 'undecided', failure


def main():
    upstream = machine_mirror()
    if upstream is None or shutil.which('apt-get') is None:
        print('SKIP: apt, or a mirror of Debian in /etc/apt, is missing')
        return 77
    os.environ['no_proxy'] = '127.0.0.1'
    with tempfile.TemporaryDirectory() as place:
        # Not the machine's: others may lock at the same time.
        tempfile.tempdir = os.environ['TMPDIR'] = f'{place}/tmp'
        os.mkdir(tempfile.tempdir)
        for path, mode in ((place, 0o755), (tempfile.tempdir, 0o1777)):
            os.chmod(path, mode)
        folder = pathlib.Path(place) / 'recipe'
        shutil.copytree(RECIPE, folder)
        mirror = Mirror(upstream)
        packages = test_lock(folder, mirror)
        test_changes(folder, mirror, packages)
        test_hostile_mirrors(folder, mirror)
        test_warning(folder, mirror)
        test_interrupt(folder, mirror)
        test_dates(folder, mirror)
        test_faults(folder, mirror)
        assert not leftovers(), leftovers()
    print(f'{len(packages)} packages')
    return 0


if __name__ == '__main__':
    sys.exit(main())
