#!/usr/bin/env bash
# Lane seeds: the simulation with two thousand seeds, or those of HOMELAB_DR_SIMULATE, in a build of the engine alone that is optimised (tests/simulation).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/lanes/lib.sh
. tests/lanes/lib.sh

[[ ${1:-} != install ]] || exit 0
export HOMELAB_DR_SIMULATE=${HOMELAB_DR_SIMULATE:-0..2000}
run_tests cargo test --locked -p homelab-dr-simulation simulation::nothing_is_lost -- --nocapture
