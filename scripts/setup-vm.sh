#!/usr/bin/env bash
# Makes .tools/vm: Debian's kernel and a small initramfs, which the tests in tests/vm boot in qemu with the machine's own
# files as root filesystem. Installs qemu when it is missing (as root); the kernel is only unpacked, so that /boot, the
# boot loader and the machine's own modules stay as they are. Safe to run again, and then done at once.
# What cannot be had is said and left out; that fails only where everything has to run (CI, LAMBENT_REQUIRE_ALL).
set -euo pipefail
cd "$(dirname "$0")/.."

# What the guest loads before it sees the machine's files, and what the engine needs in it that Debian builds as modules.
MODULES=(virtio_pci virtio_console 9pnet_virtio 9p overlay loop ext4 crc32c_generic)
out=$PWD/.tools/vm

leave() {
  echo "setup-vm: $1; the tests in tests/vm are skipped" >&2
  [ -z "${CI:-}${LAMBENT_REQUIRE_ALL:-}" ] || exit 1
  exit 0
}

if [ "$(uname -sm)" != "Linux x86_64" ]; then
  echo "setup-vm: only Linux on x86-64 is provided for, this is $(uname -sm); the tests in tests/vm are skipped" >&2
  exit 0
fi

# Newer kernels are not followed: `make clean`, or removing .tools/vm, gets the current one.
wanted=$(cat "$0" tests/vm/init | sha256sum | cut -d' ' -f1)
if [ "$(cat "$out/stamp" 2>/dev/null)" = "$wanted" ] && command -v qemu-system-x86_64 >/dev/null 2>&1; then exit 0; fi

command -v apt-get >/dev/null 2>&1 || leave "no apt-get here: Debian's kernel is fetched with it"
update() { [ "$(id -u)" != 0 ] || apt-get update -qq; }
kernel_package() { # the package that linux-image-amd64 stands for today
  apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*-amd64\)$/\1/p' | head -n 1
}
if ! command -v qemu-system-x86_64 >/dev/null 2>&1; then
  [ "$(id -u)" = 0 ] || leave "qemu is missing (as root: apt-get install qemu-system-x86)"
  echo "setup-vm: installing qemu-system-x86"
  export DEBIAN_FRONTEND=noninteractive
  update
  apt-get install -y -qq --no-install-recommends qemu-system-x86 >/dev/null || leave "apt-get could not install qemu"
fi
kernel=$(kernel_package)
if [ -z "$kernel" ]; then
  update || leave "apt-get update failed"
  kernel=$(kernel_package)
fi
[ -n "$kernel" ] || leave "apt knows no linux-image-amd64 (as root: apt-get update)"

mkdir -p "$PWD/.tools"
# Beside the target, so that the finished folder is put in place by one rename.
work=$(mktemp -d "$PWD/.tools/vm.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

echo "setup-vm: unpacking $kernel"
fetch() { (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$kernel" busybox-static 2>"$work/apt.log"); }
fetch || { update && fetch; } || { cat "$work/apt.log" >&2; leave "apt-get could not download $kernel and busybox-static"; }
for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/unpacked"; done
busybox=$work/unpacked/bin/busybox
[ -x "$busybox" ] || busybox=$work/unpacked/usr/bin/busybox
for modules in "$work"/unpacked/lib/modules/* "$work"/unpacked/usr/lib/modules/*; do [ ! -d "$modules" ] || break; done
release=${modules##*/}

# Only the modules that are wanted and those they need, found by busybox itself as it will load them.
root=$work/initramfs
mkdir -p "$root/bin" "$root/lib/modules/$release"
cp "$busybox" "$root/bin/busybox"
cp tests/vm/init "$root/init"
chmod 755 "$root/init"
find "$modules" -name '*.ko.xz' -exec xz -d {} +
mkdir -p "$work/all/lib/modules"
mv "$modules" "$work/all/lib/modules/$release"
"$busybox" depmod -b "$work/all" "$release"
copy_with_needed() { # a module's name
  local line
  line=$(grep -E "(^|/)${1//_/[-_]}\.ko:" "$work/all/lib/modules/$release/modules.dep") || return 0 # built in
  for path in ${line/:/}; do
    install -D -m 644 "$work/all/lib/modules/$release/$path" "$root/lib/modules/$release/$path"
  done
}
for module in "${MODULES[@]}"; do copy_with_needed "$module"; done
"$busybox" depmod -b "$root" "$release"
echo "${MODULES[*]}" >"$root/modules"

mkdir "$work/vm"
(cd "$root" && find . | "$busybox" cpio -o -H newc 2>/dev/null) >"$work/vm/initramfs"
# An unpacked kernel starts at once (PVH); Debian's own has itself unpacked in the guest, which takes an emulated machine
# four seconds. Header fields: Documentation/arch/x86/boot.rst.
python3 - "$work"/unpacked/boot/vmlinuz-* "$work/vm/kernel" <<'PYTHON'
import lzma, pathlib, struct, sys
source, target = map(pathlib.Path, sys.argv[1:])
image = source.read_bytes()
start = (image[0x1F1] + 1) * 512
offset, length = struct.unpack_from("<II", image, 0x248)
payload = image[start + offset :][:length]
if payload.startswith(b"\xfd7zXZ"):
    image = lzma.LZMADecompressor().decompress(payload)
target.write_bytes(image)
PYTHON
printf '%s\n' "$release" >"$work/vm/release"
printf '%s\n' "$wanted" >"$work/vm/stamp"
rm -rf "$out"
# Somebody else may have been as fast.
mv -T "$work/vm" "$out" 2>/dev/null || [ "$(cat "$out/stamp")" = "$wanted" ]
