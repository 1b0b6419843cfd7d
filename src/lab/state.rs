//! The state folder: who runs a lab, what its daemons are, and the removal of what a dead one left.
//!
//! The lock file is held for as long as the lab lives, so the kernel says who is alive. What is to
//! be removed is found by the names of the plan and by the recorded processes, never by guesses.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::error::LabError;
use super::process::ProcessId;
use super::{namespace, plan};

const LOCK: &str = "lock";
const RECORD: &str = "daemons.json";
/// How often a lab that ends meanwhile may take the folder away under our hands.
const ATTEMPTS: usize = 20;

/// The folder, owned by this lab.
#[derive(Debug)]
pub(super) struct State {
    folder: PathBuf,
    /// Locked; the kernel lets go of it when the lab ends, however it ends.
    _lock: File,
}

/// What was found of an earlier lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cleaned {
    /// Daemons that still ran.
    pub(super) daemons: usize,
    /// Namespaces.
    pub(super) namespaces: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// Process ids mean something only in the boot they were given in.
    boot: String,
    daemons: Vec<ProcessId>,
}

impl State {
    /// Takes the folder, making it if needed; fails if a living lab has it.
    pub(super) fn acquire(folder: &Path) -> Result<Self, LabError> {
        for _ in 0..ATTEMPTS {
            if let Some(state) = Self::try_acquire(folder)? {
                return Ok(state);
            }
        }
        Err(LabError::Running {
            pid: "unknown".to_owned(),
        })
    }

    fn try_acquire(folder: &Path) -> Result<Option<Self>, LabError> {
        make_private(folder)?;
        let path = folder.join(LOCK);
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let mut lock = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LabError::file("open", path)(error)),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = lock.read_to_string(&mut pid);
                return Err(LabError::Running {
                    pid: pid.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(LabError::file("lock", path)(error)),
        }
        // The former owner may have removed the file between our open and our lock.
        let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        match (fs::metadata(&path), lock.metadata()) {
            (Ok(there), Ok(ours)) if same(&there, &ours) => {}
            _ => return Ok(None),
        }
        Ok(Some(Self {
            folder: folder.to_owned(),
            _lock: lock,
        }))
    }

    /// Notes in the lock who has it, for the message that a second lab prints.
    pub(super) fn sign(&mut self, pid: u32) -> Result<(), LabError> {
        let fail = LabError::file("write", self.folder.join(LOCK));
        let lock = &mut self._lock;
        let written = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{pid}"));
        written.map_err(fail)
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Remembers the daemons that run, for the lab after a dead one.
    pub(super) fn record(&self, daemons: Vec<ProcessId>) -> Result<(), LabError> {
        let path = self.folder.join(RECORD);
        let record = Record {
            boot: boot(),
            daemons,
        };
        let text = serde_json::to_string(&record)
            .map_err(|error| LabError::file("write", &path)(error.into()))?;
        fs::write(&path, text).map_err(LabError::file("write", path))
    }

    /// Stops the daemons and removes the namespaces and files of an earlier lab of this instance.
    pub(super) fn clean(&self, instance: &str) -> Result<Cleaned, LabError> {
        let mut cleaned = Cleaned::default();
        let record = self.folder.join(RECORD);
        for daemon in fs::read(&record)
            .map(|bytes| recorded(&bytes))
            .unwrap_or_default()
        {
            if daemon.is_alive() {
                daemon
                    .stop()
                    .map_err(LabError::system("stop a dunlin of an earlier lab"))?;
                cleaned.daemons += 1;
            }
        }
        for name in namespace::list()?
            .iter()
            .filter(|name| plan::is_ours(instance, name))
        {
            namespace::remove(name)?;
            cleaned.namespaces += 1;
        }
        self.empty()?;
        Ok(cleaned)
    }

    /// Gives the folder up and removes it.
    pub(super) fn remove(self) -> Result<(), LabError> {
        fs::remove_dir_all(&self.folder).map_err(LabError::file("remove", &self.folder))
    }

    fn empty(&self) -> Result<(), LabError> {
        let folder = &self.folder;
        for entry in fs::read_dir(folder)
            .map_err(LabError::file("read", folder))?
            .flatten()
        {
            if entry.file_name() == LOCK {
                continue;
            }
            let path = entry.path();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if is_folder {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(LabError::file("remove", path))?;
        }
        Ok(())
    }
}

/// The daemons of a record of this boot; an unreadable record (the lab died while it wrote) has
/// none, and those daemons died with their lab.
fn recorded(bytes: &[u8]) -> Vec<ProcessId> {
    match serde_json::from_slice::<Record>(bytes) {
        Ok(record) if record.boot == boot() => record.daemons,
        Ok(_) | Err(_) => Vec::new(),
    }
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Makes the folder, or checks that the one that is there is ours: /tmp is everybody's.
fn make_private(folder: &Path) -> Result<(), LabError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(LabError::file("make the folder", folder)(error)),
    }
    let found = match fs::symlink_metadata(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LabError::file("look at", folder)(error)),
    };
    if found.is_dir() && found.uid() == geteuid().as_raw() {
        return Ok(());
    }
    let error = io::Error::other("it is there, but belongs to somebody else");
    Err(LabError::file("use the folder", folder)(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of this test's own, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("dunlin-lab-state-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_second_lab_is_refused_and_told_who_runs() {
        let scratch = Scratch::new("second");
        let mut first = State::acquire(&scratch.0).unwrap();
        first.sign(4242).unwrap();
        let refused = State::acquire(&scratch.0).unwrap_err().to_string();
        assert!(refused.contains("4242"), "{refused}");
        first.remove().unwrap();
        assert!(!scratch.0.exists());
        State::acquire(&scratch.0).unwrap();
    }

    #[test]
    fn a_folder_that_is_a_link_is_not_followed() {
        let scratch = Scratch::new("link");
        std::os::unix::fs::symlink("/", &scratch.0).unwrap();
        let refused = State::acquire(&scratch.0).unwrap_err().to_string();
        assert!(refused.contains("somebody else"), "{refused}");
    }

    #[test]
    fn cleaning_stops_recorded_daemons_and_leaves_only_the_lock() {
        let scratch = Scratch::new("clean");
        let state = State::acquire(&scratch.0).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        state
            .record(vec![ProcessId::of(child.id()).unwrap()])
            .unwrap();
        fs::create_dir(scratch.0.join("node-1")).unwrap();
        let instance = format!("dunlin-none-{}", std::process::id());
        let cleaned = state.clean(&instance).unwrap();
        assert_eq!(
            cleaned,
            Cleaned {
                daemons: 1,
                namespaces: 0
            }
        );
        assert!(!child.wait().unwrap().success());
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);
    }

    #[test]
    fn a_record_of_another_boot_or_half_written_names_nobody() {
        let daemons = vec![ProcessId::of(std::process::id()).unwrap()];
        let old = Record {
            boot: "another".to_owned(),
            daemons,
        };
        assert_eq!(recorded(&serde_json::to_vec(&old).unwrap()), Vec::new());
        assert_eq!(recorded(b"{\"boot\":"), Vec::new());
    }
}
