//! The kernel thread driven by hand, for the tests of what the dataplane asks of the kernel.
#![expect(clippy::unwrap_used, reason = "a test that can't go on says where")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;
use std::sync::mpsc::{Receiver, sync_channel};

use dunlin::dataplane::netlink::{Kernel, KernelSettings};
use dunlin::dataplane::{
    Action, Change, Device, Errno, KernelInput, Link, LinkSetting, LinkSpec, Op, OpId,
};
use dunlin::net::Mac;

pub(super) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
pub(super) const V4: &str = "vxlan.calico";
pub(super) const V6: &str = "vxlan-v6.calico";

pub(super) fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

pub(super) fn bridge(arguments: &str) -> String {
    run("bridge", arguments)
}

/// The kernel thread, driven by hand.
pub(super) struct Wire {
    kernel: Kernel,
    pub(super) inputs: Receiver<Vec<KernelInput>>,
    next: u64,
    /// What was heard and not asked for yet.
    pub(super) heard: Vec<Change>,
    pub(super) links: BTreeMap<u32, Link>,
}

impl Wire {
    pub(super) fn new() -> Self {
        let (sender, inputs) = sync_channel(64);
        let sink = move |batch| sender.send(batch).is_ok();
        let kernel = Kernel::spawn(KernelSettings::default(), sink).unwrap();
        Self {
            kernel,
            inputs,
            next: 0,
            heard: Vec::new(),
            links: BTreeMap::new(),
        }
    }

    pub(super) fn note(&mut self, change: Change) {
        self.note_link(&change);
        self.heard.push(change);
    }

    pub(super) fn note_link(&mut self, change: &Change) {
        match change {
            Change::Link(link) => {
                self.links.insert(link.index, Link::clone(link));
            }
            Change::LinkGone { index } => {
                self.links.remove(index);
            }
            _ => {}
        }
    }

    /// Hands over all of `actions` at once; their results, which come in this order.
    pub(super) fn all(&mut self, actions: Vec<Action>) -> (Vec<Result<(), Errno>>, Vec<Change>) {
        let first = self.next;
        let ops: Vec<Op> = actions
            .into_iter()
            .map(|action| {
                self.next += 1;
                let id = OpId(self.next - 1);
                Op { id, action }
            })
            .collect();
        assert!(self.kernel.send(ops));
        let (mut results, mut rows) = (Vec::new(), Vec::new());
        while first + (results.len() as u64) < self.next {
            for input in self.inputs.recv_timeout(PATIENCE).unwrap() {
                match input {
                    KernelInput::Done { id, result } => {
                        assert_eq!(id.0, first + results.len() as u64, "results are in order");
                        results.push(result);
                    }
                    KernelInput::Carried { first: from, last } => {
                        assert_eq!(from.0, first + results.len() as u64, "results are in order");
                        results.extend((from.0..=last.0).map(|_| Ok(())));
                    }
                    KernelInput::Changed(change) => self.note(change),
                    KernelInput::Dumped(row) => rows.push(row),
                    KernelInput::Overrun => panic!("an overrun"),
                }
            }
        }
        (results, rows)
    }

    pub(super) fn ask(&mut self, action: Action) -> Result<(), Errno> {
        self.all(vec![action]).0.remove(0)
    }

    pub(super) fn dump(&mut self) -> Vec<Change> {
        let (results, rows) = self.all(vec![Action::Dump]);
        assert_eq!(results, [Ok(())]);
        for row in &rows {
            self.note_link(row);
        }
        rows
    }

    /// The next change that `pick` wants; what came before it is dropped.
    pub(super) fn hear<T>(&mut self, what: &str, pick: impl Fn(&Change) -> Option<T>) -> T {
        let give_up = std::time::Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.heard.iter().position(|change| pick(change).is_some()) {
                let found = self.heard.drain(..=at).next_back().unwrap();
                return pick(&found).unwrap();
            }
            let left = give_up.saturating_duration_since(std::time::Instant::now());
            let Ok(batch) = self.inputs.recv_timeout(left) else {
                panic!("never heard: {what}; only {:?}", self.heard);
            };
            for input in batch {
                if let KernelInput::Changed(change) = input {
                    self.note(change);
                }
            }
        }
    }

    pub(super) fn hear_exactly(&mut self, change: &Change) {
        self.hear(&format!("{change:?}"), |heard| {
            (heard == change).then_some(())
        });
    }

    /// The link of this name, as it was last told.
    pub(super) fn link(&self, name: &str) -> &Link {
        let found = self.links.values().find(|link| &*link.name == name);
        found.unwrap_or_else(|| panic!("{name} was never told: {:?}", self.links))
    }

    pub(super) fn made(&mut self, spec: &LinkSpec) -> u32 {
        assert_eq!(
            self.ask(Action::AddLink(Box::new(spec.clone()))),
            Ok(()),
            "{spec:?}"
        );
        self.link(&spec.name).index
    }

    pub(super) fn set(&mut self, index: u32, setting: LinkSetting) {
        assert_eq!(self.ask(Action::SetLink { index, setting }), Ok(()));
    }
}

pub(super) fn vxlan(name: &str, local: &str, parent: Option<u32>) -> LinkSpec {
    LinkSpec {
        name: name.into(),
        device: Device::Vxlan {
            vni: 4096,
            port: 4789,
            local: Some(local.parse().unwrap()),
            parent,
            learning: false,
            external: false,
        },
        mtu: 1430,
        mac: Some("66:3f:bd:27:5e:a2".parse().unwrap()),
        alias: "dunlin".into(),
    }
}

pub(super) fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

pub(super) fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}
