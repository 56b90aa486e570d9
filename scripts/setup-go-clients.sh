#!/usr/bin/env bash
# Builds the Go functions of the tests and of the matrix: on our runtime (bootstraps/go) and on AWS's own client,
# github.com/aws/aws-lambda-go, unmodified. Into target folders, ignored by git. Safe to run again.
# Where the machine's Go is older than AWS's client needs (Debian 12's is), a current one is fetched as the Go module that
# it is published as, into .tools/go. What is missing is said and left out; that fails only where everything has to run
# (CI, LAMBENT_REQUIRE_ALL).
set -euo pipefail
cd "$(dirname "$0")/.."

VERSION=1.26.8

leave() {
  echo "setup-go-clients: $1; the tests that need Go are skipped" >&2
  [ -z "${CI:-}${LAMBENT_REQUIRE_ALL:-}" ] || exit 1
  exit 0
}

command -v go >/dev/null 2>&1 || leave "go is missing (as root: apt-get install golang-go)"
enough() { # a go program
  local have
  have=$("$1" version 2>/dev/null | sed -n 's/^go version go1\.\([0-9]*\).*/\1/p')
  [ -n "$have" ] && [ "$have" -ge 26 ]
}
if ! enough .tools/go/bin/go; then
  rm -rf .tools/go
  mkdir -p .tools
  if enough "$(command -v go)"; then
    ln -s "$(go env GOROOT)" .tools/go
  else
    echo "setup-go-clients: fetching Go $VERSION (once)"
    module=golang.org/toolchain@v0.0.1-go$VERSION.$(go env GOOS)-$(go env GOARCH)
    found=$(cd / && go mod download -json "$module") || leave "Go $VERSION could not be fetched"
    folder=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$found")
    cp -r "$folder" .tools/go.part
    # A module's files have no mode of their own.
    chmod -R u+w .tools/go.part
    chmod +x .tools/go.part/bin/* .tools/go.part/pkg/tool/*/*
    mv -T .tools/go.part .tools/go
  fi
fi

export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-buildvcs=false
go=$PWD/.tools/go/bin/go
build() { # folder of a module, packages
  local folder=$1
  shift
  mkdir -p "$folder/target"
  (cd "$folder" && env -u GOROOT "$go" build -trimpath -ldflags='-s -w' -o target/ "$@") || leave "go could not build $folder"
}
build bootstraps/go ./example ./conform
build tests/conformance/go ./ours ./aws ./aws-conform
build benchmarks/go ./ours ./aws
