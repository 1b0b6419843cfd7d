//! `dunlin-bench write-routes`: the least that a program can do to write routes, as a process of its own.
//!
//! It builds its requests before the clock starts, sends 128 of them at a time and asks for one acknowledgement a
//! batch; an error of any of them is reported all the same. It decides nothing and remembers nothing.

use crate::error::{Context, Error, Result};
use crate::netlink::{self, Channel};
use std::io::BufRead;
use std::net::Ipv4Addr;

/// Messages a send.
const BATCH: usize = 128;

/// Reads prefixes, one a line, then obeys `add` and `del` until the input ends.
pub(crate) fn run(gateway: Ipv4Addr, interface: u32) -> Result<bool> {
    let channel = Channel::open(false, 4 << 20)?;
    let mut prefixes = Vec::new();
    let (mut adds, mut deletes) = (Vec::new(), Vec::new());
    for line in std::io::stdin().lock().lines() {
        let line = line.context("reading prefixes")?;
        match line.as_str() {
            "built" => {
                adds = batches(netlink::NEW_ROUTE, &prefixes, (gateway, interface));
                deletes = batches(netlink::DELETE_ROUTE, &prefixes, (gateway, interface));
            }
            "add" => write(&channel, &adds)?,
            "del" => write(&channel, &deletes)?,
            _ => prefixes.push(prefix(&line)?),
        }
    }
    Ok(true)
}

fn prefix(line: &str) -> Result<(u32, u8)> {
    line.split_once('/')
        .and_then(|(address, length)| {
            let address: Ipv4Addr = address.parse().ok()?;
            Some((address.to_bits(), length.parse().ok()?))
        })
        .ok_or_else(|| Error::Usage(format!("`{line}` is no prefix")))
}

fn batches(kind: u16, prefixes: &[(u32, u8)], way: (Ipv4Addr, u32)) -> Vec<Vec<u8>> {
    let batch = |part: &[(u32, u8)]| {
        let mut bytes = Vec::with_capacity(part.len() * 52);
        for (number, prefix) in part.iter().enumerate() {
            netlink::put_route(&mut bytes, kind, number + 1 == part.len(), *prefix, way);
        }
        bytes
    };
    prefixes.chunks(BATCH).map(batch).collect()
}

fn write(channel: &Channel, batches: &[Vec<u8>]) -> Result<()> {
    for batch in batches {
        channel.send(batch)?;
        let mut failed = 0;
        channel.receive(|kind, body| {
            if kind == netlink::ERROR && failed == 0 {
                failed = netlink::errno(body);
            }
        })?;
        if failed != 0 {
            return Err(Error::Daemon(format!(
                "the kernel refused a route: errno {failed}"
            )));
        }
    }
    Ok(())
}
