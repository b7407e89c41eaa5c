"""What the tests of tee-compile image build share: a project with a builder that is a few files and
takes no time, a recipe, a mirror and a cache. What the real builder makes is tests/extra's and the
image suite's business; here it is what goes in, what comes out, and what is left when something
fails."""
import hashlib
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import signals_case  # noqa: F401

TOOL = os.path.abspath(sys.argv[1])
BLOCK = 4096
SALT = bytes(range(32))
PACKAGE = b'the one package that the locks of this test name'
# Their own shell, so that the room has something to run.
BOOTSTRAP = r'''#!/bin/bash
set -euo pipefail
echo "bootstrap ran" >&2
[[ $(sha256sum </packages/*.deb) == "$(basename /packages/*.deb .deb)  -" ]]
mkdir /work/root
for program in bash tar cat cp env grep ls mkdir rm sha256sum sleep sort find touch mkfifo chmod mv ln mount head truncate; do
    file=$(type -P "$program")
    cp --parents "$file" $(ldd "$file" | grep -o '/[^ :]*' | sort -u) /work/root
done
mkdir -p /work/root/tmp
tar -C /work/root -cf /work/root.tar .
rm -rf /work/root
'''
STEP = '''#!/bin/bash
set -euo pipefail
name=${0##*/}
mkdir /work/$name.out
'''
SCRIPTS = {
    'bootstrap': BOOTSTRAP,
    'kernel': STEP + 'echo "the kernel" >/work/kernel.out/bzImage\n',
    'lib.sh': '# of the real ones\n',
    'worker': STEP + '''
[[ ! -e /packages && ! -e /recipe ]]
(cd /source && find . -type f | sort) >/work/worker.out/packages.json
[[ $(env | sort | grep -vE '^(_|PWD|SHLVL)=') == "HOME=/root
JOBS=${JOBS}
LC_ALL=C.UTF-8
PATH=/usr/sbin:/usr/bin:/sbin:/bin
SOURCE_DATE_EPOCH=315532800
TZ=UTC0" ]]
[[ ! -e /etc/passwd && $(ls -A /sys) == "" ]]
''',
    'ramdisk': STEP + '[[ -d /work/worker.out ]]; printf "0707abcd" >/work/ramdisk.out/ramdisk\n'
    'echo ramdisk >/work/ramdisk.out/packages.json\n',
    'root': STEP + 'cp /recipe/root.* /work/root.out/; printf "%s\\n" "$*" >/work/root.out/packages.json\n'
    '[[ -f /packages/' + hashlib.sha256(PACKAGE).hexdigest() + '.deb && -f /recipe/recipe.json ]]\n'
    '[[ "$*" == "--script customize" ]]\n',
    'rootfs': 'set -euo pipefail\nmkdir /work/root.out\n[[ ! -e /recipe/recipe.json ]]\n'
    'tar -xf /packages/rootfs --no-same-owner -C /work/root.out ./root.erofs ./root.verity\n'
    'echo rootfs >/work/root.out/packages.json\n',
    'spdx': STEP + '[[ ! -e /packages && ! -e /recipe ]]\n'
    '[[ $(cd /work && echo *.out) == "ramdisk.out root.out spdx.out worker.out" ]]\n'
    'echo "{\\"of\\": \\"$*\\"}" >/work/spdx.out/image.spdx.json\n',
}


def write(path, content, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)


def lock():
    digest = hashlib.sha256(PACKAGE).hexdigest()
    return ('{"lock":1,"suite":"trixie","architecture":"amd64","snapshot":"20260102T030405Z","packages":[\n'
            f'{{"name":"hello","version":"1.0-1","architecture":"amd64","sha256":"{digest}",'
            f'"size":{len(PACKAGE)},"archive":"debian","path":"pool/main/h/hello/hello_1.0-1_amd64.deb"}}\n'
            ']}\n')


def recipe(name, **more):
    return json.dumps({'recipe': 1, 'name': name, 'suite': 'trixie', 'packages': ['hello'], **more})


def toolchain():
    """Two blocks, their hash tree, and what describes both."""
    data = [bytes([i]) * BLOCK for i in (1, 2)]
    leaf = b''.join(hashlib.sha256(SALT + block).digest() for block in data).ljust(BLOCK, b'\0')
    root = hashlib.sha256(SALT + leaf).hexdigest()
    return (b''.join(data) + leaf, f'tee-compile/verity/1\ndata 2\ntotal 3\nroot {root}\n'
            f'salt {SALT.hex()}\n')


class Lab:
    """A project with such a builder, a recipe in it, a mirror and a cache."""

    def __init__(self, folder):
        self.folder = folder
        self.project, self.recipe = folder / 'project', folder / 'project/images/small'
        self.cache, self.out = folder / 'cache', folder / 'out'
        self.mirror = folder / 'debian'
        for name in ('meson.build', 'meson_options.txt', 'src/meson.build', 'src/base/a.c',
                     'src/core/b.c', 'src/os/c.c', 'src/worker/d.c', 'src/cmd/worker_main.c'):
            write(self.project / name, f'/* {name} */\n')
        for name in ('src/host/e.c', 'src/cmd/main.c', 'src/base/.hidden', 'README.md'):
            write(self.project / name, 'of no concern\n')
        for name, text in SCRIPTS.items():
            write(self.project / 'images/builder' / name, text)
        for name in ('builder', 'kernel'):
            write(self.project / 'images' / name / 'recipe.json', recipe(name))
            write(self.project / 'images' / name / 'lock.json', lock())
        write(self.recipe / 'recipe.json', recipe('small', script='customize'))
        write(self.recipe / 'customize', 'true\n')
        write(self.recipe / 'lock.json', lock())
        data, text = toolchain()
        write(self.recipe / 'root.erofs', data)
        write(self.recipe / 'root.verity', text)
        write(self.mirror / 'pool/main/h/hello/hello_1.0-1_amd64.deb', PACKAGE)
        self.out.mkdir()

    def script(self, name, text):
        write(self.project / 'images/builder' / name, SCRIPTS[name] + text)

    def command(self, *more, recipe=None, output='x.eif'):
        return [TOOL, 'image', 'build', str(recipe or self.recipe), '-o', str(self.out / output),
                '--mirror', self.mirror.as_uri(), *map(str, more)]

    def environment(self):
        return {**os.environ, 'XDG_CACHE_HOME': str(self.cache)}

    def build(self, *more, expect=0, says='', **where):
        result = subprocess.run(self.command(*more, **where), capture_output=True, text=True,
                                env=self.environment(), timeout=300)
        assert result.returncode == expect, (
            f'exit {result.returncode}, expected {expect}\n{result.stdout}\n{result.stderr}')
        assert says in result.stderr, f'{says!r} is not in {result.stderr}'
        self.nothing_left()
        return result

    def nothing_left(self):
        work = self.cache / 'tee-compile/work'
        left = list(work.iterdir()) if work.exists() else []
        assert not left, left

    def files(self):
        return sorted(path.name for path in self.out.iterdir())

    def lines(self, kernel=None):
        """By sha256sum's lines, as docs/formats.md has it."""
        lines = {}
        for name in ('images/builder', 'images/kernel', 'src/base', 'src/core', 'src/os', 'src/worker',
                     'meson.build', 'meson_options.txt', 'src/meson.build', 'src/cmd/worker_main.c'):
            top = self.project / name
            for path in [top] if top.is_file() else top.rglob('*'):
                lines[str(path.relative_to(self.project))] = path
        lines = {name: path for name, path in lines.items() if path.is_file()
                 and not any(part.startswith('.') for part in pathlib.Path(name).parts)
                 and not name.endswith('.md')}
        for path in self.recipe.iterdir():
            if path.is_file():
                lines['recipe/' + path.name] = path
        if kernel:
            lines = {name: path for name, path in lines.items() if not name.startswith('images/kernel/')}
            lines['bzImage'] = kernel
        digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in lines.items()}
        digests['cmdline'] = hashlib.sha256(self.cmdline()).hexdigest()
        return [f'{digests[name]}  {name}' for name in sorted(digests)]

    def cmdline(self):
        """Of an image that was made; there is one for all."""
        return sections(next(self.out.rglob('*.eif')))[1][1]

    def corrupt(self, folder, change):
        (path,) = [path for path in (self.cache / 'tee-compile' / folder).iterdir() if path.suffix != '.sha256']
        path.write_bytes(change(path.read_bytes()))

    def digest(self, kernel=None):
        return hashlib.sha256(''.join(line + '\n' for line in self.lines(kernel)).encode()).hexdigest()


def cpio_members(data):
    at, members = 0, {}
    while True:
        assert data[at:at + 6] == b'070701', data[at:at + 6]
        fields = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        size, name_size = fields[6], fields[11]
        name = data[at + 110:at + 110 + name_size - 1].decode()
        start = (at + 110 + name_size + 3) & ~3
        if name == 'TRAILER!!!':
            return members
        members[name] = data[start:start + size]
        at = (start + size + 3) & ~3


def sections(path):
    data, at, found = path.read_bytes(), 548, []
    while at < len(data):
        kind, _, size = struct.unpack('>HHQ', data[at:at + 12])
        found.append((kind, data[at + 12:at + 12 + size]))
        at += 12 + size
    return found


def bzimage(code):
    """As little of one as makes it one."""
    return bytes(0x1fe) + b'\x55\xaa\xeb\x66HdrS' + code


def main(names):
    tests = {name: function for name, function in names.items() if name.startswith('test_')}
    for name, function in tests.items():
        with tempfile.TemporaryDirectory(dir=os.environ.get('TC_TEST_FOLDER')) as folder:
            function(Lab(pathlib.Path(folder)))
        print(f'ok {name}', flush=True)
    print(f'{len(tests)} passed, 0 failed')
