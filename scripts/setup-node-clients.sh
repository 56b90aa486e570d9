#!/usr/bin/env bash
# Installs AWS's own Node.js runtime client, unmodified, where the conformance tests look for it
# (tests/conformance/nodejs/node_modules, ignored by git): version 3, and 4, which serves several invocations at a time.
# Each compiles curl and a native module: about two minutes, once.
# What is missing on this machine is said and left out; that fails only where everything has to run (CI, LAMBENT_REQUIRE_ALL).
set -euo pipefail
cd "$(dirname "$0")/../tests/conformance/nodejs"

leave() {
  echo "setup-node-clients: $1; the tests that need aws-lambda-ric are skipped" >&2
  [ -z "${CI:-}${LAMBENT_REQUIRE_ALL:-}" ] || exit 1
  exit 0
}

missing=()
# command -> Debian package
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
need node nodejs
need npm npm
need cmake cmake
need make make
need g++ g++
need python3 python3
need autoreconf autoconf
need automake automake
need libtoolize libtool
[ "${#missing[@]}" -eq 0 ] || leave "missing system packages: ${missing[*]} (apt-get install ${missing[*]})"

stamp=node_modules/.lambent-stamp
wanted="$(sha256sum package-lock.json | cut -d' ' -f1) $(node --version)"
built() { [ -f node_modules/aws-lambda-ric/dist/rapid-client.node ] && [ -f node_modules/aws-lambda-ric-4/rapid-client.node ]; }
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && built; then
  exit 0
fi

# Node's headers, when the machine has them; node-gyp downloads them otherwise.
[ ! -f /usr/include/node/node_api.h ] || export npm_config_nodedir=/usr
echo "setup-node-clients: building aws-lambda-ric (once)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! MAKEFLAGS="-j$(nproc)" npm ci --no-audit --no-fund --foreground-scripts >"$log" 2>&1; then
  tail -n 25 "$log" >&2
  leave "npm ci failed"
fi
built || leave "npm did not run the package's build scripts"
printf '%s\n' "$wanted" >"$stamp"
