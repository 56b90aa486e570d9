#!/usr/bin/env bash
# Installs what the functions in examples/ import, as pinned there: Python packages into .tools/examples, compiled for the
# Python that functions get; npm packages into node_modules; crates are compiled in target. All ignored by git. Safe to run
# again.
# What is missing on this machine is said and left out; that fails only where everything has to run (CI, LAMBENT_REQUIRE_ALL).
set -euo pipefail
cd "$(dirname "$0")/.."

failed=
lack() {
  echo "setup-examples: $1; the tests that need it are skipped" >&2
  failed=1
}

python=$(.venv/bin/python -c '
import sys, bootstraps
print(bootstraps.interpreter(f"python3.{sys.version_info[1]}").executable)')
for example in fastapi powertools; do
  target=.tools/examples/$example
  wanted="$(sha256sum <examples/$example/requirements.txt) $("$python" --version)"
  [ "$(cat "$target/.stamp" 2>/dev/null)" != "$wanted" ] || continue
  echo "setup-examples: installing what examples/$example imports (once)"
  rm -rf "$target"
  if .tools/bin/uv pip install --quiet --python "$python" --target "$target" --requirement examples/$example/requirements.txt; then
    printf '%s\n' "$wanted" >"$target/.stamp"
  else
    lack "uv could not install what examples/$example imports"
  fi
done

if command -v npm >/dev/null 2>&1; then
  stamp=examples/express/node_modules/.stamp
  wanted=$(sha256sum <examples/express/package-lock.json)
  if [ "$(cat $stamp 2>/dev/null)" != "$wanted" ]; then
    echo "setup-examples: installing what examples/express imports (once)"
    if (cd examples/express && npm ci --no-audit --no-fund --silent); then
      printf '%s\n' "$wanted" >$stamp
    else
      lack "npm could not install what examples/express imports"
    fi
  fi
else
  lack "npm is missing"
fi

# Compiled with the crates that its Cargo.lock names: 40 s on two processors, once.
if command -v cargo >/dev/null 2>&1; then
  (cd examples/axum && cargo build --release --locked --quiet) || lack "cargo could not build examples/axum"
else
  lack "cargo is missing"
fi
[ -z "$failed" ] || [ -z "${CI:-}${LAMBENT_REQUIRE_ALL:-}" ]
