"""oci_archive.py LAYER.tar.gz OUTPUT: an OCI archive with one image of one layer, after
the published specification; for tests, without a container's tools."""
import gzip
import hashlib
import io
import json
import sys
import tarfile

OCI = 'application/vnd.oci.image.'


def main(source, output):
    blobs = {}

    def blob(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {'mediaType': OCI + kind, 'digest': 'sha256:' + digest, 'size': len(data)}

    with open(source, 'rb') as file:
        layer = file.read()
    plain = hashlib.sha256(gzip.decompress(layer)).hexdigest()
    config = {'architecture': 'amd64', 'os': 'linux', 'config': {},
              'rootfs': {'type': 'layers', 'diff_ids': ['sha256:' + plain]}}
    manifest = {'schemaVersion': 2, 'mediaType': OCI + 'manifest.v1+json',
                'config': blob(json.dumps(config).encode(), 'config.v1+json'),
                'layers': [blob(layer, 'layer.v1.tar+gzip')]}
    index = {'schemaVersion': 2, 'manifests': [blob(json.dumps(manifest).encode(), 'manifest.v1+json')]}
    with tarfile.open(output, 'w') as tar:
        def add(name, data):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        add('oci-layout', b'{"imageLayoutVersion": "1.0.0"}')
        add('index.json', json.dumps(index).encode())
        for digest, data in blobs.items():
            add('blobs/sha256/' + digest, data)


if __name__ == '__main__':
    main(*sys.argv[1:])
