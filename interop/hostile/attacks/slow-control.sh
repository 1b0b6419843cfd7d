# shellcheck shell=bash
# against: dunlin
# title: a user whom [control] group admits connects a hundred times and says nothing, half a request or one without an end, or asks and reads nothing
# right: root is answered as ever, and what is left unread is bounded
# bound: 40 MB
prepare() {
  set_node victim control-more="group = \"$(getent group 65534 | cut -d: -f1)\""
}
attack() {
  local kind
  chmod a+x "$WORK" "${DIR[victim]}"
  for kind in silent half endless deaf; do
    timeout 60 python3 "$LIB/local.py" $kind "$(control_path)" --user 65533 --group 65534 --seconds 3 > "$WORK/local.json" \
      || fail "the local user failed"
    must "root gets an answer after $kind" answers
    tell "${TOLD:-}${TOLD:+, }$kind: $(jq -r '"\(.connected) connected, \(.refused) let go"' "$WORK/local.json")"
  done
}
answers() { "$DUNLIN" --socket "$(control_path)" status > /dev/null; }
