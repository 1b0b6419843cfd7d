# shellcheck shell=bash
# against: dunlin bird frr
# title: 60,000 sets of attributes whose octets are chosen to hash alike where the hash's constants are public
# right: they cost what any others cost
# bound: 60 MB
attack() {
  hostile attacker routes.py alike --seconds 8 --count 60000
  tell "$(said)"
}
