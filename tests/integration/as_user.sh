#!/bin/bash
# Tests of the command line as an ordinary user with subordinate ids: as root, makes such a user
# for them, gives it control groups, runs of each file below the cases that it names, of any other
# file all, and takes everything away again. erofsfuse of TC_EROFSFUSE (a folder) is used where the
# machine has none.
#
# usage: as_user.sh TEE_COMPILE WORKER TEST...
set -euo pipefail

tool=$1 worker=$2
shift 2
tests=("$@")
declare -A names=(
    [test_build.py]='world_of_the_build failing_command outputs_shipped'
    [test_build_ends.py]='interrupt_leaves_nothing'
    [test_build_limits.py]='full_disk fork_bomb timeout'
    [test_verify_command.py]='plain_folder git_commit_is_proven'
    [test_network.py]='curl git_clone many_at_once archive_and_replay'
    [test_network_attacks.py]='other_protocols'
    [test_network_ends.py]='wrong_name'
)

if [[ $EUID -ne 0 ]]; then
    echo 'already an ordinary user: the other test has shown it'
    exit 77
fi

user=tc-test-$$
home=$(mktemp -d /var/tmp/tee-compile-user-XXXXXX)
groups=()
fuse_mode=
cleanup() {
    for group in "${groups[@]}"; do rmdir "$group"/* "$group" 2>/dev/null || true; done
    userdel "$user" 2>/dev/null || true
    rm -rf "$home"
    if [[ -n $fuse_mode ]]; then chmod "$fuse_mode" /dev/fuse; fi
}
trap cleanup EXIT

useradd --home-dir "$home" --no-create-home --shell /bin/bash "$user"
grep -q "^$user:" /etc/subuid || usermod --add-subuids 2000000-2065535 --add-subgids 2000000-2065535 "$user"
install -m 755 "$tool" "$worker" "$home"
install -m 644 "${tests[@]}" "$(dirname "${tests[0]}")"/*_{case,lab}.py "$home"
if [[ -x ${TC_EROFSFUSE:-/nonexistent}/erofsfuse ]]; then install -m 755 "$TC_EROFSFUSE/erofsfuse" "$home"; fi
# As udev has it wherever it runs.
if [[ ${tests[*]} == */test_image_* && -c /dev/fuse ]]; then
    fuse_mode=$(stat -c %a /dev/fuse)
    chmod 666 /dev/fuse
fi
chown -R "$user" "$home"

# Version 1 controllers: what an administrator would do once. With version 2 the
# message names systemd-run, which a test host need not have.
if [[ -d /sys/fs/cgroup/memory && -d /sys/fs/cgroup/pids ]]; then
    for controller in memory pids; do
        group=/sys/fs/cgroup/$controller/tee-compile
        [[ -d $group ]] && continue
        mkdir "$group"
        groups+=("$group")
    done
    previous=$(stat -c %u /sys/fs/cgroup/memory/tee-compile)
    for controller in memory pids; do
        chown "$user" "/sys/fs/cgroup/$controller/tee-compile"{,/cgroup.procs}
    done
    status=0
    for test in "${tests[@]##*/}"; do
        su "$user" -c "cd '$home' && unset XDG_DATA_HOME && PATH=\$PATH:$home python3 $test ./tee-compile ${names[$test]:-}" ||
            status=$?
    done
    for controller in memory pids; do
        chown "$previous" "/sys/fs/cgroup/$controller/tee-compile"{,/cgroup.procs} 2>/dev/null || true
    done
    exit "$status"
fi
echo 'no version 1 control groups here: not tried as an ordinary user' >&2
exit 77
