//! RFC 7606 as a table: what each attribute must look like, and what it costs if it does not.

/// The registered name of a type code that dunlin knows.
pub fn name(code: u8) -> Option<&'static str> {
    let _ = code;
    None
}
