//! Two network namespaces joined by a veth pair: the generator's and the daemon's.
//!
//! Only namespaces this process made are ever removed, and they are removed when the value is dropped. Nothing
//! is added to the root namespace. Addresses: the daemon is 172.31.0.1/16; everything
//! from 172.31.1.0 to 172.31.255.255 is the generator's.

use crate::error::{Context, Error, Result};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where the daemon under test listens.
pub(crate) const DAEMON: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);

static COUNTER: AtomicUsize = AtomicUsize::new(0);

/// The pair of namespaces of one run.
pub(crate) struct Pair {
    generator: Namespace,
    daemon: Namespace,
}

/// A namespace that goes when its owner goes.
struct Namespace(String);

impl Namespace {
    fn new(name: String) -> Result<Self> {
        ip(&["netns", "add", &name])?;
        Ok(Self(name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "del", &self.0]) {
            eprintln!("could not remove network namespace {}: {error}", self.0);
        }
    }
}

impl Pair {
    /// Makes both namespaces and connects them.
    pub(crate) fn new() -> Result<Self> {
        let id = format!(
            "{}-{}",
            std::process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        );
        let pair = Self {
            generator: Namespace::new(format!("dlb-{id}-gen"))?,
            daemon: Namespace::new(format!("dlb-{id}-dut"))?,
        };
        let (generator, daemon) = (pair.generator.0.as_str(), pair.daemon.0.as_str());
        let link = ["-n", generator, "link", "add", "gen0", "type", "veth"];
        ip(&[&link[..], &["peer", "name", "dut0", "netns", daemon]].concat())?;
        ip(&[
            "-n",
            daemon,
            "addr",
            "add",
            &format!("{DAEMON}/16"),
            "dev",
            "dut0",
        ])?;
        ip(&[
            "-n",
            generator,
            "addr",
            "add",
            "172.31.255.254/16",
            "dev",
            "gen0",
        ])?;
        for (namespace, device) in [(generator, "gen0"), (daemon, "dut0")] {
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", namespace, "link", "set", device, "up"])?;
        }
        // Routes of type local make the rest of the subnet the generator's: it answers ARP for all of it. The
        // blocks double in size from 172.31.1.0/24 to 172.31.128.0/17 and leave out the daemon's 172.31.0.0/24.
        for bit in 0..8 {
            let block = format!("172.31.{}.0/{}", 1 << bit, 24 - bit);
            ip(&[
                "-n", generator, "route", "add", "local", &block, "dev", "lo",
            ])?;
        }
        Ok(pair)
    }

    /// Tells both sides of each other's addresses, the daemon of those of the first so many peers, for good. To ask for
    /// a thousand is not its work; and the kernel's table of neighbours is one for all namespaces and has no room for
    /// them if somebody else needs it, too, but what it is told for good needs none of that.
    pub(crate) fn introduce(&self, peers: usize) -> Result<()> {
        let (generator, daemon) = (&self.generator, &self.daemon);
        let peers: Vec<Ipv4Addr> = (0..peers).map(peer_address).collect();
        neighbours(
            daemon,
            "dut0",
            &peers,
            &mac(&self.show(generator, "gen0")?)?,
        )?;
        neighbours(
            generator,
            "gen0",
            &[DAEMON],
            &mac(&self.show(daemon, "dut0")?)?,
        )
    }

    /// Moves the calling thread, and only it, into the generator's namespace.
    pub(crate) fn enter_generator(&self) -> Result<()> {
        Self::enter(open(&self.generator)?)
    }

    /// The daemon's namespace, for [`Self::enter`] on another thread.
    pub(crate) fn daemon_file(&self) -> Result<File> {
        open(&self.daemon)
    }

    /// Moves the calling thread, and only it, into a namespace.
    pub(crate) fn enter(namespace: File) -> Result<()> {
        setns(namespace, CloneFlags::CLONE_NEWNET).context("entering a namespace (are you root?)")
    }

    /// The index of the daemon's link.
    pub(crate) fn daemon_link(&self) -> Result<u32> {
        let text = self.show(&self.daemon, "dut0")?;
        let index = text
            .split(':')
            .next()
            .and_then(|number| number.trim().parse().ok());
        index.ok_or_else(|| Error::Daemon("the daemon's link has no index".to_owned()))
    }

    fn show(&self, namespace: &Namespace, link: &str) -> Result<String> {
        let output = Command::new("ip")
            .args(["-n", &namespace.0, "-o", "link", "show", link])
            .output()
            .context("running `ip`")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A command that runs in the daemon's namespace and does not outlive this process.
    ///
    /// The first words of the command end with `exec`, so the child's pid is the daemon's.
    pub(crate) fn in_daemon(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.daemon.0]);
        command
            .args(["setpriv", "--pdeathsig", "KILL", "--"])
            .arg(program);
        command
    }

    /// The same for a daemon that wants a folder below /run: it gets a /run of its own with that folder. `ip
    /// netns exec` has made the mount namespace private, so nobody else sees it.
    pub(crate) fn in_daemon_with_run(&self, program: &Path, folder: &str) -> Command {
        const SCRIPT: &str = "mount -t tmpfs none /run && mkdir -p \"$0\" && exec \"$@\"";
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.daemon.0, "sh", "-c", SCRIPT, folder]);
        command
            .args(["setpriv", "--pdeathsig", "KILL", "--"])
            .arg(program);
        command
    }
}

/// The address of a link, as `ip` shows it.
fn mac(shown: &str) -> Result<String> {
    let mut words = shown.split_ascii_whitespace();
    let mac = words.find(|word| *word == "link/ether").and(words.next());
    let mac = mac.ok_or_else(|| Error::Daemon("a link has no MAC address".to_owned()))?;
    Ok(mac.to_owned())
}

/// Makes addresses known on a link.
fn neighbours(namespace: &Namespace, link: &str, all: &[Ipv4Addr], mac: &str) -> Result<()> {
    let line = |address| format!("neigh replace {address} lladdr {mac} dev {link} nud permanent\n");
    let lines: String = all.iter().map(line).collect();
    let mut child = Command::new("ip")
        .args(["-n", &namespace.0, "-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("running `ip`")?;
    let input = child.stdin.take();
    let written = input.map_or(Ok(()), |mut input| input.write_all(lines.as_bytes()));
    let status = child.wait().context("waiting for `ip`")?;
    written.context("telling `ip` of neighbours")?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::Daemon("`ip` did not take the neighbours".to_owned())),
    }
}

fn open(namespace: &Namespace) -> Result<File> {
    let path = Path::new("/run/netns").join(&namespace.0);
    File::open(&path).context(format!("opening {}", path.display()))
}

/// Runs `ip` and fails with what it said.
fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("running `ip`")?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Command {
        command: format!("ip {}", arguments.join(" ")),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// The generator's address of the numbered peer, from 172.31.1.0 on.
pub(crate) fn peer_address(index: usize) -> Ipv4Addr {
    let base = u32::from(Ipv4Addr::new(172, 31, 1, 0));
    // 60,000 peers fit between 172.31.1.0 and the veth's own address; no scenario has more.
    Ipv4Addr::from(base + u32::try_from(index % 60_000).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_known_by_its_mac_address() {
        let shown = "2: gen0@if2: <UP> mtu 1500 state UP \\    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff";
        assert_eq!(mac(shown).ok().as_deref(), Some("02:00:00:00:00:01"));
        assert!(mac("1: lo: <UP> link/loopback 00:00:00:00:00:00").is_err());
    }

    #[test]
    fn peers_have_addresses_of_their_own() {
        assert_eq!(peer_address(0), Ipv4Addr::new(172, 31, 1, 0));
        assert_eq!(peer_address(299), Ipv4Addr::new(172, 31, 2, 43));
    }
}
