#!/bin/bash
# PID 1 of the host that vhost.py makes: a machine whose kernel has vhost-vsock. Builds there
# by the qemu back end, and prints what vhost.py looks for, a line each: "== WHAT: VALUE".
export PATH=/usr/bin:/usr/sbin:/bin HOME=/root LC_ALL=C NO_COLOR=1 XDG_DATA_HOME=/root/data
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
# finit_module, by its number.
# shellcheck disable=SC2016
load='open(M, "<", $ARGV[0]) or die; syscall(313, fileno(M), my $words = "", 0) == 0 or print("== not loaded: $ARGV[0]: $!\n")'
while read -r module; do perl -e "$load" "$module"; done </modules/order

say() { echo "== $1: $2"; }
root=$XDG_DATA_HOME/tee-compile/development-root.pem

build() { # NAME [VARIABLE=VALUE]: in the background
    mkdir -p "/root/$1"
    cp /project/* "/root/$1"
    sed -i "s/WAIT/${2:-0}/" "/root/$1/build.json"
    tee-compile build --dir "/root/$1" --backend qemu --image /image.eif --output "/root/$1.tar" \
        >"/root/$1.out" 2>&1 </dev/null &
}

# The words of every emulator, one a line.
emulators() {
    local folder words
    for folder in /proc/[0-9]*; do
        [[ $(readlink "$folder/exe") == */qemu-system-x86_64 ]] || continue
        words=$(tr '\0' ' ' <"$folder/cmdline") || continue
        if [[ $words == *" -kernel "* ]]; then echo "${folder#/proc/} $words"; fi
    done
}

await_emulators() { # COUNT
    until [[ $(emulators | wc -l) -ge $1 || -z $(jobs -rp) ]]; do sleep 2; done
}

await_line() { # NAME TEXT
    until grep -qs "$2" "/root/$1.out" || [[ -z $(jobs -rp) ]]; do sleep 2; done
}

finish() { # NAME PID
    wait "$2"
    say "$1 status" $?
    sed "s/^/$1| /" "/root/$1.out"
    if [[ -e /root/$1.tar.console ]]; then tail -n 60 "/root/$1.tar.console" | sed "s/^/$1 console| /"; fi
}

judge() { # NAME
    tee-compile verify --json --root "$root" --pcr "0=$(cat /pcr0)" --source "/root/$1" "/root/$1.tar" >/root/verdict
    say "$1 verify" "$? $(tr -d '\n' </root/verdict)"
}

# A stream to the host's own port by way of CID 1, as somebody who is not the guest: prints
# what came of it.
knock() { # PORT
    # The words are Perl's.
    # shellcheck disable=SC2016
    perl -e 'socket(S, 40, 1, 0) or die "$!";
        connect(S, pack("SSLLx4", 40, 0, $ARGV[0], 1)) or print("refused\n"), exit;
        my $got = sysread(S, my $bytes, 1);
        print(defined $got && $got == 0 || $! == 104 ? "closed unread\n" : "let in: $bytes\n")' "$1"
}

tests() {
    local pid other line cid i
    say doctor "$(tee-compile doctor | grep '^qemu ')"

    build one 0
    pid=$!
    # At once: before the guest has come, each port has a listener.
    until line=$(emulators) && [[ -n $line || -z $(jobs -rp) ]]; do sleep 0.1; done
    cid=${line#*guest-cid=}
    cid=${cid%%,*}
    # Session, pages, network (which this build has none of), attester and heartbeat.
    for i in 7301 7302 7303 7304 7305; do say "knock at $i" "$(knock $((i + 8 * (cid - 4))))"; done
    say words "$line"
    finish one "$pid"
    say left "$(emulators)"
    say "after the end" "$(knock $((7301 + 8 * (cid - 4))))"
    judge one

    if [[ $(cat /rounds) == short ]]; then return; fi
    build killed 3600
    pid=$!
    await_line killed 'building (input.cmd)'
    kill -9 "$(emulators | cut -d' ' -f1)"
    finish killed "$pid"
    say left "$(emulators)"

    build client 3600
    pid=$!
    await_line client 'building (input.cmd)'
    line=$(emulators)
    cid=${line#*guest-cid=}
    cid=${cid%%,*}
    kill -9 "$pid"
    wait "$pid" 2>/dev/null
    until [[ -z $(pgrep_all) ]]; do sleep 2; done
    say "after a kill" "$(knock $((7301 + 8 * (cid - 4))))"

    # One after the other: two that boot at once are too slow here to be waited for.
    build first 300
    pid=$!
    await_line first 'building (input.cmd)'
    build second 0
    other=$!
    await_emulators 2
    emulators | while read -r line; do say words "$line"; done
    finish first "$pid"
    finish second "$other"
    judge first
    judge second
}

# Whatever runs of the product or of the emulator.
pgrep_all() {
    local folder
    for folder in /proc/[0-9]*; do
        case $(readlink "$folder/exe") in */tee-compile | */qemu-system-x86_64) echo "${folder#/proc/}" ;; esac
    done
}

tests
say end yes
echo b >/proc/sysrq-trigger
sleep 60
