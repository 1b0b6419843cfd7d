# shellcheck shell=bash
# against: dunlin
# title: whoever reads the log stops, while a peer makes as many lines as it can
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
  "$DUNLIN" --socket "$(control_path)" log trace > /dev/null
  hostile attacker bgp.py resets --seconds 10 --rate 200
  "$DUNLIN" --socket "$(control_path)" log configured > /dev/null
  local lost held
  lost=$(lines lost_log_lines) held=$(lines held_log_lines)
  must "lines that were not written ($lost lost, $held held back) are counted" [ $((lost + held)) -gt 0 ]
  tell "$lost lines lost, $held held back"
  DUNLIN=$(sed -n '2s/.*exec \([^ ]*\) .*/\1/p' "$WORK/dunlin")
}
lines() { "$DUNLIN" --socket "$(control_path)" status --output json | jq ".$1"; }
