"""intree.py TREE PATH: the file that PATH is in the root file system TREE, or nothing.

A root's links are absolute in that root: followed from outside they lead astray.
"""
import os
import sys


def inside(tree, path):
    left, at, links = path.split('/'), [], 0
    while left:
        part = left.pop(0)
        if part in ('', '.'):
            continue
        if part == '..':
            at = at[:-1]
            continue
        full = os.path.join(tree, *at, part)
        if os.path.islink(full):
            links += 1
            if links > 40:
                return None
            target = os.readlink(full)
            left = target.split('/') + left
            if target.startswith('/'):
                at = []
            continue
        at.append(part)
    full = os.path.join(tree, *at)
    return full if os.path.isfile(full) else None


if __name__ == '__main__':
    print(inside(sys.argv[1], sys.argv[2]) or '')
