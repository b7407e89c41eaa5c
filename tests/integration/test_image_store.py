#!/usr/bin/env python3
"""The folder of the images: its names, its lock, what killed commands left in it, and what a thief
of the disk or another user could put there.

usage: test_image_store.py TEE_COMPILE [NAME...]"""
import fcntl
import os
import pathlib
import shutil
import subprocess

from image_store_case import TOOL, flip, main


def test_what_killed_commands_left(lab):
    lab.pull(lab.image)
    dead, live = lab.store / ".part-dead", lab.store / ".part-live"
    for folder in (dead, live):
        folder.mkdir()
        (folder / "image.eif").write_text("half")
    holder = os.open(live, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    lab.pull(lab.image)
    assert not dead.exists() and (live / "image.eif").exists()
    os.close(holder)
    lab.run("image", "remove", "mini")
    assert not live.exists()


def test_a_fifo_does_not_make_the_store_wait(lab):
    lab.pull(lab.image)
    os.mkfifo(lab.store / ".part-aa")
    lab.pull(lab.image)
    assert lab.stored() == [lab.image.pcrs()[0]]
    os.mkfifo(lab.store / ".part-aa")
    lab.run("image", "remove", "mini")
    assert lab.stored() == []


def is_waiting_for_a_lock(pid):
    lines = pathlib.Path("/proc/locks").read_text().splitlines()
    return any(f"-> FLOCK  ADVISORY  WRITE {pid} " in line for line in lines)


def test_one_change_at_a_time(lab):
    """Whoever changes the store waits for the one who does, whoever reads it does not."""
    lab.pull(lab.image)
    for words in (["pull", lab.image.eif, "--pcr0", lab.image.pcrs()[0]], ["remove", "mini"]):
        with open(lab.store / "lock", "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            process = subprocess.Popen([TOOL, "image", *map(str, words)], env=lab.env,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and not is_waiting_for_a_lock(process.pid):
                pass
            assert process.returncode is None, f"{words[0]} did not wait"
            assert lab.list()[0]["good"] and lab.stored() == [lab.image.pcrs()[0]]
        assert process.wait(60) == 0
    assert lab.stored() == []


def test_a_lock_that_is_a_symlink(lab):
    lab.pull(lab.image)
    lock, elsewhere = lab.store / "lock", lab.base / "elsewhere"
    lock.unlink()
    lock.symlink_to(elsewhere)
    for there in (False, True):
        if there:
            elsewhere.write_text("whatever")
        said = lab.pull(lab.image, expect=2) + lab.run("image", "remove", "mini", expect=2)
        assert said.count("cannot open") == 2 and "/lock" in said, said
        assert elsewhere.exists() == there and lab.list()[0]["good"]


def test_remove_passes_over_names_that_are_none(lab):
    """What was removed is said to be, whatever else lies among the names."""
    other = lab.new("other")
    lab.pull(lab.image)
    lab.pull(other)
    names = lab.store / "names"
    (names / "junk").write_text("no PCR0\n")
    (names / "link").symlink_to("/etc/passwd")
    (names / "folder").mkdir()
    os.mkfifo(names / "pipe")
    (names / "other").write_text("damaged\n")
    assert "removed" in lab.run("image", "remove", lab.image.pcrs()[0])
    assert sorted(p.name for p in names.iterdir()) == ["folder", "other"]
    assert (names / "other").read_text() == other.pcrs()[0] + "\n"
    (names / "other").unlink()
    (names / "other").symlink_to("/etc/passwd")
    assert "stood for" not in lab.pull(other)
    assert (names / "other").read_text() == other.pcrs()[0] + "\n" and not (names / "other").is_symlink()


def test_newest_of_a_name(lab):
    first = lab.image
    second = lab.new("mini", packages=4, stem="second")
    move = "stood for PCR0 {} and now stands for PCR0 {}\n".format
    assert "stood for" not in lab.pull(first)
    assert "stood for" not in lab.pull(first)
    said = lab.pull(second)
    assert "the name mini " + move(first.pcrs()[0], second.pcrs()[0]) in said, said
    assert move(second.pcrs()[0], first.pcrs()[0]) in lab.pull(first)
    lab.pull(second)
    newest = {one["pcr0"]: one["newest"] for one in lab.list()}
    assert newest == {first.pcrs()[0]: False, second.pcrs()[0]: True}
    lab.run("image", "remove", "mini")
    assert lab.list()[0]["pcr0"] == first.pcrs()[0] and lab.list()[0]["newest"]
    lab.pull(second)
    lab.run("image", "remove", first.pcrs()[0])
    assert lab.list()[0]["newest"] and lab.list()[0]["pcr0"] == second.pcrs()[0]


def test_swapped_in_the_store(lab):
    lab.spec()
    other = lab.new("other", erofs=lab.make_erofs("another\n"))
    lab.pull(lab.image)
    lab.pull(other)
    here, there = lab.folder(lab.image), lab.folder(other)
    for name in ("image.erofs", "image.eif"):
        shutil.copy(there / name, here / name)
        said = lab.build("--image", "mini", expect=1)
        assert name in said and "tee-compile image remove" in said, said
    shutil.copy(lab.image.eif, here / "image.eif")
    for name in ("image.erofs", "image.eif"):
        lab.pull(lab.image)
        flip(here / name, (here / name).stat().st_size // 2)
        assert name in lab.build(expect=1)
    assert [one["good"] for one in lab.list(expect=1)].count(False) == 1
    assert "DAMAGED" in lab.run("image", "list", expect=1)
    lab.pull(lab.image)  # mends it
    flip(here / "image.erofs", len(lab.image.data) + 1)
    assert "hash tree" in lab.build(expect=1)
    lab.pull(lab.image)
    os.truncate(here / "image.erofs", len(lab.image.data + lab.image.tree) - 4096)
    (cut,) = [one for one in lab.list(expect=1) if not one["good"]]
    assert cut["pcr0"] == lab.image.pcrs()[0] and "is cut" in cut["problem"], cut
    (here / "image.erofs").unlink()
    assert "image.erofs" in lab.build(expect=2)
    assert not lab.list(expect=1)[0]["good"] or not lab.list(expect=1)[1]["good"]
    lab.run("image", "remove", lab.image.pcrs()[0])
    assert lab.list()[0]["name"] == "other"


def test_symlinks_in_the_store(lab):
    lab.spec()
    lab.pull(lab.image)
    here = lab.folder(lab.image)
    for name in ("image.eif", "image.erofs"):
        away = lab.base / name
        (here / name).rename(away)
        (here / name).symlink_to(away)
        said = lab.build(expect=1)
        assert "symlink" in said, said
        (here / name).unlink()
        away.rename(here / name)
    elsewhere = lab.base / "elsewhere"
    here.rename(elsewhere)
    here.symlink_to(elsewhere)
    assert "symlinks are not followed" in lab.build(expect=1)
    lab.run("image", "remove", lab.image.pcrs()[0])
    assert (elsewhere / "image.eif").exists() and not here.is_symlink()
    lab.pull(lab.image)
    names = lab.store / "names"
    names.rename(lab.base / "names")
    names.symlink_to(lab.base / "names")
    assert "symlinks are not followed" in lab.build(expect=1)
    names.unlink()
    (lab.base / "names").rename(names)
    (names / "mini").unlink()
    (names / "mini").symlink_to(lab.image.eif)
    lab.build(expect=2)
    (names / "mini").unlink()
    (names / "mini").write_text("not a PCR0\n")
    assert "holds no PCR0" in lab.build(expect=1)


def test_others_may_not_write(lab):
    lab.spec()
    lab.pull(lab.image)
    for path in (lab.store, lab.folder(lab.image), lab.folder(lab.image) / "image.erofs",
                 lab.folder(lab.image) / "image.eif", lab.store / "names"):
        mode = path.stat().st_mode
        path.chmod(mode | 0o020)
        assert "others can write" in lab.build(expect=2), path
        path.chmod(mode)


main(globals())
