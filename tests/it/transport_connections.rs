//! Connections of the transport against plain sockets on loopback.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use dunlin::session::{ConnectionId, DialError};
use dunlin::transport::{Listener, refuse};
use dunlin::wire::error::HeaderError;
use dunlin::wire::frame;
use dunlin::wire::notification::Notification;
use socket2::SockRef;

use crate::transport_rig::{Rig, Told, endpoint, keepalive, run};

const US: ConnectionId = ConnectionId(1);
const OTHER: ConnectionId = ConnectionId(2);
const DEADLINE: Duration = Duration::from_secs(30);
const BLOCK: usize = 64 * 1024;
/// More than the sockets of both ends hold, by far.
const BLOCKS: usize = 512;

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Connects and returns the peer's end.
async fn connect(rig: &mut Rig, id: ConnectionId) -> TcpStream {
    let (listener, address) = listener();
    rig.transport.dial(id, &endpoint(address));
    let event = rig.next().await;
    assert!(
        matches!(event, Told::Connected(which) if which == id),
        "{event:?}"
    );
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn cease() -> Vec<u8> {
    Notification::new(6, 2, Vec::new()).encode().to_vec()
}

/// The octet at a place of a stream.
fn octet(place: usize) -> u8 {
    u8::try_from(place % 251).unwrap()
}

fn queue_blocks(rig: &mut Rig) {
    for block in 0..BLOCKS {
        let octets: Vec<u8> = (0..BLOCK).map(|at| octet(block * BLOCK + at)).collect();
        rig.transport.send(US, octets.into());
    }
}

/// Octets told to have left.
fn sent(told: &[Told]) -> usize {
    let sent = told.iter().map(|event| match event {
        Told::Sent(US, octets) => *octets,
        other => panic!("{other:?}"),
    });
    sent.sum()
}

/// Reads to the end in a thread; what came, and whether the end was an orderly one.
fn reads_to_the_end(mut peer: TcpStream) -> std::thread::JoinHandle<(Vec<u8>, bool)> {
    std::thread::spawn(move || {
        let mut octets = Vec::new();
        let orderly = peer.read_to_end(&mut octets).is_ok();
        (octets, orderly)
    })
}

fn is_the_pattern(octets: &[u8]) -> bool {
    let mut numbered = octets.iter().enumerate();
    numbered.all(|(place, got)| *got == octet(place))
}

#[test]
fn what_a_slow_reader_does_not_take_waits_and_every_octet_is_accounted_for() {
    run(async {
        let mut rig = Rig::new();
        let mut peer = connect(&mut rig, US).await;
        queue_blocks(&mut rig);
        while rig.transmit() {}
        let at_first = sent(&rig.told());
        assert!(at_first > 0 && at_first < BLOCKS * BLOCK, "{at_first}");
        // Nobody tries again before there is room.
        rig.transport.send(US, keepalive());
        assert!(!rig.transmit());
        let reader = std::thread::spawn(move || {
            let mut octets = vec![0; BLOCKS * BLOCK + frame::HEADER_LEN];
            peer.read_exact(&mut octets).unwrap();
            (octets, peer)
        });
        let mut total = at_first;
        while total < BLOCKS * BLOCK + frame::HEADER_LEN {
            rig.turn().await;
            total += sent(&rig.told());
        }
        let (octets, _peer) = reader.join().unwrap();
        assert!(is_the_pattern(&octets[..BLOCKS * BLOCK]));
        assert_eq!(octets[BLOCKS * BLOCK..], keepalive());
        assert_eq!(total, octets.len());
    });
}

#[test]
fn many_small_messages_leave_together_and_in_order() {
    run(async {
        let mut rig = Rig::new();
        let mut peer = connect(&mut rig, US).await;
        let all: Vec<u8> = (0..5_000).map(octet).collect();
        for octet in &all {
            rig.transport.send(US, Bytes::copy_from_slice(&[*octet]));
        }
        rig.transmit();
        let told = rig.told();
        assert_eq!((told.len(), sent(&told)), (1, all.len()));
        let mut got = vec![0; all.len()];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(got, all);
    });
}

#[test]
fn a_message_that_comes_octet_by_octet_is_one_message() {
    run(async {
        let mut rig = Rig::new();
        let mut peer = connect(&mut rig, US).await;
        let octets = [&frame::KEEPALIVE[..], &cease(), &frame::KEEPALIVE].concat();
        let mut got = Vec::new();
        for octet in &octets {
            peer.write_all(&[*octet]).unwrap();
            rig.turn().await;
            for event in rig.told() {
                let Told::Received(US, messages) = event else {
                    panic!("{event:?}")
                };
                assert!(frame::messages(&messages).next().is_some());
                got.extend(messages);
            }
        }
        assert_eq!(got, octets);
    });
}

#[test]
fn a_notification_is_heard_before_the_end_that_follows_it() {
    run(async {
        let mut rig = Rig::new();
        let mut peer = connect(&mut rig, US).await;
        peer.write_all(&cease()).unwrap();
        drop(peer);
        let event = rig.next().await;
        assert!(
            matches!(&event, Told::Received(US, octets) if *octets == cease()),
            "{event:?}"
        );
        let event = rig.next().await;
        assert!(matches!(event, Told::Closed(US, None)), "{event:?}");
    });
}

/// The write is what notices the end, and what the peer had said is still heard.
#[test]
fn a_notification_is_heard_before_a_write_fails() {
    run(async {
        let mut rig = Rig::new();
        let mut peer = connect(&mut rig, US).await;
        peer.write_all(&cease()).unwrap();
        SockRef::from(&peer)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(peer);
        rig.transport.send(US, keepalive());
        while rig.transmit() {}
        let told = rig.told();
        let [Told::Received(US, octets), Told::Closed(US, Some(why))] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(*octets, cease());
        assert!(!why.is_empty());
    });
}

#[test]
fn an_end_in_the_middle_of_a_message_and_a_reset_have_their_words() {
    run(async {
        let mut rig = Rig::new();
        let mut peer = connect(&mut rig, US).await;
        peer.write_all(&cease()[..20]).unwrap();
        drop(peer);
        let Told::Closed(US, Some(why)) = rig.next().await else {
            panic!()
        };
        assert_eq!(why, "closed in the middle of a message");

        let peer = connect(&mut rig, OTHER).await;
        refuse(peer);
        let Told::Closed(OTHER, Some(why)) = rig.next().await else {
            panic!()
        };
        assert_eq!(why, "connection reset by the peer");
    });
}

#[test]
fn nothing_behind_a_bad_header_is_heard_and_a_last_word_may_leave() {
    run(async {
        let mut rig = Rig::new();
        let mut peer = connect(&mut rig, US).await;
        let bad = [&[0; 19][..], &frame::KEEPALIVE].concat();
        peer.write_all(&[&frame::KEEPALIVE, &bad[..]].concat())
            .unwrap();
        let event = rig.next().await;
        assert!(
            matches!(&event, Told::Received(US, octets) if *octets == frame::KEEPALIVE),
            "{event:?}"
        );
        let event = rig.next().await;
        let marker = matches!(event, Told::BadHeader(US, HeaderError::Marker));
        assert!(marker, "{event:?}");
        peer.write_all(&frame::KEEPALIVE).unwrap();
        rig.receive();
        rig.transport.send(US, cease().into());
        rig.transport.close(US);
        while rig.transmit() {}
        let told = rig.told();
        assert!(told.is_empty(), "{told:?}");
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        assert_eq!(got, cease());
    });
}

#[test]
fn a_close_lets_all_leave_that_is_queued_even_if_the_peer_still_sends() {
    run(async {
        let mut rig = Rig::new();
        let mut peer = connect(&mut rig, US).await;
        queue_blocks(&mut rig);
        rig.transport.close(US);
        // Too late.
        rig.transport.send(US, keepalive());
        rig.transmit();
        let mut writer = peer.try_clone().unwrap();
        let reader = reads_to_the_end(peer.try_clone().unwrap());
        peer.write_all(&frame::KEEPALIVE).unwrap();
        while !reader.is_finished() {
            // The peer has more to say; in the end it is too late for that.
            let _late = writer.write(&frame::KEEPALIVE);
            rig.transmit();
            rig.receive();
            tokio::task::yield_now().await;
        }
        let (octets, orderly) = reader.join().unwrap();
        assert!(orderly && octets.len() == BLOCKS * BLOCK && is_the_pattern(&octets));
        let told = rig.told();
        assert!(told.is_empty(), "nothing is told of it any more: {told:?}");
    });
}

/// The only thing that can happen to it is that its time is over.
#[test]
fn a_closed_connection_does_not_wait_for_ever_for_a_peer_that_does_not_read() {
    run(async {
        let mut rig = Rig::new();
        let mut peer = connect(&mut rig, US).await;
        queue_blocks(&mut rig);
        rig.transport.close(US);
        while rig.transport.connections() > 0 {
            rig.turn().await;
        }
        let mut octets = Vec::new();
        let _end_or_reset = peer.read_to_end(&mut octets);
        assert!(octets.len() < BLOCKS * BLOCK);
        assert!(rig.told().is_empty());
    });
}

#[test]
fn an_aborted_connection_tells_nothing_more() {
    run(async {
        let mut rig = Rig::new();
        let mut peer = connect(&mut rig, US).await;
        peer.write_all(&frame::KEEPALIVE).unwrap();
        rig.transport.send(US, keepalive());
        rig.transport.abort(US);
        rig.transport.send(US, keepalive());
        while rig.transmit() {}
        rig.receive();
        assert!(rig.told().is_empty());
        let mut got = Vec::new();
        // What it had not read makes the end a reset.
        let error = peer.read_to_end(&mut got).unwrap_err();
        assert_eq!((error.kind(), got.len()), (ErrorKind::ConnectionReset, 0));
    });
}

/// Counted in turns: whoever sends without end is read from once, like everybody else.
#[test]
fn one_that_sends_without_end_does_not_delay_another() {
    run(async {
        let mut rig = Rig::new();
        let mut firehose = connect(&mut rig, US).await;
        let mut other = connect(&mut rig, OTHER).await;
        firehose.set_nonblocking(true).unwrap();
        let flood = frame::KEEPALIVE.repeat(4096);
        let mut fill = || {
            // Not a whole one at its end, which does not matter to what is looked at here.
            let mut poured = 0;
            while let Ok(octets) = firehose.write(&flood[poured % 19..]) {
                poured += octets;
            }
            poured
        };
        assert!(fill() > 300_000, "more than one turn's worth");
        for _turn in 0..5 {
            other.write_all(&frame::KEEPALIVE).unwrap();
            rig.receive();
            let mut heard = [0; 2];
            for event in rig.told() {
                match event {
                    Told::Received(US, octets) => heard[0] += octets.len(),
                    Told::Received(OTHER, octets) => heard[1] += octets.len(),
                    other => panic!("{other:?}"),
                }
            }
            assert!((1..=2 * BLOCK).contains(&heard[0]), "{heard:?}");
            assert_eq!(heard[1], frame::HEADER_LEN);
            fill();
        }
    });
}

#[test]
fn what_one_turn_did_not_read_is_read_without_anything_new() {
    run(async {
        let mut rig = Rig::new();
        let mut peer = connect(&mut rig, US).await;
        peer.set_nonblocking(true).unwrap();
        let mut poured = 0;
        // At most what fits: nobody reads meanwhile.
        let flood = frame::KEEPALIVE.repeat(4096);
        while let Ok(octets) = peer.write(&flood[poured % 19..]) {
            poured += octets;
        }
        let mut heard = 0;
        while heard < poured - poured % 19 {
            rig.turn().await;
            for event in rig.told() {
                let Told::Received(US, octets) = event else {
                    panic!("{event:?}")
                };
                heard += octets.len();
            }
        }
    });
}

#[test]
fn a_dial_to_nobody_is_refused() {
    run(async {
        let mut rig = Rig::new();
        let (listener, address) = listener();
        drop(listener);
        rig.transport.dial(US, &endpoint(address));
        let event = rig.next().await;
        let refused = matches!(event, Told::DialFailed(US, DialError::Refused));
        assert!(refused, "{event:?}");
        // From an address that is not ours it does not even begin.
        let mut nowhere = endpoint(address);
        nowhere.source = Some(Ipv4Addr::new(203, 0, 113, 1).into());
        rig.transport.dial(OTHER, &nowhere);
        let event = rig.next().await;
        let failed = matches!(event, Told::DialFailed(OTHER, DialError::NotOurs(_)));
        assert!(failed, "{event:?}");
        rig.receive();
        assert!(rig.told().is_empty());
    });
}

#[test]
fn a_crowd_that_calls_at_once_is_let_in_and_heard() {
    const CROWD: u64 = 32;
    run(async {
        let mut rig = Rig::new();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = Listener::bind(address, &Default::default(), rig.sender.clone()).unwrap();
        for id in 0..CROWD {
            let endpoint = endpoint(listener.address());
            rig.transport.dial(ConnectionId(id), &endpoint);
        }
        let (mut accepted, mut heard) = (0, 0);
        while heard < CROWD {
            match rig.next().await {
                Told::Connected(id) => rig.transport.send(id, keepalive()),
                Told::Accepted(one) => {
                    let id = ConnectionId(CROWD + accepted);
                    let endpoint = endpoint(one.remote);
                    rig.transport.adopt(id, one.stream, &endpoint).unwrap();
                    accepted += 1;
                }
                Told::Received(id, octets) => {
                    assert!(id.0 >= CROWD);
                    assert_eq!(octets, keepalive());
                    heard += 1;
                }
                Told::Sent(..) => {}
                other => panic!("{other:?}"),
            }
        }
    });
}

/// The first that is told of and was asked for.
async fn first(rig: &mut Rig, wanted: impl Fn(&Told) -> bool) -> Told {
    loop {
        let told = rig.next().await;
        if wanted(&told) {
            return told;
        }
    }
}

#[test]
fn a_probe_is_answered_by_the_far_host_whoever_dialled() {
    run(async {
        let mut rig = Rig::new();
        let dialled = connect(&mut rig, US).await;
        let (listener, address) = listener();
        let far = TcpStream::connect(address).unwrap();
        let (near, from) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        let adopted = rig.transport.adopt(OTHER, near, &endpoint(from));
        adopted.unwrap();
        for id in [US, OTHER] {
            rig.transport.send(id, keepalive());
            rig.transport.probe(id);
            let told = first(&mut rig, |told| !matches!(told, Told::Sent(..))).await;
            let Told::Acknowledged(which) = told else {
                panic!("{told:?}");
            };
            assert_eq!(which, id);
        }
        drop((dialled, far));
    });
}

#[test]
fn a_probe_is_not_answered_by_who_takes_nothing_or_has_closed() {
    run(async {
        let mut rig = Rig::new();
        let peer = connect(&mut rig, US).await;
        queue_blocks(&mut rig);
        rig.transport.probe(US);
        for _ in 0..40 {
            while rig.transmit() {}
            rig.receive();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let acknowledged = |told: &Told| matches!(told, Told::Acknowledged(_));
        assert!(!rig.told().iter().any(acknowledged));
        drop(peer);
        rig.transport.probe(US);
        let told = first(&mut rig, |told| !matches!(told, Told::Sent(..))).await;
        assert!(matches!(told, Told::Closed(US, _)), "{told:?}");
    });
}
