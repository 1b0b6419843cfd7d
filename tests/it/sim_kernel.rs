//! A kernel that does what it is told: one link, one connected subnet, and a log of what was written.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use dunlin::dataplane::{Action, Address, Change, Hop, KernelInput, KernelRoute, Link, Op, Shape};
use dunlin::net::Prefix;
use dunlin::time::Instant;

/// Routes by prefix, and what was done to them.
#[derive(Default)]
pub(crate) struct FakeKernel {
    pub(crate) routes: BTreeMap<Prefix, KernelRoute>,
    pub(crate) log: Vec<(Instant, &'static str, Prefix)>,
    pub(crate) device: Option<(IpAddr, Prefix)>,
}

impl FakeKernel {
    pub(crate) fn operate(&mut self, now: Instant, op: Op) -> Vec<KernelInput> {
        let mut inputs = Vec::new();
        // Echoes of one's own operations are told apart by the netlink part and go no further.
        match &op.action {
            Action::Add(route) | Action::Replace(route) => {
                let before = self.routes.insert(route.prefix, route.clone());
                let word = if before.is_some() { "replace" } else { "add" };
                self.log.push((now, word, route.prefix));
            }
            Action::Delete(route) => {
                self.log.push((now, "delete", route.prefix));
                self.routes.remove(&route.prefix);
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
