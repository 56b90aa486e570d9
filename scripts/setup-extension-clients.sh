#!/usr/bin/env bash
# Builds software of others that uses the Extensions API, unmodified, for the conformance tests: AWS's crates
# lambda-extension and lambda_runtime (graceful-shutdown), the Lambda Web Adapter, and aws-lambda-go with SIGTERM enabled.
# Into target folders and .tools/extension-clients, ignored by git; about two minutes, once. Safe to run again.
# What is missing on this machine is said and left out; that fails only where everything has to run (CI, LAMBENT_REQUIRE_ALL).
set -euo pipefail
cd "$(dirname "$0")/.."
here=tests/conformance/extensions
ADAPTER=0.9.1

failed=
lack() {
  echo "setup-extension-clients: $1; the tests that need it are skipped" >&2
  failed=1
}

if command -v cargo >/dev/null 2>&1; then
  (cd $here/rust && cargo build --release --locked --quiet) || lack "cargo could not build $here/rust"
  if [ "$(cat .tools/extension-clients/adapter-version 2>/dev/null)" != "$ADAPTER" ]; then
    echo "setup-extension-clients: building lambda_web_adapter $ADAPTER (once)"
    if cargo install lambda_web_adapter --version "=$ADAPTER" --locked --quiet --root .tools/extension-clients; then
      echo "$ADAPTER" > .tools/extension-clients/adapter-version
    else
      lack "cargo could not build lambda_web_adapter"
    fi
  fi
else
  lack "cargo is missing"
fi
# As scripts/setup-go-clients.sh chose it.
[ ! -x .tools/go/bin/go ] || PATH=$PWD/.tools/go/bin:$PATH
if command -v go >/dev/null 2>&1; then
  (cd $here/go && CGO_ENABLED=0 go build -trimpath -o target/bootstrap .) || lack "go could not build $here/go"
else
  lack "go is missing"
fi
[ -z "$failed" ] || [ -z "${CI:-}${LAMBENT_REQUIRE_ALL:-}" ]
