//! Server to client: Packet Identifiers, the window, expiry, and what does not fit.

use std::sync::Arc;
use std::time::Duration;

use super::peer::{Peer, delivery, message};
use super::wire::{Connect, PUBACK, PUBCOMP, PUBREC, ack};
use crate::codec::QoS;
use crate::message::{Delivery, Message};
use crate::session::{Delivered, SessionState, Settings};

const Q0: QoS = QoS::AtMostOnce;
const Q1: QoS = QoS::AtLeastOnce;
const Q2: QoS = QoS::ExactlyOnce;

fn windowed(count: u16) -> Peer {
    Peer::connected(&Connect::new("c").receive_maximum(count))
}

fn expiring(peer: &Peer, seconds: u32, qos: QoS) -> Delivery {
    Delivery {
        message: Arc::new(Message {
            expires_at: Message::expiry(seconds, peer.now),
            ..message(qos, "a", "x")
        }),
        ..delivery(qos, "a", "x")
    }
}

#[test]
fn mqtt_4_3_1_1_and_4_3_2_2_and_4_3_3_2_each_qos_is_sent_first_without_dup_and_with_an_identifier_of_its_own()
 {
    let mut peer = windowed(9);
    for qos in [Q0, Q1, Q2, Q1] {
        peer.deliver_all(qos, "a", &["x"]);
    }
    assert_eq!(
        peer.sent(),
        [
            r#"PUBLISH q0 "a" x"#,
            r#"PUBLISH q1 #1 "a" x"#,
            r#"PUBLISH q2 #2 "a" x"#,
            r#"PUBLISH q1 #3 "a" x"#,
        ]
    );
}

#[test]
fn mqtt_4_3_3_4_a_qos_2_message_goes_through_its_four_packets_and_holds_its_place_till_the_last() {
    let mut peer = windowed(1);
    peer.deliver_all(Q2, "a", &["one", "two"]);
    assert_eq!(peer.sent(), [r#"PUBLISH q2 #1 "a" one"#]);
    peer.send(&ack(PUBREC, 1, None));
    assert_eq!(peer.sent(), ["PUBREL #1"]);
    peer.send(&ack(PUBCOMP, 1, None));
    assert_eq!(peer.sent(), [r#"PUBLISH q2 #2 "a" two"#]);
}

#[test]
fn a_repeated_pubrec_gets_its_pubrel_again() {
    let mut peer = windowed(2);
    peer.deliver_all(Q2, "a", &["x"]);
    peer.sent();
    peer.send(&ack(PUBREC, 1, None));
    peer.send(&ack(PUBREC, 1, None));
    assert_eq!(peer.sent(), ["PUBREL #1", "PUBREL #1"]);
    assert_eq!(peer.connection.session().inflight(), 1);
}

#[test]
fn mqtt_4_4_0_2_a_refusal_by_the_client_ends_the_exchange_and_frees_the_place() {
    let mut peer = windowed(1);
    peer.deliver_all(Q2, "a", &["refused", "next", "last"]);
    peer.sent();
    peer.send(&ack(PUBREC, 1, Some(0x97)));
    // No PUBREL for what was refused [MQTT-4.3.3-4].
    assert_eq!(peer.sent(), [r#"PUBLISH q2 #2 "a" next"#]);
    peer.deliver_all(Q1, "a", &["one"]);
    peer.send(&ack(PUBREC, 2, Some(0x87)));
    assert_eq!(peer.sent(), [r#"PUBLISH q2 #3 "a" last"#]);
    peer.send(&ack(PUBREC, 3, Some(0x80)));
    assert_eq!(peer.sent(), [r#"PUBLISH q1 #4 "a" one"#]);
    peer.send(&ack(PUBACK, 4, Some(0x99)));
    assert_eq!(peer.connection.session().inflight(), 0);
}

#[test]
fn mqtt_3_3_4_9_no_more_is_open_than_the_clients_receive_maximum() {
    let mut peer = windowed(2);
    peer.deliver_all(Q1, "a", &["1", "2", "3", "4", "5"]);
    assert_eq!(
        peer.sent(),
        [r#"PUBLISH q1 #1 "a" 1"#, r#"PUBLISH q1 #2 "a" 2"#]
    );
    assert_eq!(peer.connection.held(), (3, 3 * 2));
    peer.send(&ack(PUBACK, 2, None));
    assert_eq!(peer.sent(), [r#"PUBLISH q1 #3 "a" 3"#]);
    peer.send(&ack(PUBACK, 1, None));
    peer.send(&ack(PUBACK, 3, None));
    assert_eq!(
        peer.sent(),
        [r#"PUBLISH q1 #4 "a" 4"#, r#"PUBLISH q1 #5 "a" 5"#]
    );
    assert_eq!(peer.connection.held(), (0, 0));
}

#[test]
fn mqtt_3_3_4_10_qos_0_and_other_packets_pass_a_window_that_is_full() {
    let mut peer = windowed(1);
    peer.deliver_all(Q1, "a", &["1", "2"]);
    peer.deliver_all(Q0, "a", &["zero"]);
    peer.send(&[0xC0, 0]);
    assert_eq!(
        peer.sent(),
        [
            r#"PUBLISH q1 #1 "a" 1"#,
            r#"PUBLISH q0 "a" zero"#,
            "PINGRESP"
        ]
    );
}

#[test]
fn our_own_limit_holds_where_the_client_allows_more_and_for_3_x() {
    for connect in [Connect::new("c"), Connect::new("c").level(4)] {
        let settings = Settings {
            max_inflight_messages: 2,
            ..Settings::default()
        };
        let mut peer = Peer::with(&connect, settings);
        peer.deliver_all(Q1, "a", &["1", "2", "3"]);
        assert_eq!(peer.sent().len(), 2);
        assert_eq!(peer.connection.session().waiting(), 1);
    }
}

#[test]
fn the_bytes_in_flight_are_bounded_but_one_message_always_passes() {
    let settings = Settings {
        max_inflight_bytes: 10,
        ..Settings::default()
    };
    let mut peer = Peer::with(&Connect::new("c"), settings);
    peer.deliver_all(Q1, "a", &["a payload of more than ten bytes", "2", "3"]);
    assert_eq!(peer.sent().len(), 1);
    peer.send(&ack(PUBACK, 1, None));
    assert_eq!(
        peer.sent(),
        [r#"PUBLISH q1 #2 "a" 2"#, r#"PUBLISH q1 #3 "a" 3"#]
    );
}

#[test]
fn what_waits_is_counted_with_its_topic_and_leaves_in_its_order() {
    let mut peer = windowed(1);
    peer.deliver_all(Q1, "topic", &["1", "22", "333"]);
    // Two wait, of 5 + 2 and 5 + 3 bytes.
    assert_eq!(peer.connection.held(), (2, 15));
    assert_eq!(peer.connection.session().waiting_bytes(), 15);
    peer.sent();
    peer.send(&ack(PUBACK, 1, None));
    // A newcomer stands behind those that wait, though there was room for a moment.
    peer.deliver_all(Q1, "topic", &["4"]);
    peer.send(&ack(PUBACK, 2, None));
    peer.send(&ack(PUBACK, 3, None));
    assert_eq!(
        peer.sent(),
        [
            r#"PUBLISH q1 #2 "topic" 22"#,
            r#"PUBLISH q1 #3 "topic" 333"#,
            r#"PUBLISH q1 #4 "topic" 4"#
        ]
    );
}

#[test]
fn mqtt_2_2_1_4_and_4_3_2_1_and_4_3_3_1_identifiers_in_use_are_not_given_again_when_the_counter_wraps()
 {
    let mut peer = windowed(4);
    peer.deliver_all(Q1, "a", &["held"]);
    peer.deliver_all(Q2, "a", &["held", "held"]);
    peer.send(&ack(PUBREC, 3, None));
    peer.sent();
    let mut used = Vec::new();
    for qos in [Q1, Q2].into_iter().cycle().take(65_600) {
        peer.deliver_all(qos, "a", &["x"]);
        let line = peer.sent().pop().expect("sent at once");
        let id = line.split(['#', ' ']).nth(3).expect("an identifier");
        let id: u16 = id.parse().expect("a number");
        let acks = if qos == Q1 {
            &[PUBACK][..]
        } else {
            &[PUBREC, PUBCOMP]
        };
        for kind in acks {
            peer.send(&ack(*kind, id, None));
        }
        peer.sent();
        used.push(id);
    }
    assert_eq!(used.first(), Some(&4));
    assert_eq!(used[65_535 - 3 - 1..][..2], [65_535, 4]);
    assert!(used.iter().all(|id| ![0, 1, 2, 3].contains(id)));
}

#[test]
fn acknowledgements_of_unknown_identifiers_harm_nobody() {
    let mut peer = windowed(1);
    peer.send(&ack(PUBACK, 9, None));
    peer.send(&ack(PUBCOMP, 9, None));
    peer.send(&ack(PUBCOMP, 9, Some(0x92)));
    assert!(peer.sent().is_empty());
    peer.send(&ack(PUBREC, 9, None));
    assert_eq!(peer.sent(), ["PUBREL #9 0x92"]); // [MQTT-3.6.2-1]
    // A refusal of something we do not know needs no answer.
    peer.send(&ack(PUBREC, 9, Some(0x87)));
    assert!(peer.sent().is_empty());
    peer.deliver_all(Q1, "a", &["1", "2"]);
    assert_eq!(peer.sent().len(), 1);
}

#[test]
fn acknowledgements_that_belong_to_another_qos_or_stage_are_errors() {
    let out_of_state = (0x82, "ack_out_of_state");
    let after = |qos, first: Option<u8>, wrong: u8| {
        let mut peer = windowed(5);
        peer.deliver_all(qos, "a", &["x"]);
        if let Some(first) = first {
            peer.send(&ack(first, 1, None));
        }
        peer.refused(&ack(wrong, 1, None))
    };
    assert_eq!(after(Q2, None, PUBACK), out_of_state);
    assert_eq!(after(Q2, None, PUBCOMP), out_of_state);
    assert_eq!(after(Q2, Some(PUBREC), PUBACK), out_of_state);
    assert_eq!(after(Q1, None, PUBREC), out_of_state);
    assert_eq!(after(Q1, None, PUBCOMP), out_of_state);
}

#[test]
fn mqtt_3_3_2_6_the_expiry_interval_is_sent_less_the_time_it_waited() {
    let mut peer = windowed(1);
    peer.deliver_all(Q1, "b", &["first"]);
    let ten = expiring(&peer, 10, Q1);
    assert_eq!(peer.deliver(ten), Delivered::Waiting);
    peer.wait(Duration::from_millis(3_400));
    peer.sent();
    peer.send(&ack(PUBACK, 1, None));
    assert_eq!(peer.sent(), [r#"PUBLISH q1 #2 "a" message-expiry=7 x"#]);
}

#[test]
fn mqtt_3_3_2_5_a_message_whose_interval_is_over_is_dropped_and_takes_no_place() {
    let mut peer = windowed(1);
    let now = expiring(&peer, 0, Q0);
    assert_eq!(peer.deliver(now), Delivered::Expired);
    peer.deliver_all(Q1, "b", &["first"]);
    let one = expiring(&peer, 1, Q1);
    peer.deliver(one);
    peer.deliver_all(Q1, "b", &["last"]);
    peer.wait(Duration::from_secs(1));
    peer.sent();
    peer.send(&ack(PUBACK, 1, None));
    assert_eq!(peer.sent(), [r#"PUBLISH q1 #2 "b" last"#]);
    assert_eq!(peer.connection.take_tally().expired, 2);
}

#[test]
fn mqtt_4_3_3_7_once_sent_a_message_is_completed_however_long_it_takes() {
    let mut peer = windowed(1);
    let one = expiring(&peer, 1, Q2);
    peer.deliver(one);
    peer.wait(Duration::from_secs(3));
    peer.sent();
    peer.send(&ack(PUBREC, 1, None));
    assert_eq!(peer.sent(), ["PUBREL #1"]);
    peer.send(&ack(PUBCOMP, 1, None));
    assert_eq!(peer.connection.session().inflight(), 0);
}

#[test]
fn mqtt_3_1_2_25_a_message_too_large_for_the_client_is_dropped_for_it_alone() {
    // 1 + 1 + (2 + 1) + 2 + 1 + payload of 32 is 40 bytes.
    let fits = "x".repeat(32);
    let mut small = Peer::connected(&Connect::new("c").maximum_packet(40).receive_maximum(1));
    let mut large = windowed(9);
    for payload in [fits.clone() + "x", fits.clone(), "last".into()] {
        let message = delivery(Q1, "a", &payload);
        small.deliver(message.clone());
        large.deliver(message);
    }
    // Identifier and place of the one that was dropped are free again.
    let sent = small.sent();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].ends_with(&fits), "{sent:?}");
    assert_eq!(small.connection.take_tally().too_large, 1);
    assert_eq!(large.sent().len(), 3);
    let id = if sent[0].contains("#1") { 1 } else { 2 };
    small.send(&ack(PUBACK, id, None));
    assert_eq!(small.sent().len(), 1);
}

#[test]
fn identifiers_and_properties_are_forwarded_in_their_order_to_5_0_alone() {
    let block = [
        &[0x01, 1][..],
        &[0x26, 0, 1, b'k', 0, 1, b'2'],
        &[0x26, 0, 1, b'k', 0, 1, b'1'],
    ]
    .concat();
    for (level, expected) in [
        (
            5,
            r#"PUBLISH retain q0 "a" utf8=1 user=k:2 user=k:1 id=7 id=300 x"#,
        ),
        (4, r#"PUBLISH retain q0 "a" x"#),
        (3, r#"PUBLISH retain q0 "a" x"#),
    ] {
        let mut peer = Peer::connected(&Connect::new("c").level(level));
        peer.deliver(Delivery {
            message: Arc::new(Message {
                properties: block.clone().into(),
                ..message(Q0, "a", "x")
            }),
            retain: true,
            identifiers: [7, 300].into_iter().collect(),
            ..delivery(Q0, "a", "x")
        });
        assert_eq!(peer.sent(), [expected]);
    }
}

#[test]
fn a_client_never_sees_the_mount_point_of_its_listener() {
    let state = SessionState::default();
    let connect = Connect::new("c");
    let mut peer = Peer::accepted(&connect, Settings::default(), state, false, "site/7/");
    peer.sent();
    peer.deliver_all(Q0, "site/7/pump/rpm", &["x"]);
    assert_eq!(peer.sent(), [r#"PUBLISH q0 "pump/rpm" x"#]);
}
