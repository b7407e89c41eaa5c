#!/usr/bin/env python3
"""check_layers.py SRC: which folder may include which, and which calls are banned.

The tables below are the rules that docs/architecture.md describes. Comments and
strings are taken out before calls are looked for. Prints one line a violation;
exit status 1 when there is any, 2 when SRC cannot be what was meant.
"""
import re
import sys
from pathlib import Path

LINES_MAX = 700

# Which folders a folder may include besides itself. worker, host, verify and
# source are missing from one another's rows on purpose.
MAY_INCLUDE = {
    'base': set(),
    'core': {'base'},
    'os': {'base'},
    'source': {'base', 'core', 'os'},
    'worker': {'base', 'core', 'os'},
    'host': {'base', 'core', 'os'},
    'verify': {'base', 'core', 'os'},
    'cmd': {'base', 'core', 'os', 'source', 'worker', 'host', 'verify'},
}
# os carries frames and entries, and knows nothing else of the formats.
MAY_INCLUDE_FILES = {'os': {'core/wire.h', 'core/entry.h', 'core/digest.h'}}
# Made by the build: the version's text.
GENERATED = {'tc_version.h'}
MAY_INCLUDE_GENERATED = {'source', 'worker', 'host', 'verify', 'cmd'}

STANDARD = {name + '.h' for name in (
    'assert', 'ctype', 'errno', 'float', 'inttypes', 'iso646', 'limits', 'math', 'stdalign',
    'stdarg', 'stdbool', 'stddef', 'stdint', 'stdio', 'stdlib', 'stdnoreturn', 'string', 'time')}
# Folders with a closed list of system headers; a name that ends in / is a prefix.
SYSTEM_HEADERS = {
    'base': STANDARD | {'unistd.h'},
    'core': STANDARD | {'openssl/', 'jansson.h'},
}
# The files that may do more: a CRC, in the processor's terms and in zlib's; deflated files.
SYSTEM_HEADERS_FILES = {'core/crc32.c': {'zlib.h', 'immintrin.h'}, 'core/gozip.c': {'zlib.h'}}
# Libraries that only some folders may use.
LIBRARIES = {
    'openssl/': {'core', 'source', 'worker', 'host', 'verify', 'cmd'},
    'jansson.h': {'core'},
    'git2.h': {'source'},
    'git2/': {'source'},
    'seccomp.h': {'worker', 'host'},
    'curl/': {'host'},
    'cbor.h': set(),  # the tests' oracle, never the product
}

ALL = set(MAY_INCLUDE)
# (calls, folders where they are banned, files that are excepted, why)
BANNED = [
    (('strcpy', 'strcat', 'sprintf', 'vsprintf', 'gets'), ALL, set(), 'it has no bound'),
    (('popen', 'system'), ALL, set(), 'it starts a shell'),
    (('alloca',), ALL, set(), 'it has no limit and no error'),
    (('strtok',), ALL, set(), 'it keeps global state'),
    (('atoi', 'atol', 'atoll', 'atof'), ALL, set(), 'it has no error'),
    (('sleep', 'usleep', 'nanosleep', 'clock_nanosleep'), ALL, set(),
     'it waits for time instead of an event'),
    (('getaddrinfo', 'gethostbyname', 'getpwnam', 'getpwuid', 'dlopen'), {'worker', 'core', 'os'},
     set(), 'it loads code at run time, which a static program must not'),
    (('cbor_load',), ALL, set(), 'core/cbor.h is the only reader of CBOR'),
    (('json_load', 'json_loads', 'json_loadb', 'json_loadf', 'json_loadfd', 'json_load_file',
      'json_load_callback'), ALL, {'core/json.c'}, 'core/json.h is the only reader of JSON'),
    (('getenv', 'secure_getenv'), ALL - {'cmd', 'host'}, set(), 'it reads the environment'),
    (('time', 'clock', 'clock_gettime', 'gettimeofday', 'timespec_get'), {'core', 'base'}, set(),
     'it reads the clock'),
    (('printf', 'vprintf', 'fprintf', 'vfprintf', 'dprintf', 'puts', 'fputs', 'putchar', 'perror',
      'fopen', 'fdopen', 'freopen', 'fread', 'fwrite', 'getchar', 'tmpfile', 'remove', 'rename'),
     {'core', 'base'}, set(), 'it does input or output'),
]

# Comments, strings and characters, in the order in which a compiler sees them.
# #include lines go first so that their quotes stay.
TOKEN = re.compile(r'(?P<include>^[ \t]*#[ \t]*include[^\n]*)'
                   r'|(?P<comment>/\*.*?\*/|//(?:\\\n|[^\n])*)'
                   r'|(?P<text>"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')', re.DOTALL | re.MULTILINE)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(.)([^">\n]*)', re.MULTILINE)


def bare(text):
    """The code alone; line numbers stay as they are."""
    def blank(match):
        if match['include']:
            return match['include']
        return ('""' if match['text'] else ' ') + '\n' * match[0].count('\n')
    return TOKEN.sub(blank, text)


def matches(name, allowed):
    return name in allowed or any(a.endswith('/') and name.startswith(a) for a in allowed)


def check_quoted(folder, name, _relative):
    if name in GENERATED:
        return None if folder in MAY_INCLUDE_GENERATED else f'{folder} may not include {name}'
    target = name.split('/')[0]
    if name.count('/') != 1 or target not in MAY_INCLUDE:
        return f'"{name}" does not name a header as folder/name.h from src'
    if target == folder or target in MAY_INCLUDE[folder] or \
            name in MAY_INCLUDE_FILES.get(folder, ()):
        return None
    return f'{folder} may not include {name}'


def check_system(folder, name, relative):
    if folder in SYSTEM_HEADERS and not matches(name, SYSTEM_HEADERS[folder]) and \
            name not in SYSTEM_HEADERS_FILES.get(relative, ()):
        return f'{folder} may not include <{name}>'
    for library, folders in LIBRARIES.items():
        if matches(name, {library}) and folder not in folders:
            return f'{folder} may not use the library of <{name}>'
    return None


def check_file(path, relative):
    text = path.read_text(encoding='utf-8')
    folder = relative.split('/')[0]
    if relative.count('/') != 1 or folder not in MAY_INCLUDE:
        return [f'{relative}: not in a folder that has a row in the table of layers']
    code = bare(text)
    found = []

    def report(offset, message):
        found.append(f'{relative}:{code.count(chr(10), 0, offset) + 1}: {message}')

    for match in INCLUDE.finditer(code):
        kind, name = match.groups()
        check = {'"': check_quoted, '<': check_system}.get(kind)
        message = check(folder, name, relative) if check else 'an include must name its file'
        if message:
            report(match.start(), message)
    for names, folders, excepted, why in BANNED:
        if folder not in folders or relative in excepted:
            continue
        # Not a member of a structure; (name)(...) is a call too.
        call = r'(?<![\w.])(?<!->)(' + '|'.join(names) + r')\b[\s)]*\('
        for match in re.finditer(call, code):
            report(match.start(), f'{match[1]}() is banned here: {why}')
    lines = text.count('\n')
    if lines > LINES_MAX:
        found.append(f'{relative}: {lines} lines, more than {LINES_MAX}: split it by subject')
    return found


def check_tree(source):
    """Violations, and how many files were read."""
    files = sorted(p for p in source.rglob('*') if p.suffix in ('.c', '.h'))
    found = []
    for path in files:
        found += check_file(path, path.relative_to(source).as_posix())
    return found, len(files)


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    found, count = check_tree(Path(sys.argv[1]))
    if count == 0:
        print(f'{sys.argv[1]}: no C files there', file=sys.stderr)
        return 2
    for line in found:
        print(line)
    print(f'{count} files, {len(found)} violations')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
