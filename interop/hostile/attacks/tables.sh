# shellcheck shell=bash
# against: dunlin bird frr
# title: 300,000 routes in one burst, then a reset, as often as it goes
# right: taking them in and out keeps nobody else waiting
# bound: 120 MB
prepare() { set_node victim kernel-routes=false extra=''; }
attack() {
  hostile attacker routes.py table --seconds 6 --prefixes 300000
  tell "$(said)"
}
