//! What the figures depend on: the machine, the date, the daemons' versions and the sizes.

use crate::cli::RunOptions;
use crate::daemon::{Kind, Programs};
use crate::lineup::{self, Entrant};
use crate::scenario::Scenario;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The facts of a run.
pub(crate) struct Facts {
    /// The processor's name.
    pub(crate) cpu: String,
    /// How many of its cores there are for us.
    pub(crate) cores: usize,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// When the run began, UTC.
    pub(crate) date: String,
    /// Label, program and version of each daemon.
    pub(crate) daemons: Vec<(String, PathBuf, String)>,
    sizes: Value,
}

impl Facts {
    /// Looks at the machine and asks the programs.
    pub(crate) fn gather(options: &RunOptions, entrants: &[Entrant], programs: &Programs) -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let found = entrants
            .iter()
            .filter_map(|entrant| Some((entrant, entrant.find(programs)?)));
        let daemons = found.map(|(entrant, path)| {
            let version = version(entrant.kind, &path).unwrap_or_default();
            (entrant.label.clone(), path, version)
        });
        Self {
            cpu: model
                .unwrap_or_default()
                .trim_start_matches([' ', '\t', ':'])
                .to_owned(),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            kernel: kernel.trim().to_owned(),
            date: first_line(Command::new("date").args(["-u", "+%F %H:%M UTC"]))
                .unwrap_or_default(),
            daemons: daemons.collect(),
            sizes: sizes(options),
        }
    }

    /// Everything, for programs.
    pub(crate) fn json(&self) -> Value {
        let daemons = self.daemons.iter().map(|(label, program, version)| {
            json!({ "daemon": label, "program": program, "version": version })
        });
        let mut value = json!({
            "cpu": self.cpu,
            "cores": self.cores,
            "kernel": self.kernel,
            "date": self.date,
            "daemons": daemons.collect::<Vec<_>>(),
        });
        if let (Some(all), Value::Object(sizes)) = (value.as_object_mut(), &self.sizes) {
            all.extend(sizes.clone());
        }
        value
    }

    /// The sizes, each with its name.
    pub(crate) fn sizes(&self) -> Vec<(String, String)> {
        let all = self.sizes.as_object().into_iter().flatten();
        all.map(|(name, value)| (name.replace('_', " "), value.to_string().replace('"', "")))
            .collect()
    }
}

fn sizes(options: &RunOptions) -> Value {
    let sizes = &options.sizes;
    let mut peers = serde_json::Map::new();
    let has_few = |scenario: &Scenario| {
        use Scenario::{S1, S1Distinct, S1Same, S5, S6, S7};
        matches!(scenario, S1 | S1Same | S1Distinct | S5 | S6 | S7)
    };
    for &scenario in options.scenarios.iter().filter(|s| !has_few(s)) {
        peers.insert(
            scenario.name().to_owned(),
            json!(lineup::sizes(scenario, options).peers),
        );
    }
    json!({
        "prefixes": sizes.prefixes,
        "kernel_routes": sizes.kernel_routes,
        "peers": peers,
        "routes_each": sizes.routes,
        "hold_time": sizes.hold_time,
        "hold_time_s2_s3_s4": sizes.long_hold,
        "peers_are": if sizes.ibgp { "ibgp" } else { "ebgp" },
        "rounds": options.runs,
    })
}

fn version(kind: Kind, program: &Path) -> Option<String> {
    let flag = match kind {
        Kind::Openbgpd | Kind::IpBatch => "-V",
        Kind::Mirror | Kind::MirrorBatch | Kind::Raw => return None,
        _ => "--version",
    };
    first_line(Command::new(program).arg(flag))
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text)
        .lines()
        .next()
        .map(str::to_owned)
}
