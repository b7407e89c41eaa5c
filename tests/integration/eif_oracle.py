"""Enclave images, apart from the product: a writer that puts anything anywhere, a
reader that goes by the header's table and one that walks the sections, PCRs by
hashlib, signatures by cbor2 and cryptography."""
import hashlib
import struct
import zlib

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

KERNEL, CMDLINE, RAMDISK, SIGNATURE, METADATA = 1, 2, 3, 4, 5
NAMES = {KERNEL: 'kernel', CMDLINE: 'cmdline', RAMDISK: 'ramdisk', SIGNATURE: 'signature',
         METADATA: 'metadata'}
HEADER = struct.Struct('>4sHHQQHH32Q32QII')
SECTION = struct.Struct('>HHQ')
CURVES = {'secp256r1': (-7, 32, hashes.SHA256), 'secp384r1': (-35, 48, hashes.SHA384),
          'secp521r1': (-36, 66, hashes.SHA512)}


def build(sections, flags=0, memory=1 << 30, cpus=2):
    """sections: [(kind, bytes)]; the file with a right CRC."""
    body, offsets, sizes = b'', [], []
    for kind, data in sections:
        offsets.append(HEADER.size + len(body))
        sizes.append(len(data))
        body += SECTION.pack(kind, 0, len(data)) + data
    spare = [0] * (32 - len(sections))
    head = HEADER.pack(b'.eif', 4, flags, memory, cpus, 0, len(sections), *offsets, *spare,
                       *sizes, *spare, 0, 0)
    return fix_crc(head + body)


def fix_crc(image):
    crc = zlib.crc32(image[HEADER.size:], zlib.crc32(image[:HEADER.size - 4]))
    return image[:HEADER.size - 4] + struct.pack('>I', crc) + image[HEADER.size:]


class Image:
    def __init__(self, data):
        fields = HEADER.unpack_from(data)
        self.magic, self.version, self.flags, self.memory, self.cpus, reserved, count = fields[:7]
        offsets, sizes, (unused, self.crc) = fields[7:39], fields[39:71], fields[71:]
        assert (self.magic, self.version, reserved, unused) == (b'.eif', 4, 0, 0)
        assert not any(offsets[count:]) and not any(sizes[count:])
        assert self.crc == zlib.crc32(data[HEADER.size:], zlib.crc32(data[:HEADER.size - 4]))
        self.sections = []  # (kind, offset of the data, data)
        at = HEADER.size
        while at < len(data):
            kind, flags, size = SECTION.unpack_from(data, at)
            number = len(self.sections)
            assert flags == 0 and offsets[number] == at and sizes[number] == size
            at += SECTION.size
            assert at + size <= len(data)
            self.sections.append((kind, at, data[at:at + size]))
            at += size
        assert len(self.sections) == count

    def parts(self, kind):
        return [data for found, _, data in self.sections if found == kind]

    def pcrs(self):
        boot = self.parts(KERNEL) + self.parts(CMDLINE)
        ramdisks = self.parts(RAMDISK)
        return [pcr(b''.join(boot + ramdisks)), pcr(b''.join(boot + ramdisks[:1])),
                pcr(b''.join(ramdisks[1:]))]

    def signer(self):
        """The certificate, after everything about the signature was checked."""
        (section,) = self.parts(SIGNATURE)
        (entry,) = cbor2.loads(section)
        assert list(entry) == ['signing_certificate', 'signature']
        assert cbor2.dumps([entry]) == section
        certificate = x509.load_pem_x509_certificate(bytes(entry['signing_certificate']))
        protected, unprotected, payload, signature = cbor2.loads(bytes(entry['signature']))
        assert unprotected == {}
        assert cbor2.loads(payload) == {'register_index': 0,
                                        'register_value': list(self.pcrs()[0])}
        algorithm, size, digest = CURVES[certificate.public_key().curve.name]
        assert cbor2.loads(protected) == {1: algorithm} and len(signature) == 2 * size
        certificate.public_key().verify(
            utils.encode_dss_signature(int.from_bytes(signature[:size], 'big'),
                                       int.from_bytes(signature[size:], 'big')),
            cbor2.dumps(['Signature1', protected, b'', payload]), ec.ECDSA(digest()))
        return certificate


def pcr(data):
    return hashlib.sha384(bytes(48) + hashlib.sha384(data).digest()).digest()


def pcr8(certificate):
    return pcr(certificate.public_bytes(serialization.Encoding.DER))


def sign(pcr0, key, certificate):
    """A signature section."""
    algorithm, size, digest = CURVES[key.curve.name]
    protected = cbor2.dumps({1: algorithm})
    payload = cbor2.dumps({'register_index': 0, 'register_value': list(pcr0)})
    r, s = utils.decode_dss_signature(
        key.sign(cbor2.dumps(['Signature1', protected, b'', payload]), ec.ECDSA(digest())))
    message = cbor2.dumps([protected, {}, payload, r.to_bytes(size, 'big') + s.to_bytes(size, 'big')])
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    return cbor2.dumps([{'signing_certificate': list(pem), 'signature': list(message)}])
