# Sourced by the bootstrap scripts. install_debian PACKAGE...: installs what is missing and says so; false, in silence,
# where this is no Debian or we may not.

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

install_debian() {
    command -v apt-get >/dev/null || return 1
    as_root true 2>/dev/null || return 1
    local log
    log=$(mktemp)
    echo "installing with apt-get: $*" >&2
    # Lists on a fresh machine are empty or old; try what is there first, since an update takes seconds.
    if as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" </dev/null >"$log" 2>&1 ||
        { as_root apt-get update </dev/null >"$log" 2>&1 &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" </dev/null >>"$log" 2>&1; }; then
        rm -f "$log"
        return 0
    fi
    tail -n 5 "$log" >&2
    rm -f "$log"
    return 1
}
