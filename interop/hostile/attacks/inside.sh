# shellcheck shell=bash
# against: dunlin bird frr
# title: the daemon's process is taken over, and makes the system calls of whoever took it
# right: it has the network, as the daemon has; the host's files, programs, processes and namespaces stay shut
# bound: 8 MB
attack() {
  local pid other
  pid=$(daemon_pid)
  other=$(cat "$WORK/honest.pid")
  python3 "$LIB/inside.py" try "$pid" "$other" > "$WORK/hostile.json" 2>> "$WORK/hostile.log" || fail "inside.py failed: $(tail -3 "$WORK/hostile.log")"
  must "nothing of it is let through: $(inside_could)" [ -z "$(inside_could)" ]
  tell "as user $(awk '/^Uid:/ { print $3 }' "/proc/$pid/status"), of $(jq length "$WORK/hostile.json") attempts let through: $(inside_could | grep . || echo none)"
}
inside_could() { jq -r 'to_entries | map(select(.value == "done").key) | join(", ")' "$WORK/hostile.json"; }
