# shellcheck shell=bash
# reference.sh - a BIRD in dunlin's place (DUNLIN_REFERENCE=1, or `interop/run --reference`), behind the same
# verbs as dunlin.sh. A story that fails here too is not dunlin's fault. What only dunlin can do is skipped.

DUT_NAME="BIRD $(bird_version) in dunlin's place"

dunlin_root() { :; }
dunlin_available() { bird_available; }
dunlin_version() { bird_version; }

# dunlin's peers have names of their own in every story; here they become BIRD's protocol names.
dunlin_config() {
  local n=$1 given
  given=$(of "$n" neighbors)
  [ -n "$given" ] || set_node "$n" neighbors="peer $(of "$n" local) $(of "$n" remote) $(of "$n" remote-as) $(of "$n" flags)"
  # As dunlin: a lost session's routes go at once.
  set_node "$n" no-restart="$(of "$n" no-restart yes)"
  bird_config "$n"
  set_node "$n" neighbors="$given"
}

for _verb in start ready route announce withdraw refreshes; do
  eval "dunlin_$_verb() { bird_$_verb \"\$@\"; }"
done
dunlin_state() { bird_state "$1" "${2:-peer}"; }
dunlin_count() { bird_count "$1" "$2" "${3:-peer}"; }
dunlin_hold() { bird_hold "$1" "${2:-peer}"; }
dunlin_last_error() { bird_last_error "$1" "${2:-peer}"; }
dunlin_shutdown() { bird_shutdown "$1" "$2" "${3:-peer}"; }
dunlin_enable() { bird_enable "$1" "${2:-peer}"; }
dunlin_refresh() { bird_refresh "$1" "${2:-peer}"; }
dunlin_updates() { bird_updates "$1" "${2:-peer}"; }
