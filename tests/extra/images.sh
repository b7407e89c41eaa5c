#!/bin/bash
# images.sh [NAME...]: the kernel and every image built twice and booted, and image build
# --rootfs.
#
#   1. Locks of today, for kernel, builder and the images (all, or those named).
#   2. Each image is built as root with all processors, and as an ordinary user in another
#      folder with one job: each time from an empty cache but for the packages, so that
#      kernel and builder's root are made twice too. The files are the same.
#   3. Each image compiles the example of its language in an emulated enclave
#      (qemu/recipe.py); one of them has its toolchain inside, the second time, and
#      downloads, records and replays there (qemu/network.py).
#   4. The minimal recipe once more in a Debian 13 root, by a tee-compile compiled there.
#   5. A root file system as folder, tar file and OCI archive: the same image three times.
#
# As root, since it makes a user and a root. What both builds take from the network are
# packages, kept in ${XDG_CACHE_HOME:-~/.cache}/tee-compile/packages.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=tests/extra/qemu/mirror.sh
source "$project/tests/extra/qemu/mirror.sh"
if [[ $EUID -ne 0 ]]; then
    echo 'images: this suite makes a user and a root file system: run it as root' >&2
    exit 2
fi
if ! command -v mmdebstrap >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get update >&2
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends mmdebstrap >&2
fi
emulator=$("$project/tests/extra/qemu/build.sh")
packages=${XDG_CACHE_HOME:-$HOME/.cache}/tee-compile/packages
mkdir -p "$packages"

# Some 10 GB; with TMPDIR on a tmpfs this is several times as fast.
lab=$(mktemp -d "${TMPDIR:-/var/tmp}/tee-compile-images-XXXXXX")
user=tc-images-$$
cleanup() {
    userdel "$user" 2>/dev/null || true
    rm -rf --one-file-system "$lab"
}
trap cleanup EXIT
chmod 0755 "$lab"

names=("$@")
if [[ ${#names[@]} -eq 0 ]]; then names=(minimal c rust go node python java); fi

mkdir -p "$lab/a/src/cmd"
cp -r "$project/images" "$project"/{meson.build,meson_options.txt} "$lab/a"
cp -r "$project"/src/{base,core,os,worker,meson.build} "$lab/a/src"
cp "$project/src/cmd/worker_main.c" "$lab/a/src/cmd"
cp -r "$project/tests/images/minimal" "$lab/a/images/"
cp "$project/build/src/tee-compile" "$lab/"
for name in builder kernel minimal "${names[@]}"; do
    "$lab/tee-compile" image lock "$lab/a/images/$name" >&2
done

useradd --home-dir "$lab/home" --create-home --shell /bin/bash "$user"
grep -q "^$user:" /etc/subuid || usermod --add-subuids 2300000-2365535 --add-subgids 2300000-2365535 "$user"
other=$lab/home/another-folder/and-a-longer-one
mkdir -p "$other/cache/tee-compile" "$lab/cache/tee-compile"
cp -r "$lab/a" "$other/project"
# One cache of packages for root: whatever is fetched stays for the next run of the suite.
ln -s "$packages" "$lab/cache/tee-compile/packages"

# build NAME OUTPUT ROOT-OPTION...: as root.
build() {
    local output=$1
    shift
    XDG_CACHE_HOME=$lab/cache nice -n 10 "$lab/tee-compile" image build "$@" --source "$lab/a" -o "$output" >&2
}

same() {
    local suffix
    for suffix in eif erofs spdx.json; do
        cmp "$1.$suffix" "$2.$suffix"
    done
}

# compile NAME IMAGE EROFS MEMORY LIMIT...: the example of NAME in an enclave.
compile() {
    local name=$1
    shift
    echo "-- $name in an enclave of $3"
    nice -n 10 /usr/bin/python3 -B "$project/tests/extra/qemu/recipe.py" "$emulator" "$project/build" \
        "$lab/a/images/$name" "$1" "$2" "$project/examples/$name-hello" "${@:3}"
}

# download IMAGE EROFS MEMORY LIMIT...: builds with a network in an enclave.
download() {
    echo "-- downloads in an enclave of $3"
    nice -n 10 /usr/bin/python3 -B "$project/tests/extra/qemu/network.py" "$emulator" "$project/build" "$@"
}

# The least that is promised; the others with room to spare.
boot() {
    local image=$lab/$1
    case $1 in
    minimal) ;;
    c)
        compile c "$image.eif" "$image.erofs" 96M memory=32M disk=8M
        download "$image.eif" "$image.erofs" 160M memory=64M disk=16M
        build "$lab/inside.eif" "$lab/a/images/c" --self-contained
        compile c "$lab/inside.eif" - 1536M memory=128M disk=32M
        rm -f "$lab"/inside.*
        ;;
    rust) compile rust "$image.eif" "$image.erofs" 256M memory=144M disk=16M ;;
    *) compile "$1" "$image.eif" "$image.erofs" 4G ;;
    esac
}

for name in "${names[@]}"; do
    build "$lab/$name.eif" "$lab/a/images/$name"
    rm -rf "$other/cache/tee-compile/packages"
    cp -r "$packages" "$other/cache/tee-compile/packages"
    chown -R "$user" "$lab/home"
    nice -n 10 setpriv --reuid "$user" --regid "$user" --init-groups env --unset=XDG_DATA_HOME HOME="$lab/home" \
        XDG_CACHE_HOME="$other/cache" "$lab/tee-compile" image build "$other/project/images/$name" --jobs 1 \
        -o "$lab/home/$name.eif" >&2
    same "$lab/$name" "$lab/home/$name"
    echo "ok: $name: twice the same image of $(stat --format=%s "$lab/$name.eif") bytes, toolchain of $(stat --format=%s "$lab/$name.erofs")"
    rm -f "$lab/home/$name".*
    boot "$name"
    if [[ $name != minimal ]]; then rm -f "$lab/$name".*; fi
done
kernel=$(find "$lab/cache/tee-compile/kernels" -name '*.bzImage')

# --- in Debian 13

[[ -e $lab/minimal.eif ]] || build "$lab/minimal.eif" "$lab/a/images/minimal"
root=$lab/trixie
mmdebstrap --quiet --variant=minbase \
    --include=gcc,libc6-dev,meson,ninja-build,pkg-config,libssl-dev,libjansson-dev,libgit2-dev,libseccomp-dev,zlib1g-dev,libzstd-dev,libcurl4-openssl-dev,libcmocka-dev,libcbor-dev,bubblewrap,uidmap,mmdebstrap,python3,ca-certificates \
    trixie "$root" "$(mirror)" >&2
mkdir -p "$root/lab" "$root/project" "$root/old"
# No network in there: what it needs is in the cache.
cp -r "$packages" "$lab/packages13"
# The words are for the inner shell.
# shellcheck disable=SC2016
unshare --mount --pid --fork --kill-child --propagation private bash -euc '
    root=$1 lab=$2 project=$3 kernel=$4
    mount --bind "$root" "$root"
    mount -t proc none "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --bind "$project" "$root/project"
    mount -o remount,bind,ro "$root/project"
    mkdir -p "$lab/out13"
    mount --bind "$lab" "$root/lab"
    cd "$root"
    pivot_root . old
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 chroot . bash -euc "
        umount -l /old
        meson setup --buildtype=release /root/build /project >&2
        ninja -C /root/build src/tee-compile >&2
        mkdir -p /root/cache/tee-compile
        cp -rL /lab/packages13 /root/cache/tee-compile/packages
        XDG_CACHE_HOME=/root/cache nice -n 10 /root/build/src/tee-compile image build /lab/a/images/minimal \
            --kernel $kernel --mirror file:///nowhere/debian -o /lab/out13/minimal.eif >&2"
' in_root "$root" "$lab" "$project" "/lab${kernel#"$lab"}"
build "$lab/given.eif" "$lab/a/images/minimal" --kernel "$kernel"
same "$lab/given" "$lab/out13/minimal"
echo 'ok: the same image in Debian 13'
rm -rf --one-file-system "$root" "$lab/packages13"

# --- brought root file systems

mkdir "$lab/tree"
tar --extract --directory "$lab/tree" --exclude='./dev/*' --file "$(find "$lab/cache/tee-compile/roots" -name '*.tar' | head -n 1)" ./usr/bin/bash ./usr/lib ./usr/lib64 ./bin ./lib ./lib64
mkdir "$lab/tree/root"
chmod 0700 "$lab/tree/root"
tar --create --gzip --directory "$lab/tree" --file "$lab/tree.tar.gz" .
python3 "$project/tests/extra/oci_archive.py" "$lab/tree.tar.gz" "$lab/tree.oci.tar"
for kind in tree tree.tar.gz tree.oci.tar; do
    mkdir "$lab/$kind.out"
    build "$lab/$kind.out/own.eif" --rootfs "$lab/$kind" --kernel "$kernel"
    same "$lab/tree.out/own" "$lab/$kind.out/own"
done
echo 'ok: a folder, a tar file and an OCI archive give the same image'
layer=$(sha256sum <"$lab/tree.tar.gz")
"$project/script/flip-byte" "$lab/tree.oci.tar" "blobs/sha256/${layer%% *}" "$lab/bad.oci.tar"
mkdir "$lab/bad.out"
if build "$lab/bad.out/own.eif" --rootfs "$lab/bad.oci.tar" --kernel "$kernel"; then
    echo 'FAILED: an OCI archive with a changed layer gave an image' >&2
    exit 1
fi
echo 'ok: an OCI archive with a changed layer gives none'
