//! Where messages end: cut short, followed by a bad one, full to the last octet.

use std::sync::LazyLock;

use dunlin::net::{Family, Prefix};
use dunlin::transport::codec::Stream;
use dunlin::wire::frame::{self, MAX_LEN, Step};
use dunlin::wire::notification::Notification;
use dunlin::wire::update::{
    self, Announce, MAX_FAULTS, RawUpdate, scan_attributes, write_announce,
};

use crate::wire_laws::{check_outcome, decoded, delivered, message};
use crate::wire_text::{Fixture, PLAIN, fixtures};

/// Read once: the generated cases draw from them again and again.
static FIXTURES: LazyLock<Vec<Fixture>> = LazyLock::new(fixtures);

#[test]
fn every_fixture_arrives_whole_when_it_is_cut_anywhere() {
    for fixture in fixtures()
        .iter()
        .filter(|f| !f.is_bad() && f.bytes.len() < 300)
    {
        for at in 1..fixture.bytes.len() {
            let cuts = [at, fixture.bytes.len()];
            assert_eq!(delivered(&fixture.bytes, cuts.into_iter()), fixture.bytes);
        }
        let octet_by_octet = std::iter::repeat(1);
        assert_eq!(delivered(&fixture.bytes, octet_by_octet), fixture.bytes);
    }
}

#[test]
fn every_cut_of_a_good_message_needs_more_octets() {
    for fixture in FIXTURES.iter().filter(|f| !f.is_bad()) {
        for at in 0..fixture.bytes.len() {
            let step = frame::next(&fixture.bytes[..at], fixture.max);
            let Ok(Step::NeedMore(missing)) = step else {
                panic!("{}: {step:?}", fixture.name())
            };
            assert!(missing >= 1 && at + missing <= fixture.bytes.len());
        }
    }
}

#[test]
fn every_cut_body_is_decoded_or_refused_with_a_notification() {
    for fixture in FIXTURES.iter().filter(|f| f.bytes.len() < 600) {
        for at in 19..fixture.bytes.len() {
            check_outcome(
                &message(fixture.bytes[18], &fixture.bytes[19..at]),
                &fixture.ctx,
            );
        }
    }
}

#[test]
fn messages_before_a_bad_one_are_handed_out_and_nothing_after_it() {
    let octets = [&frame::KEEPALIVE, &*message(9, &[]), &frame::KEEPALIVE].concat();
    let mut stream = Stream::new(MAX_LEN);
    let (whole, bad) = stream.cut(&octets);
    assert_eq!(whole, frame::KEEPALIVE);
    assert_eq!(
        bad.unwrap().notification(),
        Notification::new(1, 3, vec![9])
    );
    assert!(stream.is_lost() && stream.kept().is_empty());
    assert_eq!(stream.cut(&frame::KEEPALIVE), (&[][..], None));
    stream.end().unwrap();
}

#[test]
fn a_stream_that_ends_inside_a_message_is_an_error() {
    let mut stream = Stream::new(MAX_LEN);
    assert_eq!(stream.cut(&frame::KEEPALIVE[..18]), (&[][..], None));
    let error = stream.end().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn thousands_of_attributes_cost_one_pass_and_few_notes() {
    // RFC 7606 gives no limit; a message of 64 KiB holds 21,000 empty attributes.
    let mut block = Vec::new();
    for n in 0..21_000_u32 {
        block.extend_from_slice(&[0xC0, u8::try_from(n % 256).unwrap() | 0x80, 0]);
    }
    let mut body = vec![0, 0];
    body.extend_from_slice(&u16::try_from(block.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&block);
    body.extend_from_slice(&[8, 10]);
    let update = update::decode(RawUpdate::split(&body).unwrap(), &PLAIN).unwrap();
    assert_eq!(update.faults.len(), MAX_FAULTS);
    assert_eq!(update.attributes.unknown.len(), 128);
    assert_eq!(update.treatment, Some(update::Treatment::Withdraw));
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written() {
    let block = vec![0; 4096 - 23 - 4];
    let params = Announce {
        family: Family::Ipv4,
        attributes: &block,
        next_hop: None,
        add_path: false,
        max_len: MAX_LEN,
    };
    let mut out = b"before".to_vec();
    let short: Prefix = "10.1.1.0/24".parse().unwrap();
    let long: Prefix = "10.1.1.1/32".parse().unwrap();
    assert_eq!(
        write_announce(&mut out, &params, &mut [(0, short)].into_iter()),
        Ok(1)
    );
    assert_eq!(out.len(), 6 + 4096);
    out.truncate(6);
    assert!(write_announce(&mut out, &params, &mut [(0, short), (0, long)].into_iter()).is_err());
    assert_eq!(out, b"before");
    assert_eq!(
        write_announce(&mut out, &params, &mut std::iter::empty()),
        Ok(0)
    );
}

#[test]
fn end_of_rib_markers_are_understood_by_ourselves() {
    for family in Family::ALL {
        let whole = update::end_of_rib(family);
        let update = decoded(&whole, &PLAIN);
        assert_eq!(update.end_of_rib(), Some(family.afi_safi()));
    }
}

#[test]
fn a_scan_finds_the_block_without_mp_reach_wherever_it_lies() {
    let origin = [0x40, 1, 1, 0];
    let mp = [0x80, 14, 5, 0, 2, 1, 0, 0];
    let first = [&mp[..], &origin, &origin].concat();
    assert_eq!(scan_attributes(&first).others, Some(&first[8..]));
    let last = [&origin[..], &origin, &mp].concat();
    assert_eq!(scan_attributes(&last).others, Some(&last[..8]));
    let middle = [&origin[..], &mp, &origin].concat();
    assert_eq!(scan_attributes(&middle).others, None);
    assert!(!scan_attributes(&[&mp[..], &mp].concat()).well_formed);
    assert!(!scan_attributes(&first[..first.len() - 1]).well_formed);
    assert_eq!(scan_attributes(&origin).others, Some(&origin[..]));
}
