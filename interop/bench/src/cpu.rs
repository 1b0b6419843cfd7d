//! The CPU time of one process, exact where the kernel tells it: its CPU clock counts nanoseconds and includes the
//! threads that have ended.
//!
//! The sum of /proc/PID/task/*/schedstat would lose those threads, and utime + stime of /proc/PID/stat are cut to
//! ticks of 10 ms; the ticks serve where there is no clock. Children that have ended and were waited for are not in
//! a process's clock; their ticks are added.

use crate::procfs::field;
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::{Pid, SysconfVar, sysconf};
use std::time::Duration;

/// User and system time of a process and its ended children, in seconds; `stat` is its /proc/PID/stat.
pub(crate) fn seconds(pid: u32, stat: &str) -> Option<f64> {
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64;
    // Of proc(5): utime, stime, then cutime, cstime.
    let ticks = |fields: [usize; 2]| fields.into_iter().map(|n| field(stat, n)).sum();
    let own: Option<u64> = ticks([14, 15]);
    let children: Option<u64> = ticks([16, 17]);
    let (own, children) = (
        own? as f64 / ticks_per_second,
        children? as f64 / ticks_per_second,
    );
    Some(clock(pid).map_or(own, |exact| exact.max(own)) + children)
}

/// The CPU seconds of the calling thread.
pub(crate) fn thread() -> f64 {
    let now = ClockId::CLOCK_THREAD_CPUTIME_ID.now();
    now.map_or(0.0, |time| Duration::from(time).as_secs_f64())
}

/// What the process's CPU clock shows.
fn clock(pid: u32) -> Option<f64> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?);
    let time = clock_getcpuclockid(pid).ok()?.now().ok()?;
    Some(Duration::from(time).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_this_process_runs_and_has_no_less_than_the_ticks() {
        let own = std::process::id();
        let before = clock(own);
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        assert!(before.is_some() && seconds(own, &stat) >= before);
    }

    #[test]
    fn without_a_clock_the_ticks_count_and_ended_children_always_do() {
        let stat = "0 (a) S 1 7 7 0 -1 4194304 1 0 0 0 1100 2200 300 400 20 0 1 0 5 6 7";
        // No process has this number.
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64;
        assert_eq!(
            seconds(u32::MAX, stat),
            Some(3300.0 / ticks + 700.0 / ticks)
        );
        assert_eq!(seconds(u32::MAX, "0 (a) S 1"), None);
    }
}
