//! Since when a route is as it is: the paths in use, and nothing else, decide.

use dunlin::net::Prefix;
use dunlin::rib::{DecisionConfig, ExportKind, PeerIndex, PeerKind, RibConfig};
use dunlin::time::Instant;

use crate::rib_support::{Net, attributes, prefix, rib};

struct Table {
    net: Net,
    secs: u64,
}

impl Table {
    fn new() -> Self {
        let mut net = Net::new(rib(RibConfig {
            decision: DecisionConfig {
                max_paths: 1,
                ..DecisionConfig::default()
            },
            ..RibConfig::default()
        }));
        for peer in 1..=2 {
            net.up_with(peer, PeerKind::Ibgp, ExportKind::Ibgp, false);
        }
        Self { net, secs: 0 }
    }

    /// A hundred seconds later.
    fn later(&mut self) -> u64 {
        self.secs += 100;
        self.net.rib.set_now(Instant::from_secs(self.secs));
        self.secs
    }

    fn announce(&mut self, peer: u32, prefix: Prefix, preference: u32, accepted: bool) {
        let mut attributes = attributes(&[], peer, prefix);
        attributes.local_pref = Some(preference);
        let id = self.net.rib.intern(&attributes);
        self.net
            .rib
            .announce(PeerIndex(peer), prefix, 0, id, accepted);
        self.net.rib.release(id);
    }

    fn since(&self, prefix: Prefix) -> Option<Instant> {
        self.net.rib.lookup(prefix).and_then(|route| route.since)
    }
}

#[test]
fn a_route_is_as_old_as_the_paths_in_use() {
    for number in [1, 2] {
        let mut table = Table::new();
        let prefix = prefix(number);
        let first = table.later();
        table.announce(1, prefix, 200, true);
        let at = |secs: u64| Some(Instant::from_secs(secs));
        assert_eq!(table.since(prefix), at(first));
        table.later();
        table.announce(1, prefix, 200, true);
        assert_eq!(table.since(prefix), at(first), "said again");
        table.later();
        table.announce(2, prefix, 100, true);
        assert_eq!(table.since(prefix), at(first), "a worse one");
        let changed = table.later();
        table.announce(1, prefix, 150, true);
        assert_eq!(table.since(prefix), at(changed), "other attributes");
        let lost = table.later();
        table.net.rib.withdraw(PeerIndex(1), prefix, 0);
        assert_eq!(table.since(prefix), at(lost), "the other one is best");
        let refused = table.later();
        table.announce(2, prefix, 100, false);
        assert_eq!(table.since(prefix), at(refused), "none is");
        table.later();
        table.net.rib.withdraw(PeerIndex(2), prefix, 0);
        let back = table.later();
        table.announce(2, prefix, 100, true);
        assert_eq!(table.since(prefix), at(back), "it was away");
    }
}
