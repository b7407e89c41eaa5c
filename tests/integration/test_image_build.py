#!/usr/bin/env python3
"""tee-compile image build: what goes into an image, what comes out, and what its recipe's digest
says of it.

usage: test_image_build.py TEE_COMPILE"""
import hashlib
import json
import os
import shutil
import stat
import subprocess

from image_build_case import BLOCK, PACKAGE, TOOL, bzimage, cpio_members, main, sections, toolchain, write


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


def test_empty_folder_of_a_recipe(lab):
    """No digest tells it, so the room does not see it."""
    lab.script('root', '[[ ! -e /recipe/on && ! -e /recipe/sub ]]\n')
    (lab.recipe / 'on').mkdir()
    (lab.recipe / 'sub/sub').mkdir(parents=True)
    write(lab.recipe / 'sub/README.md', 'not staged\n')
    lab.build()


def test_self_contained(lab):
    lab.build('--self-contained')
    assert lab.files() == ['x.eif', 'x.spdx.json'], lab.files()
    members = cpio_members(sections(lab.out / 'x.eif')[-1][1])
    assert members['toolchain/root.erofs'] == toolchain()[0][:2 * BLOCK]
    assert 'toolchain/root.verity' not in members and 'toolchain/complete' in members


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


def test_given_kernel_is_all_of_the_kernel(lab):
    kernel = lab.folder / 'bzImage'
    kernel.write_bytes(bzimage(b'another kernel'))
    lab.script('worker', '[[ ! -e /source/images/kernel ]]\n')
    lab.build('--kernel', kernel)
    shutil.rmtree(lab.project / 'images/kernel')
    lab.build('--kernel', kernel)


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


main(globals())
