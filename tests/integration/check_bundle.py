#!/usr/bin/python3
"""Reads a bundle with none of our code and recomputes every digest in it.

check_bundle.py MAKE_BUNDLE      makes a bundle with that program and checks it
check_bundle.py --bundle FILE    checks one that is there

Python's tarfile, json, hashlib, cbor2 and cryptography stand in for whoever
reads docs/formats.md and trusts nothing of this project.
"""
import base64
import datetime
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def equal(what, seen, expected):
    if seen != expected:
        sys.exit(f"{what}: expected {expected!r}, saw {seen!r}")


def binding_text(source, parameters):
    build_file, limits = parameters["buildFile"], parameters["limits"]
    order = ("timeout", "memory", "disk", "log", "processes")
    path = build_file["path"]
    return (
        "tee-compile/binding/1\n"
        f"source {source['digest']['sha256']}\n"
        f"build-file {build_file['digest']['sha256']} {len(path.encode())}:{path}\n"
        f"limits {' '.join(f'{key}={limits[key]}' for key in order)}\n"
        f"nonce {parameters['nonce']}\n"
    ).encode()


def check_descriptor(descriptor):
    """A ResourceDescriptor of in-toto v1: known fields, and something that identifies it."""
    what = f"descriptor {descriptor.get('name')!r}"
    fields = {"name": str, "uri": str, "digest": dict, "content": str, "downloadLocation": str,
              "mediaType": str, "annotations": dict}
    for field, value in descriptor.items():
        equal(f"{what}: {field}", isinstance(value, fields.get(field, ())), True)
    equal(f"{what}: has a digest", bool(descriptor.get("digest")), True)
    for algorithm, value in descriptor["digest"].items():
        size = {"sha256": 64, "sha384": 96, "gitCommit": 40, "gitTree": 40}[algorithm]
        equal(f"{what}: {algorithm}", bool(re.fullmatch(r"[0-9a-f]{%d}" % size, value)), True)
    if "content" in descriptor:
        content = base64.b64decode(descriptor["content"], validate=True)
        equal(f"{what}: content", sha256(content), descriptor["digest"]["sha256"])


def check_slsa(statement):
    """The shape that in-toto Statement v1 and SLSA provenance v1 ask for."""
    equal("_type", statement["_type"], "https://in-toto.io/Statement/v1")
    equal("predicateType", statement["predicateType"], "https://slsa.dev/provenance/v1")
    predicate = statement["predicate"]
    equal("predicate", sorted(predicate), ["buildDefinition", "runDetails"])
    definition, run = predicate["buildDefinition"], predicate["runDetails"]
    uri = re.compile(r"[a-z][a-z0-9+.-]*:[!-~]+")
    for value in (definition["buildType"], run["builder"]["id"]):
        equal(f"URI {value}", bool(uri.fullmatch(value)), True)
    parameters = definition["externalParameters"], definition["internalParameters"]
    equal("a parameter in both", set(parameters[0]) & set(parameters[1]), set())
    for name, value in run["builder"]["version"].items():
        equal(f"version of {name}", isinstance(value, str), True)
    equal("invocationId", isinstance(run["metadata"]["invocationId"], str), True)
    for stamp in ("startedOn", "finishedOn"):
        datetime.datetime.strptime(run["metadata"][stamp], "%Y-%m-%dT%H:%M:%SZ")
    names = [subject["name"] for subject in statement["subject"]]
    equal("names once each", len(set(names)), len(names))
    for descriptor in (*statement["subject"], *definition["resolvedDependencies"],
                       *run["byproducts"]):
        check_descriptor(descriptor)


def chain(transcript):
    lines = transcript.splitlines(keepends=True)
    last = hashlib.sha256(lines[0]).digest()
    for line in lines[1:]:
        last = hashlib.sha256(last + line).digest()
    return last.hex(), len(lines) - 1


def check_network(transcript, network, downloads):
    """What the lines of the transcript come to is what the statement says of the network."""
    bodies, plain, opaque = {}, set(), set()
    for number, line in enumerate(transcript.splitlines()[1:], 1):
        exchange = json.loads(line)
        equal("sequence", exchange["sequence"], number)
        equal("spelling", json.dumps(exchange, separators=(",", ":")).encode(), line)
        if exchange["outcome"] == "opaque":
            opaque.add(f"{exchange['host']}:{exchange['port']}")
        if exchange["outcome"] not in ("ok", "cut") or "status" not in exchange:
            continue
        if exchange["scheme"] == "http":
            plain.add(exchange["host"])
        if exchange["response"]["size"] == 0:
            continue
        notes = {"size": exchange["response"]["size"]}
        if "origin" in exchange:
            notes["origin"] = exchange["origin"]
        if "pinnedBy" in exchange:
            notes["pinnedBy"] = exchange["pinnedBy"]
        if exchange["scheme"] == "http":
            notes["unauthenticated"] = True
        bodies[exchange["url"], exchange["response"]["sha256"]] = notes
    equal("downloads", [(item["uri"], item["digest"]["sha256"], item["annotations"]) for item in downloads],
          [(*key, bodies[key]) for key in sorted(bodies)])
    equal("plainHttp", network.get("plainHttp", []), sorted(plain))
    equal("opaque", network.get("opaque", []), sorted(opaque))


def check_tar(tar):
    names = [member.name for member in tar.getmembers()]
    equal("member order", names, sorted(names, key=str.encode))
    for member in tar.getmembers():
        equal(f"{member.name}: kind", member.isreg(), True)
        equal(f"{member.name}: owner", (member.uid, member.gid, member.mtime), (0, 0, 0))
        equal(f"{member.name}: mode", member.mode in (0o644, 0o755), True)


def check(path):
    with tarfile.open(path) as tar:
        check_tar(tar)
        modes = {member.name: member.mode for member in tar.getmembers()}
        files = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
    raw = files["attestation/statement.json"]
    statement = json.loads(raw)
    check_slsa(statement)
    definition = statement["predicate"]["buildDefinition"]
    run = statement["predicate"]["runDetails"]
    parameters = definition["externalParameters"]
    source, image, *others = definition["resolvedDependencies"]
    packages = [other for other in others if "annotations" not in other]
    downloads = others[len(packages):]
    equal("packages of a measured image alone", bool(packages) <= image["annotations"]["measured"], True)
    for package in packages:
        equal(package["uri"], bool(re.fullmatch(r"pkg:deb/debian/[a-z0-9.%B-]+@[A-Za-z0-9.%~:-]+\?arch=[a-z0-9-]+",
                                                package["uri"])), True)
    byproducts = {item["name"]: item for item in run["byproducts"]}

    equal("build.json", sha256(files["attestation/build.json"]),
          parameters["buildFile"]["digest"]["sha256"])
    if parameters["keepLog"]:
        equal("build.log", sha256(files["attestation/build.log"]),
              byproducts["build.log"]["digest"]["sha256"])
    transcript = files["attestation/network.jsonl"]
    described = byproducts["network.jsonl"]
    equal("network.jsonl", sha256(transcript), described["digest"]["sha256"])
    equal("chain", chain(transcript),
          (described["annotations"]["last"], described["annotations"]["count"]))

    check_network(transcript, parameters["network"], downloads)
    sums = b""
    for subject in statement["subject"]:
        name, content = subject["name"], files["outputs/" + subject["name"]]
        equal(name, sha256(content), subject["digest"]["sha256"])
        equal(name + " size", len(content), subject["annotations"]["size"])
        equal(name + " mode", f"{modes['outputs/' + name]:04o}", subject["annotations"]["mode"])
        mark = b"\\" if "\\" in name else b""
        sums += mark + sha256(content).encode() + b"  "
        sums += name.encode().replace(b"\\", b"\\\\") + b"\n"
    inside = [name for name in files if name.startswith("outputs/")]
    equal("number of outputs", len(inside), len(statement["subject"]))

    document = cbor2.loads(cbor2.loads(files["attestation/document.cbor"])[2])
    claims = json.loads(document["user_data"])
    equal("type", claims["type"], "tee-compile/build/1")
    equal("statement", claims["statement"], sha256(raw))
    equal("input", claims["input"], source["digest"]["sha256"])
    equal("output", claims["output"], sha256(sums))
    equal("commit", claims.get("commit"), source["digest"].get("gitCommit"))
    equal("nonce", (document["nonce"] or b"").hex(), parameters["nonce"])
    equal("PCR0", document["pcrs"][0].hex(), image["digest"]["sha384"])
    bound = hashlib.sha384(binding_text(source, parameters)).digest()
    equal("PCR16", document["pcrs"][16], hashlib.sha384(bytes(48) + bound).digest())

    envelope = json.loads(files["attestation/envelope.dsse.json"])
    payload = base64.b64decode(envelope["payload"], validate=True)
    equal("payload", payload, raw)
    kind = envelope["payloadType"].encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    key = serialization.load_der_public_key(document["public_key"])
    signature = envelope["signatures"][0]
    equal("keyid", signature["keyid"], sha256(document["public_key"]))
    key.verify(base64.b64decode(signature["sig"]), signed, ec.ECDSA(hashes.SHA256()))
    print(f"{path}: {len(statement['subject'])} outputs, every digest recomputed")


def check_or_say(path):
    """A file that is no bundle is a failure with a reason, whatever Python calls it."""
    try:
        check(path)
    except (OSError, tarfile.TarError, KeyError, IndexError, TypeError, ValueError,
            cbor2.CBORDecodeError, InvalidSignature) as problem:
        sys.exit(f"{path}: expected a bundle whose digests hold: {type(problem).__name__}: {problem}")


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--bundle":
        check_or_say(sys.argv[2])
        return
    if len(sys.argv) != 2 or not (os.path.isfile(sys.argv[1]) and os.access(sys.argv[1], os.X_OK)):
        print(f"{__doc__.split(chr(10) * 2)[1]}\n\nMAKE_BUNDLE has to be a program", file=sys.stderr)
        sys.exit(2)
    with tempfile.TemporaryDirectory() as folder:
        bundle = folder + "/release.tar"
        for words in ([], ["network"], ["replayed"]):
            subprocess.run([os.path.abspath(sys.argv[1]), bundle, folder + "/root.pem", *words],
                           check=True)
            check(bundle)


if __name__ == "__main__":
    main()
