#!/bin/bash
# The enclave image under an independent machine: boot.py, guest.py, network.py and nitro.py say
# what is proven. All of boot.py thrice: over Debian's vsock device, over ours, by our launcher.
# build.sh and prepare.sh keep what they make; the first run takes long.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${TEE_COMPILE_BUILD:-$here/../../../build}

tools=$("$here/build.sh")
prepared=$("$here/prepare.sh" "$@")
meson compile -C "$build" >/dev/null
nice -n 19 /usr/bin/python3 -B "$here/guest.py" "$tools" "$prepared" "$build"

lab=$(mktemp -d)
trap 'rm -rf "$lab"' EXIT
/usr/bin/python3 -B "$here/image.py" "$prepared" "$build" "$lab/image.eif"
nice -n 19 /usr/bin/python3 -B "$here/network.py" "$tools" "$build" "$lab/image.eif" "$prepared/paged.img" \
    256M memory=96M disk=32M

for way in packaged own launcher; do
    echo "-- $way"
    nice -n 19 /usr/bin/python3 -B "$here/boot.py" "$tools" "$prepared" "$build" "$way"
done
echo '-- nitro'
nice -n 19 /usr/bin/python3 -B "$here/nitro.py" "$tools" "$build" "$lab/image.eif" "$prepared/paged.img"
