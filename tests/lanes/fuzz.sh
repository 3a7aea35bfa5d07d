#!/usr/bin/env bash
# Lane fuzz: a sixth of the parsers, sixty seconds of a processor each, another sixth every day: all at once would take longer than everything else.
# HOMELAB_DR_FUZZ_PART: 0 to 5 for one of them; `all` for all, with fewer HOMELAB_DR_FUZZ_SECONDS, or without tests/run, which ends lanes that take so long.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/lanes/lib.sh
. tests/lanes/lib.sh

if [[ ${1:-} == install ]]; then
    cargo test --locked --test it --no-run
    exit
fi
readonly PARTS=6
part=${HOMELAB_DR_FUZZ_PART:-$((EPOCHSECONDS / 86400 % PARTS))}
[[ $part =~ ^([0-5]|all)$ ]] || die "HOMELAB_DR_FUZZ_PART is 0 to $((PARTS - 1)), or all: $part"
listed=$(cargo test --locked --test it -- --list fuzz:: | sed -n 's/: test$//p')
mapfile -t targets < <(awk -v part="$part" -v parts=$PARTS 'part == "all" || NR % parts == part' <<<"$listed")
((${#targets[@]})) || die "no target of fuzzing is there"
say "part $part: ${#targets[@]} of $(wc -l <<<"$listed") targets"
export HOMELAB_DR_FUZZ_SECONDS=${HOMELAB_DR_FUZZ_SECONDS:-60}
# With what others leave, as the lane seeds.
run_tests nice -n 19 cargo test --locked --test it -- --exact "${targets[@]}" --test-threads 1 --nocapture
