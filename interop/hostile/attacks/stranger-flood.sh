# shellcheck shell=bash
# against: dunlin bird frr
# title: connections from thousands of addresses that nobody has configured, as fast as they come
# right: a configured peer that calls meanwhile gets its session
# bound: 12 MB
prepare() {
  in_namespace attacker ip route replace local 172.30.0.0/16 dev lo
  in_namespace victim ip route replace 172.30.0.0/16 via "$ATTACKER4"
}
attack() {
  local one
  for one in 0 1 2; do
    in_namespace attacker timeout 60 python3 "$LIB/bgp.py" connects --target "$VICTIM4" --sources "172.30.$((one * 64)).0/18" \
      --held 32 --rate 5000 --seconds 9 > "$WORK/flood$one.json" 2>> "$WORK/hostile.log" &
  done
  sleep 4 # what a burst is allowed is used up
  honest_peer genuine attacker --source "$ATTACKER4" --target "$VICTIM4" --asn 65003 --router-id 172.31.0.3 --net 10.67.0.0/24
  eventually 8 bystander_is genuine .up true || true
  must "the configured peer has its session ($(bystander genuine .waited_s) s)" bystander_is genuine .up true
  wait
  tell "$(jq -s 'map(add) | add' "$WORK"/flood*.json) connections; the configured peer $(bystander genuine 'if .waited_s then "had its session after \(.waited_s) s" else "had no session" end')"
  must "and keeps it" bystander_is genuine .lost 0
}
