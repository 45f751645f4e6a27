//! The exchanges of QoS 1 and 2 (sections 4.3, 4.6 and 4.9): what is open, until when, and in which
//! order it ends.

use super::peer::Peer;
use super::wire::{Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, ack, packet, publish};
use crate::codec::{self, Limits, QoS, ReasonCode, Version};
use crate::session::{Settings, Step};

const Q0: QoS = QoS::AtMostOnce;
const Q1: QoS = QoS::AtLeastOnce;
const Q2: QoS = QoS::ExactlyOnce;

fn kept() -> Connect {
    Connect::new("c").expiry(600).resume()
}

/// A client with this Receive Maximum, and no bound of ours below it.
fn windowed(connect: &Connect) -> Peer {
    let settings = Settings {
        max_inflight_messages: u16::MAX,
        ..Settings::default()
    };
    Peer::with(connect, settings)
}

#[test]
fn mqtt_2_2_1_2_a_publish_of_qos_0_has_no_identifier() {
    let mut peer = Peer::connected(&Connect::new("c"));
    // Payload that would make a valid identifier: it belongs to the message.
    peer.send(&publish(0, "a", None, Some(&[]), "\u{0}\u{7}x"));
    assert_eq!(peer.routed, ["a \u{0}\u{7}x"]);
    peer.deliver_all(Q0, "a", &["x"]);
    assert_eq!(peer.sent_bytes(), [0x30, 5, 0, 1, b'a', 0, b'x']);
}

#[test]
fn mqtt_2_2_1_5_every_acknowledgement_has_the_identifier_of_what_it_acknowledges() {
    let mut peer = Peer::connected(&Connect::new("c"));
    for (flags, id) in [(0x02, 1), (0x04, 0x0102), (0x02, 0xFFFF), (0x04, 0xFF00)] {
        peer.send(&publish(flags, "a", Some(id), Some(&[]), "x"));
    }
    peer.send(&ack(PUBREL, 0xFF00, None));
    peer.send(&ack(PUBREL, 0x0102, None));
    let answers: Vec<u8> = [
        [0x40, 2, 0, 1],
        [0x50, 2, 1, 2],
        [0x40, 2, 0xFF, 0xFF],
        [0x50, 2, 0xFF, 0],
        [0x70, 2, 0xFF, 0],
        [0x70, 2, 1, 2],
    ]
    .concat();
    assert_eq!(peer.sent_bytes(), answers);
    peer.deliver_all(Q2, "a", &["1", "2", "3"]);
    peer.sent();
    for id in [3, 1] {
        peer.send(&ack(PUBREC, id, None));
    }
    assert_eq!(peer.sent_bytes(), [0x62, 2, 0, 3, 0x62, 2, 0, 1]);
    // One that we refuse has it too.
    peer.verdict = ReasonCode::NOT_AUTHORIZED;
    peer.send(&publish(0x02, "a", Some(0x0304), Some(&[]), "x"));
    peer.send(&publish(0x04, "a", Some(0x0506), Some(&[]), "x"));
    let refusals = [0x40, 3, 3, 4, 0x87, 0x50, 3, 5, 6, 0x87];
    assert_eq!(peer.sent_bytes(), refusals);
}

/// The message is the broker's to route before its sender may forget it.
#[test]
fn mqtt_4_3_2_4_and_4_3_3_8_nothing_is_acknowledged_before_the_broker_has_taken_the_message() {
    for (flags, qos, acknowledged) in [
        (0x02, Q1, [0x40, 2, 0x12, 0x34]),
        (0x04, Q2, [0x50, 2, 0x12, 0x34]),
    ] {
        let mut peer = Peer::connected(&Connect::new("c"));
        let bytes = publish(flags, "a", Some(0x1234), Some(&[]), "x");
        let decoded = codec::decode(&bytes, Version::V5, &Limits::default()).expect("valid");
        let mut out = Vec::new();
        let step = peer.connection.handle(decoded, peer.now, &mut out);
        let Ok(Step::Publish(incoming)) = step else {
            panic!("not to be routed: {step:?}");
        };
        assert!(out.is_empty(), "{out:02x?}");
        let (id, taken) = (incoming.publish.packet_id, ReasonCode::SUCCESS);
        peer.connection.published(qos, id, taken, None, &mut out);
        assert_eq!(out, acknowledged);
    }
}

#[test]
fn mqtt_4_3_2_3_a_qos_1_message_is_open_until_puback_and_no_longer() {
    let mut peer = Peer::connected(&kept());
    peer.deliver_all(Q1, "a", &["1", "2"]);
    let mut peer = peer.resumed(&kept());
    assert_eq!(
        peer.sent(),
        [r#"PUBLISH dup q1 #1 "a" 1"#, r#"PUBLISH dup q1 #2 "a" 2"#]
    );
    peer.send(&[0xC0, 0]);
    assert_eq!(
        peer.connection.session().inflight(),
        2,
        "a ping is no PUBACK"
    );
    peer.send(&ack(PUBACK, 1, None));
    let mut peer = peer.resumed(&kept());
    assert_eq!(peer.sent(), [r#"PUBLISH dup q1 #2 "a" 2"#]);
    peer.send(&ack(PUBACK, 2, None));
    assert!(peer.resumed(&kept()).sent().is_empty());
}

#[test]
fn mqtt_4_3_3_3_and_5_a_qos_2_message_is_open_until_pubrec_and_its_pubrel_until_pubcomp() {
    let mut peer = Peer::connected(&kept());
    peer.deliver_all(Q2, "a", &["x"]);
    for _ in 0..2 {
        peer = peer.resumed(&kept());
        assert_eq!(peer.sent(), [r#"PUBLISH dup q2 #1 "a" x"#]);
    }
    peer.send(&ack(PUBREC, 1, None));
    peer.sent();
    for _ in 0..2 {
        peer = peer.resumed(&kept());
        assert_eq!(peer.sent(), ["PUBREL #1"]);
    }
    peer.send(&ack(PUBCOMP, 1, None));
    assert!(peer.resumed(&kept()).sent().is_empty());
}

/// A client must acknowledge what it is sent; from one that does not, nothing is taken for granted.
#[test]
fn mqtt_4_5_0_2_what_a_client_does_not_acknowledge_keeps_its_place() {
    let mut peer = windowed(&kept().receive_maximum(2));
    peer.deliver_all(Q1, "a", &["1"]);
    peer.deliver_all(Q2, "a", &["2"]);
    peer.deliver_all(Q1, "a", &["3"]);
    peer.sent();
    for bytes in [
        vec![0xC0, 0],
        publish(0x02, "b", Some(1), Some(&[]), "x"),
        packet(0x82, &[0, 9, 0, 0, 1, b'a', 0]),
    ] {
        peer.send(&bytes);
        peer.pump();
    }
    assert_eq!(peer.sent(), ["PINGRESP", "PUBACK #1", "SUBACK #9 00"]);
    assert_eq!(peer.connection.session().inflight(), 2);
    assert_eq!(peer.connection.session().waiting(), 1);
}

#[test]
fn mqtt_4_6_0_4_pubrels_come_in_the_order_of_the_pubrecs() {
    let mut peer = Peer::connected(&Connect::new("c"));
    peer.deliver_all(Q2, "a", &["1", "2", "3", "4"]);
    peer.sent();
    for id in [3, 1, 4, 2] {
        peer.send(&ack(PUBREC, id, None));
    }
    assert_eq!(
        peer.sent(),
        ["PUBREL #3", "PUBREL #1", "PUBREL #4", "PUBREL #2"]
    );
}

#[test]
fn mqtt_4_9_0_1_as_many_are_open_at_first_as_the_client_said_and_65535_where_it_did_not() {
    for (connect, allowed) in [
        (Connect::new("c").receive_maximum(1), 1),
        (Connect::new("c").receive_maximum(7), 7),
        (Connect::new("c"), 65_535),
    ] {
        let mut peer = windowed(&connect);
        for _ in 0..allowed {
            peer.deliver_all(Q1, "a", &["x"]);
        }
        assert_eq!(peer.sent().len(), allowed);
        peer.deliver_all(Q1, "a", &["one too many"]);
        assert!(peer.sent().is_empty(), "{allowed}");
    }
    // 0 is no value it may have: nobody could ever be sent anything.
    let zero = Connect::new("c").receive_maximum(0).bytes();
    let error = codec::decode_connect(&zero, &Limits::default()).expect_err("refused");
    assert_eq!(error.reason_code(), ReasonCode::PROTOCOL_ERROR);
}

#[test]
fn mqtt_4_9_0_2_each_message_takes_a_place_and_its_last_acknowledgement_alone_gives_it_back() {
    let mut peer = windowed(&Connect::new("c").receive_maximum(2));
    let all: Vec<String> = (1..=9).map(|number| number.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    peer.deliver_all(Q2, "a", &all[..2]);
    peer.deliver_all(Q1, "a", &all[2..6]);
    peer.deliver_all(Q2, "a", &all[6..]);
    assert_eq!(peer.sent().len(), 2);
    // How many are sent when this has come.
    let mut answered = |kind: u8, id: u16, reason: Option<u8>| {
        peer.send(&ack(kind, id, reason));
        let sent = peer.sent();
        sent.iter()
            .filter(|line| line.starts_with("PUBLISH"))
            .count()
    };
    assert_eq!(answered(PUBACK, 99, None), 0);
    assert_eq!(answered(PUBREC, 1, None), 0);
    assert_eq!(answered(PUBCOMP, 1, None), 1);
    // Again, and of something that never was: neither gives a second place.
    assert_eq!(answered(PUBCOMP, 1, None), 0);
    assert_eq!(answered(PUBACK, 1, None), 0);
    assert_eq!(answered(PUBCOMP, 4_000, None), 0);
    assert_eq!(answered(PUBREC, 2, Some(0x97)), 1);
    assert_eq!(answered(PUBACK, 3, None), 1);
    assert_eq!(answered(PUBACK, 3, None), 0);
    assert_eq!(answered(PUBACK, 4, Some(0x80)), 1);
    assert_eq!(peer.connection.session().inflight(), 2);
}

#[test]
fn mqtt_4_9_0_3_every_other_packet_is_answered_while_no_place_is_left_to_send_in() {
    let mut peer = windowed(&Connect::new("c").receive_maximum(1).method("SCRAM"));
    peer.deliver_all(Q1, "a", &["open", "waits"]);
    assert_eq!(peer.sent(), [r#"PUBLISH q1 #1 "a" open"#]);
    for bytes in [
        publish(0x02, "b", Some(1), Some(&[]), "x"),
        publish(0x04, "b", Some(2), Some(&[]), "x"),
        ack(PUBREL, 2, None),
        packet(0x82, &[0, 3, 0, 0, 1, b'a', 0]),
        packet(0xA2, &[0, 4, 0, 0, 1, b'a']),
        packet(0xF0, &[0x19, 8, 0x15, 0, 5, b'S', b'C', b'R', b'A', b'M']),
        vec![0xC0, 0],
    ] {
        peer.send(&bytes);
    }
    peer.deliver_all(Q0, "a", &["zero"]);
    assert_eq!(
        peer.sent(),
        [
            "PUBACK #1",
            "PUBREC #2",
            "PUBCOMP #2",
            "SUBACK #3 00",
            "UNSUBACK #4 11",
            "AUTH 0x18 method=SCRAM",
            "PINGRESP",
            r#"PUBLISH q0 "a" zero"#,
        ]
    );
    peer.send(&packet(0xE0, &[0]));
    assert_eq!(peer.left, Some((ReasonCode::SUCCESS, false)));
}
