# shellcheck shell=bash
# qemu.sh - boots Debian's stock kernel under qemu, root and share over 9p. Sourced by `run` and `install`.
#
# Always in software: where KVM is offered it may be one that stock kernels hang in. The kernel is unpacked to a
# cache folder, never installed. Its modules for 9p travel in an initramfs with busybox, the others are loaded from
# the cache folder once the root is there.

QEMU_CACHE=${DUNLIN_CACHE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/.cache}/kernel

qemu_is_here() {
  command -v qemu-system-x86_64 > /dev/null && [ -x /bin/busybox ] && [ -e "$QEMU_CACHE/vmlinuz" ]
}

# qemu_fetch - the kernel that Debian's own name for "the kernel" stands for today.
qemu_fetch() {
  local package work
  package=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-[0-9]/ { print $2; exit }')
  [ -n "$package" ] || { say "apt knows no linux-image-amd64: apt-get update"; return 1; }
  [ ! -e "$QEMU_CACHE/$package" ] || return 0
  mkdir -p "$QEMU_CACHE" && work=$(mktemp -d "$QEMU_CACHE/new.XXXXXX") || return 1
  # apt gives up its rights for a download where it can't; the folder must not be in the way.
  chmod 755 "$work"
  (
    set -e
    cd "$work"
    apt-get download -q "$package"
    dpkg-deb --fsys-tarfile ./"$package"_*.deb | tar -x ./boot ./lib/modules
    depmod -b "$work" "${package#linux-image-}"
    rm -rf "$QEMU_CACHE/lib"
    mv lib "$QEMU_CACHE/lib"
    mv boot/vmlinuz-* "$QEMU_CACHE/vmlinuz"
    : > "$QEMU_CACHE/$package"
  )
  local rc=$?
  rm -rf -- "$work"
  return "$rc"
}

qemu_release() { basename "$(echo "$QEMU_CACHE"/lib/modules/*)"; }
qemu_modules() { echo "$QEMU_CACHE/lib/modules"; }
qemu_drivers() { echo "dummy sch_netem"; }

# _qemu_initramfs FOLDER - busybox, the modules that the root needs, and ten lines that mount it.
_qemu_initramfs() {
  local tree=$1 module number=10
  mkdir -p "$tree"/{bin,modules,host}
  cp /bin/busybox "$tree/bin/busybox"
  for module in virtio_pci 9pnet_virtio 9p; do
    modprobe -d "$QEMU_CACHE" -S "$(qemu_release)" --show-depends "$module"
  done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
    number=$((number + 1))
    cp "$module" "$tree/modules/$number.ko"
  done
  cat > "$tree/init" <<'EOS'
#!/bin/busybox sh
PATH=/bin
options=trans=virtio,version=9p2000.L,msize=262144
for m in /modules/*.ko; do busybox insmod "$m"; done
busybox mount -t 9p -o ro,cache=loose,$options root /host
busybox mount -t tmpfs tmpfs /host/mnt
busybox mkdir /host/mnt/share
busybox mount -t 9p -o cache=none,$options share /host/mnt/share
exec busybox chroot /host /mnt/share/start
EOS
  chmod +x "$tree/init"
}

qemu_boot() {
  _qemu_initramfs "$SHARE/initramfs"
  (cd "$SHARE/initramfs" && find . | busybox cpio -o -H newc 2>/dev/null) > "$SHARE/initramfs.cpio"
  setsid qemu-system-x86_64 -M pc -accel tcg,thread=multi -cpu max -smp "${QEMU_CPUS:-2}" -m "$MEMORY" -nodefaults \
    -no-user-config -nic none -display none -no-reboot -serial "file:$SHARE/console" \
    -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=root,mount_tag=root \
    -fsdev "local,id=share,path=$SHARE,security_model=none" -device virtio-9p-pci,fsdev=share,mount_tag=share \
    -kernel "$QEMU_CACHE/vmlinuz" -initrd "$SHARE/initramfs.cpio" \
    -append "console=ttyS0 quiet panic=-1 reboot=t mitigations=off" > "$SHARE/qemu.log" 2>&1 < /dev/null &
  MACHINE=$!
  disown "$MACHINE"
}
