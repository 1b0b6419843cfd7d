# shellcheck shell=bash
# against: dunlin
# title: the cluster's file becomes 8 MB of dotted keys, a pipe, a link to /dev/zero; 330 kB of YAML stand for 3 GB
# right: one line with the place, the last good state stays, and a start with such a file ends with that line
# bound: 120 MB
attack() {
  local file=${DIR[victim]}/cluster.toml bomb=$WORK/bomb
  cp "$file" "$WORK/good.toml"
  mkdir -p "$bomb"
  python3 - "$bomb" <<'END'
import sys
folder = sys.argv[1]
def write(name, text):
    with open(f"{folder}/{name}", "w") as file:
        file.write(text)
write("keys.toml", "".join(f"a{n}" + ".a" * 70 + " = 1\n" for n in range(55000)))
write("text.yaml", 'a: &a "' + "x" * 300000 + '"\nb: [' + ",".join(["*a"] * 10000) + "]\n")
write("key.yaml", "a: &a {" + "k" * 250000 + ": 1}\nb: [" + ",".join(["*a"] * 10000) + "]\n")
write("brackets.yaml", "[" + "1," * 3000000 + "1]\n")
write("faults.toml", "x\n" * 1000000)
END
  mv "$bomb/keys.toml" "$file"
  must "8 MB of dotted keys are one problem" eventually 20 bad_configuration
  rm "$file"; mkfifo "$file"
  must "a pipe is one" eventually 20 bad_configuration "no regular file"
  rm "$file"; ln -s /dev/zero "$file"
  must "/dev/zero is one" eventually 20 bad_configuration "no regular file"
  rm "$file"; cp "$WORK/good.toml" "$file.new"; mv "$file.new" "$file"
  must "and the good file is taken again" eventually 20 good_configuration
  local one most=0 kb
  for one in "$bomb"/*; do
    sed "s,$file,$one," "${DIR[victim]}/dunlin.toml" > "$WORK/bomb.toml"
    # A daemon that is started with it: what it says, and what it weighed.
    kb=$(weight timeout 60 "$DUNLIN" run --socket "$WORK/bomb.sock" --config "$WORK/bomb.toml") || true
    must "a start with $(basename "$one") ends with one line of its place" grep -q "$one" "$WORK/bomb.log"
    [ "$kb" -le "$most" ] || most=$kb
  done
  must "no start takes more than 1 GiB" [ "$most" -le 1048576 ]
  tell "a start with a bomb took $((most / 1024)) MB at most"
}
bad_configuration() {
  "$DUNLIN" --socket "$(control_path)" status --output json \
    | is_true --arg words "${1:-}" '.problems | any(.code == "configuration_bad" and (.what | contains($words)))'
}
good_configuration() { ! bad_configuration; }
# weight COMMAND... - its largest resident set in kB; what it says stands in bomb.log.
weight() {
  python3 - "$@" 2> "$WORK/bomb.log" <<'END'
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
END
}
