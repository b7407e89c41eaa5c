#!/bin/bash
# Builds four real packages of Debian twice each, from two folders with different
# names, through tee-compile; verifies the bundles, runs what came out, and
# compares the bytes of the two builds. Sources come by apt from the machine's own
# mirrors, checked by apt; a private configuration leaves the machine's alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

tool=${TEE_COMPILE:-$PWD/build/src/tee-compile}
root=${XDG_DATA_HOME:-$HOME/.local/share}/tee-compile/development-root.pem
for needed in "$tool" apt-get dpkg-source xz gcc make; do
    if ! command -v "$needed" >/dev/null; then
        echo "real-sources: $needed is missing (tee-compile: script/build; dpkg-source: dpkg-dev)" >&2
        exit 2
    fi
done

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The machine's sources of Debian itself, as sources of source packages.
private_apt() {
    local file name
    mkdir -p "$folder"/apt/{sources.list.d,state/lists/partial,cache/archives/partial}
    : >"$folder/apt/sources.list"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        if [[ ! -f $file ]]; then continue; fi
        sed -n -E '\,^deb[[:space:]].*/debian(-security)?/?[[:space:]], s/^deb/deb-src/p' "$file" \
            >>"$folder/apt/sources.list"
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        if [[ ! -f $file ]]; then continue; fi
        name=$(basename "$file")
        # One stanza a record; other vendors' stanzas are left out.
        awk 'BEGIN { RS = ""; ORS = "\n\n" }
             /(^|\n)URIs:[^\n]*\/debian(-security)?\/?([ \t\n]|$)/ {
                 sub(/(^|\n)Types:[^\n]*/, "\nTypes: deb-src"); print }' "$file" |
            sed '/^$/{N;/^\n$/D}' >"$folder/apt/sources.list.d/$name"
    done
    cat >"$folder/apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$folder/apt/sources.list";
Dir::Etc::sourceparts "$folder/apt/sources.list.d";
Dir::State "$folder/apt/state";
Dir::Cache "$folder/apt/cache";
CONF
    if [[ $EUID -eq 0 ]]; then echo 'APT::Sandbox::User "root";' >>"$folder/apt/apt.conf"; fi
    export APT_CONFIG=$folder/apt/apt.conf
    apt-get --quiet --quiet update
}

# fetch PACKAGE: its upstream source, without Debian's patches, in $folder/source/PACKAGE.
fetch() {
    local package=$1 description
    mkdir -p "$folder/download/$package" "$folder/source"
    (cd "$folder/download/$package" && apt-get --quiet --quiet --download-only source "$package")
    description=$(find "$folder/download/$package" -name '*.dsc' -print -quit)
    dpkg-source --skip-patches --extract "$description" "$folder/source/$package" >/dev/null
    rm -rf "$folder/source/$package/.pc"
}

# twice PACKAGE COMMAND OUTPUT...: two builds, verified, taken out and compared.
twice() {
    local package=$1 command=$2 place
    shift 2
    python3 - "$command" "$@" >"$folder/source/$package/build.json" <<'PYTHON'
import json
import sys

json.dump({'language': 'c',
           'input': {'cmd': sys.argv[1], 'collect': {'gcc': 'gcc --version'}},
           'output': {'files': sys.argv[2:]},
           'limits': {'timeout': '30m', 'memory': '1G', 'disk': '1G'}}, sys.stdout, indent=2)
PYTHON
    for place in one another-and-longer; do
        local here=$folder/$place/$package
        mkdir -p "$folder/$place"
        # With times: make must not find generated files older than their sources.
        cp -a "$folder/source/$package" "$here"
        "$tool" build --dir "$here" --image host --output "$here.tar" >"$here.out" 2>&1 || {
            tail -n 40 "$here.out" >&2
            return 1
        }
        "$tool" verify --root "$root" --allow-unmeasured --source "$here" --extract "$here.files" \
            "$here.tar" >"$here.verdict" || {
            cat "$here.verdict" >&2
            return 1
        }
    done
    diff --recursive "$folder/one/$package.files" "$folder/another-and-longer/$package.files"
}

# output PACKAGE PATH: where a file of the first build was put.
output() {
    local found
    found=$(find "$folder/one/$1.files" -type f -path "*/$2" -print -quit)
    [[ -n $found ]] && echo "$found"
}

round_trip() {
    local program=$1 given=$folder/one/$2.tar
    "$program" -c <"$given" >"$folder/packed" && "$program" -dc <"$folder/packed" | cmp - "$given" &&
        ! cmp --silent "$folder/packed" "$given"
}

try_zlib() {
    local program
    twice zlib './configure --static && make' minigzip example libz.a &&
        (cd "$folder" && "$(output zlib example)" | grep --quiet 'inflate(): hello, hello!') &&
        program=$(output zlib minigzip) && "$program" <"$folder/one/zlib.tar" >"$folder/packed" &&
        gzip -dc <"$folder/packed" | cmp - "$folder/one/zlib.tar"
}

try_lua() {
    twice lua5.4 'make linux' src/lua src/luac &&
        "$(output lua5.4 src/lua)" -v | grep '^Lua 5\.4' &&
        [[ $("$(output lua5.4 src/lua)" -e 'print(6 * 7)') == 42 ]]
}

try_xz() {
    local program
    # The program that is shipped, not libtool's wrapper: --disable-shared makes them one.
    twice xz-utils './configure --disable-shared --disable-nls && make' src/xz/xz &&
        program=$(output xz-utils src/xz/xz) && "$program" --version &&
        round_trip "$program" xz-utils &&
        xz -dc <"$folder/packed" | cmp - "$folder/one/xz-utils.tar"
}

try_hello() {
    twice hello './configure && make' hello &&
        [[ $("$(output hello hello)") == 'Hello, world!' ]]
}

private_apt
failed=0
while read -r package name; do
    echo "-- $package"
    # set -e does not hold in a condition; each step of try_* is joined by && for that.
    if fetch "$package" && "try_$name"; then
        echo "   built twice, verified, run, same bytes"
    else
        echo "   FAILED: $package" >&2
        failed=1
    fi
done <<'PACKAGES'
zlib zlib
lua5.4 lua
xz-utils xz
hello hello
PACKAGES
exit "$failed"
