# shellcheck shell=bash
# against: dunlin bird frr
# title: packets of multihop BFD, to 4784 with TTL 64, for a peer that is one hop away
# right: nobody is dragged to multihop: BFD comes up while they arrive, and stays up
# bound: 8 MB
prepare() { watched_by_bfd; }
# As where the node translates its pods' addresses: they leave from the very address of the honest node.
attack() {
  local af pids=()
  honest_peer_6
  for af in 4 6; do
    in_namespace honest timeout 60 python3 "$LIB/bfd.py" forge --source "$(address 0 $af 2)" --target "$(address 0 $af 1)" \
      --port 4784 --ttl 64 --seconds 8 >> "$WORK/forged.json" 2>> "$WORK/hostile.log" &
    pids+=($!)
  done
  bfd_begins
  eventually 6 bfd_at_both || true
  must "BFD comes up while they arrive" bfd_at_both
  wait "${pids[@]}" || fail "an attacker failed"
  forged_bfd honest 4784 64
}
