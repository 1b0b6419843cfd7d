//! What was sent with too low a TTL before its connection was accepted is never read.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use dunlin::transport::{KeyScope, LeastTtls, Listener};
use socket2::{Domain, SockRef, Socket, Type};

use crate::transport_rig::{Rig, Told, run};

const NEAR: u32 = 255;
const FAR: u32 = 64;

fn set_ttl(stream: &Socket, address: IpAddr, ttl: u32) {
    match address {
        IpAddr::V4(_) => stream.set_ttl_v4(ttl),
        IpAddr::V6(_) => stream.set_unicast_hops_v6(ttl),
    }
    .unwrap();
}

/// Calls with one TTL, says a word with another, and gives what is there to be read where it was accepted.
async fn heard(rules: LeastTtls, address: IpAddr, syn: u32, data: u32) -> Option<Vec<u8>> {
    let mut rig = Rig::new();
    let keys = Default::default();
    let any = SocketAddr::new(address, 0);
    let listener = Listener::bind(any, &keys, rig.sender.clone()).unwrap();
    listener.set_least_ttls(&rules);
    let caller = Socket::new(Domain::for_address(any), Type::STREAM, None).unwrap();
    set_ttl(&caller, address, syn);
    caller.connect(&listener.address().into()).unwrap();
    set_ttl(&caller, address, data);
    (&caller).write_all(b"a word").unwrap();
    let Told::Accepted(accepted) = rig.next().await else {
        panic!("nobody was accepted");
    };
    let mut stream: TcpStream = accepted.stream;
    SockRef::from(&stream).set_nonblocking(false).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut octets = [0; 64];
    match stream.read(&mut octets) {
        Ok(count) => octets.get(..count).map(<[u8]>::to_vec),
        Err(error) => {
            assert!(matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut
            ));
            None
        }
    }
}

#[test]
fn data_from_afar_is_not_read_though_the_syn_came_from_near() {
    run(async {
        for address in [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv6Addr::LOCALHOST.into(),
        ] {
            let length = if address.is_ipv4() { 8 } else { 127 };
            let host = (KeyScope::host(address), 255);
            let range = KeyScope { address, length };
            let other: IpAddr = if address.is_ipv4() {
                [10, 0, 0, 9].into()
            } else {
                "fd00::9".parse().unwrap()
            };
            let word = Some(b"a word".to_vec());
            let cases = [
                (vec![host], NEAR, NEAR, word.clone()),
                (vec![host], NEAR, FAR, None),
                // The SYN from afar is answered, so that there is somebody to refuse.
                (vec![host], FAR, FAR, None),
                (vec![(KeyScope::host(other), 255)], FAR, FAR, word.clone()),
                (vec![(range, 255)], NEAR, FAR, None),
                // The narrowest decides.
                (
                    vec![(range, 255), (KeyScope::host(address), 0)],
                    FAR,
                    FAR,
                    word.clone(),
                ),
                (vec![(range, 0), host], NEAR, FAR, None),
                (
                    vec![(KeyScope::host(other), 0), (range, 64)],
                    NEAR,
                    FAR,
                    word.clone(),
                ),
                (Vec::new(), FAR, FAR, word.clone()),
            ];
            for (rules, syn, data, expected) in cases {
                let what = format!("{rules:?} {syn} {data}");
                assert_eq!(heard(rules, address, syn, data).await, expected, "{what}");
            }
        }
    });
}
