# shellcheck shell=bash
# against: dunlin bird frr
# title: a pod of the victim sends BFD to 3784 with TTL 255, the honest node's address and any discriminator, by its own link
# right: BFD stays up, and the session with it
# bound: 8 MB
prepare() { watched_by_bfd; }
attack() {
  honest_peer_6
  bfd_begins
  wait_for 20 "BFD is up" bfd_at_both
  holds_for 2 "and stays up" bfd_at_both
  pod_of victim
  # It takes the honest node's addresses for its own.
  ip -n "${NS[pod]}" addr add "$HONEST4/32" dev eth1
  ip -n "${NS[pod]}" addr add "$HONEST6/128" dev eth1 nodad
  forged_bfd pod 3784 255
}
