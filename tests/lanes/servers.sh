#!/usr/bin/env bash
# Lane servers: the checks of runbooks against PostgreSQL, MariaDB and dnsmasq.
# Usage: tests/lanes/servers.sh [install]. Leaves nothing behind but packages:
# each test starts its own server, on loopback and in a folder of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/lanes/lib.sh
. tests/lanes/lib.sh

lane_packages postgresql postgresql-client mariadb-server dnsmasq-base
[[ ${1:-} != install ]] || exit 0
run_tests cargo test --locked --test it -- --ignored lane_servers
