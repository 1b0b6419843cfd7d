# shellcheck shell=bash
# against: dunlin bird frr
# title: hundreds of callers of a peer-range hold their connections and say nothing, and the daemon may have 128 files open
# right: control, reload and the sessions that are there go on; it says why callers are refused
# bound: 8 MB
prepare() {
  set_node victim files=128 peers="[[bgp-peer]]
name = \"anybody\"
peer-range = \"172.31.0.128/25\"
as-number = 65003" \
    extra="$(of victim extra)
protocol bgp rack { local 172.31.0.1 as 65001; neighbor range 172.31.0.128/25 as 65003; dynamic name \"rack\"; ipv4 { import all; export none; }; }" \
    router-extra="$(frr_range 172.31.0.128/25)
 bgp listen limit 1000"
}
attack() {
  local pid host limit
  pid=$(daemon_pid)
  for host in $(seq 128 254); do ip -n "${NS[attacker]}" addr add "172.31.0.$host/32" dev eth0; done
  in_namespace attacker python3 "$LIB/holders.py" "$VICTIM4" 179 172.31.0.128 127 2 > "$WORK/hostile.json" 2>> "$WORK/hostile.log" &
  echo $! > "$WORK/holders.pid"
  if is_dunlin; then
    wait_for 20 "the shortage is said" short_of_descriptors
    must "a reload is done" _dunlin victim reload
    tell "$(open_files "$pid") of 128 files were open; it says: $(_dunlin victim status --output json |
      jq -r '[.problems[] | select(.code == "descriptors_short") | .what][0]')"
  else
    eventually 10 nearly_all_open "$pid" || true
    limit=$(open_files "$pid")
    tell "$limit of 128 files were open; a new question to its control was $(answers && echo answered || echo "not answered in 20 s")"
  fi
  for host in $(seq 128 254); do ip -n "${NS[attacker]}" addr del "172.31.0.$host/32" dev eth0; done
}
open_files() { find "/proc/$1/fd" -mindepth 1 | wc -l; }
nearly_all_open() { [ "$(open_files "$1")" -ge 126 ]; }
short_of_descriptors() { _dunlin victim status --output json | is_true 'any(.problems[]; .code == "descriptors_short")'; }
