# shellcheck shell=bash
# Sourced by the scripts beside it.

name=$(basename "$0")
umask 022

stop() {
    echo "$name: $2" >&2
    exit "$1"
}

# begin NAME: empties the script's two folders, $out for what it makes and $tmp for what
# it needs on the way, which is gone when it ends.
begin() {
    [[ -n ${SOURCE_DATE_EPOCH:-} && -n ${JOBS:-} ]] ||
        stop 2 'SOURCE_DATE_EPOCH and JOBS are not set: this script is run by "tee-compile image build"'
    [[ -d /work && -d /source/images/builder ]] ||
        stop 2 'expected /source and /work: this script is run by "tee-compile image build"'
    out=/work/$1.out tmp=/work/$name.tmp
    rm -rf "$out" "$tmp"
    mkdir "$out" "$tmp"
    trap 'rm -rf "$tmp"' EXIT
}

# The same for every image: what names an image is its root hash.
uuid=7e3c0de5-0000-4000-8000-000000000001
# "tee-compile: salt of a toolchain". One salt for all: who guesses a block may
# know it anyway, since images are public.
salt=7465652d636f6d70696c653a2073616c74206f66206120746f6f6c636861696e

# No toolchain comes near; a file of holes gets there at once.
apparent_max=$((64 << 30))

# check_tree TREE: what a toolchain must have, and what an image cannot carry.
check_tree() {
    local tree=$1 odd size
    [[ -n $(intree "$tree" /bin/bash) ]] ||
        stop 2 'the root file system has no /bin/bash, by which every command of a build is run'
    odd=$(find "$tree" -xdev \( -type b -o -type c -o -type p -o -type s \) -printf '/%P ' | head -c 400 || true)
    [[ -z $odd ]] || stop 2 "the root file system holds devices, FIFOs or sockets, which an image does not carry: $odd"
    size=$(du --summarize --apparent-size --block-size=1 --one-file-system "$tree" | cut -f 1)
    ((size <= apparent_max)) ||
        stop 2 "the root file system's files come to $size bytes; expected $apparent_max at most"
}

# What mmdebstrap copies of the machine, which packages' scripts would see, is replaced
# before any of them runs.
# shellcheck disable=SC2016,SC2034
machine_hook='--setup-hook=rm -f "$1/etc/hostname" "$1/etc/resolv.conf"; echo tee-compile >"$1/etc/hostname"; : >"$1/etc/resolv.conf"'

# intree TREE PATH: the file that PATH is in TREE, or nothing.
intree() {
    python3 -B /source/images/builder/intree.py "$1" "$2"
}

# sbom ...: see sbom.py.
sbom() {
    python3 -B /source/images/builder/sbom.py "$@"
}

# packages_of FILE...: the packages of the builder root that the files are from, as
# sbom.py lists them.
packages_of() {
    local names file
    for file in "$@"; do realpath "$file"; done >"$tmp/files"
    # "NAME:ARCHITECTURE: PATH"; a file in no package ends it.
    names=$(xargs dpkg-query --search <"$tmp/files" | sed -E 's/:.*//' | LC_ALL=C sort -u)
    locked digests /source/images/builder/lock.json >"$tmp/digests"
    # shellcheck disable=SC2086 # a list of names
    sbom packages / "$tmp/digests" $names
}

# locked ...: see locked.py.
locked() {
    python3 -B /source/images/builder/locked.py "$@"
}

# The worker's name for its deny list (src/core/denied.h), in a toolchain.
denied=etc/tee-compile/denied-certificates

# check_denied TREE: a deny list that the worker could not read would end every build.
check_denied() {
    local tree=$1 odd
    [[ ! -L $tree/etc && ! -L $tree/${denied%/*} && ! -L $tree/$denied ]] ||
        stop 2 "/$denied of the root file system is a link, or lies behind one"
    [[ -e $tree/$denied ]] || return 0
    [[ -f $tree/$denied ]] || stop 2 "/$denied of the root file system is no file"
    odd=$(grep -nvxE '(#.{0,511}|(certificate|key) [0-9a-f]{64})?' "$tree/$denied" | head -c 200 || true)
    [[ -z $odd && -z $(tail -c 1 "$tree/$denied" | tr -d '\n') ]] ||
        stop 2 "/$denied of the root file system has a line that is neither \"certificate HEX\" nor \"key HEX\" nor a comment: ${odd:-the last one does not end}"
}

# make_folders TREE: those on which the worker mounts (src/worker/spawner.h).
make_folders() {
    local tree=$1 folder
    for folder in build home/build tmp proc dev; do
        [[ ! -L $tree/$folder && ! -L $tree/${folder%%/*} ]] ||
            stop 2 "/$folder of the root file system is a link: a build's folders are mounted there"
        # Not over the bounds of a file system: none is mounted in the tree.
        rm -rf --one-file-system "${tree:?}/$folder"
        mkdir -p "$tree/$folder"
        chmod 0755 "$tree/$folder"
    done
}

# seal TREE: $out/root.erofs with its hash tree, and $out/root.verity. Owner, times,
# extended attributes and special bits are gone afterwards; what is left is names,
# modes, links and bytes.
seal() {
    local tree=$1 blocks hex
    find "$tree" -xdev ! -type l -perm /7000 -exec chmod ug-s,o-t {} +
    # -T leaves alone what is older.
    find "$tree" -xdev -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    mkfs.erofs --quiet -T "$SOURCE_DATE_EPOCH" --all-root -U "$uuid" -x-1 --workers=1 \
        -zlz4hc,9 -C65536 -Eztailpacking,fragments "$out/root.erofs" "$tree" >&2
    truncate --size=%4096 "$out/root.erofs"
    blocks=$(($(stat --format=%s "$out/root.erofs") / 4096))
    hex=$(veritysetup format --hash=sha256 --salt="$salt" --no-superblock --data-block-size=4096 \
        --hash-block-size=4096 --data-blocks="$blocks" --hash-offset=$((blocks * 4096)) \
        "$out/root.erofs" "$out/root.erofs" | sed -n 's/^Root hash:[[:space:]]*//p')
    [[ $hex =~ ^[0-9a-f]{64}$ ]] || stop 1 "veritysetup printed no root hash but \"$hex\""
    truncate --size=%4096 "$out/root.erofs"
    printf 'tee-compile/verity/1\ndata %s\ntotal %s\nroot %s\nsalt %s\n' \
        "$blocks" $(($(stat --format=%s "$out/root.erofs") / 4096)) "$hex" "$salt" >"$out/root.verity"
}
