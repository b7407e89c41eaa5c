#!/usr/bin/env python3
"""Proves that check_layers.py can fail: each rule once broken, each exception once used."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import check_layers

LAYERS = sorted(check_layers.MAY_INCLUDE)
MIDDLE = ('source', 'worker', 'host', 'verify')


def violations(files):
    """What is found in a tree of {path: text}."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding='utf-8')
        return check_layers.check_tree(Path(folder))[0]


class Rules(unittest.TestCase):
    def refuse(self, name, text, part):
        found = violations({name: text})
        self.assertEqual(len(found), 1, (name, text, found))
        self.assertIn(part, found[0])

    def accept(self, name, text):
        self.assertEqual(violations({name: text}), [])

    def test_every_pair_of_folders(self):
        allowed = {('core', 'base'), ('os', 'base')}
        allowed |= {(m, low) for m in MIDDLE for low in ('base', 'core', 'os')}
        allowed |= {('cmd', low) for low in LAYERS}
        for folder in LAYERS:
            for target in LAYERS:
                with self.subTest(folder=folder, target=target):
                    text = f'#include "{target}/x.h"\n'
                    if folder == target or (folder, target) in allowed:
                        self.accept(f'{folder}/a.c', text)
                    else:
                        self.refuse(f'{folder}/a.c', text, f'{folder} may not include {target}/x.h')

    def test_headers_are_checked_too(self):
        self.refuse('host/a.h', '#include "worker/spawner.h"\n', 'host/a.h:1: host may not include')

    def test_os_may_include_three_of_core(self):
        for name in ('wire', 'entry', 'digest'):
            self.accept('os/a.c', f'#include "core/{name}.h"\n')
        self.refuse('os/a.c', '#include "core/statement.h"\n', 'os may not include core/statement.h')

    def test_generated_header(self):
        self.accept('worker/a.c', '#include "tc_version.h"\n')
        self.refuse('core/a.c', '#include "tc_version.h"\n', 'core may not include tc_version.h')

    def test_unclear_includes(self):
        self.refuse('host/a.c', '#include "neighbour.h"\n', 'does not name a header')
        self.refuse('host/a.c', '#include "../worker/x.h"\n', 'does not name a header')
        self.refuse('host/a.c', '#include "host/../worker/x.h"\n', 'does not name a header')
        self.refuse('host/a.c', '#include HEADER\n', 'must name its file')

    def test_unknown_folder(self):
        self.refuse('util/a.c', 'int x;\n', 'not in a folder')
        self.refuse('core/deep/a.c', 'int x;\n', 'not in a folder')
        self.refuse('a.c', 'int x;\n', 'not in a folder')

    def test_core_is_pure(self):
        for name in ('unistd.h', 'fcntl.h', 'sys/stat.h', 'sys/socket.h', 'zlib.h', 'git2.h'):
            self.refuse('core/a.c', f'#include <{name}>\n', f'core may not include <{name}>')
        for name in ('openssl/evp.h', 'jansson.h', 'string.h', 'stdio.h'):
            self.accept('core/a.c', f'#include <{name}>\n')
        self.accept('core/a.c', 'int f(char *o) { return snprintf(o, 2, "x"); }\n')
        for name in ('zlib.h', 'immintrin.h'):
            self.accept('core/crc32.c', f'#include <{name}>\n')
            self.refuse('core/crc32.h', f'#include <{name}>\n', f'core may not include <{name}>')
        self.refuse('core/crc32.c', '#include <unistd.h>\n', 'core may not include <unistd.h>')

    def test_libraries(self):
        self.refuse('os/a.c', '#include <openssl/evp.h>\n', 'os may not use')
        self.refuse('verify/a.c', '#include <jansson.h>\n', 'verify may not use')
        self.refuse('worker/a.c', '#include <git2.h>\n', 'worker may not use')
        self.refuse('verify/a.c', '#include <seccomp.h>\n', 'verify may not use')
        self.refuse('worker/a.c', '#include <cbor.h>\n', 'worker may not use')

    def test_each_banned_call_in_each_folder(self):
        for names, folders, excepted, _ in check_layers.BANNED:
            for name in names:
                for folder in LAYERS:
                    with self.subTest(name=name, folder=folder):
                        text = f'int f(void)\n{{\n    return {name} (x);\n}}\n'
                        if folder in folders:
                            self.refuse(f'{folder}/a.c', text, f'a.c:3: {name}() is banned here')
                        else:
                            self.accept(f'{folder}/a.c', text)
                for path in excepted:
                    self.accept(path, f'int x = {name}(1);\n')

    def test_the_table_has_what_it_must(self):
        """A row that is deleted takes its generated test along; these names do not go."""
        everywhere = ('strcpy strcat sprintf vsprintf gets popen system alloca strtok atoi sleep '
                      'usleep nanosleep cbor_load json_load json_loads json_loadb')
        for name in everywhere.split():
            for folder in LAYERS:
                self.refuse(f'{folder}/a.c', f'int x = {name}(1);\n', name)
        for name in ('getaddrinfo', 'gethostbyname', 'getpwnam', 'getpwuid', 'dlopen'):
            for folder in ('worker', 'core', 'os'):
                self.refuse(f'{folder}/a.c', f'int x = {name}(1);\n', name)
        for folder in ('base', 'core', 'os', 'source', 'worker', 'verify'):
            self.refuse(f'{folder}/a.c', 'char *x = getenv(n);\n', 'getenv')
        for name in ('time', 'clock_gettime', 'printf', 'fopen'):
            self.refuse('core/a.c', f'int x = {name}(1);\n', name)

    def test_ways_to_write_a_call(self):
        self.refuse('host/a.c', 'int x = (system)("a");\n', 'system')
        self.refuse('host/a.c', 'int x = system\n    ("a");\n', 'system')
        self.refuse('host/a.c', 'int x = 1; /* " */ int y = system("a"); /* " */\n', 'system')
        self.refuse('host/a.c', "char q = '\"'; int y = system(\"a\");\n", 'system')

    def test_what_is_no_call(self):
        self.accept('core/a.c', '/* time(NULL) */ // system("x")\nconst char *s = "strcpy(a, b)";\n')
        self.accept('core/a.c', 'int x = s.time(1) + p->clock(2) + build_system(3) + mktime2(4);\n')
        self.accept('core/a.c', '/*\n#include <unistd.h>\n*/\n')

    def test_length(self):
        self.accept('core/a.c', '\n' * 700)
        self.refuse('core/a.c', '\n' * 701, '701 lines')


class Program(unittest.TestCase):
    def run_on(self, folder):
        return subprocess.run([sys.executable, check_layers.__file__, folder], check=False,
                              capture_output=True, text=True)

    def test_exit_status(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(self.run_on(folder).returncode, 2)
            Path(folder, 'core').mkdir()
            Path(folder, 'core/a.c').write_text('int x;\n', encoding='utf-8')
            self.assertEqual(self.run_on(folder).returncode, 0)
            Path(folder, 'core/a.c').write_text('#include <unistd.h>\n', encoding='utf-8')
            result = self.run_on(folder)
            self.assertEqual(result.returncode, 1)
            self.assertIn('core/a.c:1: core may not include <unistd.h>', result.stdout)


if __name__ == '__main__':
    unittest.main()
