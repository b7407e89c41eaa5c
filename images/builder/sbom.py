"""What is in an image, as SPDX 2.3.

  sbom.py packages TREE DIGESTS [NAME...]   the Debian packages of the root TREE, or
                                            those named, as one JSON list
  sbom.py locked LOCK PREFIX                the packages of a lock whose names begin so,
                                            as such a list
  sbom.py document NAME PART=FILE...        the document, from such lists

Read are dpkg's own records and the machine-readable copyright files (Debian's
copyright format 1.0) of the root itself. What they do not say is NOASSERTION: a
licence is never guessed. DIGESTS has a line "NAME ARCHITECTURE SHA256" a package,
or is empty; where it is not, a package without its line is an error, and without
NAMEs a line without its package. The same input gives the same bytes: lists are sorted and the one time
that SPDX demands is SOURCE_DATE_EPOCH.
"""
import hashlib
import itertools
import json
import os
import re
import sys
import time
import urllib.parse
import uuid

from intree import inside

FORMAT = 'debian.org/doc/packaging-manuals/copyright-format/1.0'
TEXT_MAX = 8 << 20
STATUS_MAX = 64 << 20  # dpkg's records; ten thousand packages come to some 10 MB

# Debian's short names that mean exactly one licence of SPDX's list. "MIT", "BSD"
# and the like are not among them: in Debian they name families.
NAMES = {
    'expat': 'MIT', 'isc': 'ISC', 'zlib': 'Zlib', 'curl': 'curl', 'openssl': 'OpenSSL',
    'bsd-2-clause': 'BSD-2-Clause', 'bsd-3-clause': 'BSD-3-Clause', 'bsd-4-clause': 'BSD-4-Clause',
    'apache-1.0': 'Apache-1.0', 'apache-2.0': 'Apache-2.0', 'apache-2': 'Apache-2.0',
    'artistic-2.0': 'Artistic-2.0', 'mpl-1.1': 'MPL-1.1', 'mpl-2.0': 'MPL-2.0',
    'cc0-1.0': 'CC0-1.0', 'cc-by-3.0': 'CC-BY-3.0', 'cc-by-4.0': 'CC-BY-4.0',
    'cc-by-sa-3.0': 'CC-BY-SA-3.0', 'cc-by-sa-4.0': 'CC-BY-SA-4.0', 'bsl-1.0': 'BSL-1.0',
    'unlicense': 'Unlicense', 'unicode-dfs-2016': 'Unicode-DFS-2016', 'ofl-1.1': 'OFL-1.1',
}
FAMILIES = {'gpl': 'GPL', 'lgpl': 'LGPL', 'agpl': 'AGPL', 'gfdl': 'GFDL'}
VERSIONS = {
    'gpl': {'1', '2', '3'}, 'lgpl': {'2', '2.1', '3'}, 'agpl': {'1', '3'}, 'gfdl': {'1.1', '1.2', '1.3'},
}


def stanzas(lines):
    """Paragraphs of Debian's control format, as maps with keys in lower case."""
    fields, key = {}, None
    for line in itertools.chain(lines, ('',)):
        line = line.rstrip('\n')
        if not line.strip(' \t'):
            if fields:
                yield {name: '\n'.join(value) for name, value in fields.items()}
            fields, key = {}, None
        elif line.startswith('#'):
            continue
        elif line[0] in ' \t':
            if key:
                fields[key].append(line.strip())
        elif ':' in line:
            key, _, value = line.partition(':')
            key = key.lower()
            fields[key] = [value.strip()]


def read(tree, path, most=TEXT_MAX):
    """The text's lines; none where the tree has no such file. One that is too large is
    an error: what it says must not count as not said."""
    full = inside(tree, path)
    if full is None:
        return
    size = os.path.getsize(full)
    if size > most:
        sys.exit(f'sbom: expected /{path} to have {most} bytes at most, saw {size}')
    with open(full, encoding='utf-8', errors='replace') as file:
        yield from file


def installed(tree):
    """What dpkg's records say of each package."""
    return stanzas(read(tree, 'var/lib/dpkg/status', STATUS_MAX))


def one_licence(name, package, other):
    """An SPDX identifier, or a reference into the package's copyright file."""
    low = name.lower()
    if low in NAMES:
        return NAMES[low]
    match = re.fullmatch(r'(gpl|lgpl|agpl|gfdl)-([0-9.]+?)(?:\.0)?(\+?)', low)
    if match and match[2] in VERSIONS[match[1]]:
        version = match[2] if '.' in match[2] else match[2] + '.0'
        return f'{FAMILIES[match[1]]}-{version}-{"or-later" if match[3] else "only"}'
    tail = re.sub(r'[^A-Za-z0-9.]+', '-', name.replace('+', ' or later ')).strip('-') or 'unnamed'
    reference = f'LicenseRef-{identifier(package)}-{tail}'
    other[reference] = name
    return reference


def expression(text, package, other):
    """"A or B, and C" of the copyright format, in which a comma binds least."""
    if not text or len(text) > 1000 or not text.isprintable():
        return None
    groups = re.split(r',\s*(and|or)\s+', text, flags=re.IGNORECASE)
    out = []
    for i, group in enumerate(groups):
        if i % 2:
            out.append(group.upper())
            continue
        words = re.split(r'\s+(and/or|and|or)\s+', group.strip(' ,'), flags=re.IGNORECASE)
        parts = []
        for j, word in enumerate(words):
            if j % 2:
                parts.append({'and/or': 'OR'}.get(word.lower(), word.upper()))
            elif word.strip():
                parts.append(one_licence(word.strip(), package, other))
            else:
                return None
        joined = ' '.join(parts)
        out.append(f'({joined})' if len(parts) > 1 and len(groups) > 1 else joined)
    return ' '.join(out)


def licence(tree, package):
    """The declared licence and what its references mean; None when not readable."""
    other = {}
    paragraphs = list(stanzas(read(tree, f'usr/share/doc/{package}/copyright')))
    if not paragraphs or FORMAT not in paragraphs[0].get('format', ''):
        return None, other
    found = set()
    for paragraph in paragraphs:
        if 'files' not in paragraph and paragraph is not paragraphs[0]:
            continue
        short = paragraph.get('license', '').split('\n')[0].strip()
        if not short and 'files' not in paragraph:
            continue
        one = expression(short, package, other)
        if one is None:
            return None, {}
        found.add(f'({one})' if ' OR ' in one else one)
    if not found:
        return None, {}
    if len(found) == 1:
        one = found.pop()
        return one, other
    return ' AND '.join(sorted(found)), other


def packages(tree, digests, wanted):
    known = {}
    for line in digests.splitlines():
        name, architecture, digest = line.split()
        known[name, architecture] = digest
    found = []
    for stanza in installed(tree):
        name = stanza.get('package', '')
        if not stanza.get('status', '').endswith(' installed') or (wanted and name not in wanted):
            continue
        architecture = stanza.get('architecture', '')
        declared, other = licence(tree, name)
        source = re.fullmatch(r'(\S+)(?: \((\S+)\))?', stanza.get('source', name))
        found.append({
            'name': name, 'version': stanza.get('version', ''), 'architecture': architecture,
            'sha256': known.get((name, architecture)),
            'source': source[1] if source else name,
            'source_version': source[2] if source and source[2] else stanza.get('version', ''),
            'homepage': stanza.get('homepage'), 'licence': declared,
            'references': dict(sorted(other.items())),
        })
    missing = set(wanted) - {package['name'] for package in found}
    if not wanted:
        missing = {name for name, _ in known.keys() - {(one['name'], one['architecture']) for one in found}}
    if missing:
        sys.exit(f'sbom: not installed in {tree}: {", ".join(sorted(missing))}')
    unknown = sorted(one['name'] for one in found if known and one['sha256'] is None)
    if unknown:
        sys.exit(f'sbom: no digest is known of {", ".join(unknown)}')
    return sorted(found, key=lambda package: (package['name'], package['architecture']))


def locked(path, prefix):
    """Of packages that are not installed here nothing is known but their lock."""
    with open(path, encoding='utf-8') as file:
        lock = json.load(file)
    return [{
        'name': entry['name'], 'version': entry['version'], 'architecture': entry['architecture'],
        'sha256': entry['sha256'], 'source': None, 'source_version': None, 'homepage': None,
        'licence': None, 'references': {},
    } for entry in lock['packages'] if entry['name'].startswith(prefix)]


def identifier(text):
    return re.sub(r'[^A-Za-z0-9.-]', '-', text)


def debian_package(package, part, number):
    quoted = urllib.parse.quote
    entry = {
        'SPDXID': f'SPDXRef-{part}-{number}-{identifier(package["name"])}',
        'name': package['name'], 'versionInfo': package['version'],
        'downloadLocation': 'NOASSERTION', 'filesAnalyzed': False,
        'licenseConcluded': 'NOASSERTION', 'licenseDeclared': package['licence'] or 'NOASSERTION',
        'copyrightText': 'NOASSERTION', 'supplier': 'NOASSERTION',
        'externalRefs': [{
            'referenceCategory': 'PACKAGE-MANAGER', 'referenceType': 'purl',
            'referenceLocator': f'pkg:deb/debian/{quoted(package["name"], safe="")}'
                                f'@{quoted(package["version"], safe="")}'
                                f'?arch={quoted(package["architecture"], safe="")}'}],
    }
    if package['source']:
        entry['sourceInfo'] = f'built from the source package {package["source"]} {package["source_version"]}'
    if package['sha256']:
        entry['checksums'] = [{'algorithm': 'SHA256', 'checksumValue': package['sha256']}]
    if re.fullmatch(r'https?://[!-~]+', package['homepage'] or ''):
        entry['homepage'] = package['homepage']
    return entry


# How the parts of an image are told apart, and what a part is to its packages.
PARTS = {
    'toolchain': 'the toolchain\'s root file system',
    'ramdisk': 'programs and libraries beside the worker in the first ramdisk',
    'worker': 'tee-compile-worker, linked statically with what it contains',
    'kernel': 'the kernel, built from what it contains',
}


def document(name, parts):
    created = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(int(os.environ['SOURCE_DATE_EPOCH'])))
    entries = [{
        'SPDXID': 'SPDXRef-Image', 'name': name, 'downloadLocation': 'NOASSERTION', 'filesAnalyzed': False,
        'licenseConcluded': 'NOASSERTION', 'licenseDeclared': 'NOASSERTION', 'copyrightText': 'NOASSERTION',
        'supplier': 'NOASSERTION', 'primaryPackagePurpose': 'OPERATING-SYSTEM',
        'comment': 'an enclave image of tee-compile'}]
    relations, references = [('SPDXRef-DOCUMENT', 'DESCRIBES', 'SPDXRef-Image')], {}
    for part, listed in parts:
        own = f'SPDXRef-Part-{part}'
        entries.append({
            'SPDXID': own, 'name': f'{name}/{part}', 'downloadLocation': 'NOASSERTION', 'filesAnalyzed': False,
            'licenseConcluded': 'NOASSERTION', 'licenseDeclared': 'NOASSERTION',
            'copyrightText': 'NOASSERTION', 'supplier': 'NOASSERTION', 'comment': PARTS[part]})
        relations.append(('SPDXRef-Image', 'CONTAINS', own))
        for number, package in enumerate(listed, 1):
            entry = debian_package(package, part, number)
            entries.append(entry)
            relations.append((own, 'CONTAINS', entry['SPDXID']))
            for reference, short in package['references'].items():
                references[reference] = (short, package['name'])
    body = {
        'spdxVersion': 'SPDX-2.3', 'dataLicense': 'CC0-1.0', 'SPDXID': 'SPDXRef-DOCUMENT', 'name': name,
        'documentNamespace': None,
        'creationInfo': {'created': created, 'creators': ['Tool: tee-compile']},
        'packages': entries,
        'hasExtractedLicensingInfos': [{
            'licenseId': reference, 'name': short,
            'extractedText': f'What usr/share/doc/{package}/copyright of the package {package} calls "{short}".'}
            for reference, (short, package) in sorted(references.items())],
        'relationships': [{
            'spdxElementId': one, 'relationshipType': kind, 'relatedSpdxElement': other}
            for one, kind, other in relations],
    }
    # Unique to what it says, and of no host: derived from the document itself.
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()
    body['documentNamespace'] = f'urn:uuid:{uuid.UUID(bytes=digest[:16], version=5)}'
    return body


def write(value):
    json.dump(value, sys.stdout, ensure_ascii=True, indent=1)
    sys.stdout.write('\n')


def main(words):
    if len(words) >= 3 and words[0] == 'packages':
        with open(words[2], encoding='ascii') as file:
            write(packages(words[1], file.read(), set(words[3:])))
    elif len(words) == 3 and words[0] == 'locked':
        write(locked(words[1], words[2]))
    elif len(words) >= 3 and words[0] == 'document':
        parts = []
        for word in words[2:]:
            part, _, path = word.partition('=')
            with open(path, encoding='ascii') as file:
                parts.append((part, json.load(file)))
        write(document(words[1], parts))
    else:
        sys.exit(__doc__)


if __name__ == '__main__':
    main(sys.argv[1:])
