#!/usr/bin/env bash
# Runs the tests of wingbeat-transformer on a processor that Bochs emulates: one with AMX or with
# AVX-VNNI, on whatever machine. docs/performance.md says what they found.
#
#   emulate-cpu.sh BOCHS amx|avxvnni
#
# BOCHS is the folder of a built Bochs, as docs/performance.md says. What the guest is made of (a
# kernel, busybox, isolinux) comes as Debian packages; needed besides are xorriso and cpio.
set -eu

bochs=$(realpath "${1:?the folder of a built Bochs}")
level=${2:?amx or avxvnni}
case $level in
amx) processor=sapphire_rapids ;;
avxvnni) processor=arrow_lake ;;
*) echo "no $level here, but amx and avxvnni" >&2 && exit 2 ;;
esac
guest=$PWD/target/tools/bochs-guest
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ ! -e "$guest/usr/lib/ISOLINUX/isolinux.bin" ]; then
    mkdir -p "$guest"
    kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9]\)/\1/p')
    (cd "$work" && apt-get download -qq "$kernel" busybox-static isolinux syslinux-common)
    for package in "$work"/*.deb; do dpkg-deb -x "$package" "$guest"; done
fi

# The first system: busybox, the tests, what they load, and a script that runs them.
root=$work/root
mkdir -p "$root"/{bin,dev,proc,sys,tmp,tests}
cp "$guest/bin/busybox" "$root/bin/"
cargo test --release --locked -p wingbeat-transformer --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' >"$work/tests"
while read -r test; do
    strip -o "$root/tests/$(basename "$test")" "$test"
    ldd "$test" | grep -o '/[^ ]*' | sort -u | xargs -I{} cp --parents -L {} "$root"
done <"$work/tests"
cat >"$root/init" <<'E'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox grep -m1 'model name' /proc/cpuinfo
for test in /tests/*; do
    RUST_BACKTRACE=0 $test --nocapture || echo "FAILED $?"
done
echo "END OF TESTS"
/bin/busybox poweroff -f
E
chmod +x "$root/init"
mkdir -p "$work/disc/isolinux"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/disc/isolinux/initrd.gz"
cp "$guest"/boot/vmlinuz-* "$work/disc/isolinux/vmlinuz"
cp "$guest/usr/lib/ISOLINUX/isolinux.bin" "$guest/usr/lib/syslinux/modules/bios/ldlinux.c32" \
    "$work/disc/isolinux/"
# This kernel copies memory wrongly where a processor has fast short copies (fsrm) without fast
# strings, as the emulated one.
cat >"$work/disc/isolinux/isolinux.cfg" <<'E'
DEFAULT tests
PROMPT 0
LABEL tests
 KERNEL vmlinuz
 INITRD initrd.gz
 APPEND console=ttyS0,115200 quiet nokaslr mitigations=off lpj=1000000 panic=1 clearcpuid=fsrm
E
xorriso -as mkisofs -quiet -o "$work/disc.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
    -no-emul-boot -boot-load-size 4 -boot-info-table "$work/disc" 2>/dev/null
cat >"$work/bochsrc" <<E
megs: 1024
romimage: file=$bochs/bios/BIOS-bochs-latest
vgaromimage: file=$bochs/bios/VGABIOS-lgpl/VGABIOS-lgpl-latest.bin
cpu: model=$processor, count=1, ips=50000000, reset_on_triple_fault=0
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=$work/disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/console
display_library: nogui
log: $work/bochs.log
panic: action=fatal
error: action=ignore
clock: sync=none
E
touch "$work/console"
tail -f "$work/console" &
watcher=$!
timeout "${TIMEOUT:-1800}" "$bochs/bochs" -q -f "$work/bochsrc" >"$work/out" 2>&1 || true
sleep 1
kill $watcher
grep -q "END OF TESTS" "$work/console" || { echo "it did not end by itself" >&2 && exit 1; }
! grep -q "FAILED" "$work/console"
