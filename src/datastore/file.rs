//! The cluster from a file, or from a folder of them.
//!
//! A folder's `.toml`, `.yaml` and `.yml` files are one cluster: hidden files are not read, nor are sub-folders, and
//! symbolic links are followed (a mounted ConfigMap consists of them). It only reads; the
//! meaning is [`super::read_cluster_with`]'s. What always holds: nothing is read but regular files, whatever is
//! put in their place meanwhile, and of those no more than the bounds say: a pipe, a device or a file without an
//! end keeps nobody waiting.

use std::cell::RefCell;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;
use zeroize::Zeroizing;

use super::assemble::{Loaded, read_cluster_with};
use super::problem::{Place, Problems};
use super::secrets::{SecretFile, Secrets};
use super::watch::SecretFiles;

/// More than this is no configuration: a thousand nodes take a quarter of a megabyte.
const MAX_FILE_SIZE: u64 = 64 << 20;
/// Of all files of a folder together.
const MAX_FOLDER_SIZE: u64 = 128 << 20;
/// Names in a folder, those among it that are no files of a cluster, too.
const MAX_ENTRIES: usize = 10_000;
/// As much as the file of one node can be.
pub(crate) const MAX_NODE_FILE_SIZE: u64 = 1 << 20;

/// No secret is as long; what is, need not be read to its end.
const MAX_SECRET_SIZE: usize = 4096;

/// Reads the cluster at `path`: its intent and warnings, or everything that is wrong. Secrets are looked for
/// in a folder `secrets` beside it.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    load_with(path, None, &mut SecretFiles::default())
}

/// The same, with the folder that secrets are in. `looked_at` becomes the files that were asked for a secret,
/// whatever the outcome, so that whoever waits for changes knows of them.
///
/// # Errors
/// Everything that is wrong with the files.
pub fn load_with(
    path: &Path,
    secrets: Option<&Path>,
    looked_at: &mut SecretFiles,
) -> Result<Loaded, Problems> {
    let beside = match path.parent() {
        _ if path.is_dir() => path.join(SECRETS),
        Some(parent) => parent.join(SECRETS),
        None => PathBuf::from(SECRETS),
    };
    let files = RefCell::new(SecretFiles::default());
    let read = |path: &Path| {
        // Its state comes first: a change between the two is then seen as one.
        files.borrow_mut().note(path);
        read_secret(path)
    };
    let secrets = Secrets {
        folder: secrets.unwrap_or(&beside),
        read: &read,
    };
    let loaded = load_files(path, secrets);
    *looked_at = files.take();
    loaded
}

/// The folder of secrets, where nothing else is said.
const SECRETS: &str = "secrets";

fn load_files(path: &Path, secrets: Secrets<'_>) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let whole = |path: &Path| Place::whole(&name_of(path));
    let paths = match list(path) {
        Ok(paths) => paths,
        Err(error) => {
            problems.error(&whole(path), format!("can't be read: {error}"));
            return Err(problems);
        }
    };
    if paths.is_empty() {
        problems.error(&whole(path), "there is no .toml or .yaml file to read");
    }
    let mut files = Vec::new();
    let mut left = MAX_FOLDER_SIZE;
    for path in &paths {
        match read_text(path, MAX_FILE_SIZE.min(left)) {
            Ok(text) => {
                left -= text.len() as u64;
                files.push((name_of(path), text));
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge && left < MAX_FILE_SIZE => {
                let most = MAX_FOLDER_SIZE >> 20;
                let message =
                    format!("can't be read: the files before it and it are larger than {most} MiB");
                problems.error(&whole(path), message);
                break;
            }
            Err(error) => problems.error(&whole(path), format!("can't be read: {error}")),
        }
    }
    if problems.has_errors() {
        // What an unreadable file holds is missed by the others; to judge them would mislead.
        return Err(problems.sorted());
    }
    match read_cluster_with(&files, secrets) {
        Ok(mut loaded) => {
            loaded.warnings.append(problems);
            loaded.warnings = loaded.warnings.sorted();
            Ok(loaded)
        }
        Err(found) => {
            problems.append(found);
            Err(problems.sorted())
        }
    }
}

/// The files at `path`, itself or inside it, sorted.
pub(crate) fn list(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut paths = Vec::new();
    for (number, entry) in fs::read_dir(path)?.enumerate() {
        if number >= MAX_ENTRIES {
            let why = format!("it holds more than {MAX_ENTRIES} files");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        let entry = entry?;
        let path = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // Through symbolic links, unlike the entry's own type.
        if hidden || !fs::metadata(&path).is_ok_and(|meta| meta.is_file()) {
            continue;
        }
        if is_yaml(&path) || path.extension().is_some_and(|e| e == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The text of a regular file of so many octets at most.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let file = open_regular(path)?;
    // One byte beyond the limit, because the size may have grown since.
    let mut text = String::new();
    file.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        let why = match most >> 20 {
            0 => format!("it is larger than {most} octets"),
            mebi => format!("it is larger than {mebi} MiB"),
        };
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(text)
}

/// Opens a file, and nothing else that may be there: what it is, is asked of what was opened.
fn open_regular(path: &Path) -> io::Result<fs::File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = fs::File::options()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        let what = "it is no regular file";
        Err(io::Error::new(io::ErrorKind::InvalidInput, what))
    }
}

/// What a secret's file holds, and who may read it.
fn read_secret(path: &Path) -> io::Result<SecretFile> {
    let file = open_regular(path)?;
    // Room for all of it at once: a buffer that grows would leave copies behind.
    let mut octets = Zeroizing::new(Vec::with_capacity(MAX_SECRET_SIZE + 1));
    let mode = file.metadata()?.mode();
    file.take(MAX_SECRET_SIZE as u64).read_to_end(&mut octets)?;
    Ok(SecretFile { octets, mode })
}

/// Whether a file of that name holds YAML.
pub(crate) fn is_yaml(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn name_of(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("dunlin-file-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _left_behind = fs::remove_dir_all(&self.0);
        }
    }

    fn said(path: &Path) -> String {
        load(path).unwrap_err().to_string()
    }

    #[test]
    fn pipes_devices_and_circles_in_a_folder_keep_nobody_waiting() {
        let folder = Folder::new("odd");
        let at = |name: &str| folder.0.join(name);
        nix::unistd::mkfifo(&at("a.yaml"), Mode::S_IRUSR).unwrap();
        symlink("/dev/zero", at("b.yaml")).unwrap();
        symlink("d.yaml", at("c.yaml")).unwrap();
        symlink("c.yaml", at("d.yaml")).unwrap();
        symlink(".", at("e.yaml")).unwrap();
        symlink("/dev/tty", at("f.toml")).unwrap();
        assert!(
            said(&folder.0).contains("no .toml or .yaml file"),
            "{}",
            said(&folder.0)
        );
        for name in ["a.yaml", "b.yaml"] {
            // As one that is put there after the look finds it.
            let error = open_regular(&at(name)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}");
            assert!(said(&at(name)).contains("no regular file"));
            assert!(read_secret(&at(name)).is_err());
        }
    }

    #[test]
    fn a_folder_has_so_many_files_and_octets_at_most() {
        let folder = Folder::new("much");
        let at = |name: &str| folder.0.join(name);
        let sized = |name: &str, octets: u64| {
            let file = fs::File::create(at(name)).unwrap();
            file.set_len(octets).unwrap();
        };
        sized("a.toml", MAX_FILE_SIZE + 1);
        let error = said(&folder.0);
        assert!(
            error.contains("a.toml: can't be read: it is larger than 64 MiB"),
            "{error}"
        );
        // Spaces are no fault of a text, and they are not looked at before all is read.
        for name in ["a.toml", "b.toml", "c.toml"] {
            sized(name, MAX_FOLDER_SIZE / 2 - 1);
        }
        let error = said(&folder.0);
        assert!(
            error.contains("c.toml: can't be read: the files before it"),
            "{error}"
        );
        for name in ["a.toml", "b.toml", "c.toml"] {
            fs::remove_file(at(name)).unwrap();
        }
        for number in 0..=MAX_ENTRIES {
            fs::write(at(&format!("{number}.md")), "").unwrap();
        }
        let error = said(&folder.0);
        assert!(error.contains("it holds more than 10000 files"), "{error}");
    }
}
