# shellcheck shell=bash
# guest.sh - what a booted kernel has to do with this machine, whichever kernel it is. Sourced by `run`.
#
# The two sides meet in one folder, the share: `start` is the guest's first program, `command` what it is to run,
# `output` grows while it runs, `status` is there when it is done. uml.sh and qemu.sh know how to boot so that the
# root folder is this machine's, read-only, and the share is at /mnt/share.
#
# What always holds: only processes started here are ended, by their numbers; the share goes when `run` ends.

SHARE= MACHINE= FOLLOWER=

# guest_run KERNEL COMMAND... - boots it, passes the output on, returns the command's own status.
guest_run() {
  local kernel=$1 status
  shift
  SHARE=$(mktemp -d "/var/tmp/dunlin-kernel.XXXXXX") || return 125
  trap guest_end EXIT
  trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM
  mkdir "$SHARE/results"
  : > "$SHARE/output"
  guest_folders > "$SHARE/folders"
  guest_command "$kernel" "$@" > "$SHARE/command"
  guest_start "$kernel" > "$SHARE/start"
  chmod +x "$SHARE/start"
  "${kernel}_boot" || return 125
  # --pid: the follower ends by itself a moment after the machine does.
  tail -n +1 -s 0.1 --pid="$MACHINE" -f "$SHARE/output" 2>/dev/null &
  FOLLOWER=$!
  disown "$FOLLOWER"
  guest_wait; status=$?
  if [ "$status" = 125 ] && [ ! -s "$SHARE/status" ]; then
    say "$kernel ended before the command did; the end of its console:"
    tail -n 40 "$SHARE/console" >&2
  fi
  if [ -n "$RESULTS" ]; then cp -a "$SHARE/results/." "$RESULTS/"; fi
  return "$status"
}

# guest_wait - until the status is there, the machine is gone, or the time is up.
guest_wait() {
  local end=$((SECONDS + LIMIT))
  while [ ! -s "$SHARE/status" ]; do
    if ! kill -0 "$MACHINE" 2>/dev/null; then
      [ -s "$SHARE/status" ] && break
      return 125
    fi
    if [ "$SECONDS" -ge "$end" ]; then say "no end within $LIMIT s"; return 124; fi
    sleep 0.05
  done
  # The follower looks ten times a second: let it see the last lines.
  sleep 0.25
  return "$(cat "$SHARE/status")"
}

guest_end() {
  local rc=$?
  trap - EXIT
  [ -z "$MACHINE" ] || kill -KILL -- "-$MACHINE" 2>/dev/null
  [ -z "$FOLLOWER" ] || kill "$FOLLOWER" 2>/dev/null
  [ -z "${DUNLIN_KEEP:-}" ] || { say "kept: $SHARE"; exit "$rc"; }
  rm -rf -- "$SHARE"
  exit "$rc"
}

# guest_folders - what the fresh /tmp, /run and /var/tmp would hide and the command is to see.
guest_folders() {
  local folder
  FOLDERS+=("$PWD" "$(git rev-parse --show-toplevel 2>/dev/null || echo "$PWD")")
  [ -z "${DUNLIN:-}" ] || FOLDERS+=("$(dirname "$(realpath "$DUNLIN")")")
  for folder in "${FOLDERS[@]}"; do
    case $folder in /tmp/* | /run/* | /var/tmp/*) printf '%s\n' "$folder" ;; esac
  done | sort -u
}

# guest_command KERNEL COMMAND... - a script: this environment, this folder, the command.
guest_command() {
  local kernel=$1 name
  shift
  for name in $(compgen -e); do
    case $name in
      # What speaks of this machine's sessions and folders would mislead inside.
      _ | PWD | OLDPWD | SHLVL | SHELLOPTS | BASHOPTS | TMPDIR | XDG_RUNTIME_DIR | SSH_* | DBUS_* | DISPLAY) ;;
      *) printf 'export %s=%q\n' "$name" "${!name}" ;;
    esac
  done
  printf 'export KERNEL=%s KERNEL_RESULTS=/mnt/share/results PATH=%q\n' "$kernel" "$PATH:/usr/sbin:/sbin"
  printf 'cd %q || exit 125\n' "$PWD"
  printf 'exec'
  printf ' %q' "$@"
  printf '\n'
}

# guest_start KERNEL - the first program of the guest.
guest_start() {
  cat <<START
#!/bin/bash
kernel=$1
modules=$("${1}_modules")
drivers="$DRIVERS $("${1}_drivers")"
START
  cat <<'START'
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm && mount -t devpts devpts /dev/pts && mount -t tmpfs tmpfs /dev/shm
# What devtmpfs does not bring by itself.
ln -sf /proc/self/fd /dev/fd && ln -sf fd/0 /dev/stdin && ln -sf fd/1 /dev/stdout && ln -sf fd/2 /dev/stderr
# The root once more at a place that nothing hides, before tmpfs covers parts of it.
mkdir /mnt/root && mount --bind / /mnt/root
for d in /tmp /run /var/tmp; do mount -t tmpfs tmpfs "$d"; done
while IFS= read -r d; do
  mkdir -p "$d" && mount --bind "/mnt/root$d" "$d" && mount -o remount,bind,ro "$d"
done < /mnt/share/folders
chmod 1777 /tmp /var/tmp
mkdir -p /run/netns /run/modules/lib && ln -s "/mnt/root$modules" /run/modules/lib/modules
# What the kernel loads by itself when it is asked for (nf_tables, say) comes from there, too.
printf '#!/bin/sh\nexec /sbin/modprobe -d /run/modules "$@"\n' > /run/modprobe && chmod +x /run/modprobe
echo /run/modprobe > /proc/sys/kernel/modprobe
exec < /dev/null >> /mnt/share/output 2>&1
for m in $drivers; do modprobe -d /run/modules "$m" || echo "kernel: no driver $m in $kernel"; done
ip link set lo up
# One slow processor gets a second's packets at once when it was busy: they wait, none is dropped.
echo 100000 > /proc/sys/net/core/netdev_max_backlog
( . /mnt/share/command )
echo $? > /mnt/share/status.new
# A rename, so that no half of it is read.
mv /mnt/share/status.new /mnt/share/status
sync
echo o > /proc/sysrq-trigger
sleep 10
START
}
