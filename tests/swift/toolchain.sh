#!/usr/bin/env bash
# Runs a command with Swift 6 in the path, in a folder: `toolchain.sh FOLDER 'swiftc --version'`.
#
# The swiftc of this machine is used where there is one. Else MLREG_SWIFT_ROOT (default /var/cache/mlreg-swift) becomes a Debian 13 system that
# has it (2.7 GB, some minutes, once; needs root, and debootstrap or apt-get), and the folder is seen there as /src. Mounts live in a
# namespace of their own and end with the command.
set -euo pipefail
root=${MLREG_SWIFT_ROOT:-/var/cache/mlreg-swift} folder=$(realpath "$1") command=$2

if command -v swiftc >/dev/null && swiftc --version 2>/dev/null | grep -q 'Swift version 6'; then
    cd "$folder" && exec sh -c "$command"
fi

mirror() {
    local lists=()
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
        if [ -f "$list" ]; then lists+=("$list"); fi
    done
    if [ ${#lists[@]} -gt 0 ]; then
        sed -nE 's/^URIs: *([^ ]*\/debian)\/?$/\1/p; s/^deb +(\[[^]]*\] +)?([^ ]*\/debian)\/? .*/\2/p' "${lists[@]}" | sed -n 1p
    fi
}

install() {
    command -v debootstrap >/dev/null || { apt-get update -qq && apt-get install -y -qq debootstrap; } >/dev/null
    local from
    from=$(mirror)
    # A root that is half made by a call that was interrupted is made anew.
    rm -rf "$root.new"
    debootstrap --variant=minbase --include=ca-certificates trixie "$root.new" "${from:-http://deb.debian.org/debian}"
    cp /etc/resolv.conf "$root.new/etc/resolv.conf"
    chroot "$root.new" sh -c '
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq && apt-get install -y -qq --no-install-recommends swiftlang libstdc++-14-dev && apt-get clean'
    mkdir "$root.new/src"
    mv "$root.new" "$root"
}

if ! [ -x "$root/usr/bin/swiftc" ]; then
    mkdir -p "$(dirname "$root")"
    exec 9>"$root.lock"
    flock 9
    if ! [ -x "$root/usr/bin/swiftc" ] && ! install >"$root.log" 2>&1; then
        echo "error: cannot install Swift in $root" >&2
        tail -n 20 "$root.log" >&2
        exit 1
    fi
    exec 9>&-
fi
exec unshare -m sh -c 'mount -t proc proc "$1/proc" && mount --bind "$2" "$1/src" && exec chroot "$1" sh -c "cd /src && $3"' sh "$root" "$folder" "$command"
