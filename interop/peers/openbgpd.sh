# shellcheck shell=bash
# OpenBGPD, Debian's openbgpd (the portable one: it keeps no kernel routes). The verbs are described in
# peers/README.md.

openbgpd_root() { :; }
openbgpd_available() { command -v bgpctl >/dev/null && [ -x /usr/sbin/bgpd ]; }
openbgpd_hint() { echo "apt-get install --no-install-recommends openbgpd"; }
openbgpd_version() { bgpd -V 2>&1 | sed 's/OpenBGPD *//'; }

openbgpd_config() {
  local n=$1 p family
  {
    printf 'AS %s\nrouter-id %s\nfib-update no\n' "$(of "$n" as)" "$(of "$n" router-id)"
    printf 'socket "%s/bgpd.sock"\n' "${DIR[$n]}"
    [ -n "$(of "$n" passive)" ] || printf 'listen on %s\n' "$(of "$n" local)"
    [ -z "$(of "$n" passive)" ] || printf 'listen on %s\n' "$(of "$n" local)"
    for p in $(of "$n" networks); do printf 'network %s\n' "$p"; done
    printf 'neighbor %s {\n  remote-as %s\n  local-address %s\n  descr dut\n' \
      "$(of "$n" remote)" "$(of "$n" remote-as)" "$(of "$n" local)"
    # Zero can't be configured: with "holdtime 0" refused, the default is offered and the smaller one wins.
    [ "$(of "$n" hold 90)" = 0 ] || printf '  holdtime %s\n' "$(of "$n" hold 90)"
    [ -z "$(of "$n" passive)" ] || printf '  passive\n'
    [ -z "$(of "$n" as2)" ] || printf '  announce as-4byte no\n'
    for family in 4 6; do
      case " $(of "$n" families) " in
        *" $family "*) printf '  announce IPv%s unicast\n' "$family" ;;
        *) printf '  announce IPv%s none\n' "$family" ;;
      esac
    done
    printf '}\nallow from any\nallow to any\n'
  } > "${DIR[$n]}/bgpd.conf"
  chmod 600 "${DIR[$n]}/bgpd.conf"
}

openbgpd_start() { spawn "$1" openbgpd.log "$(openbgpd_root)" bgpd -d -v -f "${DIR[$1]}/bgpd.conf"; }

_bgpctl() { local n=$1; shift; inside "$n" bgpctl -s "${DIR[$n]}/bgpd.sock" "$@"; }
_openbgpd_neighbor() { _bgpctl "$1" -j show neighbor "$(of "$1" remote)" | jq -c ".neighbors[0] | $2"; }

# Ready is: it answers, and has been told its bulk. (In its file 100,000 networks take it seven minutes to start.)
openbgpd_ready() {
  local n=$1
  _bgpctl "$n" show || return 1
  [ -z "$(of "$n" table)" ] || [ -e "${DIR[$n]}/told" ] || {
    sed -n 's/^route \(.*\) blackhole;/\1/p' "$(of "$n" table)" | _bgpctl "$n" network bulk add || return 1
    touch "${DIR[$n]}/told"
  }
}
openbgpd_state() { _openbgpd_neighbor "$1" .state | tr -d '"'; }

openbgpd_route() {
  _bgpctl "$1" -j show rib detail "$2" | jq -c '
    (.rib // [])[] | select(.best == true) | select(.origin != null) | select(.source != "local" and (.neighbor.remote_addr // "") != "") | {
      as_path: .aspath, next_hop: .exit_nexthop,
      communities: (.communities // []), large: (.large_communities // []),
      ext: ((.extended_communities // []) | map(ascii_downcase | gsub(" "; ":"))),
      local_pref: ((.localpref // "") | tostring) }'
}

openbgpd_count() { _openbgpd_neighbor "$1" '.stats.prefixes.received // 0'; }
openbgpd_announce() { _bgpctl "$1" network add "$2"; }
openbgpd_withdraw() { _bgpctl "$1" network delete "$2"; }
openbgpd_shutdown() { _bgpctl "$1" neighbor "$(of "$1" remote)" down "$2"; }
openbgpd_enable() { _bgpctl "$1" neighbor "$(of "$1" remote)" up; }
openbgpd_reset() { _bgpctl "$1" neighbor "$(of "$1" remote)" clear; }
openbgpd_refresh() { _bgpctl "$1" neighbor "$(of "$1" remote)" refresh; }
openbgpd_refreshes() { _openbgpd_neighbor "$1" '.stats["route-refresh"].received.request // .stats.message.received.route_refresh // 0'; }
openbgpd_updates() { _openbgpd_neighbor "$1" '.stats.message.received.updates // 0'; }
openbgpd_hold() { _openbgpd_neighbor "$1" '.session.holdtime'; }
openbgpd_last_error() { _bgpctl "$1" show neighbor "$(of "$1" remote)"; tail -n 40 "${DIR[$1]}/openbgpd.log"; }
