//! The thread: what is wanted against what our tables hold, and when to write.
//!
//! It knows what it wrote last and hears of each transaction of others, so it never has to read a
//! table: one that nobody else touched is as it was written. What is not known is replaced as a whole.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use super::command::{self, RunError};
use super::news::{Heard, News};
use super::{Settings, Status, TableStatus, render};
use crate::forwarding::{FamilyNat, Nat};
use crate::net::Family;

/// The longest pause between two repairs of a program that undoes them.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The pause after the first repair: two programs that fight don't take a processor for it.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Keeper {
    settings: Settings,
    woken: UnixStream,
    queue: mpsc::Receiver<Option<Nat>>,
    sink: Box<dyn FnMut(Status) -> bool + Send>,
    /// What is wanted; `None` until it is said.
    wanted: Option<Nat>,
    tables: [Table; 2],
    news: Option<News>,
    patience: Patience,
    repaired: u64,
    written: u64,
    told: Status,
    /// What the log knows: the tables, whether pods are translated, and kept from neighbours.
    logged: ([TableStatus; 2], bool, bool),
}

/// The table of one family.
#[derive(Debug)]
struct Table {
    family: Family,
    holds: Holds,
    failed: Option<Failed>,
}

/// What is known of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holds {
    /// Nothing; that of a former process, of another program, or none.
    Unknown,
    /// It is not there.
    Nothing,
    /// What we wrote.
    Written(Box<FamilyNat>),
    /// What we wrote, but maybe changed by another program since.
    Doubtful,
    /// What we wrote, and another program's change since.
    Damaged,
}

#[derive(Debug)]
struct Failed {
    reason: String,
    former_rules: bool,
    again: Instant,
}

/// Repairs at once, then ever more slowly while they are undone.
#[derive(Debug, Default)]
struct Patience {
    pause: Duration,
    last: Option<Instant>,
}

impl Patience {
    /// When the next repair may be.
    fn due(&self) -> Option<Instant> {
        self.last.map(|last| last + self.pause)
    }

    fn repaired(&mut self, now: Instant) {
        let calm = self.last.is_none_or(|last| now - last > 2 * LONGEST_PAUSE);
        self.pause = if calm {
            FIRST_PAUSE
        } else {
            (self.pause * 2).min(LONGEST_PAUSE)
        };
        self.last = Some(now);
    }
}

impl Table {
    const fn new(family: Family) -> Self {
        Self {
            family,
            holds: Holds::Unknown,
            failed: None,
        }
    }

    /// The transaction that makes it as wanted; empty if it is.
    fn commands(&self, wanted: Option<&FamilyNat>) -> Vec<Value> {
        match (&self.holds, wanted) {
            (Holds::Nothing, None) => Vec::new(),
            (_, None) => render::remove(self.family),
            (Holds::Written(had), Some(wanted)) => render::change(self.family, had, wanted),
            (Holds::Damaged | Holds::Nothing, Some(wanted)) => render::replace(self.family, wanted),
            (Holds::Unknown | Holds::Doubtful, Some(wanted)) => render::adopt(self.family, wanted),
        }
    }

    const fn needs_repair(&self) -> bool {
        matches!(self.holds, Holds::Doubtful | Holds::Damaged)
    }

    fn is_due(&self, now: Instant, patience: &Patience) -> bool {
        let repair = !self.needs_repair() || patience.due().is_none_or(|at| at <= now);
        repair
            && self
                .failed
                .as_ref()
                .is_none_or(|failed| failed.again <= now)
    }

    /// Notes what became of making it as wanted.
    fn book(&mut self, wanted: Option<&FamilyNat>, result: Result<(), RunError>, again: Instant) {
        let had_rules = matches!(self.holds, Holds::Written(_))
            || (self.failed.as_ref()).is_some_and(|failed| failed.former_rules);
        match (result, wanted) {
            (Ok(()), None) => (self.holds, self.failed) = (Holds::Nothing, None),
            (Ok(()), Some(wanted)) => {
                (self.holds, self.failed) = (Holds::Written(wanted.clone().into()), None);
            }
            // Without nftables there can't be a table of a former process, and none is wanted.
            (Err(RunError::NoProgram(_) | RunError::Refused { .. }), None) if !had_rules => {
                (self.holds, self.failed) = (Holds::Nothing, None);
            }
            (Err(error), _) => {
                if let RunError::TimedOut(_) = error {
                    // It may have been about to end.
                    self.holds = Holds::Unknown;
                }
                self.failed = Some(Failed {
                    reason: error.to_string(),
                    former_rules: had_rules,
                    again,
                });
            }
        }
    }

    fn status(&self, wanted: Option<&FamilyNat>) -> TableStatus {
        match (&self.failed, &self.holds, wanted) {
            (Some(failed), _, _) => TableStatus::Failing {
                reason: failed.reason.clone(),
                former_rules: failed.former_rules,
            },
            (None, Holds::Nothing, None) => TableStatus::Off,
            (None, Holds::Written(_), Some(_)) => TableStatus::Active,
            (None, _, _) => TableStatus::Pending,
        }
    }
}

impl Keeper {
    pub(super) fn new(
        settings: Settings,
        woken: UnixStream,
        queue: mpsc::Receiver<Option<Nat>>,
        sink: Box<dyn FnMut(Status) -> bool + Send>,
    ) -> Self {
        Self {
            settings,
            woken,
            queue,
            sink,
            wanted: None,
            tables: Family::ALL.map(Table::new),
            news: None,
            patience: Patience::default(),
            repaired: 0,
            written: 0,
            told: Status::default(),
            logged: ([TableStatus::Off, TableStatus::Off], false, false),
        }
    }

    pub(super) fn run(mut self) {
        loop {
            self.wait();
            if !self.take_orders() {
                return;
            }
            self.listen();
            let heard = self.news.as_mut().map(|news| news.read(None));
            self.take_news(heard.unwrap_or_default());
            self.settle();
            if !self.tell() {
                return;
            }
        }
    }

    /// Sleeps until there is an order or news, or something is to be tried again.
    fn wait(&self) {
        let mut fds = vec![PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
        let news = self.news.as_ref();
        fds.extend(news.map(|news| PollFd::new(news.as_fd(), PollFlags::POLLIN)));
        let repair = |table: &Table| {
            let is_damaged = table.failed.is_none() && table.needs_repair();
            is_damaged.then(|| self.patience.due().unwrap_or_else(Instant::now))
        };
        let retry = |table: &Table| table.failed.as_ref().map(|failed| failed.again);
        let times = self.tables.iter().filter_map(|t| repair(t).or(retry(t)));
        let timeout = times.min().map_or(PollTimeout::NONE, |at| {
            let left = at.saturating_duration_since(Instant::now());
            // One more, so that a part of a millisecond is not a busy loop.
            u16::try_from(left.as_millis().saturating_add(1))
                .unwrap_or(u16::MAX)
                .into()
        });
        // A signal ends it early; the rest of the turn waits for nothing and may as well be run.
        let _early = poll(&mut fds, timeout);
    }

    /// The last order counts. False when the owner is gone.
    fn take_orders(&mut self) -> bool {
        let mut bytes = [0; 256];
        loop {
            match self.woken.read(&mut bytes) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        while let Ok(nat) = self.queue.try_recv() {
            self.wanted = Some(nat.unwrap_or_default());
            for table in &mut self.tables {
                // What is wanted now may be what can be done.
                if let Some(failed) = &mut table.failed {
                    failed.again = Instant::now();
                }
            }
        }
        true
    }

    /// Opens the socket for news before the first write, so that none is missed.
    fn listen(&mut self) {
        if self.news.is_some() || self.wanted.is_none() {
            return;
        }
        match News::open() {
            Ok(news) => self.news = Some(news),
            // nft will say why nothing can be written; without nftables nobody else can, either.
            Err(error) => tracing::debug!(%error, "no news of nftables"),
        }
    }

    fn take_news(&mut self, heard: Heard) {
        if heard.ended {
            self.news = None;
        }
        for table in &mut self.tables {
            if !matches!(table.holds, Holds::Written(_) | Holds::Doubtful) {
                continue;
            }
            if heard.touches(table.family) {
                let name = render::word(table.family);
                tracing::warn!(
                    "another program changed or removed the nftables table {name} {}; it is put back",
                    render::TABLE
                );
                table.holds = Holds::Damaged;
                self.repaired += 1;
            } else if heard.lost || heard.ended {
                table.holds = Holds::Doubtful;
            }
        }
    }

    fn settle(&mut self) {
        let Some(wanted) = self.wanted.take() else {
            return;
        };
        let now = Instant::now();
        let due = |table: &&Table| table.is_due(now, &self.patience);
        let repairs = self.tables.iter().filter(due).any(Table::needs_repair);
        let work: Vec<(Family, Vec<Value>)> = (self.tables.iter().filter(due))
            .map(|table| (table.family, table.commands(wanted.family(table.family))))
            .collect();
        if repairs {
            self.patience.repaired(now);
        }
        let mut meanwhile = Heard::default();
        let at_once = self.write_at_once(&work, &mut meanwhile);
        for (family, commands) in work {
            let wanted = wanted.family(family);
            let result = match &at_once {
                _ if commands.is_empty() => Ok(()),
                // What a kernel refuses of one family must not cost the other.
                None | Some(Err(RunError::Refused { .. })) => {
                    self.write_table(family, &commands, wanted, &mut meanwhile)
                }
                Some(result) => result.clone(),
            };
            let retry = Instant::now() + self.settings.retry;
            self.table(family).book(wanted, result, retry);
        }
        self.wanted = Some(wanted);
        // Before or after ours: it is not as we wrote it, or may not be.
        self.take_news(meanwhile);
    }

    /// Writes several tables in one transaction; `None` if there are not several.
    fn write_at_once(
        &mut self,
        work: &[(Family, Vec<Value>)],
        meanwhile: &mut Heard,
    ) -> Option<Result<(), RunError>> {
        let needed = work.iter().filter(|(_, commands)| !commands.is_empty());
        (needed.count() > 1).then(|| {
            let all: Vec<Value> = work.iter().flat_map(|(_, list)| list.clone()).collect();
            self.write(&all, meanwhile)
        })
    }

    /// Writes one table; if it can't be changed in place, all of it anew.
    fn write_table(
        &mut self,
        family: Family,
        commands: &[Value],
        wanted: Option<&FamilyNat>,
        meanwhile: &mut Heard,
    ) -> Result<(), RunError> {
        let result = self.write(commands, meanwhile);
        let in_place = !matches!(self.table(family).holds, Holds::Nothing | Holds::Damaged);
        match (result, wanted) {
            (Err(RunError::Refused { complaint }), Some(wanted)) if in_place => {
                tracing::debug!(%complaint, "the whole table is written, since nft refuses a change");
                self.write(&render::replace(family, wanted), meanwhile)
            }
            (result, _) => result,
        }
    }

    fn write(&mut self, commands: &[Value], meanwhile: &mut Heard) -> Result<(), RunError> {
        let document = render::document(commands);
        let run = command::run(&self.settings, &document);
        // The kernel has said what the run did before the run ended, so that nothing which comes
        // later is ours, whatever its process id.
        if let Some(news) = &mut self.news {
            meanwhile.merge(news.read(run.process));
        }
        self.written += u64::from(run.result.is_ok());
        run.result
    }

    const fn table(&mut self, family: Family) -> &mut Table {
        family.of_mut(&mut self.tables)
    }

    /// Hands over the status if it is another one; false when nobody listens any more.
    fn tell(&mut self) -> bool {
        let Some(wanted) = &self.wanted else {
            return true;
        };
        let [v4, v6] = &self.tables;
        let status = Status {
            tables: [v4, v6].map(|table| table.status(wanted.family(table.family))),
            repaired: self.repaired,
            written: self.written,
        };
        let (translates, guards) = (wanted.has_pools(), wanted.guards_sessions());
        let now = (status.tables.clone(), translates, guards);
        if status.is_settled() && now != self.logged {
            say(&status, translates, guards);
            self.logged = now;
        }
        if status == self.told {
            return true;
        }
        self.told = status.clone();
        (self.sink)(status)
    }
}

fn say(status: &Status, translates: bool, guards: bool) {
    let guard = if guards {
        "; pods are kept from nodes' BGP"
    } else {
        ""
    };
    if status.is_failing() && translates {
        tracing::error!("natOutgoing: {status}");
    } else if status.is_failing() {
        tracing::warn!(
            "no rule that keeps pods from nodes' BGP, or for this node's own packets into tunnels \
             (no pool has natOutgoing): {status}"
        );
    } else if guards && !translates {
        tracing::info!("natOutgoing: off{guard}: {status}");
    } else {
        tracing::info!("natOutgoing: {status}{guard}");
    }
}
