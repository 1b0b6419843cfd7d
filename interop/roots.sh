# shellcheck shell=bash
# roots.sh - where the root folders of other Debian releases are kept, and how one is made. Sourced, never run.

TRIXIE_PACKAGES=frr,bird3,iproute2,procps

# cache_dir - the folder for what is slow to make and may be thrown away at any time.
cache_dir() {
  local top
  top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  printf '%s\n' "${DUNLIN_CACHE:-$top/.cache}"
}

trixie_root() { printf '%s/trixie-root\n' "$(cache_dir)"; }

# trixie_ready - is the root whole? The mark is written last, so that a half-made root is never used.
trixie_ready() { [ -e "$(trixie_root)/.dunlin-ready" ]; }

# with_cache_lock NAME CMD... - runs CMD while nobody else makes the same thing.
with_cache_lock() {
  local name=$1
  shift
  mkdir -p "$(cache_dir)"
  ( flock 9 && "$@" ) 9> "$(cache_dir)/$name.lock"
}

make_trixie_root() { with_cache_lock trixie _make_trixie_root; }

_make_trixie_root() {
  local root
  root=$(trixie_root)
  trixie_ready && return 0
  command -v mmdebstrap >/dev/null || { echo "no mmdebstrap: apt-get install mmdebstrap" >&2; return 1; }
  rm -rf -- "$root.new"
  mmdebstrap --quiet --variant=minbase --include="$TRIXIE_PACKAGES" trixie "$root.new" >&2 || return 1
  # The daemons' folders are mounted over at each start: they only have to exist.
  mkdir -p "$root.new/run/frr" "$root.new/run/bird"
  rm -rf -- "$root"
  touch "$root.new/.dunlin-ready"
  mv "$root.new" "$root"
}
