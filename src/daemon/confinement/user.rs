//! As whom the process runs: who is meant, and becoming it.
//!
//! What always holds: after [`become_user`] no thread has another user, and no group but the user's own and
//! those that the control socket is given to; nothing but `wanted` capabilities came along.

use core::fmt;

use caps::CapsHashSet;
use nix::sys::prctl;
use nix::unistd::{
    Gid, Group, Uid, User, getegid, geteuid, getppid, setgroups, setresgid, setresuid,
};

use super::capabilities;
use crate::daemon::config::RunAs;

/// The user that is taken where the file names none, if the host has it.
const DEFAULT: &str = "dunlin";

/// A user and its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub uid: Uid,
    pub gid: Gid,
    /// Its name, if it has one.
    pub name: Option<String>,
}

/// Why the process does not run as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    /// Nobody of that name.
    #[error("[process] user: there is no {kind} named {name:?}; make it, or write a number")]
    Unknown {
        /// A user or a group.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The system does not let it.
    #[error(
        "[process] user: cannot become {identity} ({step}: {why}): start dunlin as root, or as that user"
    )]
    Refused {
        identity: String,
        step: &'static str,
        why: String,
    },
}

impl Identity {
    /// Who this process is now.
    pub(super) fn own() -> Self {
        let uid = geteuid();
        Self {
            uid,
            gid: getegid(),
            name: User::from_uid(uid).ok().flatten().map(|user| user.name),
        }
    }

    /// Who is meant by the file; without a word of it, the user `dunlin` for a process of root's where there
    /// is one.
    pub(super) fn wanted(said: Option<&RunAs>) -> Result<Option<Self>, UserError> {
        match said {
            Some(said) => Self::named(said).map(Some),
            None if geteuid().is_root() => {
                let found = User::from_name(DEFAULT).ok().flatten();
                Ok(found.map(Self::from))
            }
            None => Ok(None),
        }
    }

    fn named(said: &RunAs) -> Result<Self, UserError> {
        let unknown = |kind, name: &str| UserError::Unknown {
            kind,
            name: name.to_owned(),
        };
        let mut identity = match said.user.parse().map(Uid::from_raw) {
            Ok(uid) => match User::from_uid(uid).ok().flatten() {
                Some(user) => Self::from(user),
                // A number needs no name; its group has the same one.
                None => Self {
                    uid,
                    gid: Gid::from_raw(uid.as_raw()),
                    name: None,
                },
            },
            Err(_a_name) => match User::from_name(&said.user).ok().flatten() {
                Some(user) => Self::from(user),
                None => return Err(unknown("user", &said.user)),
            },
        };
        if let Some(group) = &said.group {
            identity.gid = match group.parse() {
                Ok(gid) => Gid::from_raw(gid),
                Err(_a_name) => match Group::from_name(group).ok().flatten() {
                    Some(group) => group.gid,
                    None => return Err(unknown("group", group)),
                },
            };
        }
        Ok(identity)
    }
}

impl From<User> for Identity {
    fn from(user: User) -> Self {
        Self {
            uid: user.uid,
            gid: user.gid,
            name: Some(user.name),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({}:{})", self.uid, self.gid),
            None => write!(f, "{}:{}", self.uid, self.gid),
        }
    }
}

/// Makes root a member of these groups and of no other; why not, if so. Nothing happens to others, whose groups are
/// their own matter.
pub(super) fn join(groups: &[Gid]) -> Option<String> {
    if !geteuid().is_root() {
        return None;
    }
    let refused = setgroups(groups).err()?;
    Some(format!(
        "cannot be in the groups of the control socket: {refused}"
    ))
}

/// Becomes `identity` for good, in all threads; this thread takes `wanted` capabilities along. `groups` are
/// those that the control socket is given to: only a member may give a file to a group.
pub(super) fn become_user(
    identity: &Identity,
    groups: &[Gid],
    wanted: &CapsHashSet,
) -> Result<(), UserError> {
    let refused = |step| {
        move |why: &dyn fmt::Display| UserError::Refused {
            identity: identity.to_string(),
            step,
            why: why.to_string(),
        }
    };
    let parent = getppid();
    // The kernel forgets it where a process changes its user.
    let at_parents_end = prctl::get_pdeathsig().ok().flatten();
    capabilities::bound(wanted).map_err(|error| refused("capabilities")(&error))?;
    // Across the change only; of this thread only.
    prctl::set_keepcaps(true).map_err(|errno| refused("capabilities")(&errno))?;
    setgroups(groups).map_err(|errno| refused("groups")(&errno))?;
    let Identity { uid, gid, .. } = *identity;
    setresgid(gid, gid, gid).map_err(|errno| refused("group")(&errno))?;
    setresuid(uid, uid, uid).map_err(|errno| refused("user")(&errno))?;
    prctl::set_keepcaps(false).map_err(|errno| refused("capabilities")(&errno))?;
    capabilities::raise().map_err(|error| refused("capabilities")(&error))?;
    if let Some(signal) = at_parents_end {
        let _it_was_set = prctl::set_pdeathsig(signal);
        if getppid() != parent {
            let gone = "its parent has ended meanwhile";
            return Err(refused("parent")(&gone));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Result<String, String> {
        let said = RunAs::parse(text).ok_or("not read")?;
        let identity = Identity::named(&said).map_err(|error| error.to_string())?;
        Ok(identity.to_string())
    }

    #[test]
    fn a_user_is_named_or_numbered_and_so_is_its_group() {
        assert_eq!(named("root").unwrap(), "root (0:0)");
        assert_eq!(named("0").unwrap(), "root (0:0)");
        assert_eq!(named("4000000001").unwrap(), "4000000001:4000000001");
        assert_eq!(named("4000000001:7").unwrap(), "4000000001:7");
        assert_eq!(named("4000000001:root").unwrap(), "4000000001:0");
        let nobody = named("no-such-user").unwrap_err();
        assert!(
            nobody.contains("no user named \"no-such-user\""),
            "{nobody}"
        );
        let none = named("root:no-such-group").unwrap_err();
        assert!(none.contains("no group named \"no-such-group\""), "{none}");
    }
}
