#!/bin/bash
# `build --backend qemu` on the QEMU that is packaged (backend.py and faults.py say what is
# proven), then the small build once more on the one with the enclave's machine (build.sh), and
# what can go wrong there, with the nitro back end too. The image is that of C: the file that
# is given, else made by `image build`, which takes long the first time.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../../.." && pwd)
build=${TEE_COMPILE_BUILD:-$project/build}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tee-compile/qemu-backend

image=${1:-$cache/c.eif}
if [[ $# -eq 0 ]]; then
    mkdir -p "$cache"
    nice -n 19 "$build/src/tee-compile" image build "$project/images/c" -o "$image"
fi

lab=$(mktemp -d)
trap 'rm -rf "$lab"' EXIT
"$project/script/fetch-source" "$lab/sources" hello lua5.4
nice -n 19 /usr/bin/python3 -B "$here/backend.py" "$build" "$image" "$lab/sources"
nice -n 19 /usr/bin/python3 -B "$here/faults.py" "$build" "$image" qemu

echo '-- nitro-enclave'
tools=$("$here/build.sh")
mkdir "$lab/bin"
# Its firmware is beside it.
printf '#!/bin/sh\nexec %q -L %q "$@"\n' "$tools/qemu-system-x86_64" "$tools/share" >"$lab/bin/qemu-system-x86_64"
chmod +x "$lab/bin/qemu-system-x86_64"
PATH=$lab/bin:$PATH nice -n 19 /usr/bin/python3 -B "$here/backend.py" "$build" "$image" "$lab/sources" twice
PATH=$lab/bin:$PATH nice -n 19 /usr/bin/python3 -B "$here/faults.py" "$build" "$image" qemu killed client
nice -n 19 /usr/bin/python3 -B "$here/nitro.py" "$tools" "$build" "$image" "${image%.eif}.erofs" "$lab/sources"
NITRO_EMULATOR=$tools/qemu-system-x86_64 NITRO_FIRMWARE=$tools/share \
    nice -n 19 /usr/bin/python3 -B "$here/faults.py" "$build" "$image" nitro
