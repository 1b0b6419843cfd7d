# shellcheck shell=bash
# FRR 10 of Debian trixie, from the root folder that `interop/install --current` makes: FRR 8's adapter, run by
# chroot.

use_kind frr

for _verb in config start ready state route count announce withdraw shutdown enable refresh refreshes updates hold last_error; do
  eval "frr10_$_verb() { frr_$_verb \"\$@\"; }"
done
frr10_root() { trixie_root; }
frr10_available() { trixie_ready; }
frr10_hint() { echo "$INTEROP/install --current (needs apt-get install mmdebstrap)"; }
frr10_version() { chroot "$(trixie_root)" /usr/lib/frr/bgpd --version | sed -n 's/^bgpd version //p'; }
