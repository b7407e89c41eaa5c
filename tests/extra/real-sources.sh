#!/bin/bash
# Builds four real packages of Debian twice each, from two folders with different
# names, through tee-compile; verifies the bundles, runs what came out, and
# compares the bytes of the two builds. script/fetch-source gets the sources.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

tool=${TEE_COMPILE:-$PWD/build/src/tee-compile}
root=${XDG_DATA_HOME:-$HOME/.local/share}/tee-compile/development-root.pem
for needed in "$tool" xz gcc make; do
    if ! command -v "$needed" >/dev/null; then
        echo "real-sources: $needed is missing (tee-compile: script/build)" >&2
        exit 2
    fi
done

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

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

# What it cannot fetch it names; here that is a failure of that package alone.
script/fetch-source "$folder/source" zlib lua5.4 xz-utils hello || true
failed=0
while read -r package name; do
    echo "-- $package"
    # set -e does not hold in a condition; each step of try_* is joined by && for that.
    if [[ -d $folder/source/$package ]] && "try_$name"; then
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
