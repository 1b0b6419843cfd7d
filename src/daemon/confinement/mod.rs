//! What the process may do: as whom it runs, with which capabilities, calls and places; begun as root, it is
//! an ordinary user's from [`confine`] on.
//!
//! It decides nothing about routes. What always holds: it is called before the first thread that lasts, so
//! that nothing of the process is left outside; what can't be had of a sandbox is said and does not keep
//! routes from being made; who asked for a user and can't have it does not run.
//!
//! Unlisted calls fail as unknown ones do (`calls`); keys are in no dump of memory (`limits`).

mod calls;
mod capabilities;
mod limits;
mod places;
mod reach;
mod user;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, geteuid};

use super::config::Config;
use crate::control::door;
use crate::control::protocol::Remark;
use crate::problem::{Code, Problem, Subject};
use crate::topology::Plan;
use places::{Places, Restricted};
use user::Identity;
pub(super) use user::UserError;

/// A part of the sandbox.
#[derive(Debug)]
enum Layer<T> {
    On(T),
    /// Why not.
    Off(String),
}

/// What the process may still do.
#[derive(Debug)]
pub(super) struct Confined {
    identity: Identity,
    capabilities: Vec<String>,
    calls: Layer<()>,
    places: Layer<Restricted>,
    /// Files that a reload will not see, in words.
    unreadable: Vec<String>,
    /// What is worth a line at the start.
    remarks: Vec<String>,
}

/// What is read again while it runs: the node's file, the cluster, and the files of secrets.
#[derive(Debug, Clone, Default)]
pub(super) struct Reads(pub Vec<PathBuf>);

impl Reads {
    /// Of a reading of the file at `path`.
    pub(super) fn of<'a>(
        path: &Path,
        config: &Config,
        secrets: impl Iterator<Item = &'a Path>,
    ) -> Self {
        let mut paths = vec![path.to_owned(), config.datastore_path.clone()];
        paths.extend(config.secrets.clone());
        paths.extend(secrets.map(Path::to_owned));
        paths.dedup();
        Self(paths)
    }
}

/// Makes the process what it is to be. The log has not begun: what there is to say is kept for
/// [`Confined::say`].
///
/// # Errors
/// The user that the file names can't be had.
pub(super) fn confine(config: &Config, plan: &Plan, reads: &Reads) -> Result<Confined, UserError> {
    let mut remarks = limits::set();
    let process = &config.process;
    let wanted = if process.keep_capabilities {
        caps::all()
    } else {
        capabilities::wanted(plan)
    };
    let socket_folder = config.control.socket.parent();
    let identity = Identity::wanted(process.user.as_ref())?.unwrap_or_else(Identity::own);
    if let Some(folder) = socket_folder {
        give_folder(folder, &identity);
    }
    if identity.uid == geteuid() {
        // Who stays root gives a socket away as a member, too, once it may no longer give away anything.
        remarks.extend(user::join(&groups(config)));
    } else if let Err(error) = user::become_user(&identity, &groups(config), &wanted) {
        // A user that nobody asked for is no reason not to run.
        if process.user.is_some() {
            return Err(error);
        }
        remarks.push(format!("{error}; going on as before"));
    }
    if !process.keep_capabilities {
        let kept = nix::sys::prctl::set_no_new_privs()
            .map_err(|errno| errno.to_string())
            .and_then(|()| {
                let bound = capabilities::bound(&wanted);
                let kept = bound.and_then(|()| capabilities::keep_only(&wanted));
                kept.map_err(|error| error.to_string())
            });
        // A process that may too much works as well.
        remarks.extend(
            kept.err()
                .map(|why| format!("cannot give up capabilities: {why}")),
        );
    }
    limits::keep_memory_private();
    let mut confined = Confined {
        identity: Identity::own(),
        capabilities: capabilities::held(),
        calls: Layer::Off(String::new()),
        places: Layer::Off(String::new()),
        unreadable: Vec::new(),
        remarks,
    };
    // Before the sandbox has a say, so that it is known who has.
    confined.look_at(reads);
    confined.enter_sandbox(config, reads);
    Ok(confined)
}

/// Gives up all that a thread can do without that only hands octets to an open file.
pub(super) fn renounce() {
    capabilities::renounce();
    places::renounce();
}

impl Confined {
    /// Takes what the kernel has of a sandbox.
    fn enter_sandbox(&mut self, config: &Config, reads: &Reads) {
        if !config.process.sandbox {
            let why = "switched off (sandbox = false)";
            self.calls = Layer::Off(why.to_owned());
            self.places = Layer::Off(why.to_owned());
            return;
        }
        let runs_nft = config.routing.kernel_routes;
        let nft = crate::nft::Settings::with_program(config.nat.nft.as_deref());
        let places = Places {
            read: reads.0.clone(),
            sockets: config
                .control
                .socket
                .parent()
                .map(Path::to_owned)
                .into_iter()
                .collect(),
            program: runs_nft.then(|| nft.program().ok()).flatten(),
            is_root: self.identity.uid.is_root(),
        };
        self.places = match places::restrict(&places) {
            Ok(restricted) => Layer::On(restricted),
            Err(why) => Layer::Off(why),
        };
        self.calls = match calls::restrict(runs_nft) {
            Ok(()) => Layer::On(()),
            Err(why) => Layer::Off(why),
        };
        let [calls, places] = [self.calls.lack(), self.places.lack()];
        for (layer, lack) in [("seccomp", calls), ("Landlock", places)] {
            let remark = lack.map(|why| format!("the sandbox is without {layer}: {why}"));
            self.remarks.extend(remark);
        }
    }

    /// Gives up what only the start needs: the last thing before other threads begin.
    pub(super) fn started(&self) {
        if matches!(self.places, Layer::On(_)) {
            places::cut_off();
        }
    }

    /// Says what there is to say, now that there is a log.
    pub(super) fn say(&self) {
        tracing::info!(
            user = %self.identity,
            capabilities = self.capabilities.join(" "),
            sandbox = self.sandbox(),
            "confined"
        );
        for remark in self.remarks.iter().chain(&self.unreadable) {
            tracing::warn!("{remark}");
        }
    }

    /// Looks which files can't be read again.
    pub(super) fn look_at(&mut self, reads: &Reads) {
        let complaints = reads.0.iter().filter_map(|path| {
            let outside = self
                .outside(path)
                .map(|why| format!("{} can't be read: {why}", path.display()));
            outside.or_else(|| reach::complaint(path, &self.identity))
        });
        self.unreadable = complaints.collect();
        self.unreadable.dedup();
    }

    /// Says of files that could not be read why that is, where it is for the sandbox.
    pub(super) fn explain(&self, remarks: &mut [Remark]) {
        for remark in remarks
            .iter_mut()
            .filter(|it| it.text.contains("ermission denied"))
        {
            let why = remark
                .file
                .as_ref()
                .and_then(|file| self.outside(Path::new(file)));
            if let Some(why) = why {
                remark.text = format!("{}: {why}", remark.text);
            }
        }
    }

    /// Why a path is not seen, if it is the sandbox that hides it.
    fn outside(&self, path: &Path) -> Option<&'static str> {
        match &self.places {
            Layer::On(places) if !places.reaches(path) => Some(
                "it is beside none of the files that dunlin was started with, and its sandbox shows it no \
                 others; restart dunlin",
            ),
            Layer::On(_) | Layer::Off(_) => None,
        }
    }

    /// The files that can't be read again, in words.
    pub(super) fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// What somebody has to look after.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> + '_ {
        self.unreadable.iter().map(|what| {
            let remedy = "then `dunlin reload`";
            Problem::new(Code::FileUnreadable, Subject::Host, what, remedy)
        })
    }

    /// As whom it runs: name and numbers.
    pub(super) fn user(&self) -> String {
        self.identity.to_string()
    }

    /// The capabilities that it has.
    pub(super) fn capabilities(&self) -> &[String] {
        &self.capabilities
    }

    /// The sandbox, in words.
    pub(super) fn sandbox(&self) -> String {
        let calls = match self.calls.lack() {
            None => "seccomp".to_owned(),
            Some(why) => format!("no seccomp: {why}"),
        };
        let places = match &self.places {
            Layer::On(restricted) if restricted.in_part => {
                "Landlock (as far as this kernel has it)".to_owned()
            }
            Layer::On(_) => "Landlock".to_owned(),
            Layer::Off(why) => format!("no Landlock: {why}"),
        };
        format!("{calls}, {places}")
    }
}

impl<T> Layer<T> {
    fn lack(&self) -> Option<&str> {
        match self {
            Self::On(_) => None,
            Self::Off(why) => Some(why),
        }
    }
}

/// The groups that the control socket is given to; one that there is not is said where the socket is made.
fn groups(config: &Config) -> Vec<Gid> {
    let named = config.control.group.iter().chain(&config.control.viewers);
    let found = named.filter_map(|name| Group::from_name(name).ok().flatten());
    found.map(|group| group.gid).collect()
}

/// Makes the folder of the control socket, and gives it to `identity`: a socket can only be removed and made
/// anew by whoever may write there. A folder of root's with other things in it is left as it is.
fn give_folder(folder: &Path, identity: &Identity) {
    // Said where the socket is made, if it fails.
    let made = door::make_folder(folder).unwrap_or(false);
    if !made && !is_only_ours(folder) {
        return;
    }
    let (uid, gid) = (Some(identity.uid.as_raw()), Some(identity.gid.as_raw()));
    let inside = fs::read_dir(folder).into_iter().flatten().flatten();
    for one in inside.map(|entry| entry.path()).chain([folder.to_owned()]) {
        let _said_when_the_socket_is_made = std::os::unix::fs::lchown(one, uid, gid);
    }
}

/// A folder that root made for dunlin: below another folder, and nothing in it but sockets and what is beside them.
fn is_only_ours(folder: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let is_deep = folder.components().count() > 2;
    let is_roots = fs::symlink_metadata(folder)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == 0 && meta.mode() & 0o022 == 0);
    let is_ours = |entry: fs::DirEntry| {
        let beside = entry.path().extension().is_some_and(|kind| kind == "lock");
        entry
            .file_type()
            .is_ok_and(|kind| kind.is_socket() || kind.is_file() && beside)
    };
    let only_ours = |mut entries: fs::ReadDir| entries.all(|entry| entry.is_ok_and(is_ours));
    is_deep && is_roots && fs::read_dir(folder).is_ok_and(only_ours)
}

#[cfg(test)]
mod tests;
