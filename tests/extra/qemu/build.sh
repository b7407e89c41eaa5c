#!/bin/bash
# Builds what boots an enclave image without the hardware, and prints the folder:
#
#   qemu-system-x86_64   with the nitro-enclave machine, which Debian's own lacks
#   share/               the firmware that it loads
#   vhost-device-vsock   a vsock device in user space, as Debian packages it
#
# in ${XDG_CACHE_HOME:-~/.cache}/tee-compile/qemu-nitro/VERSION; does nothing when
# that is there. Sources and packages come by apt from the machine's own mirrors,
# checked by apt, over a private configuration; they are unpacked, not installed.
# The compiler's needs are Debian packages: root installs them, others are told.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tee-compile/qemu-nitro
# shellcheck source=tests/extra/qemu/mirror.sh
source "$here/mirror.sh"

finished() {
    find "$cache" -mindepth 2 -maxdepth 2 -name complete -printf '%h\n' 2>/dev/null | sort -V | tail -n 1
}
if [[ -n $(finished) ]]; then
    finished
    exit 0
fi

needs=(gcc make ninja-build pkg-config flex bison xz-utils dpkg-dev python3
    libglib2.0-dev libpixman-1-dev libfdt-dev libgnutls28-dev libcbor-dev)
missing=()
for package in "${needs[@]}"; do
    if [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true) != installed ]]; then
        missing+=("$package")
    fi
done
if [[ ${#missing[@]} -gt 0 ]]; then
    if [[ $EUID -ne 0 ]]; then
        echo "qemu: install first: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 2
    fi
    DEBIAN_FRONTEND=noninteractive apt-get update >&2
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}" >&2
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Debian 13 has the source, and its tools run on 12; the vsock device is in sid alone.
private_apt() {
    local uri
    uri=$(mirror)
    mkdir -p "$work"/apt/{sources.list.d,state/lists/partial,cache/archives/partial}
    : >"$work/apt/sources.list"
    cat >"$work/apt/sources.list.d/debian.sources" <<SOURCES
Types: deb deb-src
URIs: $uri
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: $uri
Suites: sid
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
    cat >"$work/apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$work/apt/sources.list";
Dir::Etc::sourceparts "$work/apt/sources.list.d";
Dir::State "$work/apt/state";
Dir::Cache "$work/apt/cache";
CONF
    if [[ $EUID -eq 0 ]]; then echo 'APT::Sandbox::User "root";' >>"$work/apt/apt.conf"; fi
    export APT_CONFIG=$work/apt/apt.conf
    apt-get --quiet --quiet update >&2
}

unpack_package() {
    local name=$1 suite=$2 target=$3
    mkdir -p "$work/packages" "$target"
    (cd "$work/packages" && apt-get --quiet --quiet download "$name/$suite" >&2)
    dpkg-deb --extract "$work/packages/${name}"_*.deb "$target"
}

private_apt
for package in meson python3-pycotap python3-distlib seabios qemu-system-data; do
    unpack_package "$package" trixie "$work/tools"
done
unpack_package vhost-device-vsock sid "$work/vsock"

(cd "$work" && apt-get --quiet --quiet --download-only source qemu/trixie >&2)
version=$(basename "$work"/qemu_*.dsc .dsc)
version=${version#qemu_}
mkdir "$work/qemu"
# The upstream part is enough: Debian's patches concern its packages.
tar --extract --file "$work"/qemu_*.orig.tar.xz --directory "$work/qemu" --strip-components=1
cp "$here/nitro.mak" "$work/qemu/configs/devices/x86_64-softmmu/nitro.mak"
# Debian's tarball comes without the firmware blobs that this would unpack.
sed -i 's/^\( *\)unpack_edk2_blobs = .*/\1unpack_edk2_blobs = false/' "$work/qemu/meson.build"

mkdir "$work/build"
(
    cd "$work/build"
    export PYTHONPATH=$work/tools/usr/lib/python3/dist-packages
    "$work/qemu/configure" --python=/usr/bin/python3 --target-list=x86_64-softmmu \
        --without-default-features --without-default-devices --with-devices-x86_64=nitro \
        --enable-system --enable-tcg --enable-kvm --enable-fdt=system --enable-gnutls \
        --enable-libcbor --enable-vhost-user --enable-vhost-net --enable-vhost-kernel \
        --disable-werror --disable-install-blobs --disable-docs --disable-tools \
        --disable-guest-agent --disable-download \
        --firmwarepath=/usr/share/qemu:/usr/share/seabios
    nice -n 19 ninja -j "${QEMU_JOBS:-2}" qemu-system-x86_64
) >"$work/log" 2>&1 || {
    tail -n 40 "$work/log" >&2
    cp "$work/log" "$cache/build.log"
    echo "qemu: the build failed: $cache/build.log" >&2
    exit 1
}

stage=$work/stage
mkdir -p "$stage/share"
strip -o "$stage/qemu-system-x86_64" "$work/build/qemu-system-x86_64"
cp "$work/vsock/usr/bin/vhost-device-vsock" "$stage/"
cp "$work"/tools/usr/share/seabios/bios*.bin "$work"/tools/usr/share/qemu/{qboot.rom,linuxboot_dma.bin,pvh.bin,kvmvapic.bin} \
    "$stage/share/"
"$stage/qemu-system-x86_64" -M help | grep nitro-enclave >&2
"$stage/vhost-device-vsock" --version >&2
touch "$stage/complete"
rm -rf "${cache:?}/$version"
mv "$stage" "$cache/$version"
echo "$cache/$version"
