//! Placeholder until the reconciler lands.
use super::*;
use crate::net::Prefix;
use crate::time::Instant;
#[derive(Debug, Default)]
pub struct Settings;
#[derive(Debug)]
pub struct Dataplane;
#[derive(Debug)]
pub struct Counts {
    pub wanted: usize,
    pub installed: usize,
    pub written: u64,
    pub repaired: u64,
}
#[derive(Debug)]
pub struct Row {
    pub prefix: Prefix,
    pub wanted: Option<String>,
    pub installed: Option<String>,
    pub state: &'static str,
}
impl Dataplane {
    pub fn new(_: Settings) -> Self {
        Self
    }
    pub fn handle(&mut self, _: Instant, _: KernelInput) {}
    pub fn handle_timeout(&mut self, _: Instant) {}
    pub fn track(&mut self, _: &NextHop) {}
    pub fn untrack(&mut self, _: &NextHop) {}
    pub fn poll_resolution(&mut self) -> Option<(NextHop, Resolution)> {
        None
    }
    pub fn poll(&mut self, _: Instant) -> Option<Op> {
        None
    }
    pub fn next_timeout(&self) -> Option<Instant> {
        None
    }
    pub fn want(&mut self, _: Instant, _: Prefix, _: Forwarding) {}
    pub fn unwant(&mut self, _: Instant, _: Prefix) {}
    pub fn converged(&mut self) {}
    pub fn counts(&self) -> Counts {
        Counts {
            wanted: 0,
            installed: 0,
            written: 0,
            repaired: 0,
        }
    }
    pub fn conflicts(&self) -> impl Iterator<Item = Prefix> {
        std::iter::empty()
    }
    pub fn errors(&self) -> impl Iterator<Item = (Prefix, String)> {
        std::iter::empty()
    }
    pub fn page(&self, _: Option<Prefix>, _: usize) -> Vec<Row> {
        Vec::new()
    }
    pub fn row(&self, _: Prefix) -> Option<Row> {
        None
    }
}
pub mod netlink {
    use super::*;
    #[derive(Debug)]
    pub struct Kernel;
    impl Kernel {
        pub fn spawn<E>(_: tokio::sync::mpsc::Sender<E>) -> std::io::Result<Self> {
            Ok(Self)
        }
        pub fn send(&self, _: Vec<Op>) {}
    }
}
