# shellcheck shell=bash
# tables.sh - the tables of the README files, in which stories write what they measured. Sourced, never run.

# put_rows README MARK FILE [PEER] - with DUNLIN_WRITE=1, the rows of FILE stand between MARK's two comments of the README,
# under the head that is there: in place of all rows, or of those that begin with PEER.
put_rows() {
  local readme=$INTEROP/$1 mark=$2 rows=$3 whose=${4:-} table
  [ -n "${DUNLIN_WRITE:-}" ] || return 0
  table=$(sed -n "/^<!-- $mark -->/,/^<!-- \/$mark -->/p" "$readme" | grep '^|') || fail "no table $mark in $readme"
  {
    sed "/^<!-- $mark -->/q" "$readme"
    echo
    head -n 2 <<< "$table"
    if [ -z "$whose" ]; then cat "$rows"
    else { tail -n +3 <<< "$table" | grep -v "^| $whose " || true; cat "$rows"; } | sed '/^$/d' | sort -s -t '|' -k 2,2; fi
    echo
    sed -n "/^<!-- \/$mark -->/,\$p" "$readme"
  } > "$WORK/README.md"
  cat "$WORK/README.md" > "$readme"
}

# this_peer - the peer under test with its version, as the first field of a row.
this_peer() { printf '%s %s\n' "$PEER" "$("${PEER}_version")"; }
