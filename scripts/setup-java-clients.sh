#!/usr/bin/env bash
# Fetches AWS's own Java runtime client with its dependencies, unmodified, from Maven Central into .tools/java, where the
# conformance tests look for it. Every jar is compared with tests/conformance/java/SHA256SUMS. Safe to run again.
# What is missing on this machine is said and left out; that fails only where everything has to run (CI, LAMBENT_REQUIRE_ALL).
set -euo pipefail
cd "$(dirname "$0")/.."
here=tests/conformance/java
out=.tools/java

leave() {
  echo "setup-java-clients: $1; the tests that need AWS's jars are skipped" >&2
  [ -z "${CI:-}${LAMBENT_REQUIRE_ALL:-}" ] || exit 1
  exit 0
}

sums=$PWD/$here/SHA256SUMS
right() { [ -d "$1" ] && (cd "$1" && sha256sum --check --strict --quiet "$sums") >/dev/null 2>&1; }
right "$out" && exit 0
if ! command -v mvn >/dev/null 2>&1 && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "setup-java-clients: installing maven"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends maven; } >/dev/null || leave "apt-get could not install maven"
fi
for tool in mvn javac; do
  command -v $tool >/dev/null 2>&1 || leave "$tool is missing (as root: apt-get install maven default-jdk-headless)"
done
echo "setup-java-clients: fetching aws-lambda-java-runtime-interface-client (once)"
work=$(mktemp -d "$PWD/.tools/java.XXXXXX")
trap 'rm -rf "$work"' EXIT
mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$work/jars" >"$work/log" 2>&1 ||
  { tail -n 20 "$work/log" >&2; leave "mvn failed"; }
right "$work/jars" || { (cd "$work/jars" && sha256sum --check --strict "$sums") >&2 || true; leave "the jars are not those of $here/SHA256SUMS"; }
rm -rf "$out"
mv -T "$work/jars" "$out"
