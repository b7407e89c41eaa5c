#!/usr/bin/python3
"""bench/clients.py [--rounds N] [npm] [cargo]

What `npm ci` and `cargo fetch` of the projects of `script/test network` take in a build,
through the recorder, beside the same on this machine with nobody in between: through the
registries that the machine is set up for, each time from an empty cache, in folders in
memory where TMPDIR is. The rounds alternate. Only the command's own time counts, not what
a build needs around it; lowest and median. Figures, not tests: nothing here can fail by
being slow.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / 'build/src/tee-compile'
LIMITS = {'timeout': '60m', 'memory': '3G', 'disk': '3G', 'processes': 4096}
TIMED = 'began=$(date +%s%N) && {} && echo $(($(date +%s%N) - began)) >took'


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f'{command[0]}: {done.stderr[-2000:]}')
    return done.stdout


def npm(project, _):
    """The command; the folder of tools that the build needs of the machine."""
    registry = run('npm', 'config', 'get', 'registry').strip()
    (project / '.npmrc').write_text(f'registry={registry}\n')
    run('npm', 'install', '--package-lock-only', '--ignore-scripts', '--no-audit', '--no-fund', cwd=project)
    return 'npm ci --ignore-scripts --no-audit --no-fund --cache "$PWD/cache"', None


def cargo(project, tools):
    config = Path(os.environ.get('CARGO_HOME', Path.home() / '.cargo')) / 'config.toml'
    if config.is_file():
        # Where the crates come from, and nothing else of the machine's settings.
        tables = re.split(r'(?m)^(?=\s*\[)', config.read_text())
        (project / '.cargo').mkdir()
        (project / '.cargo/config.toml').write_text(
            ''.join(table for table in tables if re.match(r'\s*\[(source|registries|registry)[].]', table)))
    # A toolchain below a home is out of the build's reach.
    sysroot = Path(run('rustc', '--print', 'sysroot', cwd=project).strip())
    for folder in 'bin', 'lib':
        run('cp', '--archive', sysroot / folder, tools)
    run(tools / 'bin/cargo', 'generate-lockfile', cwd=project)
    return 'CARGO_HOME="$PWD/home" cargo fetch --locked', tools


def alone(project, command, tools, folder):
    here = shutil.copytree(project, folder / 'alone')
    path = f'{tools}/bin:{os.environ["PATH"]}' if tools else os.environ['PATH']
    run('bash', '-c', TIMED.format(command), cwd=here, env={**os.environ, 'PATH': path})
    return int((here / 'took').read_text()) / 1e9


def recorded(project, command, tools, folder):
    here = shutil.copytree(project, folder / 'recorded')
    (here / 'build.json').write_text(json.dumps({
        'language': 'c', 'input': {'cmd': TIMED.format(command)}, 'output': {'files': ['took']},
        'network': {'mode': 'record'}, 'limits': LIMITS}))
    run(TOOL, 'build', '--dir', here, '--image', 'host', '--output', folder / 'release.tar', '--extract',
        folder / 'out', *(['--host-tool', tools] if tools else []))
    return int((folder / 'out/took').read_text()) / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('clients', nargs='*', default=['npm', 'cargo'])
    options = parser.parse_args()
    print(f'{"client":12} {"alone":>16} {"recorded":>16}   median, lowest     difference')
    for name in options.clients:
        # A build has its own /tmp, and sees a folder of tools as a user of its own.
        with tempfile.TemporaryDirectory(prefix='tee-bench-') as lab, \
                tempfile.TemporaryDirectory(prefix='tee-bench-', dir='/var/tmp') as shown:
            os.chmod(shown, 0o755)
            project = shutil.copytree(ROOT / 'tests/extra/network' / name, Path(lab) / 'project')
            command, tools = {'npm': npm, 'cargo': cargo}[name](project, Path(shown))
            times = {alone: [], recorded: []}
            for _ in range(options.rounds):
                for how, took in times.items():
                    with tempfile.TemporaryDirectory(prefix='round-', dir=lab) as folder:
                        took.append(how(project, command, tools, Path(folder)))
        (first, low), (second, other) = ((statistics.median(took), min(took)) for took in times.values())
        print(f'{name:12} {first:7.2f}s {low:7.2f}s {second:7.2f}s {other:7.2f}s '
              f'{second / first - 1:+12.1%} {other / low - 1:+8.1%}', flush=True)


if __name__ == '__main__':
    main()
