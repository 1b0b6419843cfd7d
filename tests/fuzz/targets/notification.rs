//! NOTIFICATION: no body panics, its text is printable, and it survives its own encoding.
#![no_main]

use dunlin::wire::frame;
use dunlin::wire::notification::Notification;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(notification) = Notification::decode(body) else {
        return;
    };
    assert!(!notification.to_string().contains(char::is_control));
    let whole = notification.encode();
    assert!(whole.len() <= frame::MAX_LEN);
    let (_, again) = frame::messages(&whole).next().expect("one message");
    if body.len() <= frame::MAX_LEN - frame::HEADER_LEN {
        assert_eq!(Notification::decode(again), Ok(notification));
    }
});
