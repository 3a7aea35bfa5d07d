#!/usr/bin/env bash
# Lane reader: another program, written from docs/format.md alone, reads the frozen repositories.
# Usage: tests/lanes/reader.sh [install]. Leaves nothing behind but packages.
#
# tests/reader has the program and its tests; what it needs comes from PyPI, pinned, into an environment that the lane
# throws away. Nothing of this repository's Rust code runs, so this lane needs no build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/lanes/lib.sh
. tests/lanes/lib.sh

# The reader's tests take 10 s on a quiet machine.
readonly TESTS_LIMIT_S=600

# Any Python of 3.11 or later that can make environments; Debian's otherwise.
python_is_there() {
    python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}
python_is_there || lane_packages python3 python3-venv
python_is_there || die "this lane needs Python 3.11 or later: $(python3 --version 2>&1)"
[[ ${1:-} != install ]] || exit 0

work=$(mktemp -d "${TMPDIR:-/tmp}/homelab-dr-reader.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 143' INT TERM

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --retries 3 --only-binary :all: \
    --requirement tests/reader/requirements.txt || die "cannot install tests/reader/requirements.txt from PyPI"
export TMPDIR=$work PYTHONDONTWRITEBYTECODE=1
run_tests timeout -k 10 "$TESTS_LIMIT_S" "$work/venv/bin/python" tests/reader/check.py
