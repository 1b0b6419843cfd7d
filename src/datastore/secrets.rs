//! Passwords and keys: where a record says that they are, and how they are had.
//!
//! A secret stands in a file of its own, never in the cluster file, which is readable by many and goes into
//! backups. What always holds: a session whose secret can't be had gets
//! [`Authentication::Missing`] (BFD: [`BfdAuthentication::Missing`]), never none; no octet of a secret is in
//! a message.

use std::io;
use std::path::{Component, Path, PathBuf};

use toml::de::DeValue;
use zeroize::Zeroizing;

use super::problem::{Place, Problems};
use super::scalar::{self, Fault, one_of};
use super::schema::{
    AO_ALGORITHMS, BFD_ALGORITHMS, BFD_AUTHENTICATION, PASSWORD, SECRET_KEY_REF, TCP_AO,
};
use super::table::{Schema, TableReader};
use crate::net::Secret;
use crate::topology::{AoAlgorithm, AoKey, Authentication, BfdAuthentication, BfdKey};

/// As long as Linux takes a key of TCP-MD5 or TCP-AO.
const MAX_KEY: usize = 80;
/// As long as a key of BFD can be (RFC 5880 §4.4).
const MAX_BFD_KEY: usize = 20;
/// The id of a key of BFD where none is said, as in BIRD.
const BFD_KEY_ID: u8 = 1;
/// The bits of a file's mode that let others than its owner in.
const OTHERS: u32 = 0o077;

/// A secret's file.
pub struct SecretFile {
    /// What it holds; no more than a few kilobytes need be read.
    pub octets: Zeroizing<Vec<u8>>,
    /// Its mode, as `stat` has it.
    pub mode: u32,
}

/// How secrets are had: the only way from a record to a file.
#[derive(Clone, Copy)]
pub struct Secrets<'r> {
    /// The folder of what `secret-key-ref` names: a folder for each secret, in it a file for each key, as
    /// Kubernetes mounts them.
    pub folder: &'r Path,
    /// Reads a file.
    pub read: &'r dyn Fn(&Path) -> io::Result<SecretFile>,
}

/// A secret that a record asks for.
#[derive(Debug)]
pub(crate) struct Wanted {
    origin: Origin,
    key: Key,
    place: Place,
}

/// Where a secret is.
#[derive(Debug)]
enum Origin {
    File(PathBuf),
    Reference { name: String, key: String },
}

/// What a secret is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Md5,
    Ao { id: u8, algorithm: AoAlgorithm },
    Bfd { id: u8, meticulous: bool },
}

/// Reads a table's password, or else its key of TCP-AO.
pub(crate) fn read_secret(
    table: &TableReader<'_>,
    [password, ao]: [&'static str; 2],
    problems: &mut Problems,
) -> Option<Wanted> {
    if table.has(password) && table.has(ao) {
        let (first, second) = (table.word(password), table.word(ao));
        let message = format!("a session has {first:?} or {second:?}, not both");
        problems.error(&table.key_place(ao), message);
    }
    let key = if table.has(ao) { ao } else { password };
    let schema: &'static Schema = if table.has(ao) { &TCP_AO } else { &PASSWORD };
    if table.has(key) && !table.has_table(key) {
        // What stands there is not shown.
        let place = table.key_place(key);
        let (key, label) = (table.word(key), table.label());
        let (file, reference) = (table.word("file"), table.word("secret-key-ref"));
        let message = format!(
            "{key:?} in {label}: a password in the clear would be in every copy of this file; put it into a \
             file of its own, and name that by {file:?}, or by {reference:?} as in Kubernetes"
        );
        problems.error(&place, message);
        return None;
    }
    let inner = table.table(key, schema, problems)?;
    let origin = read_origin(&inner, problems);
    let key = if table.has(ao) {
        let id = inner.require("id", scalar::integer("a key id", 0..=255), problems);
        let algorithm = inner.read("algorithm", one_of(AO_ALGORITHMS), problems);
        let algorithm = algorithm.map(|word| word.value).unwrap_or_default();
        Key::Ao {
            id: id?.value,
            algorithm,
        }
    } else {
        Key::Md5
    };
    Some(Wanted {
        origin: origin?,
        key,
        place: inner.place().clone(),
    })
}

/// Reads what packets of BFD are signed with.
pub(crate) fn read_bfd_secret(table: &TableReader<'_>, problems: &mut Problems) -> Option<Wanted> {
    const KEY: &str = "authentication";
    if table.has(KEY) && !table.has_table(KEY) {
        let (file, reference) = (table.word("file"), table.word("secret-key-ref"));
        let message = format!(
            "{KEY:?} in {} is a table: a key stands in a file of its own, named by {file:?} or {reference:?}",
            table.label()
        );
        problems.error(&table.key_place(KEY), message);
        return None;
    }
    let inner = table.table(KEY, &BFD_AUTHENTICATION, problems)?;
    let origin = read_origin(&inner, problems);
    let id = inner.read("id", scalar::integer("a key id", 0..=255), problems);
    let algorithm = inner.read("algorithm", one_of(BFD_ALGORITHMS), problems);
    Some(Wanted {
        origin: origin?,
        key: Key::Bfd {
            id: id.map_or(BFD_KEY_ID, |id| id.value),
            meticulous: algorithm.is_none_or(|word| word.value),
        },
        place: inner.place().clone(),
    })
}

fn read_origin(table: &TableReader<'_>, problems: &mut Problems) -> Option<Origin> {
    let (file, reference) = (table.word("file"), table.word("secret-key-ref"));
    let path = table.read("file", scalar::text, problems);
    if table.has("secret-key-ref") && !table.has_table("secret-key-ref") {
        let message = format!(
            "{reference:?} in {} is a table of \"name\" and \"key\"",
            table.label()
        );
        problems.error(&table.key_place("secret-key-ref"), message);
        return None;
    }
    let named = table.table("secret-key-ref", &SECRET_KEY_REF, problems);
    if table.has("file") == table.has("secret-key-ref") {
        let message = format!("{} has one of {file:?} and {reference:?}", table.label());
        problems.error(table.place(), message);
        return None;
    }
    if let Some(named) = named {
        let name = named.require("name", file_name, problems);
        let key = named.require("key", file_name, problems);
        return Some(Origin::Reference {
            name: name?.value,
            key: key?.value,
        });
    }
    let path = path?;
    // Beside the file that names it.
    let beside = Path::new(&*path.place.file).parent();
    Some(Origin::File(
        beside.unwrap_or(Path::new("")).join(&path.value),
    ))
}

/// A name that is one step down a folder.
fn file_name(value: &DeValue<'_>) -> Result<String, Fault> {
    let name = scalar::name(value)?;
    let mut parts = Path::new(&name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) if !name.starts_with("..") => Ok(name),
        _ => Err(Fault::expected("the name of a secret or of its key", value)),
    }
}

impl Secrets<'_> {
    /// Gets a secret. What can't be had is a warning, `whose` sessions it concerns; what can't be a key is an
    /// error.
    pub(crate) fn get(
        &self,
        wanted: &Wanted,
        whose: &str,
        problems: &mut Problems,
    ) -> Authentication {
        let then = format!("until then the sessions of {whose} stay down");
        let secret = match self.fetch(wanted, (MAX_KEY, &then), problems) {
            Ok(secret) => secret,
            Err(why) => return Authentication::Missing(why),
        };
        match wanted.key {
            Key::Ao { id, algorithm } => Authentication::Ao(AoKey {
                id,
                algorithm,
                secret,
            }),
            Key::Md5 | Key::Bfd { .. } => Authentication::Md5(secret),
        }
    }

    /// Gets a key of BFD, likewise.
    pub(crate) fn get_bfd(
        &self,
        wanted: &Wanted,
        whose: &str,
        problems: &mut Problems,
    ) -> BfdAuthentication {
        let then = format!("until then BFD of {whose} stays down, and its sessions go on without");
        match (
            self.fetch(wanted, (MAX_BFD_KEY, &then), problems),
            wanted.key,
        ) {
            (Ok(secret), Key::Bfd { id, meticulous }) => BfdAuthentication::Key(BfdKey {
                id,
                meticulous,
                secret,
            }),
            (Ok(_), Key::Md5 | Key::Ao { .. }) => BfdAuthentication::Missing(String::new()),
            (Err(why), _) => BfdAuthentication::Missing(why),
        }
    }

    /// The octets, of at most so many; `then` is what happens while they can't be had.
    fn fetch(
        &self,
        wanted: &Wanted,
        (most, then): (usize, &str),
        problems: &mut Problems,
    ) -> Result<Secret, String> {
        let path = match &wanted.origin {
            Origin::File(path) => path.clone(),
            Origin::Reference { name, key } => self.folder.join(name).join(key),
        };
        let secret = self.read(&path).inspect_err(|why| {
            problems.warning(&wanted.place, format!("{why}; {then}"));
        })?;
        if secret.octets().len() > most {
            let message = format!(
                "{} holds more than {most} octets, which is as long as a key can be",
                path.display()
            );
            problems.error(&wanted.place, message);
        }
        Ok(secret)
    }

    /// Reads a file, or says why it can't be used and what to do.
    fn read(&self, path: &Path) -> Result<Secret, String> {
        let shown = path.display();
        let SecretFile { mut octets, mode } =
            (self.read)(path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => format!("there is no secret at {shown}; put it there"),
                _ => format!("the secret at {shown} can't be read: {error}"),
            })?;
        if mode & OTHERS != 0 {
            return Err(format!(
                "the secret at {shown} has mode {:04o}, which lets others than its owner in; give it \
                 0600 or 0400",
                mode & 0o7777
            ));
        }
        // What an editor or `echo` puts behind the last line is not part of it.
        for end in [b'\n', b'\r'] {
            if octets.last() == Some(&end) {
                octets.pop();
            }
        }
        if octets.is_empty() {
            return Err(format!("the secret at {shown} is empty; put it there"));
        }
        Ok(Secret::new(core::mem::take(&mut *octets)))
    }
}
