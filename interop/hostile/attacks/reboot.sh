# shellcheck shell=bash
# against: dunlin bird frr
# title: no attack: the honest node loses its power without a word and is back with the same address, its last messages unacknowledged
# right: its session is back within two seconds of its call
# bound: 8 MB
attack() {
  end_without_a_word
  ask victim announce "$(prefix 4 40)" > /dev/null
  sleep 8 # what it takes to boot; the victim sends its news again, after ever longer pauses
  node honest none
  ip link add eth0 netns "${NS[honest]}" type veth peer name port2 netns "${NS[switch0]}"
  ip -n "${NS[switch0]}" link set port2 master br0 up
  plug honest eth0 0 2
  knows honest eth0 0 1
  honest_peer honest honest --source "$HONEST4" --target "$VICTIM4" --internal --hold 90
  eventually 60 bystander_is honest .up true || true
  must "it has its session within two seconds ($(bystander honest .waited_s))" \
    is_true '.waited_s != null and .waited_s < 2' "$WORK/honest.json"
  tell "the session was back $(bystander honest '.waited_s // "more than 60"') s after its start"
}

# Nobody is told: its cable is gone before its process dies. What its kernel still wants to say stays in a namespace
# that has no link any more.
end_without_a_word() {
  ip -n "${NS[switch0]}" link del port2
  kill -KILL "$(cat "$WORK/honest.pid")"
  rm -f "$WORK/honest.pid" "$WORK/honest.json"
  ip netns del "${NS[honest]}"
}

prepare() { set_node victim hold=90; HONEST_HOLD=90; }
