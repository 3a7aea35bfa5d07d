# shellcheck shell=bash
# One Ceph radosgw for the S3 lane: monitor, one OSD in memory, gateway, all in
# one folder and on loopback. Sourced: ceph_install, ceph_up FOLDER, ceph_down.
# ceph_up exports HOMELAB_DR_TEST_S3_URL, HOMELAB_DR_TEST_S3_LOCK_URL and the
# AWS_* credentials. cephx is off: nothing here protects anything.

# The OSD keeps everything in memory; it refuses writes past this.
readonly CEPH_STORE_BYTES_MAX=$((2 << 30))
# Start limits. A quiet machine needs 1 to 6 s for each.
readonly CEPH_WAIT_S=120
readonly CEPH_SHA256_OF_NOTHING=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855

ceph_dir=
ceph_pids=()

ceph_install() {
    lane_packages ceph-mon ceph-osd radosgw ceph-common curl
}

# The gateway's own default for ms_mon_client_mode is `secure`, which cannot be
# had without cephx: it would retry for ever.
ceph_conf() {
    local fsid=$1 mon_port=$2
    cat <<CONF
[global]
fsid = $fsid
mon_host = [v2:127.0.0.1:$mon_port]
mon_initial_members = a
ms_bind_msgr1 = false
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_client_mode = crc
run_dir = $ceph_dir/run
crash_dir = $ceph_dir/crash
admin_socket = $ceph_dir/run/\$name.\$pid.asok
log_file = $ceph_dir/log/\$name.log
mon_cluster_log_file = $ceph_dir/log/cluster.log
mon_data = $ceph_dir/mon
osd_data = $ceph_dir/osd
rgw_data = $ceph_dir/rgw
mon_max_pg_per_osd = 1000
paxos_propose_interval = 0.1
paxos_min_wait = 0.01
osd_objectstore = memstore
memstore_device_bytes = $CEPH_STORE_BYTES_MAX
osd_crush_chooseleaf_type = 0
osd_crush_initial_weight = 1
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
rgw_rados_pool_pg_num_min = 4
rgw_enable_usage_log = false
rgw_thread_pool_size = 64
CONF
}

# ceph_spawn NAME COMMAND…: in the background, with its own output file.
ceph_spawn() {
    local name=$1
    shift
    "$@" --conf "$ceph_dir/ceph.conf" --foreground >>"$ceph_dir/log/$name.out" 2>&1 </dev/null &
    ceph_pids+=("$!")
}

ceph_cli() { timeout 20 ceph --conf "$ceph_dir/ceph.conf" --connect-timeout 10 "$@"; }
ceph_osd_is_up() { ceph_cli osd stat --format json | grep -q '"num_up_osds":1'; }

ceph_start_monitor() {
    local fsid=$1 mon_port=$2
    monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon_port]" "$ceph_dir/monmap" >/dev/null
    ceph-mon --conf "$ceph_dir/ceph.conf" --mkfs --id a --monmap "$ceph_dir/monmap" >"$ceph_dir/log/mkfs.out" 2>&1
    ceph_spawn mon ceph-mon --id a
    wait_until "$CEPH_WAIT_S" "the Ceph monitor" ceph_cli mon stat
}

# The OSD may start before the monitor map has reached it, and then ends with
# "wrong fsid"; another start cures it.
ceph_start_osd() {
    local uuid started=$SECONDS
    uuid=$(</proc/sys/kernel/random/uuid)
    ceph_cli osd new "$uuid" 0 >/dev/null
    ceph-osd --conf "$ceph_dir/ceph.conf" --mkfs --id 0 --osd-uuid "$uuid" >>"$ceph_dir/log/mkfs.out" 2>&1
    while ((SECONDS - started < CEPH_WAIT_S)); do
        ceph_spawn osd ceph-osd --id 0
        while kill -0 "${ceph_pids[-1]}" 2>/dev/null && ((SECONDS - started < CEPH_WAIT_S)); do
            if ceph_osd_is_up; then return; fi
            sleep 0.2
        done
        say "the OSD ended before it was up, starting it again"
        sleep 0.5
    done
    die "the Ceph OSD was not up within $CEPH_WAIT_S s"
}

# ceph_s3 METHOD PATH [CURL ARGUMENT…]: one signed request without a body, fails
# on >= 400. The host (with its port) and the body's hash are named outright
# because curl 7.88 leaves them out of what it signs.
ceph_s3() {
    local method=$1 path=$2
    shift 2
    curl --silent --show-error --fail-with-body --max-time 30 --request "$method" \
        --aws-sigv4 "aws:amz:default:s3" --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \
        --header "Host: ${ceph_endpoint#http://}" --header "x-amz-content-sha256: $CEPH_SHA256_OF_NOTHING" \
        "$@" "$ceph_endpoint$path"
}

ceph_start_gateway() {
    local port=$1
    ceph_spawn rgw radosgw --name client.rgw --rgw-frontends "beast endpoint=127.0.0.1:$port"
    # An answer of any kind: without a user yet, 403 would do as well.
    wait_until "$CEPH_WAIT_S" "the Ceph gateway" curl --silent --max-time 5 "$ceph_endpoint"
    AWS_ACCESS_KEY_ID=lane$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
    AWS_SECRET_ACCESS_KEY=$(od -An -N20 -tx1 /dev/urandom | tr -d ' \n')
    timeout "$CEPH_WAIT_S" radosgw-admin --conf "$ceph_dir/ceph.conf" user create --uid lane --display-name lane \
        --access-key "$AWS_ACCESS_KEY_ID" --secret-key "$AWS_SECRET_ACCESS_KEY" >"$ceph_dir/log/user.out" 2>&1
    wait_until 30 "the gateway to know its user" ceph_s3 GET /
}

# A lock that is only pretended would make the lock tests worthless: read back.
ceph_make_buckets() {
    ceph_s3 PUT /plain
    ceph_s3 PUT /locked --header 'x-amz-bucket-object-lock-enabled: true'
    ceph_s3 GET '/locked?object-lock=' | grep -q '<ObjectLockEnabled>Enabled<' || die "bucket 'locked' has no object lock"
    ceph_s3 GET '/locked?versioning=' | grep -q '<Status>Enabled<' || die "bucket 'locked' is not versioned"
}

ceph_up() {
    local fsid mon_port port started=$SECONDS
    ceph_dir=$1
    mkdir -p "$ceph_dir"/{run,crash,log,mon,osd,rgw}
    fsid=$(</proc/sys/kernel/random/uuid)
    mon_port=$(free_port)
    port=$(free_port)
    ceph_endpoint=http://127.0.0.1:$port
    ceph_conf "$fsid" "$mon_port" >"$ceph_dir/ceph.conf"
    ceph_start_monitor "$fsid" "$mon_port"
    ceph_start_osd
    ceph_start_gateway "$port"
    ceph_make_buckets
    export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
    export HOMELAB_DR_TEST_S3_URL="s3://plain?endpoint=$ceph_endpoint&region=default"
    export HOMELAB_DR_TEST_S3_LOCK_URL="s3://locked?endpoint=$ceph_endpoint&region=default"
    say "Ceph $(radosgw --version | awk '{print $3}') is up after $((SECONDS - started)) s at $ceph_endpoint"
}

# The data is worth nothing, so nobody gets time to say good-bye.
ceph_down() {
    local pid
    for pid in "${ceph_pids[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    ceph_pids=()
}

# What the daemons said, for a failed start.
ceph_logs() {
    local file
    for file in "$ceph_dir"/log/*.out "$ceph_dir"/log/{mon,osd,client}*.log; do
        if [[ -s $file ]]; then
            echo "== ${file##*/}"
            tail -n 15 "$file" | cut -c 1-200
        fi
    done
}
