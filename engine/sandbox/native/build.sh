#!/bin/sh
# Compiles the native part of the sandbox beside its sources, when they have changed: engine/sandbox/native/lambent-native,
# and on x86-64 lambent-restore, which is no use without.
# Static: it runs in a sandbox whose files are the function's, and starts without a dynamic loader.
set -eu
cd "$(dirname "$0")"
out=lambent-native
if [ -x $out ] && [ -z "$(find . \( -name '*.[ch]' -o -name build.sh \) -newer $out)" ]; then exit 0; fi
warnings="-Wall -Wextra -Wconversion"
if [ "$(uname -m)" = x86_64 ]; then
  # No C library and no start files; nothing but its own code and data, at its own address (image.h).
  # shellcheck disable=SC2086
  "${CC:-cc}" -std=c11 -O2 -g0 -static -nostdlib -ffreestanding -fno-pie -no-pie -fno-stack-protector -fcf-protection=none \
    -fno-asynchronous-unwind-tables -mgeneral-regs-only $warnings ${CFLAGS:-} -I . \
    -Wl,-Ttext-segment=0x200000,-z,norelro,--build-id=none,-z,noexecstack -o lambent-restore.new restore/restore.c
  mv lambent-restore.new lambent-restore
fi
# shellcheck disable=SC2086
"${CC:-cc}" -std=c11 -O2 -g0 -static -fstack-protector-strong -D_FORTIFY_SOURCE=2 $warnings ${CFLAGS:-} -o $out.new ./*.c
mv $out.new $out
