//! Passwords and GTSM in the kernel: two transports on loopback, both families.

use std::net::{IpAddr, SocketAddr};

use dunlin::net::Secret;
use dunlin::session::{ConnectionId, DialError};
use dunlin::transport::{Endpoint, KeyScope, Keys, Listener, Signing, SocketOptions, has_tcp_ao};

use crate::transport_rig::{Rig as Turned, Told, keepalive, run};

const DIALLED: ConnectionId = ConnectionId(1);
const ACCEPTED: ConnectionId = ConnectionId(2);
/// Who dials, and who listens.
const ENDS: [(&str, &str); 2] = [("127.0.0.1", "127.0.0.2"), ("::1", "::1")];

fn md5(text: &str) -> Signing {
    Signing::Md5(Secret::new(text.as_bytes().to_vec()))
}

fn keys(peer: IpAddr, signing: Option<Signing>) -> Keys {
    let key = signing.map(|signing| (KeyScope::host(peer), signing));
    key.into_iter().collect()
}

/// A listener and a dialler on one transport.
struct Rig {
    dialler: IpAddr,
    listener: Listener,
    turned: Turned,
}

impl Rig {
    fn new((dialler, listening): (&str, &str), signing: Option<Signing>) -> Self {
        let dialler = dialler.parse().unwrap();
        let turned = Turned::new();
        let address = SocketAddr::new(listening.parse().unwrap(), 0);
        let keys = keys(dialler, signing);
        Self {
            dialler,
            listener: Listener::bind(address, &keys, turned.sender.clone()).unwrap(),
            turned,
        }
    }

    fn dial(&mut self, options: SocketOptions) {
        let endpoint = Endpoint {
            remote: self.listener.address(),
            source: Some(self.dialler),
            options,
            max_message: 4096,
        };
        self.turned.transport.dial(DIALLED, &endpoint);
    }

    fn dial_signed(&mut self, signing: Option<Signing>) {
        self.dial(SocketOptions {
            signing,
            ..SocketOptions::default()
        });
    }

    async fn next(&mut self) -> Told {
        self.turned.next().await
    }

    /// Serves the connection that comes next, whatever else happens meanwhile.
    async fn accept(&mut self, options: SocketOptions) -> std::io::Result<()> {
        loop {
            if let Told::Accepted(accepted) = self.next().await {
                let endpoint = Endpoint {
                    remote: accepted.remote,
                    source: None,
                    options: SocketOptions {
                        called_with: accepted.ttl,
                        ..options
                    },
                    max_message: 4096,
                };
                let transport = &mut self.turned.transport;
                return transport.adopt(ACCEPTED, accepted.stream, &endpoint);
            }
        }
    }

    async fn accept_signed(&mut self, signing: Option<Signing>) {
        let options = SocketOptions {
            signing,
            ..SocketOptions::default()
        };
        self.accept(options).await.unwrap();
    }

    /// Sends on one connection and waits until it has come out of the other.
    async fn passes(&mut self, from: ConnectionId, to: ConnectionId) {
        self.turned.transport.send(from, keepalive());
        self.comes_out_of(to).await;
    }

    async fn comes_out_of(&mut self, to: ConnectionId) {
        loop {
            match self.next().await {
                Told::Received(connection, octets) if connection == to => {
                    assert_eq!(octets, keepalive());
                    return;
                }
                Told::Closed(connection, error) => {
                    panic!("connection {connection} closed: {error:?}")
                }
                _other => {}
            }
        }
    }
}

#[test]
fn the_same_password_on_both_ends_connects() {
    run(async {
        for ends in ENDS {
            let mut rig = Rig::new(ends, Some(md5("s3cret")));
            rig.dial_signed(Some(md5("s3cret")));
            rig.accept_signed(Some(md5("s3cret"))).await;
            rig.passes(DIALLED, ACCEPTED).await;
            rig.passes(ACCEPTED, DIALLED).await;
        }
    });
}

/// Nobody is told that a password is wrong: the kernel is silent, and the dial runs out.
#[test]
fn another_password_or_none_does_not_connect() {
    let cases = [
        (Some("s3cret"), Some("secret")),
        (Some("s3cret"), None),
        (None, Some("s3cret")),
    ];
    run(async {
        let mut rigs: Vec<Rig> = cases
            .iter()
            .map(|(listens, dials)| {
                let mut rig = Rig::new(ENDS[0], listens.map(md5));
                rig.dial_signed(dials.map(md5));
                rig
            })
            .collect();
        for (rig, case) in rigs.iter_mut().zip(cases) {
            let event = rig.next().await;
            let timed_out = matches!(event, Told::DialFailed(_, DialError::TimedOut));
            assert!(timed_out, "{case:?}: {event:?}");
        }
    });
}

#[test]
fn a_password_changes_while_octets_are_under_way_and_none_is_lost() {
    run(async {
        for ends in ENDS {
            let mut rig = Rig::new(ends, Some(md5("old")));
            rig.dial_signed(Some(md5("old")));
            rig.accept_signed(Some(md5("old"))).await;
            rig.passes(DIALLED, ACCEPTED).await;
            // One end is first, and what it sends before the other follows has to be sent again.
            rig.turned.transport.sign(DIALLED, &md5("new"));
            rig.turned.transport.send(DIALLED, keepalive());
            while !matches!(rig.next().await, Told::Sent(..)) {}
            rig.turned.transport.sign(ACCEPTED, &md5("new"));
            rig.comes_out_of(ACCEPTED).await;
            rig.passes(ACCEPTED, DIALLED).await;
        }
    });
}

#[test]
fn the_listener_follows_changed_keys() {
    run(async {
        let mut rig = Rig::new(ENDS[0], Some(md5("old")));
        let dialler = rig.dialler;
        for signing in [Some(md5("new")), None, Some(md5("again"))] {
            assert_eq!(rig.listener.set_keys(&keys(dialler, signing.clone())), 0);
            rig.dial_signed(signing.clone());
            rig.accept_signed(signing).await;
            rig.passes(DIALLED, ACCEPTED).await;
            rig.turned.transport.abort(DIALLED);
            rig.turned.transport.abort(ACCEPTED);
        }
    });
}

/// A range of addresses has one password (dynamic neighbours), and the accepted connection has it, too.
#[test]
fn a_range_has_a_password() {
    run(async {
        let mut rig = Rig::new(ENDS[0], None);
        let range = KeyScope {
            address: "127.0.0.0".parse().unwrap(),
            length: 24,
        };
        let keys = [(range, md5("range"))].into_iter().collect();
        assert_eq!(rig.listener.set_keys(&keys), 0);
        rig.dial_signed(Some(md5("range")));
        rig.accept_signed(Some(md5("range"))).await;
        rig.passes(DIALLED, ACCEPTED).await;
        rig.passes(ACCEPTED, DIALLED).await;
    });
}

#[test]
fn gtsm_refuses_who_called_from_afar_and_takes_a_neighbour() {
    let secured = SocketOptions {
        ttl: Some(255),
        min_ttl: Some(255),
        ..SocketOptions::default()
    };
    run(async {
        for ends in ENDS {
            let mut rig = Rig::new(ends, None);
            rig.dial(SocketOptions {
                ttl: Some(254),
                ..SocketOptions::default()
            });
            let refused = rig.accept(secured.clone()).await.unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
            assert!(refused.to_string().contains("TTL 254"), "{refused}");
            rig.turned.transport.abort(DIALLED);

            // The SYN-ACK has to have 255, too, or a dialler with GTSM never sees it.
            rig.dial(secured.clone());
            rig.accept(secured.clone()).await.unwrap();
            rig.passes(DIALLED, ACCEPTED).await;
            rig.passes(ACCEPTED, DIALLED).await;
        }
    });
}

#[test]
fn a_kernel_with_or_without_tcp_ao_is_told_apart() {
    let config = std::fs::read("/proc/config.gz").is_ok();
    let has = has_tcp_ao().unwrap();
    println!("this kernel has TCP-AO: {has}; its configuration can be read: {config}");
    run(async {
        let key = Signing::Ao {
            id: 1,
            algorithm: dunlin::transport::AoMac::HmacSha1,
            secret: Secret::new(b"key".to_vec()),
        };
        let mut rig = Rig::new(ENDS[0], None);
        let dialler = rig.dialler;
        let failed = rig.listener.set_keys(&keys(dialler, Some(key.clone())));
        assert_eq!(failed, usize::from(!has));
        rig.dial_signed(Some(key.clone()));
        if has {
            rig.accept_signed(Some(key)).await;
            rig.passes(DIALLED, ACCEPTED).await;
            return;
        }
        let event = rig.next().await;
        let Told::DialFailed(_, error) = event else {
            panic!("{event:?}");
        };
        assert!(error.to_string().contains("this kernel has no TCP-AO"));
    });
}
