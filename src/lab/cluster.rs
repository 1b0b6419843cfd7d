//! A cluster that stands: built from the plan, shown while it converges, taken down again.

use std::fs;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::LabError;
use super::files::{ORDINARY, as_ordinary_user, own_file};
use super::netlink::{PROTOCOL_BIRD, PROTOCOL_DUNLIN};
use super::observe::{Observer, Place, Seen};
use super::options::{LabOptions, Routing, Topology, TorSoftware};
use super::plan::{Plan, ROUTER, Subnet};
use super::privilege::Permission;
use super::probe::{Count, Prober, family_name};
use super::process::{Daemon, Program, find_bird, stop_all};
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
    /// BIRD, if it plays the ToRs.
    bird: Option<PathBuf>,
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
            bird: match options.tor_software {
                TorSoftware::Auto | TorSoftware::Bird => find_bird(),
                TorSoftware::Dunlin => None,
            },
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
        let speakers = self.plan.speakers().zip(sockets);
        let nodes = speakers.map(|((name, _), netlink)| Place {
            netlink,
            control: dunlin.then(|| self.control_socket(name)),
            protocol: PROTOCOL_DUNLIN,
        });
        let is_bird = self.bird.is_some();
        let tors = self.plan.tors.iter().zip(wired.tors);
        let tors = tors.map(|(tor, netlink)| Place {
            netlink,
            control: (!is_bird).then(|| self.control_socket(&tor.name)),
            protocol: if is_bird {
                PROTOCOL_BIRD
            } else {
                PROTOCOL_DUNLIN
            },
        });
        self.observer = Some(Observer::start(nodes.chain(tors).collect())?);
        self.times.push(("daemons", step.elapsed()));
        Ok(())
    }

    fn start_daemons(&mut self, screen: &mut Screen, signals: &Signals) -> Result<(), LabError> {
        let cluster = self.state.folder().join("cluster.toml");
        if self.permission == Permission::Root {
            // The daemons' user goes through, and sees nothing beside what is its own.
            let through = fs::Permissions::from_mode(0o711);
            fs::set_permissions(self.state.folder(), through)
                .map_err(LabError::file("open the folder", self.state.folder()))?;
        }
        write(cluster.clone(), self.plan.cluster_file())?;
        let mut programs = Vec::new();
        for tor in &self.plan.tors {
            let folder = self.make_folder(&tor.name)?;
            let program = if let Some(bird) = &self.bird {
                let config = folder.join("bird.conf");
                write(config.clone(), tor.bird_file(&self.plan))?;
                Program::Bird(bird.clone(), config)
            } else {
                let own_cluster = folder.join("cluster.toml");
                write(own_cluster.clone(), tor.dunlin_file(&self.plan))?;
                let config = folder.join("dunlin.toml");
                let socket = self.control_socket(&tor.name);
                let backend = self.options.backend.word();
                let text = own_file(&tor.name, backend, &own_cluster, &socket);
                self.write_own(&config, text)?;
                Program::Dunlin(config)
            };
            programs.push((tor.name.clone(), tor.namespace.clone(), program));
        }
        for (name, namespace) in self.plan.speakers() {
            let config = self.make_folder(name)?.join("dunlin.toml");
            let socket = self.control_socket(name);
            self.write_own(&config, self.plan.node_file(name, &cluster, &socket))?;
            programs.push((
                name.to_owned(),
                namespace.to_owned(),
                Program::Dunlin(config),
            ));
        }
        if !self.plan.tors.is_empty() {
            screen.say(match &self.bird {
                Some(bird) => format!("the racks' routers are BIRD ({})", bird.display()),
                None => "the racks' routers are dunlin: install BIRD (Debian's bird2) to have \
                         them be of another make"
                    .to_owned(),
            });
        }
        for (name, namespace, program) in programs {
            let log = self.state.folder().join(&name).join("log");
            let dies_with_lab = !self.options.keep;
            self.daemons.push(Daemon::start(
                &name,
                &namespace,
                (&program, &log),
                dies_with_lab,
            )?);
            // Each time: a lab that dies here must not leave one behind that nobody knows.
            self.state
                .record(self.daemons.iter().filter_map(Daemon::id).collect())?;
            if self.options.verbose {
                screen.say(format!("started {name}, log {}", log.display()));
            }
            signals.check()?;
        }
        Ok(())
    }

    /// The folder of a daemon, in which it makes its control socket: its user's.
    fn make_folder(&self, name: &str) -> Result<PathBuf, LabError> {
        let folder = self.state.folder().join(name);
        fs::create_dir(&folder).map_err(LabError::file("make the folder", &folder))?;
        if self.permission == Permission::Root {
            chown(&folder, Some(ORDINARY), Some(ORDINARY))
                .map_err(LabError::file("give away the folder", &folder))?;
        }
        Ok(folder)
    }

    /// Writes the file of a dunlin. Without root every daemon is an ordinary user's anyway.
    fn write_own(&self, path: &Path, mut text: String) -> Result<(), LabError> {
        if self.permission == Permission::Root {
            text.push_str(&as_ordinary_user());
        }
        write(path.to_owned(), text)
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

    /// Every pod reaches every other. Where there are two ways (two reflectors, two ToRs) one of
    /// them is enough for that, so all sessions have to be up, too.
    fn is_complete(&self) -> bool {
        let of_other_make = if self.bird.is_some() {
            self.plan.tors.len()
        } else {
            0
        };
        let all_up = || {
            let seen: Vec<Seen> = self.observer.iter().flat_map(Observer::seen).collect();
            let up = |seen: &&Seen| seen.sessions.is_some_and(|(up, of)| up == of);
            seen.iter().filter(up).count() + of_other_make == seen.len()
        };
        let reached = self.prober.as_ref().is_some_and(Prober::is_complete);
        reached
            && (self.plan.topology == Topology::Mesh
                || self.options.routing == Routing::Static
                || all_up())
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
        let reached = prober.is_some_and(Prober::is_complete);
        let all = if reached { "all" } else { "not all" };
        let missing = if reached && !self.is_complete() {
            ", but not all sessions are up"
        } else {
            ""
        };
        format!(
            "{all} pods reach each other (pairs: {}){missing}",
            counts.join(", ")
        )
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
        let (gateway, _) = Subnet::A.router_address(Family::Ipv4);
        let shown = |addresses: &[(IpAddr, u8)]| {
            let first = addresses.first();
            first.map_or_else(String::new, |(address, _)| address.to_string())
        };
        let row = |node: &str, address: String, pods: Vec<Count>| Row {
            node: node.to_owned(),
            address,
            seen: Seen::default(),
            pods,
        };
        let nodes = self.plan.nodes.iter().enumerate();
        let mut rows: Vec<Row> = nodes
            .map(|(place, n)| row(&n.name, shown(&n.addresses), self.pods_of(place)))
            .collect();
        let reflectors = self.plan.reflectors.iter();
        rows.extend(reflectors.map(|n| row(&n.name, shown(&n.addresses), Vec::new())));
        // Without a daemon there is still something to look at, but it is in no row.
        if self.plan.router_is_node() {
            rows.push(row(ROUTER, gateway.to_string(), Vec::new()));
        }
        let tors = self.plan.tors.iter();
        rows.extend(tors.map(|t| row(&t.name, shown(&t.addresses), Vec::new())));
        let seen = self.observer.iter().flat_map(Observer::seen);
        for (row, seen) in rows.iter_mut().zip(seen) {
            row.seen = seen;
        }
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

/// For the daemons to read, whatever the umask.
fn write(path: PathBuf, text: String) -> Result<(), LabError> {
    fs::write(&path, text)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o644)))
        .map_err(LabError::file("write", path))
}
