#!/usr/bin/env bash
# Lane seeds: the simulation with ten thousand seeds, or those of HOMELAB_DR_SIMULATE, in a build of the engine alone that is optimised (tests/simulation).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/lanes/lib.sh
. tests/lanes/lib.sh

simulation=(cargo test --locked -p homelab-dr-simulation)
if [[ ${1:-} == install ]]; then
    "${simulation[@]}" --no-run
    exit
fi
export HOMELAB_DR_SIMULATE=${HOMELAB_DR_SIMULATE:-0..10000}
# With what others leave: it would keep them from being as quick as some of them have to be.
run_tests nice -n 19 "${simulation[@]}" simulation::nothing_is_lost -- --nocapture
