#!/usr/bin/env bash
# Lane nfs: the file store on a real Linux NFS client.
# Usage: tests/lanes/nfs.sh [install]. Leaves nothing behind but packages.
#
# The host's kernel may know no NFS, so the lane boots one that does: Debian's
# user-mode-linux, an ordinary process, sees the host's files read-only through
# hostfs. Server (nfs-ganesha, NFSv4) and client both run inside: that needs no
# privilege, no tap device and no port of the host, two lanes cannot collide, and
# a test can freeze the server with a signal. Between them is TCP as ever.
#
# nfs_init.sh is process 1 in there; it calls nfs_client.sh, which runs the tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/lanes/lib.sh
. tests/lanes/lib.sh

# Everything in the guest: kernel, page cache, exported files, tests.
readonly GUEST_MEMORY_MIB=768
# From power-on to power-off. Boot and mount take 4 s on a quiet machine.
readonly GUEST_LIMIT_S=420

lane_packages user-mode-linux nfs-ganesha nfs-ganesha-vfs kmod iproute2
[[ ${1:-} != install ]] || exit 0

work=$(mktemp -d "${TMPDIR:-/tmp}/homelab-dr-nfs.XXXXXX")
guest=
finish() {
    local rc=$?
    trap - EXIT
    if [[ -n $guest ]]; then
        # The whole group: the guest's helpers outlive its first process.
        kill -KILL -- "-$guest" 2>/dev/null || true
        wait "$guest" 2>/dev/null || true
    fi
    rm -rf "$work"
    exit "$rc"
}
trap finish EXIT
trap 'exit 143' INT TERM

# The path of the test binary `it`, from cargo's own messages.
test_binary() {
    cargo test --locked --test it --no-run --message-format=json |
        sed -n 's/.*"name":"it".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

# The guest's memory is a file: in /dev/shm when that is large enough.
guest_memory_folder() {
    local free_kib
    free_kib=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1) || free_kib=0
    if ((free_kib > GUEST_MEMORY_MIB * 1024)); then echo /dev/shm; else echo "$work"; fi
}

guest_logs() {
    local file
    for file in console.log ganesha.log; do
        echo "== $file"
        tail -n 60 "$work/$file" 2>/dev/null | cut -c 1-200 || true
    done
}

binary=$(test_binary)
[[ -x $binary ]] || die "cargo named no test binary 'it'"

# What the guest's process 1 is to do; the guest has no other way to be told.
{
    printf 'export REPO=%q BINARY=%q\n' "$PWD" "$binary"
    printf 'export PATH=%q HOME=%q\n' "$PATH" "$HOME"
} >"$work/env"
: >"$work/output"

started=$SECONDS
TMPDIR=$(guest_memory_folder) setsid linux.uml "mem=${GUEST_MEMORY_MIB}M" quiet con=null con0=null,fd:1 \
    root=/dev/root rootfstype=hostfs rootflags=/ ro "uml_dir=$work/uml/" \
    "init=$PWD/tests/lanes/nfs_init.sh" "work=$work" </dev/null >"$work/console.log" 2>&1 &
guest=$!

# The tests' output is shown as it comes, and goes through run_tests for counting.
follow_guest() {
    timeout "$GUEST_LIMIT_S" tail --pid="$guest" --lines=+1 --sleep-interval=0.2 -f "$work/output" || {
        echo "error: the guest was still running after $GUEST_LIMIT_S s"
        return 1
    }
    [[ -s $work/exit ]] || {
        echo "error: the guest ended without a result"
        return 1
    }
    return "$(<"$work/exit")"
}
rc=0
run_tests follow_guest || rc=$?
say "the guest ran for $((SECONDS - started)) s"
if ((rc != 0)); then
    guest_logs >&2
    exit "$rc"
fi
