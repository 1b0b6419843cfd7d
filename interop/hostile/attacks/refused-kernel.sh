# shellcheck shell=bash
# against: dunlin bird frr
# title: all capabilities of the running daemon are taken away, then its routes go from the kernel
# right: its sessions stay, it says what the kernel refuses
# bound: 8 MB
attack() {
  local pid
  for pid in $(pids_of victim); do
    python3 "$LIB/inside.py" strip "$pid" >> "$WORK/strip.json" 2>> "$WORK/hostile.log" || fail "inside.py failed: $(tail -3 "$WORK/hostile.log")"
  done
  ! grep -qv '"done"' "$WORK/strip.json" || fail "the capabilities are still there: $(cat "$WORK/strip.json")"
  # A route of the daemon's goes from the kernel, and may not come back.
  ip -n "${NS[victim]}" route flush root 10.0.0.0/8 proto "$(case $PEER in dunlin) echo 179 ;; bird) echo bird ;; frr) echo 186 ;; esac)" || true
  if is_dunlin; then
    wait_for 20 "the refusal is said" refused_by_the_kernel
    tell "it says: $(_dunlin victim status --output json | jq -r '[.problems[] | select(.code == "kernel_denies") | .what][0]')"
  else
    holds_for 3 "its control answers" ask victim ready
    tell "it runs on"
  fi
}
refused_by_the_kernel() { _dunlin victim status --output json | is_true 'any(.problems[]; .code == "kernel_denies")'; }
