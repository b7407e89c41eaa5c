#!/bin/bash
# Has cosign, a program that knows nothing of this project, verify what a build
# signed: the envelope by the build's key over the artifact that was built. Then
# it must refuse another artifact, another key, another envelope, another kind.
#
# cosign is the one in PATH. Without one, it is Debian 13's package, fetched by a
# private configuration of apt from the mirror that the machine itself has,
# checked with Debian's archive keys and unpacked into a temporary folder.
# Nothing is installed. No cosign is a failure, not a test left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

tool=${TEE_COMPILE:-$PWD/build/src/tee-compile}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
for needed in "$tool" openssl unshare /usr/bin/python3 tar; do
    if ! command -v "$needed" >/dev/null; then
        echo "cosign: $needed is missing (tee-compile: script/build)" >&2
        exit 2
    fi
done

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The URIs under which the machine gets Debian itself, one a line.
mirrors() {
    local file
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        if [[ ! -f $file ]]; then continue; fi
        sed -n -E 's,^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]*/debian)/?[[:space:]].*,\2,p' "$file"
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        if [[ ! -f $file ]]; then continue; fi
        sed -n -E 's,^URIs:[[:space:]]*([^[:space:]]*/debian)/?([[:space:]].*)?$,\1,p' "$file"
    done
}

fetch_cosign() {
    local mirror package
    mirror=$(mirrors | head -n 1)
    if [[ -z $mirror ]]; then
        echo "cosign: not in PATH, and apt's sources name no mirror of Debian to take it from" >&2
        return 1
    fi
    if [[ ! -f $keyring ]]; then
        echo "cosign: $keyring is missing (package debian-archive-keyring)" >&2
        return 1
    fi
    mkdir -p "$folder"/apt/{parts,state/lists/partial,cache/archives/partial}
    : >"$folder/apt/sources.list"
    cat >"$folder/apt/parts/trixie.sources" <<SOURCES
Types: deb
URIs: $mirror
Suites: trixie
Components: main
Signed-By: $keyring
SOURCES
    cat >"$folder/apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$folder/apt/sources.list";
Dir::Etc::sourceparts "$folder/apt/parts";
Dir::State "$folder/apt/state";
Dir::Cache "$folder/apt/cache";
CONF
    if [[ $EUID -eq 0 ]]; then echo 'APT::Sandbox::User "root";' >>"$folder/apt/apt.conf"; fi
    (
        export APT_CONFIG=$folder/apt/apt.conf
        # An index that could not be fetched or checked is only a warning otherwise.
        apt-get --quiet --quiet -o APT::Update::Error-Mode=any update
        cd "$folder/apt"
        apt-get --quiet --quiet download cosign
    )
    package=$(find "$folder/apt" -maxdepth 1 -name 'cosign_*.deb' -print -quit)
    dpkg-deb --extract "$package" "$folder/cosign"
    cosign=$folder/cosign/usr/bin/cosign
}

if ! cosign=$(command -v cosign); then fetch_cosign; fi
"$cosign" version | grep '^GitVersion'

cp -a examples/c-hello "$folder/project"
"$tool" build --dir "$folder/project" --image host --output "$folder/release.tar" \
    --extract "$folder/out" >"$folder/build.out" 2>&1 || {
    tail -n 40 "$folder/build.out" >&2
    exit 1
}
tar --extract --file "$folder/release.tar" --directory "$folder"

/usr/bin/python3 - "$folder/attestation/document.cbor" >"$folder/key.pem" <<'PYTHON'
import sys

import cbor2
from cryptography.hazmat.primitives import serialization

with open(sys.argv[1], "rb") as file:
    document = cbor2.loads(cbor2.loads(file.read())[2])
key = serialization.load_der_public_key(document["public_key"])
sys.stdout.buffer.write(key.public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
PYTHON
openssl ecparam -name prime256v1 -genkey -noout -out "$folder/other.key"
openssl ec -in "$folder/other.key" -pubout -out "$folder/other.pem" 2>/dev/null
# One bit of the artifact is another; and an envelope whose statement names that.
/usr/bin/python3 - "$folder" <<'PYTHON'
import base64
import hashlib
import json
import sys

folder = sys.argv[1]
with open(f"{folder}/out/hello", "rb") as file:
    flipped = bytearray(file.read())
flipped[len(flipped) // 2] ^= 1
with open(f"{folder}/flipped", "wb") as file:
    file.write(flipped)
with open(f"{folder}/attestation/envelope.dsse.json", encoding="ascii") as file:
    envelope = json.load(file)
statement = json.loads(base64.b64decode(envelope["payload"]))
statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(flipped).hexdigest()
envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
with open(f"{folder}/forged.json", "w", encoding="ascii") as file:
    json.dump(envelope, file)
PYTHON

# attest KEY ENVELOPE TYPE ARTIFACT: without network, and with a home of its own.
attest() {
    HOME=$folder unshare --map-root-user --net "$cosign" verify-blob-attestation \
        --insecure-ignore-tlog=true --offline=true --key "$1" --signature "$2" --type "$3" "$4" \
        >"$folder/said" 2>&1
}

failed=0
expect() {
    local name=$1 answer=$2 status=0
    shift 2
    attest "$@" || status=$?
    if [[ $answer == yes && $status -eq 0 && $(tail -n 1 "$folder/said") == 'Verified OK' ]] ||
        [[ $answer == no && $status -eq 1 ]]; then
        echo "$name: $answer ($(tail -n 1 "$folder/said"))"
    else
        echo "FAILED: $name: expected $answer, cosign ended with $status" >&2
        cat "$folder/said" >&2
        failed=1
    fi
}

key=$folder/key.pem envelope=$folder/attestation/envelope.dsse.json
expect 'the build' yes "$key" "$envelope" slsaprovenance1 "$folder/out/hello"
expect 'another artifact' no "$key" "$envelope" slsaprovenance1 "$folder/flipped"
expect 'another key' no "$folder/other.pem" "$envelope" slsaprovenance1 "$folder/out/hello"
expect 'another statement' no "$key" "$folder/forged.json" slsaprovenance1 "$folder/flipped"
expect 'another kind' no "$key" "$envelope" slsaprovenance02 "$folder/out/hello"
exit "$failed"
