//! A cluster that stands: built from the plan, shown while it converges, taken down again.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::error::LabError;
use super::observe::{Observer, Place, Seen};
use super::options::{LabOptions, Routing};
use super::plan::{Plan, ROUTER, Subnet};
use super::privilege::Permission;
use super::probe::{Count, Prober, family_name};
use super::process::{Daemon, stop_all};
use super::show::{Row, Screen, line, most_lacking, seconds, table};
use super::signals::Signals;
use super::state::State;
use super::{namespace, wiring};
use crate::net::Family;

/// How often the display and the daemons are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often the display changes.
const FRAME: Duration = Duration::from_millis(500);
/// How long `--check` waits for one more look at the daemons before it prints the table.
const LAST_LOOK: Duration = Duration::from_secs(5);
/// How many unreached pairs are named.
const NAMED_PAIRS: usize = 10;

/// Everything that has to go away in the end.
#[derive(Debug)]
pub(super) struct Cluster<'a> {
    options: &'a LabOptions,
    permission: Permission,
    plan: Plan,
    state: State,
    daemons: Vec<Daemon>,
    observer: Option<Observer>,
    prober: Option<Prober>,
    began: Instant,
    /// What took how long.
    times: Vec<(&'static str, Duration)>,
}

impl<'a> Cluster<'a> {
    pub(super) fn new(options: &'a LabOptions, permission: Permission, state: State) -> Self {
        Self {
            options,
            permission,
            plan: Plan::new(options),
            state,
            daemons: Vec::new(),
            observer: None,
            prober: None,
            began: Instant::now(),
            times: Vec::new(),
        }
    }

    /// Makes and wires everything and starts the daemons.
    pub(super) fn build(&mut self, screen: &mut Screen, signals: &Signals) -> Result<(), LabError> {
        let step = Instant::now();
        let verbose = self.options.verbose;
        let mut wired = wiring::wire(&self.plan, &mut |what| {
            if verbose {
                screen.say(format!("wired {what}"));
            }
            signals.check()
        })?;
        let dunlin = self.options.routing == Routing::Dunlin;
        if !dunlin {
            wiring::static_routes(&self.plan, &mut wired)?;
        }
        self.prober = Some(Prober::open(&self.plan)?);
        self.times.push(("network", step.elapsed()));

        let step = Instant::now();
        if dunlin {
            self.start_daemons(screen, signals)?;
        }
        let sockets = wired.nodes.into_iter().chain([wired.router]);
        let places = self
            .plan
            .speakers()
            .zip(sockets)
            .map(|((name, _), netlink)| Place {
                netlink,
                control: dunlin.then(|| self.control_socket(name)),
            });
        self.observer = Some(Observer::start(places.collect())?);
        self.times.push(("daemons", step.elapsed()));
        Ok(())
    }

    fn start_daemons(&mut self, screen: &mut Screen, signals: &Signals) -> Result<(), LabError> {
        let write = |path: PathBuf, text: String| {
            fs::write(&path, text).map_err(LabError::file("write", path))
        };
        let cluster = self.state.folder().join("cluster.toml");
        write(cluster.clone(), self.plan.cluster_file())?;
        for (name, namespace) in self.plan.speakers() {
            let folder = self.state.folder().join(name);
            fs::create_dir(&folder).map_err(LabError::file("make the folder", &folder))?;
            let config = folder.join("dunlin.toml");
            let socket = self.control_socket(name);
            write(config.clone(), self.plan.node_file(name, &cluster, &socket))?;
            let log = folder.join("log");
            let dies_with_lab = !self.options.keep;
            self.daemons.push(Daemon::start(
                name,
                namespace,
                (&config, &log),
                dies_with_lab,
            )?);
            // Each time: a lab that dies here must not leave one behind that nobody knows.
            self.state
                .record(self.daemons.iter().filter_map(Daemon::id).collect())?;
            if self.options.verbose {
                screen.say(format!("started dunlin on {name}, log {}", log.display()));
            }
            signals.check()?;
        }
        Ok(())
    }

    fn control_socket(&self, node: &str) -> PathBuf {
        self.state.folder().join(node).join("control.sock")
    }

    /// Shows the state until every pod reaches every other.
    pub(super) fn wait_until_complete(
        &mut self,
        screen: &mut Screen,
        signals: &Signals,
    ) -> Result<(), LabError> {
        let step = Instant::now();
        let mut frame = step;
        loop {
            self.probe(signals)?;
            for daemon in &mut self.daemons {
                daemon.check_alive()?;
            }
            let complete = self.is_complete();
            if complete || Instant::now() >= frame {
                frame = Instant::now() + FRAME;
                self.show(screen);
            }
            if complete {
                self.times.push(("routes", step.elapsed()));
                return Ok(());
            }
            if step.elapsed() >= self.options.deadline() {
                return Err(LabError::NotReached(self.lament()));
            }
        }
    }

    /// Shows the state until somebody ends it.
    pub(super) fn watch(&mut self, screen: &mut Screen, signals: &Signals) -> LabError {
        let mut frame = Instant::now();
        loop {
            if let Err(error) = self.probe(signals) {
                return error;
            }
            // From here on a dead dunlin is a thing to look at: its routes stay in the kernel.
            self.daemons
                .retain_mut(|daemon| match daemon.check_alive() {
                    Ok(()) => true,
                    Err(error) => {
                        screen.say(error.to_string());
                        false
                    }
                });
            if Instant::now() >= frame {
                frame = Instant::now() + FRAME;
                self.show(screen);
            }
        }
    }

    fn probe(&mut self, signals: &Signals) -> Result<(), LabError> {
        if let Some(prober) = &mut self.prober {
            prober.run(Instant::now() + TICK, signals.as_fd())?;
        }
        signals.check()
    }

    fn show(&self, screen: &mut Screen) {
        let rows = self.rows();
        let families = self.family_names();
        if screen.is_terminal() {
            let summary = line(&rows, &families);
            let (rows, rest) = most_lacking(rows);
            let mut lines = table(&rows, &families, screen.is_coloured());
            lines.extend(rest);
            lines.push(format!("{:>8}  {summary}", seconds(self.began.elapsed())));
            screen.redraw(&lines);
        } else {
            screen.progress(self.began.elapsed(), &line(&rows, &families));
        }
    }

    /// The final table, after one more look at every daemon.
    pub(super) fn summary(&mut self, screen: &mut Screen, signals: &Signals) {
        if self.options.routing == Routing::Dunlin
            && let Some(observer) = &self.observer
        {
            let (pass, deadline) = (observer.next_pass(), Instant::now() + LAST_LOOK);
            while !observer.has_done(pass) && Instant::now() < deadline {
                if let Some(prober) = &mut self.prober
                    && prober.run(Instant::now() + TICK, signals.as_fd()).is_err()
                {
                    break;
                }
            }
        }
        screen.print(&table(
            &self.rows(),
            &self.family_names(),
            screen.is_coloured(),
        ));
        let size = format!(
            "{} nodes, {} pods",
            self.plan.nodes.len(),
            self.plan.pods.len()
        );
        let each: Vec<String> = self
            .times
            .iter()
            .map(|(what, time)| format!("{what} {}", seconds(*time)))
            .collect();
        let total: Duration = self.times.iter().map(|(_, time)| *time).sum();
        let when = if self.is_complete() {
            format!(", ready in {} ({})", seconds(total), each.join(", "))
        } else {
            String::new()
        };
        screen.say(format!("{size}: {}{when}", self.reached()));
    }

    fn is_complete(&self) -> bool {
        self.prober.as_ref().is_some_and(Prober::is_complete)
    }

    /// `all pods reach each other (56/56 pairs by IPv4, 56/56 by IPv6)`, as far as it is so.
    fn reached(&self) -> String {
        let prober = self.prober.as_ref();
        let counts: Vec<String> = self
            .plan
            .families
            .iter()
            .enumerate()
            .map(|(place, family)| {
                let count = prober.map_or_else(Count::default, |p| p.count(place));
                format!("{count} by {}", family_name(*family))
            })
            .collect();
        let all = if self.is_complete() { "all" } else { "not all" };
        format!("{all} pods reach each other (pairs: {})", counts.join(", "))
    }

    /// Why it is not complete.
    fn lament(&self) -> String {
        let mut text = format!(
            "{} after {}",
            self.reached(),
            seconds(self.options.deadline())
        );
        for pair in self
            .prober
            .iter()
            .flat_map(|p| p.unreached(&self.plan, NAMED_PAIRS))
        {
            text.push_str("\n    ");
            text.push_str(&pair);
        }
        if self.options.routing == Routing::Dunlin {
            let folder = self.state.folder().display();
            text.push_str(&if self.options.check && !self.options.keep {
                "\nto look into it, run it without --check, or with --keep".to_owned()
            } else {
                format!("\nthe daemons tell in {folder}/NODE/log what they did")
            });
        }
        text
    }

    fn family_names(&self) -> Vec<&'static str> {
        self.plan
            .families
            .iter()
            .map(|family| family_name(*family))
            .collect()
    }

    fn rows(&self) -> Vec<Row> {
        let mut seen = self.observer.iter().flat_map(Observer::seen);
        let mut next = || seen.next().unwrap_or_default();
        let mut rows: Vec<Row> = self
            .plan
            .nodes
            .iter()
            .enumerate()
            .map(|(place, node)| Row {
                node: node.name.clone(),
                address: node
                    .addresses
                    .first()
                    .map_or_else(String::new, |a| a.0.to_string()),
                seen: next(),
                pods: self.pods_of(place),
            })
            .collect();
        if !self.plan.router_is_node() {
            return rows;
        }
        let (address, _) = Subnet::A.router_address(Family::Ipv4);
        let seen: Seen = next();
        rows.push(Row {
            node: ROUTER.to_owned(),
            address: address.to_string(),
            seen,
            pods: Vec::new(),
        });
        rows
    }

    /// What the pods of a node reach, by family.
    fn pods_of(&self, node: usize) -> Vec<Count> {
        let Some(prober) = &self.prober else {
            return Vec::new();
        };
        let own = |(pod, _): &(usize, &super::plan::PodPlan)| *pod;
        let pods: Vec<usize> = self
            .plan
            .pods
            .iter()
            .enumerate()
            .filter(|(_, p)| p.node == node)
            .map(|p| own(&p))
            .collect();
        let sum = |family| {
            pods.iter().fold(Count::default(), |sum, pod| {
                sum + prober.reached_by(family, *pod)
            })
        };
        (0..self.plan.families.len()).map(sum).collect()
    }

    /// What a user can do while it stands.
    pub(super) fn hints(&self) -> Vec<String> {
        let enter = match self.permission {
            Permission::Root => String::new(),
            Permission::UserNamespace { seen_as } => {
                format!("nsenter --target {seen_as} --user --mount --preserve-credentials ")
            }
        };
        let instance = &self.plan.instance;
        let mut lines = vec!["Look around, in another terminal:".to_owned()];
        if self.options.routing == Routing::Dunlin {
            let socket = self.control_socket("node-1");
            lines.push(format!("  dunlin --socket {} status", socket.display()));
        }
        lines.push(format!("  {enter}ip netns exec {instance}-node-1 ip route"));
        if let Some(far) = self.plan.pods.last().and_then(|pod| pod.addresses.first()) {
            lines.push(format!(
                "  {enter}ip netns exec {instance}-pod-1-1 ping {far}"
            ));
        }
        lines
    }

    /// Leaves everything as it stands.
    pub(super) fn leave(self) {
        // The daemons were started to outlive the lab; dropping a child does not end it.
        drop(self);
    }

    /// Takes everything down, in the order: daemons, namespaces, files.
    pub(super) fn take_down(mut self) -> Result<(), LabError> {
        stop_all(&mut self.daemons);
        self.observer = None;
        self.prober = None;
        // All of them, even if one can't be removed.
        let mut result = Ok(());
        for name in self.plan.namespaces() {
            result = result.and(namespace::remove(name));
        }
        result.and(self.state.remove())
    }
}
