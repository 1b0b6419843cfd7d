//! What segments of a peer are signed with, and the octets in which the kernel wants it: TCP MD5 (RFC
//! 2385) and TCP-AO (RFC 5925).
//!
//! No socket is touched here. The octets are wiped when they are dropped, as the secrets are; the
//! layouts are `struct tcp_md5sig` and `struct tcp_ao_add` of `linux/tcp.h`, which are ABI.

use std::net::IpAddr;

use zeroize::Zeroizing;

use crate::net::Secret;

/// The longest secret that the kernel takes, of either kind.
const LONGEST_KEY: usize = 80;
/// `struct __kernel_sockaddr_storage`.
const ADDRESS: usize = 128;
/// `struct tcp_md5sig`.
const MD5_LEN: usize = ADDRESS + 8 + LONGEST_KEY;
/// `TCP_MD5SIG_FLAG_PREFIX`.
const MD5_HAS_PREFIX: u8 = 1;
/// `struct tcp_ao_add`.
const AO_ADD_LEN: usize = ADDRESS + 80 + LONGEST_KEY;
/// `struct tcp_ao_del`.
const AO_DEL_LEN: usize = ADDRESS + 16;

/// What protects the segments of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signing {
    /// TCP MD5.
    Md5(Secret),
    /// TCP-AO with one key, the same in both directions.
    Ao {
        /// The key's id in both directions.
        id: u8,
        /// What makes the code.
        algorithm: AoMac,
        /// The master key.
        secret: Secret,
    },
}

/// How TCP-AO makes its codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AoMac {
    /// HMAC-SHA-1-96 (RFC 5926).
    HmacSha1,
    /// AES-128-CMAC-96 (RFC 5926).
    AesCmac,
    /// HMAC-SHA-256-128, Linux's own.
    HmacSha256,
}

/// Whose segments a key is for: an address, or on a listening socket a range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyScope {
    /// The address, or the first of the range.
    pub address: IpAddr,
    /// How many of its bits count.
    pub length: u8,
}

impl KeyScope {
    /// One address.
    pub const fn host(address: IpAddr) -> Self {
        let length = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        Self { address, length }
    }
}

/// What is given to the kernel.
pub(super) struct KernelKey {
    /// The socket option.
    pub(super) option: libc::c_int,
    /// Its value.
    pub(super) value: Zeroizing<Vec<u8>>,
}

/// `TCP_AO_ADD_KEY`, which libc does not have.
const TCP_AO_ADD_KEY: libc::c_int = 38;
/// `TCP_AO_DEL_KEY`, likewise.
const TCP_AO_DEL_KEY: libc::c_int = 39;

impl AoMac {
    /// The kernel's name of it, and the octets of its code in a segment.
    const fn kernel_name(self) -> (&'static str, u8) {
        match self {
            Self::HmacSha1 => ("hmac(sha1)", 12),
            Self::AesCmac => ("cmac(aes128)", 12),
            Self::HmacSha256 => ("hmac(sha256)", 16),
        }
    }
}

impl Signing {
    /// What sets this key for `scope`, in place of an MD5 key that is there; `None` if the secret is
    /// empty or too long.
    pub(super) fn set(&self, scope: KeyScope) -> Option<KernelKey> {
        match self {
            Self::Md5(secret) => md5(scope, checked(secret)?),
            Self::Ao {
                id,
                algorithm,
                secret,
            } => ao_add(scope, *id, *algorithm, checked(secret)?),
        }
    }

    /// What takes this key of `scope` away.
    pub(super) fn unset(&self, scope: KeyScope) -> Option<KernelKey> {
        match self {
            Self::Md5(_) => md5(scope, &[]),
            Self::Ao { id, .. } => ao_del(scope, *id),
        }
    }
}

fn checked(secret: &Secret) -> Option<&[u8]> {
    Some(secret.octets()).filter(|octets| (1..=LONGEST_KEY).contains(&octets.len()))
}

/// A `struct sockaddr_in` or `sockaddr_in6`, padded.
fn socket_address(address: IpAddr) -> Vec<u8> {
    let mut octets = Vec::with_capacity(ADDRESS);
    let family = match address {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    // The families are small numbers.
    octets.extend(u16::try_from(family).unwrap_or_default().to_ne_bytes());
    // The port must be 0: a key is for all of them.
    octets.extend([0; 2]);
    match address {
        IpAddr::V4(address) => octets.extend(address.octets()),
        IpAddr::V6(address) => {
            octets.extend([0; 4]);
            octets.extend(address.octets());
        }
    }
    octets.resize(ADDRESS, 0);
    octets
}

/// `TCP_MD5SIG_EXT`; no key takes the one that is there away.
fn md5(scope: KeyScope, key: &[u8]) -> Option<KernelKey> {
    let mut value = Zeroizing::new(Vec::with_capacity(MD5_LEN));
    value.extend(socket_address(scope.address));
    value.push(MD5_HAS_PREFIX);
    value.push(scope.length);
    value.extend(u16::try_from(key.len()).ok()?.to_ne_bytes());
    // No VRF.
    value.extend([0; 4]);
    value.extend(key);
    value.resize(MD5_LEN, 0);
    Some(KernelKey {
        option: libc::TCP_MD5SIG_EXT,
        value,
    })
}

fn ao_add(scope: KeyScope, id: u8, algorithm: AoMac, key: &[u8]) -> Option<KernelKey> {
    let (name, code) = algorithm.kernel_name();
    let mut value = Zeroizing::new(Vec::with_capacity(AO_ADD_LEN));
    value.extend(socket_address(scope.address));
    value.extend(name.as_bytes());
    value.resize(ADDRESS + 64, 0);
    // No VRF, no flags (set_current and set_rnext are for sockets that have other keys), padding.
    value.extend([0; 4 + 4 + 2]);
    value.extend([scope.length, id, id, code]);
    value.push(0);
    value.push(u8::try_from(key.len()).ok()?);
    value.extend(key);
    value.resize(AO_ADD_LEN, 0);
    Some(KernelKey {
        option: TCP_AO_ADD_KEY,
        value,
    })
}

fn ao_del(scope: KeyScope, id: u8) -> Option<KernelKey> {
    let mut value = Zeroizing::new(Vec::with_capacity(AO_DEL_LEN));
    value.extend(socket_address(scope.address));
    value.extend([0; 4 + 4 + 2]);
    // The last three are the key to use instead, which is for sockets that have several, and flags.
    value.extend([scope.length, id, id, 0, 0, 0]);
    Some(KernelKey {
        option: TCP_AO_DEL_KEY,
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(address: &str, length: u8) -> KeyScope {
        KeyScope {
            address: address.parse().unwrap(),
            length,
        }
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    #[test]
    fn an_md5_key_is_laid_out_as_the_kernel_reads_it() {
        let key = Signing::Md5(secret("s3cret"));
        let set = key.set(scope("10.0.0.0", 24)).unwrap();
        assert_eq!(set.option, 32);
        assert_eq!(set.value.len(), 216, "sizeof(struct tcp_md5sig)");
        assert_eq!(set.value[..8], [2, 0, 0, 0, 10, 0, 0, 0]);
        assert_eq!(set.value[128..136], [1, 24, 6, 0, 0, 0, 0, 0]);
        assert_eq!(&set.value[136..142], b"s3cret");
        assert!(set.value[142..].iter().all(|octet| *octet == 0));
        let unset = key.unset(scope("10.0.0.0", 24)).unwrap();
        assert_eq!(unset.value[128..136], [1, 24, 0, 0, 0, 0, 0, 0]);
        assert!(unset.value[136..].iter().all(|octet| *octet == 0));
    }

    #[test]
    fn an_ipv6_address_stands_behind_port_and_flow() {
        let set = Signing::Md5(secret("x"))
            .set(KeyScope::host("fd00::1".parse().unwrap()))
            .unwrap();
        assert_eq!(set.value[..8], [10, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(set.value[8..10], [0xfd, 0]);
        assert_eq!(set.value[23], 1);
        assert_eq!(set.value[129], 128);
    }

    #[test]
    fn a_tcp_ao_key_is_laid_out_as_the_kernel_reads_it() {
        let key = Signing::Ao {
            id: 7,
            algorithm: AoMac::AesCmac,
            secret: secret("0123456789abcdef"),
        };
        let set = key.set(scope("10.0.0.2", 32)).unwrap();
        assert_eq!(set.option, 38);
        assert_eq!(set.value.len(), 288, "sizeof(struct tcp_ao_add)");
        assert_eq!(&set.value[128..140], b"cmac(aes128)");
        assert!(set.value[140..202].iter().all(|octet| *octet == 0));
        // prefix, sndid, rcvid, maclen, keyflags, keylen
        assert_eq!(set.value[202..208], [32, 7, 7, 12, 0, 16]);
        assert_eq!(&set.value[208..224], b"0123456789abcdef");
        let unset = key.unset(scope("10.0.0.2", 32)).unwrap();
        assert_eq!(
            (unset.option, unset.value.len()),
            (39, 144),
            "sizeof(struct tcp_ao_del)"
        );
        assert_eq!(unset.value[138..144], [32, 7, 7, 0, 0, 0]);
    }

    #[test]
    fn a_secret_that_does_not_fit_is_no_key() {
        for (length, fits) in [(0, false), (1, true), (80, true), (81, false)] {
            let key = Signing::Md5(secret(&"k".repeat(length)));
            assert_eq!(
                key.set(scope("10.0.0.1", 32)).is_some(),
                fits,
                "{length} octets"
            );
        }
    }
}
