#!/usr/bin/env bash
# Lane root: the tests that mount, make devices and give files away. They are
# ignored by `cargo test`, so that none of them passes without having run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/lanes/lib.sh
. tests/lanes/lib.sh

[[ ${1:-} != install ]] || exit 0
((EUID == 0)) || die "this lane mounts and makes devices: run it as root, or skip it"
run_tests cargo test --locked --test it -- --ignored lane_root
