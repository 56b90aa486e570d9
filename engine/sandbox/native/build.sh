#!/bin/sh
# Compiles the native part of the sandbox beside its sources, when they have changed: engine/sandbox/native/lambent-native.
# Static: it runs in a sandbox whose files are the function's, and starts without a dynamic loader.
set -eu
cd "$(dirname "$0")"
out=lambent-native
if [ -x $out ] && [ -z "$(find . -maxdepth 1 \( -name '*.[ch]' -o -name build.sh \) -newer $out)" ]; then exit 0; fi
"${CC:-cc}" -std=c11 -O2 -g0 -static -fstack-protector-strong -D_FORTIFY_SOURCE=2 -Wall -Wextra -Wconversion ${CFLAGS:-} \
  -o $out.new ./*.c
mv $out.new $out
