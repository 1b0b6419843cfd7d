//! Named network namespaces: made, entered and removed the way `ip netns` does it.
//!
//! A namespace lives as a bind mount on a file in /run/netns. Entering changes only the calling
//! thread, so all work inside happens in short-lived threads of its own; what is opened there (a
//! netlink socket, a UDP socket) stays in the namespace and may be used from anywhere.

use core::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use super::error::LabError;

/// Where `ip netns` looks.
pub(super) const NAMESPACE_FOLDER: &str = "/run/netns";

/// What was tried on a namespace, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make it.
    Make,
    /// Work inside.
    Enter,
    /// Set a kernel switch inside.
    Switch,
    /// Remove it.
    Remove,
}

impl Step {
    pub(super) const fn hint(self) -> &'static str {
        match self {
            Self::Make => " (a container needs CAP_SYS_ADMIN for this)",
            Self::Switch => {
                " (is /proc/sys mounted read-only here? run the lab outside the container)"
            }
            Self::Enter | Self::Remove => "",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Make => "make",
            Self::Enter => "enter",
            Self::Switch => "switch on forwarding in",
            Self::Remove => "remove",
        })
    }
}

/// The file of a namespace.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(NAMESPACE_FOLDER).join(name)
}

/// Makes the folder of namespaces fit for bind mounts that other mount namespaces see too.
pub(super) fn prepare_folder() -> Result<(), LabError> {
    let folder = NAMESPACE_FOLDER;
    fs::create_dir_all(folder).map_err(LabError::file("make the folder", folder))?;
    let shared = MsFlags::MS_SHARED | MsFlags::MS_REC;
    let share = || mount(None::<&str>, folder, None::<&str>, shared, None::<&str>);
    // EINVAL: it is not a mount point yet, and only a mount point can be shared.
    let result = share().or_else(|error| match error {
        Errno::EINVAL => {
            let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(folder), folder, None::<&str>, bind, None::<&str>).and_then(|()| share())
        }
        other => Err(other),
    });
    result.map_err(|error| LabError::file("share the mounts of", folder)(error.into()))
}

/// Makes a namespace, with loopback down and nothing else in it.
pub(super) fn create(name: &str) -> Result<(), LabError> {
    let file = path(name);
    let fail = |source: io::Error| LabError::Namespace {
        step: Step::Make,
        name: name.to_owned(),
        source,
    };
    File::create_new(&file).map_err(fail)?;
    let made = in_thread(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let own = "/proc/thread-self/ns/net";
        mount(
            Some(own),
            &file,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )?;
        Ok(())
    });
    made.inspect_err(|_| drop(fs::remove_file(path(name))))
        .map_err(fail)
}

/// Removes a namespace's name; the kernel frees it when nothing uses it any more.
pub(super) fn remove(name: &str) -> Result<(), LabError> {
    let file = path(name);
    let fail = |source| LabError::Namespace {
        step: Step::Remove,
        name: name.to_owned(),
        source,
    };
    // A killed lab can leave the file without the mount on it: EINVAL.
    match umount2(&file, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(error) => return Err(fail(error.into())),
    }
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fail(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The names of all namespaces.
pub(super) fn list() -> Result<Vec<String>, LabError> {
    let entries = match fs::read_dir(NAMESPACE_FOLDER) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LabError::file("read", NAMESPACE_FOLDER)(error)),
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// Moves the calling thread into a namespace for good.
pub(super) fn enter(file: &Path) -> io::Result<()> {
    setns(File::open(file)?, CloneFlags::CLONE_NEWNET)?;
    Ok(())
}

/// Runs `work` in a thread inside the namespace and hands back what it made.
pub(super) fn inside<T: Send>(
    name: &str,
    step: Step,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> Result<T, LabError> {
    in_thread(|| {
        enter(&path(name))?;
        work()
    })
    .map_err(|source| LabError::Namespace {
        step,
        name: name.to_owned(),
        source,
    })
}

/// Sets kernel switches (`ipv4/ip_forward`) of a namespace.
pub(super) fn set_switches(name: &str, switches: &[(&str, &str)]) -> Result<(), LabError> {
    inside(name, Step::Switch, || {
        for (switch, value) in switches {
            // /proc/sys/net is that of the thread that opens the file.
            let file = format!("/proc/sys/net/{switch}");
            fs::write(&file, value)
                .map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))?;
        }
        Ok(())
    })
}

fn in_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, work)?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread inside panicked")))
    })
}
