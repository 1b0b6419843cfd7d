//! Which events become lines: by level, by part of the program, and by peer; changed at any time.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, PoisonError, RwLock};

use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::Context;

/// The field of an event that names its peer.
const PEER: &str = "peer";

/// The rule in force; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Loudness(Arc<RwLock<Rule>>);

#[derive(Debug, Clone)]
struct Rule {
    general: Targets,
    /// Instead of the general one, for the events of a peer.
    peers: BTreeMap<String, LevelFilter>,
}

impl Loudness {
    pub(super) fn new(general: Targets) -> Self {
        let peers = BTreeMap::new();
        Self(Arc::new(RwLock::new(Rule { general, peers })))
    }

    pub(super) fn set_general(&self, general: Targets) {
        self.change(|rule| rule.general = general);
    }

    /// A level for a peer's events; none is the general one.
    pub(super) fn set_peer(&self, name: &str, level: Option<LevelFilter>) {
        self.change(|rule| {
            match level {
                Some(level) => rule.peers.insert(name.to_owned(), level),
                None => rule.peers.remove(name),
            };
        });
    }

    pub(super) fn peers(&self) -> BTreeMap<String, LevelFilter> {
        self.read(|rule| rule.peers.clone())
    }

    fn change(&self, change: impl FnOnce(&mut Rule)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
        // What each place that logs was told before is no longer so.
        tracing::callsite::rebuild_interest_cache();
    }

    fn read<T>(&self, read: impl FnOnce(&Rule) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Rule {
    fn is_general(&self, metadata: &Metadata<'_>) -> bool {
        self.general
            .would_enable(metadata.target(), metadata.level())
    }

    /// Whether it depends on the peer that an event of this kind names.
    fn asks_for_peer(&self, metadata: &Metadata<'_>) -> bool {
        !self.peers.is_empty() && metadata.fields().field(PEER).is_some()
    }
}

impl<S: Subscriber> Layer<S> for Loudness {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.read(|rule| {
            if rule.asks_for_peer(metadata) {
                Interest::sometimes()
            } else if rule.is_general(metadata) {
                Interest::always()
            } else {
                Interest::never()
            }
        })
    }

    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        self.read(|rule| rule.asks_for_peer(metadata) || rule.is_general(metadata))
    }

    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        self.read(|rule| {
            if !rule.asks_for_peer(metadata) {
                return rule.is_general(metadata);
            }
            let mut named = Named(String::new());
            event.record(&mut named);
            match rule.peers.get(&named.0) {
                Some(level) => metadata.level() <= level,
                None => rule.is_general(metadata),
            }
        })
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.read(|rule| {
            let general = rule.general.iter().map(|(_, level)| level);
            let levels = general.chain(rule.general.default_level());
            levels.chain(rule.peers.values().copied()).max()
        })
    }
}

/// The peer that an event names.
struct Named(String);

impl Visit for Named {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == PEER {
            // Writing to memory does not fail.
            let _ = write!(self.0, "{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == PEER {
            self.0.push_str(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// The messages that came through.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
            struct Message(String);
            impl Visit for Message {
                fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                    if field.name() == "message" {
                        self.0 = format!("{value:?}");
                    }
                }
            }
            let mut message = Message(String::new());
            event.record(&mut message);
            self.0.lock().unwrap().push(message.0);
        }
    }

    #[test]
    fn a_level_is_changed_for_all_or_for_one_peer_while_it_runs() {
        let loudness = Loudness::new("info,elsewhere=trace".parse().unwrap());
        let seen = Seen::default();
        let subscriber = tracing_subscriber::registry()
            .with(seen.clone())
            .with(loudness.clone());
        let said = || std::mem::take(&mut *seen.0.lock().unwrap());
        let (a, b) = ("a", String::from("b"));
        let speak = || {
            tracing::debug!(peer = %a, "a's");
            tracing::debug!(peer = b, "b's");
            tracing::debug!("nobody's");
            tracing::trace!(target: "elsewhere", "elsewhere");
            tracing::info!(peer = a, "a's news");
        };
        tracing::subscriber::with_default(subscriber, || {
            speak();
            assert_eq!(said(), ["elsewhere", "a's news"]);
            loudness.set_peer("b", Some(LevelFilter::DEBUG));
            speak();
            assert_eq!(said(), ["b's", "elsewhere", "a's news"]);
            loudness.set_peer("a", Some(LevelFilter::ERROR));
            loudness.set_peer("b", None);
            speak();
            assert_eq!(said(), ["elsewhere"]);
            loudness.set_peer("a", None);
            loudness.set_general(Targets::new().with_default(LevelFilter::DEBUG));
            speak();
            assert_eq!(said(), ["a's", "b's", "nobody's", "a's news"]);
            loudness.set_general(Targets::new().with_default(LevelFilter::INFO));
            speak();
            assert_eq!(said(), ["a's news"]);
        });
    }
}
