# shellcheck shell=bash
# GoBGP, Debian's gobgpd. The verbs are described in peers/README.md. It keeps no kernel routes and takes what it
# announces over its API, so that its networks are injected after the start.

gobgp_root() { :; }
gobgp_available() { command -v gobgpd >/dev/null && command -v gobgp >/dev/null; }
gobgp_hint() { echo "apt-get install --no-install-recommends gobgpd"; }
gobgp_version() { gobgpd --version | sed 's/gobgpd version //'; }

gobgp_config() {
  local n=$1 name local remote as flags
  {
    printf '[global.config]\n  as = %s\n  router-id = "%s"\n  port = 179\n' "$(of "$n" as)" "$(of "$n" router-id)"
    while read -r name local remote as flags; do _gobgp_neighbor_table "$n" "$local" "$remote" "$as" "$flags"; done < <(neighbors_of "$n")
  } > "${DIR[$n]}/gobgpd.toml"
}

_gobgp_neighbor_table() {
  local n=$1 local=$2 remote=$3 as=$4 flags=$5 family value hold
  hold=$(of "$n" hold 90)
  printf '[[neighbors]]\n  [neighbors.config]\n    neighbor-address = "%s"\n    peer-as = %s\n' "$remote" "$as"
  ! value=$(flag "$flags" password) || printf '    auth-password = "%s"\n' "$value"
  printf '  [neighbors.timers.config]\n    connect-retry = 1\n    idle-hold-time-after-reset = 1\n'
  printf '    hold-time = %s\n    keepalive-interval = %s\n' "$hold" "$((hold / 3))"
  printf '  [neighbors.transport.config]\n    local-address = "%s"\n' "$local"
  [ -z "$(of "$n" passive)" ] || printf '    passive-mode = true\n'
  if flag "$flags" client > /dev/null; then
    printf '  [neighbors.route-reflector.config]\n    route-reflector-client = true\n'
    printf '    route-reflector-cluster-id = "%s"\n' "$(of "$n" cluster-id "$(of "$n" router-id)")"
  fi
  if value=$(flag "$flags" ttl-security); then
    printf '  [neighbors.ttl-security.config]\n    enabled = true\n    ttl-min = %s\n' "$((256 - value))"
  elif value=$(flag "$flags" multihop); then
    printf '  [neighbors.ebgp-multihop.config]\n    enabled = true\n    multihop-ttl = %s\n' "$value"
  fi
  # It takes no part in graceful restart unless it is told to.
  [ -z "$(of "$n" graceful)" ] || printf '  [neighbors.graceful-restart.config]\n    enabled = true\n    restart-time = 120\n'
  for family in $(of "$n" families); do
    printf '  [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      afi-safi-name = "ipv%s-unicast"\n' "$family"
    [ -z "$(of "$n" graceful)" ] || printf '    [neighbors.afi-safis.mp-graceful-restart.config]\n      enabled = true\n'
    ! flag "$flags" add-path > /dev/null ||
      printf '    [neighbors.afi-safis.add-paths.config]\n      receive = true\n      send-max = 8\n'
  done
}

gobgp_start() {
  spawn "$1" gobgp.log "$(gobgp_root)" gobgpd -f "${DIR[$1]}/gobgpd.toml" --api-hosts 127.0.0.1:50051 --pprof-disable -l debug
}

_gobgp() { local n=$1; shift; inside "$n" gobgp "$@"; }
# _gobgp_neighbor NODE FILTER [NEIGHBOUR]
_gobgp_neighbor() { _gobgp "$1" -j neighbor "$(neighbor_address "$1" "${3:-}")" | jq -c "$2"; }
_gobgp_family() { if [[ $1 == *:* ]]; then echo ipv6; else echo ipv4; fi; }

# Ready is: the API answers, and it has been told its networks.
gobgp_ready() {
  local p
  _gobgp "$1" neighbor || return 1
  for p in $(of "$1" networks); do gobgp_announce "$1" "$p" || return 1; done
}

gobgp_state() {
  # The API's enumeration: 0 unknown, 1 idle, 2 connect, 3 active, 4 opensent, 5 openconfirm, 6 established.
  _gobgp_neighbor "$1" '(.state["session_state"] // .state["session-state"] // 0) | if . == 6 then "Established" else "\(.)" end' "${2:-}" | tr -d '"'
}

gobgp_route() {
  # Attribute types: 2 AS_PATH, 3 NEXT_HOP, 5 LOCAL_PREF, 8 COMMUNITIES, 9 ORIGINATOR_ID, 10 CLUSTER_LIST, 14 MP_REACH_NLRI, 16 EXTENDED, 32 LARGE.
  _gobgp "$1" -j global rib "$2" -a "$(_gobgp_family "$2")" 2>/dev/null | jq -c --arg prefix "$2" '
    def attr(t): (.attrs[] | select(.type == t));
    (if type == "object" then .[$prefix] // [] else . end)
    | map(select(((.["neighbor-ip"] // "") | test("^(<nil>|0\\.0\\.0\\.0|::|)$") | not)))[0] // empty
    | {
      as_path: ([attr(2).as_paths // [] | .[] | .asns[]] | map(tostring) | join(" ")),
      next_hop: ([attr(3).nexthop, attr(14).nexthop] | map(select(. != null))[0]),
      communities: [attr(8).communities[] | "\(. / 65536 | floor):\(. % 65536)"],
      large: [attr(32).value[] | "\(.ASN):\(.LocalData1):\(.LocalData2)"],
      ext: [attr(16).value[] | "rt:" + (.value // "")],
      local_pref: (([attr(5).value][0] // "") | tostring),
      originator: ([attr(9).value][0] // ""), clusters: ([attr(10).value][0] // []) }'
}

gobgp_count() {
  _gobgp "$1" -j neighbor "$(neighbor_address "$1" "${3:-}")" adj-in -a "ipv$2" 2>/dev/null | jq 'length'
}

gobgp_announce() {
  # Without a next hop GoBGP says 0.0.0.0, which it replaces by its own address on the session.
  _gobgp "$1" global rib add "$2" -a "$(_gobgp_family "$2")"
}
gobgp_withdraw() { _gobgp "$1" global rib del "$2" -a "$(_gobgp_family "$2")"; }

gobgp_shutdown() { _gobgp "$1" neighbor "$(neighbor_address "$1")" shutdown --reason "$2"; }
gobgp_enable() { _gobgp "$1" neighbor "$(neighbor_address "$1")" enable; }
gobgp_refresh() { _gobgp "$1" neighbor "$(neighbor_address "$1")" softresetin; }
gobgp_refreshes() { _gobgp_neighbor "$1" '.state.messages.received.refresh // 0'; }
gobgp_updates() { _gobgp_neighbor "$1" '.state.messages.received.update // 0'; }
gobgp_hold() { _gobgp_neighbor "$1" '.timers.state["negotiated-hold-time"] // .timers.state.negotiated_hold_time // 0'; }
gobgp_last_error() { tail -n 40 "${DIR[$1]}/gobgp.log"; }
