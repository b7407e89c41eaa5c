# bash completion for tee-compile and tee-verify
_tee_compile() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local images=${XDG_DATA_HOME:-$HOME/.local/share}/tee-compile/images/names
    case $previous in
        --dir | --extract | --host-tool | --source)
            mapfile -t COMPREPLY < <(compgen -d -- "$word")
            return
            ;;
        --build-file | --output | --detached | --archive | --replay | --artifact | --live | --root | --images | --images-key | --key | --policy | --cert | --kernel | --ramdisk | --rootfs | --metadata | -o)
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return
            ;;
        --image)
            mapfile -t COMPREPLY < <(compgen -W "host $(ls "$images" 2>/dev/null)" -- "$word"
                compgen -f -X '!*.eif' -- "$word")
            return
            ;;
        --cpus | --commit | --nonce | --pcr | --max-age | --min-list-version) return ;;
        --emulator)
            # A program may be in more than one folder of PATH.
            mapfile -t COMPREPLY < <({ compgen -c -- "$word"; compgen -f -- "$word"; } | sort -u)
            return
            ;;
        --credential) return ;; # HOST=FILE, of which bash makes three words
        =)
            if [[ ${COMP_WORDS[COMP_CWORD - 3]-} == --credential ]]; then
                mapfile -t COMPREPLY < <(compgen -f -- "$word")
                return
            fi
            ;;
        --backend)
            local names='local qemu nitro'
            if [[ ${COMP_WORDS[1]} == build ]]; then names="auto $names"; fi
            mapfile -t COMPREPLY < <(compgen -W "$names" -- "$word")
            return ;;
    esac
    local words
    case ${COMP_WORDS[1]} in
        build) words='--dir --build-file --image --host-tool --backend --emulator --cpus --nonce --output --detached
            --extract --archive --replay --credential --allow-dirty --no-log --json --debug --help' ;;
        verify) words='--artifact --source --commit --nonce --pcr --max-age --policy --root --images --images-key
            --min-list-version --allow-unmeasured
            --allow-debug --allow-unauthenticated --allow-replayed --live --extract --json --help' ;;
        image)
            case ${COMP_WORDS[2]-}:${COMP_WORDS[3]-} in
                trust:add) words='--key --pcr0 --name --image-version --recipe --help' ;;
                trust:list) words='--json --help' ;;
                trust:update) words='--min-list-version --help' ;;
                trust:sign) words='--key --output --help' ;;
                trust:*) words='add remove list update sign' ;;
                inspect:*) words='--json --help' ;;
                measure:*) words='--cert --json --help' ;;
                sign:*) words='--key --cert --output --replace --json --help' ;;
                assemble:*) words='--kernel --cmdline --ramdisk --metadata --output --json --help' ;;
                build:*) words='--output --rootfs --self-contained --kernel --source --mirror --snapshot --jobs --json --help' ;;
                list:* | remove:*) words='--json --help' ;;
                pull:*) words='--pcr0 --json --help' ;;
                lock:*) words='--mirror --no-security --json --help' ;;
                *) words='trust build inspect measure sign assemble lock list pull remove --help' ;;
            esac
            if [[ $COMP_CWORD -eq 2 ]]; then
                words='trust build inspect measure sign assemble lock list pull remove --help'
                # The relying party's program makes and keeps no images.
                if [[ ${COMP_WORDS[0]##*/} == tee-verify ]]; then words='trust --help'; fi
            fi
            if [[ $COMP_CWORD -gt 2 && ${COMP_WORDS[2]} == remove && $word != -* ]]; then
                mapfile -t COMPREPLY < <(compgen -W "$(ls "$images" 2>/dev/null)" -- "$word")
                return
            fi ;;
        doctor) words='--backend --json --help' ;;
        report) words='--json --markdown --help' ;;
        attestation)
            case $COMP_CWORD:${COMP_WORDS[2]} in
                2:*) words='show verify --help' ;;
                *:show) words='--json --help' ;;
                *) words='--pcr --nonce --user-data --at --root --allow-debug --json --help' ;;
            esac ;;
        *)
            words='verify report attestation image --help --version'
            if [[ ${COMP_WORDS[0]##*/} != tee-verify ]]; then words="build doctor $words"; fi ;;
    esac
    local first_file=2
    case ${COMP_WORDS[1]}:${COMP_WORDS[2]-} in
        attestation:* | image:[!t]*) first_file=3 ;;
        image:*) first_file=4 ;;
    esac
    if [[ $COMP_CWORD -ge $first_file && $word != -* && ${COMP_WORDS[1]} != @(build|doctor) ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    fi
}
complete -F _tee_compile tee-compile tee-verify
