# shellcheck shell=bash
# uml.sh - boots Debian's user-mode-linux: a kernel that is an ordinary process. Sourced by `run`.

UML=${UML:-linux.uml}

# uml_frame FOLDER - what to preload so that it works on new CPUs (frame.c says how); nothing without a C compiler.
uml_frame() {
  cc -O2 -shared -fPIC -o "$1/frame.so" "$(dirname "${BASH_SOURCE[0]}")/frame.c" 2> /dev/null && echo "$1/frame.so"
}

# uml_starts - is it here, and can it run a program? Where it can't, its first program dies of SIGSEGV.
uml_starts() {
  command -v "$UML" > /dev/null && timeout 10 "$UML" --version > /dev/null 2>&1 < /dev/null || return 1
  local memory=/dev/shm folder deaths
  [ -w "$memory" ] || memory=/tmp
  folder=$(mktemp -d) || return 1
  # What it says when its first program has died, and not when it has ended. Either way it aborts.
  deaths=$({ timeout 20 setsid env -i PATH="$PATH" HOME="$folder" LD_PRELOAD="$(uml_frame "$folder")" TMPDIR="$memory" \
    "$UML" mem=256M "uml_dir=$folder/uml" rootfstype=hostfs rootflags=/ ro \
    init=/bin/true con=null con0=null,fd:1 ssl=null quiet panic=-1 2>&1 < /dev/null || true; } 2> /dev/null |
    grep -acE 'exitcode=0x0000000b|put_fp_registers|Segfault with no mm' || true)
  rm -rf -- "$folder"
  [ "$deaths" = 0 ]
}

uml_modules() { echo /usr/lib/uml/modules; }
uml_drivers() { echo "dummy ipv6 sch_netem"; }

uml_boot() {
  local memory=/dev/shm
  # The guest's memory is a file; on a disk it would be written out.
  [ -w "$memory" ] || memory=$SHARE
  # The share can't be a folder of the root (that is read-only), so a second hostfs has to be mounted by hand.
  cat > "$SHARE/first" <<EOS
#!/bin/bash
/bin/mount -t tmpfs tmpfs /mnt && /bin/mkdir /mnt/share && /bin/mount -t hostfs -o $SHARE none /mnt/share && exec /mnt/share/start
EOS
  chmod +x "$SHARE/first"
  mkdir "$SHARE/uml"
  # A session of its own, so that all of its helpers end with it.
  setsid env -i PATH="$PATH" HOME="$SHARE" \
    LD_PRELOAD="$(uml_frame "$SHARE")" TMPDIR="$memory" "$UML" "mem=${MEMORY}M" "uml_dir=$SHARE/uml" umid=dunlin \
    rootfstype=hostfs rootflags=/ ro "init=$SHARE/first" con=null con0=null,fd:1 ssl=null quiet panic=-1 \
    > "$SHARE/console" 2>&1 < /dev/null &
  MACHINE=$!
  disown "$MACHINE"
}
