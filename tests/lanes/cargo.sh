#!/usr/bin/env bash
# Lane cargo: every test that needs no privilege, no network and no installation.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/lanes/lib.sh
. tests/lanes/lib.sh

[[ ${1:-} != install ]] || exit 0
run_tests cargo test --locked --no-fail-fast
