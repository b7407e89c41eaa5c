#!/usr/bin/env python3
"""tee-compile image build: its steps, with a builder that is a few files and takes no
time. What the real one makes is tests/extra's and the image suite's business; here it
is what goes in, what comes out, and what is left when something fails.

usage: test_image_build.py TEE_COMPILE"""
import hashlib
import json
import os
import pathlib
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile

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


def test_everything_in_its_place(lab):
    lab.build('--jobs', 3)
    assert lab.files() == ['x.eif', 'x.erofs', 'x.spdx.json'], lab.files()
    data, verity = toolchain()
    assert (lab.out / 'x.erofs').read_bytes() == data
    assert json.loads((lab.out / 'x.spdx.json').read_text()) == {'of': 'small kernel'}
    (kernel, cmdline, metadata, first, second) = [bytes for _, bytes in sections(lab.out / 'x.eif')]
    assert kernel == b'the kernel\n' and first == b'0707abcd'
    for word in (b'panic=-1', b'reboot=k', b'random.trust_cpu=off'):
        assert word in cmdline.split()
    members = cpio_members(second)
    assert members['toolchain/root.verity'].decode() == verity
    text = members['toolchain/image'].decode()
    digest = hashlib.sha256(PACKAGE).hexdigest()
    assert text == (f'tee-compile/image/1\nname small\nrecipe {lab.digest()}\nkernel {len(kernel)}\n'
                    f'ramdisk {len(first)}\ncmdline {cmdline.decode()}\npackages 1\n'
                    f'hello 1.0-1 amd64 {digest}\n'), text
    metadata = json.loads(metadata)
    assert metadata['CustomMetadata'] == {'Recipe': lab.digest(), 'Packages': [
        {'Name': 'hello', 'Version': '1.0-1', 'Architecture': 'amd64', 'SHA256': digest}]}
    assert metadata['ImageName'] == 'small' and metadata['BuildMetadata']['BuildTime'] == ''
    measured = json.loads(subprocess.run([TOOL, 'image', 'measure', lab.out / 'x.eif', '--json'],
                                         capture_output=True, check=True).stdout)
    assert measured['verdict'] == 'good', measured


def test_same_bytes_again(lab):
    """Another folder, another day, another count of jobs; no mirror any more."""
    lab.build('--jobs', 1)
    first = {name: (lab.out / name).read_bytes() for name in lab.files()}
    lab.project.rename(lab.folder / 'elsewhere')
    lab.project, lab.recipe = lab.folder / 'elsewhere', lab.folder / 'another-name'
    (lab.project / 'images/small').rename(lab.recipe)
    shutil.rmtree(lab.mirror)
    for path in lab.project.rglob('*'):
        os.utime(path, (1, 1))
    lab.build('--jobs', 2, '--source', lab.project, output='y.eif')
    for name, content in first.items():
        assert (lab.out / ('y' + name[1:])).read_bytes() == content, name


def test_builder_sees_what_is_digested(lab):
    """... and of the project nothing else."""
    lab.script('spdx', 'cp /work/worker.out/packages.json /work/spdx.out/image.spdx.json\n')
    lab.build()
    seen = (lab.out / 'x.spdx.json').read_text().split()
    assert './src/worker/d.c' in seen and './images/kernel/lock.json' in seen
    for name in ('./src/host/e.c', './src/cmd/main.c', './src/base/.hidden', './README.md'):
        assert name not in seen, name


def test_self_contained(lab):
    lab.build('--self-contained')
    assert lab.files() == ['x.eif', 'x.spdx.json'], lab.files()
    members = cpio_members(sections(lab.out / 'x.eif')[-1][1])
    assert members['toolchain/root.erofs'] == toolchain()[0][:2 * BLOCK]
    assert 'toolchain/root.verity' not in members and 'toolchain/complete' in members


def bzimage(code):
    """As little of one as makes it one."""
    return bytes(0x1fe) + b'\x55\xaa\xeb\x66HdrS' + code


def test_given_kernel_is_none(lab):
    kernel = lab.folder / 'bzImage'
    for content in (b'k', bzimage(b'k').replace(b'HdrS', b'Hdrs'), bytes(4096), bzimage(b'')[:-1]):
        kernel.write_bytes(content)
        lab.build('--kernel', kernel, expect=2, says=f'{kernel} is no kernel: expected a bzImage')


def test_given_kernel(lab):
    kernel = lab.folder / 'bzImage'
    kernel.write_bytes(bzimage(b'another kernel'))
    (lab.project / 'images/builder/kernel').write_text('exit 1\n')
    lab.build('--kernel', kernel)
    assert sections(lab.out / 'x.eif')[0][1] == bzimage(b'another kernel')
    assert json.loads((lab.out / 'x.spdx.json').read_text()) == {'of': 'small'}
    members = cpio_members(sections(lab.out / 'x.eif')[-1][1])
    assert f'recipe {lab.digest(kernel)}\n' in members['toolchain/image'].decode()


def leave_out(given, build):
    """What tar leaves out without a word is refused, but where all is left out."""
    for name in ('usr/lib', 'proc', 'sys', 'dev'):
        (given / name).mkdir(parents=True)
    for i in range(150):
        (given / 'usr' / str(i)).mkdir()
    odd = given / 'usr/lib/odd'
    os.mknod(odd, stat.S_IFSOCK | 0o644)
    build(given, 'own.eif', expect=2, says=f'{odd} is a socket')
    odd.rename(given / 'dev/log')
    build(given, 'own.eif')
    deep = given / 'usr/lib'
    for _ in range(130):
        deep /= 'd'
    deep.mkdir(parents=True)
    build(given, 'own.eif', expect=2, says='lies too deep')
    shutil.rmtree(given / 'usr/lib/d')
    if os.geteuid() == 0 and subprocess.run(['unshare', '--mount', 'true'], check=False).returncode == 0:
        build(given, 'own.eif', mount=given / 'usr/lib', expect=2, says=f'{given}/usr/lib is another file system')
        build(given, 'own.eif', mount=given / 'proc')
    else:
        print('SKIP: only root can mount another file system in a folder')


def test_rootfs(lab):
    """A folder that only its owner can read, and a tar file of it, without any recipe."""
    given, kernel = lab.folder / 'given', lab.folder / 'bzImage'
    data, verity = toolchain()
    write(given / 'root.erofs', data, 0o600)
    write(given / 'root.verity', verity)
    given.chmod(0o700)
    kernel.write_bytes(bzimage(b'k'))
    subprocess.run(['tar', '-C', given, '-cf', lab.folder / 'given.tar', '.'], check=True)

    def build(path, output, mount=None, **more):
        command = lab.command('--rootfs', path, '--source', lab.project, '--kernel', kernel, output=output)
        command.remove(str(lab.recipe))
        if mount:
            command = ['unshare', '--mount', 'bash', '-euc', 'mount -t tmpfs none "$0"; "$@"', str(mount), *command]
        result = subprocess.run(command, capture_output=True, text=True, env=lab.environment(), timeout=300)
        equal = more.get('expect', 0)
        assert result.returncode == equal and more.get('says', '') in result.stderr, result.stderr
        lab.nothing_left()

    (lab.out / 'sub').mkdir()
    build(given, 'own.eif')
    build(lab.folder / 'given.tar', 'sub/own.eif')
    for suffix in ('eif', 'erofs', 'spdx.json'):
        assert (lab.out / f'own.{suffix}').read_bytes() == (lab.out / f'sub/own.{suffix}').read_bytes(), suffix
    text = cpio_members(sections(lab.out / 'own.eif')[-1][1])['toolchain/image'].decode()
    project = {line[66:]: line for line in lab.lines(kernel) if not line[66:].startswith('recipe/')}
    project['rootfs/root.verity'] = hashlib.sha256(verity.encode()).hexdigest() + '  rootfs/root.verity'
    digest = hashlib.sha256(''.join(project[name] + '\n' for name in sorted(project)).encode()).hexdigest()
    assert f'\nname own\nrecipe {digest}\n' in text and text.endswith('\npackages 0\n'), text
    shutil.rmtree(lab.out / 'sub')
    for name in lab.files():
        (lab.out / name).unlink()
    leave_out(given, build)
    build(given, 'Not a name.eif', expect=2, says="no image's name")
    build(lab.folder / 'nothing', 'own.eif', expect=2, says='cannot read the root file system')
    build(kernel, 'own.eif', expect=1, says='images/builder/rootfs')
    lab.build('--rootfs', given, expect=2, says='and --rootfs')


def test_caches(lab):
    """The roots and the kernel are made once; a changed lock makes them anew."""
    lab.build()
    for name in ('bootstrap', 'kernel'):
        lab.build(says='running spdx')
    assert 'making its root' not in lab.build().stderr
    write(lab.project / 'images/kernel/enclave.config', 'CONFIG_A=y\n')
    assert 'running kernel' in lab.build().stderr
    assert 'running kernel' not in lab.build().stderr


# Bytes that no recipe may decide, as "root" tries in each of these ways.
HOSTILE = {
    'another room': 'mkdir -p /work/worker.out /work/ramdisk.out; printf "0707EVIL" >/work/ramdisk.out/ramdisk\n'
                    'echo evil >/work/ramdisk.out/packages.json; echo evil >/work/worker.out/packages.json\n',
    'its own root': 'mv /usr/bin/bash /usr/bin/bash0\n'
                    'printf "#!/usr/bin/bash0\\necho evil >/work/spdx.out/image.spdx.json\\n" >/usr/bin/bash\n'
                    'chmod 755 /usr/bin/bash\n',
    'the source': 'mount -o remount,bind,rw /source || true\n'
                  'echo "echo evil >/work/spdx.out/image.spdx.json" >>/source/images/builder/spdx || true\n'
                  'echo "evil" >/source/images/builder/worker || true\n',
    # An ordinary user is uid 0 of his rooms, and so their mounts are his.
    'the packages': 'mount -o remount,bind,rw /packages || true\n'
                    'for file in /packages/*; do echo evil >>$file || true; done\n',
}


def test_recipe_cannot_change_what_is_not_its(lab):
    """The first ramdisk and the list of parts are the same whatever a recipe runs."""
    lab.build()
    good = sections(lab.out / 'x.eif')[3][1], (lab.out / 'x.spdx.json').read_bytes()
    for name, text in HOSTILE.items():
        lab.script('root', text)
        lab.build()
        assert (sections(lab.out / 'x.eif')[3][1], (lab.out / 'x.spdx.json').read_bytes()) == good, name
        for path in (lab.cache / 'tee-compile/packages').iterdir():
            assert path.read_bytes() == PACKAGE, name


def test_kernel_is_cached_by_all_that_makes_it(lab):
    """... and its room sees nothing that is not in the key."""
    lab.script('kernel', '[[ ! -e /packages && ! -e /recipe ]]\n'
               '(cd /source && find . -type f | sort) >/work/kernel.out/bzImage\n')
    lab.build()
    seen = sections(lab.out / 'x.eif')[0][1].decode().split()
    assert seen == ['./images/builder/kernel', './images/builder/lib.sh', './images/kernel/lock.json',
                    './images/kernel/recipe.json'], seen
    for name in ('builder/lib.sh', 'builder/kernel', 'builder/bootstrap', 'kernel/enclave.config'):
        path = lab.project / 'images' / name
        write(path, (path.read_text() if path.exists() else '') + '# changed\n')
        assert 'running kernel' in lab.build().stderr, name
    lab.script('worker', '# changed\n')
    assert 'running kernel' not in lab.build().stderr


def test_roots_are_made_of_what_is_in_their_key(lab):
    check = '[[ $(cd /source && find . -type f) == ./images/builder/bootstrap ]]\n'
    write(lab.project / 'images/builder/bootstrap', BOOTSTRAP + check)
    lab.build()


def test_damaged_cache(lab):
    lab.build()
    good = (lab.out / 'x.eif').read_bytes()
    for folder, again in (('kernels', 'running kernel'), ('roots', 'builder: making its root')):
        for change in (lambda data: b'', lambda data: data[:len(data) // 2], lambda data: b'x' + data[1:]):
            lab.corrupt(folder, change)
            assert again in lab.build(says='made anew').stderr
            assert (lab.out / 'x.eif').read_bytes() == good
            assert 'made anew' not in lab.build().stderr


def test_cache_is_no_longer_the_room_s(lab):
    """Another name that a room keeps for its result is not the cache's file."""
    lab.script('kernel', 'ln /work/kernel.out/bzImage /work/kept\n')
    lab.build()
    for path in (lab.cache / 'tee-compile/kernels').iterdir():
        assert path.stat().st_nlink == 1 and path.stat().st_uid == os.getuid(), path


def test_links_to_the_machine(lab):
    """A result behind a link is none: rooms would have what only the caller may read."""
    secret = lab.folder / 'secret'
    for name in ('bzImage', 'ramdisk', 'root.erofs', 'root.verity', 'packages.json', 'image.spdx.json'):
        write(secret / name, 'of the caller alone\n', 0o600)
    secret.chmod(0o700)
    for step, made in (('kernel', 'bzImage'), ('worker', 'packages.json'), ('ramdisk', 'ramdisk'),
                       ('root', 'root.verity'), ('root', 'root.erofs'), ('spdx', 'image.spdx.json')):
        for text in (f'rm -rf /work/{step}.out; ln -s {secret} /work/{step}.out\n',
                     f'rm /work/{step}.out/{made}; ln -s {secret}/{made} /work/{step}.out/\n',
                     f'rm /work/{step}.out/{made}; mkfifo /work/{step}.out/{made}\n'):
            lab.script(step, text)
            # "ramdisk" itself does not find the worker's folder
            lab.build(expect=1, says='images/builder/' if step == 'worker' and '-rf' in text else 'as a regular file')
            assert not [name for name in lab.files() if not name.endswith('.log')], (step, text)
        lab.script(step, '')


def test_huge_result(lab):
    lab.script('spdx', 'truncate -s 300M /work/spdx.out/image.spdx.json\n')
    lab.build(expect=1, says='expected at most')


def test_empty_folder_of_a_recipe(lab):
    """No digest tells it, so the room does not see it."""
    lab.script('root', '[[ ! -e /recipe/on && ! -e /recipe/sub ]]\n')
    (lab.recipe / 'on').mkdir()
    (lab.recipe / 'sub/sub').mkdir(parents=True)
    write(lab.recipe / 'sub/README.md', 'not staged\n')
    lab.build()


def test_given_kernel_is_all_of_the_kernel(lab):
    kernel = lab.folder / 'bzImage'
    kernel.write_bytes(bzimage(b'another kernel'))
    lab.script('worker', '[[ ! -e /source/images/kernel ]]\n')
    lab.build('--kernel', kernel)
    shutil.rmtree(lab.project / 'images/kernel')
    lab.build('--kernel', kernel)


def test_log_of_somebody_else(lab):
    write(lab.out / 'x.log', 'a diary\n')
    lab.script('root', 'echo "first time" >&2; exit 1\n')
    lab.build(expect=1, says=f'its log is {lab.out}/x.1.log')
    lab.script('root', 'echo "second time" >&2; exit 1\n')
    lab.build(expect=1, says=f'its log is {lab.out}/x.1.log')
    assert (lab.out / 'x.log').read_text() == 'a diary\n' and lab.files() == ['x.1.log', 'x.log']
    said = (lab.out / 'x.1.log').read_text()
    assert 'second time' in said and 'first time' not in said


def test_long_log(lab):
    """A step's share is 64 MiB, and the build does not wait for who says more."""
    lab.script('worker', 'head -c 100000000 /dev/zero >&2\n')
    lab.script('root', 'echo "this went wrong" >&2; exit 1\n')
    lab.build(expect=1)
    size = (lab.out / 'x.log').stat().st_size
    assert 64 << 20 < size < 65 << 20, size
    end = (lab.out / 'x.log').read_bytes()[-1000:]
    assert b'is left out' in end and b'this went wrong' in end


def test_deep_folders(lab):
    """Paths that are longer than the kernel takes are removed too."""
    lab.script('root', 'n=$(printf "d%.0s" {1..200})\n'
               '(cd /work && for i in {1..60}; do mkdir $n && cd $n && echo >file; done)\n')
    lab.build()


def test_failing_step(lab):
    lab.script('ramdisk', 'echo "this went wrong" >&2; exit 3\n')
    lab.build(expect=1, says=f'its log is {lab.out}/x.log, which ends with: this went wrong')
    assert lab.files() == ['x.log'], lab.files()
    assert 'this went wrong' in (lab.out / 'x.log').read_text()


def test_old_results_survive_a_failure(lab):
    lab.build()
    before = (lab.out / 'x.eif').read_bytes()
    lab.script('spdx', 'exit 1\n')
    lab.build(expect=1)
    assert (lab.out / 'x.eif').read_bytes() == before


def test_names_that_cannot_be_given(lab):
    """Said before the first step."""
    for suffix in ('eif', 'erofs', 'spdx.json'):
        (lab.out / f'x.{suffix}').mkdir()
        result = lab.build(expect=2, says=f'x.{suffix} exists')
        assert 'running' not in result.stderr and 'unpacking' not in result.stderr
        (lab.out / f'x.{suffix}').rmdir()
    (lab.out / 'x.erofs').write_text('of an earlier image')
    assert 'running' not in lab.build('--self-contained', expect=2, says='is of an earlier image').stderr
    assert lab.files() == ['x.erofs'] and (lab.out / 'x.erofs').read_text() == 'of an earlier image'


def test_messages_name_what_was_given(lab):
    lock = lab.recipe / 'lock.json'
    text = lock.read_text()
    lock.unlink()
    said = lab.build(expect=2, says=f'{lab.recipe}/lock.json is missing: make it with tee-compile image lock {lab.recipe}')
    assert '/run.' not in said.stderr
    lock.write_text(text)
    recipe = lab.recipe / 'recipe.json'
    recipe.write_text(recipe.read_text().replace('"suite"', '"suit"'))
    assert '/run.' not in lab.build(expect=2, says=f'{recipe}').stderr


def test_result_that_is_not_what_it_says(lab):
    data, _ = toolchain()
    write(lab.recipe / 'root.erofs', data[:BLOCK] + bytes(BLOCK) + data[2 * BLOCK:])
    lab.build(expect=1, says='another root hash')
    write(lab.recipe / 'root.erofs', data + bytes(BLOCK))
    lab.build(expect=1, says='another size')
    lab.script('root', 'rm -f /work/root.out/root.erofs 2>/dev/null || cp /dev/null /work/root.out/root.erofs\n')
    lab.build(expect=1, says='root.erofs')
    assert lab.files() == ['x.log'], lab.files()


def test_refused(lab):
    assert 'usage:' not in lab.build(expect=2, says='.eif', output='x.img').stderr
    assert 'usage:' in lab.build('--jobs', '0', expect=2, says='--jobs').stderr
    lab.build(expect=2, says='no such', recipe=lab.folder / 'no such')
    (lab.recipe / 'link').symlink_to('/etc/passwd')
    lab.build(expect=2, says='link')
    (lab.recipe / 'link').unlink()
    (lab.recipe / 'new\nline').write_text('')
    lab.build(expect=2, says='rename it')
    (lab.recipe / 'new\nline').unlink()
    two = lock().splitlines(keepends=True)
    two[1] = two[1].replace('}\n', '},\n') + two[1].replace('hello', 'zero')
    write(lab.recipe / 'lock.json', ''.join(two))
    lab.build(expect=2, says='have the same sha256')
    (lab.recipe / 'lock.json').unlink()
    lab.build(expect=2, says='image lock')
    alone = lab.folder / 'alone'
    shutil.copytree(lab.project / 'images/builder', alone)
    lab.build(expect=2, says='--source', recipe=alone)
    assert lab.files() == []


def test_package_is_gone(lab):
    shutil.rmtree(lab.mirror / 'pool')
    lab.build(expect=2, says='hello')
    assert lab.files() == []


def test_json_failure(lab):
    result = lab.build('--json', expect=2, recipe=lab.folder / 'no such')
    answer = json.loads(result.stdout)
    assert answer['verdict'] == 'undecided' and answer['checks'] == []


def start_and_wait(lab):
    """Runs until the step "ramdisk" says that it runs; with it a process that would
    outlive it if it could."""
    lab.script('ramdisk', 'bash -c "exec -a outlives-$$ sleep 1000" & echo "here I am" >&2; sleep 1000\n')
    process = subprocess.Popen(lab.command(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               text=True, env=lab.environment(), start_new_session=True)
    for line in process.stderr:
        if 'running ramdisk' in line:
            break
    (run,) = (lab.cache / 'tee-compile/work').iterdir()
    while 'here I am' not in (run / 'log').read_text():
        assert process.poll() is None
    return process, run


def holders(folder):
    """Processes whose root or work is below the folder."""
    found = []
    for process in pathlib.Path('/proc').iterdir():
        try:
            if process.name.isdigit() and str(folder) in (process / 'mountinfo').read_text():
                found.append(process.name)
        except OSError:
            pass
    return found


def test_interrupt(lab):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process, run = start_and_wait(lab)
        assert holders(run.name)
        process.send_signal(number)
        said = process.communicate()[1]
        assert process.returncode == 2 and 'interrupted' in said, said
        assert not holders(run.name)
        lab.nothing_left()
        assert lab.files() == []


def test_kill(lab):
    """What a killed run leaves is gone after the next one."""
    process, run = start_and_wait(lab)
    process.kill()
    process.communicate()
    assert run.exists()
    while holders(run.name):
        pass
    lab.script('ramdisk', '')
    lab.build()
    assert not run.exists()


def test_another_run_is_left_alone(lab):
    process, run = start_and_wait(lab)
    lab.script('ramdisk', '')
    result = subprocess.run(lab.command(output='y.eif'), env=lab.environment(), capture_output=True)
    assert result.returncode == 0, result.stderr
    assert run.exists() and process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate()
    lab.nothing_left()


def main():
    tests = {name: function for name, function in globals().items() if name.startswith('test_')}
    for name, function in tests.items():
        with tempfile.TemporaryDirectory(dir=os.environ.get('TC_TEST_FOLDER')) as folder:
            function(Lab(pathlib.Path(folder)))
        print(f'ok {name}', flush=True)
    print(f'{len(tests)} passed, 0 failed')


main()
