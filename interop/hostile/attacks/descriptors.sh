# shellcheck shell=bash
# against: dunlin
# title: hundreds of callers of a peer-range hold their connections and say nothing, and the daemon may have 128 files open
# right: control, reload and the sessions that are there go on; it says why callers are refused
# bound: 8 MB
prepare() {
  set_node victim files=128 peers="[[bgp-peer]]
name = \"anybody\"
peer-range = \"172.31.0.128/25\"
as-number = 65003"
}
attack() {
  local pid host
  pid=$(pids_named dunlin)
  for host in $(seq 128 254); do ip -n "${NS[attacker]}" addr add "172.31.0.$host/32" dev eth0; done
  in_namespace attacker python3 "$LIB/holders.py" "$VICTIM4" 179 172.31.0.128 127 2 > "$WORK/hostile.json" 2>> "$WORK/hostile.log" &
  echo $! > "$WORK/holders.pid"
  wait_for 20 "the shortage is said" short_of_descriptors
  must "a reload is done" _dunlin victim reload
  tell "$(find "/proc/$pid/fd" -mindepth 1 | wc -l) of 128 files were open; it says: $(_dunlin victim status --output json |
    jq -r '[.problems[] | select(.code == "descriptors_short") | .what][0]')"
}
short_of_descriptors() { _dunlin victim status --output json | is_true 'any(.problems[]; .code == "descriptors_short")'; }
