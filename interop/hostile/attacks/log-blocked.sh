# shellcheck shell=bash
# against: dunlin
# title: whoever reads the log stops, while a peer begins again and again and a file full of faults is read forty times
# right: nothing is delayed, and the lines that were not written are counted
# bound: 8 MB
prepare() {
  local real=$DUNLIN
  mkfifo "$WORK/log"
  # It has the pipe open and never reads.
  (exec sleep 300 < "$WORK/log") &
  echo $! > "$WORK/reader.pid"
  printf '#!/bin/sh\n[ "$1" = run ] || exec %q "$@"\nexec %q "$@" 2> %q\n' "$real" "$real" "$WORK/log" > "$WORK/dunlin"
  chmod +x "$WORK/dunlin"
  DUNLIN=$WORK/dunlin
}
attack() {
  local file=${DIR[victim]}/cluster.toml n pid
  pid=$(pids_named dunlin)
  hostile attacker bgp.py resets --seconds 3 --rate 200
  # A line for each of five hundred faults, forty times: more than the pipe and the room before it hold.
  cp "$file" "$WORK/good.toml"
  python3 -c 'print("[[node]]\nnmae = 1\n" * 400)' > "$file.new"
  mv "$file.new" "$file"
  for n in $(seq 40); do
    kill -HUP "$pid"
    "$DUNLIN" --socket "$(control_path)" status > /dev/null
  done
  mv "$WORK/good.toml" "$file"
  local lost held
  lost=$(lines lost_log_lines) held=$(lines held_log_lines)
  must "lines that were not written ($lost lost, $held held back) are counted" [ $((lost + held)) -gt 0 ]
  tell "$lost lines lost, $held held back"
  DUNLIN=$(sed -n '2s/.*exec \([^ ]*\) .*/\1/p' "$WORK/dunlin")
}
lines() { "$DUNLIN" --socket "$(control_path)" status --output json | jq ".$1"; }
