# shellcheck shell=bash
# against: dunlin bird frr
# title: the control socket is removed, and a file, a folder, and another program's socket are put in its place; a second daemon is started on it
# right: nothing that is not dunlin's is removed, the socket is back when its place is free, and there is one daemon
# bound: 8 MB
attack() {
  local path back=0 kept=0 beside=0 rc
  path=$(control_path)
  rm -f "$path"
  must "a socket that was removed is made again" eventually 10 answers_at "$path"
  ! answers_at "$path" || back=1
  for kind in file folder socket; do
    rm -f "$path"
    case $kind in
      file) echo precious > "$path" ;;
      folder) mkdir "$path" ;;
      socket) python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$path" ;;
    esac
    ! is_dunlin || wait_for 15 "the daemon has seen the $kind" grep -q "control_lost" "${DIR[victim]}/dunlin.log"
    rc=0
    second_daemon > "$WORK/second.log" 2>&1 || rc=$?
    must "a second daemon does not run beside it" [ $rc != 124 ]
    [ $rc != 124 ] || beside=$((beside + 1))
    [ $rc != 0 ] || fail "a second daemon ended well"
    must "a $kind is left alone" not_ours "$path"
    ! not_ours "$path" || kept=$((kept + 1))
    rm -rf "$path"
    is_dunlin || continue
    : > "${DIR[victim]}/dunlin.log"
    must "and the socket is back" eventually 10 answers_at "$path"
  done
  tell "$kept of 3 foreign things were left alone, the removed socket $([ $back = 1 ] && echo "came back" || echo "did not come back"), a second daemon ran beside it $beside times"
}
# second_daemon - on the same files; 124 where it would go on and on. dunlin's is weighed by itself: it is elsewhere.
second_daemon() {
  case $PEER in
    dunlin) in_namespace attacker timeout 10 "$DUNLIN" run --config "${DIR[victim]}/dunlin.toml" ;;
    bird) inside victim timeout 2 /usr/sbin/bird -f -c "${DIR[victim]}/bird.conf" -s "${DIR[victim]}/bird.ctl" ;;
    frr) inside victim timeout 2 /usr/lib/frr/bgpd -f "${DIR[victim]}/bgpd.conf" -i /run/frr/bgpd.pid ;;
  esac
}
not_ours() { [ -d "$1" ] || [ "$(cat "$1" 2> /dev/null)" = precious ] || { [ -S "$1" ] && ! answers_at "$1"; }; }
# answers_at PATH - is somebody there who says something?
answers_at() {
  if is_dunlin; then "$DUNLIN" --socket "$1" status > /dev/null 2>&1
  else python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' "$1" 2> /dev/null; fi
}
