# shellcheck shell=bash
# against: dunlin bird frr
# title: 5,000 routes with 60,000 octets of attributes each, from a peer that may have 20,000 routes
# right: the routes are bounded in octets, too
# bound: 32 MB
prepare() {
  set_node victim peers="[[bgp-peer]]
name = \"attacker\"
peer-ip = \"$ATTACKER4\"
as-number = 65003
connect-retry-time = 1
max-prefixes = 20000
import = \"accept-all\"
export = \"accept-all\"" \
    neighbors="$(of victim neighbors | sed '/^attacker/s/$/ extended-messages/')"
}
attack() {
  hostile attacker routes.py large --seconds 6 --count 5000
  tell "$(said)"
}
