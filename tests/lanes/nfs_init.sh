#!/bin/bash
# Process 1 of the guest that nfs.sh boots: brings up an NFS server and two
# mounts of it, runs nfs_client.sh, hands back its exit code, powers off.
# The host's files are the root, read-only; $work alone is writable and shared.
# Kernel parameter: work=FOLDER, which arrives as an environment variable.
# No `set -e`: process 1 must not end by itself, every way out is power_off.

work=${work:?the kernel parameter work=FOLDER is missing}
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

power_off() {
    echo "$1" >"$work/exit"
    cp /run/ganesha.log "$work/" 2>/dev/null
    sync
    mount -t proc none /proc 2>/dev/null
    echo o >/proc/sysrq-trigger
    sleep 60
}
fail() {
    echo "nfs_init: error: $*" | tee -a "$work/output"
    power_off 1
}
run() { "$@" || fail "failed: $*"; }

server_config() {
    cat <<CONF
NFS_CORE_PARAM { Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; mount_path_pseudo = true; }
NFSv4 {
    Graceless = true; Lease_Lifetime = 10; RecoveryBackend = fs; RecoveryRoot = /run/ganesha;
    Minor_Versions = 0, 1, 2; Only_Numeric_Owners = true;
}
NFS_KRB5 { Active_krb5 = false; }
EXPORT {
    Export_Id = 1; Path = /run/export; Pseudo = /export; Protocols = 4; Transports = TCP;
    Access_Type = RW; Squash = Root_Squash; Anonymous_Uid = 65534; Anonymous_Gid = 65534;
    SecType = sys; FSAL { Name = VFS; }
}
CONF
}

# Root squash is on, as on most servers: the export belongs to nobody.
start_server() {
    run mkdir -p /run/export /run/ganesha
    run mount -t tmpfs -o size=50%,mode=0755,uid=65534,gid=65534 none /run/export
    server_config >/run/ganesha.conf
    # It gives locks only if it can try them in a /tmp it can write to; its own one.
    # shellcheck disable=SC2016  # expanded by the inner shell
    unshare --mount sh -c 'mount -t tmpfs none /tmp && exec "$@"' server \
        ganesha.nfsd -F -f /run/ganesha.conf -L /run/ganesha.log -p /run/ganesha.pid -N NIV_EVENT &
    export HOMELAB_DR_TEST_NFS_SERVER_PID=$!
    local _
    for _ in {1..300}; do
        (exec 3<>/dev/tcp/127.0.0.1/2049) 2>/dev/null && return
        sleep 0.1
    done
    fail "the NFS server did not listen within 30 s"
}

# mount_export FOLDER OPTIONS: without the mount.nfs helper, which would want
# rpcbind; nosharecache keeps the options of the two mounts apart.
mount_export() {
    run mkdir -p "$1"
    run timeout 60 mount -i -t nfs4 -o "vers=4.2,addr=127.0.0.1,clientaddr=127.0.0.1,nosharecache,$2" 127.0.0.1:/export "$1"
}

run mount -t proc none /proc
run mount -t sysfs none /sys
run mount -t hostfs -o "$work" none "$work"
run mount -t tmpfs none /run
run ln -s /proc/self/fd /dev/fd
mount -t devpts none /dev/pts 2>/dev/null
mount -t tmpfs none /dev/shm 2>/dev/null
run mkdir -p /run/tmp /run/modules/lib
export TMPDIR=/run/tmp
run ln -s /usr/lib/uml/modules /run/modules/lib/modules
run modprobe -d /run/modules nfsv4
run ip link set lo up
run hostname lane
start_server
mount_export /run/nfs hard,timeo=100
mount_export /run/nfs-soft soft,timeo=10,retrans=1
echo "nfs_init: $(uname -r) mounted $(stat -f -c %T /run/nfs), up for $(cut -d ' ' -f 1 /proc/uptime) s" | tee -a "$work/output"

# shellcheck disable=SC1091  # written by nfs.sh
. "$work/env"
bash "$REPO/tests/lanes/nfs_client.sh" >>"$work/output" 2>&1
power_off $?
