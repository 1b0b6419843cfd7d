//! The daemons under test: how each is configured, started, found ready and ended.
//!
//! Every daemon gets the same job: AS 65000 at 172.31.0.1, the peers of the scenario, accept and announce
//! everything, no kernel routes. Settings beyond that only take away waiting that is not work (retry and
//! advertisement timers). A daemon is ended by its own pid and those of its descendants.

mod bird;
mod dunlin;
mod frr;
mod gobgp;
mod openbgpd;

use crate::error::{Context, Error, Result};
use crate::netns::Pair;
use crate::procfs::{self, ProcessTree};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// AS number of the daemon under test.
pub(crate) const LOCAL_AS: u32 = 65_000;

/// A daemon that can be driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// This project's.
    Dunlin,
    /// BIRD 2.
    Bird,
    /// FRR's bgpd, without waits that are not work.
    Frr,
    /// FRR's bgpd with the timers it has of itself.
    FrrDefault,
    /// GoBGP.
    Gobgp,
    /// OpenBGPD.
    Openbgpd,
    /// The relay without a table: the limit of harness and kernel.
    Mirror,
    /// The same with one write a peer and round: the limit for work with many peers.
    MirrorBatch,
    /// No speaker: the least that can write routes, many requests a send.
    Raw,
    /// No speaker: `ip -batch`.
    IpBatch,
}

impl Kind {
    /// All, in the order tables show them.
    pub(crate) const ALL: [Self; 10] = [
        Self::Dunlin,
        Self::Bird,
        Self::Frr,
        Self::FrrDefault,
        Self::Gobgp,
        Self::Openbgpd,
        Self::Mirror,
        Self::MirrorBatch,
        Self::Raw,
        Self::IpBatch,
    ];

    /// The name on the command line and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dunlin => "dunlin",
            Self::Bird => "bird2",
            Self::Frr => "frr",
            Self::FrrDefault => "frr-default",
            Self::Gobgp => "gobgp",
            Self::Openbgpd => "openbgpd",
            Self::Mirror => "mirror",
            Self::MirrorBatch => "mirror-batch",
            Self::Raw => "raw-netlink",
            Self::IpBatch => "ip-batch",
        }
    }

    /// Whether it is a relay, which knows no route and changes no attribute.
    pub(crate) fn is_relay(self) -> bool {
        matches!(self, Self::Mirror | Self::MirrorBatch)
    }

    /// Whether it speaks BGP at all.
    pub(crate) fn is_speaker(self) -> bool {
        !matches!(self, Self::Raw | Self::IpBatch)
    }

    /// The daemon of this name.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        let name = if name == "bird" { "bird2" } else { name };
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| Error::Usage(format!("unknown daemon `{name}`")))
    }
}

/// A peer as the daemon's configuration has it.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// Its AS number.
    pub(crate) asn: u32,
    /// It throws bad input: both families are taken from it, its first AS is not checked, and nothing is sent.
    pub(crate) evil: bool,
    /// No message of more than 4096 octets is taken from it (RFC 8654 is not offered).
    pub(crate) short: bool,
    /// Nothing is announced to it.
    pub(crate) quiet: bool,
    /// The daemon is its route reflector (RFC 4456).
    pub(crate) client: bool,
}

impl Peer {
    /// A peer that does nothing wrong.
    pub(crate) fn new(address: Ipv4Addr, asn: u32) -> Self {
        Self {
            address,
            asn,
            evil: false,
            short: false,
            quiet: false,
            client: false,
        }
    }

    /// A peer that gets nothing but KEEPALIVEs.
    pub(crate) fn quiet(address: Ipv4Addr, asn: u32) -> Self {
        Self {
            quiet: true,
            ..Self::new(address, asn)
        }
    }

    /// A client of the daemon, which is to be its route reflector.
    pub(crate) fn client(address: Ipv4Addr) -> Self {
        Self {
            client: true,
            ..Self::new(address, LOCAL_AS)
        }
    }
}

/// What a daemon is to be configured for.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// Its peers.
    pub(crate) peers: Vec<Peer>,
    /// Hold time in seconds.
    pub(crate) hold_time: u16,
    /// The daemon waits for connections, rather than dialling.
    pub(crate) passive: bool,
    /// Best routes go into the kernel.
    pub(crate) kernel: bool,
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// The dunlin to test.
    pub(crate) dunlin: PathBuf,
    /// Another program of this kind is run in place of the installed one.
    pub(crate) instead: Option<(Kind, PathBuf)>,
}

impl Programs {
    /// The program of a daemon, if it is installed.
    pub(crate) fn find(&self, kind: Kind) -> Option<PathBuf> {
        if let Some((_, path)) = self.instead.as_ref().filter(|(k, _)| *k == kind) {
            return Some(path.clone()).filter(|path| path.is_file());
        }
        let candidates: Vec<PathBuf> = match kind {
            Kind::Dunlin => vec![self.dunlin.clone()],
            Kind::Bird => vec!["/usr/sbin/bird".into(), "/usr/local/sbin/bird".into()],
            Kind::Frr | Kind::FrrDefault => {
                vec!["/usr/lib/frr/bgpd".into(), "/usr/libexec/frr/bgpd".into()]
            }
            Kind::Gobgp => vec!["/usr/bin/gobgpd".into(), "/usr/local/bin/gobgpd".into()],
            Kind::Openbgpd => vec!["/usr/sbin/bgpd".into(), "/usr/local/sbin/bgpd".into()],
            Kind::Mirror | Kind::MirrorBatch | Kind::Raw => {
                std::env::current_exe().ok().into_iter().collect()
            }
            Kind::IpBatch => vec![
                "/usr/sbin/ip".into(),
                "/sbin/ip".into(),
                "/usr/bin/ip".into(),
            ],
        };
        candidates.into_iter().find(|path| path.is_file())
    }
}

/// A daemon that runs. Dropping it ends it.
pub(crate) struct Running {
    kind: Kind,
    child: Child,
    command: Command,
    folder: PathBuf,
    /// When the process was started.
    pub(crate) started: Instant,
}

static FOLDERS: AtomicUsize = AtomicUsize::new(0);

impl Running {
    /// Writes the configuration into a fresh folder and starts the daemon in its namespace.
    pub(crate) fn start(kind: Kind, programs: &Programs, pair: &Pair, job: &Job) -> Result<Self> {
        let program = programs
            .find(kind)
            .ok_or_else(|| Error::Daemon(format!("{} is not installed", kind.name())))?;
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("dunlin-bench-{}-{number}", std::process::id()));
        fs::create_dir(&folder).context(format!("making {}", folder.display()))?;
        let command = match kind {
            Kind::Dunlin => dunlin::command(pair.in_daemon(&program), &folder, job),
            Kind::Bird => bird::command(pair.in_daemon(&program), &folder, job),
            Kind::Frr => frr::command(pair.in_daemon(&program), &folder, job, frr::Waits::None),
            Kind::FrrDefault => {
                frr::command(pair.in_daemon(&program), &folder, job, frr::Waits::Own)
            }
            Kind::Gobgp => gobgp::command(pair.in_daemon(&program), &folder, job),
            Kind::Openbgpd => openbgpd::command(
                pair.in_daemon_with_run(&program, openbgpd::HOME),
                &folder,
                job,
            ),
            Kind::Mirror => mirror_command("mirror", pair.in_daemon(&program), &folder, job),
            Kind::MirrorBatch => {
                mirror_command("mirror-batch", pair.in_daemon(&program), &folder, job)
            }
            Kind::Raw => raw_command(pair, &program, job),
            Kind::IpBatch => {
                let mut command = pair.in_daemon(&program);
                command.args(["-batch", "-"]);
                Ok(command)
            }
        };
        let spawned = command.and_then(|mut command| {
            let log = File::create(folder.join("log")).context("the daemon's log")?;
            let errors = log.try_clone().context("the daemon's log")?;
            let input = match kind.is_speaker() {
                true => Stdio::null(),
                false => Stdio::piped(),
            };
            command.stdin(input).stdout(log).stderr(errors);
            let child = command
                .spawn()
                .context(format!("starting {}", program.display()))?;
            Ok((child, command))
        });
        match spawned {
            Ok((child, command)) => Ok(Self {
                kind,
                child,
                command,
                folder,
                started: Instant::now(),
            }),
            Err(error) => {
                let _ = fs::remove_dir_all(&folder);
                Err(error)
            }
        }
    }

    /// Kills the daemon, as a crash would, and starts it again with the same configuration.
    pub(crate) fn crash(&mut self) -> Result<()> {
        self.child.kill().context("killing the daemon")?;
        self.child.wait().context("waiting for the daemon")?;
        if self.kind == Kind::Bird {
            // A graceful restart: it keeps what is in the kernel until its peers are back.
            self.command.arg("-R");
        }
        self.child = self.command.spawn().context("starting it again")?;
        self.started = Instant::now();
        Ok(())
    }

    /// Where a program that is no speaker reads what to do.
    pub(crate) fn input(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// The processes to measure.
    pub(crate) fn processes(&self) -> ProcessTree {
        ProcessTree {
            root: self.child.id(),
        }
    }

    /// Fails if the daemon has ended, with the end of its log.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait().context("waiting for the daemon")? {
            None => Ok(()),
            Some(status) => Err(Error::Daemon(format!(
                "{} ended with {status}; its log ends:\n{}",
                self.kind.name(),
                self.log_tail()
            ))),
        }
    }

    /// Waits until the daemon listens on TCP port 179, and a second more: some listen before they know
    /// their peers, and turn early callers away for seconds.
    pub(crate) fn await_listening(&mut self, bound: Duration) -> Result<()> {
        self.await_port(bound, Duration::from_millis(20))?;
        std::thread::sleep(Duration::from_secs(1));
        self.check()
    }

    /// Waits until the daemon listens on TCP port 179, and looks this often.
    pub(crate) fn await_port(&mut self, bound: Duration, every: Duration) -> Result<()> {
        let deadline = Instant::now() + bound;
        while !procfs::listens(self.child.id(), 179) {
            self.check()?;
            if Instant::now() > deadline {
                let what = format!(
                    "{} to listen; its log ends:\n{}",
                    self.kind.name(),
                    self.log_tail()
                );
                return Err(Error::Timeout { what, after: bound });
            }
            std::thread::sleep(every);
        }
        self.check()
    }

    /// What dunlin says of its peers; `None` for other daemons.
    pub(crate) fn dunlin_peers(&self, programs: &Programs) -> Option<serde_json::Value> {
        let output = Command::new(programs.find(Kind::Dunlin)?)
            .arg("--socket")
            .arg(self.folder.join("control"))
            .args(["peers", "--output", "json"])
            .output();
        let output = output.ok().filter(|_| self.kind == Kind::Dunlin)?;
        serde_json::from_slice(&output.stdout).ok()
    }

    /// The first panic in the daemon's log: one in a task of its own need not end it.
    pub(crate) fn panic(&self) -> Option<String> {
        let bytes = fs::read(self.folder.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text
            .lines()
            .skip_while(|line| !line.contains("panicked at"));
        let first = lines.next()?;
        Some(format!("{first} {}", lines.next().unwrap_or_default()))
    }

    /// The last lines the daemon wrote.
    pub(crate) fn log_tail(&self) -> String {
        let bytes = fs::read(self.folder.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().rev().take(12).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Asked politely, a daemon of several processes ends and reaps its own children.
            signal(self.child.id(), Signal::SIGTERM);
            let deadline = Instant::now() + Duration::from_secs(2);
            while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            // The tree is listed while the root lives: afterwards its children would be init's.
            for pid in self.processes().members() {
                signal(pid, Signal::SIGKILL);
            }
            let _ = self.child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        // A process that has just ended needs no signal.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Writes a file of a daemon's folder.
fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text).context(format!("writing {}", path.display()))?;
    Ok(path)
}

fn mirror_command(which: &str, mut command: Command, folder: &Path, job: &Job) -> Result<Command> {
    let peers: String = job
        .peers
        .iter()
        .map(|p| format!("{} {}\n", p.address, p.asn))
        .collect();
    let path = write(folder, "peers", &peers)?;
    command.arg(which).arg("--peers-file").arg(path);
    command.arg("--hold").arg(job.hold_time.to_string());
    if !job.passive {
        return Err(Error::Usage("the mirror only accepts".to_owned()));
    }
    Ok(command)
}

/// The routes lead to the first peer.
fn raw_command(pair: &Pair, program: &Path, job: &Job) -> Result<Command> {
    let mut command = pair.in_daemon(program);
    let gateway = job.peers.first().map_or(Ipv4Addr::LOCALHOST, |p| p.address);
    command.arg("write-routes").arg(gateway.to_string());
    command.arg(pair.daemon_link()?.to_string());
    Ok(command)
}
