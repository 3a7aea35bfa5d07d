# shellcheck shell=bash
# What the lanes share: talk, packages, ports, waiting, counting tests.
# Sourced, never run; it promises to change nothing on the machine but through
# `lane_packages`. Does not know any lane.

say() { printf -- '-- %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Debian packages a lane needs: lane_packages NAME…
# Services are kept from starting, for the lanes start their own.
lane_packages() {
    local missing=() name started=$SECONDS
    for name in "$@"; do
        [[ "$(dpkg-query -Wf '${db:Status-Status}' "$name" 2>/dev/null)" == installed ]] || missing+=("$name")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "this lane needs ${missing[*]} and there is no apt-get: run it on Debian, or skip it"
    ((EUID == 0)) || die "this lane needs ${missing[*]}: install them, run as root, or skip it"
    (
        policy=/usr/sbin/policy-rc.d
        log=$(mktemp)
        undo=("$log")
        # The subshell's exit undoes the policy, also when apt-get fails.
        trap 'rm -f "${undo[@]}"' EXIT
        if [[ ! -e $policy ]]; then
            undo+=("$policy")
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod 755 "$policy"
        fi
        export DEBIAN_FRONTEND=noninteractive
        apt=(apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
        if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } </dev/null >"$log" 2>&1; then
            tail -n 40 "$log" >&2
            exit 1
        fi
    ) || die "cannot install ${missing[*]}: apt-get said why above"
    say "installed ${missing[*]} in $((SECONDS - started)) s"
}

# A TCP port nobody listens on now, below the range the kernel hands out itself.
free_port() {
    local port hex _
    for _ in {1..100}; do
        port=$((20000 + RANDOM % 10000))
        printf -v hex '%04X' "$port"
        # Column 2 is the local address, in hex, in both tables.
        if ! awk '{print $2}' /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ":$hex\$"; then
            echo "$port"
            return
        fi
    done
    die "no free port between 20000 and 29999"
}

# wait_until SECONDS WHAT COMMAND…: polls until the command succeeds.
wait_until() {
    local limit_s=$1 what=$2 started=$SECONDS
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS - started >= limit_s)); then
            printf 'error: waited %s s in vain for %s\n' "$limit_s" "$what" >&2
            return 1
        fi
        sleep 0.2
    done
}

# run_tests COMMAND…: runs a test binary or cargo, shows its output, and fails
# unless at least one test passed: a filter that matches nothing is no success.
run_tests() {
    local log rc=0 passed failed ignored
    log=$(mktemp)
    "$@" 2>&1 | tee "$log" || rc=$?
    read -r passed failed ignored < <(awk '/^test result: / {
        for (i = 2; i <= NF; i++) {
            if ($i ~ /^passed/) p += $(i-1)
            if ($i ~ /^failed/) f += $(i-1)
            if ($i ~ /^ignored/) g += $(i-1)
        }
    } END { print p+0, f+0, g+0 }' "$log")
    rm -f "$log"
    if [[ -n ${HOMELAB_DR_LANE_COUNTS:-} ]]; then
        echo "$passed $failed $ignored" >>"$HOMELAB_DR_LANE_COUNTS"
    fi
    if ((rc == 0 && passed == 0)); then
        echo "error: no test ran: $*" >&2
        return 1
    fi
    return "$rc"
}
