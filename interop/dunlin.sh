# shellcheck shell=bash
# dunlin.sh - dunlin behind the verbs of peers/README.md. Every path into its JSON is in this file.
#
# Its two files are rendered from dunlin/dunlin.toml and dunlin/cluster.toml (dunlin/feed.toml after it where the
# story has a feed), or from the story's own cluster.toml where there is one.

DUNLIN=${DUNLIN:-$REPOSITORY/target/release/dunlin}
# The daemon is started as root and becomes this user; what it alone may read (a secret) belongs to it.
DUNLIN_USER=65534:65534

dunlin_root() { :; }
dunlin_available() { [ -x "$DUNLIN" ]; }
dunlin_version() { "$DUNLIN" --version | sed 's/^dunlin //'; }

# _toml_list WORD... - a TOML array of strings.
_toml_list() {
  local w sep='' out='['
  for w in "$@"; do out+="$sep\"$w\""; sep=', '; done
  printf '%s]\n' "$out"
}

_truth() { if [ -n "$1" ]; then echo true; else echo false; fi; }

# _render NODE TEMPLATE... - @key@ becomes the node's setting; a key that was never set is the story's mistake.
_render() {
  local n=$1 text key
  shift
  text=$(cat "$@")
  while [[ $text =~ @([a-z0-9-]+)@ ]]; do
    key=${BASH_REMATCH[1]}
    [ -n "${SET["$n.$key"]+set}" ] || fail "the template wants @$key@, which the story does not set for $n"
    text=${text//"@$key@"/${SET["$n.$key"]}}
  done
  printf '%s\n' "$text"
}

_dunlin_cluster() {
  local n=$1 templates story file=${DIR[$1]}/cluster.toml
  story=$(cd "$(dirname "$0")" && pwd)/cluster.toml
  if [ -e "$story" ]; then
    templates=("$story")
  else
    templates=("$INTEROP/dunlin/cluster.toml")
    [ -z "$(of "$n" feed-remote)" ] || templates+=("$INTEROP/dunlin/feed.toml")
  fi
  # shellcheck disable=SC2046  # one word a prefix
  set_node "$n" blocks="$(_toml_list $(of "$n" networks))" four-octet-as="$([ -z "$(of "$n" as2)" ] && echo true || echo false)" \
    restart-time="$(of "$n" restart-time 0)" hold="$(of "$n" hold 90)" passive="$(_truth "$(of "$n" passive | grep -v false)")" \
    families="$(_toml_list $(of "$n" families | tr -d '[]",' | sed 's/ipv//g; s/\([46]\)/ipv\1/g'))"
  # Whole or not at all: the daemon watches this file.
  _render "$n" "${templates[@]}" > "$file.new"
  mv "$file.new" "$file"
}

dunlin_config() {
  local n=$1
  set_node "$n" name="$(of "$n" name "$n")" dir="${DIR[$n]}" kernel-routes="$(of "$n" kernel-routes false)" user="$DUNLIN_USER" \
    control-more="$(of "$n" control-more)"
  _render "$n" "$INTEROP/dunlin/dunlin.toml" > "${DIR[$n]}/dunlin.toml"
  [ -z "$(of "$n" nft)" ] || printf '\n[nat]\nnft = "%s"\n' "$(of "$n" nft)" >> "${DIR[$n]}/dunlin.toml"
  _dunlin_cluster "$n"
  "$DUNLIN" check --offline --config "${DIR[$n]}/dunlin.toml" > "${DIR[$n]}/check.log" 2>&1 || fail "dunlin does not take its configuration"
}

# With `files` set the daemon may have so many open, whatever it would have itself.
dunlin_start() {
  local files
  files=$(of "$1" files)
  # shellcheck disable=SC2016  # expanded there
  spawn "$1" dunlin.log "" ${files:+bash -c 'ulimit -n "$0" && exec "$@"' "$files"} "$DUNLIN" run --config "${DIR[$1]}/dunlin.toml"
}

_dunlin() { local n=$1; shift; "$DUNLIN" --socket "${DIR[$n]}/run/dunlin.sock" "$@"; }
# dunlin_peer NODE NAME FILTER
_dunlin_peer() { _dunlin "$1" peers "${2:-peer}" --output json | jq -r ".peers[0] | $3"; }

dunlin_ready() { _dunlin "$1" status; }
dunlin_state() { _dunlin_peer "$1" "${2:-peer}" .state; }
dunlin_count() { _dunlin_peer "$1" "${3:-peer}" .accepted; }
dunlin_hold() { _dunlin_peer "$1" "${2:-peer}" '.hold_time_s // "none"'; }
dunlin_updates() { _dunlin_peer "$1" "${2:-peer}" '.messages_in.update'; }
dunlin_refreshes() { _dunlin_peer "$1" "${2:-peer}" '.messages_in.route_refresh'; }
dunlin_last_error() { _dunlin_peer "$1" "${2:-peer}" '"\(.problem // "")\n\(.last_error.message // "")"'; }

# The best path of exactly this prefix, in the harness's words. Extended communities are 16 hexadecimal digits;
# 00 02 is a route target.
dunlin_route() {
  _dunlin "$1" routes "$2" --output json 2>/dev/null | jq -c --arg prefix "$2" '
    def number(s): reduce (s | ascii_downcase | explode[]) as $c (0; . * 16 + (if $c > 57 then $c - 87 else $c - 48 end));
    def ext: (sub("^0x"; "") | gsub("[^0-9a-fA-F]"; "")) as $h
      | if ($h | startswith("0002")) then "rt:\(number($h[4:8])):\(number($h[8:16]))" else $h end;
    .routes[] | select(.prefix == $prefix) | .paths[] | select(.best) | {
      as_path: .as_path, next_hop: .next_hop,
      communities: .communities, large: .large_communities,
      ext: (.extended_communities | map(ext)),
      local_pref: ((.local_pref // "") | tostring), peer: .peer,
      originator: (.originator_id // ""), clusters: (.cluster_list // []) }'
}

# The file is all it takes: the daemon sees it change.
dunlin_announce() { set_node "$1" networks="$(of "$1" networks) $2"; _dunlin_cluster "$1"; }
dunlin_withdraw() {
  set_node "$1" networks="$(of "$1" networks | tr ' ' '\n' | grep -vxF "$2" | tr '\n' ' ')"
  _dunlin_cluster "$1"
}

dunlin_shutdown() { _dunlin "$1" peer "${3:-peer}" shutdown --message "$2"; }
dunlin_enable() { _dunlin "$1" peer "${2:-peer}" enable; }
dunlin_refresh() { _dunlin "$1" peer "${2:-peer}" refresh; }
