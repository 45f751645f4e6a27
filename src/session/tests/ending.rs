//! Silence, DISCONNECT, and what becomes of the will.

use std::time::Duration;

use super::peer::{Peer, opening};
use super::wire::{Connect, Will, packet, properties, publish};
use crate::codec::{QoS, ReasonCode};
use crate::session::{Goodbye, LABELS, Settings};

fn with_will() -> Connect {
    Connect::new("c").will(Will::default())
}

fn disconnect(reason: u8, expiry_s: Option<u32>) -> Vec<u8> {
    let mut body = vec![reason];
    if let Some(seconds) = expiry_s {
        let block = [&[0x11][..], &seconds.to_be_bytes()].concat();
        body.extend(properties(&block));
    }
    packet(0xE0, &body)
}

#[test]
fn mqtt_3_1_2_22_silence_for_one_and_a_half_times_the_keep_alive_ends_the_connection() {
    let mut peer = Peer::connected(&Connect::new("c").keep_alive(10));
    let start = peer.now;
    let deadline = start + Duration::from_secs(15);
    assert_eq!(peer.connection.deadline(), Some(deadline));
    assert!(
        !peer
            .connection
            .is_silent(peer.now + Duration::from_millis(14_999))
    );
    assert!(peer.connection.is_silent(deadline));
    // Every packet counts, not PINGREQ alone; what we send does not.
    peer.wait(Duration::from_secs(14));
    peer.send(&publish(0, "a", None, Some(&[]), "x"));
    peer.deliver_all(QoS::AtMostOnce, "a", &["x"]);
    let later = start + Duration::from_secs(14 + 15);
    assert_eq!(peer.connection.deadline(), Some(later));
    peer.wait(Duration::from_secs(5));
    peer.deliver_all(QoS::AtMostOnce, "a", &["x"]);
    assert_eq!(peer.connection.deadline(), Some(later));
}

#[test]
fn keep_alive_0_is_no_limit() {
    let peer = Peer::connected(&Connect::new("c"));
    assert_eq!(peer.connection.deadline(), None);
    assert!(
        !peer
            .connection
            .is_silent(peer.now + Duration::from_secs(1 << 20))
    );
}

#[test]
fn mqtt_3_2_2_21_the_keep_alive_that_was_told_is_the_one_that_is_enforced() {
    let settings = Settings {
        max_keep_alive_s: 5,
        ..Settings::default()
    };
    for asked in [0, 1_000] {
        let connect = Connect::new("c").keep_alive(asked);
        let peer = Peer::with(&connect, settings.clone());
        let deadline = peer.now + Duration::from_millis(7_500);
        assert_eq!(peer.connection.deadline(), Some(deadline));
    }
}

#[test]
fn mqtt_3_14_4_3_a_normal_disconnect_drops_the_will_and_any_other_code_keeps_it() {
    for (reason, kept) in [(0x00, false), (0x04, true), (0x80, true), (0x93, true)] {
        let mut peer = Peer::connected(&with_will());
        peer.send(&disconnect(reason, None));
        assert_eq!(peer.left, Some((ReasonCode(reason), kept)));
        let (_, will) = peer.broken();
        assert_eq!(will.is_some(), kept, "0x{reason:02X}");
    }
}

#[test]
fn disconnect_of_3_x_drops_the_will_and_a_broken_connection_keeps_it() {
    for level in [3, 4] {
        let connect = with_will().level(level);
        let mut peer = Peer::connected(&connect);
        peer.send(&[0xE0, 0]);
        assert_eq!(peer.left, Some((ReasonCode::SUCCESS, false)));
        assert!(peer.broken().1.is_none());
        assert!(Peer::connected(&connect).broken().1.is_some());
    }
}

#[test]
fn a_protocol_error_keeps_the_will() {
    let mut peer = Peer::connected(&with_will());
    peer.refused(&with_will().bytes());
    assert!(peer.broken().1.is_some());
}

#[test]
fn a_will_is_kept_as_it_stands_in_connect() {
    let block = [
        &[0x18, 0, 0, 0, 30][..],
        &[0x26, 0, 1, b'k', 0, 1, b'2'],
        &[0x02, 0, 0, 0, 9],
        &[0x01, 1],
        &[0x26, 0, 1, b'k', 0, 1, b'1'],
    ]
    .concat();
    let connect = Connect::new("c").will(Will {
        qos: 2,
        retain: true,
        properties: block,
    });
    let will = opening(&connect, &Settings::default())
        .will
        .expect("a will");
    assert_eq!((&*will.topic, &*will.payload), ("w", &b"gone"[..]));
    assert_eq!((will.qos, will.retain), (QoS::ExactlyOnce, true));
    assert_eq!((will.delay_s, will.expiry_interval_s), (30, Some(9)));
    // What is forwarded, in its order [MQTT-3.1.3-10]; delay and expiry are not part of it.
    let forwarded = [
        &[0x26, 0, 1, b'k', 0, 1, b'2'][..],
        &[0x01, 1],
        &[0x26, 0, 1, b'k', 0, 1, b'1'],
    ]
    .concat();
    assert_eq!(*will.properties, *forwarded);
}

#[test]
fn disconnect_may_change_how_long_the_session_is_kept() {
    for (from, to, kept) in [(60, 10, 10), (60, 0, 0), (60, 90, 90), (0, 0, 0)] {
        let mut peer = Peer::connected(&Connect::new("c").expiry(from));
        peer.send(&disconnect(0, Some(to)));
        let (state, _) = peer.broken();
        assert_eq!(state.expiry_interval_s, kept, "{from} to {to}");
        assert_eq!(state.outlives_connection(), kept > 0);
    }
    let settings = Settings {
        max_session_expiry_s: 100,
        ..Settings::default()
    };
    let mut peer = Peer::with(&Connect::new("c").expiry(60), settings);
    peer.send(&disconnect(0, Some(u32::MAX)));
    assert_eq!(peer.broken().0.expiry_interval_s, 100);
}

#[test]
fn a_session_that_was_to_end_with_its_connection_cannot_be_kept_by_disconnect() {
    let mut peer = Peer::connected(&with_will());
    let error = peer.refused(&disconnect(0, Some(1)));
    assert_eq!(error, (0x82, "session_expiry_from_zero"));
    let (state, will) = peer.broken();
    assert!(!state.outlives_connection());
    assert!(will.is_some(), "it was no DISCONNECT that could be obeyed");
}

#[test]
fn only_5_0_is_told_why_its_connection_ends() {
    for (level, expected) in [(5, &["DISCONNECT 0x8E"][..]), (4, &[]), (3, &[])] {
        let peer = Peer::connected(&Connect::new("c").level(level));
        let mut out = Vec::new();
        peer.connection
            .goodbye(&Goodbye::new(ReasonCode::SESSION_TAKEN_OVER), &mut out);
        assert_eq!(super::wire::lines(&out, level == 5), expected);
    }
}

/// Each of these is seen to end a connection by a test; the labels of the decoder are its own. A
/// label that the metric does not know would be counted nowhere.
#[test]
fn every_label_is_known_to_the_metric_and_none_is_there_that_nothing_gives() {
    let mut labels = LABELS.to_vec();
    let mut reached = [
        "second_connect",
        "receive_maximum_exceeded",
        "topic_alias_invalid",
        "topic_alias_unknown",
        "qos_not_supported",
        "retain_not_supported",
        "session_expiry_from_zero",
        "ack_out_of_state",
        "auth_not_expected",
        "auth_method_changed",
        "shared_no_local",
        "wildcard_subscriptions_off",
        "shared_subscriptions_off",
        "subscription_identifiers_off",
        "answer_too_large",
    ];
    labels.sort_unstable();
    reached.sort_unstable();
    assert_eq!(labels, reached);
}
