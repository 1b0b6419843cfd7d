//! The project's bad fixtures on the wire: NAME.hex is thrown from an address of its own, and dunlin's reaction is
//! the last line of NAME.expect, to the octet where it is a NOTIFICATION.

use super::Tally;
use crate::arena::{Arena, GUESTS, Guest, PATIENCE};
use crate::corpus::file::hex;
use crate::daemon::{Kind, LOCAL_AS, Programs};
use crate::error::{Context, Error, Result};
use crate::wire;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// So long a session must outlive what was thrown at it.
const SURVIVAL: Duration = Duration::from_secs(2);
/// The AS that most OPENs of the fixtures claim.
const PEER_AS: u32 = 65_001;

/// What dunlin must do.
#[derive(Debug, PartialEq, Eq)]
enum Reaction {
    /// The session comes up, or stays.
    Stays,
    /// The session ends without an answer: there is none to a NOTIFICATION (RFC 4271, section 6.4).
    Ends,
    /// This NOTIFICATION: code, subcode, data.
    Resets(Vec<u8>),
}

struct Fixture {
    name: String,
    bytes: Arc<Vec<u8>>,
    reaction: Reaction,
    ibgp: bool,
    four_octet: bool,
}

impl Fixture {
    fn is_open(&self) -> bool {
        self.bytes.get(18) == Some(&wire::OPEN)
    }

    fn guest(&self) -> Guest {
        let asn = match wire::open_asn(&self.bytes) {
            _ if self.ibgp => LOCAL_AS,
            claimed if self.is_open() && claimed != 0 => claimed,
            _ => PEER_AS,
        };
        Guest {
            asn,
            four_octet: self.four_octet,
            opening: self.is_open().then(|| Arc::clone(&self.bytes)),
            evil: true,
            short: true,
            retry: None,
            raw: false,
        }
    }
}

/// Throws all fixtures below the folder.
pub(super) fn run(programs: &Programs, folder: &Path, stop: &Arc<AtomicBool>) -> Result<Tally> {
    let mut tally = Tally::default();
    let fixtures = read(folder)?;
    if fixtures.is_empty() {
        let message = format!("no fixtures below {}", folder.display());
        return Err(Error::Usage(message));
    }
    let guests = fixtures.iter().map(Fixture::guest).collect();
    let mut arena = Arena::start(Kind::Dunlin, programs, guests, stop)?;
    let all = fixtures.iter().enumerate();
    let sessions: Vec<usize> = all
        .filter(|(_, fixture)| !fixture.is_open())
        .map(|(number, _)| GUESTS + number)
        .collect();
    arena.until(PATIENCE, "the sessions of the fixtures", |arena| {
        sessions
            .iter()
            .all(|index| arena.fleet.is_established(*index))
    })?;
    for (number, fixture) in fixtures.iter().enumerate() {
        if !fixture.is_open() {
            arena.send(GUESTS + number, Arc::clone(&fixture.bytes));
        }
        if number % 10 == 0 {
            arena.relay()?;
        }
    }
    arena.during(SURVIVAL)?;
    for (number, fixture) in fixtures.iter().enumerate() {
        tally.note(&fixture.name, judge(&arena, GUESTS + number, fixture));
    }
    arena.finish();
    let opens = fixtures.iter().filter(|fixture| fixture.is_open()).count();
    let resets = fixtures
        .iter()
        .filter(|fixture| matches!(fixture.reaction, Reaction::Resets(_)))
        .count();
    let detail = format!(
        "while {} fixtures were thrown, {opens} of them as OPENs, {resets} of them to be reset",
        fixtures.len()
    );
    let outcome = match arena.seen.wrongs.as_slice() {
        [] => Ok(detail),
        wrongs => Err(wrongs.join("; ")),
    };
    tally.note("the good sessions stayed up", outcome);
    arena.fleet.leave();
    Ok(tally)
}

fn judge(arena: &Arena, index: usize, fixture: &Fixture) -> std::result::Result<String, String> {
    let said = arena.fleet.said(index);
    let up = arena.fleet.is_established(index);
    let right = match &fixture.reaction {
        Reaction::Stays => up && said.is_none(),
        Reaction::Ends => !up && said.is_none(),
        Reaction::Resets(expected) => !up && said == Some(expected),
    };
    if right {
        return Ok(String::new());
    }
    let mut downs = arena.seen.downs.iter().filter(|down| down.index == index);
    let seen = match (up, said) {
        (true, _) => "the session is up".to_owned(),
        (false, Some(body)) => format!("NOTIFICATION {body:02x?}"),
        (false, None) => downs
            .next()
            .map_or("no session".to_owned(), |down| down.reason.clone()),
    };
    Err(format!("expected {:02x?}, saw {seen}", fixture.reaction))
}

/// All fixtures below the folder whose session can be had by IPv4 and without add-path.
fn read(folder: &Path) -> Result<Vec<Fixture>> {
    let what = || format!("reading {}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).context(what())? {
        paths.push(entry.context(what())?.path());
    }
    paths.sort();
    let mut out = Vec::new();
    for path in paths {
        if path.is_dir() {
            out.append(&mut read(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "hex") {
            match one(&path)? {
                Some(fixture) => out.push(fixture),
                None => println!("skip  {}: dunlin has no such session", path.display()),
            }
        }
    }
    Ok(out)
}

fn one(path: &Path) -> Result<Option<Fixture>> {
    let what = || format!("reading {}", path.display());
    let text = fs::read_to_string(path).context(what())?;
    let expect = fs::read_to_string(path.with_extension("expect")).context(what())?;
    let mut digits = String::new();
    let mut context = "";
    for line in text.lines() {
        context = line.strip_prefix("# context:").unwrap_or(context);
        let data = line.split_once('#').map_or(line, |(data, _)| data);
        digits.extend(data.split_whitespace());
    }
    let wrong = |what: &str| Error::Usage(format!("{}: {what}", path.display()));
    let bytes = hex(&digits).ok_or_else(|| wrong("not hex"))?;
    let words: Vec<&str> = context.split_whitespace().collect();
    let elsewhere = ["add-path4", "add-path6", "extended-next-hop", "sets"];
    if words.iter().any(|word| elsewhere.contains(word)) {
        return Ok(None);
    }
    let reaction = expect
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("reaction: "));
    let reaction = reaction.and_then(|words| reaction_of(words, &bytes));
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    let stem = path.file_stem().unwrap_or_default();
    Ok(Some(Fixture {
        name: format!("{}/{}", folder.display(), stem.display()),
        reaction: reaction.ok_or_else(|| wrong("no reaction beside it"))?,
        bytes: Arc::new(bytes),
        ibgp: words.contains(&"ibgp"),
        four_octet: !words.contains(&"as2"),
    }))
}

fn reaction_of(words: &str, message: &[u8]) -> Option<Reaction> {
    let mut words = words.split_whitespace();
    let Some(codes) = words
        .next()
        .filter(|word| *word == "reset")
        .and_then(|_| words.next())
    else {
        let ends = message.get(18) == Some(&wire::NOTIFICATION);
        return Some(if ends {
            Reaction::Ends
        } else {
            Reaction::Stays
        });
    };
    let (code, subcode) = codes.split_once('/')?;
    let mut body = vec![code.parse().ok()?, subcode.parse().ok()?];
    match (body.as_slice(), words.next()) {
        // RFC 7313, section 5: the whole message, which the fixture does not repeat.
        ([7, 1], None) => body.extend_from_slice(message),
        (_, Some(data)) => body.append(&mut hex(data)?),
        (_, None) => {}
    }
    Some(Reaction::Resets(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reaction_with_data_is_a_notification_body() {
        let reaction = reaction_of("reset 1/2 0018", &[]);
        assert_eq!(reaction, Some(Reaction::Resets(vec![1, 2, 0, 0x18])));
    }

    #[test]
    fn a_notification_is_never_answered() {
        let mut message = wire::cease();
        assert_eq!(reaction_of("accept", &message), Some(Reaction::Ends));
        message[18] = wire::UPDATE;
        assert_eq!(reaction_of("withdraw", &message), Some(Reaction::Stays));
    }
}
