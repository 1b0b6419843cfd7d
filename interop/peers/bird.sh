# shellcheck shell=bash
# BIRD 2, Debian's bird2. The verbs are described in peers/README.md.

bird_root() { :; }
bird_available() { [ -x /usr/sbin/bird ]; }
bird_hint() { echo "apt-get install --no-install-recommends bird2"; }
bird_version() { bird --version 2>&1 | sed 's/BIRD version //'; }

bird_config() {
  local n=$1 dir=${DIR[$1]} name local remote as flags family
  _bird_networks "$n"
  {
    printf 'router id %s;\n' "$(of "$n" router-id)"
    printf 'log stderr all;\n'
    # A line a packet would be the most of BIRD's work with a large table.
    if [ -n "$(of "$n" table)" ]; then printf 'debug protocols { states, events };\n'
    else printf 'debug protocols { states, events, packets };\n'; fi
    printf 'protocol device { scan time 10; }\n'
    for family in 4 6; do
      # BIRD reads `include` only at the start of a line.
      printf 'protocol static networks%s { ipv%s;\ninclude "%s/networks%s.conf";\n}\n' $family $family "$dir" $family
    done
    [ -z "$(of "$n" table)" ] || printf 'protocol static bulk { ipv4;\ninclude "%s";\n}\n' "$(of "$n" table)"
    [ -z "$(of "$n" radv)" ] || printf 'protocol radv { interface "%s" { min ra interval 3; max ra interval 4; }; }\n' "$(of "$n" radv)"
    [ -z "$(of "$n" extra)" ] || printf '%s\n' "$(of "$n" extra)"
    _bird_export_filter "$n"
    while read -r name local remote as flags; do
      _bird_protocol "$n" "$name" "$local" "$remote" "$as" "$flags"
    done < <(neighbors_of "$n")
  } > "$dir/bird.conf"
}

_bird_export_filter() {
  local n=$1 c
  printf 'filter outward {\n'
  for c in $(of "$n" communities); do printf '  bgp_community.add((%s));\n' "${c/:/,}"; done
  for c in $(of "$n" large); do printf '  bgp_large_community.add((%s));\n' "${c//:/,}"; done
  for c in $(of "$n" ext); do printf '  bgp_ext_community.add((%s));\n' "${c//:/,}"; done
  for c in $(of "$n" prepend); do printf '  bgp_path.prepend(%s);\n' "$c"; done
  [ -z "$(of "$n" next-hop)" ] || printf '  bgp_next_hop = %s;\n' "$(of "$n" next-hop)"
  printf '  accept;\n}\n'
}

_bird_protocol() {
  local n=$1 name=$2 local=$3 remote=$4 as=$5 flags=${6:-} family value
  printf 'protocol bgp %s {\n' "$name"
  printf '  local %s as %s;\n  neighbor %s as %s;\n' "$local" "$(of "$n" as)" "$remote" "$as"
  printf '  connect delay time 1; connect retry time 1; error wait time 1, 2;\n'
  printf '  hold time %s;\n' "$(of "$n" hold 90)"
  [ -z "$(of "$n" passive)" ] || printf '  passive yes;\n'
  [ -z "$(of "$n" no-restart)" ] || printf '  graceful restart off;\n'
  [ -z "$(of "$n" graceful)" ] || printf '  graceful restart on;\n'
  [ -z "$(of "$n" as2)" ] || printf '  enable as4 no;\n'
  if flag "$flags" client > /dev/null; then
    printf '  rr client;\n'
    [ -z "$(of "$n" cluster-id)" ] || printf '  rr cluster id %s;\n' "$(of "$n" cluster-id)"
  fi
  if value=$(flag "$flags" ttl-security); then
    [ "$value" = 1 ] || printf '  multihop %s;\n' "$value"
    printf '  ttl security on;\n'
  elif value=$(flag "$flags" multihop); then printf '  multihop %s;\n' "$value"; fi
  ! value=$(flag "$flags" password) || printf '  password "%s";\n' "$value"
  ! value=$(flag "$flags" role) || printf '  local role %s;\n' "${value//-/_}"
  # Between two of one AS there are routers for BIRD, unless it is told.
  ! flag "$flags" direct > /dev/null || printf '  direct;\n'
  ! flag "$flags" bfd > /dev/null || printf '  bfd on;\n'
  ! flag "$flags" extended-messages > /dev/null || printf '  enable extended messages yes;\n'
  for family in $(of "$n" families); do
    ! value=$(flag "$flags" family) || [ "$value" = "$family" ] || continue
    # Everything goes out, our neighbours' routes too: the reference for dunlin is a transit.
    printf '  ipv%s { import all; export filter outward;' "$family"
    [ "$(of "$n" as)" = "$as" ] && [ -n "$(of "$n" next-hop-self)" ] && printf ' next hop self;'
    ! flag "$flags" next-hop-self > /dev/null || printf ' next hop self;'
    [ "$family" = 6 ] || ! flag "$flags" extended-next-hop > /dev/null || printf ' extended next hop yes;'
    ! flag "$flags" add-path > /dev/null || printf ' add paths yes;'
    printf ' };\n'
  done
  printf '}\n'
}

_bird_networks() {
  local n=$1 p four six
  four=${DIR[$n]}/networks4.conf six=${DIR[$n]}/networks6.conf
  : > "$four"; : > "$six"
  for p in $(of "$n" networks); do
    case $p in *:*) printf 'route %s blackhole;\n' "$p" >> "$six" ;; *) printf 'route %s blackhole;\n' "$p" >> "$four" ;; esac
  done
}

# With `files` set the daemon may have so many open.
bird_start() {
  local files
  files=$(of "$1" files)
  # shellcheck disable=SC2016  # expanded there
  spawn "$1" bird.log "$("${KIND[$1]}_root")" ${files:+bash -c 'ulimit -n "$0" && exec "$@"' "$files"} \
    /usr/sbin/bird -f -c "${DIR[$1]}/bird.conf" -s "${DIR[$1]}/bird.ctl"
}

_birdc() { local n=$1; shift; inside "$n" /usr/sbin/birdc -s "${DIR[$n]}/bird.ctl" "$@"; }

bird_ready() { _birdc "$1" show status | grep 'up and running' > /dev/null; }

bird_state() { _birdc "$1" show protocols "${2:-dut}" | awk '$2 == "BGP" { print ($6 == "" ? "Idle" : $6) }'; }

# BIRD 2 says BGP.as_path, BIRD 3 bgp_path.
bird_route() {
  local text
  text=$(_birdc "$1" show route "$2" primary all)
  grep -qE '^[[:space:]]*(BGP\.|bgp_)?(as_)?path:|BGP.origin' <<< "$text" || return 0
  awk '
    function tuple(s) { gsub(/, */, ":", s); gsub(/[()]/, "", s); return s }
    {
      key = $1; sub(/:$/, "", key); sub(/^(BGP\.|bgp_)/, "", key)
      value = $0; sub(/^[^:]*:[ \t]*/, "", value)
    }
    key == "as_path" || key == "path" { path = value }
    key == "next_hop" { split(value, hop, " "); next_hop = hop[1] }
    key == "local_pref" { pref = value }
    key == "community" { std = tuple(value) }
    key == "large_community" { large = tuple(value) }
    key == "ext_community" { ext = tuple(value) }
    key == "originator_id" { originator = value }
    key == "cluster_list" { clusters = value }
    END { printf "%s\n%s\n%s\n%s\n%s\n%s\n%s\n%s\n", path, next_hop, std, large, ext, pref, originator, clusters }' <<< "$text" |
    jq -cRn '[inputs] | { as_path: .[0], next_hop: .[1], communities: (.[2] / " " | map(select(. != ""))),
      large: (.[3] / " " | map(select(. != ""))), ext: (.[4] / " " | map(select(. != ""))), local_pref: .[5],
      originator: .[6], clusters: (.[7] / " " | map(select(. != ""))) }'
}

bird_count() { _birdc "$1" show route table "master$2" protocol "${3:-dut}" count | sed -n 's/^\([0-9]*\) of.*/\1/p'; }

bird_announce() { set_node "$1" networks="$(of "$1" networks) $2"; _bird_networks "$1"; _birdc "$1" configure; }

bird_withdraw() {
  set_node "$1" networks="$(of "$1" networks | tr ' ' '\n' | grep -vxF "$2" | tr '\n' ' ')"
  _bird_networks "$1"
  _birdc "$1" configure
}

bird_shutdown() { _birdc "$1" disable "${3:-dut}" "\"$2\""; }
bird_enable() { _birdc "$1" enable "${2:-dut}"; }
bird_refresh() { _birdc "$1" reload in "${2:-dut}"; }

# BIRD keeps no count of refreshes: its event log says each.
bird_refreshes() { grep -c 'Got ROUTE-REFRESH' "${DIR[$1]}/bird.log" || true; }
bird_updates() { _birdc "$1" show protocols all "${2:-dut}" | awk '/Import updates:/ { n += $3 } END { print n + 0 }'; }
bird_hold() { _birdc "$1" show protocols all "${2:-dut}" | sed -n 's|.*Hold timer: *[0-9.]*/\([0-9]*\).*|\1|p' | grep . || echo 0; }
bird_last_error() { _birdc "$1" show protocols all "${2:-dut}" | grep -E 'Last error|Message' || true; grep '<RMT>' "${DIR[$1]}/bird.log" || true; }
