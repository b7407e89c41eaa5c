#!/usr/bin/env python3
"""tee-compile image build: what a recipe or a step of the builder could try, and results that are
not what they say.

usage: test_image_build_attacks.py TEE_COMPILE"""
from image_build_case import BLOCK, PACKAGE, main, sections, toolchain, write

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


def test_deep_folders(lab):
    """Paths that are longer than the kernel takes are removed too."""
    lab.script('root', 'n=$(printf "d%.0s" {1..200})\n'
               '(cd /work && for i in {1..60}; do mkdir $n && cd $n && echo >file; done)\n')
    lab.build()


def test_result_that_is_not_what_it_says(lab):
    data, _ = toolchain()
    write(lab.recipe / 'root.erofs', data[:BLOCK] + bytes(BLOCK) + data[2 * BLOCK:])
    lab.build(expect=1, says='another root hash')
    write(lab.recipe / 'root.erofs', data + bytes(BLOCK))
    lab.build(expect=1, says='another size')
    lab.script('root', 'rm -f /work/root.out/root.erofs 2>/dev/null || cp /dev/null /work/root.out/root.erofs\n')
    lab.build(expect=1, says='root.erofs')
    assert lab.files() == ['x.log'], lab.files()


main(globals())
