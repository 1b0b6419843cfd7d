//! Who runs what: the daemons of a run with their labels, who takes part in which scenario, and its sizes.
//!
//! It decides from the command line alone and starts nothing.

use crate::cli::RunOptions;
use crate::daemon::{Kind, Programs};
use crate::error::{Error, Result};
use crate::scenario::{Scenario, Sizes};
use std::path::PathBuf;
use std::time::Duration;

/// A table of more prefixes than this takes minutes in a daemon that sends one an UPDATE.
const MANY_PREFIXES: usize = 200_000;

/// Why a relay is left out.
const RELAY: &str = "a relay without a table that only accepts";

/// A daemon of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entrant {
    /// How it is driven.
    pub(crate) kind: Kind,
    /// Its name in tables.
    pub(crate) label: String,
    /// Its program, if it is not the installed one.
    pub(crate) program: Option<PathBuf>,
}

impl Entrant {
    /// The installed daemon of this kind.
    pub(crate) fn installed(kind: Kind) -> Self {
        Self {
            kind,
            label: kind.name().to_owned(),
            program: None,
        }
    }

    /// `NAME[:label]=PATH`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::Usage(format!("`{text}` is not NAME[:label]=PATH"));
        let (name, path) = text.split_once('=').ok_or_else(wrong)?;
        let (name, label) = name
            .split_once(':')
            .map_or((name, None), |(n, l)| (n, Some(l)));
        let kind = Kind::parse(name)?;
        if path.is_empty() || label == Some("") || !kind.is_speaker() || kind.is_relay() {
            return Err(wrong());
        }
        Ok(Self {
            kind,
            label: label.unwrap_or(kind.name()).to_owned(),
            program: Some(path.into()),
        })
    }

    /// The programs with this one's in its place.
    pub(crate) fn programs(&self, programs: &Programs) -> Programs {
        let instead = self.program.clone().map(|path| (self.kind, path));
        Programs {
            instead: instead.or_else(|| programs.instead.clone()),
            ..programs.clone()
        }
    }

    /// Its program, if there is one.
    pub(crate) fn find(&self, programs: &Programs) -> Option<PathBuf> {
        self.programs(programs).find(self.kind)
    }
}

/// The daemons asked for by kind, then those by path; of two with the same label the later one.
pub(crate) fn entrants(options: &RunOptions) -> Vec<Entrant> {
    let mut all: Vec<Entrant> = Vec::new();
    let by_kind = options.kinds.iter().copied().map(Entrant::installed);
    for entrant in by_kind.chain(options.programs.iter().cloned()) {
        match all.iter_mut().find(|other| other.label == entrant.label) {
            Some(other) => *other = entrant,
            None => all.push(entrant),
        }
    }
    all
}

/// Who takes part in a scenario: of those asked for who can, and who is always beside them.
pub(crate) fn participants(
    scenario: Scenario,
    entrants: &[Entrant],
    options: &RunOptions,
) -> Vec<Entrant> {
    let takes_part = |entrant: &&Entrant| {
        let kind = entrant.kind;
        why_not(scenario, kind, options).is_none() && scenario.participants(&[kind]).contains(&kind)
    };
    let speakers = entrants.iter().filter(|e| e.kind.is_speaker());
    let asked = speakers.filter(takes_part).cloned();
    let beside = scenario.participants(&[]);
    asked
        .chain(beside.into_iter().map(Entrant::installed))
        .collect()
}

/// Why a daemon does not take part in a scenario; `None` if it does.
pub(crate) fn why_not(
    scenario: Scenario,
    kind: Kind,
    options: &RunOptions,
) -> Option<&'static str> {
    let kernel = matches!(scenario, Scenario::S5 | Scenario::S6);
    let table = matches!(
        scenario,
        Scenario::S1 | Scenario::S1Same | Scenario::S1Distinct | Scenario::S7 | Scenario::Keepalive
    );
    // By name, so that FRR's variants are FRR.
    match kind.name() {
        name if name.starts_with("frr") && kernel => Some("bgpd runs without zebra here"),
        "openbgpd" if kernel => Some("it writes no routes on Linux"),
        "gobgp" if kernel => Some("it writes no routes without zebra"),
        "gobgp" if options.all && scenario == Scenario::Keepalive => {
            Some("shutting its export is a policy that takes minutes")
        }
        "gobgp" if table && options.all && options.sizes.prefixes > MANY_PREFIXES => {
            Some("it sends one prefix an UPDATE, which takes minutes")
        }
        _ if kind.is_relay() && (kernel || table && scenario != Scenario::S1) => Some(RELAY),
        _ if kind.is_relay() && matches!(scenario, Scenario::StormActive | Scenario::Idle) => {
            Some(RELAY)
        }
        _ => None,
    }
}

/// The sizes of a scenario: as asked for, else its own.
pub(crate) fn sizes(scenario: Scenario, options: &RunOptions) -> Sizes {
    let mut sizes = options.sizes.clone();
    let own = match (scenario, options.quick) {
        (Scenario::Idle, false) => 1000,
        (Scenario::Keepalive, false) => 500,
        (_, false) => 300,
        (_, true) => 60,
    };
    sizes.peers = options.peers.unwrap_or(own);
    let own = match (scenario, options.quick) {
        // Two rounds of KEEPALIVEs.
        (Scenario::Idle, false) => 61,
        (_, false) => 15,
        (_, true) => 2,
    };
    sizes.observe = options.observe.unwrap_or(Duration::from_secs(own));
    let own = if options.quick { 2 } else { 60 };
    sizes.idle = options.observe.unwrap_or(Duration::from_secs(own));
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};

    fn options(line: &str) -> RunOptions {
        match parse(line.split_whitespace().map(str::to_owned)) {
            Ok(Command::Run(options)) => options,
            _ => panic!("{line} is a good command"),
        }
    }

    #[test]
    fn a_program_has_a_label_of_its_own_or_replaces_the_installed_one() {
        let options = options("run --program bird:bird3=/x/bird --program dunlin=/y/dunlin");
        let labels: Vec<String> = entrants(&options).into_iter().map(|e| e.label).collect();
        assert_eq!(labels, ["dunlin", "bird2", "bird3"]);
        assert_eq!(entrants(&options)[0].program, Some("/y/dunlin".into()));
        for wrong in ["bird", "bird=", "bird:=/x", "quagga=/x", "raw-netlink=/x"] {
            assert!(Entrant::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_has_no_kernel_is_left_out_of_the_kernels_scenarios() {
        let options = options("run --daemons dunlin,frr,openbgpd --scenario s5,s7");
        let who = |scenario| -> Vec<String> {
            let all = participants(scenario, &entrants(&options), &options);
            all.into_iter().map(|entrant| entrant.label).collect()
        };
        assert_eq!(who(Scenario::S5), ["dunlin", "raw-netlink", "ip-batch"]);
        assert_eq!(who(Scenario::S7), ["dunlin", "frr", "openbgpd"]);
    }

    #[test]
    fn a_scenario_has_its_own_sizes_unless_told_otherwise() {
        let plain = options("run");
        assert_eq!(sizes(Scenario::Idle, &plain).peers, 1000);
        assert_eq!(sizes(Scenario::Keepalive, &plain).peers, 500);
        let told = options("run --peers 7 --observe 3");
        assert_eq!(sizes(Scenario::Idle, &told).peers, 7);
        assert_eq!(sizes(Scenario::Idle, &told).observe, Duration::from_secs(3));
    }
}
