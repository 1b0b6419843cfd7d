# shellcheck shell=bash
# OpenBGPD, Debian's openbgpd (the portable one: it keeps no kernel routes). The verbs are described in
# peers/README.md.

openbgpd_root() { :; }
openbgpd_available() { command -v bgpctl >/dev/null && [ -x /usr/sbin/bgpd ]; }
openbgpd_hint() { echo "apt-get install --no-install-recommends openbgpd"; }
openbgpd_version() { bgpd -V 2>&1 | sed 's/OpenBGPD *//'; }

openbgpd_config() {
  local n=$1 p name local remote as flags
  {
    printf 'AS %s\nrouter-id %s\nfib-update no\n' "$(of "$n" as)" "$(of "$n" router-id)"
    printf 'socket "%s/bgpd.sock"\n' "${DIR[$n]}"
    neighbors_of "$n" | awk '!seen[$2]++ { print "listen on " $2 }'
    for p in $(of "$n" networks); do printf 'network %s\n' "$p"; done
    while read -r name local remote as flags; do _openbgpd_neighbor_block "$n" "$name" "$local" "$remote" "$as" "$flags"; done < <(neighbors_of "$n")
    printf 'allow from any\nallow to any\n'
  } > "${DIR[$n]}/bgpd.conf"
  chmod 600 "${DIR[$n]}/bgpd.conf"
}

_openbgpd_neighbor_block() {
  local n=$1 name=$2 local=$3 remote=$4 as=$5 flags=$6 family value
  printf 'neighbor %s {\n  remote-as %s\n  local-address %s\n  descr %s\n' "$remote" "$as" "$local" "$name"
  # Zero can't be configured: with "holdtime 0" refused, the default is offered and the smaller one wins.
  [ "$(of "$n" hold 90)" = 0 ] || printf '  holdtime %s\n' "$(of "$n" hold 90)"
  [ -z "$(of "$n" passive)" ] || printf '  passive\n'
  [ -z "$(of "$n" as2)" ] || printf '  announce as-4byte no\n'
  ! flag "$flags" client > /dev/null || printf '  route-reflector %s\n' "$(of "$n" cluster-id)"
  if flag "$flags" ttl-security > /dev/null; then printf '  ttl-security yes\n'
  elif value=$(flag "$flags" multihop); then printf '  multihop %s\n' "$value"; fi
  ! value=$(flag "$flags" password) || printf '  tcp md5sig password %s\n' "$value"
  for family in 4 6; do
    case " $(of "$n" families) " in
      *" $family "*) printf '  announce IPv%s unicast\n' "$family" ;;
      *) printf '  announce IPv%s none\n' "$family" ;;
    esac
  done
  printf '}\n'
}

openbgpd_start() { spawn "$1" openbgpd.log "$(openbgpd_root)" bgpd -d -v -f "${DIR[$1]}/bgpd.conf"; }

_bgpctl() { local n=$1; shift; inside "$n" bgpctl -s "${DIR[$n]}/bgpd.sock" "$@"; }
# _openbgpd_neighbor NODE FILTER [NEIGHBOUR]
_openbgpd_neighbor() { _bgpctl "$1" -j show neighbor "$(neighbor_address "$1" "${3:-}")" | jq -c ".neighbors[0] | $2"; }

# Ready is: it answers, and has been told its bulk. (In its file 100,000 networks take it seven minutes to start.)
openbgpd_ready() {
  local n=$1
  _bgpctl "$n" show || return 1
  [ -z "$(of "$n" table)" ] || [ -e "${DIR[$n]}/told" ] || {
    sed -n 's/^route \(.*\) blackhole;/\1/p' "$(of "$n" table)" | _bgpctl "$n" network bulk add || return 1
    touch "${DIR[$n]}/told"
  }
}
openbgpd_state() { _openbgpd_neighbor "$1" .state "${2:-}" | tr -d '"'; }

openbgpd_route() {
  _bgpctl "$1" -j show rib detail "$2" | jq -c '
    (.rib // [])[] | select(.best == true) | select(.origin != null) | select(.source != "local" and (.neighbor.remote_addr // "") != "") | {
      as_path: .aspath, next_hop: .exit_nexthop,
      communities: (.communities // []), large: (.large_communities // []),
      ext: ((.extended_communities // []) | map(ascii_downcase | gsub(" "; ":"))),
      local_pref: ((.localpref // "") | tostring),
      originator: ([(.attributes // [])[].originator // empty][0] // ""),
      clusters: ([(.attributes // [])[].cluster_list // empty][0] // []) }'
}

openbgpd_count() { _openbgpd_neighbor "$1" '.stats.prefixes.received // 0' "${3:-}"; }
openbgpd_announce() { _bgpctl "$1" network add "$2"; }
openbgpd_withdraw() { _bgpctl "$1" network delete "$2"; }
openbgpd_shutdown() { _bgpctl "$1" neighbor "$(neighbor_address "$1")" down "$2"; }
openbgpd_enable() { _bgpctl "$1" neighbor "$(neighbor_address "$1")" up; }
openbgpd_reset() { _bgpctl "$1" neighbor "$(neighbor_address "$1")" clear; }
openbgpd_refresh() { _bgpctl "$1" neighbor "$(neighbor_address "$1")" refresh; }
openbgpd_refreshes() { _openbgpd_neighbor "$1" '.stats["route-refresh"].received.request // .stats.message.received.route_refresh // 0'; }
openbgpd_updates() { _openbgpd_neighbor "$1" '.stats.message.received.updates // 0'; }
openbgpd_hold() { _openbgpd_neighbor "$1" '.session.holdtime'; }
openbgpd_last_error() { _bgpctl "$1" show neighbor "$(neighbor_address "$1")"; tail -n 40 "${DIR[$1]}/openbgpd.log"; }
