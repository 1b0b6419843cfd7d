//! Which places of the file system the process, and `nft` that it runs, may touch (Landlock).
//!
//! What always holds: it writes in the folder of its control socket and below `/proc/sys/net`, and nowhere
//! else; it runs `nft` and no other program; it reads what its configuration names, what name resolution and
//! programs need, and `/proc`. Signals and abstract sockets reach no process outside. A rule belongs to a
//! folder and not to its name: a folder that is put in the place of another one is outside.

use std::fs::File;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    path_beneath_rules,
};

/// The newest that this list was tried with; an older kernel does what it can.
const TRIED: ABI = ABI::V6;

/// Settings of the network, that dunlin changes.
const SETTINGS: &str = "/proc/sys/net";
/// What is read for names of hosts, groups and protocols. All of `/etc` is open to a user who sees there what
/// everybody sees; root would see more.
const ETC: &str = "/etc";
const ETC_OF_ROOT: [&str; 14] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld-musl-x86_64.path",
    "/etc/ld-musl-aarch64.path",
    "/etc/passwd",
    "/etc/group",
    "/etc/services",
    "/etc/protocols",
    "/etc/iproute2",
];
/// Read, and nothing more.
const READ: [&str; 10] = [
    "/proc",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/lib",
    "/lib64",
    "/nix/store",
    "/usr/share",
    "/run/systemd/resolve",
    "/dev/urandom",
];
/// Where the loaders of programs are, and how their names begin.
const LOADERS: [&str; 4] = ["/lib64", "/lib", "/usr/lib64", "/usr/lib"];
const LOADER: &str = "ld-";

/// What this process has to reach beside.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// Files and folders that are read again.
    pub read: Vec<PathBuf>,
    /// Folders in which sockets are made and removed.
    pub sockets: Vec<PathBuf>,
    /// The program that is run, if any is.
    pub program: Option<PathBuf>,
    /// Whether root reads.
    pub is_root: bool,
}

/// A restriction that is in force.
#[derive(Debug)]
pub(super) struct Restricted {
    /// The folders that can be read by configuration.
    readable: Vec<PathBuf>,
    /// The kernel can only do a part of it.
    pub in_part: bool,
    /// The kernel makes this folder anew when nobody looks at it, and the rule is of the folder: it is held.
    _settings: Option<File>,
}

impl Restricted {
    /// Whether a path was named at the start, or lies beside one that was.
    pub(super) fn reaches(&self, path: &Path) -> bool {
        let path = settled(path);
        self.readable.iter().any(|folder| path.starts_with(folder))
    }
}

/// Restricts this thread and those that it starts, for good.
///
/// # Errors
/// Why there is no restriction, in words.
pub(super) fn restrict(places: &Places) -> Result<Restricted, String> {
    let readable = readable(&places.read);
    let (status, settings) = apply(places, &readable).map_err(|error| error.to_string())?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err("the kernel has no Landlock, or it is off (lsm=)".to_owned());
    }
    Ok(Restricted {
        readable,
        in_part: status.ruleset != RulesetStatus::FullyEnforced,
        _settings: settings,
    })
}

/// From now on no abstract socket of another process is reached, either: the name of dunlin's claim is one.
pub(super) fn cut_off() {
    let _as_far_as_the_kernel_can = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .scope(Scope::AbstractUnixSocket)
        .and_then(Ruleset::create)
        .and_then(RulesetCreated::restrict_self);
}

/// For a thread that needs no place at all.
pub(super) fn renounce() {
    let _as_far_as_the_kernel_can = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(TRIED))
        .and_then(|rules| rules.scope(Scope::from_all(TRIED)))
        .and_then(Ruleset::create)
        .and_then(RulesetCreated::restrict_self);
}

fn apply(
    places: &Places,
    readable: &[PathBuf],
) -> Result<(RestrictionStatus, Option<File>), RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::WriteFile | AccessFs::Truncate;
    // The socket, and the file beside it that says whose it is.
    let sockets = read | write | AccessFs::MakeSock | AccessFs::MakeReg | AccessFs::RemoveFile;
    let run = BitFlags::from(AccessFs::Execute);
    let settings = File::open(SETTINGS).ok();
    let of_resolver = Path::new("/etc/resolv.conf").canonicalize().ok();
    let of_resolver = of_resolver.as_deref().and_then(Path::parent);
    let etc: &[&str] = if places.is_root { &ETC_OF_ROOT } else { &[ETC] };
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(TRIED))?
        .scope(Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(readable, read))?
        .add_rules(path_beneath_rules(READ, read))?
        .add_rules(path_beneath_rules(etc, read))?
        .add_rules(path_beneath_rules(
            of_resolver.filter(|it| !is_broad(it)),
            read,
        ))?
        .add_rules(path_beneath_rules([SETTINGS], read | write))?
        .add_rules(path_beneath_rules(["/dev/null"], read | write))?
        .add_rules(path_beneath_rules(&places.sockets, sockets))?
        .add_rules(path_beneath_rules(&places.program, read | run))?
        .add_rules(path_beneath_rules(
            places.program.iter().flat_map(|_| loaders()),
            read | run,
        ))?;
    Ok((rules.restrict_self()?, settings))
}

/// The folders that files are in, as they are written and as links lead; folders themselves.
fn readable(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for path in paths {
        let written = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let led = written.canonicalize().ok();
        for path in [Some(written), led].into_iter().flatten() {
            // A file is replaced by another one of its name: the folder is what stays.
            let folder = match path.parent() {
                Some(above) if !path.is_dir() && !is_broad(above) => above.to_owned(),
                Some(_) | None => path,
            };
            let folder = settled(&folder);
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
    }
    folders
}

/// A path without links and steps up, as far as it leads to something.
fn settled(path: &Path) -> PathBuf {
    let above = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    let found = path.canonicalize().ok().or_else(above);
    found.unwrap_or_else(|| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
}

/// Too much for one file's sake.
fn is_broad(folder: &Path) -> bool {
    folder.parent().is_none()
}

/// The programs that load programs.
fn loaders() -> Vec<PathBuf> {
    let folders = LOADERS
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok());
    let entries = folders.flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(LOADER))
        .map(|entry| entry.path())
        .collect()
}
