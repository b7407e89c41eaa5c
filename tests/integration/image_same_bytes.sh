#!/bin/bash
# image_same_bytes.sh TEE_COMPILE PROJECT: the minimal recipe built twice, and every
# difference between the two that ought not to matter; by root once more, in Debian 13:
#
#             first                      second
#   user      who runs this              an ordinary one (when this is run by root)
#   folder    short                      long; recipe outside of the project
#   date      today                      in 400 days, for tee-compile and for the programs in
#                                        the builder's root that write files
#   cores     all, --jobs 2              one, --jobs 1
#   root      as cached                  unpacked from another copy, in another order of files
#
# Locks are made afresh, since mirrors drop what old ones name. The kernel is a few
# bytes: that it is the same each time is tests/extra/images.sh's business.
# Exit status 77: apt has no mirror of Debian here, or a program is missing.
set -euo pipefail
tool=$(realpath "$1")
project=$(realpath "$2")

skip() {
    echo "skipped: $1"
    exit 77
}
for program in mmdebstrap faketime taskset; do
    command -v "$program" >/dev/null || skip "$program is not installed"
done
preload=$(find /usr/lib/*/faketime -name libfaketime.so.1 2>/dev/null | head -n 1)
[[ -n $preload ]] || skip 'libfaketime is not installed'
# shellcheck source=tests/extra/qemu/mirror.sh
source "$project/tests/extra/qemu/mirror.sh"
mirror >/dev/null || skip 'apt knows no mirror of Debian'

# Roots of thousands of small files are unpacked and taken away again: in memory where there
# is plenty of it, which is many times as fast as some disks.
base=/var/tmp
if [[ $(df --output=avail --block-size=1G /dev/shm 2>/dev/null | tail -n 1) -ge 9 &&
    $(sed -n 's/^MemAvailable: *//p' /proc/meminfo | tr -dc 0-9) -ge 12000000 ]]; then base=/dev/shm; fi
lab=$(mktemp -d "$base/tee-compile-images-XXXXXX")
user=
cleanup() {
    if [[ -n $user ]]; then userdel "$user" 2>/dev/null || true; fi
    rm -rf --one-file-system "$lab"
}
trap cleanup EXIT
chmod 0755 "$lab"
# One cache of packages: whatever is fetched stays for the next run.
packages=${XDG_CACHE_HOME:-$HOME/.cache}/tee-compile/packages
cache=$lab/cache/tee-compile
mkdir -p "$packages" "$cache"
ln -s "$packages" "$cache/packages"
export XDG_CACHE_HOME=$lab/cache

# --- what both are built from

mkdir -p "$lab/a/src/cmd" "$lab/b"
cp -r "$project/images" "$project"/{meson.build,meson_options.txt} "$lab/a"
cp -r "$project"/src/{base,core,os,worker,meson.build} "$lab/a/src"
cp "$project/src/cmd/worker_main.c" "$lab/a/src/cmd"
cp -r "$project/tests/images/minimal" "$lab/a/images/minimal"
cp "$tool" "$lab/tee-compile"
{
    head -c 510 /dev/zero
    printf '\x55\xaa\xeb\x66HdrS'
    head -c 100000 /dev/zero | tr '\0' k
} >"$lab/bzImage"
for name in builder minimal; do "$lab/tee-compile" image lock "$lab/a/images/$name" >&2; done
second=$lab/b/a-folder-with-a-longer-name/and-another
mkdir -p "$second"
cp -r "$lab/a" "$second/project"
mv "$second/project/images/minimal" "$second/recipe"

# --- first

"$lab/tee-compile" image build "$lab/a/images/minimal" --kernel "$lab/bzImage" --jobs 2 -o "$lab/first.eif" >&2

# --- second

mkdir -p "$second/cache/tee-compile/roots"
cp -r "$packages" "$second/cache/tee-compile/packages"
# The root that was just used is the newest; in the second, programs that write files
# live in the future.
root=$(find "$cache/roots" -name '*.tar' -printf '%T@ %p\n' | sort -n | tail -n 1)
root=${root#* }
mkdir "$lab/root"
tar --extract --file "$root" --directory "$lab/root" --exclude='./usr/share/doc' --exclude='./var/lib/dpkg/info' \
    ./usr/bin
for name in meson ninja mkfs.erofs cpio zstd mmdebstrap; do
    path=$(find "$lab/root/usr/bin" -name "$name")
    [[ -n $path ]] || { echo "FAILED: $name is not in the builder's root: what is in its place?" >&2; exit 1; }
    mv "$path" "$path.real"
    more=
    if [[ $name == mmdebstrap ]]; then
        # shellcheck disable=SC2016
        more='--setup-hook="mkdir -p \"\$1/usr/lib\"; cp /usr/lib/faketime.so \"\$1/usr/lib\"" --customize-hook="rm \"\$1/usr/lib/faketime.so\""'
    fi
    # The clock alone: the files' own times, which some programs read, stay what they are.
    printf '#!/bin/bash\nexport LD_PRELOAD=/usr/lib/faketime.so FAKETIME=+400d FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1\nexec %s.real %s "$@"\n' \
        "/usr/bin/$name" "$more" >"$path"
    chmod 0755 "$path"
done
mkdir "$lab/changes"
mkdir -p "$lab/changes/usr/bin" "$lab/changes/usr/lib"
for name in meson ninja mkfs.erofs cpio zstd mmdebstrap; do
    cp "$lab/root/usr/bin/$name" "$lab/root/usr/bin/$name.real" "$lab/changes/usr/bin"
done
cp "$preload" "$lab/changes/usr/lib/faketime.so"
# Behind the others in the archive, and so over them.
cp "$root" "$second/cache/tee-compile/roots/"
(cd "$lab/changes" && find . -type f -print0 |
    tar --append --null --no-recursion --owner=0 --group=0 --file "$second/cache/tee-compile/roots/$(basename "$root")" --files-from=-)
(cd "$second/cache/tee-compile/roots" && sha256sum "$(basename "$root")" >"$(basename "$root").sha256")
rm -rf "$lab/root" "$lab/changes"

as_other=()
if [[ $EUID -eq 0 ]]; then
    user=tc-same-$$
    useradd --home-dir "$lab/b" --no-create-home --shell /bin/bash "$user"
    grep -q "^$user:" /etc/subuid || usermod --add-subuids 2200000-2265535 --add-subgids 2200000-2265535 "$user"
    chown -R "$user" "$lab/b"
    as_other=(setpriv --reuid "$user" --regid "$user" --init-groups)
fi
"${as_other[@]}" env --unset=XDG_DATA_HOME HOME="$lab/b" XDG_CACHE_HOME="$second/cache" \
    taskset --cpu-list "$(taskset --cpu-list --pid $$ | sed -E 's/.*: ([0-9]+).*/\1/')" faketime '+400 days' \
    "$lab/tee-compile" image build "$second/recipe" --source "$second/project" --kernel "$lab/bzImage" --jobs 1 \
    -o "$lab/b/second.eif" >&2

# --- compare

for suffix in eif erofs spdx.json; do
    cmp "$lab/first.$suffix" "$lab/b/second.$suffix"
    echo "ok: $suffix: $(sha256sum <"$lab/first.$suffix")"
done

# --- third, in Debian 13: a builder's root is one, with the mmdebstrap that makes another

if [[ $EUID -ne 0 ]]; then
    echo 'left out: Debian 13, whose root only root can enter'
    exit 0
fi
debian=$lab/debian
mkdir -p "$debian/lab/libraries" "$debian/old" "$debian/root/cache/tee-compile"
tar --extract --file "$root" --directory "$debian" --numeric-owner
grep -q '^VERSION_ID="13"' "$debian/etc/os-release"
cp -r "$packages" "$debian/root/cache/tee-compile/packages"
cp -r "$lab/a" "$lab/bzImage" "$lab/tee-compile" "$debian/lab"
# The program's libraries go with it; the C library is that of Debian 13, or the program
# would not be in Debian 13 but beside it.
ldd "$lab/tee-compile" | sed -n -E 's/^[[:space:]]*[^[:space:]]+ => (\/[^[:space:]]+) .*/\1/p' |
    grep -vE '/(libc|libm|libdl|librt|libpthread|libresolv)[.]so' | xargs cp --target-directory "$debian/lab/libraries"
# The words are for the inner shell.
# shellcheck disable=SC2016
unshare --mount --net --pid --fork --kill-child --propagation private bash -euc '
    mount --bind "$1" "$1"
    mount -t proc none "$1/proc"
    mount --rbind /dev "$1/dev"
    cd "$1"
    pivot_root . old
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 XDG_CACHE_HOME=/root/cache chroot . bash -euc "
        umount -l /old
        LD_LIBRARY_PATH=/lab/libraries /lab/tee-compile image build /lab/a/images/minimal --kernel /lab/bzImage \
            --mirror file:///nowhere/debian -o /lab/third.eif >&2"
' in_debian "$debian"
for suffix in eif erofs spdx.json; do cmp "$lab/first.$suffix" "$debian/lab/third.$suffix"; done
echo 'ok: the same in Debian 13'
