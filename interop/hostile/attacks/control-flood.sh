# shellcheck shell=bash
# against: dunlin bird frr
# title: eight processes of viewers ask for all peers, one connection after the other, and give orders
# right: root is answered as ever, an order of a viewer is refused
# bound: 40 MB
# BIRD and FRR have no viewers: who may ask may use their only socket.
prepare() {
  set_node victim control-more="viewers = \"$(getent group 65534 | cut -d: -f1)\""
}
attack() {
  local n pids=() answered=0 order
  admit_group
  ! is_dunlin || SOCKET=.viewers
  for n in 1 2 3 4 5 6 7 8; do
    local_user "$WORK/local.$n" flood --user $((65533 - n)) --seconds 5 &
    pids+=($!)
  done
  wait "${pids[@]}" || fail "a viewer failed"
  answered=$(jq -s 'map(.answered) | add' "$WORK"/local.?)
  must "and an answer came to viewers, too" [ "$answered" -gt 0 ]
  if is_dunlin; then
    must "a viewer's order is refused" refused_viewer
    order="an order of theirs was $(refused_viewer && echo refused || echo taken)"
  else
    local_user "$WORK/order.json" order --user 65533
    order="an order of theirs was $(jq -r 'if .taken then "taken" else "refused" end' "$WORK/order.json")"
  fi
  SOCKET=
  tell "$answered questions of viewers answered, $(jq -s 'map(.refused) | add' "$WORK"/local.?) let go, $order"
}
refused_viewer() {
  setpriv --reuid 65533 --regid 65534 --clear-groups "$DUNLIN" --socket "$(control_path)" drain > "$WORK/viewer.log" 2>&1
  [ $? = 6 ]
}
