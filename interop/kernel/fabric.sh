# shellcheck shell=bash
# fabric.sh - two subnets, three nodes, a pod on each, for the stories whose packets go through real tunnels.
# Sourced after harness.sh, inside a kernel that has the drivers (see `run`).
#
#   pod-a   pod-b             pod-c        10.244.N.2, fd00:10:244:N::2; N is 1, 2, 3
#     |       |                 |
#     a       b                 c          172.31.1.11, 172.31.1.12, 172.31.2.13; fd00:31:1::11 ...
#      \     /                  |
#       br1 ------ router ---- br2         172.31.1.1, 172.31.2.1: no route to any pod
#
# The nodes run `dunlin` on one cluster file each, so that they can hear of a change at different times. With
# DUNLIN_REFERENCE=1 `ip` plays dunlin (KIND static): a story that fails then as well is not dunlin's fault.
#
# What always holds: the nodes' reverse path filter is strict and forwarding off to begin with, as on a hardened
# machine; what packets need of that is dunlin's to set. Neighbours on the underlay are permanent: no packet waits for ARP.

# shellcheck source=interop/kernel/static.sh
. "$INTEROP/kernel/static.sh"

NODES=(a b c)
PODS=(pod-a pod-b pod-c)
MODES=(none ipip ipip-cross-subnet vxlan vxlan-cross-subnet)
declare -gA NUMBER=([a]=1 [b]=2 [c]=3) SUBNET=([a]=1 [b]=1 [c]=2)
declare -gA MODE          # by node: what its cluster file says now
PROBE=${DUNLIN_PROBE:-${CARGO_TARGET_DIR:-$REPOSITORY/interop/bench/target}/release/dunlin-probe}

# ---------------------------------------------------------------------------------------------- names
#
# Tables and not functions: where a process is dear (30 ms each in user-mode-linux) a fork for every name would
# take longer than the packets.

declare -gA NODE_AT POD_AT BLOCK TUNNEL_AT VTEP_MAC   # by node and family: [a4], [c6]
declare -gA MAC=([a]=02:00:00:00:01:11 [b]=02:00:00:00:01:12 [c]=02:00:00:00:02:13)
declare -gA ROUTER_AT                                 # by subnet and family: [14], [26]
declare -gA DEVICE=([ipip4]=tunl0 [ipip6]=tunl6 [vxlan4]=vxlan.calico [vxlan6]=vxlan-v6.calico [bare4]=eth0 [bare6]=eth0)
# What the encapsulation takes of the MTU.
declare -gA OVERHEAD=([bare4]=0 [bare6]=0 [ipip4]=20 [ipip6]=40 [vxlan4]=50 [vxlan6]=70)
declare -gA WAY                                       # the mode table: [MODE.NODE.NODE] is bare, ipip or vxlan

_names() {
  local n other m s hash
  for s in 1 2; do ROUTER_AT[${s}4]=172.31.$s.1 ROUTER_AT[${s}6]=fd00:31:$s::1; done
  for n in "${NODES[@]}"; do
    s=${SUBNET[$n]}
    NODE_AT[${n}4]=172.31.$s.1${NUMBER[$n]} NODE_AT[${n}6]=fd00:31:$s::1${NUMBER[$n]}
    POD_AT[${n}4]=10.244.${NUMBER[$n]}.2 POD_AT[${n}6]=fd00:10:244:${NUMBER[$n]}::2
    BLOCK[${n}4]=10.244.${NUMBER[$n]}.0/26 BLOCK[${n}6]=fd00:10:244:${NUMBER[$n]}::/122
    # Where none is on record it is the block's first address.
    TUNNEL_AT[${n}4]=10.244.${NUMBER[$n]}.0 TUNNEL_AT[${n}6]=fd00:10:244:${NUMBER[$n]}::
    # Calico's rule: 66, then the first five bytes of SHA-1 of the node's name, with "-v6" after it for IPv6.
    hash=$(printf %s "$n" | sha1sum)
    VTEP_MAC[${n}4]=66:${hash:0:2}:${hash:2:2}:${hash:4:2}:${hash:6:2}:${hash:8:2}
    hash=$(printf %s "$n-v6" | sha1sum)
    VTEP_MAC[${n}6]=66:${hash:0:2}:${hash:2:2}:${hash:4:2}:${hash:6:2}:${hash:8:2}
    for other in "${NODES[@]}"; do
      for m in "${MODES[@]}"; do
        WAY[$m.$n.$other]=${m%-cross-subnet}
        case $m in
          none) WAY[$m.$n.$other]=bare ;;
          *-cross-subnet) [ "$s" != "${SUBNET[$other]}" ] || WAY[$m.$n.$other]=bare ;;
        esac
      done
    done
  done
}
_names

# ---------------------------------------------------------------------------------------------- wires

# fabric - the namespaces and the cables between them.
fabric() {
  local n kind=fabric
  [ -x "$PROBE" ] || missing "no dunlin-probe: cargo build --release --manifest-path interop/bench/Cargo.toml --bin dunlin-probe"
  command -v tcpdump > /dev/null || missing "no tcpdump: apt-get install tcpdump"
  [ -z "${DUNLIN_REFERENCE:-}" ] || kind=static
  node router "$kind"
  in_namespace router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
  for s in 1 2; do
    ip -n "${NS[router]}" -batch - <<BATCH
link add br$s address 02:00:00:00:0$s:01 type bridge
link set br$s up
addr add ${ROUTER_AT[${s}4]}/24 dev br$s
addr add ${ROUTER_AT[${s}6]}/64 dev br$s nodad
BATCH
  done
  for n in "${NODES[@]}"; do node "$n" "$kind"; node "pod-$n" none; done
  for n in "${NODES[@]}"; do _node_wires "$n"; _pod_wires "$n"; done
}

_node_wires() {
  local n=$1 s=${SUBNET[$1]} other
  in_namespace "$n" sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1
  ip link add eth0 netns "${NS[$n]}" address "${MAC[$n]}" type veth peer name "port-$n" netns "${NS[router]}"
  {
    echo "addr add ${NODE_AT[${n}4]}/24 dev eth0"
    echo "addr add ${NODE_AT[${n}6]}/64 dev eth0 nodad"
    echo "link set eth0 up"
    echo "route add default via ${ROUTER_AT[${s}4]}"
    echo "route add default via ${ROUTER_AT[${s}6]}"
    for af in 4 6; do
      echo "neigh add ${ROUTER_AT[${s}$af]} lladdr 02:00:00:00:0$s:01 dev eth0"
      for other in "${NODES[@]}"; do
        [ "$other" != "$n" ] && [ "${SUBNET[$other]}" = "$s" ] || continue
        echo "neigh add ${NODE_AT[${other}$af]} lladdr ${MAC[$other]} dev eth0"
      done
    done
  } | ip -n "${NS[$n]}" -batch -
  ip -n "${NS[router]}" -batch - <<BATCH
link set port-$n master br$s up
neigh add ${NODE_AT[${n}4]} lladdr ${MAC[$n]} dev br$s
neigh add ${NODE_AT[${n}6]} lladdr ${MAC[$n]} dev br$s
BATCH
}

_pod_wires() {
  local n=$1 near far
  near=02:00:00:00:0a:1${NUMBER[$n]} far=02:00:00:00:0b:1${NUMBER[$n]}
  ip link add cali0 netns "${NS[$n]}" address $near type veth peer name eth0 address $far netns "${NS[pod-$n]}"
  ip -n "${NS[$n]}" -batch - <<BATCH
addr add 169.254.1.1/32 dev cali0
addr add fe80::1/64 dev cali0 nodad
link set cali0 up
route add ${POD_AT[${n}4]}/32 dev cali0
route add ${POD_AT[${n}6]}/128 dev cali0
neigh add ${POD_AT[${n}4]} lladdr $far dev cali0
neigh add ${POD_AT[${n}6]} lladdr $far dev cali0
BATCH
  ip -n "${NS[pod-$n]}" -batch - <<BATCH
addr add ${POD_AT[${n}4]}/32 dev eth0
addr add ${POD_AT[${n}6]}/128 dev eth0 nodad
link set eth0 up
route add 169.254.1.1/32 dev eth0
route add default via 169.254.1.1 dev eth0
route add default via fe80::1 dev eth0
neigh add 169.254.1.1 lladdr $near dev eth0
neigh add fe80::1 lladdr $near dev eth0
BATCH
}

# router_routes - the underlay carries pod packets as they are, as a fabric that learned the blocks would.
router_routes() {
  local n
  for n in "${NODES[@]}"; do
    ip -n "${NS[router]}" route replace "${BLOCK[${n}4]}" via "${NODE_AT[${n}4]}"
    ip -n "${NS[router]}" -6 route replace "${BLOCK[${n}6]}" via "${NODE_AT[${n}6]}"
  done
}

# set_mtu BYTES - of the underlay and the pods.
set_mtu() {
  local n
  for n in "${NODES[@]}"; do
    printf 'link set %s mtu '"$1"'\n' eth0 cali0 | ip -n "${NS[$n]}" -batch -
    ip -n "${NS[pod-$n]}" link set eth0 mtu "$1"
  done
  printf 'link set %s mtu '"$1"'\n' "${NODES[@]/#/port-}" br1 br2 | ip -n "${NS[router]}" -batch -
}

# ---------------------------------------------------------------------------------------------- dunlin

# _pool_modes MODE - the two keys of a pool.
_pool_modes() {
  local ipip=Never vxlan=Never
  case $1 in
    ipip) ipip=Always ;;
    ipip-cross-subnet) ipip=CrossSubnet ;;
    vxlan) vxlan=Always ;;
    vxlan-cross-subnet) vxlan=CrossSubnet ;;
  esac
  printf 'ipip-mode = "%s"\nvxlan-mode = "%s"\n' $ipip $vxlan
}

# clusters - the text of the cluster file of each mode, in CLUSTER. With an argument the router is a node as well.
declare -gA CLUSTER
clusters() {
  local n mode nodes=
  for n in "${NODES[@]}"; do
    printf -v nodes '%s\n[[node]]\nname = "%s"\nipv4-address = "%s/24"\nipv6-address = "%s/64"\nblocks = ["%s", "%s"]\n' \
      "$nodes" "$n" "${NODE_AT[${n}4]}" "${NODE_AT[${n}6]}" "${BLOCK[${n}4]}" "${BLOCK[${n}6]}"
  done
  [ -z "${1:-}" ] || printf -v nodes '%s\n[[node]]\nname = "router"\nipv4-address = "%s/24"\nipv6-address = "%s/64"\n' \
    "$nodes" "${ROUTER_AT[14]}" "${ROUTER_AT[16]}"
  for mode in "${MODES[@]}"; do CLUSTER[$mode]=$(_pools "$mode"); CLUSTER[$mode]=${CLUSTER[$mode]%.}$nodes; done
}
_pools() {
  printf '[bgp]\nas-number = 64512\nhold-time = 9\n'
  printf '\n[[ip-pool]]\ncidr = "10.244.0.0/16"\n'; _pool_modes "$1"
  printf '\n[[ip-pool]]\ncidr = "fd00:10:244::/48"\n'; _pool_modes "$1"
  printf '.'   # $() takes the line's end
}

# tell NODE MODE - that node's cluster file now says so; the daemon sees it change.
tell() {
  MODE[$1]=$2
  printf '%s' "${CLUSTER[$2]}" > "${DIR[$1]}/cluster.new"
  mv "${DIR[$1]}/cluster.new" "${DIR[$1]}/cluster.toml"
  [ -z "${SET["$1.static"]:-}" ] || static_apply "$1"
}

# Settings of a node: routing, lines of [routing] as they stand in the file.
fabric_config() {
  [ -n "${MODE[$1]:-}" ] || MODE[$1]=none
  tell "$1" "${MODE[$1]}"
  cat > "${DIR[$1]}/dunlin.toml" <<TOML
[node]
name = "$1"

[datastore]
kind = "file"
path = "${DIR[$1]}/cluster.toml"

[routing]
$(of "$1" routing)

[control]
socket = "${DIR[$1]}/run/dunlin.sock"

[log]
level = "debug"

[process]
user = "$DUNLIN_USER"
TOML
  "$DUNLIN" check --offline --config "${DIR[$1]}/dunlin.toml" > "${DIR[$1]}/check.log" 2>&1 || fail "dunlin does not take its configuration"
}
fabric_start() { dunlin_start "$1"; }
fabric_ready() { dunlin_ready "$1"; }

# daemons up|down [NODE...] - starts them all, or stops them.
daemons_up() { local n; for n in "${@:-${NODES[@]}}"; do start "$n"; done; }
daemons_down() { local n; for n in "${@:-${NODES[@]}}"; do stop "$n"; done; }

# routes_of NODE AF - what dunlin has in that kernel, a line each.
routes_of() { ip -n "${NS[$1]}" "-$2" route show proto 179; }

# settled MODE - every node's kernel has what the mode table says.
settled() {
  local from to af routes route
  for from in "${NODES[@]}"; do
    for af in 4 6; do
      routes=$(routes_of "$from" $af)
      for to in "${NODES[@]}"; do
        [ "$from" != "$to" ] || continue
        route=${routes#*"${BLOCK[$to$af]} "}
        [ "$route" != "$routes" ] || return 1
        [[ ${route%%$'\n'*} == *" dev ${DEVICE[${WAY[$1.$from.$to]}$af]} "* ]] || return 1
      done
    done
  done
}

# clean_kernel - what dunlin left in the nodes, away: the next mode begins with nothing.
clean_kernel() {
  local n d
  for n in "${NODES[@]}" router; do
    ip -n "${NS[$n]}" route flush proto 179
    ip -n "${NS[$n]}" -6 route flush proto 179
    ip -n "${NS[$n]}" -force -batch - 2> /dev/null <<BATCH || true
link del tunl6
link del vxlan.calico
link del vxlan-v6.calico
addr flush dev tunl0
link set tunl0 down alias ""
BATCH
  done
  forget_mtu
}
# forget_mtu - the pods forget what they have been told of path MTUs.
forget_mtu() {
  local n
  for n in "${PODS[@]}"; do ip -n "${NS[$n]}" route flush cache; ip -n "${NS[$n]}" -6 route flush cache; done
}

# ---------------------------------------------------------------------------------------------- traffic

# flows PAIR... - both directions and both families (or those in FAMILIES) of each pair (a-c), as options of
# dunlin-probe in FLOWS.
flows() {
  local pair af from to
  FLOWS=()
  for pair in "$@"; do
    for af in ${FAMILIES:-4 6}; do
      for from in "${pair%-*}" "${pair#*-}"; do
        to=${pair#*-}
        [ "$from" != "$to" ] || to=${pair%-*}
        FLOWS+=(--flow "$from-$to-ipv$af,${NS[pod-$from]},${POD_AT[$from$af]},${NS[pod-$to]},${POD_AT[$to$af]}")
      done
    done
  done
}

# traffic_start NAME [OPTION...] - dunlin-probe in the background, its report in $WORK/NAME.json; its stdin is the
# descriptor $TRAFFIC.
traffic_start() {
  TRAFFIC_REPORT=$WORK/$1.json
  shift
  mkfifo "$TRAFFIC_REPORT.stdin"
  "$PROBE" traffic --json "$TRAFFIC_REPORT" "$@" < "$TRAFFIC_REPORT.stdin" > "$TRAFFIC_REPORT.log" 2>&1 &
  TRAFFIC_PID=$!
  exec {TRAFFIC}> "$TRAFFIC_REPORT.stdin"
}
traffic_phase() { echo "phase $*" >&"$TRAFFIC"; }
traffic_end() {
  echo end >&"$TRAFFIC"
  exec {TRAFFIC}>&-
  wait "$TRAFFIC_PID" || fail "dunlin-probe: $(cat "$TRAFFIC_REPORT.log")"
}

# losses FILE - a line for each flow and phase that lost something; nothing if none did.
losses() {
  jq -r '.phases[] | .phase as $phase | .flows[] | select(.lost > 0)
    | "\($phase): \(.flow) lost \(.lost) of \(.sent), sent at \([.["lost-ranges"][] | "\(.["sent-from-ms"])-\(.["sent-to-ms"])"] | join(", ")) ms"' "$1"
  jq -r '.ends[] | select((.["icmp-errors"] + .refused | length > 0) or .["receiver-overflow"] > 0)
    | "\(.flow): errors \(.["icmp-errors"]), refused \(.refused), receiver too slow for \(.["receiver-overflow"])"' "$1"
}

# no_losses WHAT [RATE] - of the last traffic, or the story fails. What a busy machine could not send in its second
# it sends later; below RATE a second (0) that says too little.
no_losses() {
  local lost
  lost=$(losses "$TRAFFIC_REPORT")
  [ -z "$lost" ] || fail "$1: $lost"
  is_true --argjson least "${2:-0}" '.sent / (.ends | length) / .seconds >= $least' "$TRAFFIC_REPORT" ||
    fail "$1: this machine is too slow: $(jq -c '{rate, sent, seconds, flows: (.ends | length)}' "$TRAFFIC_REPORT")"
  step "ok   $1: $(jq -r '"\(.received) of \(.sent) packets arrived, \(.duplicated) twice; \(.sent / (.ends | length) / .seconds | round) a second in each of \(.ends | length) flows; the longest gap \([.phases[].flows[]["longest-gap-ms"]] | max) ms"' "$TRAFFIC_REPORT")"
}
