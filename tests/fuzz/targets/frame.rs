//! Framing: whatever a stream holds, each step makes progress, and what was framed is found again.
#![no_main]

use dunlin::wire::frame::{self, MAX_EXTENDED_LEN, MAX_LEN, Step};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|stream: &[u8]| {
    for max in [MAX_LEN, MAX_EXTENDED_LEN] {
        let mut rest = stream;
        let mut framed = 0;
        loop {
            match frame::next(rest, max) {
                Ok(Step::Message { len, .. }) => {
                    assert!((19..=max).contains(&len));
                    rest = &rest[len..];
                    framed += 1;
                }
                Ok(Step::NeedMore(missing)) => {
                    assert!(missing > 0 && rest.len() + missing <= max);
                    break;
                }
                Err(error) => {
                    assert_eq!(error.notification().code, 1);
                    break;
                }
            }
        }
        let whole = &stream[..stream.len() - rest.len()];
        assert_eq!(frame::messages(whole).count(), framed);
    }
});
