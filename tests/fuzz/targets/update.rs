//! UPDATE: no body panics in any context, and accepted attributes survive being stored and sent.
//!
//! The first octet chooses the context, the rest is the body.
#![no_main]

use dunlin::net::Family;
use dunlin::wire::attribute::PathAttributes;
use dunlin::wire::frame::{self, MAX_EXTENDED_LEN};
use dunlin::wire::update::{
    self, Announce, DecodeContext, MAX_FAULTS, RawUpdate, scan_attributes, write_announce,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, body)) = input.split_first() else {
        return;
    };
    let bit = |n: u8| choice >> n & 1 == 1;
    // 0 is a four-octet eBGP session with both families, like most fixtures.
    let ctx = DecodeContext {
        four_octet_as: !bit(0),
        ebgp: !bit(1),
        add_path: [bit(2), bit(3)],
        families: [!bit(4), !bit(5)],
        extended_next_hop: bit(6),
        permit_as_sets: bit(7),
        beside: false,
    };
    let Ok(raw) = RawUpdate::split(body) else {
        return;
    };
    let scan = scan_attributes(raw.attributes);
    let update = match update::decode(raw, &ctx) {
        Ok(update) => update,
        Err(error) => return assert_eq!(error.notification().code, 3),
    };
    assert!(update.faults.len() <= MAX_FAULTS);
    if scan.well_formed {
        assert_eq!(scan.mp_reach.is_some(), update.mp_announced.is_some());
        assert_eq!(scan.mp_unreach.is_some(), update.mp_withdrawn.is_some());
    }
    if update.treatment.is_some() {
        return;
    }
    let mut stored = Vec::new();
    update.attributes.encode_canonical(&mut stored);
    let back = PathAttributes::decode_canonical(&stored).expect("our own bytes");
    assert_eq!(back, update.attributes);
    if ctx.families == [true, true] && update.attributes.next_hop.is_some() {
        resend(&update, &ctx);
    }
});

/// What came in the body goes out again as the same routes.
fn resend(update: &update::Update<'_>, ctx: &DecodeContext) {
    let mut block = Vec::new();
    update
        .attributes
        .encode(ctx.four_octet_as, true, &mut block);
    let params = Announce {
        family: Family::Ipv4,
        attributes: &block,
        next_hop: None,
        add_path: ctx.add_path[0],
        max_len: MAX_EXTENDED_LEN,
    };
    let mut out = Vec::new();
    if write_announce(&mut out, &params, &mut update.announced.iter()).is_err() {
        return;
    }
    let mut routes = Vec::new();
    for (_, body) in frame::messages(&out) {
        let raw = RawUpdate::split(body).expect("our own UPDATE");
        let again = update::decode(raw, ctx).expect("our own UPDATE");
        assert_eq!(
            again.attributes.as_path.to_string(),
            update.attributes.as_path.to_string()
        );
        routes.extend(again.announced.iter());
    }
    assert!(routes.iter().copied().eq(update.announced.iter()));
}
