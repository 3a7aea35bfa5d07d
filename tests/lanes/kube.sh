#!/usr/bin/env bash
# Lane kube: a real kubectl against the test API server.
# Usage: tests/lanes/kube.sh [install]. Leaves nothing behind.
#
# A kubectl on the PATH is taken as it is, if it speaks WebSocket to exec and
# attach (since 1.31). Otherwise Debian's is unpacked into a folder that is
# thrown away; it is older, and the tests of exec and
# attach are left out, and counted as ignored.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/lanes/lib.sh
. tests/lanes/lib.sh

readonly MINOR_MIN=31

is_new_enough() {
    local minor
    minor=$(kubectl version --client -o json 2>/dev/null | sed -n 's/.*"minor": *"\([0-9]*\).*/\1/p' | head -n 1)
    [[ -n $minor ]] && ((minor >= MINOR_MIN))
}

# Unpacked, not installed: a newer kubectl of another package may own the file.
debian_kubectl() {
    local work=$1
    command -v apt-get >/dev/null || die "this lane needs kubectl: install one of at least 1.$MINOR_MIN, or skip it"
    say "no kubectl of at least 1.$MINOR_MIN on the PATH: taking Debian's, without exec and attach"
    (
        cd "$work"
        if ! { apt-get -qq update && apt-get -qq download kubernetes-client; } >apt.log 2>&1; then
            cat apt.log >&2
            die "cannot download kubernetes-client: apt-get said why above"
        fi
        dpkg-deb -x kubernetes-client_*.deb .
    )
}

[[ ${1:-} != install ]] || exit 0

work=$(mktemp -d "${TMPDIR:-/tmp}/homelab-dr-kube.XXXXXX")
finish() {
    local rc=$?
    trap - EXIT
    rm -rf "$work"
    exit "$rc"
}
trap finish EXIT
trap 'exit 143' INT TERM

left_out=()
if command -v kubectl >/dev/null && is_new_enough; then
    HOMELAB_DR_KUBECTL=$(command -v kubectl)
else
    debian_kubectl "$work"
    HOMELAB_DR_KUBECTL=$work/usr/bin/kubectl
    left_out=(--skip lane_kube_exec)
fi
export HOMELAB_DR_KUBECTL
say "$("$HOMELAB_DR_KUBECTL" version --client 2>&1 | head -n 1)"
run_tests cargo test --locked --test it -- --ignored lane_kube "${left_out[@]}"
# What is left out is no success: the lane's line says so.
if ((${#left_out[@]})) && [[ -n ${HOMELAB_DR_LANE_COUNTS:-} ]]; then
    echo "0 0 2" >>"$HOMELAB_DR_LANE_COUNTS"
fi
