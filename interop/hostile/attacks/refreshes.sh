# shellcheck shell=bash
# against: dunlin bird frr
# title: a table of 100,000 routes, and then "I say all again" and "that was all" 200,000 times, in 23 octets each
# right: each costs a message, not a walk over the table
# bound: 60 MB
prepare() { set_node victim kernel-routes=false extra=''; }
attack() {
  hostile attacker routes.py again --seconds 6 --prefixes 100000 --count 200000
  tell "$(said)"
}
