//! A session that goes on with a new connection.

use std::sync::Arc;
use std::time::Duration;

use super::peer::{Peer, delivery, message};
use super::wire::{Connect, PUBACK, PUBCOMP, PUBREC, ack};
use crate::codec::QoS;
use crate::message::{Delivery, Message};

const Q1: QoS = QoS::AtLeastOnce;
const Q2: QoS = QoS::ExactlyOnce;

fn connect() -> Connect {
    Connect::new("c").expiry(600).resume()
}

#[test]
fn mqtt_4_4_0_1_and_3_3_1_1_what_was_not_acknowledged_is_sent_again_with_dup_in_order_with_its_identifiers()
 {
    let mut peer = Peer::connected(&connect());
    for (qos, payload) in [(Q1, "1"), (Q2, "2"), (Q1, "3"), (Q2, "4"), (Q1, "5")] {
        peer.deliver_all(qos, "a", &[payload]);
    }
    peer.send(&ack(PUBACK, 3, None));
    let mut peer = peer.resumed(&connect());
    assert_eq!(
        peer.sent(),
        [
            r#"PUBLISH dup q1 #1 "a" 1"#,
            r#"PUBLISH dup q2 #2 "a" 2"#,
            r#"PUBLISH dup q2 #4 "a" 4"#,
            r#"PUBLISH dup q1 #5 "a" 5"#,
        ]
    );
    // And what comes now gets identifiers of its own.
    peer.deliver_all(Q1, "a", &["6"]);
    assert_eq!(peer.sent(), [r#"PUBLISH q1 #6 "a" 6"#]);
}

#[test]
fn mqtt_4_6_0_1_the_order_is_that_of_first_sending_also_when_identifiers_have_wrapped() {
    let mut peer = Peer::connected(&connect());
    for id in 1..=65_533 {
        peer.deliver_all(Q1, "a", &["x"]);
        peer.send(&ack(PUBACK, id, None));
    }
    peer.deliver_all(Q1, "a", &["i", "j", "k", "l"]);
    let mut peer = peer.resumed(&connect());
    assert_eq!(
        peer.sent(),
        [
            r#"PUBLISH dup q1 #65534 "a" i"#,
            r#"PUBLISH dup q1 #65535 "a" j"#,
            r#"PUBLISH dup q1 #1 "a" k"#,
            r#"PUBLISH dup q1 #2 "a" l"#,
        ]
    );
}

#[test]
fn nothing_is_sent_again_on_a_connection_that_lives() {
    let mut peer = Peer::connected(&connect());
    peer.deliver_all(Q1, "a", &["x"]);
    peer.sent();
    peer.wait(Duration::from_secs(60));
    peer.pump();
    peer.send(&[0xC0, 0]);
    assert_eq!(peer.sent(), ["PINGRESP"]);
}

#[test]
fn mqtt_4_3_3_6_after_pubrec_it_is_pubrel_that_is_repeated() {
    let mut peer = Peer::connected(&connect());
    peer.deliver_all(Q2, "a", &["1", "2", "3"]);
    peer.send(&ack(PUBREC, 2, None));
    let mut peer = peer.resumed(&connect());
    assert_eq!(
        peer.sent(),
        [
            r#"PUBLISH dup q2 #1 "a" 1"#,
            "PUBREL #2",
            r#"PUBLISH dup q2 #3 "a" 3"#
        ]
    );
    peer.send(&ack(PUBCOMP, 2, None));
    let mut peer = peer.resumed(&connect());
    assert_eq!(peer.sent().len(), 2);
}

#[test]
fn what_was_acknowledged_or_refused_is_not_sent_again() {
    let mut peer = Peer::connected(&connect());
    peer.deliver_all(Q1, "a", &["1", "2"]);
    peer.deliver_all(Q2, "a", &["3"]);
    peer.send(&ack(PUBACK, 1, None));
    peer.send(&ack(PUBACK, 2, Some(0x97)));
    peer.send(&ack(PUBREC, 3, Some(0x97)));
    let mut peer = peer.resumed(&connect());
    assert!(peer.sent().is_empty()); // [MQTT-4.4.0-2]
}

#[test]
fn what_waited_follows_what_was_in_flight_and_keeps_its_order() {
    let narrow = connect().receive_maximum(2);
    let mut peer = Peer::connected(&narrow);
    peer.deliver_all(Q1, "a", &["1", "2", "3", "4"]);
    let mut peer = peer.resumed(&connect());
    assert_eq!(
        peer.sent(),
        [
            r#"PUBLISH dup q1 #1 "a" 1"#,
            r#"PUBLISH dup q1 #2 "a" 2"#,
            r#"PUBLISH q1 #3 "a" 3"#,
            r#"PUBLISH q1 #4 "a" 4"#,
        ]
    );
}

#[test]
fn the_receive_maximum_of_the_new_connection_holds_for_what_is_sent_again() {
    let mut peer = Peer::connected(&connect());
    peer.deliver_all(Q1, "a", &["1", "2", "3", "4"]);
    let mut peer = peer.resumed(&connect().receive_maximum(2));
    // A newcomer does not pass those that are still to be sent again.
    peer.deliver_all(Q1, "a", &["5"]);
    assert_eq!(
        peer.sent(),
        [r#"PUBLISH dup q1 #1 "a" 1"#, r#"PUBLISH dup q1 #2 "a" 2"#]
    );
    peer.send(&ack(PUBACK, 1, None));
    assert_eq!(peer.sent(), [r#"PUBLISH dup q1 #3 "a" 3"#]);
    for id in [2, 3] {
        peer.send(&ack(PUBACK, id, None));
    }
    assert_eq!(
        peer.sent(),
        [r#"PUBLISH dup q1 #4 "a" 4"#, r#"PUBLISH q1 #5 "a" 5"#]
    );
}

/// A client may acknowledge on the new connection what it received on the old one, before we have
/// sent it again. That opens no place in a window it was never part of [MQTT-3.3.4-9].
#[test]
fn an_acknowledgement_that_comes_before_the_repetition_opens_no_place() {
    let mut peer = Peer::connected(&connect());
    peer.deliver_all(Q1, "a", &["1", "2", "3", "4"]);
    let mut peer = peer.resumed(&connect().receive_maximum(2));
    assert_eq!(peer.sent().len(), 2);
    peer.send(&ack(PUBACK, 3, None));
    assert!(peer.sent().is_empty(), "two are open, and two may be");
    peer.send(&ack(PUBACK, 1, None));
    assert_eq!(peer.sent(), [r#"PUBLISH dup q1 #4 "a" 4"#]);
}

#[test]
fn a_message_sent_before_is_sent_again_though_its_interval_is_over() {
    let mut peer = Peer::connected(&connect());
    peer.deliver(Delivery {
        message: Arc::new(Message {
            expires_at: Message::expiry(1, peer.now),
            ..message(Q2, "a", "x")
        }),
        ..delivery(Q2, "a", "x")
    });
    peer.wait(Duration::from_secs(5));
    let mut peer = peer.resumed(&connect());
    // Its exchange has begun, and the client may be waiting for the rest of it [MQTT-4.3.3-7].
    assert_eq!(peer.sent(), [r#"PUBLISH dup q2 #1 "a" message-expiry=0 x"#]);
}

#[test]
fn what_the_gate_refuses_now_is_neither_sent_again_nor_kept() {
    let mut peer = Peer::connected(&connect().receive_maximum(2));
    peer.deliver_all(Q1, "secret", &["1"]);
    peer.deliver_all(Q1, "open", &["2"]);
    peer.deliver_all(Q1, "secret", &["3"]);
    peer.deliver_all(Q1, "open", &["4"]);
    let (state, _) = peer.broken();
    let settings = crate::session::Settings::default();
    let mut peer = Peer::accepted(&connect().receive_maximum(2), settings, state, true, "");
    peer.sent();
    peer.pump_refusing("secret");
    assert_eq!(
        peer.sent(),
        [r#"PUBLISH dup q1 #2 "open" 2"#, r#"PUBLISH q1 #3 "open" 4"#]
    );
    assert_eq!(peer.connection.session().inflight(), 2);
}

/// A client counts what it was sent against its Receive Maximum until it has acknowledged it,
/// whatever we think of it meanwhile.
#[test]
fn what_is_in_flight_when_a_right_is_lost_keeps_its_place_until_it_is_acknowledged() {
    let mut peer = Peer::connected(&connect().receive_maximum(2));
    peer.deliver_all(Q1, "secret", &["1", "2"]);
    peer.deliver_all(Q1, "open", &["3", "4", "5"]);
    peer.deliver_all(Q1, "secret", &["6"]);
    peer.sent();
    let dropped = peer
        .connection
        .session_mut()
        .retain_deliveries(|delivery| delivery.message.topic.as_str() == "open");
    assert_eq!(dropped, 1, "the one that waited");
    assert_eq!(peer.connection.held(), (3, 15));
    peer.pump();
    assert!(peer.sent().is_empty(), "two are open, and two may be");
    for id in [1, 2] {
        peer.send(&ack(PUBACK, id, None));
    }
    assert_eq!(
        peer.sent(),
        [r#"PUBLISH q1 #3 "open" 3"#, r#"PUBLISH q1 #4 "open" 4"#]
    );
}

#[test]
fn a_right_lost_while_nobody_was_connected_holds_for_what_would_be_sent_again() {
    let mut peer = Peer::connected(&connect());
    peer.deliver_all(Q1, "secret", &["1"]);
    peer.deliver_all(Q2, "secret", &["2", "3"]);
    peer.deliver_all(Q1, "open", &["4"]);
    peer.send(&ack(PUBREC, 3, None));
    let (state, _) = peer.broken();
    let settings = crate::session::Settings::default();
    let mut peer = Peer::accepted(&connect(), settings, state, true, "");
    peer.sent();
    let dropped = peer
        .connection
        .session_mut()
        .retain_deliveries(|delivery| delivery.message.topic.as_str() == "open");
    assert_eq!(dropped, 2);
    peer.pump();
    // What was released holds no content any more, and the client may know the identifier of the
    // other: both exchanges are brought to their end.
    assert_eq!(
        peer.sent(),
        ["PUBREL #2", "PUBREL #3", r#"PUBLISH dup q1 #4 "open" 4"#]
    );
    peer.send(&ack(PUBCOMP, 2, Some(0x92)));
    peer.send(&ack(PUBCOMP, 3, None));
    assert_eq!(peer.connection.session().inflight(), 1);
}

#[test]
fn what_was_still_to_be_sent_is_sent_by_the_next_connection() {
    let mut peer = Peer::connected(&connect());
    for (qos, payload) in [(Q1, "1"), (Q2, "2")] {
        let unsent = delivery(qos, "a", payload);
        peer.connection.session_mut().keep_unsent(unsent);
    }
    let mut peer = peer.resumed(&connect());
    assert_eq!(
        peer.sent(),
        [r#"PUBLISH q1 #1 "a" 1"#, r#"PUBLISH q2 #2 "a" 2"#]
    );
}

#[test]
fn mqtt_3_1_2_25_a_repetition_too_large_for_the_new_connection_is_dropped_and_its_place_free() {
    let mut peer = Peer::connected(&connect());
    let long = "x".repeat(50);
    peer.deliver_all(Q1, "a", &[&long, "short"]);
    let mut peer = peer.resumed(&connect().maximum_packet(40).receive_maximum(1));
    assert_eq!(peer.sent(), [r#"PUBLISH dup q1 #2 "a" short"#]);
    assert_eq!(peer.connection.session().inflight(), 1);
}

/// A client that has the identifier from before would take the next message with it for a repetition,
/// and drop it.
#[test]
fn what_is_given_up_at_qos_2_is_released_before_its_identifier_is_used_again() {
    for refusing in [true, false] {
        let mut peer = Peer::connected(&connect());
        let long = "x".repeat(50);
        peer.deliver_all(Q2, "secret", &[&long]);
        let (state, _) = peer.broken();
        let settings = crate::session::Settings::default();
        let next = if refusing {
            connect()
        } else {
            connect().maximum_packet(40)
        };
        let mut peer = Peer::accepted(&next, settings, state, true, "");
        peer.sent();
        peer.pump_refusing(if refusing { "secret" } else { "nothing" });
        assert_eq!(peer.sent(), ["PUBREL #1"]);
        assert_eq!(peer.connection.session().inflight(), 1);
        peer.send(&ack(PUBCOMP, 1, None));
        assert_eq!(peer.connection.session().inflight(), 0);
    }
}

#[test]
fn v31_4_session_present_is_told_where_the_version_has_it() {
    for (level, expected) in [(5, " present"), (4, " present"), (3, "")] {
        let connect = Connect::new("c").level(level).resume();
        let settings = crate::session::Settings::default();
        for present in [true, false] {
            let state = crate::session::SessionState::default();
            let mut peer = Peer::accepted(&connect, settings.clone(), state, present, "");
            let line = peer.sent().remove(0);
            let told = present && !expected.is_empty();
            assert_eq!(line.contains("present"), told, "level {level}: {line}");
        }
    }
}
