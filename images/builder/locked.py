"""Whether packages are those that a lock names.

  locked.py digests LOCK          "NAME ARCHITECTURE SHA256" a package of the lock
  locked.py files LOCK FOLDER     the same, once FOLDER has a file SHA256.deb for each and
                                  no other, and each calls itself as the lock calls it
  locked.py installed LOCK TREE   nothing, if dpkg's records of the root TREE have these
                                  packages in these versions, and no others, as installed

A lock's names and versions are what an image says of itself; its digests are what was
fetched. Only here are both compared.
"""
import json
import os
import subprocess
import sys

import sbom


def fail(message):
    sys.exit(f'locked: {message}')


def load(path):
    with open(path, encoding='utf-8') as file:
        return {entry['sha256']: (entry['name'], entry['version'], entry['architecture'])
                for entry in json.load(file)['packages']}


def said(entry):
    return ' '.join(entry)


def fields(stanza):
    return tuple(stanza.get(key, '') for key in ('package', 'version', 'architecture'))


def files(lock, folder):
    found = {name[:-4] for name in os.listdir(folder) if name.endswith('.deb')}
    for digest in sorted(found ^ lock.keys()):
        fail(f'{digest}.deb is not in the lock' if digest in found
             else f'{said(lock[digest])}: {digest}.deb is missing')
    for digest, entry in lock.items():
        shown = subprocess.run(['dpkg-deb', '--field', os.path.join(folder, digest + '.deb')],
                               stdout=subprocess.PIPE, check=True)
        seen = [fields(stanza) for stanza in sbom.stanzas(shown.stdout.decode(errors='replace').split('\n'))]
        if seen != [entry]:
            fail(f'the lock says {said(entry)}, but {digest}.deb is {", ".join(map(said, seen))!r}: lock again')


def installed(lock, tree):
    expected = sorted(lock.values())
    seen = []
    for stanza in sbom.installed(tree):
        status = stanza.get('status', '')
        if status == 'install ok installed':
            seen.append(fields(stanza))
        elif not status.endswith(' not-installed'):
            seen.append((*fields(stanza), f'({status})'))
    seen.sort()
    if seen == expected:
        return
    more = [said(entry) for entry in seen if entry not in expected]
    less = [said(entry) for entry in expected if entry not in seen]
    fail(f'what is installed is not what is locked: not in the lock {more!r}, not installed {less!r}')


def main(words):
    if len(words) not in (2, 3) or words[0] not in ('digests', 'files', 'installed'):
        sys.exit(__doc__)
    lock = load(words[1])
    if words[0] == 'installed':
        return installed(lock, words[2])
    if words[0] == 'files':
        files(lock, words[2])
    for digest, (name, _, architecture) in lock.items():
        print(name, architecture, digest)
    return None


if __name__ == '__main__':
    main(sys.argv[1:])
