//! The kinds of trouble: a word that never changes, and how bad each is.

use core::fmt;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Packets take the way that they should; something is not as it was meant.
    Warning,
    /// Packets are lost, or will be at the next fault.
    Error,
}

impl Severity {
    /// For scripts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Defines the codes once: variant, word, severity, meaning.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $code:ident = $word:literal, $severity:ident;)+) => {
        /// A kind of trouble.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $code,)+
        }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$code,)+];

            /// The word for scripts; it never changes.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $word,)+
                }
            }

            /// How bad it is.
            pub const fn severity(self) -> Severity {
                match self {
                    $(Self::$code => Severity::$severity,)+
                }
            }

            /// What it means, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$code => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

codes! {
    /// A session that is configured is not up.
    PeerDown = "peer_down", Error;
    /// An operator has taken a session down.
    PeerShutDown = "peer_shut_down", Warning;
    /// A session stays down because the peer sent more prefixes than it may.
    PeerStopped = "peer_stopped", Error;
    /// A session, or its BFD, stays down because its secret can't be had.
    SecretMissing = "secret_missing", Error;
    /// No router was heard on a link that a peer is expected on.
    NeighbourMissing = "neighbour_missing", Error;
    /// A node of the mesh announces routes that no pool covers, and they are not taken.
    OutsidePools = "outside_pools", Warning;
    /// A session is up, and BFD of its far end is not.
    BfdDown = "bfd_down", Warning;
    /// Somebody who is no peer calls.
    StrangerCalls = "stranger_calls", Warning;
    /// A peer has routes that were not taken, because of a limit.
    RoutesNotTaken = "routes_not_taken", Error;
    /// Routes of a peer are missing, since they came with a malformed attribute.
    RoutesMalformed = "routes_malformed", Warning;
    /// A peer has sent more prefixes than max-prefixes says, and all were taken.
    PeerOverLimit = "peer_over_limit", Warning;
    /// A session is up without capabilities that the other end does not take.
    CapabilitiesWithheld = "capabilities_withheld", Warning;
    /// None of a route's next hops can be reached.
    RouteUnreachable = "route_unreachable", Error;
    /// There is no way to a route's node: something about it is not known.
    RouteWithoutWay = "route_without_way", Error;
    /// A route of another program stands where ours would.
    RouteConflict = "route_conflict", Error;
    /// A route is not made, because it would take addresses away from this host's own links.
    RouteCovers = "route_covers", Error;
    /// The kernel refused a route.
    RouteRefused = "route_refused", Error;
    /// Another program removes a route of ours again and again.
    RouteFought = "route_fought", Error;
    /// A route waits for its tunnel.
    RouteWaiting = "route_waiting", Warning;
    /// More routes do not do well than are named one by one.
    RoutesUnnamed = "routes_unnamed", Error;
    /// The kernel does not let us write.
    KernelDenies = "kernel_denies", Error;
    /// The kernel has no room for what we ask; writing rests for a moment.
    KernelExhausted = "kernel_exhausted", Warning;
    /// What is in the kernel is not known at the moment.
    KernelUnread = "kernel_unread", Warning;
    /// Nothing programs the kernel any more.
    KernelLost = "kernel_lost", Error;
    /// A link that sessions or tunnels need is down or absent.
    LinkDown = "link_down", Error;
    /// No link of this host has the node's own address.
    NodeAddressMissing = "node_address_missing", Error;
    /// A tunnel device does not work.
    DeviceDown = "device_down", Error;
    /// A tunnel device, or its entries for far ends, are being made.
    DevicePending = "device_pending", Warning;
    /// The kernel has no driver for a tunnel device.
    DriverMissing = "driver_missing", Error;
    /// A device of another program has the name of a tunnel device.
    DeviceForeign = "device_foreign", Error;
    /// No link has the address that a tunnel's packets leave with.
    UnderlayMissing = "underlay_missing", Error;
    /// The tunnel address of another node is not known.
    TunnelAddressUnknown = "tunnel_address_unknown", Error;
    /// A setting of the host stops forwarding, and could not be changed.
    ForwardingOff = "forwarding_off", Error;
    /// A reverse path filter may drop what comes through a tunnel, and could not be changed.
    ReversePathFilter = "reverse_path_filter", Warning;
    /// An address that a tunnel device would have is given away by IPAM.
    TunnelAddressGiven = "tunnel_address_given", Warning;
    /// The links under a tunnel device carry no packet as large as it takes in: they travel in pieces.
    DeviceMtu = "device_mtu", Warning;
    /// IPv6 is switched off on a link that needs it.
    FamilyOff = "family_off", Error;
    /// The rules for natOutgoing are not in force.
    NatFailing = "nat_failing", Error;
    /// Nothing keeps pods from nodes' BGP, since the rules for it can't be put in force.
    GuardFailing = "guard_failing", Warning;
    /// No link of this host has the source address for natOutgoing.
    NatAddressMissing = "nat_address_missing", Error;
    /// Lines of the log were lost, and the log could not be told so far.
    LogLost = "log_lost", Warning;
    /// The control socket is gone, and could not be made again.
    ControlLost = "control_lost", Error;
    /// The configuration has errors; the last good one is in force.
    ConfigurationBad = "configuration_bad", Error;
    /// Callers are refused, since the process has no more descriptors for them.
    DescriptorsShort = "descriptors_short", Error;
    /// A file that is read on a reload can't be read by the user that dunlin runs as, or by its sandbox.
    FileUnreadable = "file_unreadable", Warning;
    /// A socket for sessions could not be opened.
    NotListening = "not_listening", Error;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_of_one_style_and_differ() {
        let mut words: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        let plain = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(words.iter().all(plain), "{words:?}");
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| code.meaning().ends_with('.')));
    }
}
