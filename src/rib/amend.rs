//! Another judgement of a path that is there: its peer has said nothing new.
//!
//! It is no announcement: a path that is stale stays so until the peer itself repeats it.

use super::Rib;
use super::attributes::AttributesId;
use super::path::Path;
use super::peer::PeerIndex;
use crate::net::Prefix;

impl Rib {
    /// Gives a path other attributes or another judgement; nothing happens if there is none. Gives
    /// whether the best path changed.
    pub fn amend(
        &mut self,
        peer: PeerIndex,
        prefix: Prefix,
        path_id: u32,
        attributes: AttributesId,
        accepted: bool,
    ) -> bool {
        let Some(found) = self.path_of(peer, prefix, path_id) else {
            return false;
        };
        let path = Path {
            attributes,
            accepted,
            ..found
        };
        self.enter(prefix, path)
    }

    fn path_of(&self, peer: PeerIndex, prefix: Prefix, path_id: u32) -> Option<Path> {
        let paths = match prefix {
            Prefix::V4(prefix) => {
                let map = &self.tables.v4.map;
                &map.get(map.find(prefix)?)?.paths
            }
            Prefix::V6(prefix) => {
                let map = &self.tables.v6.map;
                &map.get(map.find(prefix)?)?.paths
            }
        };
        let same = |path: &&Path| path.peer == peer && path.path_id == path_id;
        paths.as_slice().iter().find(same).copied()
    }
}
