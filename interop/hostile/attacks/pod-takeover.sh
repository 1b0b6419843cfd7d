# shellcheck shell=bash
# against: dunlin bird frr
# title: a pod of the honest node, whose packets that node translates, calls the victim with its node's identifier, and sends to its BFD ports
# right: with dunlin's guard at the pod's node no packet arrives; without one the node's session stays all the same, and no route of the pod gets into the kernel
# bound: 8 MB
# The guard is a node's for others: without it, with dunlin's rules or as beside BIRD and FRR, which have none, what arrives is
# known by its hop limit, one less than where it began.
attack() {
  pod_of honest
  count_packets
  keeper_begins "allow-bgp-packets-from-workloads = true"
  pod_calls
  tell "without a guard $(arrived) arrived, calls: $POD_SAID"
  must "packets of the pod arrive where no guard is" [ "$(packets bgp4)" -gt 0 ]
  must "and of BFD" [ "$(packets bfd4)" -gt 0 ]
  if is_dunlin; then
    set_node keeper more="$KEEPER_POOLS"
    _dunlin_cluster keeper
    wait_for 10 "the guard is there" guarded
    in_namespace victim nft reset counters > /dev/null
    pod_calls
    TOLD+="; with the guard $(arrived), calls: $POD_SAID"
    must "no packet of the pod arrives behind the guard" [ "$(arrived_at_all)" = 0 ]
    must "and others of it do" heard_elsewhere
  fi
  end_of keeper
  in_namespace honest nft flush ruleset
  in_namespace victim nft delete table inet seen
}

# The honest node's rules are a dunlin's there, whose BGP is at another port and calls nobody: its session is the
# bystander's, as in every attack.
keeper_begins() {
  KIND[keeper]=dunlin NS[keeper]=${NS[honest]} DIR[keeper]=$WORK/keeper
  mkdir -p "${DIR[keeper]}"
  KEEPER_POOLS='[[ip-pool]]
cidr = "172.31.1.0/24"
nat-outgoing = true

[[ip-pool]]
cidr = "fd00:31:1::/64"
nat-outgoing = true'
  set_node keeper name=honest as=65001 networks="$(prefix 4 2)" families=4 kernel-routes=true peers='' \
    bgp-more='node-to-node-mesh-enabled = false' \
    honest-more="ipv6-address = \"$HONEST6/64\"
listen-port = 1790" more="$KEEPER_POOLS

[felix]
$1"
  start keeper
  echo "${PID[keeper]}" > "$WORK/keeper.pid"
  wait_for 10 "the node translates" translated
}
translated() { in_namespace honest nft list ruleset | grep -c masquerade | grep -qx 2; }
guarded() { in_namespace honest nft list ruleset | grep -c "a pod is no neighbour" | grep -qx 4; }

count_packets() {
  in_namespace victim nft -f - <<END
table inet seen {
  counter bgp4 {}
  counter bgp6 {}
  counter bfd4 {}
  counter bfd6 {}
  chain passing {
    type filter hook prerouting priority -300;
    ip saddr { $HONEST4, 172.31.1.2 } ip ttl { 63, 254 } tcp dport 179 counter name bgp4
    ip saddr { $HONEST4, 172.31.1.2 } ip ttl { 63, 254 } udp dport { 3784, 3785, 4784 } counter name bfd4
    ip6 saddr { $HONEST6, fd00:31:1::2 } ip6 hoplimit { 63, 254 } tcp dport 179 counter name bgp6
    ip6 saddr { $HONEST6, fd00:31:1::2 } ip6 hoplimit { 63, 254 } udp dport { 3784, 3785, 4784 } counter name bfd6
  }
}
END
}
packets() { in_namespace victim nft -j list counters table inet seen | jq --arg name "$1" '[.nftables[].counter | select(.name == $name) | .packets] | add'; }
arrived_at_all() { echo $(($(packets bgp4) + $(packets bgp6) + $(packets bfd4) + $(packets bfd6))); }
arrived() { echo "$(packets bgp4) packets to port 179, $(packets bfd4) to BFD's (IPv6: $(packets bgp6), $(packets bfd6))"; }

# A port that nobody has says so at once.
heard_elsewhere() { [[ $(in_namespace pod timeout 2 bash -c "exec 3<> /dev/tcp/$VICTIM4/180" 2>&1) == *refused* ]]; }

# pod_calls - takeover from the pod, then in IPv6, and BFD to each of its ports.
pod_calls() {
  local port af
  hostile pod bgp.py takeover --source 172.31.1.2 --next-hop "$HONEST4" --net 10.66.1.0/26 --router-id 172.31.0.2 --asn 65001 \
    --internal --rate 10 --seconds 5
  POD_SAID=$(said)
  hostile pod bgp.py takeover --source fd00:31:1::2 --target "$VICTIM6" --next-hop "$HONEST6" --net fd00:66:1::/64 --families 2 \
    --router-id 172.31.0.2 --asn 65001 --internal --rate 10 --seconds 2
  for port in 3784 3785 4784; do
    for af in 4 6; do
      hostile pod bfd.py forge --source "$(address 1 $af 2)" --target "$(address 0 $af 1)" --port $port --seconds 0.5
    done
  done
}
