//! Sends all flows from one thread and receives them in another: few wake-ups, so that one slow processor is
//! enough for many flows. The clock of the report starts with the first packet.

use crate::cli::TrafficOptions;
use crate::error::{Context, Result};
use crate::flow::{self, Receiver, Sender};
use crate::tally::{Phase, Tally, tally};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use std::io::BufRead;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the threads share.
struct Run {
    started: Instant,
    stop: Arc<AtomicBool>,
    /// How many packets each flow has sent in the end; `u64::MAX` while it goes on.
    sent: AtomicU64,
    phases: Mutex<Vec<Phase>>,
}

impl Run {
    fn micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Sends, receives, counts.
pub(crate) fn run(options: &TrafficOptions) -> Result<Value> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("watching for signals")?;
    }
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    for (index, spec) in options.flows.iter().enumerate() {
        let (sender, receiver) = flow::open(spec, index, options.size)?;
        senders.push(sender);
        receivers.push(receiver);
    }
    let run = Arc::new(Run {
        started: Instant::now(),
        stop,
        sent: AtomicU64::new(u64::MAX),
        phases: Mutex::new(vec![Phase {
            name: "start".to_owned(),
            from: 0,
        }]),
    });
    let started_at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
    if options.length.is_none() {
        listen(Arc::clone(&run));
    }
    let settle = options.settle;
    let times = thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&run, &mut receivers, settle));
        let times = send(&run, &mut senders, options);
        // A receiver that panicked has counted nothing: everything is missing, which will be seen.
        let _ = receiving.join();
        times
    });
    for sender in &mut senders {
        sender.take_errors();
    }
    Ok(report(
        options, &run, &times, &senders, &receivers, started_at,
    ))
}

/// Follows what stdin says, in a thread that ends with the process. The end of stdin says nothing: where there
/// is none, a signal ends the run.
fn listen(run: Arc<Run>) {
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(|line| line.ok()) {
            match line.trim().split_once(' ') {
                Some(("phase", name)) => {
                    let phase = Phase {
                        name: name.to_owned(),
                        from: run.micros(),
                    };
                    if let Ok(mut phases) = run.phases.lock() {
                        phases.push(phase);
                    }
                }
                None if line.trim() == "end" => run.stop.store(true, Ordering::Relaxed),
                _ => eprintln!("dunlin-probe: `{line}` is neither `phase NAME` nor `end`"),
            }
        }
    });
}

/// Sends until it is time; returns when each round was sent.
fn send(run: &Run, senders: &mut [Sender], options: &TrafficOptions) -> Vec<u64> {
    // After a stall so many rounds go at once, then there is a breath: a burst must not overflow a queue.
    const BURST: u32 = 50;
    let interval = Duration::from_secs(1) / options.rate;
    let mut times = Vec::new();
    let mut behind = 0;
    for number in 0u32.. {
        let due = interval * number;
        if run.stop.load(Ordering::Relaxed) || options.length.is_some_and(|length| due >= length) {
            break;
        }
        let now = run.started.elapsed();
        if due > now {
            thread::sleep(due - now);
            behind = 0;
        } else {
            behind += 1;
            if behind % BURST == 0 {
                thread::sleep(Duration::from_micros(500));
            }
        }
        times.push(run.micros());
        for sender in senders.iter_mut() {
            sender.send(number);
        }
    }
    let sent = u64::try_from(times.len()).unwrap_or(u64::MAX);
    run.sent.store(sent, Ordering::Release);
    times
}

/// Takes packets until all that were sent are there, or none has come for the time to settle.
fn receive(run: &Run, receivers: &mut [Receiver], settle: Duration) {
    let mut last = Instant::now();
    loop {
        let mut polled: Vec<PollFd<'_>> = receivers
            .iter()
            .map(|r| PollFd::new(r.socket().as_fd(), PollFlags::POLLIN))
            .collect();
        let ready = poll(&mut polled, PollTimeout::from(20u8)).unwrap_or(0);
        drop(polled);
        if ready > 0 {
            receivers.iter_mut().for_each(Receiver::take);
            last = Instant::now();
        }
        let sent = run.sent.load(Ordering::Acquire);
        let all = |r: &Receiver| u64::try_from(r.arrivals.len()).unwrap_or(0) >= sent;
        if sent == u64::MAX {
            last = Instant::now();
        } else if receivers.iter().all(all) || last.elapsed() >= settle {
            return;
        }
    }
}

fn report(
    options: &TrafficOptions,
    run: &Run,
    times: &[u64],
    senders: &[Sender],
    receivers: &[Receiver],
    started_at: u64,
) -> Value {
    let phases = match run.phases.lock() {
        Ok(phases) => phases,
        Err(poisoned) => poisoned.into_inner(),
    };
    let tallies: Vec<Vec<Tally>> = receivers
        .iter()
        .map(|receiver| {
            let arrivals: Vec<(u32, u64)> = receiver
                .arrivals
                .iter()
                .map(|(number, at)| (*number, at.saturating_sub(started_at) / 1000))
                .collect();
            tally(times, &arrivals, &phases)
        })
        .collect();
    let by_phase: Vec<Value> = phases
        .iter()
        .enumerate()
        .map(|(place, phase)| {
            let flows = options.flows.iter().zip(&tallies);
            let flows: Vec<Value> = flows
                .filter_map(|(spec, tallies)| Some(tallies.get(place)?.to_json(&spec.name)))
                .collect();
            json!({ "phase": phase.name, "from-ms": crate::tally::millis(phase.from), "flows": flows })
        })
        .collect();
    let sum = |of: fn(&Tally) -> u64| tallies.iter().flatten().map(of).sum::<u64>();
    let ends = options.flows.iter().zip(senders.iter().zip(receivers));
    let ends: Vec<Value> = ends
        .map(|(spec, (sender, receiver))| {
            json!({
                "flow": spec.name,
                "refused": sender.refused,
                "icmp-errors": sender.errors,
                "receiver-overflow": receiver.overflow,
                "strangers": receiver.strangers,
            })
        })
        .collect();
    json!({
        "rate": options.rate,
        "seconds": crate::tally::millis(times.last().copied().unwrap_or(0)) / 1000.0,
        "sent": sum(|t| t.sent),
        "received": sum(|t| t.received),
        "lost": sum(Tally::missing),
        "duplicated": sum(|t| t.duplicated),
        "reordered": sum(|t| t.reordered),
        "phases": by_phase,
        "ends": ends,
    })
}
