#!/bin/sh
# Compiles the bootstraps that have to be: bootstraps/java/target/bootstrap.jar, bootstraps/dotnet/target/bootstrap.exe,
# and in bootstraps/rust the examples of the library (lambent/target/release/examples/*) and the function on AWS's
# (official/target/release/bootstrap).
# Installs nothing but the crates that the committed Cargo.lock files name, into cargo's own cache. Without a compiler that
# can build one, says so and leaves it out.
#
#   scripts/build-bootstraps.sh [java|dotnet|lambent|official ...]      default: all
#
# Exit code: 1 when a build failed; what cannot be built here is said and left out, and exits 0.
set -u
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
[ $# -gt 0 ] || set -- java dotnet lambent official

# The managed runtimes: as the engine does it when a function first needs one.
rust=
for name in "$@"; do
  case $name in
    java|dotnet)
      command -v python3 >/dev/null 2>&1 || { echo "build-bootstraps: python3 is not on PATH: $name is not built" >&2; continue; }
      (cd "$root" && python3 - "$name" <<'PYTHON') || exit 1
import sys
import bootstraps
from pathlib import Path
name = sys.argv[1]
try:
    print("build-bootstraps:", getattr(bootstraps, f"build_{name}")(bootstraps.path(name)).relative_to(Path.cwd()))
except bootstraps.BuildError as error:
    if "failed" in str(error):
        raise SystemExit(f"build-bootstraps: {error}")
    print(f"build-bootstraps: {error}", file=sys.stderr)
PYTHON
      ;;
    *) rust="$rust $name" ;;
  esac
done
# shellcheck disable=SC2086
set -- $rust
[ $# -gt 0 ] || exit 0

if ! command -v cargo >/dev/null 2>&1 || ! command -v rustc >/dev/null 2>&1; then
  echo "build-bootstraps: cargo is not on PATH: the Rust bootstraps are not built (https://rustup.rs, or apt-get install cargo)" >&2
  exit 0
fi
have=$(rustc --version | sed 's/^rustc \([0-9]*\)\.\([0-9]*\).*/\1 \2/')

for name in "$@"; do
  folder=$root/bootstraps/rust/$name
  if [ ! -f "$folder/Cargo.toml" ]; then
    echo "build-bootstraps: no bootstrap $name; there are java, dotnet, lambent and official" >&2
    exit 1
  fi
  need=$(sed -n 's/^rust-version = "\([0-9]*\)\.\([0-9]*\).*/\1 \2/p' "$folder/Cargo.toml")
  # Both are "major minor".
  if [ "${have% *}" -lt "${need% *}" ] || { [ "${have% *}" -eq "${need% *}" ] && [ "${have#* }" -lt "${need#* }" ]; }; then
    echo "build-bootstraps: $name needs rustc $(echo "$need" | tr ' ' .) or later, this is $(rustc --version)" \
      "(Debian's package is older: https://rustup.rs)" >&2
    continue
  fi
  what= made=bootstrap
  [ "$name" != lambent ] || what=--examples made='examples/*'
  # In the folder itself, so that its .cargo/config.toml counts.
  # shellcheck disable=SC2086
  if ! (cd "$folder" && cargo build --release --locked --quiet $what); then
    echo "build-bootstraps: $name did not build" >&2
    exit 1
  fi
  echo "build-bootstraps: bootstraps/rust/$name/target/release/$made"
done
exit 0
