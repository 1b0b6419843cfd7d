//! One value at a time: what is read, and what is said of what can't be.

use super::*;

/// The outcome for `toml`, or the fault as people read it.
fn read<T>(toml: &str, f: impl Fn(&DeValue<'_>) -> Result<T, Fault>) -> Result<T, String> {
    f(DeValue::parse(toml).unwrap().get_ref()).map_err(|fault| fault.to_string())
}

#[test]
fn times_are_seconds_or_numbers_with_units() {
    let ms = |toml: &str| read(toml, duration).map(|time| time.as_millis());
    assert_eq!(ms("90"), Ok(90_000));
    assert_eq!(ms("'90s'"), Ok(90_000));
    assert_eq!(ms("'1m30s'"), Ok(90_000));
    assert_eq!(ms("'250ms'"), Ok(250));
    for wrong in [
        "''",
        "'90'",
        "'s'",
        "'9d'",
        "-1",
        "1.5",
        "'99999999999s'",
        "true",
    ] {
        assert!(ms(wrong).is_err(), "{wrong}");
    }
    assert_eq!(read("'0s'", hold_time), Ok(0));
    assert_eq!(read("3", hold_time), Ok(3));
    assert!(read("2", hold_time).is_err());
    assert!(
        read("'1500ms'", hold_time).is_err(),
        "no fractions in an OPEN"
    );
    assert!(read("65536", hold_time).is_err());
    assert!(read("4096", restart_time).is_err(), "twelve bits");
}

#[test]
fn as_numbers_have_three_notations() {
    for toml in ["65546", "'65546'", "'1.10'", "1.10"] {
        assert_eq!(read(toml, asn), Ok(Asn(65546)), "{toml}");
    }
    for wrong in ["0", "4294967296", "23456", "-1", "1e3", "'AS1'", "[1]"] {
        assert!(read(wrong, asn).is_err(), "{wrong}");
    }
}

#[test]
fn the_other_end_may_have_a_port() {
    let end = |toml: &str| read(toml, peer_ip).map(|end| (end.address.to_string(), end.port));
    assert_eq!(end("'10.0.0.1'"), Ok(("10.0.0.1".into(), None)));
    assert_eq!(end("'10.0.0.1:1790'"), Ok(("10.0.0.1".into(), Some(1790))));
    assert_eq!(end("'2001:db8::1'"), Ok(("2001:db8::1".into(), None)));
    assert_eq!(end("'[2001:db8::1]'"), Ok(("2001:db8::1".into(), None)));
    assert_eq!(
        end("'[2001:db8::1]:1790'"),
        Ok(("2001:db8::1".into(), Some(1790)))
    );
    for wrong in [
        "'10.0.0.1:0'",
        "'10.0.0.1:'",
        "'0.0.0.0'",
        "'::ffff:10.0.0.1'",
        "'tor'",
    ] {
        assert!(end(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn addresses_of_nodes_are_addresses_that_a_node_can_have() {
    assert_eq!(read("'10.0.0.1'", ipv4_address).unwrap().prefix(), 32);
    assert_eq!(read("'10.0.0.0/31'", ipv4_address).unwrap().prefix(), 31);
    assert_eq!(read("'fd00::1/64'", ipv6_address).unwrap().prefix(), 64);
    for wrong in [
        "'10.0.0.0/24'",
        "'10.0.0.255/24'",
        "'224.0.0.5/24'",
        "'10.0.0.1/33'",
    ] {
        assert!(read(wrong, ipv4_address).is_err(), "{wrong}");
    }
    for wrong in [
        "'fd00::/64'",
        "'ff02::1/64'",
        "'fe80::1/64'",
        "'10.0.0.1/24'",
    ] {
        assert!(read(wrong, ipv6_address).is_err(), "{wrong}");
    }
}
