#!/usr/bin/env bash
# Lane memory: the peak memory of backup, restore, check, parity, repair and prune on some 300 MiB of
# mixed files, of a backup of 10,000 objects of a cluster (and its processor time), and of whoever starts movers for a large
# volume; with the build that the other lanes use. Usage: tests/lanes/memory.sh [install].
# Leaves nothing behind but the build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/lanes/lib.sh
. tests/lanes/lib.sh

[[ ${1:-} != install ]] || exit 0
command -v python3 >/dev/null || die "this lane needs python3"

work=$(mktemp -d "${TMPDIR:-/tmp}/homelab-dr-memory.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 143' INT TERM

# With the features of the tests, for which it is built already.
cargo test --locked --test it --no-run
python3 tests/bench/corpus.py make mixed "$work/corpus" --scale 0.15
run_tests python3 tests/lanes/memory.py "$work"
run_tests cargo test --locked --test it -- --ignored lane_memory --nocapture
