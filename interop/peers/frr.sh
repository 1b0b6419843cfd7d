# shellcheck shell=bash
# FRR, Debian's frr: zebra and bgpd, no watchfrr. The verbs are described in peers/README.md.

frr_root() { :; }
frr_available() { [ -x /usr/lib/frr/bgpd ] && [ -x /usr/bin/vtysh ]; }
frr_hint() { echo "apt-get install --no-install-recommends frr"; }
frr_version() { /usr/lib/frr/bgpd --version | sed -n 's/^bgpd version //p'; }

frr_config() {
  local n=$1 name local remote as flags family p value
  {
    printf 'hostname %s\nlog stdout informational\n' "$n"
    printf 'debug bgp neighbor-events\n'
    printf 'router bgp %s\n' "$(of "$n" as)"
    printf ' bgp router-id %s\n' "$(of "$n" router-id)"
    [ -z "$(of "$n" cluster-id)" ] || printf ' bgp cluster-id %s\n' "$(of "$n" cluster-id)"
    printf ' no bgp ebgp-requires-policy\n no bgp network import-check\n no bgp default ipv4-unicast\n'
    # A refresh is answered in full, even where nothing has changed since.
    printf ' no bgp suppress-duplicates\n'
    printf ' bgp log-neighbor-changes\n'
    [ -z "$(of "$n" router-extra)" ] || printf '%s\n' "$(of "$n" router-extra)"
    [ -z "$(of "$n" graceful)" ] || printf ' bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n'
    while read -r name local remote as flags; do _frr_neighbor_lines "$n" "$local" "$remote" "$as" "$flags"; done < <(neighbors_of "$n")
    for family in 4 6; do
      printf ' address-family ipv%s unicast\n' "$family"
      for p in $(of "$n" networks); do _of_family "$family" "$p" && printf '  network %s\n' "$p"; done
      [ "$family" = 6 ] || [ -z "$(of "$n" table)" ] || sed -n 's/^route \(.*\) blackhole;/  network \1/p' "$(of "$n" table)"
      case " $(of "$n" families) " in *" $family "*)
        while read -r name local remote as flags; do
          ! value=$(flag "$flags" family) || [ "$value" = "$family" ] || continue
          printf '  neighbor %s activate\n' "$remote"
          [ -z "$(of "$n" prepend)" ] || printf '  neighbor %s route-map outward out\n' "$remote"
          ! flag "$flags" client > /dev/null || printf '  neighbor %s route-reflector-client\n' "$remote"
          ! flag "$flags" next-hop-self > /dev/null || printf '  neighbor %s next-hop-self\n' "$remote"
          ! flag "$flags" add-path > /dev/null || printf '  neighbor %s addpath-tx-all-paths\n' "$remote"
        done < <(neighbors_of "$n")
        ;;
      esac
      printf ' exit-address-family\n'
    done
    printf 'exit\n'
    [ -z "$(of "$n" prepend)" ] || printf 'route-map outward permit 10\n set as-path prepend %s\nexit\n' "$(of "$n" prepend)"
  } > "${DIR[$n]}/bgpd.conf"
}

_frr_neighbor_lines() {
  local n=$1 local=$2 remote=$3 as=$4 flags=$5 value
  # Whoever is on a link, by its link-local address.
  case $remote in
    *[.:]*) printf ' neighbor %s remote-as %s\n' "$remote" "$as" ;;
    *) printf ' neighbor %s interface remote-as %s\n' "$remote" "$as" ;;
  esac
  printf ' neighbor %s timers %s %s\n' "$remote" "$(($(of "$n" hold 90) / 3))" "$(of "$n" hold 90)"
  printf ' neighbor %s timers connect 1\n' "$remote"
  # Without it a connection that fails is tried again only after BGP's advertisement interval.
  printf ' neighbor %s advertisement-interval 0\n' "$remote"
  [ -z "$(of "$n" passive)" ] || printf ' neighbor %s passive\n' "$remote"
  # FRR has no switch for the 4-octet AS capability alone: an old speaker sends no capability at all.
  [ -z "$(of "$n" as2)" ] || printf ' neighbor %s dont-capability-negotiate\n' "$remote"
  if value=$(flag "$flags" ttl-security); then printf ' neighbor %s ttl-security hops %s\n' "$remote" "$value"
  elif value=$(flag "$flags" multihop); then
    printf ' neighbor %s ebgp-multihop %s\n neighbor %s update-source %s\n' "$remote" "$value" "$remote" "$local"
  fi
  ! value=$(flag "$flags" password) || printf ' neighbor %s password %s\n' "$remote" "$value"
  ! flag "$flags" bfd > /dev/null || printf ' neighbor %s bfd 5 300 300\n' "$remote"
  ! value=$(flag "$flags" role) || printf ' neighbor %s local-role %s\n' "$remote" "$value"
}

# _of_family AF PREFIX
_of_family() { case $1$2 in 4*:*) return 1 ;; 4* | 6*:*) return 0 ;; *) return 1 ;; esac; }

frr_start() {
  # shellcheck disable=SC2016  # expanded inside
  spawn "$1" frr.log "$("${KIND[$1]}_root")" sh -c '
    /usr/lib/frr/zebra -d -i /run/frr/zebra.pid
    [ ! -x /usr/lib/frr/mgmtd ] || /usr/lib/frr/mgmtd -d -i /run/frr/mgmtd.pid
    ! grep -q "^ neighbor .* bfd " "$1/bgpd.conf" || /usr/lib/frr/bfdd -d -i /run/frr/bfdd.pid
    [ -z "$2" ] || ulimit -n "$2"
    exec /usr/lib/frr/bgpd $3 --log stdout -f "$1/bgpd.conf" -i /run/frr/bgpd.pid' sh "${DIR[$1]}" "$(of "$1" files)" \
    "$([ "$(of "$1" kernel-routes)" != false ] || echo --no_kernel)"
}

_vtysh() { local n=$1; shift; inside "$n" /usr/bin/vtysh "$@" 2>/dev/null; }
# _frr_neighbor NODE FILTER [NEIGHBOUR]
_frr_neighbor() {
  local a
  a=$(neighbor_address "$1" "${3:-}")
  _vtysh "$1" -c "show bgp neighbors $a json" | jq -c --arg a "$a" ".[\$a] | $2"
}

frr_ready() { _vtysh "$1" -c 'show bgp neighbors json' | is_true 'length > 0'; }
frr_state() { _frr_neighbor "$1" .bgpState "${2:-}" | tr -d '"'; }

frr_route() {
  local af=4
  [[ $2 == *:* ]] && af=6
  _vtysh "$1" -c "show bgp ipv$af unicast $2 json" | jq -c '
    (.paths // [])[] | select(.bestpath.overall == true) | select(.peer.peerId != null) | {
      as_path: (.aspath.string | if . == "Local" then "" else . end),
      next_hop: ([.nexthops[] | select(.scope != "link-local")][0].ip),
      communities: (.community.list // []),
      large: (.largeCommunity.list // []),
      ext: ((.extendedCommunity.string // "") | ascii_downcase / " " | map(select(. != ""))),
      local_pref: ((.locPrf // .localPref // "") | tostring),
      originator: (.originatorId // ""), clusters: (.clusterList.list // []) }'
}

frr_count() {
  _frr_neighbor "$1" ".addressFamilyInfo.ipv${2}Unicast.acceptedPrefixCounter // 0" "${3:-}"
}

_frr_configure() {
  local n=$1 af=4 line=$2
  [[ $3 == *:* ]] && af=6
  _vtysh "$n" -c 'configure terminal' -c "router bgp $(of "$n" as)" -c "address-family ipv$af unicast" -c "$line $3"
}
frr_announce() { _frr_configure "$1" network "$2"; }
frr_withdraw() { _frr_configure "$1" "no network" "$2"; }

frr_shutdown() {
  _vtysh "$1" -c 'configure terminal' -c "router bgp $(of "$1" as)" -c "neighbor $(neighbor_address "$1") shutdown message $2"
}
frr_enable() {
  _vtysh "$1" -c 'configure terminal' -c "router bgp $(of "$1" as)" -c "no neighbor $(neighbor_address "$1") shutdown"
}
frr_refresh() { _vtysh "$1" -c "clear bgp $(neighbor_address "$1") soft in"; }
frr_refreshes() { _frr_neighbor "$1" .messageStats.routeRefreshRecv; }
frr_updates() { _frr_neighbor "$1" .messageStats.updatesRecv; }
frr_hold() { _frr_neighbor "$1" '(.bgpTimerHoldTimeMsecs // 0) / 1000'; }
frr_last_error() { _frr_neighbor "$1" .; tail -n 40 "${DIR[$1]}/frr.log"; }
