//! Which of several addresses comes first.

use core::cmp::Ordering;

use super::Seen;
use super::reason::Behind;

/// By which order candidates are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// What is on record or in use while it is valid; then links that work, then the link of the
    /// default route, then the lowest index.
    #[default]
    Preferred,
    /// The highest index first, whatever the state of the link; nothing is kept.
    Calico,
}

impl Order {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preferred => "preferred",
            Self::Calico => "calico",
        }
    }

    /// Which of two comes first.
    pub(super) fn compare(self, a: &Seen<'_>, b: &Seen<'_>) -> Ordering {
        let by_index = a.link.index.cmp(&b.link.index);
        let by_link = match self {
            Self::Preferred => a
                .trouble()
                .cmp(&b.trouble())
                .then(b.on_default_route.cmp(&a.on_default_route))
                .then(by_index),
            Self::Calico => by_index.reverse(),
        };
        by_link
            .then(b.primary.cmp(&a.primary))
            .then(a.address.address.cmp(&b.address.address))
    }

    /// Why `seen` comes after `first`.
    pub(super) fn why(self, seen: &Seen<'_>, first: &Seen<'_>) -> Behind {
        let link = || first.link.name.clone();
        if self == Self::Preferred {
            if seen.trouble() != first.trouble() {
                return if seen.link.up {
                    Behind::NoCarrier
                } else {
                    Behind::LinkDown
                };
            }
            if seen.on_default_route != first.on_default_route {
                return Behind::NotTheDefaultRoutes { link: link() };
            }
        }
        if seen.link.index != first.link.index {
            return match self {
                Self::Preferred => Behind::LaterLink { link: link() },
                Self::Calico => Behind::EarlierLink { link: link() },
            };
        }
        if seen.primary != first.primary {
            Behind::Secondary
        } else {
            Behind::HigherAddress
        }
    }
}

impl Seen<'_> {
    /// 0 on a link that works, more on others.
    fn trouble(&self) -> u8 {
        match (self.link.up, self.link.lower_up) {
            (true, true) => 0,
            (true, false) => 1,
            (false, _) => 2,
        }
    }
}
