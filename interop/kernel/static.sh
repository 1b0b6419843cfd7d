# shellcheck shell=bash
# static.sh - `ip` in dunlin's place, for DUNLIN_REFERENCE=1: it tells a fault of a story from one of dunlin's. Sourced by
# fabric.sh. It knows nothing but the mode of a node, does what dunlin should do in the order in which it should,
# and repairs nothing.

static_config() { [ -n "${MODE[$1]:-}" ] || MODE[$1]=none; set_node "$1" static=1 started=; tell "$1" "${MODE[$1]}"; }
static_start() {
  # Something has to live there, for the harness to see that it does.
  setsid ip netns exec "${NS[$1]}" sleep infinity < /dev/null > /dev/null 2>&1 &
  PID[$1]=$!
  disown
}
static_ready() { :; }

# static_apply NODE - devices at once; routes are replaced when every node has had the time to make its devices, which
# is what dunlin waits for, too. Nothing is removed.
static_apply() {
  [ "$1" != router ] || { router_routes; return; }
  _static_devices "$1"
  if [ -n "${SET["$1.started"]:-}" ]; then (sleep "${STATIC_HOLD:-10}"; _static_routes "$1") & else _static_routes "$1"; fi
  set_node "$1" started=1
}

_static_devices() {
  local n=$1 af mode=${MODE[$1]}
  in_namespace "$n" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.eth0.rp_filter=2
  for af in 4 6; do
    case $mode in
      ipip*) _static_ipip "$n" $af | _batch ip "$n" -$af ;;
      vxlan*)
        _static_vxlan "$n" $af | _batch ip "$n" -$af
        _static_fdb "$n" $af | _batch bridge "$n" ;;
    esac
    # While nodes switch at different times, packets come by another device than answers leave.
    case $mode$af in
      ipip*4) in_namespace "$n" sysctl -qw net.ipv4.conf.tunl0.rp_filter=2 ;;
      vxlan*4) in_namespace "$n" sysctl -qw net/ipv4/conf/vxlan.calico/rp_filter=2 ;;
    esac
  done
}

_static_routes() {
  local n=$1 af other mode=${MODE[$1]} to
  for af in 4 6; do
    {
      echo "route replace blackhole ${BLOCK[$n$af]} proto 179"
      for other in "${NODES[@]}"; do
        [ "$other" != "$n" ] || continue
        case ${WAY[$mode.$n.$other]} in
          ipip)
            to="via ${NODE_AT[$other$af]} dev ${DEVICE[ipip$af]} onlink"
            # IPv6 takes no gateway that another route has by another device: the far end is said otherwise.
            [ $af = 4 ] || to="encap ip6 dst ${NODE_AT[$other$af]} dev ${DEVICE[ipip$af]}" ;;
          vxlan) to="via ${TUNNEL_AT[$other$af]} dev ${DEVICE[vxlan$af]} onlink" ;;
          bare)
            to="via ${NODE_AT[$other$af]} dev eth0"
            [ "${SUBNET[$n]}" = "${SUBNET[$other]}" ] || to="via ${ROUTER_AT[${SUBNET[$n]}$af]} dev eth0" ;;
        esac
        echo "route replace ${BLOCK[$other$af]} $to proto 179"
      done
    } | _batch ip "$n" -$af
  done
}

# Making a device that is there is refused, and the batch goes on.
_batch() { "$1" -n "${NS[$2]}" "${@:3}" -force -batch - 2>> "${DIR[$2]}/static.log" || true; }

_static_ipip() {
  local d=${DEVICE[ipip$2]} length=32
  if [ "$2" = 6 ]; then
    length=128
    echo "link add $d type ip6tnl external"
  fi
  echo "link set $d mtu $((1500 - OVERHEAD[ipip$2])) up"
  echo "addr replace ${TUNNEL_AT[$1$2]}/$length dev $d"
}

_static_vxlan() {
  local d=${DEVICE[vxlan$2]} length=32 other
  [ "$2" = 4 ] || length=128
  echo "link add $d address ${VTEP_MAC[$1$2]} type vxlan id 4096 dstport 4789 local ${NODE_AT[$1$2]} dev eth0 nolearning"
  echo "link set $d mtu $((1500 - OVERHEAD[vxlan$2])) up"
  echo "addr replace ${TUNNEL_AT[$1$2]}/$length dev $d"
  for other in "${NODES[@]}"; do
    [ "$other" != "$1" ] || continue
    # The same rule of IPv6: the far end's own route comes first.
    [ "$2" = 4 ] || echo "route replace ${TUNNEL_AT[$other$2]}/128 dev $d proto 179"
    echo "neigh replace ${TUNNEL_AT[$other$2]} lladdr ${VTEP_MAC[$other$2]} dev $d nud permanent"
  done
}

_static_fdb() {
  local other
  for other in "${NODES[@]}"; do
    [ "$other" = "$1" ] || echo "fdb replace ${VTEP_MAC[$other$2]} dev ${DEVICE[vxlan$2]} dst ${NODE_AT[$other$2]} self permanent"
  done
}
