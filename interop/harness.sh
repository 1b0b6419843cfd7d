# shellcheck shell=bash
# harness.sh - what every interop story stands on: namespaces, processes in them, waiting, asserting. Sourced by
# the stories' `check` scripts, never run.
#
# A story is a few NODES. A node is one network namespace of its own, one folder of its own and one daemon, of a
# KIND: dunlin, or one of peers/*.sh. A node's settings (its AS number, its hold time, what it announces) are
# neutral words; the kind turns them into its own configuration.
#
# What always holds:
# - nothing is touched outside the namespaces made here; what is killed lives in one of them;
# - whatever ends the script, the namespaces and the folder go away (the folder stays with DUNLIN_KEEP=1);
# - nothing waits for a fixed time: wait_for polls until the deadline, holds_for polls that something stays true.
#
# Exit codes of a story: 0 it holds, 1 it does not, 77 skipped (the reason is on stdout).

INTEROP=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPOSITORY=$(cd "$INTEROP/.." && pwd)
# shellcheck source=interop/roots.sh
. "$INTEROP/roots.sh"
# shellcheck source=interop/json.sh
. "$INTEROP/json.sh"

declare -gA KIND NS DIR PID   # by node
declare -gA SET               # "node.key" -> value

# The story's own name for log lines and provenance.
STORY=${STORY:-$(basename "$(cd "$(dirname "$0")" && pwd)")}

# ---------------------------------------------------------------------------------------------- talking

say() { printf '%s\n' "$*"; }
step() { printf '%7.2f  %s\n' "$(since_start)" "$*"; }

since_start() { local now=${EPOCHREALTIME/[.,]/}; printf '%d.%06d' $(((now - STARTED) / 1000000)) $(((now - STARTED) % 1000000)); }
STARTED=${EPOCHREALTIME/[.,]/}

fail() {
  say "FAIL: $*"
  show_evidence
  exit 1
}

skip() { say "skip: $*"; exit 77; }

# need_all - is a missing tool a failure here, rather than a skip?
need_all() { [ -n "${CI:-}" ] || [ "${DUNLIN_TESTS:-}" = all ]; }

missing() {
  if need_all; then say "FAIL: $*"; exit 1; fi
  skip "$*"
}

# show_evidence - the end of each log, so that a failure can be read where it is seen.
show_evidence() {
  local n log
  for n in "${!DIR[@]}"; do
    for log in "${DIR[$n]}"/*.log; do
      [ -s "$log" ] || continue
      say "--- $n (${KIND[$n]}): ${log##*/}, last lines"
      tail -n "${DUNLIN_EVIDENCE:-25}" "$log"
    done
    if running "$n"; then
      say "--- $n: sockets"
      inside "$n" ss -tnH 2>/dev/null | head -5 || true
    fi
  done
}

# ---------------------------------------------------------------------------------------------- waiting

POLL=0.1

# wait_for SECONDS DESCRIPTION CMD... - until CMD succeeds; the story fails at the deadline.
wait_for() {
  local limit=$1 what=$2
  shift 2
  if eventually "$limit" "$@"; then step "ok   $what"; else fail "not within ${limit}s: $what"; fi
}

# eventually SECONDS CMD... - the same as a condition. Real peers offer no events to wait on, so it polls.
eventually() {
  local deadline=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "${EPOCHREALTIME/[.,]/}" -lt "$deadline" ] || return 1
    sleep "$POLL"
  done
}

# holds_for SECONDS DESCRIPTION CMD... - CMD is true now and stays so.
holds_for() {
  local limit=$1 what=$2 deadline
  deadline=$((${EPOCHREALTIME/[.,]/} + limit * 1000000))
  shift 2
  while [ "${EPOCHREALTIME/[.,]/}" -lt "$deadline" ]; do
    "$@" >/dev/null 2>&1 || fail "did not stay true for ${limit}s: $what"
    sleep "$POLL"
  done
  step "ok   $what (for ${limit}s)"
}

not() { ! "$@"; }

# same DESCRIPTION EXPECTED ACTUAL
same() { [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"; step "ok   $1: $3"; }

# ---------------------------------------------------------------------------------------------- nodes

WORK=
CREATED=()

# story_begin [PEER] - checks what is needed, makes the work folder, arranges the teardown. PEER is the kind of
# the peer under test, or "dunlin" in a story between dunlins.
story_begin() {
  PEER=${1:?usage: $0 PEER   (one of: $(cd "$INTEROP/peers" && printf '%s ' *.sh | sed 's/\.sh//g'))}
  [ "$(id -u)" = 0 ] || missing "network namespaces need root: sudo $0 $PEER"
  local tool
  for tool in ip:iproute2 ss:iproute2 jq:jq nsenter:util-linux setsid:util-linux; do
    command -v "${tool%%:*}" >/dev/null || missing "no ${tool%%:*}: apt-get install ${tool##*:}"
  done
  if [ "$PEER" != dunlin ]; then
    [ -e "$INTEROP/peers/$PEER.sh" ] || { say "no such peer: $PEER"; exit 2; }
    use_kind "$PEER"
    "${PEER}_available" || missing "no $PEER: $("${PEER}_hint")"
  fi
  use_dut
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/dunlin-interop.XXXXXX")
  chmod 755 "$WORK"    # the daemons drop their privileges and still read their configuration
  trap teardown EXIT
  trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM
}

# use_kind KIND... - loads the adapters.
use_kind() {
  local kind
  for kind in "$@"; do
    declare -F "${kind}_start" >/dev/null && continue
    # shellcheck source=/dev/null
    . "$INTEROP/peers/$kind.sh"
  done
}

# use_dut - loads the side under test: dunlin, or with DUNLIN_REFERENCE=1 a BIRD in its place, which tells a
# fault of the harness or of the peer from one of dunlin. A story with a stand-in of its own says REFERENCE=static.
use_dut() {
  if [ -n "${DUNLIN_REFERENCE:-}" ] && [ "${REFERENCE:-}" = static ]; then
    :
  elif [ -n "${DUNLIN_REFERENCE:-}" ]; then
    use_kind bird
    bird_available || missing "no bird: $(bird_hint)"
    # shellcheck source=interop/reference.sh
    . "$INTEROP/reference.sh"
  else
    # shellcheck source=interop/dunlin.sh
    . "$INTEROP/dunlin.sh"
    dunlin_available || missing "no dunlin: cargo build --release, or DUNLIN=path"
  fi
}

teardown() {
  local rc=$? ns
  trap - EXIT
  trap '' HUP INT TERM
  [ -n "${CAPTURE_PID:-}" ] && kill "$CAPTURE_PID" 2>/dev/null
  for ns in "${CREATED[@]}"; do
    # Only what lives in a namespace that this script made.
    ip netns pids "$ns" 2>/dev/null | xargs -r kill -KILL 2>/dev/null || true
  done
  for ns in "${CREATED[@]}"; do ip netns del "$ns" 2>/dev/null || true; done
  if [ -n "${DUNLIN_KEEP:-}" ]; then say "kept: $WORK"; else rm -rf -- "$WORK"; fi
  exit "$rc"
}

# node NAME KIND - a namespace and a folder for it.
node() {
  local n=$1
  KIND[$n]=$2
  NS[$n]="dunlin-i$$-$n"
  DIR[$n]="$WORK/$n"
  PID[$n]=
  mkdir -p "${DIR[$n]}"
  ip netns add "${NS[$n]}"
  CREATED+=("${NS[$n]}")
  # Nothing may be inherited from the machine: forwarding is set here, and an IPv6 address is usable at once.
  ip netns exec "${NS[$n]}" sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0 \
    net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.router_solicitations=0
  ip -n "${NS[$n]}" link set lo up
}

# wire NODE NODE NUMBER - a cable: 172.31.NUMBER.1/24 and fd00:31:NUMBER::1/64 on the first node, .2 and ::2 on
# the second, both as ethNUMBER.
wire() {
  local a=$1 b=$2 net=$3 end=1 n
  ip link add "eth$net" netns "${NS[$a]}" type veth peer name "eth$net" netns "${NS[$b]}"
  for n in "$a" "$b"; do
    plug "$n" "eth$net" "$net" "$end"
    knows "$n" "eth$net" "$net" $((3 - end))
    end=$((end + 1))
  done
}

# plug NODE DEVICE NUMBER END - gives an interface its addresses, all three kinds.
plug() {
  ip -n "${NS[$1]}" addr add "$(address "$3" 4 "$4")/24" dev "$2"
  ip -n "${NS[$1]}" addr add "$(address "$3" 6 "$4")/64" dev "$2" nodad
  ip -n "${NS[$1]}" link set "$2" address "$(link_address "$3" "$4")" up
}

link_address() { printf '02:00:00:00:%02x:%02x\n' "$1" "$2"; }

# knows NODE DEVICE NUMBER END [LINK-ADDRESS] - a permanent neighbour entry. The kernel's neighbour table is one for
# all namespaces (gc_thresh3, 1024 entries): where others have filled it, nothing could be resolved. Permanent
# entries are exempt.
knows() {
  local af
  for af in 4 6; do
    ip -n "${NS[$1]}" neigh replace "$(address "$3" $af "$4")" lladdr "${5:-$(link_address "$3" "$4")}" nud permanent dev "$2"
  done
}

# address NUMBER AF END - the address on that cable: END 1 or 2.
address() {
  case $2 in
    4) printf '172.31.%s.%s\n' "$1" "$3" ;;
    6) if [ "$1" = 0 ]; then printf 'fd00:31::%s\n' "$3"; else printf 'fd00:31:%s::%s\n' "$1" "$3"; fi ;;
    *) fail "no address family $2" ;;
  esac
}

# lan NUMBER NODE... - a switch with the nodes on it: ends 1, 2, 3... of that network, each as ethNUMBER. All know
# each other, so that a next hop that was handed on unchanged resolves.
lan() {
  local net=$1 end=0 other n
  shift
  node "switch$net" none
  ip -n "${NS[switch$net]}" link add br0 type bridge
  ip -n "${NS[switch$net]}" link set br0 up
  for n in "$@"; do
    end=$((end + 1))
    ip link add "eth$net" netns "${NS[$n]}" type veth peer name "port$end" netns "${NS[switch$net]}"
    ip -n "${NS[switch$net]}" link set "port$end" master br0 up
    plug "$n" "eth$net" "$net" $end
    for ((other = 1; other <= $#; other++)); do [ $other = $end ] || knows "$n" "eth$net" "$net" $other; done
  done
}

# neighbors_of NODE - a line for each of its sessions: "name local remote remote-as flags". A plain node has the one,
# called dut. Flags are words with commas between them, see peers/README.md.
neighbors_of() {
  if [ -n "$(of "$1" neighbors)" ]; then
    of "$1" neighbors
  else
    printf 'dut %s %s %s %s\n' "$(of "$1" local)" "$(of "$1" remote)" "$(of "$1" remote-as)" "$(of "$1" flags)"
  fi
}

# neighbor_address NODE [NAME] - of the session with that name, else of the first.
neighbor_address() {
  neighbors_of "$1" | awk -v name="${2:-}" 'NR == 1 || $1 == name { found = $3 } END { print found }'
}

# flag FLAGS NAME - is it among them? Prints what stands behind its "=".
flag() {
  local f
  for f in ${1//,/ }; do
    case $f in
      "$2") return 0 ;;
      "$2="*) printf '%s\n' "${f#*=}"; return 0 ;;
    esac
  done
  return 1
}

# set_node NODE key=value... - settings, kept until set again.
set_node() {
  local n=$1 kv
  shift
  for kv in "$@"; do SET["$n.${kv%%=*}"]=${kv#*=}; done
}

# of NODE KEY [DEFAULT] - one setting.
of() { printf '%s\n' "${SET["$1.$2"]-${3-}}"; }

# in_namespace NODE CMD... - in the node's namespace, with nothing else changed.
in_namespace() { local n=$1; shift; ip netns exec "${NS[$n]}" "$@"; }

# spawn NODE LOG ROOT CMD... - CMD becomes the node's daemon: in its namespace, with a /run of its own, its folder
# at the same place in ROOT ("" is this machine's own root). Its pid is PID[NODE].
spawn() {
  local n=$1 log=$2 root=$3
  shift 3
  # shellcheck disable=SC2016  # expanded inside
  setsid ip netns exec "${NS[$n]}" unshare --mount --propagation private bash -c '
    set -eu
    root=$1 dir=$2
    shift 2
    mount -t tmpfs tmpfs "$root/run"
    mkdir -p "$root/run/frr" "$root/run/bird" "$root/run/openbgpd"
    # The user as the root knows it: its number may differ from the one here.
    frr=$(sed -n "s/^frr:[^:]*:\([0-9]*\):\([0-9]*\):.*/\1:\2/p" "$root/etc/passwd")
    [ -z "$frr" ] || chown "$frr" "$root/run/frr"
    [ -z "$root" ] || {
      mount -t proc proc "$root/proc"
      mount -t tmpfs tmpfs "$root/tmp"
      mkdir -p "$root$dir"
      mount --bind "$dir" "$root$dir"
      exec chroot "$root" "$@"
    }
    exec "$@"' spawn "$root" "${DIR[$n]}" "$@" >> "${DIR[$n]}/$log" 2>&1 < /dev/null &
  PID[$n]=$!
  disown
}

# inside NODE CMD... - where the node's daemon is: its namespace, its mounts, its root.
# A daemon that does not answer is not waited for: what is asked inside ends within 20 s.
inside() { local n=$1; shift; timeout 20 nsenter --target "${PID[$n]}" --mount --net --root --wd -- "$@"; }

running() { [ -n "${PID[$1]:-}" ] && kill -0 "${PID[$1]}" 2>/dev/null; }

# pids_of NODE - every process of the node's daemon, children included.
pids_of() { ip netns pids "${NS[$1]}" 2>/dev/null | grep -vx "${CAPTURE_PID:-none}" || true; }

signal() { local n=$1 sig=$2; pids_of "$n" | xargs -r kill "-$sig" 2>/dev/null || true; }

gone() { [ -z "$(pids_of "$1")" ]; }

# start NODE / stop NODE / crash NODE - up to the control socket's first answer, down in order, down like a power
# cut.
start() {
  local n=$1
  "${KIND[$n]}_config" "$n"
  "${KIND[$n]}_start" "$n"
  eventually 15 ready_or_dead "$n" || true
  running "$n" && "${KIND[$n]}_ready" "$n" >/dev/null || fail "$n (${KIND[$n]}) did not start"
}

# ready_or_dead NODE - is there any point in waiting longer?
ready_or_dead() { ! running "$1" || "${KIND[$1]}_ready" "$1"; }

stop() { signal "$1" TERM; eventually 10 gone "$1" || signal "$1" KILL; eventually 5 gone "$1" || fail "$1 does not stop"; }
crash() { signal "$1" KILL; eventually 5 gone "$1" || fail "$1 does not die"; }

# ask NODE VERB ARG... - the kind's own answer; see peers/README.md for the verbs.
ask() { local n=$1 verb=$2; shift 2; "${KIND[$n]}_$verb" "$n" "$@"; }

# ---------------------------------------------------------------------------------------------- asserting

is_up() { [ "$(ask "$1" state "${2:-}")" = Established ]; }
has_route() { [ -n "$(ask "$1" route "$2")" ]; }
has_count() { local n=$1 af=$2 count=$3; shift 3; [ "$(ask "$n" count "$af" "$@")" = "$count" ]; }

# says NODE PATTERN - does that node tell why the last session ended?
says() { ask "$1" last_error | grep -iE "$2" > /dev/null; }

# route_is NODE PREFIX KEY VALUE - one attribute of the route in that node's own table.
route_is() { [ "$(ask "$1" route "$2" | attribute "$3")" = "$4" ]; }
# attribute KEY - of the route on stdin, a list's members with a space between.
attribute() { jq -r ".$1 | if type == \"array\" then join(\" \") else . end"; }

# expect_route NODE PREFIX KEY=VALUE... - the route arrives, then has exactly these attributes.
expect_route() {
  local n=$1 prefix=$2 json kv got
  shift 2
  wait_for 15 "$n (${KIND[$n]}) has $prefix" has_route "$n" "$prefix"
  # Asked once: a question costs some daemons a quarter of a second.
  [ $# -eq 0 ] || json=$(ask "$n" route "$prefix")
  for kv in "$@"; do
    # The attribute may change a moment after the route (a better path, a reconfiguration): poll for it too.
    if [ "$(attribute "${kv%%=*}" <<< "$json")" != "${kv#*=}" ] && ! eventually 3 route_is "$n" "$prefix" "${kv%%=*}" "${kv#*=}"; then
      json=$(ask "$n" route "$prefix")
      got=$(jq -c ".${kv%%=*}" <<< "$json" || true)
      fail "$n (${KIND[$n]}): $prefix has ${kv%%=*} $got, expected '${kv#*=}' in $json"
    fi
    step "ok   $n (${KIND[$n]}): $prefix ${kv%%=*} = ${kv#*=}"
  done
}

expect_no_route() { wait_for 15 "$1 (${KIND[$1]}) no longer has $2" not has_route "$1" "$2"; }

expect_up() { wait_for "${3:-20}" "$1 (${KIND[$1]}) says Established${2:+ with $2}" is_up "$1" "${2:-}"; }
expect_down() { wait_for "${3:-15}" "$1 (${KIND[$1]}) says not Established${2:+ with $2}" not is_up "$1" "${2:-}"; }

# connections NODE - how many TCP connections are open on port 179 at either end.
connections() { in_namespace "$1" ss -tnH state established '( sport = :179 or dport = :179 )' | wc -l; }

# ---------------------------------------------------------------------------------------------- capture

# capture NODE - with DUNLIN_CAPTURE=FOLDER, everything on port 179 of that node goes to
# FOLDER/<story>-<peer>.pcap. See interop/capture.
capture() {
  [ -n "${DUNLIN_CAPTURE:-}" ] || return 0
  command -v tcpdump >/dev/null || missing "no tcpdump: apt-get install tcpdump"
  local file="$DUNLIN_CAPTURE/$STORY-$PEER.pcap"
  mkdir -p "$DUNLIN_CAPTURE"
  rm -f "$file"
  ip netns exec "${NS[$1]}" tcpdump -Z root -U -nn -i any -w "$file" 'tcp port 179' 2> "$WORK/tcpdump.log" &
  CAPTURE_PID=$!
  disown
  eventually 5 grep -q listening "$WORK/tcpdump.log" || fail "tcpdump does not start: $(cat "$WORK/tcpdump.log")"
}

# ---------------------------------------------------------------------------------------------- shapes

# pair AF DUT_AS PEER_AS - the commonest story: dunlin (node dut) and the peer under test (node peer) on one
# cable, one session over address family AF that carries AF's own routes. Called again, it only sets them anew.
pair() {
  local af=$1 dut_as=$2 peer_as=$3
  if [ -z "${NS[dut]:-}" ]; then
    node dut dunlin
    node peer "$PEER"
    wire dut peer 0
    capture dut
  fi
  link_nodes dut peer 0 "$af" "$dut_as" "$peer_as"
}

# link_nodes DUT OTHER NUMBER AF DUT_AS OTHER_AS - the settings of the session on cable NUMBER.
link_nodes() {
  local dut=$1 other=$2 net=$3 af=$4
  set_node "$dut" af="$af" families="$af" as="$5" router-id=172.31.0.1 remote-as="$6" \
    local="$(address "$net" "$af" 1)" remote="$(address "$net" "$af" 2)"
  set_node "$other" af="$af" families="$af" as="$6" router-id="172.31.$net.2" remote-as="$5" \
    local="$(address "$net" "$af" 2)" remote="$(address "$net" "$af" 1)"
}

# prefix AF NUMBER - a pod block: NUMBER below 256. All of them lie in the pools of the stories' cluster files.
prefix() {
  case $1 in
    4) printf '10.244.%s.0/26\n' "$2" ;;
    6) printf 'fd00:10:244:%x::/122\n' "$2" ;;
  esac
}

# foreign_prefix AF NUMBER - a prefix of somebody else, outside every pool.
foreign_prefix() {
  case $1 in
    4) printf '10.77.%s.0/24\n' "$2" ;;
    6) printf 'fd00:77:%x::/64\n' "$2" ;;
  esac
}

# transit AF DUT_AS PEER_AS FEED_AS - as pair, and a BIRD (node feed) on a second cable that feeds dunlin: what
# the feed says reaches the peer through dunlin, and the other way round.
transit() {
  local af=$1
  if [ -z "${NS[feed]:-}" ]; then
    use_kind bird
    bird_available || missing "no bird, which feeds this story: $(bird_hint)"
    pair "$af" "$2" "$3"
    node feed bird
    wire dut feed 1
  fi
  link_nodes dut feed 1 "$af" "$2" "$4"
  link_nodes dut peer 0 "$af" "$2" "$3"
  set_node dut feed-local="$(address 1 "$af" 1)" feed-remote="$(address 1 "$af" 2)" feed-as="$4"
  set_node dut neighbors="$(printf 'peer %s %s %s\nfeed %s %s %s' \
    "$(of dut local)" "$(of dut remote)" "$3" "$(of dut feed-local)" "$(of dut feed-remote)" "$4")"
}

# bulk_table FILE FIRST_OCTET COUNT - COUNT different /28 as the `route ... blackhole;` lines BIRD includes. The
# other kinds read the same file.
bulk_table() {
  awk -v first="$2" -v count="$3" 'BEGIN {
    for (i = 0; i < count; i++)
      printf "route %d.%d.%d.%d/28 blackhole;\n", first, int(i / 4096), int(i / 16) % 256, (i % 16) * 16
  }' > "$1"
}
