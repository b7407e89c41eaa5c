#!/bin/bash
# PID 1 of the machine that driver.py makes. Uses the nitro back end on the kernel's own driver and
# prints what driver.py looks for, a line each: "== WHAT: VALUE".
export PATH=/usr/bin:/usr/sbin:/bin HOME=/root LC_ALL=C NO_COLOR=1 XDG_DATA_HOME=/root/data XDG_CACHE_HOME=/root/cache
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
perl -e 'symlink("/proc/self/fd", "/dev/fd")'
say() { echo "== $1: $2"; }
sudo() { "$@"; } # as root already
export -f sudo

load() { # MODULE: finit_module, by its number
    # shellcheck disable=SC2016
    perl -e 'open(M, "<", $ARGV[0]) or die; syscall(313, fileno(M), my $words = "", 0) == 0
        or print("== not loaded: $ARGV[0]: $!\n")' "$1"
}
while read -r module; do load "$module"; done </modules/order

parameters=/sys/module/nitro_enclaves/parameters
pages=/sys/devices/system/node/node0/hugepages

ask_doctor() { # WHAT: prints its line and sets the command that it names
    local line
    tee-compile doctor >/tmp/doctor
    line=$(grep '^nitro ' /tmp/doctor)
    fix=$(sed -n '/^nitro /{n;s/^ *mend it: //p}' /tmp/doctor)
    say "$1" "$line${fix:+ [$fix]}"
    [[ $line == "nitro  yes"* ]]
}

free_pages() { cat $pages/hugepages-2048kB/free_hugepages $pages/hugepages-1048576kB/free_hugepages | paste -sd ' '; }
count_log() { dmesg | grep -c "$1"; }

await_log() { # COUNT PATTERN PID: until it is there so often, or the process has ended
    until [[ $(count_log "$2") -ge $1 || ! -e /proc/$3 ]]; do sleep 0.2; done
}

begin() { # NAME FOLDER: a build in the background, which heeds SIGINT all the same
    starts=$(count_log 'device: slot [0-9]* started')
    # shellcheck disable=SC2016
    perl -e '$SIG{INT} = "DEFAULT"; exec(@ARGV)' tee-compile build --dir "/$2" --backend nitro --image /image.eif --output "/root/$1.tar" \
        >"/root/$1.out" 2>&1 </dev/null &
    pid=$!
}

# What was asked of the device since the last start.
look() { # NAME
    local size
    await_log $((starts + 1)) 'device: slot [0-9]* started' "$pid"
    say "$1 memory" "$(dmesg | sed -n 's/.*device: slot [0-9]* memory \([0-9]*\) MiB/\1/p; s/.*device: slot [0-9]*$/-/p' |
        perl -e '@all = (); while (<>) { chomp; if ($_ eq "-") { @all = () } else { push(@all, $_) } }
            $sum += $_ for @all; print("$all[0] MiB first, $sum MiB in " . @all . " pieces")')"
    size=$(stat -c %s /image.eif)
    if tail -c +$((8 * 1024 * 1024 + 1)) /dev/nitro_memory | head -c "$size" | cmp - /image.eif; then
        say "$1 image" same
    fi
}

finish() { # NAME
    wait "$pid"
    say "$1 status" $?
    while read -r line; do say "$1 said" "$line"; done <"/root/$1.out"
}

# The end of a process that was killed may take the kernel a moment.
back() { # NAME
    local allocated freed i
    for ((i = 0; i < 100; i++)); do
        allocated=$(count_log 'device: slot [0-9]*$')
        freed=$(count_log 'device: slot [0-9]* free')
        if [[ $allocated == "$freed" && $(free_pages) == "$before" ]]; then
            say "$1 back" all
            return
        fi
        sleep 0.2
    done
    say "$1 back" "$allocated slots, $freed freed; $(free_pages) pages, $before before"
}

tests() {
    local one other
    ask_doctor doctor
    load /nitro_enclaves.ko
    # Each command mends one thing.
    for _ in 1 2 3 4 5 6 7 8; do
        if ask_doctor doctor; then break; fi
        bash -c "$fix" >/dev/null
    done
    say pool "$(cat $parameters/ne_cpus)"

    # The rules are those of a pool of three cores.
    echo '' >$parameters/ne_cpus 2>/dev/null
    echo 2-7 >$parameters/ne_cpus
    nitro_rules kernel | while IFS= read -r line; do say rule "$line"; done

    before=$(free_pages)
    say free "$before"
    for name in small large; do
        begin $name $name
        look $name
        kill -INT "$pid"
        finish $name
        back $name
    done

    begin killed small
    look killed
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null
    back killed

    begin ended small
    look ended
    dmesg | sed -n 's/.*device: slot \([0-9]*\) started.*/\1/p' | tail -n 1 >$parameters/ended
    finish ended
    back ended

    begin one small
    look one
    one=$pid
    begin other small
    look other
    other=$pid
    say 'two cids' "$(dmesg | sed -n 's/.*started, CID \([0-9]*\),.*/\1/p' | tail -n 2 | tr '\n' ' ')"
    kill -INT "$one" "$other"
    wait "$one" "$other"
    back two

    echo 0 >$pages/hugepages-1048576kB/nr_hugepages
    echo 0 >$pages/hugepages-2048kB/nr_hugepages
    echo '' >$parameters/ne_cpus 2>/dev/null
    ask_doctor aws
    printf 'MEMORY_MIB=4608\nCPUS=2\n' >/etc/tee-compile/enclaves.conf
    say resources "$(enclave-resources 2>&1)"
    ask_doctor aws
}

tests
say end yes
sleep 1 # the serial line is slow
echo b >/proc/sysrq-trigger
sleep 60
