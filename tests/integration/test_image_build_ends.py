#!/usr/bin/env python3
"""tee-compile image build that comes to nothing: refused, failed, interrupted or killed. What it
says, and what stays behind.

usage: test_image_build_ends.py TEE_COMPILE"""
import json
import pathlib
import shutil
import signal
import subprocess

from image_build_case import lock, main, write


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


def test_package_is_gone(lab):
    shutil.rmtree(lab.mirror / 'pool')
    lab.build(expect=2, says='hello')
    assert lab.files() == []


def test_json_failure(lab):
    result = lab.build('--json', expect=2, recipe=lab.folder / 'no such')
    answer = json.loads(result.stdout)
    assert answer['verdict'] == 'undecided' and answer['checks'] == []


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


main(globals())
