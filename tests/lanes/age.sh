#!/usr/bin/env bash
# Lane age: files that we seal are opened by Debian's age, and the other way round.
# Usage: tests/lanes/age.sh [install]. Leaves nothing behind but packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/lanes/lib.sh
. tests/lanes/lib.sh

lane_packages age openssh-client
[[ ${1:-} != install ]] || exit 0
run_tests cargo test --locked --lib lane_age -- --ignored
