# bash completion for tee-compile
_tee_compile() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    case $previous in
        --dir | --extract | --host-tool | --source)
            mapfile -t COMPREPLY < <(compgen -d -- "$word")
            return
            ;;
        --output | --detached | --artifact | --root | --key | --cert | --kernel | --ramdisk | --metadata | -o)
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return
            ;;
        --image) mapfile -t COMPREPLY < <(compgen -W host -- "$word"); return ;;
        --backend) mapfile -t COMPREPLY < <(compgen -W 'auto local' -- "$word"); return ;;
    esac
    local words
    case ${COMP_WORDS[1]} in
        build) words='--dir --build-file --image --host-tool --backend --nonce --output --detached
            --extract --allow-dirty --no-log --json --debug --help' ;;
        verify) words='--artifact --source --commit --nonce --max-age --root --allow-unmeasured
            --allow-debug --extract --json --help' ;;
        report) words='--json --markdown --help' ;;
        image)
            case ${COMP_WORDS[2]} in
                inspect) words='--json --help' ;;
                measure) words='--cert --json --help' ;;
                sign) words='--key --cert --output --replace --json --help' ;;
                assemble) words='--kernel --cmdline --ramdisk --metadata --output --json --help' ;;
                *) words='inspect measure sign assemble --help' ;;
            esac
            if [[ $COMP_CWORD -eq 2 ]]; then
                mapfile -t COMPREPLY < <(compgen -W 'inspect measure sign assemble --help' -- "$word")
                return
            fi
            ;;
        *) words='build verify report image --help --version' ;;
    esac
    if [[ $COMP_CWORD -gt 1 && $word != -* && ${COMP_WORDS[1]} != build ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    fi
}
complete -F _tee_compile tee-compile
