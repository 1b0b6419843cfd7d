//! A fixture's bytes and a message as stable text, shared by the wire tests.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use dunlin::net::{AfiSafi, Family};
use dunlin::wire::attribute::PathAttributes;
use dunlin::wire::frame::{self, MAX_EXTENDED_LEN, MAX_LEN, MessageKind, Step};
use dunlin::wire::notification::Notification;
use dunlin::wire::open::Open;
use dunlin::wire::route_refresh::RouteRefresh;
use dunlin::wire::update::{self, DecodeContext, Nlri, RawUpdate, Treatment, Update};

/// A four-octet eBGP session with both families and nothing else.
pub(crate) const PLAIN: DecodeContext = DecodeContext {
    four_octet_as: true,
    ebgp: true,
    add_path: [false, false],
    families: [true, true],
    extended_next_hop: false,
    permit_as_sets: false,
    beside: false,
};

/// One file of `proto-fixtures`.
pub(crate) struct Fixture {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) provenance: Option<String>,
    pub(crate) must: String,
    pub(crate) tshark: Option<String>,
    pub(crate) ctx: DecodeContext,
    pub(crate) max: usize,
}

impl Fixture {
    pub(crate) fn name(&self) -> String {
        self.path
            .strip_prefix(folder())
            .unwrap()
            .display()
            .to_string()
    }

    pub(crate) fn is_bad(&self) -> bool {
        self.path.components().any(|c| c.as_os_str() == "bad")
    }

    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut fixture = Self {
            path: path.to_owned(),
            bytes: Vec::new(),
            provenance: None,
            must: String::new(),
            tshark: None,
            ctx: PLAIN,
            max: MAX_LEN,
        };
        for line in text.lines() {
            let (octets, comment) = line.split_once('#').unwrap_or((line, ""));
            for octet in octets.split_whitespace() {
                let octet = u8::from_str_radix(octet, 16);
                fixture
                    .bytes
                    .push(octet.unwrap_or_else(|_| panic!("{}: {line}", path.display())));
            }
            match comment.trim().split_once(": ") {
                Some(("provenance", value)) => fixture.provenance = Some(value.to_owned()),
                Some(("must", value)) => fixture.must = value.to_owned(),
                Some(("tshark", value)) => fixture.tshark = Some(value.to_owned()),
                Some(("context", value)) => value.split(' ').for_each(|word| fixture.context(word)),
                Some(_) | None => {}
            }
        }
        fixture
    }

    fn context(&mut self, word: &str) {
        match word {
            "ebgp" => self.ctx.ebgp = true,
            "ibgp" => self.ctx.ebgp = false,
            "as4" => self.ctx.four_octet_as = true,
            "as2" => self.ctx.four_octet_as = false,
            "sets" => self.ctx.permit_as_sets = true,
            "add-path4" => self.ctx.add_path[0] = true,
            "add-path6" => self.ctx.add_path[1] = true,
            "extended-next-hop" => self.ctx.extended_next_hop = true,
            "extended-message" => self.max = MAX_EXTENDED_LEN,
            other => panic!("{}: context {other}?", self.path.display()),
        }
    }
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-fixtures")
}

/// All fixtures, in order of their names.
pub(crate) fn fixtures() -> Vec<Fixture> {
    fn walk(folder: &Path, out: &mut Vec<Fixture>) {
        let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "hex") {
                out.push(Fixture::read(&path));
            }
        }
    }
    let mut out = Vec::new();
    for kind in [
        "bad",
        "keepalive",
        "notification",
        "open",
        "route-refresh",
        "update",
    ] {
        walk(&folder().join(kind), &mut out);
    }
    out
}

/// What dunlin makes of a message: its text, and its reaction in the words of a `must` line.
pub(crate) struct Outcome {
    pub(crate) text: String,
    pub(crate) reaction: String,
}

impl Outcome {
    fn accept(text: String) -> Self {
        Self {
            text,
            reaction: "accept".to_owned(),
        }
    }

    fn reset(error: &dyn std::error::Error, notification: &Notification) -> Self {
        let Notification {
            code,
            subcode,
            data,
        } = notification;
        let mut reaction = format!("reset {code}/{subcode}");
        if !data.is_empty() && *code != 7 {
            reaction.push_str(&format!(" {}", hex(data)));
        }
        let text = format!("error: {error}\nnotification: {notification}\n");
        Self { text, reaction }
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        write!(text, "{octet:02x}").unwrap();
        text
    })
}

/// Frames and decodes one message.
pub(crate) fn outcome(bytes: &[u8], ctx: &DecodeContext, max: usize) -> Outcome {
    let kind = match frame::next(bytes, max) {
        Err(error) => return Outcome::reset(&error, &error.notification()),
        Ok(Step::NeedMore(missing)) => {
            return Outcome::accept(format!("{missing} octets are missing\n"));
        }
        Ok(Step::Message { kind, len }) => {
            assert_eq!(len, bytes.len(), "one message a fixture");
            kind
        }
    };
    let (_, body) = frame::messages(bytes).next().unwrap();
    match kind {
        MessageKind::Keepalive => Outcome::accept("KEEPALIVE\n".to_owned()),
        MessageKind::Open => match Open::decode(body) {
            Ok(open) => Outcome::accept(open_text(&open)),
            Err(error) => Outcome::reset(&error, &error.notification()),
        },
        MessageKind::Notification => match Notification::decode(body) {
            Ok(n) => Outcome::accept(format!("NOTIFICATION\n{n}\ndata: {}\n", hex(&n.data))),
            Err(error) => Outcome::reset(&error, &error.notification()),
        },
        MessageKind::RouteRefresh => match RouteRefresh::decode(body) {
            Ok(RouteRefresh { family, subtype }) => Outcome::accept(format!(
                "ROUTE-REFRESH\nfamily: {family}\nsubtype: {subtype}\n"
            )),
            Err(error) => Outcome::reset(&error, &error.notification()),
        },
        MessageKind::Update => {
            match RawUpdate::split(body).and_then(|raw| update::decode(raw, ctx)) {
                Ok(update) => Outcome {
                    text: update_text(&update),
                    reaction: match update.treatment {
                        None => "accept",
                        Some(Treatment::Discard) => "discard",
                        Some(Treatment::Withdraw) => "withdraw",
                    }
                    .to_owned(),
                },
                Err(error) => Outcome::reset(&error, &error.notification()),
            }
        }
    }
}

fn open_text(open: &Open) -> String {
    let mut text = format!(
        "OPEN\nmy AS field: {}\nAS: {}\nhold time: {}\nidentifier: {}\n",
        open.my_as,
        open.asn(),
        open.hold_time,
        open.router_id
    );
    let families: Vec<String> = open.families().iter().map(ToString::to_string).collect();
    writeln!(text, "families: {}", families.join(", ")).unwrap();
    for (name, on) in [
        ("four-octet AS", open.four_octet_as()),
        ("route refresh", open.route_refresh()),
        ("enhanced route refresh", open.enhanced_route_refresh()),
        ("extended message", open.extended_message()),
        (
            "IPv4 over IPv6 next hops",
            open.extended_next_hop(AfiSafi::IPV4_UNICAST, 2),
        ),
    ] {
        if on {
            writeln!(text, "{name}").unwrap();
        }
    }
    for family in Family::ALL {
        let mode = open.add_path(family.afi_safi());
        if mode > 0 {
            writeln!(text, "add-path {family}: {mode}").unwrap();
        }
    }
    if let Some(role) = open.role() {
        writeln!(text, "role: {role}").unwrap();
    }
    if let Some(restart) = open.graceful_restart() {
        writeln!(text, "graceful restart: {restart:?}").unwrap();
    }
    for (family, forwarding, time) in open.long_lived_graceful_restart() {
        writeln!(
            text,
            "long-lived {family}: forwarding {forwarding}, {time} s"
        )
        .unwrap();
    }
    if let Some((host, domain)) = open.fqdn() {
        writeln!(text, "fqdn: {host:?} {domain:?}").unwrap();
    }
    if open.capabilities.len() > 100 {
        writeln!(text, "{} capabilities", open.capabilities.len()).unwrap();
    } else {
        for capability in &open.capabilities {
            writeln!(text, "capability {}: {capability:?}", capability.code()).unwrap();
        }
    }
    text
}

fn update_text(update: &Update<'_>) -> String {
    let mut text = "UPDATE\n".to_owned();
    if let Some(family) = update.end_of_rib() {
        writeln!(text, "end of RIB: {family}").unwrap();
    }
    list(&mut text, "withdrawn", &update.withdrawn);
    if let Some((family, nlri)) = &update.mp_withdrawn {
        list(&mut text, &format!("withdrawn {family}"), nlri);
    }
    list(&mut text, "announced", &update.announced);
    if let Some(mp) = &update.mp_announced {
        list(&mut text, &format!("announced {}", mp.family), &mp.nlri);
        if !mp.nlri.is_ignored() {
            writeln!(text, "next hop {}: {:?}", mp.family, mp.next_hop).unwrap();
        }
    }
    attributes(&mut text, &update.attributes);
    for fault in &update.faults {
        writeln!(text, "fault: {fault}; {}", fault.treatment).unwrap();
    }
    text
}

fn list(text: &mut String, what: &str, nlri: &Nlri<'_>) {
    if nlri.is_ignored() {
        writeln!(text, "{what}: ignored").unwrap();
    } else if !nlri.is_empty() {
        let prefixes: Vec<String> = nlri
            .iter()
            .map(|(id, prefix)| {
                if id == 0 {
                    prefix.to_string()
                } else {
                    format!("{prefix} id {id}")
                }
            })
            .collect();
        writeln!(text, "{what}: {}", prefixes.join(", ")).unwrap();
    }
}

/// The fields that differ from those of an empty set, one a line.
fn attributes(text: &mut String, attributes: &PathAttributes) {
    if attributes == &PathAttributes::default() {
        return;
    }
    let mut shown = attributes.clone();
    for unknown in &mut shown.unknown {
        // Long enough to recognise.
        unknown.value.truncate(8);
    }
    writeln!(
        text,
        "origin: {:?}\nas path: {}",
        attributes.origin, attributes.as_path
    )
    .unwrap();
    let fields = [
        ("next hop", format!("{:?}", shown.next_hop)),
        ("med", format!("{:?}", shown.med)),
        ("local pref", format!("{:?}", shown.local_pref)),
        ("atomic aggregate", format!("{:?}", shown.atomic_aggregate)),
        ("aggregator", format!("{:?}", shown.aggregator)),
        ("communities", format!("{:x?}", shown.communities)),
        (
            "extended communities",
            format!("{:x?}", shown.extended_communities),
        ),
        (
            "large communities",
            format!("{:?}", shown.large_communities),
        ),
        ("originator", format!("{:?}", shown.originator_id)),
        ("cluster list", format!("{:?}", shown.cluster_list)),
        ("aigp", format!("{:?}", shown.aigp)),
        ("otc", format!("{:?}", shown.otc)),
        ("unknown", format!("{:x?}", shown.unknown)),
    ];
    for (name, value) in fields {
        if !matches!(value.as_str(), "None" | "false" | "[]") {
            writeln!(text, "{name}: {value}").unwrap();
        }
    }
}
