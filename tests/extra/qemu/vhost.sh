#!/bin/bash
# `build --backend qemu` where the kernel offers vhost-vsock, on a host that is itself an emulated
# machine (vhost.py says what is proven). The image is the file that is given, else that of C, as
# in backend.sh; the kernel is Debian's, fetched by apt, unpacked and kept, and not installed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../../.." && pwd)
build=${TEE_COMPILE_BUILD:-$project/build}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tee-compile

image=${1:-$cache/qemu-backend/c.eif}
if [[ $# -eq 0 ]]; then
    mkdir -p "$cache/qemu-backend"
    nice -n 19 "$build/src/tee-compile" image build "$project/images/c" -o "$image"
fi

# The package with the kernel that linux-image-cloud-amd64 stands for.
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
if [[ -z $package ]]; then
    echo 'qemu: apt does not know linux-image-cloud-amd64: expected a mirror of Debian, and apt-get update' >&2
    exit 2
fi
kernel=$cache/qemu-vhost/$package
if [[ ! -e $kernel ]]; then
    mkdir -p "$cache/qemu-vhost"
    work=$(mktemp -d "$cache/qemu-vhost/work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    (cd "$work" && apt-get download "$package" >&2)
    mkdir "$work/root"
    dpkg-deb --extract "$work"/*.deb "$work/root"
    mv "$work/root" "$kernel"
fi
nice -n 19 /usr/bin/python3 -B "$here/vhost.py" "$build" "$kernel" "$image" "${@:2}"
