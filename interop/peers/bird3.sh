# shellcheck shell=bash
# BIRD 3 of Debian trixie, from the root folder that `interop/install --current` makes: BIRD 2's adapter, run by
# chroot.

use_kind bird

for _verb in config start ready state route count announce withdraw shutdown enable refresh refreshes updates hold last_error; do
  eval "bird3_$_verb() { bird_$_verb \"\$@\"; }"
done
# BIRD 3 calls it so, and sends its own routes again as well.
bird3_refresh() { _birdc "$1" reload bgp "${2:-dut}"; }
bird3_root() { trixie_root; }
bird3_available() { trixie_ready; }
bird3_hint() { echo "$INTEROP/install --current (needs apt-get install mmdebstrap)"; }
bird3_version() { chroot "$(trixie_root)" /usr/sbin/bird --version 2>&1 | sed 's/BIRD version //'; }
