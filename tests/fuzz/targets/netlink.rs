//! What the kernel says over rtnetlink, and the dataplane behind it: no octets panic, a datagram tells of no more
//! than it has messages and of each operation once, what is asked for thereupon is whole, and nothing spins.
#![no_main]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use dunlin::dataplane::netlink::{Dialogue, answer};
use dunlin::dataplane::{
    Action, Adopt, Dataplane, FarEnd, Forwarding, KernelInput, NextHop, Op, OpId, Settings, Tunnel,
    TunnelKind,
};
use dunlin::net::Mac;
use dunlin::time::{Duration, Instant};
use libfuzzer_sys::fuzz_target;

const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// The links of a node, as a kernel told of them: what comes later is read in their light.
static LINKS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let text = include_str!("../../../proto-fixtures/netlink/links.hex");
    let octets = text
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    octets
        .map(|octet| u8::from_str_radix(octet, 16).unwrap())
        .collect()
});

/// A node that wants of everything something.
fn plane(way: u8) -> Dataplane {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let mut plane = Dataplane::new(Settings {
        adopt: Adopt {
            bird: way & 1 != 0,
            felix: way & 1 != 0,
        },
        max_hops: 4,
        window: 16,
        ..Settings::default()
    });
    plane.set_pools(vec![
        "10.77.0.0/16".parse().unwrap(),
        "fd00:77::/32".parse().unwrap(),
    ]);
    plane.set_nodes([address("192.0.2.2"), address("2001:db8::2")].into_iter());
    let via = |hops: &[&str]| Forwarding::Via(hops.iter().map(|hop| NextHop::routed(address(hop))).collect());
    let wishes = [
        ("10.77.0.0/24", Forwarding::Blackhole),
        ("10.77.2.0/24", via(&["192.0.2.2", "192.0.2.3", "192.0.2.77"])),
        ("10.77.3.0/24", via(&["10.77.5.1", "fe80::2"])),
        (
            "10.77.1.0/24",
            Forwarding::Via(vec![NextHop::through(
                address("10.77.1.0"),
                "vxlan.calico".into(),
            )]),
        ),
        ("fd00:77::/64", Forwarding::Blackhole),
        ("fd00:77:2::/64", via(&["2001:db8::2", "2001:db8:1::7"])),
        (
            "fd00:77:4::/64",
            Forwarding::Via(vec![NextHop::through(address("2001:db8::2"), "tunl6".into())]),
        ),
    ];
    for (prefix, forwarding) in wishes {
        plane.want(prefix.parse().unwrap(), forwarding);
    }
    let tunnel = |name: &str, kind, underlay: &str, on: &str, far_ends| Tunnel {
        name: Arc::from(name),
        kind,
        underlay: address(underlay),
        address: Some(address(on)),
        mtu: None,
        far_ends,
        toward: vec![],
    };
    let vxlan = TunnelKind::Vxlan {
        vni: 4096,
        port: 4789,
        mac: Mac([0x66, 0, 0, 0, 0, 1]),
        checksum_offload: false,
    };
    let far_end = FarEnd {
        address: address("10.77.1.0"),
        mac: Mac([0x66, 0, 0, 0, 1, 1]),
        node: address("192.0.2.2"),
    };
    let tunnels = vec![
        tunnel("vxlan.calico", vxlan, "192.0.2.1", "10.77.0.0", vec![far_end]),
        tunnel("tunl0", TunnelKind::Ipip, "192.0.2.1", "10.77.0.1", vec![]),
        tunnel("tunl6", TunnelKind::Ip6tnl, "2001:db8::1", "fd00:77::1", vec![]),
    ];
    plane.set_tunnels(Instant::from_secs(1), tunnels);
    plane.converged();
    plane
}

/// The octets up to the end of what answers a request, as datagrams of a dump end.
fn datagram(octets: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    while let Some([a, b, c, d, k0, k1]) = octets.get(end..).and_then(|rest| rest.first_chunk::<6>()) {
        let length = u32::from_ne_bytes([*a, *b, *c, *d]) as usize;
        if length < HEADER || length > octets.len() - end {
            return (octets, &[]);
        }
        end = (end + length.next_multiple_of(4)).min(octets.len());
        if matches!(u16::from_ne_bytes([*k0, *k1]), ERROR | DONE) {
            break;
        }
    }
    if end == 0 {
        (octets, &[])
    } else {
        octets.split_at(end)
    }
}

/// The number that the kernel answers with.
fn sequence(datagram: &[u8]) -> u32 {
    datagram
        .get(8..)
        .and_then(|rest| rest.first_chunk())
        .map_or(1, |number| u32::from_ne_bytes(*number))
}

/// A kernel that says what the input has, and a dataplane that believes it.
struct World {
    now: Instant,
    plane: Dataplane,
    dialogue: Dialogue,
    /// Operations that nothing was told of.
    open: BTreeSet<OpId>,
}

impl World {
    /// Asks for what the dataplane wants, by the numbers that the next datagram answers.
    fn ask(&mut self, first: u32) {
        for (number, op) in (0..).zip(self.plane.poll_ops(16)) {
            let sequence = first.wrapping_add(number);
            self.open.insert(op.id);
            self.request(sequence, &op);
        }
        let mut bytes = Vec::new();
        for number in 0..16 {
            if !self.dialogue.ask_rest(&mut bytes, first.wrapping_add(number)) {
                break;
            }
        }
    }

    fn request(&mut self, sequence: u32, op: &Op) {
        let done = KernelInput::Done {
            id: op.id,
            result: Ok(()),
        };
        match &op.action {
            Action::Dump => self.dialogue.dumping(sequence, op.id),
            Action::Tune(_) | Action::Offload { .. } => self.take(done),
            _ => {
                let mut bytes = Vec::new();
                self.dialogue.ask(&mut bytes, sequence, op);
                let length = bytes
                    .first_chunk()
                    .map_or(0, |length| u32::from_ne_bytes(*length) as usize);
                assert!(
                    length >= HEADER && length.next_multiple_of(4) == bytes.len(),
                    "{op:?}"
                );
            }
        }
    }

    fn take(&mut self, input: KernelInput) {
        match input {
            KernelInput::Done { id, .. } => assert!(self.open.remove(&id), "{input:?}"),
            KernelInput::Carried { first, last } => {
                assert!(first == last && self.open.remove(&first), "{input:?}")
            }
            _ => {}
        }
        self.plane.handle(self.now, input);
    }

    fn hear(&mut self, datagram: &[u8], news: bool) {
        let outstanding = self.dialogue.outstanding();
        let mut inputs = Vec::new();
        let over = if news {
            self.dialogue.hear_news(datagram, |input| inputs.push(input));
            false
        } else {
            self.dialogue.hear_results(datagram, |input| inputs.push(input))
        };
        let answered = outstanding - self.dialogue.outstanding();
        assert!(inputs.len() <= datagram.len() / HEADER + answered);
        if over {
            self.dialogue
                .next_stage(sequence(datagram).wrapping_add(1), |input| inputs.push(input));
        }
        for input in inputs {
            self.take(input);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        let mut turns = 0;
        while let Some(at) = self.plane.next_timeout().filter(|at| *at <= self.now) {
            self.plane.handle_timeout(at.max(self.now));
            self.ask(0);
            turns += 1;
            assert!(turns < 64, "the timers spin");
        }
        let reports = std::iter::from_fn(|| self.plane.poll_report()).count();
        let resolutions = std::iter::from_fn(|| self.plane.poll_resolution()).count();
        assert!(reports < 4096 && resolutions < 4096);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&way, octets)) = input.split_first() else {
        return;
    };
    let mut world = World {
        now: Instant::from_secs(1),
        plane: plane(way),
        dialogue: Dialogue::default(),
        open: BTreeSet::new(),
    };
    if way & 2 != 0 {
        world.ask(1);
        world.hear(&LINKS, false);
    }
    let mut rest = octets;
    while !rest.is_empty() {
        let (next, after) = datagram(rest);
        rest = after;
        let _any = answer(next, sequence(next));
        world.ask(sequence(next));
        world.hear(next, way & 4 != 0);
        world.pass(Duration::from_millis(u64::from(way >> 3)));
    }
    if way & 128 != 0 {
        let mut inputs = vec![KernelInput::Overrun];
        world.dialogue.lose(|input| inputs.push(input));
        for input in inputs {
            world.take(input);
        }
    }
    // Whatever was said: what is left to ask for comes to an end.
    for _ in 0..4 {
        world.ask(1);
        world.pass(Duration::from_secs(1));
    }
});
