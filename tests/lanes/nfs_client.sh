#!/usr/bin/env bash
# What runs on the NFS client, inside the guest: called by nfs_init.sh with
#   REPO, BINARY                      this checkout, and the test binary `it`
#   HOMELAB_DR_TEST_NFS_SERVER_PID    the server, which a test may stop and continue
# /run/nfs is the export mounted hard, as by default; /run/nfs-soft the same one
# mounted soft, where a lost server becomes an error.
# Its exit code is the lane's.
set -euo pipefail
readonly FROZEN_LIMIT_S=90

cd "$REPO"
# shellcheck source=tests/lanes/lib.sh
. tests/lanes/lib.sh

# A test that hangs on a mount cannot always be killed: then the guest's own limit
# ends it.
export HOMELAB_DR_TEST_NFS_DIR=/run/nfs
run_tests timeout -k 5 240 "$BINARY" --ignored lane_nfs --skip lane_nfs_frozen

if ! "$BINARY" --list --ignored lane_nfs_frozen | grep -q ': test$'; then
    say "this checkout has no lane_nfs_frozen: a stopped server is not tested"
    exit 0
fi

# Alone, for it stops the server under everybody. The mount does not get it out
# of there: while the server's machine still acknowledges, NFSv4 waits for ever,
# soft or not (seen with Linux 6.1), and a process waiting in fsync cannot be
# killed. So a watchdog lets the server go on, and the test has failed by then.
(
    sleep "$FROZEN_LIMIT_S"
    echo "error: lane_nfs_frozen had not ended after $FROZEN_LIMIT_S s, the server goes on"
    kill -CONT "$HOMELAB_DR_TEST_NFS_SERVER_PID"
    touch "$TMPDIR/thawed"
) &
watchdog=$!
rc=0
HOMELAB_DR_TEST_NFS_DIR=/run/nfs-soft \
    run_tests timeout -k 5 "$FROZEN_LIMIT_S" "$BINARY" --ignored lane_nfs_frozen --test-threads=1 --nocapture || rc=$?
kill "$watchdog" 2>/dev/null || true
kill -CONT "$HOMELAB_DR_TEST_NFS_SERVER_PID"
[[ ! -e $TMPDIR/thawed ]] || exit 1
((rc == 0)) || exit "$rc"
