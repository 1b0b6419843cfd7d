# shellcheck shell=bash
# against: dunlin
# title: eight processes of viewers ask for all peers, one connection after the other, and give orders
# right: root is answered as ever, an order of a viewer is refused
# bound: 40 MB
prepare() {
  set_node victim control-more="viewers = \"$(getent group 65534 | cut -d: -f1)\""
}
attack() {
  local n pids=() answered=0
  chmod a+x "$WORK" "${DIR[victim]}"
  for n in 1 2 3 4 5 6 7 8; do
    timeout 60 python3 "$LIB/local.py" flood "$(control_path).viewers" --user $((65533 - n)) --group 65534 --seconds 5 \
      > "$WORK/local.$n" &
    pids+=($!)
  done
  wait "${pids[@]}" || fail "a viewer failed"
  answered=$(jq -s 'map(.answered) | add' "$WORK"/local.?)
  must "a viewer's order is refused" refused_viewer
  must "and an answer came to viewers, too" [ "$answered" -gt 0 ]
  tell "$answered questions of viewers answered, $(jq -s 'map(.refused) | add' "$WORK"/local.?) let go"
}
refused_viewer() {
  setpriv --reuid 65533 --regid 65534 --clear-groups "$DUNLIN" --socket "$(control_path)" drain > "$WORK/viewer.log" 2>&1
  [ $? = 6 ]
}
