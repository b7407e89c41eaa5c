#!/bin/bash
# tests/extra/network.sh [cargo|npm|go|pip|maven...]: builds real projects (tests/extra/network)
# through the registries that this machine is set up for, records what comes, verifies;
# then builds each again from its archive, without a network, and compares the bytes.
#
# Registries are those of the clients' own settings here and are named nowhere else: cargo's
# config.toml, npm's registry, GOPROXY, pip's index, Maven's settings.xml. Lock files are
# made by the clients before the build, outside of it. A client that is missing, and a
# registry that does not answer it, leave that project out, with a message; exit status 77
# when no project is left.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

tool=${TEE_COMPILE:-$PWD/build/src/tee-compile}
root=${XDG_DATA_HOME:-$HOME/.local/share}/tee-compile/development-root.pem
projects=$PWD/tests/extra/network
for needed in "$tool" /usr/bin/python3; do
    if ! command -v "$needed" >/dev/null; then
        echo "network: $needed is missing (tee-compile: script/build)" >&2
        exit 2
    fi
done

folder=$(mktemp -d)
# The Go client makes its cache read-only.
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
# mktemp's folder is closed to others, and a toolchain below it would be.
chmod 755 "$folder"

# build_file PROJECT COMMAND OUTPUT [NAME=VALUE...]
build_file() {
    python3 - "$@" >"$folder/$1/build.json" <<'PYTHON'
import json
import re
import sys

project, command, output, *environment = sys.argv[1:]
for entry in environment:
    if re.search('://[^/]*@', entry):
        sys.exit(f'network: {entry.partition("=")[0]} holds a credential, which a build may not see')
json.dump({'language': project,
           'input': {'cmd': command, 'env': environment},
           'output': {'files': [output]},
           'network': {'mode': 'record'},
           'limits': {'timeout': '60m', 'memory': '3G', 'disk': '3G', 'processes': 4096}},
          sys.stdout, indent=2)
PYTHON
}

# What the statement of a bundle says of its downloads: how many, how many of them are
# pinned by which file, and that none is unauthenticated. The third word: at least so many pinned.
count_downloads() {
    python3 - "$@" <<'PYTHON'
import collections
import json
import sys
import tarfile

path, origin, least = sys.argv[1], sys.argv[2], int(sys.argv[3])
with tarfile.open(path) as tar:
    statement = json.load(tar.extractfile('attestation/statement.json'))
found = [d for d in statement['predicate']['buildDefinition']['resolvedDependencies']
         if d.get('uri', '').startswith(('https:', 'http:'))]
notes = [d.get('annotations', {}) for d in found]
pinned = collections.Counter(n['pinnedBy'] for n in notes if 'pinnedBy' in n)
size = sum(n['size'] for n in notes)
print(f'   {origin}: {len(found)} downloads, {size} bytes, pinned: {dict(pinned)}')
if not found or any(n.get('unauthenticated') for n in notes):
    sys.exit('network: no downloads, or some that nobody vouches for')
if sum(pinned.values()) < least:
    sys.exit(f'network: expected at least {least} downloads that the source pins')
if any((n.get('origin') == 'archive') != (origin == 'archive') for n in notes):
    sys.exit(f'network: not every download is said to come from the {origin}')
PYTHON
}

# quietly FILE COMMAND...: its output is shown only when it fails.
quietly() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 || {
        tail -n 40 "$log" >&2
        return 1
    }
}

# A build that could not reach anything but its archive, even if it tried.
# shellcheck disable=SC2317 # called by quietly
without_network() {
    local unshare=()
    if [[ $(id -u) -eq 0 ]]; then unshare=(unshare --net --); fi
    HTTPS_PROXY=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 "${unshare[@]}" "$@"
}

# twice PROJECT PINNED [OPTION...]: live and replayed, verified, taken out and compared.
twice() {
    local here=$folder/$1 pinned=$2 status
    local live=$here.live.tar again=$here.again.tar judge=("$tool" verify --root "$root" --allow-unmeasured)
    shift 2
    quietly "$here.log" "$tool" build --dir "$here" --image host --output "$live" --archive "$here.net.tar" "$@" &&
        quietly "$here.log" "${judge[@]}" --source "$here" --extract "$here.live" "$live" &&
        count_downloads "$live" network "$pinned" &&
        quietly "$here.log" without_network "$tool" build --dir "$here" --image host --output "$again" \
            --replay "$here.net.tar" "$@" &&
        count_downloads "$again" archive "$pinned" || return 1
    # A replay proves no origin by itself.
    status=0
    "${judge[@]}" "$again" >"$here.log" 2>&1 || status=$?
    if [[ $status -ne 1 ]]; then
        echo "network: expected verify to answer 1 for a replay, seen $status" >&2
        return 1
    fi
    quietly "$here.log" "${judge[@]}" --live "$live" --source "$here" --extract "$here.again" "$again" &&
        quietly "$here.log" "${judge[@]}" --allow-replayed "$again" &&
        diff --recursive "$here.live" "$here.again"
}

# prepare NAME COMMAND...: what the client writes before the build; false: it is left out.
prepare() {
    local name=$1
    shift
    if "$@" >"$folder/$name.log" 2>&1; then return 0; fi
    tail -n 5 "$folder/$name.log" >&2
    left_out="its client could not make the lock file: no registry"
    return 1
}

client() {
    if command -v "$1" >/dev/null; then return 0; fi
    left_out="$1 is missing"
    return 1
}

# --- the projects. prepare_NAME: false when it is left out; build_NAME: the two builds.

prepare_cargo() {
    local config=${CARGO_HOME:-$HOME/.cargo}/config.toml sysroot
    client cargo && client rustc || return 1
    # Where the crates come from, and nothing else of the machine's settings.
    if [[ -f $config ]]; then
        mkdir "$folder/cargo/.cargo"
        awk '/^[[:space:]]*\[/ { wanted = /^[[:space:]]*\[(source|registries|registry)[].]/ } wanted' \
            "$config" >"$folder/cargo/.cargo/config.toml"
    fi
    # A toolchain below a home is out of the build's reach; links cost nothing.
    sysroot=$(cd "$folder/cargo" && rustc --print sysroot)
    mkdir "$folder/rust"
    cp -al "$sysroot/bin" "$sysroot/lib" "$folder/rust/" 2>/dev/null ||
        { rm -rf "$folder/rust/"* && cp -a "$sysroot/bin" "$sysroot/lib" "$folder/rust/"; }
    prepare cargo env -C "$folder/cargo" "$folder/rust/bin/cargo" generate-lockfile
}
build_cargo() {
    build_file cargo 'cargo build --release --locked' target/release/notes || return 1
    twice cargo 30 --host-tool "$folder/rust" &&
        [[ $("$folder/cargo.again/target/release/notes" a b a) == '{"text":"a b a","words":{"a":2,"b":1}}' ]]
}

prepare_npm() {
    client npm && client node || return 1
    printf 'registry=%s\n' "$(npm config get registry)" >"$folder/npm/.npmrc"
    prepare npm npm --prefix "$folder/npm" install --package-lock-only --ignore-scripts --no-audit --no-fund
}
build_npm() {
    build_file npm 'npm ci --ignore-scripts --no-audit --no-fund && npx --no-install webpack' 'dist/*' \
        npm_config_update_notifier=false || return 1
    twice npm 70 && [[ $(node "$folder/npm.again/dist/main.js") == 'function production' ]]
}

prepare_go() {
    client go || return 1
    prepare go env -C "$folder/go" GOTOOLCHAIN=local GOPATH="$folder/gopath" go mod tidy
}
build_go() {
    local name settings=()
    for name in GOPROXY GONOPROXY GOSUMDB GONOSUMDB GOPRIVATE; do
        settings+=("$name=$(go env "$name")")
    done
    build_file go 'go build -trimpath -buildvcs=false -o notes .' notes "${settings[@]}" || return 1
    # 10 named ones and more that they need, each with its go.mod.
    twice go 20 --host-tool "$(go env GOROOT)" && "$folder/go.again/notes" | grep --quiet '^first: note'
}

# Without a folder of the machine's own, which the build does not see.
pip() {
    env -u PIP_FIND_LINKS python3 -m pip --disable-pip-version-check "$@"
}
# shellcheck disable=SC2317 # called by prepare
pip_lock() {
    local name file
    pip download --no-deps --requirement "$folder/pip/requirements.in" --dest "$folder/wheels" || return 1
    for file in "$folder"/wheels/*.whl; do
        name=$(basename "$file")
        printf '%s==%s --hash=sha256:%s\n' "${name%%-*}" "$(cut -d- -f2 <<<"$name")" \
            "$(sha256sum "$file" | cut -d' ' -f1)"
    done >"$folder/pip/requirements.txt"
}
prepare_pip() {
    if ! /usr/bin/python3 -m pip --version >/dev/null 2>&1; then
        left_out='/usr/bin/python3 has no pip'
        return 1
    fi
    prepare pip pip_lock
}
build_pip() {
    local name value settings=()
    for name in index-url extra-index-url; do
        for value in "global.$name" ":env:.$name"; do
            value=$(pip config get "$value" 2>/dev/null) || continue
            name=${name//-/_}
            settings+=("PIP_${name^^}=$value")
        done
    done
    build_file pip '/usr/bin/python3 -m pip wheel --require-hashes --requirement requirements.txt --wheel-dir dist
/usr/bin/python3 -m pip wheel --no-deps --wheel-dir dist .' 'dist/*.whl' \
        PIP_DISABLE_PIP_VERSION_CHECK=1 "${settings[@]}" || return 1
    twice pip 2 && python3 -m zipfile --list "$folder/pip.again/dist/notes-1.0.0-py3-none-any.whl" |
        grep --quiet notes/__init__.py
}

prepare_maven() {
    client mvn && client javac || return 1
    local config=$HOME/.m2/settings.xml
    # Without passwords, which are for the host and not for a build.
    if [[ -f $config ]]; then
        sed '/<servers>/,/<\/servers>/d' "$config" >"$folder/maven/settings.xml"
    else
        printf '<settings/>\n' >"$folder/maven/settings.xml"
    fi
    # It has no lock file: this asks the registry for the one dependency.
    prepare maven env -C "$folder/maven" mvn --batch-mode --settings settings.xml \
        -Dmaven.repo.local="$folder/m2" dependency:resolve
}
build_maven() {
    # Java looks the user's home up, and the build's user is nobody that it finds.
    # shellcheck disable=SC2016 # it is the build's HOME
    build_file maven 'mvn --batch-mode --no-transfer-progress --settings settings.xml \
    -Duser.home="$HOME" package' 'target/*.jar' || return 1
    twice maven 0 && python3 -m zipfile --list "$folder/maven.again/target/notes-1.0.0.jar" |
        grep --quiet org/example/notes/Notes.class
}

# The steps by name.
prepare_project() {
    case $1 in
        cargo) prepare_cargo ;;
        npm) prepare_npm ;;
        go) prepare_go ;;
        pip) prepare_pip ;;
        maven) prepare_maven ;;
    esac
}
build_project() {
    case $1 in
        cargo) build_cargo ;;
        npm) build_npm ;;
        go) build_go ;;
        pip) build_pip ;;
        maven) build_maven ;;
    esac
}

if [[ $# -eq 0 ]]; then set -- cargo npm go pip maven; fi
ran=0
failed=0
for name in "$@"; do
    if [[ ! -d $projects/$name ]]; then
        echo "network: no project $name; there are: cargo npm go pip maven" >&2
        exit 2
    fi
    echo "-- $name"
    left_out=
    cp -r "$projects/$name" "$folder/$name"
    # set -e does not hold in a condition; the steps are joined by && for that.
    if ! prepare_project "$name"; then
        echo "   left out: ${left_out:-its settings could not be read}"
        continue
    fi
    ran=$((ran + 1))
    if build_project "$name"; then
        echo "   built live and from its archive, verified, run, same bytes"
    else
        echo "   FAILED: $name" >&2
        failed=1
    fi
done
if [[ $ran -eq 0 ]]; then exit 77; fi
exit "$failed"
