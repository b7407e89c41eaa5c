#!/bin/bash
# What the boot test puts into its enclave image, made from Debian 13 and printed
# as one folder:
#
#   bzImage      the project's kernel, by images/kernel/build
#   root.erofs   a toolchain with gcc, make, bash and curl
#   paged.img    the same with its dm-verity hash tree behind it
#   root.verity  and what an image says of it (src/core/verity.h)
#   builder/     the Debian 13 root that made both
#
# in ${XDG_CACHE_HOME:-~/.cache}/tee-compile/qemu-test; what is there is used
# again, the kernel only for the same fragment and script, the toolchain for the
# same packages. As root, since mmdebstrap's roots are entered.
#
# --twice: builds the kernel again from another copy of the source, into another
# folder, as another user and with one job, and compares.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tee-compile/qemu-test
# shellcheck source=tests/extra/qemu/mirror.sh
source "$project/tests/extra/qemu/mirror.sh"

if [[ $EUID -ne 0 ]]; then
    echo 'qemu: this suite makes root file systems: run it as root' >&2
    exit 2
fi
if ! command -v mmdebstrap >/dev/null || ! command -v zstd >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get update >&2
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends mmdebstrap zstd >&2
fi

# root NAME PACKAGES: a Debian 13 root with them.
root() {
    if [[ -e $cache/$1/usr ]]; then return; fi
    rm -rf "$cache/$1.part"
    nice -n 19 mmdebstrap --quiet --variant=minbase --include="$2" trixie "$cache/$1.part" "$(mirror)" >&2
    mv "$cache/$1.part" "$cache/$1"
}

# in_builder COMMAND...: runs inside the builder's root, with the cache at /cache
# and the project at /project.
in_builder() {
    # The words are for the inner shell.
    # shellcheck disable=SC2016
    unshare --mount --propagation private bash -euc '
        builder=$1; cache=$2; project=$3; shift 3
        mount --bind "$builder" "$builder"
        mkdir -p "$builder/cache" "$builder/project"
        mount -t proc none "$builder/proc"
        mount --rbind /dev "$builder/dev"
        mount --bind "$cache" "$builder/cache"
        mount --bind "$project" "$builder/project"
        # Not a bare chroot: in one, ordinary users cannot make user namespaces.
        cd "$builder"
        mkdir -p old
        pivot_root . old
        exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 chroot . \
            bash -c "umount -l /old; exec \"\$@\"" in_builder "$@"
    ' in_builder "$cache/builder" "$cache" "$project" "$@"
}

unpack_source() {
    if [[ -e $cache/$1/linux ]]; then return; fi
    rm -rf "${cache:?}/$1"
    mkdir -p "$cache/$1.part/linux"
    tar --extract --file "$cache/builder/usr/src/linux-source-6.12.tar.xz" --strip-components=1 \
        --directory "$cache/$1.part/linux"
    mv "$cache/$1.part" "$cache/$1"
}

kernel() {
    local recipe
    recipe=$(cat "$project/images/kernel/enclave.config" "$project/images/kernel/build" | sha256sum)
    if [[ -e $cache/bzImage && $(cat "$cache/recipe" 2>/dev/null) == "$recipe" ]]; then return; fi
    unpack_source source
    in_builder nice -n 19 /project/images/kernel/build --jobs "${KERNEL_JOBS:-2}" /cache/source/linux /cache/kernel >&2
    cp "$cache/kernel/bzImage" "$cache/bzImage"
    echo "$recipe" >"$cache/recipe"
}

# Another folder, another user, another number of jobs, another day.
kernel_again() {
    local other=another-and-longer-folder
    unpack_source "$other"
    mkdir -p "$cache/$other/out"
    chown 1234:1234 "$cache/$other/out"
    in_builder setpriv --reuid 1234 --regid 1234 --clear-groups nice -n 19 \
        /project/images/kernel/build --jobs 1 "/cache/$other/linux" "/cache/$other/out" >&2
    cmp "$cache/bzImage" "$cache/$other/out/bzImage"
    cmp "$cache/kernel/config" "$cache/$other/out/config"
    rm -rf "${cache:?}/$other"
}

toolchain() {
    local folder packages=gcc,libc6-dev,make,bash,curl,ca-certificates
    if [[ -e $cache/root.erofs && $(cat "$cache/packages" 2>/dev/null) == "$packages" ]]; then return; fi
    rm -rf --one-file-system "$cache/toolchain"
    root toolchain "$packages"
    rm -rf "$cache"/toolchain/{var,boot,media,mnt,opt,srv,run,usr/share/doc,usr/share/man,usr/share/locale}
    for folder in build home/build tmp proc dev run; do mkdir -p "$cache/toolchain/$folder"; done
    in_builder mkfs.erofs -T 315532800 --all-root -U 7e37c0de-0000-4000-8000-000000000001 -zlz4hc,9 \
        -C65536 -Eztailpacking,fragments /cache/root.erofs.part /cache/toolchain >&2
    mv "$cache/root.erofs.part" "$cache/root.erofs"
    echo "$packages" >"$cache/packages"
}

# Padded to whole blocks; the tree follows, without a header of its own.
hash_tree() {
    local blocks salt=7465652d636f6d70696c652073616c7420666f72207468652074657374732121 hex
    if [[ -e $cache/root.verity && $cache/root.verity -nt $cache/root.erofs ]]; then return; fi
    cp "$cache/root.erofs" "$cache/paged.img"
    truncate --size=%4096 "$cache/paged.img"
    blocks=$(($(stat --format=%s "$cache/paged.img") / 4096))
    hex=$(in_builder veritysetup format --hash=sha256 --salt="$salt" --no-superblock --data-blocks="$blocks" \
        --hash-offset=$((blocks * 4096)) /cache/paged.img /cache/paged.img | sed -n 's/^Root hash:[[:space:]]*//p')
    printf 'tee-compile/verity/1\ndata %s\ntotal %s\nroot %s\nsalt %s\n' "$blocks" \
        $(($(stat --format=%s "$cache/paged.img") / 4096)) "$hex" "$salt" >"$cache/root.verity"
}

mkdir -p "$cache"
root builder gcc,make,bc,bison,flex,libelf-dev,libssl-dev,xz-utils,linux-source-6.12,cpio,kmod,zstd,erofs-utils,cryptsetup-bin,perl
kernel
toolchain
hash_tree
if [[ ${1:-} == --twice ]]; then kernel_again; fi
echo "$cache"
