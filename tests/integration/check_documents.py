#!/usr/bin/env python3
"""check_documents.py TEE_COMPILE [VECTORS]

tee-compile attestation against a second reader and judge of Nitro documents that
shares nothing with it: CBOR by cbor2, certificates and signatures by cryptography,
the rules of docs/formats.md written down again. Every document of the two
collections is shown and judged by both; they must agree on each field and on each
verdict. The only allowed differences are listed in DIFFERENCES, with the reason,
and each must still differ."""
import datetime
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

TOOL = os.path.abspath(sys.argv[1])
VECTORS = Path(sys.argv[2] if len(sys.argv) > 2 else os.environ.get('TC_VECTORS')
               or '../shared/vectors')
ORDER = int('ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf'
            '581a0db248b0a77aecec196accc52973', 16)
ECDSA_WITH_SHA384 = bytes.fromhex('300a06082a8648ce3d040303')
REQUIRED = ['module_id', 'digest', 'timestamp', 'pcrs', 'certificate', 'cabundle']
OPTIONAL = ['public_key', 'user_data', 'nonce']

# What the reader here says and the command line decides otherwise.
DIFFERENCES = {
    'cose-base64.cbor': 'a document in base64: this reader takes raw bytes alone',
    'cose-hex.cbor': 'a document in hex: this reader takes raw bytes alone',
}
# The policy cases, as docs/formats.md decides them. Nothing else about them is
# particular: the rules below come to the same.
POLICY = {
    'policy-pcr32bytes.cbor': False, 'policy-pcrs-only-pcr0.cbor': False,
    'policy-extra-key.cbor': False, 'policy-high-s.cbor': True,
    'policy-nonshortest-ints.cbor': False, 'policy-outer-indef.cbor': False,
    'policy-debug-pcr0-zero.cbor': True, 'policy-timestamp-2h-before-leaf.cbor': False,
    'policy-short-chain.cbor': True, 'aws-ok-at-notafter.cbor': True,
    'policy-aws-debug.cbor': True,
}


class Refused(Exception):
    pass


def need(condition, why):
    if not condition:
        raise Refused(why)


def strict(data, what):
    """One CBOR item that is exactly data, shortest and definite, no key twice: then
    writing it again gives the same bytes."""
    try:
        source = BytesIO(data)
        value = cbor2.CBORDecoder(source).decode()
        rest = source.read()
        again = cbor2.dumps(value)
    except Exception as error:  # cbor2 raises many kinds on hostile input
        raise Refused(f'{what}: {error!r}') from error
    need(not rest, f'{what}: bytes follow')
    need(again == data, f'{what}: another spelling')
    return value


def read_payload(payload):
    if payload[:1] == b'\xbf':  # a map of indefinite length, at the top alone
        need(payload[-1:] == b'\xff', 'payload: not closed')
        try:
            count = len(cbor2.loads(payload))
        except Exception as error:
            raise Refused(f'payload: {error!r}') from error
        payload = bytes([0xa0 | count]) + payload[1:-1]
    value = strict(payload, 'payload')
    need(isinstance(value, dict), 'payload: no map')
    return value


def is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def check_fields(doc):
    need(set(doc) <= set(REQUIRED + OPTIONAL), 'unknown field')
    need(set(REQUIRED) <= set(doc), 'a field is missing')
    need(isinstance(doc['module_id'], str) and 1 <= len(doc['module_id'].encode()) <= 256
         and '\0' not in doc['module_id'], 'module_id')
    need(doc['digest'] == 'SHA384', 'digest')
    need(is_int(doc['timestamp']) and 0 < doc['timestamp'] <= 253402300799000, 'timestamp')
    pcrs = doc['pcrs']
    need(isinstance(pcrs, dict), 'pcrs')
    for index, value in pcrs.items():
        need(is_int(index) and 0 <= index < 32, 'PCR index')
        need(isinstance(value, bytes) and len(value) == 48, 'PCR value')
    need({0, 1, 2} <= set(pcrs), 'PCR0 to 2')
    need(isinstance(doc['cabundle'], list) and 1 <= len(doc['cabundle']) <= 8, 'cabundle')
    for der in doc['cabundle'] + [doc['certificate']]:
        need(isinstance(der, bytes) and 1 <= len(der) <= 1024, 'certificate')
    for name in OPTIONAL:
        value = doc.get(name)
        need(value is None or (isinstance(value, bytes) and len(value) <= 1024), name)


def extension(certificate, oid):
    try:
        return certificate.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound:
        return None


def load(der):
    try:
        certificate = x509.load_der_x509_certificate(der)
        # Things that the library reads late.
        key = certificate.public_key()
        facts = (certificate.subject, certificate.issuer, certificate.serial_number,
                 certificate.extensions, certificate.version)
        need(certificate.public_bytes(Encoding.DER) == der, 'trailing bytes')
    except Refused:
        raise
    except Exception as error:
        raise Refused(f'certificate: {error!r}') from error
    need(facts[4] == x509.Version.v3, 'not v3')
    need(isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == 'secp384r1', 'key')
    need(certificate.signature_algorithm_oid == SignatureAlgorithmOID.ECDSA_WITH_SHA384, 'algorithm')
    need(inner_algorithm(certificate.tbs_certificate_bytes) == ECDSA_WITH_SHA384, 'inner algorithm')
    return certificate, key


def element(data, at):
    """(start of the contents, end) of the DER element at that place."""
    size, start = data[at + 1], at + 2
    if size & 0x80:
        start += size & 0x7f
        size = int.from_bytes(data[at + 2:start], 'big')
    return start, start + size


def inner_algorithm(tbs):
    """AlgorithmIdentifier inside what is signed: after version and serial number."""
    at = element(tbs, 0)[0]
    for _ in range(2):
        at = element(tbs, at)[1]
    return tbs[at:element(tbs, at)[1]]


def check_chain(doc, root, times):
    need(doc['cabundle'][0] == root, 'another root')
    ders = doc['cabundle'] + [doc['certificate']]
    need(len(set(ders)) == len(ders), 'a certificate twice')
    chain = [load(der) for der in ders]
    known = {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE}
    for i, (certificate, _) in enumerate(chain):
        issuer, issuer_key = chain[max(i - 1, 0)]
        leaf = i == len(chain) - 1
        need(certificate.issuer == issuer.subject, 'names do not join')
        need(i == 0 or certificate.issuer != certificate.subject, 'self-issued')
        need(all(e.oid in known or not e.critical for e in certificate.extensions), 'critical')
        basic = extension(certificate, ExtensionOID.BASIC_CONSTRAINTS)
        usage = extension(certificate, ExtensionOID.KEY_USAGE)
        need(usage is not None, 'no keyUsage')
        if leaf:
            need(not (basic and basic.ca), 'the leaf is a CA')
            need(usage.digital_signature and not usage.key_cert_sign, 'leaf keyUsage')
        else:
            need(basic and basic.ca and usage.key_cert_sign, 'no CA')
            need(basic.path_length is None or basic.path_length >= len(chain) - 2 - i, 'path length')
        try:
            issuer_key.verify(certificate.signature, certificate.tbs_certificate_bytes,
                              ec.ECDSA(hashes.SHA384()))
        except InvalidSignature as error:
            raise Refused('certificate signature') from error
        for at in times:
            when = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=at)
            need(certificate.not_valid_before <= when <= certificate.not_valid_after, 'time')
    return chain[-1][1]


def check_signature(protected, payload, signature, key):
    r, s = int.from_bytes(signature[:48], 'big'), int.from_bytes(signature[48:], 'big')
    need(0 < r < ORDER and 0 < s < ORDER, 'r or s')
    signed = cbor2.dumps(['Signature1', protected, b'', payload])
    try:
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature as error:
        raise Refused('signature') from error


def decode(data):
    need(len(data) <= 32768, 'too large')
    cose = strict(data, 'COSE')
    need(isinstance(cose, list) and len(cose) == 4, 'not an array of four')
    protected, unprotected, payload, signature = cose
    need(isinstance(protected, bytes) and protected == b'\xa1\x01\x38\x22', 'protected header')
    need(unprotected == {} and isinstance(unprotected, dict), 'unprotected header')
    need(isinstance(payload, bytes) and 0 < len(payload) <= 16384, 'payload')
    need(isinstance(signature, bytes) and len(signature) == 96, 'signature size')
    doc = read_payload(payload)
    check_fields(doc)
    return doc, (protected, payload, signature)


def judge(data, root, at):
    """(document or None, why it is refused or None)."""
    doc = None
    try:
        doc, parts = decode(data)
        key = check_chain(doc, root, {doc['timestamp'] // 1000, at or doc['timestamp'] // 1000})
        check_signature(*parts, key)
        return doc, None
    except Refused as error:
        return doc, str(error)


def hex_or_none(value):
    return None if value is None else value.hex()


def facts(doc):
    """What `show --json` must say."""
    certificates = []
    for der in doc['cabundle'] + [doc['certificate']]:
        entry = {'sha256': hashlib.sha256(der).hexdigest()}
        try:
            certificate = x509.load_der_x509_certificate(der)
            entry['not_before'] = certificate.not_valid_before.isoformat() + 'Z'
            entry['not_after'] = certificate.not_valid_after.isoformat() + 'Z'
            entry['serial'] = certificate.serial_number
            names = certificate.subject, certificate.issuer
            entry['subject'], entry['issuer'] = (name.rfc4514_string() for name in names)
            certificates.append(entry)
        except ValueError:
            certificates.append(None)  # only x509chain judges it
    stamp = datetime.datetime.utcfromtimestamp(doc['timestamp'] // 1000).isoformat() + 'Z'
    return {'module_id': doc['module_id'], 'digest': doc['digest'],
            'timestamp_ms': doc['timestamp'], 'signed_at': stamp, 'debug': not any(doc['pcrs'][0]),
            'pcrs': {str(i): value.hex() for i, value in doc['pcrs'].items()},
            'certificates': certificates,
            **{name: hex_or_none(doc.get(name)) for name in OPTIONAL}}


def tool_facts(document, expected):
    """The tool's, in the form of facts(). Names it may spell otherwise are compared by parts."""
    said = {key: value for key, value in document.items() if key != 'form'}
    said['certificates'] = []
    for mine, theirs in zip(document['certificates'], expected['certificates'], strict=True):
        if theirs is None or 'unreadable' in mine:
            said['certificates'].append(theirs)
            continue
        entry = dict(mine)
        entry['serial'] = int(entry['serial'], 16)
        for key in ('subject', 'issuer'):
            if sorted(entry[key].split(',')) == sorted(theirs[key].split(',')):
                entry[key] = theirs[key]
        said['certificates'].append(entry)
    return said


def run(verb, path, *options):
    answer = subprocess.run([TOOL, 'attestation', verb, path, '--json', *options],
                            capture_output=True, text=True, check=False)
    return answer.returncode, json.loads(answer.stdout) if answer.stdout else None, answer.stderr


def compare_show(path, doc):
    status, said, message = run('show', path)
    if doc is None:
        assert status == 2 and said['reason'] and not said['checks'] and message, (path, status, said)
        return
    assert status == 0 and said['verdict'] == 'undecided' and not said['checks'], (path, said)
    expected = facts(doc)
    assert tool_facts(said['document'], expected) == expected, (path, said['document'], expected)


def compare(case):
    """The name of the case when both disagree."""
    name, path, root_file, root, at, hardware = case
    data = path.read_bytes()
    doc, why = judge(data, root, at)
    options = ['--root', root_file] if root_file else []
    options += ['--at', str(at)] if at else []
    status, said, _ = run('verify', path, *options, '--allow-debug')
    accepted = status == 0
    assert said['verdict'] in {0: ('authentic', 'development'), 1: ('refused',),
                               2: ('undecided',)}[status], (name, status, said)
    if accepted != (why is None):
        return name, f'tool {said["verdict"]} ({said.get("reason")}), reader here: {why}'
    compare_show(path, doc)
    debug = doc is not None and not any(doc['pcrs'][0])
    if accepted:
        wanted = 'authentic' if hardware and not debug else 'development'
        assert said['verdict'] == wanted and said['hardware'] == hardware, (name, said)
    else:
        assert said['hardware'] is False and said['reason'], (name, said)
        assert status == 1, (name, status, said)
    if debug and accepted:
        status, said, _ = run('verify', path, *options)
        failed = [check['name'] for check in said['checks'] if check['result'] == 'fail']
        assert status == 1 and failed == ['debug'], (name, failed)
    return None


def cases():
    good, bad = VECTORS / 'nitro', VECTORS / 'nitro-bad'
    aws = (good / 'AWS_NitroEnclaves_Root-G1.der').read_bytes()
    own = (bad / 'own-root.der').read_bytes()
    documents = json.loads((good / 'manifest.json').read_text(encoding='utf-8'))['documents']
    assert len(documents) == 74, len(documents)
    for entry in documents:
        yield entry['file'], good / entry['file'], None, aws, None, True
    vectors = json.loads((bad / 'manifest.json').read_text(encoding='utf-8'))['vectors']
    assert len(vectors) == 331, len(vectors)
    for entry in vectors:
        is_own = entry['root'] == 'own'
        yield (entry['file'], bad / entry['file'], bad / 'own-root.pem' if is_own else None,
               own if is_own else aws, entry['verify_at_unix'], not is_own)


def check_policy(listed):
    expected = dict(POLICY)
    bad = json.loads((VECTORS / 'nitro-bad/manifest.json').read_text(encoding='utf-8'))['vectors']
    assert {v['file'] for v in bad if v['expect'] == 'policy'} == set(expected)
    for name, path, _, root, at, _ in listed:
        if name in expected:
            _, why = judge(path.read_bytes(), root, at)
            assert (why is None) == expected[name], (name, why)


def main():
    listed = list(cases())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        differing = dict(found for found in pool.map(compare, listed) if found)
    for name, what in differing.items():
        if name not in DIFFERENCES:
            print(f'{name}: {what}', file=sys.stderr)
    check_policy(listed)
    stale = set(DIFFERENCES) - set(differing)
    for name in stale:
        print(f'{name}: is listed as a difference and is none', file=sys.stderr)
    print(f'{len(listed)} documents, {len(differing)} differences')
    return 1 if stale or set(differing) - set(DIFFERENCES) else 0


sys.exit(main())
