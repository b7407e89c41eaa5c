#!/usr/bin/env python3
"""make_eif_seeds.py CORPUS: writes the seeds of the targets eif and eifsig. Run by
hand when the format changes."""
import datetime
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'integration'))
import eif_oracle as eif  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

CORPUS = pathlib.Path(sys.argv[1])


def store(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def listed(sections):
    return b''.join(struct.pack('>BH', kind, len(data)) + data for kind, data in sections)


def sections(ramdisks, more=(), metadata=b'{"ImageName": "x", "a": [1, null]}', cmdline=b'reboot=t'):
    return [(eif.KERNEL, b'KERNEL'), (eif.CMDLINE, cmdline), (eif.METADATA, metadata),
            *((eif.RAMDISK, data) for data in ramdisks), *more]


def certificate_of(key):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 's')])
    return (x509.CertificateBuilder().subject_name(name).issuer_name(name)
            .public_key(key.public_key()).serial_number(1)
            .not_valid_before(datetime.datetime(2024, 1, 1))
            .not_valid_after(datetime.datetime(2044, 1, 1)).sign(key, hashes.SHA384()))


SIGNATURES = {}
for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()):
    key = ec.generate_private_key(curve)
    SIGNATURES[curve.name] = eif.sign(bytes(range(48)), key, certificate_of(key))
    store('eifsig', curve.name, SIGNATURES[curve.name])
SMALL = SIGNATURES['secp256r1']
store('eifsig', 'wrong-key', eif.sign(bytes(48), ec.generate_private_key(ec.SECP256R1()),
                                      certificate_of(ec.generate_private_key(ec.SECP256R1()))))
store('eifsig', 'empty-array', b'\x80')

IMAGES = {
    'one-ramdisk': sections([b'0707one.']),
    'two-ramdisks': sections([b'0707one.', b'0707two']),
    'compressed': sections([b'\x1f\x8bone', b'\x28\xb5two', b'\xfd7z']),
    'unaligned': sections([b'07071', b'0707']),
    'empty-cmdline': sections([b'0707'], cmdline=b''),
    'signed': sections([b'0707'], more=[(eif.SIGNATURE, SMALL)]),
    'many': sections([b'0707'] * 29),
    'order': [*sections([b'0707'])[:2], (eif.RAMDISK, b'0707'), (eif.METADATA, b'{}')],
    'metadata-list': sections([b'0707'], metadata=b'[1]'),
}
for name, parts in IMAGES.items():
    store('eif', f'{name}-listed', b'\2' + listed(parts))
for name in ('one-ramdisk', 'two-ramdisks', 'signed'):
    store('eif', f'{name}-raw', b'\0' + eif.build(IMAGES[name]))
    store('eif', f'{name}-fixed', b'\1' + eif.build(IMAGES[name], flags=1)[:-1])
store('eif', 'wrong-crc', b'\0' + eif.build(IMAGES['one-ramdisk'])[:-1] + b'x')
