# shellcheck shell=bash
# against: dunlin bird frr
# title: whoever reads the log stops, while a peer begins again and again and a file full of faults is read forty times
# right: nothing is delayed, and the lines that were not written are counted
# bound: 8 MB
prepare() {
  local real=$DUNLIN pipe=$WORK/log
  if ! is_dunlin; then
    # Where the harness puts what they say.
    pipe=${DIR[victim]}/$PEER.log
    rm -f "$pipe"
  fi
  mkfifo "$pipe"
  # It has the pipe open and never reads.
  (exec sleep 300 < "$pipe") &
  echo $! > "$WORK/reader.pid"
  is_dunlin || return 0
  printf '#!/bin/sh\n[ "$1" = run ] || exec %q "$@"\nexec %q "$@" 2> %q\n' "$real" "$real" "$WORK/log" > "$WORK/dunlin"
  chmod +x "$WORK/dunlin"
  DUNLIN=$WORK/dunlin
}
attack() {
  local file=${DIR[victim]}/cluster.toml n pid
  pid=$(daemon_pid)
  hostile attacker bgp.py resets --seconds 3 --rate 200
  if ! is_dunlin; then
    # The pipe holds 64 KiB.
    eventually 12 not bystander_is honest .up true || true
    tell "$(said); a question to its control was $(answers && echo answered || echo "not answered in 20 s")"
    return
  fi
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
