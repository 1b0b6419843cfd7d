# shellcheck shell=bash
# against: dunlin
# title: the control socket is removed, and a file, a folder, and another program's socket are put in its place; a second daemon is started on it
# right: nothing that is not dunlin's is removed, the socket is back when its place is free, and there is one daemon
# bound: 8 MB
attack() {
  local path kept=0
  path=$(control_path)
  rm -f "$path"
  must "a socket that was removed is made again" eventually 10 answers "$path"
  for kind in file folder socket; do
    rm -f "$path"
    case $kind in
      file) echo precious > "$path" ;;
      folder) mkdir "$path" ;;
      socket) python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$path" ;;
    esac
    wait_for 15 "the daemon has seen the $kind" grep -q "control_lost" "${DIR[victim]}/dunlin.log"
    "$DUNLIN" run --config "${DIR[victim]}/dunlin.toml" > "$WORK/second.log" 2>&1 && fail "a second daemon ended well"
    must "a $kind is left alone" not_ours "$path"
    ! not_ours "$path" || kept=$((kept + 1))
    rm -rf "$path"
    : > "${DIR[victim]}/dunlin.log"
    must "and the socket is back" eventually 10 answers "$path"
  done
  tell "$kept of 3 foreign things were left alone"
}
not_ours() { [ -d "$1" ] || [ "$(cat "$1" 2> /dev/null)" = precious ] || { [ -S "$1" ] && ! "$DUNLIN" --socket "$1" version > /dev/null 2>&1; }; }
answers() { "$DUNLIN" --socket "$1" status > /dev/null 2>&1; }
