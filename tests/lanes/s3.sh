#!/usr/bin/env bash
# Lane s3: the store tests against a real Ceph radosgw, installed and started
# here. Usage: tests/lanes/s3.sh [install]. Leaves nothing behind but packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/lanes/lib.sh
. tests/lanes/lib.sh
# shellcheck source=tests/lanes/ceph.sh
. tests/lanes/ceph.sh

ceph_install
[[ ${1:-} != install ]] || exit 0

work=$(mktemp -d "${TMPDIR:-/tmp}/homelab-dr-s3.XXXXXX")
up=no
finish() {
    local rc=$?
    trap - EXIT
    [[ $rc == 0 || $up == yes ]] || ceph_logs >&2
    ceph_down
    rm -rf "$work"
    exit "$rc"
}
trap finish EXIT
trap 'exit 143' INT TERM

# Built first: a compile error should not cost the start of a cluster.
cargo test --locked --test it --no-run
ceph_up "$work"
up=yes
run_tests cargo test --locked --test it -- --ignored lane_s3 lane_lock
