//! What is asked of the tables when policy changes: another verdict on a path that is there, another
//! look at destinations. Policy itself is the speaker's.

use super::prefix_map::{DestinationId, TableKey};
use super::table::Table;
use super::{AttributesId, Path, Rib};
use crate::net::{Family, Prefix};

impl Rib {
    /// Gives a path another verdict and the attributes that go with it; unlike an announcement it
    /// confirms nothing, so that what is stale stays so. Gives whether the best path changed.
    pub fn judge(
        &mut self,
        prefix: Prefix,
        path: Path,
        attributes: AttributesId,
        accepted: bool,
    ) -> bool {
        let path = Path {
            attributes,
            accepted,
            ..path
        };
        self.enter_all(false, core::iter::once((prefix, path)))
    }

    /// Has all groups look again at what is inside these prefixes: whether it goes out has changed,
    /// though no route has.
    pub fn look_again_inside(&mut self, prefixes: &[Prefix]) {
        for family in Family::ALL {
            if !prefixes.iter().any(|prefix| prefix.family() == family) {
                continue;
            }
            let ids = match family {
                Family::Ipv4 => inside(&self.tables.v4, prefixes),
                Family::Ipv6 => inside(&self.tables.v6, prefixes),
            };
            for id in ids {
                self.exports.mark(family, id, |_| true);
            }
        }
    }

    /// The policies that some group needs, by their numbers in its keys.
    pub fn policies(&self) -> Vec<u32> {
        self.exports.policies()
    }
}

fn inside<P: TableKey>(table: &Table<P>, prefixes: &[Prefix]) -> Vec<DestinationId> {
    let is_inside = |id: &DestinationId| {
        let destination = table.map.get(*id);
        destination.is_some_and(|found| {
            let prefix: Prefix = found.prefix.into();
            let around = |range: &Prefix| range.covers(prefix) && *range != prefix;
            !found.paths.as_slice().is_empty() && prefixes.iter().any(around)
        })
    };
    (0..table.map.end()).filter(is_inside).collect()
}
