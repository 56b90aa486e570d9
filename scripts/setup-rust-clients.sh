#!/usr/bin/env bash
# Builds the function of the tests on our Rust library (tests/conformance/rust) into its target folder, ignored by git. It needs
# no crate. Safe to run again. What is missing is said and left out; that fails only where everything has to run (CI,
# LAMBENT_REQUIRE_ALL).
set -euo pipefail
cd "$(dirname "$0")/../tests/conformance/rust"

leave() {
  echo "setup-rust-clients: $1; the tests that need it are skipped" >&2
  [ -z "${CI:-}${LAMBENT_REQUIRE_ALL:-}" ] || exit 1
  exit 0
}

command -v cargo >/dev/null 2>&1 || leave "cargo is missing (as root: apt-get install cargo-web rustc-web, or cargo)"
cargo build --release --locked --quiet || leave "cargo could not build tests/conformance/rust"
