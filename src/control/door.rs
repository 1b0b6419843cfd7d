//! The file of a listening socket: made with the right mode from the first moment on, kept, and removed.
//!
//! It accepts nobody and knows no request. What always holds:
//!
//! - nothing is removed but a socket that a dunlin made: its device and inode stand in a file beside it
//!   (`.lock`), and nobody answers there;
//! - of two that are opened at once one is refused: the file beside it is locked for as long as the socket is
//!   there, and the kernel takes the lock back however the process ends;
//! - until group and mode are right nobody listens, and before that the mode is 0600 whatever the umask.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

use super::beside;

/// The path of a unix socket without its terminating zero.
pub const LONGEST_PATH: usize = 107;
/// Callers that wait to be accepted; the kernel's own limit may be lower.
const BACKLOG: i32 = 128;
/// How often, and how long between, a lock is tried for that one who starts or ends has.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);
/// The folder of a socket.
const FOLDER_MODE: u32 = 0o755;
/// More is no record of ours.
const LONGEST_RECORD: u64 = 128;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Another daemon has it.
    #[error(
        "control socket {}: another dunlin already serves it; stop that one or choose another path", .0.display()
    )]
    Served(PathBuf),
    /// Something is there that is not ours.
    #[error(
        "control socket {}: {what} is there that dunlin has not made, and it is left alone; remove it or choose \
         another path in [control] socket", path.display()
    )]
    Foreign {
        /// The path.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// The system refuses.
    #[error("control socket {}: {source}", path.display())]
    System {
        /// The path that it is about.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
}

/// What is at the path of a socket that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// What was made.
    Ours,
    /// Nothing, or something else.
    Lost,
}

/// Device, inode, and when it was made: the inode of what is removed is soon another's.
type Identity = (u64, u64, i64, i64);

/// A socket's file that was made.
#[derive(Debug)]
struct Made {
    identity: Identity,
    /// As long as this is open nothing else has its inode.
    _kept: File,
}

/// A socket in the file system. Its file goes when this goes.
#[derive(Debug)]
pub(super) struct Door {
    path: PathBuf,
    group: Option<u32>,
    made: Made,
    record: Flock<File>,
}

/// What stands at the path of a socket that is to be made, if it hinders that.
///
/// # Errors
/// What is there, or who.
pub fn obstacle(path: &Path) -> Result<(), DoorError> {
    let Ok(meta) = path.symlink_metadata() else {
        return Ok(());
    };
    if !meta.file_type().is_socket() {
        let (path, what) = (path.to_owned(), kind(&meta));
        return Err(DoorError::Foreign { path, what });
    }
    Ok(())
}

impl Door {
    /// Makes the socket and listens: for root, or for a group, too.
    ///
    /// A socket that a dunlin has left is replaced.
    pub(super) fn open(path: &Path, group: Option<u32>) -> Result<(Self, UnixListener), DoorError> {
        let system = |source| DoorError::System {
            path: path.to_owned(),
            source,
        };
        make_folder_of(path).map_err(system)?;
        let mut record = lock(path)?;
        clear(path, &mut record)?;
        let (listener, made) = listen(path, group, &mut record).map_err(system)?;
        let door = Self {
            path: path.to_owned(),
            group,
            made,
            record,
        };
        Ok((door, listener))
    }

    /// Whether the file is still there.
    pub(super) fn look(&self) -> Found {
        match self.path.symlink_metadata() {
            Ok(meta) if identity(&meta) == self.made.identity => Found::Ours,
            Ok(_) | Err(_) => Found::Lost,
        }
    }

    /// Makes it once more, where it was; and why its group can't use it, if so: to give it away takes a right
    /// that the process may have given up.
    pub(super) fn again(&mut self) -> Result<(UnixListener, Option<String>), DoorError> {
        let system = |source| DoorError::System {
            path: self.path.clone(),
            source,
        };
        make_folder_of(&self.path).map_err(system)?;
        // The lock may be gone with the folder, and then somebody else may have a new one.
        let beside = record_of(&self.path).symlink_metadata();
        let held = self.record.metadata().map_err(system)?;
        if !beside.is_ok_and(|meta| same(&meta, &held)) {
            self.record = lock(&self.path)?;
        }
        clear(&self.path, &mut self.record)?;
        let mut lacking = None;
        let made = listen(&self.path, self.group, &mut self.record).or_else(|error| {
            if error.kind() != io::ErrorKind::PermissionDenied || self.group.is_none() {
                return Err(error);
            }
            lacking = Some(format!(
                "control socket {}: it was lost, and is made again for root alone, since it can't be given to \
                 its group ({error})",
                self.path.display()
            ));
            listen(&self.path, None, &mut self.record)
        });
        let (listener, made) = made.map_err(system)?;
        self.made = made;
        Ok((listener, lacking))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if self.look() == Found::Ours {
            let _already_gone = std::fs::remove_file(&self.path);
            let _nobody_reads_it = self.record.set_len(0);
        }
    }
}

fn identity(meta: &Metadata) -> Identity {
    // Neither other rights nor callers change a socket's time.
    (meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec())
}

/// Whether two looks have found one file, of which one is open.
fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The file that is locked and says which socket is ours.
fn record_of(path: &Path) -> PathBuf {
    beside(path, ".lock")
}

/// Makes a socket's folder, and those above it, for everybody to get through, whatever the umask says; the socket
/// itself is not for everybody. Whether there was any to make.
///
/// # Errors
/// The one that can't be made.
pub fn make_folder(folder: &Path) -> io::Result<bool> {
    let missing: Vec<&Path> = folder
        .ancestors()
        .take_while(|one| !one.as_os_str().is_empty() && !one.exists())
        .collect();
    for one in missing.iter().rev() {
        std::fs::create_dir(one)?;
        std::fs::set_permissions(one, Permissions::from_mode(FOLDER_MODE))?;
    }
    Ok(!missing.is_empty())
}

fn make_folder_of(path: &Path) -> io::Result<bool> {
    path.parent().map_or(Ok(false), make_folder)
}

/// Locks the file beside the socket. Who has it, and listens, serves; who does not listen yet or any more is
/// waited for, for a moment.
fn lock(path: &Path) -> Result<Flock<File>, DoorError> {
    let name = record_of(path);
    for _ in 0..TRIES {
        let system = |source| DoorError::System {
            path: name.clone(),
            source,
        };
        let mut file = open_record(&name).map_err(system)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => {
                // It may have been removed, and made anew, between the two.
                let meta = locked.metadata().map_err(system)?;
                let there = name.symlink_metadata();
                if there.is_ok_and(|there| same(&there, &meta)) {
                    return Ok(locked);
                }
                continue;
            }
            Err((given_back, nix::errno::Errno::EWOULDBLOCK)) => file = given_back,
            Err((_, errno)) => return Err(system(errno.into())),
        }
        drop(file);
        if answers(path) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Err(DoorError::Served(path.to_owned()))
}

fn open_record(name: &Path) -> io::Result<File> {
    // Neither a link to elsewhere nor a pipe that keeps us waiting.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits())
        .open(name)?;
    let meta = file.metadata()?;
    let own = meta.uid() == nix::unistd::geteuid().as_raw();
    if meta.is_file() && meta.nlink() == 1 && own {
        Ok(file)
    } else {
        let why = "it is not a file of dunlin's own; remove it";
        Err(io::Error::new(io::ErrorKind::AlreadyExists, why))
    }
}

/// Removes the socket that a dunlin has left. Needs the lock.
fn clear(path: &Path, record: &mut File) -> Result<(), DoorError> {
    let system = |source| DoorError::System {
        path: path.to_owned(),
        source,
    };
    obstacle(path)?;
    let Ok(meta) = path.symlink_metadata() else {
        return Ok(());
    };
    if recorded(record) != Some(identity(&meta)) {
        return Err(DoorError::Foreign {
            path: path.to_owned(),
            what: "a socket",
        });
    }
    if answers(path) {
        return Err(DoorError::Served(path.to_owned()));
    }
    std::fs::remove_file(path).map_err(system)
}

fn recorded(record: &mut File) -> Option<Identity> {
    let mut text = String::new();
    record.rewind().ok()?;
    record.take(LONGEST_RECORD).read_to_string(&mut text).ok()?;
    let mut words = text.split_ascii_whitespace();
    let identity = (
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
    );
    Some(identity)
}

/// Whether somebody listens there, be it one whose queue is full.
fn answers(path: &Path) -> bool {
    let connected = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    match connected() {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// The socket at a path where nothing is, listening once group and mode are right.
fn listen(path: &Path, group: Option<u32>, record: &mut File) -> io::Result<(UnixListener, Made)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Linux gives the file the mode that the socket has when it is bound.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    let kept = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    let made = Made {
        identity: identity(&kept.metadata()?),
        _kept: kept,
    };
    let finished = finish(&socket, path, group, made.identity, record);
    if let Err(error) = finished {
        let _nobody_saw_it = std::fs::remove_file(path);
        return Err(error);
    }
    Ok((UnixListener::from(socket), made))
}

fn finish(
    socket: &Socket,
    path: &Path,
    group: Option<u32>,
    (device, inode, seconds, nanos): Identity,
    record: &mut File,
) -> io::Result<()> {
    record.rewind()?;
    record.set_len(0)?;
    record.write_all(format!("{device} {inode} {seconds} {nanos}\n").as_bytes())?;
    if let Some(group) = group {
        // A folder with the bit for it has its own group given to what is made in it.
        if path.symlink_metadata()?.gid() != group {
            std::os::unix::fs::lchown(path, None, Some(group))?;
        }
        std::fs::set_permissions(path, Permissions::from_mode(0o660))?;
    } else {
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    }
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)
}

fn kind(meta: &Metadata) -> &'static str {
    let kind = meta.file_type();
    if kind.is_dir() {
        "a folder"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_file() {
        "a file"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixStream};
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("dunlin-door-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("d.sock")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _left_behind = std::fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn what_is_not_ours_is_left_alone_and_named() {
        let folder = Folder::new();
        let path = folder.socket();
        let elsewhere = folder.0.join("elsewhere");
        std::fs::write(&elsewhere, "precious").unwrap();
        let made: [(&str, &dyn Fn()); 6] = [
            ("a file", &|| std::fs::write(&path, "precious").unwrap()),
            ("a folder", &|| std::fs::create_dir(&path).unwrap()),
            ("a symbolic link", &|| {
                std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
            }),
            ("a pipe", &|| {
                nix::unistd::mkfifo(&path, Mode::S_IRUSR).unwrap();
            }),
            ("a socket", &|| drop(UnixListener::bind(&path).unwrap())),
            ("a socket", &|| drop(UnixDatagram::bind(&path).unwrap())),
        ];
        for (what, make) in made {
            make();
            let before = identity(&path.symlink_metadata().unwrap());
            let error = Door::open(&path, None).unwrap_err().to_string();
            assert!(error.contains(&format!("{what} is there")), "{error}");
            assert_eq!(
                identity(&path.symlink_metadata().unwrap()),
                before,
                "{what}"
            );
            let _is_a_folder = std::fs::remove_file(&path);
            let _is_none = std::fs::remove_dir(&path);
        }
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "precious");
        // Another program's that answers; with a queue that is full, too.
        let other = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        other.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        other.listen(0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        assert!(answers(&path));
        Door::open(&path, None).unwrap_err();
        assert!(path.exists());
    }

    #[test]
    fn the_file_beside_it_is_no_way_to_other_files() {
        let folder = Folder::new();
        let path = folder.socket();
        let precious = folder.0.join("precious");
        std::fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, record_of(&path)).unwrap();
        Door::open(&path, None).unwrap_err();
        std::fs::remove_file(record_of(&path)).unwrap();
        std::fs::hard_link(&precious, record_of(&path)).unwrap();
        Door::open(&path, None).unwrap_err();
        std::fs::remove_file(record_of(&path)).unwrap();
        nix::unistd::mkfifo(&record_of(&path), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        Door::open(&path, None).unwrap_err();
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
    }

    #[test]
    fn what_a_dunlin_has_left_is_replaced_and_removed_in_the_end() {
        let folder = Folder::new();
        let path = folder.socket();
        // As a process that was killed leaves it.
        drop(UnixListener::bind(&path).unwrap());
        let (device, inode, seconds, nanos) = identity(&path.symlink_metadata().unwrap());
        let mut record = open_record(&record_of(&path)).unwrap();
        writeln!(record, "{device} {inode} {seconds} {nanos}").unwrap();
        let (door, _listener) = Door::open(&path, None).unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        drop(door);
        assert!(!path.exists());
    }

    #[test]
    fn of_two_at_once_one_is_refused() {
        let folder = Folder::new();
        let path = folder.socket();
        let begin = std::sync::Barrier::new(8);
        let opened: Vec<_> = std::thread::scope(|scope| {
            let open = || {
                begin.wait();
                Door::open(&path, None)
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let doors: Vec<_> = opened.iter().flatten().collect();
        assert_eq!(doors.len(), 1);
        assert_eq!(doors[0].0.look(), Found::Ours);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn what_is_lost_is_made_again_with_the_same_rights() {
        let folder = Folder::new();
        let inner = folder.0.join("run");
        let path = inner.join("d.sock");
        let group = nix::unistd::getegid().as_raw();
        let (mut door, _old) = Door::open(&path, Some(group)).unwrap();
        assert_eq!(mode(&path), 0o660);
        assert_eq!(door.look(), Found::Ours);
        for lose in [
            &|| std::fs::remove_file(&path).unwrap(),
            &|| std::fs::remove_dir_all(&inner).unwrap(),
            &|| std::fs::rename(&path, inner.join("moved")).unwrap(),
        ] as [&dyn Fn(); 3]
        {
            lose();
            assert_eq!(door.look(), Found::Lost);
            let (listener, lacking) = door.again().unwrap();
            assert_eq!(
                (mode(&path), lacking, door.look()),
                (0o660, None, Found::Ours)
            );
            assert!(answers(&path));
            assert!(matches!(Door::open(&path, None), Err(DoorError::Served(_))));
            drop(listener);
        }
        // Something else in its place is not removed.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        door.again().unwrap_err();
        drop(door);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
