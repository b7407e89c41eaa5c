#!/usr/bin/env python3
"""What the builder's Python reads: lists of parts (sbom.py), links of a foreign root
(intree.py), indexes of OCI archives (oci.py), hostile ones too.

usage: test_builder_scripts.py IMAGES/BUILDER"""
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

SCRIPTS = pathlib.Path(sys.argv[1]).resolve()
sys.dont_write_bytecode = True
sys.path.insert(0, str(SCRIPTS))
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
    found = sbom.packages(str(root), f'zeta amd64 {digest}\n', set())
    equal([package['name'] for package in found], ['alpha+', 'zeta'], 'names')
    alpha, zeta = found
    equal((zeta['version'], zeta['source'], zeta['source_version'], zeta['sha256']),
          ('1:2.0+b1', 'zeta-source', '1:2.0', digest), 'zeta')
    equal(zeta['licence'], '((GPL-2.0-or-later OR Artistic-2.0) AND MIT) AND LicenseRef-zeta-MIT', 'licence')
    equal(zeta['references'], {'LicenseRef-zeta-MIT': 'MIT'}, 'references')
    equal((alpha['licence'], alpha['sha256']), (None, None), 'alpha')
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

    def manifest(self, architecture='amd64', mark='', **more):
        config = self.blob({'os': 'linux', 'architecture': architecture, 'mark': mark}, 'config')
        return self.blob({'schemaVersion': 2, 'config': config, 'layers': []}, 'manifest', **more)

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


def main():
    os.environ['SOURCE_DATE_EPOCH'] = '315532800'
    test_expressions()
    for test in (test_packages, test_links, test_oci):
        with tempfile.TemporaryDirectory() as folder:
            test(pathlib.Path(folder))
    print('4 passed, 0 failed')


main()
