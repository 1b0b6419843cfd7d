//! What operators are told about tunnel devices.

use core::fmt;
use std::net::IpAddr;

use super::super::device::Sysctl;
use super::super::route::Errno;
use super::TooNarrow;
use crate::net::Family;

/// Something about a tunnel device that is worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelNews {
    /// It was made.
    Made,
    /// It was there, and is ours from now on.
    Taken,
    /// It differs in what can't be changed while it exists: it is deleted and made anew.
    MadeAnew,
    /// No longer wanted, and gone.
    Removed,
    /// The kernel has no driver for its kind.
    NoDriver {
        /// The kind.
        kind: &'static str,
        /// The module that would bring it.
        module: &'static str,
    },
    /// A device of this name belongs to another program.
    Foreign,
    /// No link has the address that packets leave with.
    NoUnderlay {
        /// The address.
        underlay: IpAddr,
    },
    /// The kernel refused something; it is tried again.
    Refused {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
    /// The kernel made the device otherwise than it was asked to.
    Misfit,
    /// Another program removed or changed something: it is put back at once.
    Repairing {
        /// What.
        what: String,
    },
    /// Another program does so again and again: it is put back after a pause.
    Fought {
        /// What.
        what: String,
    },
    /// A setting that it needs is as it has to be.
    Tuned {
        /// The setting.
        sysctl: Sysctl,
    },
    /// A setting that it needs can't be read or written.
    NotTuned {
        /// The setting.
        sysctl: Sysctl,
        /// Why.
        errno: Errno,
    },
    /// Checksums are still left to the hardware.
    OffloadStays {
        /// Why.
        errno: Errno,
    },
    /// The links under it carry less than it takes in.
    TooNarrow(TooNarrow),
    /// What was refused works.
    Recovered,
}

impl TunnelNews {
    /// Whether it is nothing to worry about.
    pub const fn is_good(&self) -> bool {
        matches!(
            self,
            Self::Made | Self::Taken | Self::Removed | Self::Tuned { .. } | Self::Recovered
        )
    }

    /// Whether it says that something of ours is put back.
    pub const fn is_repair(&self) -> bool {
        matches!(self, Self::Repairing { .. })
    }
}

impl fmt::Display for TunnelNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made => f.write_str("tunnel device made"),
            Self::Taken => f.write_str("tunnel device taken over; it carries the alias dunlin now"),
            Self::MadeAnew => f.write_str(
                "tunnel device differs in what can't be changed while it exists; making it anew",
            ),
            Self::Removed => f.write_str("no pool needs the tunnel device; it is gone"),
            Self::NoDriver { kind, module } => write!(
                f,
                "cannot make it: the kernel has no {kind} driver; `modprobe {module}`, or choose \
                 another mode for the pools that need it; other pools keep working"
            ),
            Self::Foreign => f.write_str(
                "a device of this name belongs to another program, so it is left alone; stop that \
                 program and set `[routing] adopt = [\"felix\"]`, or delete the device",
            ),
            Self::NoUnderlay { underlay } => write!(
                f,
                "no link has {underlay}, the address that tunnel packets leave with; waiting for it"
            ),
            Self::Refused { what, why } => write!(f, "cannot {what}: {why}"),
            Self::Misfit => f.write_str(
                "the kernel made the tunnel device otherwise than it was asked to; it is not used",
            ),
            Self::Repairing { what } => {
                write!(
                    f,
                    "{what} removed or changed by another program; putting it back"
                )
            }
            Self::Fought { what } => write!(
                f,
                "{what} removed or changed again and again by another program; putting it back after \
                 a pause"
            ),
            Self::Tuned { sysctl } => tuned(f, sysctl),
            Self::NotTuned { sysctl, errno } => not_tuned(f, sysctl, *errno),
            Self::OffloadStays { errno } => write!(
                f,
                "cannot switch transmit checksum offloading off: {}; some kernels send wrong \
                 checksums then",
                why(*errno)
            ),
            Self::TooNarrow(narrow) => narrow.fmt(f),
            Self::Recovered => f.write_str("well again"),
        }
    }
}

fn tuned(f: &mut fmt::Formatter<'_>, sysctl: &Sysctl) -> fmt::Result {
    match sysctl {
        Sysctl::Forwarding(family) => write!(f, "the kernel forwards {} packets", word(*family)),
        Sysctl::ForwardingOn(_) | Sysctl::Ipv6On(_) => write!(f, "{sysctl}"),
        Sysctl::LooseReversePath(link) => write!(
            f,
            "reverse path filter of {link} is loose or off (net.ipv4.conf.{link}.rp_filter)"
        ),
    }
}

fn not_tuned(f: &mut fmt::Formatter<'_>, sysctl: &Sysctl, errno: Errno) -> fmt::Result {
    let why = why(errno);
    match sysctl {
        Sysctl::Forwarding(family) => write!(
            f,
            "cannot make the kernel forward {} packets: {why}",
            word(*family)
        ),
        Sysctl::ForwardingOn(_) | Sysctl::Ipv6On(_) => write!(f, "cannot set {sysctl}: {why}"),
        Sysctl::LooseReversePath(link) => write!(
            f,
            "cannot loosen net.ipv4.conf.{link}.rp_filter: {why}; packets that come through the \
             tunnel may be dropped"
        ),
    }
}

impl fmt::Display for TooNarrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { link, mtu, needed } = self;
        write!(
            f,
            "packets as large as it takes in need {needed} octets when they are wrapped, and {link} \
             under it carries {mtu}"
        )
    }
}

const fn word(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    }
}

/// [`Errno`]'s words are about routes.
pub(super) fn why(errno: Errno) -> String {
    match errno {
        Errno::EEXIST => "another device has its name".to_owned(),
        Errno::ENODEV => "the device is gone".to_owned(),
        Errno(95) => "the kernel does not support it".to_owned(),
        Errno(30) => "it is read-only here".to_owned(),
        other => other.to_string(),
    }
}
