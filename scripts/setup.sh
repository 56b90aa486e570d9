#!/usr/bin/env bash
# Makes this checkout runnable: system packages (as root, on Debian), uv, and the environment in .venv.
# Safe to run again: what is there is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9

# What the tests and the demo start: interpreters and clients of functions, and a compiler for the native bootstraps.
# command -> Debian package
packages=()
need() { command -v "$1" >/dev/null 2>&1 || packages+=("$2"); }
need curl curl
need ruby ruby
need javac default-jdk-headless
need mono mono-runtime
need mcs mono-mcs
need node nodejs
need npm npm
command -v node >/dev/null 2>&1 || packages+=(libnode-dev) # its headers, to compile AWS's client against
need go golang-go
need tclsh tcl
need gcc gcc
[ -e /usr/include/stdlib.h ] || packages+=(libc6-dev) # and the static C library
# AWS's own Node client compiles a native module when it is installed.
need g++ g++
need cmake cmake
need autoconf autoconf
need automake automake
need libtoolize libtool
if ! command -v cargo >/dev/null 2>&1; then
  # Debian 12's cargo (1.63) is too old for AWS's Rust runtime; its cargo-web is a current one.
  if apt-cache show cargo-web >/dev/null 2>&1; then packages+=(cargo-web rustc-web); else packages+=(cargo); fi
fi
# The disk of a sandbox's /tmp.
[ -x /sbin/mkfs.ext4 ] || need mkfs.ext4 e2fsprogs
need make make
need git git
python=""
for candidate in python3.13 python3.12 python3.11 python3; do
  if command -v "$candidate" >/dev/null 2>&1 &&
     "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$(command -v "$candidate")
    break
  fi
done
[ -n "$python" ] || packages+=(python3)
# Debian's own interpreter: functions run on it, as it is readable for every user of the machine.
[ -x /usr/bin/python3 ] || packages+=(python3)
if [ -z "$python" ] || ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then packages+=(python3-venv); fi

if [ "${#packages[@]}" -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "setup: installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${packages[@]}" ca-certificates >/dev/null
  else
    echo "setup: missing system packages: ${packages[*]}" >&2
    echo "setup: install them as root (apt-get install ${packages[*]}); what needs them is skipped until then" >&2
  fi
fi
[ -n "$python" ] || python=$(command -v python3) || { echo "setup: there is no Python 3.11 or newer" >&2; exit 1; }

if [ "$(.tools/bin/uv --version 2>/dev/null | cut -d' ' -f2)" != "$UV_VERSION" ]; then
  rm -rf .tools
  "$python" -m venv .tools
  .tools/bin/pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"
fi
# The native part of the sandbox. Without a compiler the engine works, slower; it says so.
if command -v "${CC:-cc}" >/dev/null 2>&1; then
  engine/sandbox/native/build.sh
else
  echo "setup: no C compiler: the native part of the sandbox is not built" >&2
fi

UV_PYTHON_DOWNLOADS=never .tools/bin/uv sync --locked --quiet --python "$python"
