//! May this process make network namespaces? As root it may; else it becomes root of a user
//! namespace of its own, if the system allows that; else it says exactly what is missing.
//!
//! Without root the lab runs as the first process of its own process namespace: whatever happens to
//! it, the kernel ends every daemon and frees every network namespace with it. Nothing is left.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, Uid, getegid, geteuid};

use super::error::LabError;
use super::process::own_program;

/// Set for the process that runs as root of the user namespace; holds the id of its parent.
pub(super) const OUTER_VARIABLE: &str = "DUNLIN_LAB_OUTER";

const CAP_NET_ADMIN: u64 = 1 << 12;
const CAP_SYS_ADMIN: u64 = 1 << 21;

/// How the lab came to its permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// It is root; namespaces are the machine's and `ip netns` shows them.
    Root,
    /// It is root of a user namespace only.
    UserNamespace {
        /// The id of this process as everybody else sees it.
        seen_as: u32,
    },
}

/// What to do after asking for permission.
#[derive(Debug)]
pub(super) enum Start {
    /// Build here.
    Here(Permission),
    /// A child with permission did everything and ended so.
    Done(ExitCode),
}

/// Gets the permission to make network namespaces. Only with a single thread: the kernel refuses a
/// user namespace otherwise.
pub(super) fn obtain() -> Result<Start, LabError> {
    if let Ok(outer) = std::env::var(OUTER_VARIABLE) {
        set_pdeathsig(Signal::SIGKILL).map_err(LabError::system("tie the lab to its parent"))?;
        return settle(&outer).map(Start::Here);
    }
    if geteuid().is_root() && has_capabilities() {
        return Ok(Start::Here(Permission::Root));
    }
    let flags = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID;
    let (uid, gid) = (geteuid(), getegid());
    unshare(flags).map_err(|errno| not_permitted(&errno.into()))?;
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ] {
        fs::write(file, text).map_err(|error| not_permitted(&error))?;
    }
    run_child().map(Start::Done)
}

/// Where this user's labs keep their files. Not under the tmpfs that [`settle`] mounts, so that
/// the control sockets can be reached from outside.
pub(super) fn state_folder(instance: &str, permission: Permission) -> PathBuf {
    match permission {
        Permission::Root => Path::new("/run").join(instance),
        Permission::UserNamespace { .. } => user_folder(instance),
    }
}

fn user_folder(instance: &str) -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match runtime.filter(|folder| folder.is_absolute() && folder.is_dir()) {
        Some(folder) => folder.join(instance),
        None => {
            // Inside the user namespace everybody is 0: take the id as the parent saw it.
            let uid = mapped_uid().unwrap_or_else(|| Uid::current().as_raw());
            std::env::temp_dir().join(format!("{instance}-{uid}"))
        }
    }
}

fn mapped_uid() -> Option<u32> {
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    map.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn has_capabilities() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    let needed = CAP_NET_ADMIN | CAP_SYS_ADMIN;
    effective.is_some_and(|set| set & needed == needed)
}

/// Starts this program again inside the new namespaces and passes signals on to it.
fn run_child() -> Result<ExitCode, LabError> {
    let mut watched = SigSet::empty();
    let ends = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    watched.extend(ends);
    watched.add(Signal::SIGCHLD);
    watched
        .thread_block()
        .map_err(LabError::system("watch signals"))?;
    let mut child = Command::new(own_program()?)
        .args(std::env::args_os().skip(1))
        .env(OUTER_VARIABLE, std::process::id().to_string())
        .spawn()
        .map_err(LabError::system("start the lab in a user namespace"))?;
    loop {
        let signal = watched
            .wait()
            .map_err(LabError::system("wait for signals"))?;
        if ends.contains(&signal)
            && let Ok(pid) = i32::try_from(child.id())
        {
            // Ctrl-C reaches the child too, as it is in the same group; a second one does no harm.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let ended = child
            .try_wait()
            .map_err(LabError::system("wait for the lab"))?;
        if let Some(status) = ended {
            return Ok(exit_code(status));
        }
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Makes the user namespace a place to work in: an own /run, and an own /proc if possible.
fn settle(outer: &str) -> Result<Permission, LabError> {
    // The old /proc still shows how the machine numbers this process and its parent.
    let status = fs::read_to_string("/proc/self/status")
        .map_err(LabError::file("read", "/proc/self/status"))?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|text| text.trim().to_owned())
    };
    if field("PPid:").as_deref() != Some(outer) {
        return Err(LabError::Usage(format!(
            "{OUTER_VARIABLE} is set, but process {outer} did not start this lab: unset it"
        )));
    }
    let seen_as = field("Pid:")
        .and_then(|pid| pid.parse().ok())
        .unwrap_or_default();
    let quiet = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, quiet, nothing).map_err(|errno| not_permitted(&errno.into()))?;
    own_run().map_err(|error| not_permitted(&error))?;
    // Containers may forbid this one; then /proc goes on showing the processes of the machine,
    // which only costs the user who looks into the namespaces a wrong `ps`.
    let _ = mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::empty(),
        nothing,
    );
    Ok(Permission::UserNamespace { seen_as })
}

/// Mounts an own /run for /run/netns, but leaves the user's part of it where it was.
fn own_run() -> io::Result<()> {
    let run = Path::new("/run");
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let kept = match runtime.filter(|folder| folder.starts_with(run) && folder.is_dir()) {
        Some(folder) => {
            let path_only = libc::O_PATH | libc::O_DIRECTORY;
            let open = OpenOptions::new()
                .read(true)
                .custom_flags(path_only)
                .open(&folder)?;
            Some((folder, open))
        }
        None => None,
    };
    mount(
        Some("tmpfs"),
        run,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=0755"),
    )?;
    if let Some((folder, open)) = kept {
        bind_back(&folder, &open)?;
    }
    Ok(())
}

fn bind_back(folder: &Path, open: &File) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(folder)?;
    let source = format!("/proc/self/fd/{}", open.as_raw_fd());
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(
        Some(source.as_str()),
        folder,
        None::<&str>,
        bind,
        None::<&str>,
    )?;
    Ok(())
}

fn not_permitted(error: &io::Error) -> LabError {
    let read = |switch: &str| {
        let file = format!("/proc/sys/{}", switch.replace('.', "/"));
        fs::read_to_string(file)
            .ok()
            .map(|text| text.trim().to_owned())
    };
    LabError::NotPermitted(diagnosis(error, read))
}

/// What is missing, and what to do about it, from the error and the kernel's switches.
fn diagnosis(error: &io::Error, read: impl Fn(&str) -> Option<String>) -> String {
    let mut missing = Vec::new();
    for (switch, bad, good) in [
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
        ("user.max_user_namespaces", "0", "10000"),
        ("user.max_net_namespaces", "0", "10000"),
        ("user.max_pid_namespaces", "0", "10000"),
        ("user.max_mnt_namespaces", "0", "10000"),
    ] {
        if read(switch).as_deref() == Some(bad) {
            missing.push(format!(
                "{switch} is {bad} (`sudo sysctl {switch}={good}` allows it)"
            ));
        }
    }
    let reason = if !missing.is_empty() {
        missing.join(", ")
    } else if Errno::from_raw(error.raw_os_error().unwrap_or(0)) == Errno::ENOSPC {
        "all user namespaces of user.max_user_namespaces are in use".to_owned()
    } else {
        "a container or a security module forbids it (allow CAP_SYS_ADMIN and CAP_NET_ADMIN)"
            .to_owned()
    };
    format!(
        "no permission to make network namespaces: it lacks root's capabilities, and a user \
         namespace is refused ({error}): {reason}; or run it by sudo"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(errno: Errno, set: &'static [(&str, &str)]) -> String {
        diagnosis(&errno.into(), |name| {
            set.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_switch_that_forbids_user_namespaces_is_named_with_its_cure() {
        let debian = told(Errno::EPERM, &[("kernel.unprivileged_userns_clone", "0")]);
        assert!(
            debian.contains("sudo sysctl kernel.unprivileged_userns_clone=1"),
            "{debian}"
        );
        let ubuntu = told(
            Errno::EACCES,
            &[
                ("kernel.unprivileged_userns_clone", "1"),
                ("kernel.apparmor_restrict_unprivileged_userns", "1"),
            ],
        );
        assert!(
            ubuntu.contains("apparmor_restrict_unprivileged_userns is 1"),
            "{ubuntu}"
        );
        assert!(!ubuntu.contains("unprivileged_userns_clone=1"), "{ubuntu}");
        let none = told(Errno::ENOSPC, &[("user.max_user_namespaces", "0")]);
        assert!(none.contains("user.max_user_namespaces is 0"), "{none}");
    }

    #[test]
    fn without_a_guilty_switch_the_error_itself_decides() {
        let full = told(Errno::ENOSPC, &[("user.max_user_namespaces", "500")]);
        assert!(full.contains("in use"), "{full}");
        let container = told(Errno::EPERM, &[]);
        assert!(
            container.contains("a container or a security module"),
            "{container}"
        );
    }
}
