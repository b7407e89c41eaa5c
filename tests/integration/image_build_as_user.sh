#!/bin/bash
# The tests of tee-compile image build as an ordinary user with subordinate ids: as root, makes
# such a user for them and takes it away again.
#
# usage: image_build_as_user.sh TEE_COMPILE TEST...
set -euo pipefail

if [[ $EUID -ne 0 ]]; then
    echo 'already an ordinary user: the other test has shown it'
    exit 77
fi

user=tc-image-$$
home=$(mktemp -d /var/tmp/tee-compile-user-XXXXXX)
cleanup() {
    userdel "$user" 2>/dev/null || true
    rm -rf "$home"
}
trap cleanup EXIT

useradd --home-dir "$home" --no-create-home --shell /bin/bash "$user"
grep -q "^$user:" /etc/subuid || usermod --add-subuids 2100000-2165535 --add-subgids 2100000-2165535 "$user"
install -m 755 "$1" "$home/tee-compile"
shift
install -m 644 "$@" "$(dirname "$1")"/{image_build,signals}_case.py "$home"
mkdir "$home/t"
chown -R "$user" "$home"
# A home that is the user's alone: the rooms need no more.
chmod 0700 "$home"
status=0
for test in "${@##*/}"; do
    su "$user" -c "cd '$home' && unset XDG_CACHE_HOME && TC_TEST_FOLDER='$home/t' python3 $test ./tee-compile" ||
        status=$?
done
exit "$status"
