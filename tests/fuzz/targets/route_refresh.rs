//! ROUTE-REFRESH: no body panics, and it survives its own encoding.
#![no_main]

use dunlin::wire::frame;
use dunlin::wire::route_refresh::RouteRefresh;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    match RouteRefresh::decode(body) {
        Err(error) => assert!(matches!(error.notification().code, 1 | 7)),
        Ok(refresh) => {
            let whole = refresh.encode();
            let (_, again) = frame::messages(&whole).next().expect("one message");
            assert_eq!(RouteRefresh::decode(again), Ok(refresh));
        }
    }
});
