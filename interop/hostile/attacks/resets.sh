# shellcheck shell=bash
# against: dunlin bird frr
# title: a configured peer connects, sends OPEN and NOTIFICATION, and begins again
# right: only its own session is down
# bound: 8 MB
attack() {
  hostile attacker bgp.py resets --seconds 6 --rate 200
  tell "$(jq -r '"\(.reset // 0) times"' "$WORK/hostile.json")"
}
