# shellcheck shell=bash
# json.sh - what a story asks of JSON. Sourced by harness.sh, and by the stories that do without it; never run.

# is_true JQ-ARG... - is the filter's last answer, to what is on stdin or in the file that is named, neither false nor
# null? No answer is a no: `jq -e` of jq 1.6 succeeds where there is no input at all, as when a daemon did not answer.
is_true() {
  local said
  said=$(jq -c "$@") || return 1
  said=${said##*$'\n'}
  [ -n "$said" ] && [ "$said" != false ] && [ "$said" != null ]
}
