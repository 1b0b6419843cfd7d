# shellcheck shell=bash
# against: dunlin bird frr
# title: a pod calls with its node's address, identifier and a graceful-restart capability, while the node's session is up
# right: the node's session stays, and no route of the pod gets into the kernel
# bound: 8 MB
# As where the node translates its pods' addresses: the call leaves from the very address of the honest node.
attack() {
  local what=(takeover --net 10.66.1.0/26 --source "$HONEST4" --router-id 172.31.0.2 --asn 65001 --internal --rate 10)
  hostile honest bgp.py "${what[@]}" --seconds 5
  tell "calls: $(said)"
  hostile honest bgp.py "${what[@]}" --seconds 2 --no-families
  TOLD+="; without a family in the capability: $(said)"
  hostile honest bgp.py "${what[@]}" --seconds 2 --router-id 172.31.0.77
  TOLD+="; with another identifier: $(said)"
}
