//! The cluster from a file, or from a folder of them.
//!
//! A folder's `.toml`, `.yaml` and `.yml` files are one cluster: hidden files are not read, nor are sub-folders, and
//! symbolic links are followed (a mounted ConfigMap consists of them). It only reads; the
//! meaning is [`super::read_cluster_with`]'s.

use std::cell::RefCell;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::assemble::{Loaded, read_cluster_with};
use super::problem::{Place, Problems};
use super::secrets::{SecretFile, Secrets};
use super::watch::SecretFiles;

/// More than this is no configuration: a thousand nodes take a quarter of a megabyte.
const MAX_FILE_SIZE: u64 = 64 << 20;

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
    for path in &paths {
        match read_text(path) {
            Ok(text) => files.push((name_of(path), text)),
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
    for entry in fs::read_dir(path)? {
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

/// The text of a regular file of bounded size.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let meta = fs::metadata(path)?;
    if !meta.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    // One byte beyond the limit, because the size may have grown since.
    let mut text = String::new();
    fs::File::open(path)?
        .take(MAX_FILE_SIZE + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_SIZE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is larger than 64 MiB",
        ));
    }
    Ok(text)
}

/// What a secret's file holds, and who may read it.
fn read_secret(path: &Path) -> io::Result<SecretFile> {
    let meta = fs::metadata(path)?;
    if !meta.is_file() {
        let what = "it is no regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    // Room for all of it at once: a buffer that grows would leave copies behind.
    let mut octets = Zeroizing::new(Vec::with_capacity(MAX_SECRET_SIZE + 1));
    let file = fs::File::open(path)?;
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
