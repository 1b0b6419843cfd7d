//! A password: it can be used and compared, and shows in no log, error or dump.

use core::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// A shared secret. Its octets are overwritten when the last holder lets go.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// Takes the octets over.
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(octets)))
    }

    /// The octets, for whoever has to give them to the kernel.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_show() {
        let secret = Secret::new(b"hunter2".to_vec());
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert_eq!(secret.octets(), b"hunter2");
    }
}
