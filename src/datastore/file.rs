//! The cluster from a file, or from a folder of them.
//!
//! A folder's `.toml`, `.yaml` and `.yml` files are one cluster: hidden files are not read, nor are sub-folders, and
//! symbolic links are followed (a mounted ConfigMap consists of them). It only reads; the
//! meaning is [`read_cluster`]'s.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::assemble::{Loaded, read_cluster};
use super::problem::{Place, Problems};

/// More than this is no configuration: a thousand nodes take a quarter of a megabyte.
const MAX_FILE_SIZE: u64 = 64 << 20;

/// Reads the cluster at `path`: its intent and warnings, or everything that is wrong.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
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
    match read_cluster(&files) {
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

/// Whether a file of that name holds YAML.
pub(crate) fn is_yaml(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn name_of(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}
