#!/bin/bash
# image_same_bytes.sh TEE_COMPILE PROJECT: the minimal recipe built twice, and every
# difference between the two that ought not to matter:
#
#             first                      second
#   user      an ordinary one            root, when root runs this; else the same
#   system    this one                   Debian 13, when root runs this
#   folder    short                      long; recipe outside of the project
#   date      today                      in 400 days, for tee-compile and for the programs in
#                                        the builder's root that write files
#   cores     all, --jobs 2              one, --jobs 1
#   root      made                       unpacked from another copy, in another order of files
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
packages=${XDG_CACHE_HOME:-$HOME/.cache}/tee-compile/packages

# --- what both are built from

mkdir -p "$lab/a/src/cmd" "$lab/u/cache/tee-compile"
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

# --- first

if [[ -d $packages ]]; then cp -r "$packages" "$lab/u/cache/tee-compile/packages"; fi
as_user=()
if [[ $EUID -eq 0 ]]; then
    user=tc-same-$$
    useradd --home-dir "$lab/u" --no-create-home --shell /bin/bash "$user"
    grep -q "^$user:" /etc/subuid || usermod --add-subuids 2200000-2265535 --add-subgids 2200000-2265535 "$user"
    chown -R "$user" "$lab/u"
    as_user=(setpriv --reuid "$user" --regid "$user" --init-groups)
fi
"${as_user[@]}" env --unset=XDG_DATA_HOME HOME="$lab/u" XDG_CACHE_HOME="$lab/u/cache" \
    "$lab/tee-compile" image build "$lab/a/images/minimal" --kernel "$lab/bzImage" --jobs 2 -o "$lab/u/first.eif" >&2
# Whatever was fetched stays for the next run.
mkdir -p "$packages"
cp --no-clobber "$lab/u/cache/tee-compile/packages"/*.deb "$packages/"

# --- second

if [[ $EUID -eq 0 ]]; then
    # A builder's root is Debian 13.
    system=$lab/debian
    mkdir "$system"
    tar --extract --file "$(find "$lab/u/cache/tee-compile/roots" -name '*.tar')" --directory "$system" --numeric-owner
    grep -q '^VERSION_ID="13"' "$system/etc/os-release"
else
    system=
    echo 'left out: Debian 13, whose root only root can enter'
fi
second=$system$([[ -n $system ]] && echo /lab || echo "$lab/b")/a-folder-with-a-longer-name/and-another
inside=${second#"$system"}
mkdir -p "$second"
cp -r "$lab/a" "$second/project"
mv "$second/project/images/minimal" "$second/recipe"
cp "$lab/bzImage" "$lab/tee-compile" "$second"
mkdir -p "$second/cache/tee-compile/roots"
cp -r "$lab/u/cache/tee-compile/packages" "$second/cache/tee-compile/packages"
# In the second, programs that write files live in the future.
root=$(find "$lab/u/cache/tee-compile/roots" -name '*.tar')
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


one_core=$(taskset --cpu-list --pid $$ | sed -E 's/.*: ([0-9]+).*/\1/')
build=("$inside/tee-compile" image build "$inside/recipe" --source "$inside/project" --kernel "$inside/bzImage" --jobs 1
    --mirror file:///nowhere/debian -o "$inside/second.eif")
if [[ $EUID -eq 0 ]]; then
    mkdir "$system/old" "$second/libraries"
    # The program's libraries go with it; the C library is that of Debian 13, or the program
    # would not be in Debian 13 but beside it.
    ldd "$lab/tee-compile" | sed -n -E 's/^[[:space:]]*[^[:space:]]+ => (\/[^[:space:]]+) .*/\1/p' |
        grep -vE '/(libc|libm|libdl|librt|libpthread|libresolv)[.]so' | xargs cp --target-directory "$second/libraries"
    cp "$preload" "$second/libraries/faketime.so"
    # The words are for the inner shell.
    # shellcheck disable=SC2016
    unshare --mount --net --pid --fork --kill-child --propagation private taskset --cpu-list "$one_core" bash -euc '
        system=$1 second=$2
        shift 2
        mount --bind "$system" "$system"
        mount -t proc none "$system/proc"
        mount --rbind /dev "$system/dev"
        cd "$system"
        pivot_root . old
        exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 XDG_CACHE_HOME="$second/cache" \
            LIBRARIES="$second/libraries" chroot . bash -euc "
            umount -l /old
            export LD_LIBRARY_PATH=\$LIBRARIES LD_PRELOAD=\$LIBRARIES/faketime.so
            export FAKETIME=+400d FAKETIME_DONT_FAKE_MONOTONIC=1
            [[ \$(date +%Y) -gt $(date +%Y) ]]
            exec \"\$@\"" inside "$@"
    ' in_debian "$system" "$inside" "${build[@]}" >&2
else
    HOME=$lab/b XDG_CACHE_HOME=$second/cache taskset --cpu-list "$one_core" faketime '+400 days' "${build[@]}" >&2
fi

# --- compare

for suffix in eif erofs spdx.json; do
    cmp "$lab/u/first.$suffix" "$second/second.$suffix"
    echo "ok: $suffix: $(sha256sum <"$lab/u/first.$suffix")"
done
