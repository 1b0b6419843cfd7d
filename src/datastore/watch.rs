//! Waiting for a file or folder to change.
//!
//! It watches folders, not files: editors and configuration tools replace a file by renaming
//! another over it, and a ConfigMap swaps the symbolic link of a whole folder. An event only
//! makes it look; it reports a change if what it would read is another file, another size or
//! another time than before. Nothing is polled.
//!
//! Create the watcher before the first reading, and a change in between is not lost. Secrets are known only
//! after a reading, so each comes with the state that it was read in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use inotify::{Event, EventMask, Inotify, WatchDescriptor, WatchMask};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use super::file::list;

/// A change is reported once nothing has moved for this long.
const QUIET: Duration = Duration::from_millis(50);
/// And after this long even if something still moves.
const AT_MOST: Duration = Duration::from_secs(1);
/// Symbolic links to follow before a path counts as a loop; Linux has the same number.
const MAX_LINKS: usize = 40;
/// Room for many events at once; one takes at most 272 bytes.
const BUFFER: usize = 16 * 1024;

/// Waits for what is at a path to change.
#[derive(Debug)]
pub struct Watcher {
    path: PathBuf,
    secrets: SecretFiles,
    inotify: AsyncFd<Inotify>,
    watched: BTreeMap<PathBuf, WatchDescriptor>,
    seen: Fingerprint,
    /// Events were taken out, and nobody has looked since.
    woken: Option<Woken>,
    buffer: Vec<u8>,
}

/// When it is time to look.
#[derive(Debug, Clone, Copy)]
struct Woken {
    /// If nothing more comes until then.
    quiet: Instant,
    /// Whatever comes.
    at_most: Instant,
}

/// What tells one state of the files from another.
type Fingerprint = Vec<(PathBuf, Option<FileState>)>;

/// Device, inode, size, and the times of the last change to content and to the inode.
type FileState = (u64, u64, u64, (i64, i64), (i64, i64));

/// Files that were asked for a secret, each as it was just before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecretFiles(BTreeMap<PathBuf, Option<FileState>>);

impl SecretFiles {
    /// Notes a file that is about to be read.
    pub(crate) fn note(&mut self, path: &Path) {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let state = state_of(&path);
        self.0.entry(path).or_insert(state);
    }

    /// The files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// The same files as they are now.
    fn now(&self) -> Self {
        let look = |path: &PathBuf| (path.clone(), state_of(path));
        Self(self.0.keys().map(look).collect())
    }
}

impl Watcher {
    /// Watches `path`, which need not be there yet. Needs a tokio runtime.
    pub fn new(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let mut watcher = Self {
            inotify: register(Inotify::init()?)?,
            watched: BTreeMap::new(),
            seen: Vec::new(),
            secrets: SecretFiles::default(),
            woken: None,
            buffer: vec![0; BUFFER],
            path,
        };
        watcher.watch()?;
        watcher.seen = fingerprint(&watcher.path);
        Ok(watcher)
    }

    /// Watches secrets, too, in place of those that it watched before.
    ///
    /// A file that has changed since it was noted is reported by the next [`Self::changed`].
    ///
    /// # Errors
    /// The system has no room for another watch.
    pub fn watch_secrets(&mut self, secrets: SecretFiles) -> io::Result<()> {
        if self.secrets != secrets {
            self.secrets = secrets;
            self.watch()?;
            self.wake(self.secrets.now() != self.secrets);
        }
        Ok(())
    }

    /// Returns once something is other than it was at the last return.
    ///
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> io::Result<()> {
        loop {
            self.settle().await?;
            // First the watches, then the look: what happens in between wakes us again.
            self.watch()?;
            let now = (fingerprint(&self.path), self.secrets.now());
            self.woken = None;
            if now.0 != self.seen || now.1 != self.secrets {
                (self.seen, self.secrets) = now;
                return Ok(());
            }
        }
    }

    /// Waits for the first event, and then for the quiet after the last. When that is does not depend on how
    /// often the wait is dropped and begun again.
    async fn settle(&mut self) -> io::Result<()> {
        loop {
            let Some(Woken { quiet, at_most }) = self.woken else {
                self.events().await?;
                continue;
            };
            let end = quiet.min(at_most);
            match timeout_at(end, self.events()).await {
                Ok(events) => events?,
                Err(_elapsed) => return Ok(()),
            }
            if Instant::now() >= at_most {
                return Ok(());
            }
        }
    }

    /// An event was taken out, which perhaps matters; others then only prolong the wait.
    fn wake(&mut self, matters: bool) {
        if !matters && self.woken.is_none() {
            return;
        }
        let now = Instant::now();
        let at_most = self.woken.map_or(now + AT_MOST, |woken| woken.at_most);
        let quiet = now + QUIET;
        self.woken = Some(Woken { quiet, at_most });
    }

    /// Takes the events that there are, and notes whether one of them matters.
    async fn events(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable_mut().await?;
            let folders: BTreeMap<&WatchDescriptor, &Path> = self
                .watched
                .iter()
                .map(|(path, wd)| (wd, path.as_path()))
                .collect();
            let buffer = &mut self.buffer;
            let read = ready.try_io(|inotify| {
                let events = inotify.get_mut().read_events(buffer)?;
                // Not `any`: each has to be taken out.
                Ok(events.fold(false, |matters, event| {
                    matters | is_relevant(&event, folders.get(&event.wd).copied())
                }))
            });
            match read {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => {
                    let matters = result?;
                    self.wake(matters);
                    return Ok(());
                }
                Err(_would_block) => {}
            }
        }
    }

    /// Sets the watches that the path needs as it is now, and removes the others.
    fn watch(&mut self) -> io::Result<()> {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::CREATE
            | WatchMask::MOVE
            | WatchMask::DELETE
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let mut watches = self.inotify.get_ref().watches();
        let mut now = BTreeMap::new();
        let mut folders = folders(&self.path);
        for secret in self.secrets.paths() {
            collect(secret, &mut folders);
        }
        for folder in folders {
            match watches.add(&folder, mask) {
                Ok(watch) => {
                    now.insert(folder, watch);
                }
                // Gone again, or not ours to see: the watch on the folder above remains.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound
                            | io::ErrorKind::NotADirectory
                            | io::ErrorKind::PermissionDenied
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        let kept: BTreeSet<&WatchDescriptor> = now.values().collect();
        let before = std::mem::take(&mut self.watched);
        for stale in before.into_values().filter(|watch| !kept.contains(watch)) {
            // It fails when the folder is gone, and then there is nothing to remove.
            let _already_gone = watches.remove(stale);
        }
        self.watched = now;
        Ok(())
    }
}

#[expect(
    deprecated,
    reason = "the replacement is unsafe for types that may swap their descriptor; Inotify does not"
)]
fn register(inotify: Inotify) -> io::Result<AsyncFd<Inotify>> {
    AsyncFd::new(inotify)
}

/// Whether to look again. A file that was just created is empty until its writer closes it.
fn is_relevant(event: &Event<&OsStr>, folder: Option<&Path>) -> bool {
    if event.mask != EventMask::CREATE {
        return true;
    }
    let (Some(folder), Some(name)) = (folder, event.name) else {
        return true;
    };
    let created = fs::symlink_metadata(folder.join(name));
    !created.is_ok_and(|meta| meta.is_file() && meta.nlink() == 1)
}

fn fingerprint(path: &Path) -> Fingerprint {
    let files = list(path).unwrap_or_default();
    files
        .into_iter()
        .map(|path| (state_of(&path), path))
        .map(|(state, path)| (path, state))
        .collect()
}

/// A file as it is now; `None` if it is not there, or not ours to see.
fn state_of(path: &Path) -> Option<FileState> {
    let meta = fs::metadata(path).ok()?;
    let changed = (meta.mtime(), meta.mtime_nsec());
    let touched = (meta.ctime(), meta.ctime_nsec());
    Some((meta.dev(), meta.ino(), meta.size(), changed, touched))
}

/// The folders where a change to what `path` means would show.
fn folders(path: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    collect(path, &mut folders);
    // A folder's files may be links to elsewhere.
    for file in list(path).unwrap_or_default() {
        collect(&file, &mut folders);
    }
    folders
}

/// Walks `path` from the root: the folder of each link on the way, the last two folders, or the
/// last one that exists.
fn collect(path: &Path, folders: &mut BTreeSet<PathBuf>) {
    let mut todo: VecDeque<OsString> = path
        .components()
        .map(|part| part.as_os_str().to_owned())
        .collect();
    let mut at = PathBuf::new();
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        if Path::new(&part).components().next() == Some(Component::ParentDir) {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        let Ok(meta) = fs::symlink_metadata(&next) else {
            folders.insert(at);
            return;
        };
        if meta.is_symlink() {
            folders.insert(at.clone());
            links += 1;
            let Ok(target) = fs::read_link(&next) else {
                return;
            };
            if links > MAX_LINKS {
                return;
            }
            for part in target.components().rev() {
                todo.push_front(part.as_os_str().to_owned());
            }
        } else {
            at = next;
        }
    }
    // `at` is the thing itself. Above it a replacement shows; inside it, its files.
    folders.extend(at.parent().map(Path::to_owned));
    if at.is_dir() {
        folders.insert(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_a_file_are_not_its_changes() {
        let folder = std::env::temp_dir().join(format!("dunlin-watch-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("cluster.toml");
        fs::write(&path, "[bgp]").unwrap();
        let before = fingerprint(&path);
        fs::write(folder.join("other.toml"), "[bgp]").unwrap();
        let with_neighbour = fingerprint(&path);
        fs::write(&path, "# another size").unwrap();
        let after = fingerprint(&path);
        let watched = folders(&path);
        fs::remove_dir_all(&folder).unwrap();

        assert_eq!(before, with_neighbour);
        assert_ne!(before, after);
        assert!(watched.contains(&folder));
        assert_eq!(fingerprint(&path), [], "gone is a state, too");
    }

    #[test]
    fn links_in_a_circle_end() {
        let folder = std::env::temp_dir().join(format!("dunlin-circle-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink("b", folder.join("a")).unwrap();
        std::os::unix::fs::symlink("a", folder.join("b")).unwrap();
        let watched = folders(&folder.join("a"));
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(watched, [folder].into());
    }
}
