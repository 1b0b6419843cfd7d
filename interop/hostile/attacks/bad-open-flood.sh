# shellcheck shell=bash
# against: dunlin bird frr
# title: from the address of a peer that only listens, an OPEN that nobody takes, fifty times a second
# right: the session with the peer comes up all the same
# bound: 8 MB
attack() {
  attack_in_background attacker bgp.py bad-open --seconds 12 --rate 50
  eventually 5 calls_come || fail "no call reaches the victim"
  honest_peer genuine attacker --source "$ATTACKER4" --listen --asn 65003 --router-id 172.31.0.3 --net 10.67.0.0/24 --hold 90
  eventually 12 bystander_is genuine .up true || true
  must "the session with the genuine one came up among them ($(bystander genuine .waited_s) s)" bystander_is genuine .up true
  attack_ends
  tell "$(said); the genuine session $(bystander genuine 'if .waited_s then "came up after \(.waited_s) s" else "did not come up" end')"
  must "and was not lost" bystander_is genuine .lost 0
}
calls_come() { in_namespace victim ss -tanH 'sport = :179' | grep -q "$ATTACKER4"; }
