#!/usr/bin/env bash
# What runs on the NFS client, inside the guest: called by nfs_init.sh with
#   REPO, BINARY                      this checkout, and the test binary `it`
#   HOMELAB_DR_TEST_NFS_SERVER_PID    the server, which a test may stop and continue
# /run/nfs is the export mounted hard, as by default; /run/nfs-soft the same one
# mounted soft. Two ways to lose the server, seen with Linux 6.1 on the soft mount:
#   kill -STOP $HOMELAB_DR_TEST_NFS_SERVER_PID   fsync waits for ever: its kernel
#       still acknowledges, and NFSv4 sends nothing again on a living connection
#   ip link set lo down                          EIO after 2 to 20 s
# Its exit code is the lane's.
set -euo pipefail

# What a test with the server gone may take, its own time limits included.
readonly FROZEN_LIMIT_S=240

cd "$REPO"
# shellcheck source=tests/lanes/lib.sh
. tests/lanes/lib.sh

server_back() {
    kill -CONT "$HOMELAB_DR_TEST_NFS_SERVER_PID"
    ip link set lo up
}

# A test that hangs on a mount cannot always be killed: then the guest's own limit
# ends it.
export HOMELAB_DR_TEST_NFS_DIR=/run/nfs
run_tests timeout -k 5 240 "$BINARY" --ignored lane_nfs --skip lane_nfs_frozen

# Alone, for it stops the server under everybody. A process waiting in fsync cannot
# be killed, so a watchdog lets the server go on; the test has failed by then.
(
    sleep "$FROZEN_LIMIT_S"
    echo "error: lane_nfs_frozen had not ended after $FROZEN_LIMIT_S s, the server goes on"
    server_back
    touch "$TMPDIR/thawed"
) &
watchdog=$!
rc=0
HOMELAB_DR_TEST_NFS_DIR=/run/nfs-soft \
    run_tests timeout -k 5 "$FROZEN_LIMIT_S" "$BINARY" --ignored lane_nfs_frozen --test-threads=1 --nocapture || rc=$?
kill "$watchdog" 2>/dev/null || true
server_back
[[ ! -e $TMPDIR/thawed ]] || exit 1
((rc == 0)) || exit "$rc"
