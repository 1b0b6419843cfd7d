//! What a daemon costs: CPU seconds and peak memory of a process and all its descendants, from /proc.
//!
//! A living process's CPU time is exact (see `cpu.rs`); a descendant that has ended counts through its parent's
//! waited-for times, in ticks of 10 ms. Peak memory is the sum of each living process's own peak, an upper bound of the
//! peak of the sum.

use crate::cpu;
use std::collections::HashMap;
use std::fs;

/// A process and its descendants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessTree {
    /// The process that was started.
    pub(crate) root: u32,
}

/// One reading.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// User and system time so far, in seconds.
    pub(crate) cpu: f64,
    /// Peak resident memory in bytes.
    pub(crate) peak_rss: u64,
    /// Resident memory in bytes.
    pub(crate) rss: u64,
    /// How many processes there are.
    pub(crate) processes: usize,
}

impl ProcessTree {
    /// Reads the cost so far; zero when the process is gone.
    pub(crate) fn cost(&self) -> Cost {
        let mut cost = Cost::default();
        for pid in self.members() {
            let Some(cpu) = fs::read_to_string(format!("/proc/{pid}/stat"))
                .ok()
                .and_then(|stat| cpu::seconds(pid, &stat))
            else {
                continue;
            };
            cost.cpu += cpu;
            cost.processes += 1;
            if let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) {
                cost.peak_rss += memory(&status, "VmHWM:").unwrap_or(0);
                cost.rss += memory(&status, "VmRSS:").unwrap_or(0);
            }
        }
        cost
    }

    /// The process and all below it.
    pub(crate) fn members(&self) -> Vec<u32> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            if let Some(parent) = field(&stat, 4).and_then(|ppid| u32::try_from(ppid).ok()) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut all = vec![self.root];
        let mut next = 0;
        while let Some(pid) = all.get(next) {
            all.extend(children.get(pid).into_iter().flatten());
            next += 1;
        }
        all
    }
}

/// Whether something in the network namespace of this process listens on this TCP port.
pub(crate) fn listens(pid: u32, port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    ["tcp", "tcp6"].iter().any(|table| {
        fs::read_to_string(format!("/proc/{pid}/net/{table}")).is_ok_and(|text| {
            text.lines().any(|line| {
                let mut words = line.split_ascii_whitespace();
                let local = words.nth(1).unwrap_or_default();
                local.ends_with(&wanted) && words.nth(1) == Some("0A")
            })
        })
    })
}

/// The numbered field of a stat line, counted from 1 as in proc(5). The name in brackets may hold anything.
pub(crate) fn field(stat: &str, number: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace()
        .nth(number.checked_sub(3)?)?
        .parse()
        .ok()
}

fn memory(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_a_name_with_spaces_and_brackets() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 0 0 0 11 22 3 4 20 0 1 0 5 6 7";
        assert_eq!(
            [4, 14, 17].map(|n| field(stat, n)),
            [Some(1), Some(11), Some(4)]
        );
    }

    #[test]
    fn a_truncated_stat_line_is_no_reading() {
        assert_eq!(field("7 (a) S 1", 14), None);
    }

    #[test]
    fn peak_memory_is_in_bytes() {
        assert_eq!(
            memory("Name:\tx\nVmHWM:\t    1536 kB\n", "VmHWM:"),
            Some(1536 * 1024)
        );
        assert_eq!(memory("Name:\tx\n", "VmHWM:"), None);
    }

    #[test]
    fn this_process_has_a_cost() {
        let cost = ProcessTree {
            root: std::process::id(),
        }
        .cost();
        assert!(cost.processes >= 1 && cost.peak_rss > 0);
    }
}
