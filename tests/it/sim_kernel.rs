//! A kernel that does what it is told: one link, one connected subnet, and a log of what was written.
//!
//! A prefix has a route for each metric, as in Linux. The log tells of prefixes, not of metrics: "add" is the
//! first route to a prefix, "delete" the end of the last one, all between is "replace".

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use dunlin::dataplane::{Action, Address, Change, Hop, KernelInput, KernelRoute, Link, Op, Shape};
use dunlin::net::Prefix;
use dunlin::time::Instant;

/// Routes by prefix, and what was done to them.
#[derive(Default)]
pub(crate) struct FakeKernel {
    pub(crate) routes: BTreeMap<(Prefix, u32), KernelRoute>,
    pub(crate) log: Vec<(Instant, &'static str, Prefix)>,
    pub(crate) device: Option<(IpAddr, Prefix)>,
}

impl FakeKernel {
    pub(crate) fn operate(&mut self, now: Instant, op: Op) -> Vec<KernelInput> {
        let mut inputs = Vec::new();
        // Echoes of one's own operations are told apart by the netlink part and go no further.
        match &op.action {
            Action::Add(route) | Action::Replace(route) => {
                let word = if self.stands(route.prefix) {
                    "replace"
                } else {
                    "add"
                };
                let key = (route.prefix, route.metric);
                self.routes.insert(key, route.clone());
                self.log.push((now, word, route.prefix));
            }
            Action::Delete(route) => {
                self.routes.remove(&(route.prefix, route.metric));
                if !self.stands(route.prefix) {
                    self.log.push((now, "delete", route.prefix));
                }
            }
            Action::Dump => inputs = self.dump(),
            // Devices are granted and not kept: these scenarios have none.
            _ => {}
        }
        inputs.push(KernelInput::Done {
            id: op.id,
            result: Ok(()),
        });
        inputs
    }

    fn stands(&self, prefix: Prefix) -> bool {
        let keys = (prefix, 0)..=(prefix, u32::MAX);
        self.routes.range(keys).next().is_some()
    }

    /// The route that packets to a prefix take, by its metric.
    pub(crate) fn best(&self, prefix: Prefix) -> Option<&KernelRoute> {
        let keys = (prefix, 0)..=(prefix, u32::MAX);
        self.routes.range(keys).next().map(|(_, route)| route)
    }

    fn dump(&self) -> Vec<KernelInput> {
        let mut changes = vec![Change::Link(Box::new(Link::named(2, "eth0")))];
        if let Some((address, subnet)) = self.device {
            changes.push(Change::Address(Address {
                interface: 2,
                address,
                len: subnet.len(),
            }));
            let hop = Hop {
                via: None,
                interface: Some(2),
                onlink: false,
                weight: 1,
            };
            changes.push(Change::Route {
                route: KernelRoute {
                    prefix: subnet,
                    table: 254,
                    metric: 0,
                    protocol: 2,
                    shape: Arc::new(Shape::unicast([hop])),
                },
                replaced: false,
            });
        }
        let own = self.routes.values().map(|route| Change::Route {
            route: route.clone(),
            replaced: false,
        });
        changes.extend(own);
        changes.into_iter().map(KernelInput::Dumped).collect()
    }
}
