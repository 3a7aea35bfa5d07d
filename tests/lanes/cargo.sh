#!/usr/bin/env bash
# Lane cargo: every test that needs no privilege, no network and no installation.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/lanes/lib.sh
. tests/lanes/lib.sh

if [[ ${1:-} == install ]]; then
    cargo test --locked --no-run
    exit
fi
# They wait as long as they compute: for leases, heartbeats, and what never comes.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) + 1))}
run_tests cargo test --locked --no-fail-fast
