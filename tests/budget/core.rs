//! The core at work without sockets, to be put under a profiler. Not a test: what it must not cost is in
//! `ceilings`, and `tests/budget/run` compares.
//!
//! `core load N` relays a table of N prefixes from one eBGP peer to another and takes it back; `core
//! reflect N` is a reflector with N clients of four blocks each; `core churn N` lets tenths of a table
//! of N go and come back, and says all of it again. The seconds it prints are for people only.

#![expect(
    clippy::unwrap_used,
    reason = "a program for measuring ends where its premise fails"
)]

mod hub;
mod phases;
mod table;

use std::process::ExitCode;
use std::time::Instant;

use phases::{
    Reflector, Relay, announce_phase, churn_phase, distribute_phase, meet_phase, repeat_phase,
    withdraw_phase,
};

/// The table goes and comes back in so many parts.
const PARTS: usize = 10;

fn main() -> ExitCode {
    // `cargo bench` adds `--bench`.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["load", count] => load(number(count)),
        ["reflect", count] => reflect(number(count)),
        ["churn", count] => churn(number(count)),
        _ => {
            eprintln!("usage: core load|churn PREFIXES, core reflect CLIENTS");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn number(word: &str) -> usize {
    word.parse().unwrap()
}

fn timed<T>(phase: &str, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = work();
    println!("{phase}: {:.3} s", began.elapsed().as_secs_f64());
    result
}

/// What came in and went out since the start.
fn tell(relay: &Relay) {
    let (came, _) = relay.hub.updates(relay.feeder.0);
    let (_, went) = relay.hub.updates(relay.monitor.0);
    let heard = relay.hub.heard(relay.monitor.1);
    println!(
        "  in: {came} UPDATEs; out: {went} UPDATEs, {} octets in {} pieces",
        heard.octets, heard.sends
    );
}

fn load(count: usize) {
    let mut relay = Relay::new(count);
    let (announce, withdraw) = (relay.table.announce(), relay.table.withdraw());
    timed("announce", || announce_phase(&mut relay, &announce));
    tell(&relay);
    timed("withdraw", || withdraw_phase(&mut relay, &withdraw));
    tell(&relay);
}

fn churn(count: usize) {
    let mut relay = Relay::new(count);
    let announce = relay.table.announce();
    let flaps: Vec<_> = (0..PARTS)
        .map(|part| relay.table.flap(part, PARTS))
        .collect();
    timed("announce", || announce_phase(&mut relay, &announce));
    tell(&relay);
    timed("churn", || churn_phase(&mut relay, &flaps));
    tell(&relay);
    timed("repeat", || repeat_phase(&mut relay, &announce));
    tell(&relay);
}

fn reflect(count: usize) {
    let (mut reflector, fars) = Reflector::new(u32::try_from(count).unwrap());
    timed("meet", || meet_phase(&mut reflector, &fars));
    let words = reflector.words();
    timed("distribute", || distribute_phase(&mut reflector, &words));
    let clients = reflector.clients.iter();
    let (mut came, mut went, mut sends, mut octets) = (0, 0, 0, 0);
    for (far, connection) in clients {
        let (from, to) = reflector.hub.updates(*far);
        let heard = reflector.hub.heard(*connection);
        (came, went) = (came + from, went + to);
        (sends, octets) = (sends + heard.sends, octets + heard.octets);
    }
    println!("  in: {came} UPDATEs; out: {went} UPDATEs, {octets} octets in {sends} pieces");
}
