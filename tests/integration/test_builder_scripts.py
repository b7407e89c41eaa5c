#!/usr/bin/env python3
"""What the builder's Python reads: lists of parts (sbom.py), links of a foreign root
(intree.py), indexes and layers of OCI archives (oci.py), locks (locked.py), hostile ones
too; and the scripts' own steps, in a sandbox where the slow programs are a few lines.

usage: test_builder_scripts.py IMAGES/BUILDER"""
import gzip
import hashlib
import io
import json
import os
import pathlib
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile

SCRIPTS = pathlib.Path(sys.argv[1]).resolve()
sys.dont_write_bytecode = True
sys.path.insert(0, str(SCRIPTS))
import oci  # noqa: E402
import sbom  # noqa: E402
from intree import inside  # noqa: E402

HEAD = 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n'
STATUS = '''Package: zeta
Status: install ok installed
Architecture: amd64
Source: zeta-source (1:2.0)
Version: 1:2.0+b1
Homepage: https://example.org/zeta
Description: last
 Status: deinstall ok not-installed

Package: alpha+
Status: install ok installed
Architecture: all
Version: 3~rc1

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1
'''


def equal(seen, expected, what):
    assert seen == expected, f'{what}: expected {expected!r}, saw {seen!r}'


def make_root(root):
    (root / 'var/lib/dpkg').mkdir(parents=True)
    (root / 'var/lib/dpkg/status').write_text(STATUS)
    (root / 'usr/share/doc/zeta').mkdir(parents=True)
    (root / 'usr/share/doc/zeta/copyright').write_text(
        HEAD + '\nFiles: *\nCopyright: somebody\nLicense: GPL-2+ or Artistic-2.0, and Expat\n'
        '\nFiles: a\nCopyright: x\nLicense: MIT\n a text\n\nLicense: Expat\n not of files\n')
    (root / 'usr/share/doc/alpha+').symlink_to('/etc/elsewhere')


def test_expressions():
    for text, expected in (
            ('GPL-2', 'GPL-2.0-only'), ('GPL-3+', 'GPL-3.0-or-later'), ('LGPL-2.1+', 'LGPL-2.1-or-later'),
            ('gpl-2.0+', 'GPL-2.0-or-later'), ('Expat or BSD-3-clause', 'MIT OR BSD-3-Clause'),
            ('A-1 and Expat', 'LicenseRef-p-A-1 AND MIT'), ('GPL-9', 'LicenseRef-p-GPL-9'),
            ('GPL-2+ or Expat, and ISC', '(GPL-2.0-or-later OR MIT) AND ISC'),
            ('GPL-2+ with OpenSSL exception', 'LicenseRef-p-GPL-2-or-later-with-OpenSSL-exception'),
            ('', None), ('a\x1bb', None), ('or', 'LicenseRef-p-or'), ('x' * 2000, None)):
        equal(sbom.expression(text, 'p', {}), expected, text)


def test_packages(folder):
    root = folder / 'root'
    make_root(root)
    digest = '0' * 64
    def refuse(digests, wanted, says):
        try:
            sbom.packages(str(root), digests, wanted)
        except SystemExit as error:
            assert says in str(error), error
            return
        raise AssertionError(f'{digests!r} was taken')

    refuse(f'zeta amd64 {digest}\n', set(), 'no digest is known of alpha+')
    refuse(f'zeta amd64 {digest}\nalpha+ all {digest}\nbeta all {digest}\n', set(), 'not installed in')
    refuse(f'zeta amd64 {digest}\nalpha+ amd64 {digest}\n', set(), 'not installed in')
    refuse(f'zeta all {digest}\n', {'zeta'}, 'no digest is known of zeta')
    refuse('', {'beta'}, 'not installed in')
    equal(len(sbom.packages(str(root), f'zeta amd64 {digest}\nbeta all {digest}\n', {'zeta'})), 1, 'some')
    found = sbom.packages(str(root), f'zeta amd64 {digest}\nalpha+ all {digest}\n', set())
    equal([package['name'] for package in found], ['alpha+', 'zeta'], 'names')
    alpha, zeta = found
    equal((zeta['version'], zeta['source'], zeta['source_version'], zeta['sha256']),
          ('1:2.0+b1', 'zeta-source', '1:2.0', digest), 'zeta')
    equal(zeta['licence'], '((GPL-2.0-or-later OR Artistic-2.0) AND MIT) AND LicenseRef-zeta-MIT', 'licence')
    equal(zeta['references'], {'LicenseRef-zeta-MIT': 'MIT'}, 'references')
    equal((alpha['licence'], alpha['sha256']), (None, digest), 'alpha')
    body = sbom.document('small', [('toolchain', found)])
    equal(body['packages'][2]['licenseDeclared'], 'NOASSERTION', 'alpha')
    equal(body['packages'][2]['externalRefs'][0]['referenceLocator'],
          'pkg:deb/debian/alpha%2B@3~rc1?arch=all', 'purl')
    names = [entry['SPDXID'] for entry in body['packages']] + ['SPDXRef-DOCUMENT']
    equal(len(names), len(set(names)), 'identifiers are unique')
    for relation in body['relationships']:
        assert relation['spdxElementId'] in names and relation['relatedSpdxElement'] in names, relation
    equal(body['creationInfo']['created'], '1980-01-01T00:00:00Z', 'time')
    equal(body, sbom.document('small', [('toolchain', found)]), 'again')
    assert body['documentNamespace'] != sbom.document('other', [('toolchain', found)])['documentNamespace']


def test_large_records(folder):
    """Of a root with many packages all are found; what is too large to be read is an error."""
    root, count = folder / 'root', 900
    make_root(root)
    status = root / 'var/lib/dpkg/status'
    status.write_text('\n'.join(
        f'Package: p{i}\nStatus: install ok installed\nArchitecture: all\nVersion: {i}\nConffiles:\n'
        + ' /etc/some-file 0123456789abcdef0123456789abcdef\n' * 200 for i in range(count)))
    assert status.stat().st_size > 8 << 20
    found = sbom.packages(str(root), '', set())
    equal(len({package['name'] for package in found}), count, 'packages')

    def refuse(path, size):
        with open(root / path, 'ab') as file:
            file.truncate(size)
        try:
            sbom.packages(str(root), '', set())
        except SystemExit as error:
            assert f'expected /{path} to have' in str(error) and str(size) in str(error), error
            return
        raise AssertionError(f'{path} of {size} bytes was taken')

    refuse('var/lib/dpkg/status', (64 << 20) + 1)
    (folder / 'lock.json').write_text('{"packages": []}')
    result = subprocess.run([sys.executable, '-B', SCRIPTS / 'locked.py', 'installed', folder / 'lock.json', root],
                            text=True, capture_output=True)
    assert result.returncode != 0 and 'expected /var/lib/dpkg/status to have' in result.stderr, result
    status.write_text(STATUS)
    refuse('usr/share/doc/zeta/copyright', (8 << 20) + 1)
    status.unlink()
    equal(sbom.packages(str(root), '', set()), [], 'a root without dpkg')


def test_links(folder):
    root = folder / 'root'
    (root / 'usr/bin').mkdir(parents=True)
    (root / 'usr/bin/bash').write_text('x')
    (root / 'bin').symlink_to('/usr/bin')
    (root / 'up').symlink_to('../../../../usr/bin/bash')
    (root / 'usr/bin/sh').symlink_to('/usr/bin/bash')
    (root / 'loop').symlink_to('loop')
    (root / 'out').symlink_to('/etc/passwd')
    real = str(root / 'usr/bin/bash')
    equal(inside(str(root), '/bin/bash'), real, 'an absolute link')
    equal(inside(str(root), '/usr/bin/sh'), real, 'an absolute link below')
    equal(inside(str(root), '/up'), real, 'a link beyond the root')
    for name in ('loop', 'out', 'nothing', 'bin'):
        equal(inside(str(root), name), None, name)


class Layout:
    def __init__(self, folder):
        self.folder = folder
        (folder / 'blobs/sha256').mkdir(parents=True)
        (folder / 'oci-layout').write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, value, kind, **more):
        data = json.dumps(value).encode()
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / 'blobs/sha256' / digest).write_bytes(data)
        return {'mediaType': f'application/vnd.oci.image.{kind}.v1+json', 'digest': 'sha256:' + digest,
                'size': len(data), **more}

    def layer(self, data):
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / 'blobs/sha256' / digest).write_bytes(data)
        return {'mediaType': 'application/vnd.oci.image.layer.v1.tar', 'digest': 'sha256:' + digest,
                'size': len(data)}

    def manifest(self, architecture='amd64', mark='', layers=(), **more):
        config = self.blob({'os': 'linux', 'architecture': architecture, 'mark': mark}, 'config')
        return self.blob({'schemaVersion': 2, 'config': config, 'layers': list(layers)}, 'manifest', **more)

    def index(self, *manifests):
        (self.folder / 'index.json').write_text(json.dumps({'schemaVersion': 2, 'manifests': manifests}))

    def choose(self, says=None):
        result = subprocess.run([sys.executable, '-B', SCRIPTS / 'oci.py', self.folder], text=True,
                                capture_output=True, timeout=60)
        equal(result.returncode == 0, says is None, f'verdict ({result.stderr})')
        assert says is None or says in result.stderr, result.stderr
        return json.loads((self.folder / 'index.json').read_text())['manifests']


def test_oci(folder):
    layout = Layout(folder)
    one = layout.manifest()
    layout.index(one)
    (chosen,) = layout.choose()
    equal((chosen['digest'], chosen['annotations']),
          (one['digest'], {'org.opencontainers.image.ref.name': 'image'}), 'the only one')
    arm = layout.manifest('arm64')
    named = layout.manifest(mark='x', platform={'os': 'linux', 'architecture': 'amd64'})
    layout.index(layout.blob({'schemaVersion': 2, 'manifests': [arm, named]}, 'index'))
    equal(layout.choose()[0]['digest'], named['digest'], 'in a nested index')
    layout.index(one, named)
    layout.choose(says='exactly one image for linux/amd64, saw 2')
    layout.index(arm)
    layout.choose(says='saw 0')
    for broken, says in (({**one, 'size': 1}, 'bytes, expected 1'),
                         ({**one, 'digest': 'sha256:' + 'a' * 64}, 'is not in the archive'),
                         ({**one, 'digest': 'sha256:../../../../etc/passwd'}, 'expected a digest'),
                         ({**one, 'digest': 5}, 'not of the expected form')):
        layout.index(broken)
        layout.choose(says=says)
    path = folder / 'blobs/sha256' / one['digest'][7:]
    data = path.read_bytes()
    path.write_bytes(data[:-2] + b' }')
    layout.index(one)
    layout.choose(says='another SHA-256' if len(data) == path.stat().st_size else 'bytes, expected')
    (folder / 'index.json').write_text('[]')
    layout_says = subprocess.run([sys.executable, '-B', SCRIPTS / 'oci.py', folder], capture_output=True, text=True)
    equal(layout_says.returncode != 0 and 'Traceback' not in layout_says.stderr, True, 'no object')
    (folder / 'oci-layout').unlink()
    layout_says = subprocess.run([sys.executable, '-B', SCRIPTS / 'oci.py', folder], capture_output=True, text=True)
    assert 'is it an OCI archive' in layout_says.stderr


def tar(*members, mode='w'):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=tarfile.PAX_FORMAT) as file:
        for name, kind, size in members:
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, size
            file.addfile(member, io.BytesIO(bytes(size)))
    return out.getvalue()


def test_layers(folder):
    layout = Layout(folder)

    def judge(*layers, says=None):
        layout.index(layout.manifest(layers=[layout.layer(data) for data in layers]))
        layout.choose(says=says)

    plain = tar(('etc', tarfile.DIRTYPE, 0), ('etc/x', tarfile.REGTYPE, 5), ('dev/null', tarfile.CHRTYPE, 0),
                ('./proc/x', tarfile.FIFOTYPE, 0))
    judge(plain, tar(('a', tarfile.REGTYPE, 5), mode='w:gz'))
    for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
        for name in ('odd', './etc/odd', '/odd', 'dev/../odd', 'devices/odd'):
            judge(plain, tar(('a', tarfile.REGTYPE, 5), (name, kind, 0)), says='holds a device')
    judge(tar(('odd', tarfile.BLKTYPE, 0), mode='w:gz'), says='holds a device')
    if shutil.which('zstd'):
        judge(subprocess.run(['zstd', '-qc'], input=tar(('odd', tarfile.BLKTYPE, 0)), stdout=subprocess.PIPE,
                             check=True).stdout, says='holds a device')
    judge(b'no tar' * 1000, says='cannot be read')
    judge(tar(('a', tarfile.REGTYPE, 5), mode='w:gz')[:40], says='cannot be read')
    sparse = tarfile.TarInfo('holes')
    sparse.pax_headers = {'GNU.sparse.major': '0', 'GNU.sparse.minor': '1', 'GNU.sparse.map': '0,0',
                          'GNU.sparse.size': str(65 << 30)}
    judge(sparse.tobuf(tarfile.PAX_FORMAT) + bytes(1024), says='come to more than')
    # gzip and zstd both have files of several members.
    def zstd(data):
        return subprocess.run(['zstd', '-qc'], input=data, stdout=subprocess.PIPE, check=True).stdout

    odd, large = (tar(('a', tarfile.REGTYPE, 5), ('odd', tarfile.CHRTYPE, 0)),
                  tar(('a', tarfile.REGTYPE, 5))[:1024] + sparse.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    fine, rest = tar(('a', tarfile.REGTYPE, 5)), tar(('odd', tarfile.CHRTYPE, 0))
    for pack in (gzip.compress, *([zstd] if shutil.which('zstd') else [])):
        judge(pack(fine[:1024]) + pack(fine[1024:]))
        judge(pack(odd[:1024]) + pack(odd[1024:]), says='holds a device')
        judge(pack(odd[:700]) + pack(b'') + pack(odd[700:]), says='holds a device')
        judge(pack(large[:1024]) + pack(large[1024:]), says='come to more than')
        judge(pack(fine) + pack(rest), says='behind the end of its tar archive')
        judge(pack(fine) + pack(bytes(20000)))
        # Its archive is whole, and it is not.
        judge(pack(fine) + pack(bytes(20000))[:-3], says='cannot be read')
        judge(pack(fine) + b'garbage', says='cannot be read')
    judge(fine + rest, says='behind the end of its tar archive')

    def bomb(data, says):
        (layout.folder / 'bomb').write_bytes(data)
        try:
            for _ in oci.members(layout.folder / 'bomb', 1 << 20):
                pass
        except SystemExit as error:
            assert says and says in str(error), error
        else:
            equal(says, None, 'a bomb')

    bomb(gzip.compress(fine) + gzip.compress(bytes(1 << 19)), None)
    for pack in (gzip.compress, *([zstd] if shutil.which('zstd') else [])):
        bomb(pack(fine) + pack(bytes(2 << 20)), 'come to more than')
    header = tarfile.TarInfo('pax')
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    piece = gzip.compress(bytes(64 << 20))
    judge(gzip.compress(header.tobuf(tarfile.USTAR_FORMAT)) + 16 * piece, says='a header in it takes more than')
    descriptor = layout.manifest(layers=[{'digest': 'sha256:' + 'b' * 64, 'size': 1}])
    layout.index(descriptor)
    layout.choose(says='is not in the archive')


def make_package(folder, name, version='1.0-1', architecture='all'):
    """As SHA256.deb; its entry in a lock."""
    tree = folder / 'deb'
    (tree / 'DEBIAN').mkdir(parents=True)
    (tree / 'DEBIAN/control').write_text(
        f'Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: x <x@example.org>\n'
        'Description: of a test\n')
    subprocess.run(['dpkg-deb', '--build', '--root-owner-group', tree, folder / 'new.deb'], check=True,
                   stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    digest = hashlib.sha256((folder / 'new.deb').read_bytes()).hexdigest()
    (folder / 'new.deb').rename(folder / f'{digest}.deb')
    return {'name': name, 'version': version, 'architecture': architecture, 'sha256': digest}


def status_of(entries):
    return '\n'.join(f'Package: {entry["name"]}\nStatus: install ok installed\nVersion: {entry["version"]}\n'
                     f'Architecture: {entry["architecture"]}\n' for entry in entries)


def test_locks(folder):
    packages, tree, lock = folder / 'packages', folder / 'tree', folder / 'lock.json'
    packages.mkdir()
    (tree / 'var/lib/dpkg').mkdir(parents=True)
    entries = [make_package(packages, 'one'), make_package(packages, 'two', '2:1~rc1', 'amd64')]

    def judge(verb, place, changed, says=None):
        lock.write_text(json.dumps({'packages': changed}))
        result = subprocess.run([sys.executable, '-B', SCRIPTS / 'locked.py', verb, lock, place], text=True,
                                capture_output=True)
        equal(result.returncode == 0, says is None, f'verdict ({result.stderr})')
        assert says is None or says in result.stderr, result.stderr
        return result.stdout

    lines = ''.join(f'{entry["name"]} {entry["architecture"]} {entry["sha256"]}\n' for entry in entries)
    equal(judge('files', packages, entries), lines, 'lines')
    (tree / 'var/lib/dpkg/status').write_text(status_of(entries))
    equal(judge('installed', tree, entries), '', 'lines')
    for key, value in (('name', 'other'), ('version', '1:1.0-1'), ('architecture', 'amd64')):
        lie = [{**entries[0], key: value}, entries[1]]
        judge('files', packages, lie, says='lock again')
        judge('installed', tree, lie, says='not installed')
    judge('files', packages, entries[:1], says='is not in the lock')
    judge('installed', tree, entries[:1], says='not in the lock')
    more = {**entries[0], 'name': 'more', 'sha256': 'c' * 64}
    judge('files', packages, entries + [more], says='is missing')
    judge('installed', tree, entries + [more], says="not installed ['more")
    (tree / 'var/lib/dpkg/status').write_text(status_of(entries).replace('ok installed', 'ok half-configured', 1))
    judge('installed', tree, entries, says='(install ok half-configured)')
    (tree / 'var/lib/dpkg/status').unlink()
    judge('installed', tree, entries, says='not installed')


FAKES = {
    # What it copies of the machine; its packages' scripts run at its end.
    'mmdebstrap': r'''
for word; do
    case $word in
    /work/*) tree=$word ;;
    --setup-hook=*) hooks+=("${word#*=}") ;;
    esac
done
mkdir -p "$tree"/{dev,etc/ssl/certs,bin,tmp,usr/bin,var/lib/dpkg}
ln -s /run/of-the-machine "$tree/etc/resolv.conf"
echo of-the-machine >"$tree/etc/hostname"
for hook in "${hooks[@]}"; do sh -c "$hook" exec "$tree"; done
cp /recipe/status "$tree/var/lib/dpkg/status"
if [[ -e /recipe/denied ]]; then
    mkdir "$tree/etc/tee-compile"
    cp /recipe/denied "$tree/etc/tee-compile/denied-certificates"
fi
echo x | tee "$tree/bin/bash" >"$tree/etc/ssl/certs/ca-certificates.crt"
ln -s bash "$tree/bin/sh"
touch -d @5 "$tree/bin/bash"
touch -h -d @6 "$tree/bin/sh"
touch -d @4000000000 "$tree/bin"
cat "$tree/etc/hostname" "$tree/etc/resolv.conf" >/work/seen
[[ ! -L $tree/etc/resolv.conf ]]
''',
    'mkfs.erofs': 'cp "${@: -1}/etc/tee-compile/denied-certificates" /work/denied || :; find "${@: -1}" -printf "%T@ %P\\n" >/work/times; head -c 5000 /dev/zero >"${@: -2:1}"\n',
    'veritysetup': 'echo "Root hash: $(printf %064d 5)"\n',
}


class Sandbox:
    """/work, /packages, /recipe and the scripts where they expect them."""

    def __init__(self, folder):
        self.folder = folder
        for name in ('work', 'packages', 'recipe', 'fakes'):
            (folder / name).mkdir()
        for name, text in FAKES.items():
            (folder / 'fakes' / name).write_text('#!/bin/bash\nset -eu\n' + text)
            (folder / 'fakes' / name).chmod(0o755)

    def run(self, *command, expect=0, says=''):
        binds = [word for name in ('packages', 'recipe', 'fakes')
                 for word in ('--ro-bind', self.folder / name, '/' + name)]
        for name in ('bin', 'sbin', 'lib', 'lib64'):
            binds += (('--symlink', 'usr/' + name, '/' + name) if os.path.islink('/' + name)
                      else ('--ro-bind-try', '/' + name, '/' + name))
        result = subprocess.run(
            ['bwrap', '--unshare-user', '--unshare-pid', '--uid', '0', '--gid', '0', '--die-with-parent', '--clearenv',
             '--ro-bind', '/usr', '/usr', '--ro-bind', '/etc', '/etc', '--dev', '/dev', '--proc', '/proc',
             '--tmpfs', '/tmp', '--bind', self.folder / 'work', '/work', *binds,
             '--ro-bind', SCRIPTS, '/source/images/builder', '--setenv', 'PATH', '/fakes:/usr/sbin:/usr/bin:/sbin:/bin',
             '--setenv', 'LC_ALL', 'C.UTF-8', '--setenv', 'SOURCE_DATE_EPOCH', '315532800', '--setenv', 'JOBS', '1',
             'bash', *command], capture_output=True, text=True, timeout=300)
        equal(result.returncode, expect, f'{command} ({result.stderr})')
        assert says in result.stderr, result.stderr

    def script(self, name, **more):
        self.run(f'/source/images/builder/{name}', **more)


def test_scripts(folder):
    sandbox = Sandbox(folder)
    packages, recipe, work = folder / 'packages', folder / 'recipe', folder / 'work'
    entries = [make_package(packages, 'one'), make_package(packages, 'two')]
    (recipe / 'status').write_text(status_of(entries))
    (recipe / 'lock.json').write_text(json.dumps({'packages': entries}))

    sandbox.script('bootstrap')
    equal((work / 'seen').read_text(), 'tee-compile\n', 'what packages see of the machine')
    with tarfile.open(work / 'root.tar') as file:
        equal(file.extractfile('./etc/hostname').read(), b'tee-compile\n', 'the host name')
        equal(file.extractfile('./etc/resolv.conf').read(), b'', 'name servers')
    (work / 'seen').unlink()

    sandbox.script('root')
    equal((work / 'seen').read_text(), 'tee-compile\n', 'what packages see of the builder')
    times = (work / 'times').read_text().splitlines()
    names = {line.split(' ')[1] for line in times}
    assert {'', 'bin', 'bin/bash', 'bin/sh', 'build', 'etc/hostname'} <= names, names
    equal({line.split(' ')[0] for line in times}, {'315532800.0000000000'}, 'times')
    found = json.loads((work / 'root.out/packages.json').read_text())
    equal([one['sha256'] for one in found], [entry['sha256'] for entry in entries], 'digests')

    ours = (SCRIPTS / 'denied-certificates').read_bytes()
    assert b'\n\n' not in ours and ours.endswith(b'\n'), ours
    equal((work / 'denied').read_bytes(), ours, "the project's deny list in a toolchain")
    theirs = b'# ours\nkey ' + b'a' * 64 + b'\n'
    (recipe / 'denied').write_bytes(theirs)
    sandbox.script('root')
    equal((work / 'denied').read_bytes(), ours + theirs, 'the deny list behind which a script put its own')
    for odd in (b'key ' + b'A' * 64 + b'\n', theirs[:-1], b'#' * 600 + b'\n', b'key\n'):
        (recipe / 'denied').write_bytes(odd)
        sandbox.script('root', expect=2, says='neither "certificate HEX" nor "key HEX"')
    (recipe / 'denied').unlink()

    (recipe / 'status').write_text(status_of(entries[:1]))
    sandbox.script('root', expect=1, says='other packages than lock.json names')
    (recipe / 'status').write_text(status_of(entries))
    (recipe / 'lock.json').write_text(json.dumps({'packages': [{**entries[0], 'version': '9'}, entries[1]]}))
    sandbox.script('root', expect=2, says='not those that lock.json names')

    tree = work / 'tree'
    (tree / 'bin').mkdir(parents=True)
    (tree / 'bin/bash').write_text('x')
    check = 'name=x; source /source/images/builder/lib.sh; check_tree /work/tree'
    sandbox.run('-euc', check)
    for name in ('a', 'b'):
        with open(tree / name, 'wb') as file:
            file.truncate(33 << 30)
    sandbox.run('-euc', check, expect=2, says='expected 68719476736 at most')


def test_trees(folder):
    """What check_tree and make_folders refuse."""
    sandbox = Sandbox(folder)
    tree = folder / 'work/tree'

    def judge(what, *, expect=0, says=''):
        sandbox.run('-euc', f'name=x; source /source/images/builder/lib.sh; {what} /work/tree',
                    expect=expect, says=says)
        shutil.rmtree(tree)
        (tree / 'bin').mkdir(parents=True)
        (tree / 'bin/bash').write_text('x')

    tree.mkdir()
    judge('check_tree', expect=2, says='has no /bin/bash')
    judge('check_tree')

    def bind(path):
        socket.socket(socket.AF_UNIX).bind(str(path))

    # The one device that everybody can make.
    for make in (os.mkfifo, bind, lambda path: os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))):
        (tree / 'etc').mkdir()
        make(tree / 'etc/odd')
        judge('check_tree', expect=2, says='holds devices, FIFOs or sockets, which an image does not carry: /etc/odd')

    place = tree / 'etc/tee-compile/denied-certificates'
    judge('check_denied')
    for text, good in ((b'', True), (b'# a\n\nkey ' + b'0' * 64 + b'\n', True), (b'key 0\n', False), (b'# a', False)):
        place.parent.mkdir(parents=True)
        place.write_bytes(text)
        judge('check_denied', expect=0 if good else 2, says='' if good else 'nor a comment')
    place.mkdir(parents=True)
    judge('check_denied', expect=2, says='is no file')
    for link in (place, place.parent, place.parent.parent):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to('nowhere')
        judge('check_denied', expect=2, says='is a link, or lies behind one')

    (tree / 'tmp').mkdir(0o700)
    (tree / 'tmp/x').write_text('x')
    (tree / 'build').write_text('a file')
    sandbox.run('-euc', 'name=x; source /source/images/builder/lib.sh; make_folders /work/tree')
    for name in ('build', 'home/build', 'tmp', 'proc', 'dev'):
        equal((stat.S_IMODE((tree / name).stat().st_mode), os.listdir(tree / name)), (0o755, []), name)
    shutil.rmtree(tree)
    outside = folder / 'work/outside'
    outside.mkdir()
    (outside / 'kept').write_text('x')
    for name in ('build', 'home', 'home/build', 'tmp', 'proc', 'dev'):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).symlink_to('/work/outside')
        judge('make_folders', expect=2, says='is a link: a build\'s folders are mounted there')
        equal(os.listdir(outside), ['kept'], name)


def test_rootfs(folder):
    """A tar file is read whole before anything of it counts: behind damage an OCI
    archive would look like a tar file, and a tar file like a smaller one."""
    sandbox = Sandbox(folder)
    given = folder / 'packages/rootfs'
    shell, more = (tar((name, tarfile.REGTYPE, 5)) for name in ('bin/bash', 'oci-layout'))
    given.write_bytes(shell)
    sandbox.script('rootfs', says='builds can verify no server')
    assert (folder / 'work/root.out/root.verity').exists()
    for damaged in (shell[:1024] + b'x' * 512 + more, shell[:1024] + more[:700], shell[:600], b'x' * 2000):
        given.write_bytes(damaged)
        sandbox.script('rootfs', expect=2, says='what was given is no tar file')
    given.unlink()
    sandbox.script('rootfs', expect=2, says='/packages/rootfs is missing')


def main():
    os.environ['SOURCE_DATE_EPOCH'] = '315532800'
    test_expressions()
    tests = [test_packages, test_large_records, test_links, test_oci, test_layers, test_locks]
    if shutil.which('bwrap'):
        tests += [test_scripts, test_trees, test_rootfs]
    for test in tests:
        with tempfile.TemporaryDirectory() as folder:
            test(pathlib.Path(folder))
    print(f'{1 + len(tests)} passed, 0 failed')


main()
