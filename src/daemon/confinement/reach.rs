//! Which files the process can't read again, as the user that it is now, and why.
//!
//! It asks by opening, so that whatever decides (owner, mode, an access list, a security module) is asked.
//! The words name the first thing on the way that is closed, since that is what has to be changed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::user::Identity;

/// A file that a reload will not see, in words.
pub(super) fn complaint(path: &Path, identity: &Identity) -> Option<String> {
    let error = open(path).err()?;
    if error.kind() != io::ErrorKind::PermissionDenied {
        return None;
    }
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let closed = closed(&path);
    let found = match fs::metadata(&closed) {
        Ok(meta) => format!(
            ", which has mode {:04o} and belongs to {}:{}",
            meta.permissions().mode() & 0o7777,
            meta.uid(),
            meta.gid()
        ),
        Err(_) => String::new(),
    };
    let (what, cure) = if closed == path {
        (String::new(), "read")
    } else {
        (format!(" for {}", closed.display()), "enter")
    };
    Some(format!(
        "{} can't be read again by {identity}{what}{found}: a change of it will not be seen. Let that user {cure} \
         it (chown, chmod), or name another in [process] user",
        path.display()
    ))
}

/// A folder is read as well as a file.
fn open(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return fs::read_dir(path).map(drop);
    }
    File::open(path).map(drop)
}

/// The first folder on the way that can't be entered, or else the file itself.
fn closed(path: &Path) -> PathBuf {
    let mut above: Vec<&Path> = path.ancestors().collect();
    above.reverse();
    above
        .windows(2)
        .find_map(|pair| match pair {
            [folder, below] => {
                let denied = fs::symlink_metadata(below)
                    .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
                denied.then(|| folder.to_path_buf())
            }
            _ => None,
        })
        .unwrap_or_else(|| path.to_owned())
}
