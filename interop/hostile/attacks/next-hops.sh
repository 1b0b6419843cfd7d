# shellcheck shell=bash
# against: dunlin bird frr
# title: ever other link-local addresses beside one global next hop, 12,000 at a time
# right: each costs what one costs, coming and going
# bound: 40 MB
prepare() {
  set_node victim af=6 families="4 6" networks="$(prefix 6 1)" \
    peers="[[bgp-peer]]
name = \"attacker\"
peer-ip = \"$ATTACKER4\"
as-number = 65003
connect-retry-time = 1
import = \"accept-all\"
export = \"accept-all\""
}
attack() {
  hostile attacker routes.py beside --seconds 5 --count 12000 --next-hop "$ATTACKER6"
  tell "$(said)"
}
