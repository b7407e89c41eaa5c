"""oci.py LAYOUT: leaves the one image for linux/amd64 of an unpacked OCI archive,
under the name "image".

Follows the indexes, which may nest, checks size and digest of what it follows, and
writes an index of its own. Anything but exactly one image is an error: which one
was meant is not ours to guess. A layer with a device or a FIFO is one too, as in a
tar file: whoever unpacks it without rights would leave an empty file in its place.
Layers are read to their end, and must end with their tar archive.
"""
import contextlib
import gzip
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import tarfile
import zlib

MANIFESTS = {'application/vnd.oci.image.manifest.v1+json'}
INDEXES = {'application/vnd.oci.image.index.v1+json'}
SIZE_MAX = 4 << 20
DEPTH_MAX = 4
LAYERS_MAX = 256
UNPACKED_MAX = 64 << 30
MEMORY_MAX = 512 << 20  # extended headers are read whole, of any claimed size
EMPTIED = ('dev', 'proc', 'sys')  # whatever is in them goes


def fail(message):
    sys.exit(f'oci: {message}')


def blob_path(layout, descriptor):
    digest = descriptor.get('digest', '')
    if not re.fullmatch(r'sha256:[0-9a-f]{64}', digest):
        fail(f'expected a digest sha256:..., saw {digest!r}')
    path = os.path.join(layout, 'blobs', 'sha256', digest[7:])
    if os.path.islink(path) or not os.path.isfile(path):
        fail(f'blob {digest} is not in the archive')
    return digest, path


def blob(layout, descriptor):
    digest, path = blob_path(layout, descriptor)
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


@contextlib.contextmanager
def unpacked(path):
    """The layer's tar archive, by what the layer is and not by what it is called. All
    of it: gzip and zstd both have files of several members."""
    with open(path, 'rb') as file:
        start = file.read(4)
    if start[:2] == b'\x1f\x8b':
        with gzip.open(path) as content:
            yield content
    elif start == b'\x28\xb5\x2f\xfd':
        with subprocess.Popen(['zstd', '-dcq', path], stdout=subprocess.PIPE) as child:
            yield child.stdout
            if child.stdout.read(1) or child.wait() != 0:
                raise OSError(f'zstd ended with {child.wait()}')
    else:
        with open(path, 'rb') as content:
            yield content


class Bounded:
    """Reads a stream and ends it where it gets too long. Not by what is claimed: by what
    comes."""

    def __init__(self, stream, left):
        self.stream, self.left = stream, left

    def read(self, size):
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            fail(f'the layers come to more than {UNPACKED_MAX} bytes')
        return data


def members(path, left):
    with unpacked(path) as content:
        with tarfile.open(fileobj=Bounded(content, left), mode='r|') as layer:
            while member := layer.next():
                layer.members.clear()  # it would remember all of them
                yield member
            # Another reader might go on where this one has seen the end.
            while data := layer.fileobj.read(1 << 20):
                if data.count(0) != len(data):
                    raise tarfile.ReadError('something is behind the end of its tar archive')


def check_layers(layout, descriptor):
    layers = json.loads(blob(layout, descriptor))['layers']
    size = 0
    if len(layers) > LAYERS_MAX:
        fail(f'expected {LAYERS_MAX} layers at most, saw {len(layers)}')
    for layer in layers:
        digest, path = blob_path(layout, layer)
        try:
            for member in members(path, UNPACKED_MAX - size):
                place = os.path.normpath('/' + member.name).lstrip('/')
                if member.isdev() and place.split('/')[0] not in EMPTIED:
                    fail(f'layer {digest} holds a device or FIFO, which an image does not carry: {place!r}')
                size += member.size
                if size > UNPACKED_MAX:
                    fail(f'the layers come to more than {UNPACKED_MAX} bytes')
        except MemoryError:
            fail(f'layer {digest} cannot be read: a header in it takes more than {MEMORY_MAX} bytes')
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            fail(f'layer {digest} cannot be read: {error}')


def main(layout):
    path = os.path.join(layout, 'index.json')
    if not os.path.isfile(path) or not os.path.isfile(os.path.join(layout, 'oci-layout')):
        fail('expected oci-layout and index.json in the archive: is it an OCI archive?')
    with open(path, encoding='utf-8') as file:
        found = {descriptor['digest']: descriptor for descriptor in images(layout, json.load(file))}
    if len(found) != 1:
        fail(f'expected exactly one image for linux/amd64, saw {len(found)}: {" ".join(sorted(found))}')
    descriptor = next(iter(found.values()))
    check_layers(layout, descriptor)
    descriptor['annotations'] = {'org.opencontainers.image.ref.name': 'image'}
    with open(path, 'w', encoding='utf-8') as file:
        json.dump({'schemaVersion': 2, 'manifests': [descriptor]}, file)


if __name__ == '__main__':
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        main(sys.argv[1])
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        fail(f'the archive\'s JSON is not of the expected form: {error!r}')
