//! The words for each way to end, against a list that people have read.
//!
//! `UPDATE_GOLDEN=1 cargo test --test it session_words` rewrites it.

use std::fmt::Write as _;

use dunlin::net::{Asn, Family};
use dunlin::session::negotiate::NegotiateError;
use dunlin::session::{AdminReason, CloseReason, DialError, Fault, FsmFault, FsmPhase, Role};
use dunlin::wire::capability::Capability;
use dunlin::wire::error::{HeaderError, OpenError};
use dunlin::wire::frame::MessageKind;
use dunlin::wire::notification::Notification;

use crate::session_harness::{EXCEEDED, config};

fn faults() -> Vec<Fault> {
    let (expected, received) = (Asn(64513), Asn(64600));
    vec![
        Fault::Header(HeaderError::Marker),
        Fault::Header(HeaderError::Length(5000)),
        Fault::Open(OpenError::Version(3)),
        Fault::Open(OpenError::AsZero),
        Fault::Open(OpenError::RouterIdZero),
        Fault::Open(OpenError::HoldTime(2)),
        Fault::Open(OpenError::Parameter(9)),
        Fault::Refused(NegotiateError::UnexpectedAs { expected, received }),
        Fault::Refused(NegotiateError::SameRouterId(config().router_id)),
        Fault::Refused(NegotiateError::HoldTimeTooShort {
            received: 9,
            least: 30,
        }),
        Fault::Refused(NegotiateError::MissingCapability(
            Capability::ExtendedMessage,
        )),
        Fault::Refused(NegotiateError::MissingCapability(
            Capability::Multiprotocol(Family::Ipv6.afi_safi()),
        )),
        Fault::Refused(NegotiateError::NoCommonFamily(Some(Family::Ipv6))),
        Fault::Refused(NegotiateError::RoleMismatch {
            ours: Role::Customer,
            theirs: None,
        }),
        Fault::Refused(NegotiateError::RoleMissing),
        Fault::Fsm(FsmFault {
            kind: MessageKind::Update,
            phase: FsmPhase::OpenSent,
        }),
        Fault::Fsm(FsmFault {
            kind: MessageKind::Open,
            phase: FsmPhase::OpenConfirm,
        }),
        Fault::Fsm(FsmFault {
            kind: MessageKind::Open,
            phase: FsmPhase::Established,
        }),
        Fault::Update(Notification::new(3, 1, Vec::new())),
    ]
}

fn sent() -> Vec<CloseReason> {
    let ended = |fault: Fault| CloseReason::SentNotification {
        notification: fault.notification(),
        fault,
    };
    faults().into_iter().map(ended).collect()
}

fn received() -> Vec<CloseReason> {
    let codes = [
        (1, 1),
        (2, 1),
        (2, 2),
        (2, 3),
        (2, 4),
        (2, 6),
        (2, 7),
        (2, 11),
        (3, 5),
        (4, 0),
        (5, 1),
        (6, 1),
        (6, 2),
        (6, 3),
        (6, 4),
        (6, 5),
        (6, 6),
        (6, 7),
        (6, 8),
        (6, 10),
        (7, 1),
        (8, 0),
        (99, 1),
    ];
    let plain = codes.map(|(code, subcode)| Notification::new(code, subcode, Vec::new()));
    let said = [
        Notification::administrative_shutdown("disk swap, back at 5"),
        Notification::administrative_shutdown("\u{1b}[31mred"),
        Notification::cease(3).into_hard_reset(),
    ];
    let all = plain.into_iter().chain(said);
    all.map(CloseReason::ReceivedNotification).collect()
}

fn reasons() -> Vec<CloseReason> {
    let dialled = [
        DialError::Refused,
        DialError::Unreachable,
        DialError::TimedOut,
        DialError::NotOurs("192.0.2.1".parse().unwrap()),
        DialError::Other("Operation not permitted".into()),
    ];
    let rest = [
        CloseReason::HoldTimerExpired,
        CloseReason::NoOpen,
        CloseReason::SendHoldTimerExpired,
        CloseReason::Collision,
        CloseReason::FarEndDown,
        CloseReason::TransportLost(None),
        CloseReason::TransportLost(Some("Connection reset by peer".into())),
        CloseReason::Admin(AdminReason::Shutdown(String::new())),
        CloseReason::Admin(AdminReason::Shutdown("disk swap".into())),
        CloseReason::Admin(AdminReason::Deconfigured),
        CloseReason::Admin(AdminReason::Reset),
        CloseReason::Admin(AdminReason::ConfigurationChange),
        CloseReason::Admin(AdminReason::PrefixLimit(EXCEEDED)),
        CloseReason::Admin(AdminReason::Restarting),
    ];
    let dialled = dialled.into_iter().map(CloseReason::DialFailed);
    let told = sent().into_iter().chain(received());
    told.chain(dialled).chain(rest).collect()
}

#[test]
fn each_end_is_told_in_the_reviewed_words() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/proto-fixtures/session/explanations.txt"
    );
    let mut text = String::from("The short form of each end of a session, then the full one.\n");
    for reason in reasons() {
        let full = reason.explain(&config()).to_string();
        assert!(!full.chars().any(char::is_control), "{full:?}");
        writeln!(text, "\n{reason}\n  {full}").unwrap();
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap());
}
