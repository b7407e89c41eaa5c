#!/bin/bash
# The enclave image under an independent machine: boot.py says what is proven.
# build.sh and prepare.sh keep what they make; the first run takes long.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${TEE_COMPILE_BUILD:-$here/../../../build}

tools=$("$here/build.sh")
prepared=$("$here/prepare.sh" "$@")
meson compile -C "$build" >/dev/null
exec nice -n 19 /usr/bin/python3 -B "$here/boot.py" "$tools" "$prepared" "$build"
