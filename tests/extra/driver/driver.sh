#!/bin/bash
# The kernel's own nitro_enclaves driver, in an emulated machine (driver.py says what is proven).
# Kernel, headers and the driver's source are Debian's, fetched by apt, unpacked and kept, and not
# installed; the driver is compiled as it is but for ne_pci_dev.c, in whose place device.c comes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../../.." && pwd)
build=${TEE_COMPILE_BUILD:-$project/build}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tee-compile/nitro-driver

die() {
    echo "driver: $1" >&2
    exit 2
}

depends() { # PACKAGE PATTERN: the first one that it depends on and that begins so
    apt-cache depends "$1" | sed -n "s/^ *Depends: \($2.*\)/\1/p" | head -n 1
}

lab=$(mktemp -d)
work=$lab
trap 'rm -rf "$lab" "$work"' EXIT
headers=$(depends linux-headers-cloud-amd64 'linux-headers-[0-9]')
[[ -n $headers ]] || die 'apt does not know linux-headers-cloud-amd64: expected a mirror of Debian, and apt-get update'
release=${headers#linux-headers-}
series=$(cut -d. -f1,2 <<<"$release")
kernel=$cache/$release
if [[ ! -e $kernel ]]; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/work.XXXXXX")
    common=$(depends "$headers" linux-headers-)
    kbuild=$(depends "$headers" linux-kbuild-)
    compiler=$(depends "$headers" linux-compiler-)
    (cd "$work" && apt-get download "$headers" "$common" "$kbuild" ${compiler:+"$compiler"} "linux-image-$release" \
        "linux-source-$series" >&2)
    source=$(echo "$work/linux-source-$series"_*.deb)
    mkdir -p "$work/root/driver"
    dpkg-deb --fsys-tarfile "$source" | tar -xO "./usr/src/linux-source-$series.tar.xz" |
        tar -xJf - -C "$work/root/driver" --strip-components=4 --wildcards '*/drivers/virt/nitro_enclaves/*'
    rm "$source"
    for package in "$work"/*.deb; do dpkg-deb --extract "$package" "$work/root"; done
    # Which is meant to be there, and is not the system's.
    sed -i "s|/usr/src/|$kernel/usr/src/|" "$work/root/usr/src/$headers/Makefile"
    mv "$work/root" "$kernel"
fi
command -v gcc >/dev/null || die 'gcc is not installed: apt-get install gcc'

cp "$kernel"/driver/{ne_misc_dev.c,ne_misc_dev.h,ne_pci_dev.h} "$here/device.c" "$lab"
printf 'obj-m := nitro_enclaves.o\nnitro_enclaves-y := ne_misc_dev.o device.o\n' >"$lab/Kbuild"
make -C "$kernel/usr/src/$headers" M="$lab" modules >&2
nice -n 19 /usr/bin/python3 -B "$here/driver.py" "$build" "$kernel" "$lab/nitro_enclaves.ko"
