# shellcheck shell=bash
# against: dunlin bird frr
# title: 1,500 addresses of a peer-range connect and say nothing
# right: who has something to say gets a place and a session
# bound: 40 MB
prepare() {
  many_addresses
  set_node victim more='[[bgp-peer]]
name = "rack"
peer-range = "172.30.0.0/16"
as-number = 65003
hold-time = 3
import = "accept-all"
export = "accept-all"' \
    extra='protocol kernel k4 { ipv4 { import none; export all; }; }
protocol bgp rack { local 172.31.0.1 as 65001; neighbor range 172.30.0.0/16 as 65003; multihop; dynamic name "rack"; ipv4 { import all; export none; }; }' \
    router-extra="$(frr_range 172.30.0.0/16)"
}
# Any address of 172.30.0.0/16 is the attacker's.
many_addresses() {
  in_namespace attacker ip route replace local 172.30.0.0/16 dev lo
  in_namespace victim ip route replace 172.30.0.0/16 via "$ATTACKER4"
}
attack() {
  attack_in_background attacker bgp.py connects --sources 172.30.0.0/17 --held 1500 --count 1500 --rate 700 --seconds 8
  attack_ends
  tell "$(said)"
  attack_in_background attacker bgp.py connects --sources 172.30.0.0/17 --held 1500 --rate 100 --seconds 10
  honest_peer genuine attacker --source 172.30.200.1 --target "$VICTIM4" --asn 65003 --router-id 172.30.200.1 --hold 3 --net 10.67.0.0/24
  eventually 8 bystander_is genuine .up true || true
  must "who speaks gets a session ($(bystander genuine .waited_s) s)" bystander_is genuine .up true
  attack_ends
  TOLD+="; who speaks $(bystander genuine 'if .waited_s then "had a session after \(.waited_s) s" else "had no session" end')"
  must "and keeps it" bystander_is genuine .lost 0
}
