//! One `[[ip-pool]]`: a range of pod addresses and how its packets travel.
//!
//! It reads one table; whether pools overlap is `assemble`'s to say.

use super::problem::Problems;
use super::record::{Places, Record, plain};
use super::scalar::{self, one_of};
use super::schema::{ENCAPSULATIONS, MODES};
use super::table::TableReader;
use crate::topology::{Pool, PoolMode};

/// Reads a table; `None` if it has no range that could be read.
pub(crate) fn read_pool(table: &TableReader<'_>, problems: &mut Problems) -> Option<Record<Pool>> {
    let mut places = Places::default();
    let (ipip_mode, vxlan_mode) = read_modes(table, &mut places, problems);
    let nat_outgoing = plain(table.read("nat-outgoing", scalar::boolean, problems));
    let disabled = plain(table.read("disabled", scalar::boolean, problems));
    let unexported = plain(table.read("disable-bgp-export", scalar::boolean, problems));
    let name = places.note("name", table.read("name", scalar::name, problems));
    let cidr = places.note("cidr", table.require("cidr", scalar::prefix, problems))?;
    let pool = Pool {
        name: name.unwrap_or_else(|| cidr.to_string()),
        cidr,
        ipip_mode,
        vxlan_mode,
        nat_outgoing: nat_outgoing.unwrap_or(false),
        disabled: disabled.unwrap_or(false),
        disable_bgp_export: unexported.unwrap_or(false),
    };
    Some(places.record(table, pool, Vec::new()))
}

/// The modes of IP-in-IP and VXLAN, from two keys or from the one that stands for both.
fn read_modes(
    table: &TableReader<'_>,
    places: &mut Places,
    problems: &mut Problems,
) -> (PoolMode, PoolMode) {
    let both = table.read("encapsulation", one_of(ENCAPSULATIONS), problems);
    let mut mode = |key: &'static str| {
        let mode = places.note(key, table.read(key, one_of(MODES), problems));
        if table.has("encapsulation") && table.has(key) {
            let (key, alias) = (table.word(key), table.word("encapsulation"));
            let message = format!("a pool has {alias:?} or {key:?}, not both");
            problems.error(&table.key_place("encapsulation"), message);
        }
        mode.unwrap_or_default()
    };
    let (ipip, vxlan) = (mode("ipip-mode"), mode("vxlan-mode"));
    if let Some(both) = both {
        return both.value;
    }
    if ipip != PoolMode::Never && vxlan != PoolMode::Never {
        let (ipip, vxlan) = (table.word("ipip-mode"), table.word("vxlan-mode"));
        let message = format!("a pool has {ipip:?} or {vxlan:?}, not both; set one to \"Never\"");
        problems.error(&table.key_place("vxlan-mode"), message);
    }
    (ipip, vxlan)
}
