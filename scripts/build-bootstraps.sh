#!/bin/sh
# Builds the Rust bootstraps into bootstraps/rust/*/target/release/bootstrap. Installs nothing but the crates that the
# committed Cargo.lock files name, into cargo's own cache. Without a cargo that can build one, says so and leaves it out.
#
#   scripts/build-bootstraps.sh [minimal|official ...]      default: both
#
# Exit code: 1 when a build failed; what cannot be built here is said and left out, and exits 0.
set -u
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
[ $# -gt 0 ] || set -- minimal official

if ! command -v cargo >/dev/null 2>&1 || ! command -v rustc >/dev/null 2>&1; then
  echo "build-bootstraps: cargo is not on PATH: the Rust bootstraps are not built (https://rustup.rs, or apt-get install cargo)" >&2
  exit 0
fi
have=$(rustc --version | sed 's/^rustc \([0-9]*\)\.\([0-9]*\).*/\1 \2/')

for name in "$@"; do
  folder=$root/bootstraps/rust/$name
  if [ ! -f "$folder/Cargo.toml" ]; then
    echo "build-bootstraps: no bootstrap $name; there are minimal and official" >&2
    exit 1
  fi
  need=$(sed -n 's/^rust-version = "\([0-9]*\)\.\([0-9]*\).*/\1 \2/p' "$folder/Cargo.toml")
  # Both are "major minor".
  if [ "${have% *}" -lt "${need% *}" ] || { [ "${have% *}" -eq "${need% *}" ] && [ "${have#* }" -lt "${need#* }" ]; }; then
    echo "build-bootstraps: $name needs rustc $(echo "$need" | tr ' ' .) or later, this is $(rustc --version)" \
      "(Debian's package is older: https://rustup.rs)" >&2
    continue
  fi
  # In the folder itself, so that its .cargo/config.toml counts.
  if ! (cd "$folder" && cargo build --release --locked --quiet); then
    echo "build-bootstraps: $name did not build" >&2
    exit 1
  fi
  echo "build-bootstraps: bootstraps/rust/$name/target/release/bootstrap"
done
exit 0
