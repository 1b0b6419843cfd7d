# shellcheck shell=bash
# against: dunlin bird frr
# title: packets of multihop BFD, to 4784 with TTL 64, for a peer that is one hop away
# right: nobody is dragged to multihop: BFD comes up while they arrive, and stays up
# bound: 8 MB
prepare() { watched_by_bfd; }
# As where the node translates its pods' addresses: they leave from the very address of the honest node.
attack() {
  honest_peer_6
  forge_bfd honest 4784 64 100 8 &
  local forging=$!
  bfd_begins
  eventually 6 bfd_at_both || true
  must "BFD comes up while they arrive" bfd_at_both
  tell "BFD that began among them: $(bfd_words)"
  wait "$forging" || fail "the attacker failed"
  forged_bfd honest 4784 64
}
