"""Runs the cases of a test file, each with a folder of its own; and what several of them ask."""
import pathlib
import shutil
import subprocess
import sys
import tempfile

import signals_case  # noqa: F401


def run_cases(names, wanted, make, clean=None):
    """The functions test_NAME among names, each with make(FOLDER), and clean(FOLDER) afterwards; how
    many failed."""
    tests = {n[5:]: f for n, f in names.items() if n.startswith("test_")}
    unknown = [name for name in wanted if name not in tests]
    if unknown:
        sys.exit(f"no such test: {' '.join(unknown)}")
    failed = 0
    for name, test in tests.items():
        if wanted and name not in wanted:
            continue
        base = pathlib.Path(tempfile.mkdtemp(prefix="tee-compile-test-"))
        try:
            test(make(base))
            print(f"ok {name}", flush=True)
        except Exception as problem:  # every test is run, whatever one does
            failed += 1
            print(f"FAILED {name}: {type(problem).__name__}: {problem}", flush=True)
        if clean:
            clean(base)
        shutil.rmtree(base, ignore_errors=True)
    return failed


def descendants(pid):
    out = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True).stdout
    parents = {}
    for line in out.splitlines()[1:]:
        child, parent = map(int, line.split())
        parents.setdefault(parent, []).append(child)
    found, todo = [], [pid]
    while todo:
        for child in parents.get(todo.pop(), []):
            found.append(child)
            todo.append(child)
    return found
