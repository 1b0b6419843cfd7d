//! OPEN: no body panics, and what is decoded survives its own encoding.
#![no_main]

use dunlin::net::AfiSafi;
use dunlin::wire::frame;
use dunlin::wire::open::Open;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    match Open::decode(body) {
        Err(error) => assert!(matches!(error.notification().code, 1 | 2)),
        Ok(open) => {
            let _ = (open.families(), open.fqdn(), open.graceful_restart());
            let _ = (
                open.long_lived_graceful_restart(),
                open.add_path(AfiSafi::IPV4_UNICAST),
            );
            let whole = open.encode();
            let (_, again) = frame::messages(&whole).next().expect("one message");
            let again = Open::decode(again).expect("our own OPEN");
            // Names and lists are cut, and capabilities left out, only where a message has no room.
            if body.len() < 1000 && again.capabilities.len() == open.capabilities.len() {
                assert_eq!(again.asn(), open.asn());
                assert_eq!(again.families(), open.families());
            }
        }
    }
});
