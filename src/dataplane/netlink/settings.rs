//! Notifications of the kernel's settings (`RTM_NEWNETCONF`): forwarding and reverse path filters.

use super::super::input::{Change, Setting};
use super::attribute::each;
use crate::net::Family;

const IFINDEX: u16 = 1;
const FORWARDING: u16 = 2;
const RP_FILTER: u16 = 3;
/// In the place of a link: all of them.
const ALL: i32 = -1;

/// What a message says; none if it is none of our business.
pub(super) fn read(payload: &[u8]) -> Option<Change> {
    let family = match payload.first()? {
        2 => Family::Ipv4,
        10 => Family::Ipv6,
        _ => return None,
    };
    let (mut link, mut forwarding, mut reverse_path) = (None, None, None);
    for (kind, value) in each(payload.get(4..)?) {
        let Some(value) = value.first_chunk::<4>() else {
            continue;
        };
        let number = i32::from_ne_bytes(*value);
        match kind {
            IFINDEX => link = Some(number),
            FORWARDING => forwarding = Some(number != 0),
            RP_FILTER => reverse_path = u8::try_from(number).ok(),
            _ => {}
        }
    }
    let link = match link? {
        ALL => None,
        // What new links are to begin with is no link's.
        number => Some(u32::try_from(number).ok()?),
    };
    Some(Change::Setting(Setting {
        family,
        link,
        forwarding,
        reverse_path,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::attribute::put;
    use super::*;

    fn message(family: u8, attributes: &[(u16, i32)]) -> Vec<u8> {
        let mut body = vec![family, 0, 0, 0];
        for (kind, value) in attributes {
            put(&mut body, *kind, &value.to_ne_bytes());
        }
        body
    }

    fn setting(family: Family, link: Option<u32>) -> Setting {
        Setting {
            family,
            link,
            forwarding: None,
            reverse_path: None,
        }
    }

    #[test]
    fn what_the_kernel_tells_of_its_settings_is_read() {
        let all = read(&message(2, &[(1, -1), (2, 0)]));
        let expected = Setting {
            forwarding: Some(false),
            ..setting(Family::Ipv4, None)
        };
        assert_eq!(all, Some(Change::Setting(expected)));
        let one = read(&message(10, &[(1, 7), (2, 2), (4, 1)]));
        let expected = Setting {
            forwarding: Some(true),
            ..setting(Family::Ipv6, Some(7))
        };
        assert_eq!(one, Some(Change::Setting(expected)));
        let filter = read(&message(2, &[(1, 7), (3, 1)]));
        let expected = Setting {
            reverse_path: Some(1),
            ..setting(Family::Ipv4, Some(7))
        };
        assert_eq!(filter, Some(Change::Setting(expected)));
    }

    #[test]
    fn what_is_for_links_to_come_or_cut_short_says_nothing() {
        assert_eq!(read(&message(2, &[(1, -2), (2, 0)])), None);
        assert_eq!(read(&message(7, &[(1, -1), (2, 0)])), None, "MPLS");
        assert_eq!(read(&message(2, &[(2, 0)])), None);
        let whole = message(2, &[(1, -1), (2, 0)]);
        for length in 0..whole.len() {
            let _ = read(&whole[..length]);
        }
    }
}
