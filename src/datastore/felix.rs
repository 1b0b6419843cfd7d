//! The table `[felix]`: FelixConfiguration "default", as far as it is about packets between nodes.
//!
//! It reads one table; what its values mean for devices and rules is not known here.

use std::net::IpAddr;

use toml::de::DeValue;

use super::problem::{Place, Problems};
use super::scalar::{self, Fault, one_of};
use super::schema::EXCLUSIONS;
use super::table::TableReader;
use crate::net::Family;
use crate::topology::{FelixSettings, Pool, PoolMode, nearest};

/// Fields of FelixConfiguration that don't change how packets travel between nodes here.
pub(crate) const IGNORED: &[&str] = &[
    "bpf-connect-time-load-balancing",
    "bpf-data-iface-pattern",
    "bpf-disable-unprivileged",
    "bpf-enabled",
    "bpf-external-service-mode",
    "bpf-host-networked-nat-without-ctlb",
    "bpf-kube-proxy-iptables-cleanup-enabled",
    "bpf-log-level",
    "chain-insert-mode",
    "data-plane-driver",
    "default-endpoint-to-host-action",
    "device-route-protocol",
    "device-route-source-address",
    "device-route-source-address-ipv6",
    "external-nodes-list",
    "failsafe-inbound-host-ports",
    "failsafe-outbound-host-ports",
    "floating-ips",
    "flow-logs-goldmane-server",
    "go-gc-threshold",
    "health-enabled",
    "health-host",
    "health-port",
    "interface-exclude",
    "interface-prefix",
    "interface-refresh-interval",
    "ip-forwarding",
    "ipsets-refresh-interval",
    "iptables-backend",
    "iptables-filter-allow-action",
    "iptables-lock-timeout",
    "iptables-mangle-allow-action",
    "iptables-mark-mask",
    "iptables-post-write-check-interval",
    "iptables-refresh-interval",
    "ipv4-elevated-route-priority",
    "ipv4-normal-route-priority",
    "ipv6-elevated-route-priority",
    "ipv6-normal-route-priority",
    "ipv6-support",
    "kube-node-port-ranges",
    "live-migration-route-convergence-time",
    "local-subnet-l2-reachability",
    "log-file-path",
    "log-prefix",
    "log-severity-file",
    "log-severity-screen",
    "log-severity-sys",
    "max-ipset-size",
    "metadata-addr",
    "metadata-port",
    "mtu-iface-pattern",
    "netlink-timeout",
    "nftables-mode",
    "openstack-region",
    "policy-sync-path-prefix",
    "program-cluster-routes",
    "prometheus-go-metrics-enabled",
    "prometheus-metrics-enabled",
    "prometheus-metrics-host",
    "prometheus-metrics-port",
    "prometheus-process-metrics-enabled",
    "remove-external-routes",
    "reporting-interval",
    "reporting-ttl",
    "require-mtu-file",
    "route-refresh-interval",
    "route-source",
    "route-sync-disabled",
    "route-table-range",
    "route-table-ranges",
    "service-loop-prevention",
    "sidecar-acceleration-enabled",
    "usage-reporting-enabled",
    "usage-reporting-initial-delay",
    "usage-reporting-interval",
    "use-internal-dataplane-driver",
    "wireguard-enabled",
    "wireguard-enabled-v6",
    "wireguard-host-encryption-enabled",
    "wireguard-interface-name",
    "wireguard-interface-name-v6",
    "wireguard-keep-alive",
    "wireguard-listening-port",
    "wireguard-listening-port-v6",
    "wireguard-mtu",
    "wireguard-mtu-v6",
    "wireguard-routing-rule-priority",
    "wireguard-threading-enabled",
    "workload-source-spoofing",
    "xdp-enabled",
    "xdp-refresh-interval",
];

/// The smallest MTU that a host must be able to take in (RFC 791 §3.1).
const LEAST_MTU_V4: u32 = 576;
/// The smallest MTU of a link that carries IPv6 (RFC 8200 §5).
const LEAST_MTU_V6: u32 = 1280;

/// What `[felix]` says, with the places that pools may disagree with.
#[derive(Debug)]
pub(crate) struct Felix {
    pub(crate) value: FelixSettings,
    pub(crate) place: Place,
    /// Where IP-in-IP, VXLAN are switched off.
    off: [Option<Place>; 2],
    ipip_mtu: Option<Place>,
}

/// Reads the table.
pub(crate) fn read_felix(table: &TableReader<'_>, problems: &mut Problems) -> Felix {
    let defaults = FelixSettings::default();
    let mut mtu = |key, least| table.read(key, mtu_from(least), problems);
    let ipip_mtu = mtu("ipip-mtu", LEAST_MTU_V4);
    let vxlan_mtu = mtu("vxlan-mtu", LEAST_MTU_V4);
    let vxlan_mtu_v6 = mtu("vxlan-mtu-v6", LEAST_MTU_V6);
    let vni = scalar::integer("a network identifier", 1..=0x00FF_FFFF);
    let port = table.read("vxlan-port", scalar::port, problems);
    let vni = table.read("vxlan-vni", vni, problems);
    let features = table.read("feature-detect-override", checksum_offload_broken, problems);
    let range = table.read("nat-port-range", port_range, problems);
    let address = table.read("nat-outgoing-address", source_of_nat, problems);
    let exclusions = table.read("nat-outgoing-exclusions", one_of(EXCLUSIONS), problems);
    let filter = "iptables-nat-outgoing-interface-filter";
    let filter = table.read(filter, interface_filter, problems);
    let mut allowed = |key| {
        table
            .read(key, scalar::boolean, problems)
            .is_some_and(|on| on.value)
    };
    let allow_bgp_from_workloads = allowed("allow-bgp-packets-from-workloads");
    let allow_ipip_from_workloads = allowed("allow-ipip-packets-from-workloads");
    let allow_vxlan_from_workloads = allowed("allow-vxlan-packets-from-workloads");
    let mut off = |key| {
        let enabled = table.read(key, scalar::boolean, problems);
        enabled.filter(|on| !on.value).map(|on| on.place)
    };
    Felix {
        off: [off("ipip-enabled"), off("vxlan-enabled")],
        place: table.place().clone(),
        ipip_mtu: ipip_mtu.as_ref().map(|mtu| mtu.place.clone()),
        value: FelixSettings {
            ipip_mtu: ipip_mtu.and_then(|mtu| mtu.value),
            vxlan_mtu: vxlan_mtu.and_then(|mtu| mtu.value),
            vxlan_mtu_v6: vxlan_mtu_v6.and_then(|mtu| mtu.value),
            vxlan_port: port.map_or(defaults.vxlan_port, |port| port.value),
            vxlan_vni: vni.map_or(defaults.vxlan_vni, |vni| vni.value),
            checksum_offload_broken: features
                .and_then(|features| features.value)
                .unwrap_or(defaults.checksum_offload_broken),
            nat_port_range: range.map(|range| range.value),
            nat_outgoing_address: address.map(|address| address.value),
            nat_outgoing_exclusions: exclusions.map(|word| word.value).unwrap_or_default(),
            nat_outgoing_interface_filter: filter.map(|filter| filter.value),
            allow_bgp_from_workloads,
            allow_ipip_from_workloads,
            allow_vxlan_from_workloads,
        },
    }
}

impl Felix {
    /// Complains about settings that don't go with the pools.
    pub(crate) fn check<'p>(
        &self,
        mut pools: impl Iterator<Item = &'p Pool> + Clone,
        problems: &mut Problems,
    ) {
        let [ipip_off, vxlan_off] = &self.off;
        let mut has_no_effect = |what: &str, off: &Option<Place>, pool: Option<&Pool>| {
            if let (Some(place), Some(pool)) = (off, pool) {
                let name = &pool.name;
                let message = format!(
                    "\"{what}-enabled\" of false has no effect, because pool {name} has \
                     \"{what}-mode\"; set that to \"Never\""
                );
                problems.warning(place, message);
            }
        };
        let ipip = |pool: &&Pool| pool.ipip_mode != PoolMode::Never;
        let vxlan = |pool: &&Pool| pool.vxlan_mode != PoolMode::Never;
        has_no_effect("ipip", ipip_off, pools.clone().find(ipip));
        has_no_effect("vxlan", vxlan_off, pools.clone().find(vxlan));
        let mtu = self.value.ipip_mtu.filter(|mtu| *mtu < LEAST_MTU_V6);
        let v6 = |pool: &&Pool| ipip(pool) && pool.cidr.family() == Family::Ipv6;
        if let (Some(mtu), Some(place), Some(pool)) = (mtu, &self.ipip_mtu, pools.find(v6)) {
            let name = &pool.name;
            let message = format!(
                "\"ipip-mtu\" of {mtu} is too small for pool {name}; IPv6 needs {LEAST_MTU_V6}"
            );
            problems.error(place, message);
        }
    }
}

/// An MTU; 0 leaves it to the link under the tunnel.
fn mtu_from(least: u32) -> impl Fn(&DeValue<'_>) -> Result<Option<u32>, Fault> {
    move |value| {
        let mtu = scalar::integer::<u32>("0 (automatic) or an MTU", 0..=65_535)(value)?;
        match mtu {
            0 => Ok(None),
            mtu if mtu < least => Err(Fault::Wrong(format!(
                "an MTU of {mtu} is too small; expected 0 (automatic) or at least {least}"
            ))),
            mtu => Ok(Some(mtu)),
        }
    }
}

/// `30000:40000`, or one port.
fn port_range(value: &DeValue<'_>) -> Result<(u16, u16), Fault> {
    let expected = || {
        Fault::expected(
            "ports from 1 to 65535 such as \"30000:40000\", the lower first",
            value,
        )
    };
    if matches!(value, DeValue::Integer(_)) {
        return scalar::port(value).map(|port| (port, port));
    }
    let text = value.as_str().ok_or_else(expected)?;
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(expected()),
    }
}

/// An address that packets can come from.
fn source_of_nat(value: &DeValue<'_>) -> Result<IpAddr, Fault> {
    let address = scalar::address(value)?;
    if address.is_loopback() {
        return Err(Fault::Wrong(format!("{address} is the loopback address")));
    }
    Ok(address)
}

/// The name of a link, or its beginning and `+`.
fn interface_filter(value: &DeValue<'_>) -> Result<String, Fault> {
    let text = value.as_str().unwrap_or_default();
    let stem = text.strip_suffix('+').unwrap_or(text);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '_' | '-');
    if text.is_empty() || text.len() > 15 || !stem.chars().all(allowed) {
        return Err(Fault::expected(
            "the name of a link, of up to 15 characters, such as \"eth0\" or \"eth+\"",
            value,
        ));
    }
    Ok(text.to_owned())
}

/// `ChecksumOffloadBroken` out of a list of `Feature=value`; the other features are Felix's.
fn checksum_offload_broken(value: &DeValue<'_>) -> Result<Option<bool>, Fault> {
    const NAME: &str = "ChecksumOffloadBroken";
    let text = value
        .as_str()
        .ok_or_else(|| Fault::expected("a text such as \"ChecksumOffloadBroken=false\"", value))?;
    let mut broken = None;
    for item in text.split(',').map(str::trim).filter(|i| !i.is_empty()) {
        let (feature, setting) = item.split_once('=').ok_or_else(|| {
            let near = nearest(item, [NAME]);
            let hint = near.map_or(String::new(), |name| format!("; did you mean {name:?}?"));
            Fault::Wrong(format!(
                "expected Feature=true or false, found {item:?}{hint}"
            ))
        })?;
        if !feature.trim().eq_ignore_ascii_case(NAME) {
            continue;
        }
        broken = match setting.trim() {
            on if on.eq_ignore_ascii_case("true") => Some(true),
            off if off.eq_ignore_ascii_case("false") => Some(false),
            other => {
                let message = format!("{NAME}: expected true or false, found {other:?}");
                return Err(Fault::Wrong(message));
            }
        };
    }
    Ok(broken)
}
