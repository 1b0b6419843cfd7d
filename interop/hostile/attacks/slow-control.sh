# shellcheck shell=bash
# against: dunlin bird frr
# title: a user whom [control] group admits connects a hundred times and says nothing, half a request or one without an end, or asks and reads nothing
# right: root is answered as ever, and what is left unread is bounded
# bound: 40 MB
prepare() {
  set_node victim control-more="group = \"$(getent group 65534 | cut -d: -f1)\""
}
attack() {
  local kind
  admit_group
  for kind in silent half endless deaf; do
    local_user "$WORK/local.json" $kind --user 65533 --seconds 3 || fail "the local user failed"
    must "root gets an answer after $kind" answers
    tell "${TOLD:-}${TOLD:+, }$kind: $(jq -r '"\(.connected) connected, \(.refused) let go"' "$WORK/local.json")"
  done
}
