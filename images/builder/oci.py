"""oci.py LAYOUT: leaves the one image for linux/amd64 of an unpacked OCI archive,
under the name "image".

Follows the indexes, which may nest, checks size and digest of what it follows, and
writes an index of its own. Anything but exactly one image is an error: which one
was meant is not ours to guess.
"""
import hashlib
import json
import os
import re
import sys

MANIFESTS = {'application/vnd.oci.image.manifest.v1+json'}
INDEXES = {'application/vnd.oci.image.index.v1+json'}
SIZE_MAX = 4 << 20
DEPTH_MAX = 4


def fail(message):
    sys.exit(f'oci: {message}')


def blob(layout, descriptor):
    digest = descriptor.get('digest', '')
    if not re.fullmatch(r'sha256:[0-9a-f]{64}', digest):
        fail(f'expected a digest sha256:..., saw {digest!r}')
    path = os.path.join(layout, 'blobs', 'sha256', digest[7:])
    if os.path.islink(path) or not os.path.isfile(path):
        fail(f'blob {digest} is not in the archive')
    if os.path.getsize(path) != descriptor.get('size') or os.path.getsize(path) > SIZE_MAX:
        fail(f'blob {digest} has {os.path.getsize(path)} bytes, expected {descriptor.get("size")}')
    with open(path, 'rb') as file:
        data = file.read()
    if hashlib.sha256(data).hexdigest() != digest[7:]:
        fail(f'blob {digest} has another SHA-256: {hashlib.sha256(data).hexdigest()}')
    return data


def fits(layout, descriptor):
    """Says the descriptor, or else the image's own configuration."""
    platform = descriptor.get('platform')
    if platform is None:
        platform = json.loads(blob(layout, json.loads(blob(layout, descriptor))['config']))
    return platform.get('os') == 'linux' and platform.get('architecture') == 'amd64'


def images(layout, index, depth=0):
    if depth > DEPTH_MAX:
        fail('indexes are nested too deeply')
    for descriptor in index.get('manifests', []):
        kind = descriptor.get('mediaType')
        if kind in INDEXES:
            yield from images(layout, json.loads(blob(layout, descriptor)), depth + 1)
        elif kind in MANIFESTS and fits(layout, descriptor):
            yield descriptor


def main(layout):
    path = os.path.join(layout, 'index.json')
    if not os.path.isfile(path) or not os.path.isfile(os.path.join(layout, 'oci-layout')):
        fail('expected oci-layout and index.json in the archive: is it an OCI archive?')
    with open(path, encoding='utf-8') as file:
        found = {descriptor['digest']: descriptor for descriptor in images(layout, json.load(file))}
    if len(found) != 1:
        fail(f'expected exactly one image for linux/amd64, saw {len(found)}: {" ".join(sorted(found))}')
    descriptor = next(iter(found.values()))
    descriptor['annotations'] = {'org.opencontainers.image.ref.name': 'image'}
    with open(path, 'w', encoding='utf-8') as file:
        json.dump({'schemaVersion': 2, 'manifests': [descriptor]}, file)


if __name__ == '__main__':
    try:
        main(sys.argv[1])
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        fail(f'the archive\'s JSON is not of the expected form: {error!r}')
