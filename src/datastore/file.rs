//! The cluster from a file, or from a folder of them.
//!
//! A folder's `.toml` files are one cluster: hidden files are not read, nor are sub-folders, and
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

/// What is at a path.
pub(crate) struct Listing {
    /// The files to read, sorted.
    pub(crate) toml: Vec<PathBuf>,
    /// YAML files, which this version does not read.
    pub(crate) yaml: Vec<PathBuf>,
}

/// Reads the cluster at `path`: its intent and warnings, or everything that is wrong.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let whole = |path: &Path| Place::whole(&name_of(path));
    let listing = match list(path) {
        Ok(listing) => listing,
        Err(error) => {
            problems.error(&whole(path), format!("can't be read: {error}"));
            return Err(problems);
        }
    };
    for yaml in &listing.yaml {
        let message = "YAML is not read in this version; this file has no effect";
        problems.warning(&whole(yaml), message);
    }
    if listing.toml.is_empty() {
        problems.error(&whole(path), "there is no .toml file to read");
    }
    let mut files = Vec::new();
    for path in &listing.toml {
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

/// The files at `path`, itself or inside it.
pub(crate) fn list(path: &Path) -> io::Result<Listing> {
    let mut listing = Listing {
        toml: Vec::new(),
        yaml: Vec::new(),
    };
    if !fs::metadata(path)?.is_dir() {
        let place = if is_yaml(path) {
            &mut listing.yaml
        } else {
            &mut listing.toml
        };
        place.push(path.to_owned());
        return Ok(listing);
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let path = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // Through symbolic links, unlike the entry's own type.
        if hidden || !fs::metadata(&path).is_ok_and(|meta| meta.is_file()) {
            continue;
        }
        if is_yaml(&path) {
            listing.yaml.push(path);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            listing.toml.push(path);
        }
    }
    listing.toml.sort();
    listing.yaml.sort();
    Ok(listing)
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

fn is_yaml(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn name_of(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}
