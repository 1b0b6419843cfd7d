//! Timers of sessions and the watch over their far ends: words that `[bgp]` and `[[bgp-peer]]` share.
//!
//! It reads values; what applies where nothing is said is `topology::plan`'s.

use core::time::Duration;

use toml::de::DeValue;

use super::problem::Problems;
use super::record::plain;
use super::scalar::{self, Fault};
use super::schema::BFD;
use super::secrets::{Wanted, read_bfd_secret};
use super::table::TableReader;
use crate::topology::{BfdAuthentication, BfdTerms, SessionSettings};

/// The bounds of what BFD may be asked for: below, timers of a host are too coarse; above, it would be slower
/// than the hold time that it is there to beat.
const BFD_INTERVALS: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(30)];

/// Reads the timers of a table.
pub(crate) fn read_session(table: &TableReader<'_>, problems: &mut Problems) -> SessionSettings {
    let hold = table.read("hold-time", scalar::hold_time, problems);
    let keepalive = table.read("keepalive-time", scalar::keepalive_time, problems);
    let connect = table.read("connect-retry-time", scalar::connect_retry_time, problems);
    let restart = table.read("max-restart-time", scalar::restart_time, problems);
    let stale = scalar::long_lived_stale_time;
    let long_lived = table.read("long-lived-stale-time", stale, problems);
    let send_hold = table.read("send-hold-time", scalar::send_hold_time, problems);
    if let (Some(hold), Some(send)) = (&hold, &send_hold)
        && let Some(message) = send_hold_too_short(send.value, hold.value)
    {
        problems.error(&send.place, message);
    }
    if let (Some(hold), Some(keepalive)) = (&hold, &keepalive)
        && let Some(message) = keepalive_too_long(keepalive.value, hold.value)
    {
        problems.error(&keepalive.place, message);
    }
    SessionSettings {
        hold_time: plain(hold),
        keepalive_time: plain(keepalive),
        connect_retry_time: plain(connect),
        max_restart_time: plain(restart),
        long_lived_stale_time: plain(long_lived),
        send_hold_time: plain(send_hold),
    }
}

/// What to say of a send hold time that ends a session whose peer is merely slow (RFC 9687 §3.2).
fn send_hold_too_short(send: u16, hold: u16) -> Option<String> {
    let message = || {
        format!(
            "\"send-hold-time\" of {send} s with a hold time of {hold} s; expected more than the hold time, \
             or 0 for none"
        )
    };
    (send > 0 && send <= hold).then(message)
}

/// What to say of a keepalive time that the hold time does not leave room for.
pub(crate) fn keepalive_too_long(keepalive: u16, hold: u16) -> Option<String> {
    let message = || {
        let third = hold / 3;
        format!(
            "\"keepalive-time\" of {keepalive} s with a hold time of {hold} s: the other end \
             would give up before each KEEPALIVE; expected less, best {third} s"
        )
    };
    (hold > 0 && keepalive >= hold).then(message)
}

/// Reads how a far end is watched: `true`, `false`, or a table of timers. Its key comes beside it, because that
/// takes a file; until then it is a missing one.
pub(crate) fn read_bfd(
    table: &TableReader<'_>,
    key: &'static str,
    problems: &mut Problems,
) -> (Option<BfdTerms>, Option<Wanted>) {
    if !table.has_table(key) {
        let on = plain(table.read(key, on_or_off, problems));
        return (on.unwrap_or(false).then(BfdTerms::default), None);
    }
    let Some(terms) = table.table(key, &BFD, problems) else {
        return (None, None);
    };
    let multiplier = scalar::integer::<u8>("a number of packets", 1..=255);
    let defaults = BfdTerms::default();
    let mut time = |key| plain(terms.read(key, interval, problems));
    let (min_transmit, min_receive) = (time("min-transmit"), time("min-receive"));
    let multiplier = plain(terms.read("multiplier", multiplier, problems));
    let ttl = scalar::integer::<u8>("a TTL", 1..=255);
    let min_ttl = plain(terms.read("min-ttl", ttl, problems));
    let secret = read_bfd_secret(&terms, problems);
    let authentication = match secret {
        Some(_) => BfdAuthentication::Missing(String::new()),
        None => BfdAuthentication::None,
    };
    let terms = BfdTerms {
        min_transmit: min_transmit.unwrap_or(defaults.min_transmit),
        min_receive: min_receive.unwrap_or(defaults.min_receive),
        multiplier: multiplier.unwrap_or(defaults.multiplier),
        min_ttl,
        authentication,
    };
    (Some(terms), secret)
}

fn on_or_off(value: &DeValue<'_>) -> Result<bool, Fault> {
    value.as_bool().ok_or_else(|| {
        let forms = "true, false or timers such as { min-transmit = \"250ms\", multiplier = 3 }";
        Fault::expected(forms, value)
    })
}

fn interval(value: &DeValue<'_>) -> Result<Duration, Fault> {
    let [least, most] = BFD_INTERVALS;
    let time = scalar::duration(value)?;
    if time < least || time > most {
        let expected = format!("a time from {least:?} to {most:?}");
        return Err(Fault::expected(expected, value));
    }
    Ok(time)
}
