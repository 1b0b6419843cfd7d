//! What a client of the control socket says is a request that says itself again, or it is refused.
#![no_main]

use dunlin::control::protocol::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(request) = serde_json::from_str::<Request>(text)
    {
        let said = serde_json::to_string(&request).unwrap();
        let again: Request = serde_json::from_str(&said).unwrap();
        assert_eq!(request, again);
        assert_eq!(request.is_order(), again.is_order());
    }
});
