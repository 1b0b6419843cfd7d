//! Nexthop objects of the kernel (`ip nexthop`): the hops of other programs' routes, apart from them. Ours
//! have none.
//!
//! A route names its object, and with `net.ipv4.nexthop_compat_mode=0` it says nothing else. An object that
//! goes takes its routes with it, and the kernel tells of the object at most. What always holds here: a
//! group has only members that are there, and no group is empty.

use std::collections::{BTreeMap, BTreeSet};

use super::route::Hop;

/// A nexthop object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// One way out.
    Hop(Hop),
    /// Several objects by number, with their weights.
    Group(Box<[(u32, u16)]>),
    /// Drops everything.
    Blackhole,
}

/// Those that are there.
#[derive(Debug, Clone, Default)]
pub(super) struct Objects(BTreeMap<u32, Object>);

impl Objects {
    pub(super) fn set(&mut self, id: u32, object: Object) {
        self.0.insert(id, object);
    }

    pub(super) fn get(&self, id: u32) -> Option<&Object> {
        self.0.get(&id)
    }

    /// Removes an object; which ones are gone by it: groups without another member, too.
    pub(super) fn remove(&mut self, id: u32) -> BTreeSet<u32> {
        let gone = self.0.remove(&id).map(|_| id);
        self.leave_groups(gone.into_iter().collect())
    }

    /// Removes those over links that can't be used, as the kernel does without a word.
    pub(super) fn remove_over(&mut self, dead: impl Fn(&Hop) -> bool) -> BTreeSet<u32> {
        let over = self.0.iter().filter_map(|(id, object)| match object {
            Object::Hop(hop) => dead(hop).then_some(*id),
            Object::Group(_) | Object::Blackhole => None,
        });
        let gone: BTreeSet<u32> = over.collect();
        for id in &gone {
            self.0.remove(id);
        }
        self.leave_groups(gone)
    }

    fn leave_groups(&mut self, mut gone: BTreeSet<u32>) -> BTreeSet<u32> {
        if gone.is_empty() {
            return gone;
        }
        let mut empty = BTreeSet::new();
        for (id, object) in &mut self.0 {
            let Object::Group(members) = object else {
                continue;
            };
            if members.iter().any(|(member, _)| gone.contains(member)) {
                let left = members.iter().filter(|(member, _)| !gone.contains(member));
                *members = left.copied().collect();
                if members.is_empty() {
                    empty.insert(*id);
                }
            }
        }
        self.0.retain(|id, _| !empty.contains(id));
        gone.extend(empty);
        gone
    }

    /// The hops behind a number; none if it is not known, or drops. A group's member is no group.
    pub(super) fn hops(&self, id: u32) -> Option<Vec<Hop>> {
        match self.0.get(&id)? {
            Object::Hop(hop) => Some(vec![*hop]),
            Object::Group(members) => {
                let hop = |(member, weight): &(u32, u16)| match self.0.get(member)? {
                    Object::Hop(hop) => Some(Hop {
                        weight: *weight,
                        ..*hop
                    }),
                    Object::Group(_) | Object::Blackhole => None,
                };
                Some(members.iter().filter_map(hop).collect())
            }
            Object::Blackhole => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_goes_with_its_last_member() {
        let hop = |n: u32| Hop::new(std::net::Ipv4Addr::from(n).into(), n);
        let mut objects = Objects::default();
        for n in 1..4 {
            objects.set(n, Object::Hop(hop(n)));
        }
        objects.set(9, Object::Group([(1, 1), (2, 5)].into()));
        assert_eq!(
            objects.hops(9).unwrap(),
            [
                hop(1),
                Hop {
                    weight: 5,
                    ..hop(2)
                }
            ]
        );
        assert_eq!(objects.remove(3), [3].into());
        assert_eq!(objects.remove(3), [].into());
        let over = |link| move |hop: &Hop| hop.interface == Some(link);
        assert_eq!(objects.remove_over(over(1)), [1].into());
        assert_eq!(
            objects.hops(9).unwrap(),
            [Hop {
                weight: 5,
                ..hop(2)
            }]
        );
        assert_eq!(objects.remove(2), [2, 9].into());
        assert_eq!(objects.hops(9), None);
        objects.set(4, Object::Blackhole);
        assert_eq!(objects.hops(4), None);
    }
}
