#!/usr/bin/env python3
"""tee-compile image build: the roots and the kernel that it keeps.

usage: test_image_build_cache.py TEE_COMPILE"""
import os

from image_build_case import BOOTSTRAP, main, sections, write


def test_caches(lab):
    """The roots and the kernel are made once; a changed lock makes them anew."""
    lab.build()
    for name in ('bootstrap', 'kernel'):
        lab.build(says='running spdx')
    assert 'making its root' not in lab.build().stderr
    write(lab.project / 'images/kernel/enclave.config', 'CONFIG_A=y\n')
    assert 'running kernel' in lab.build().stderr
    assert 'running kernel' not in lab.build().stderr


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


main(globals())
