//! Attribute blocks: no block panics, neither as a peer's nor as one of our own tables.
#![no_main]

use dunlin::wire::attribute::PathAttributes;
use dunlin::wire::update::{self, DecodeContext, RawUpdate, scan_attributes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|block: &[u8]| {
    let _ = scan_attributes(block);
    if let Ok(attributes) = PathAttributes::decode_canonical(block) {
        let mut stored = Vec::new();
        attributes.encode_canonical(&mut stored);
        let _ = PathAttributes::decode_canonical(&stored).map(|again| again.as_path.len());
    }
    // With a prefix in the body, so that errors cost the route and not the session.
    let raw = RawUpdate {
        withdrawn: &[],
        attributes: block,
        nlri: &[8, 10],
    };
    for four_octet_as in [true, false] {
        for ebgp in [true, false] {
            let ctx = DecodeContext {
                four_octet_as,
                ebgp,
                add_path: [false; 2],
                families: [true; 2],
                extended_next_hop: true,
                permit_as_sets: true,
                beside: false,
            };
            if let Err(error) = update::decode(raw, &ctx) {
                assert_eq!(error.notification().code, 3);
            }
        }
    }
});
