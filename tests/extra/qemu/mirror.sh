# Sourced by build.sh and prepare.sh.

# Where the machine gets Debian itself from, whichever of apt's two notations it
# uses; ends the script when it does not say.
mirror() {
    local uri
    uri=$({
        sed -n -E 's/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]*\/debian\/?)[[:space:]].*/\2/p' \
            /etc/apt/sources.list /etc/apt/sources.list.d/*.list
        sed -n -E 's/^URIs:[[:space:]]*([^[:space:]]*\/debian\/?)([[:space:]].*)?$/\1/p' \
            /etc/apt/sources.list.d/*.sources
    } 2>/dev/null | head -n 1)
    if [[ -z $uri ]]; then
        echo 'qemu: apt knows no mirror of Debian: expected a line for .../debian in /etc/apt' >&2
        return 2
    fi
    echo "$uri"
}
