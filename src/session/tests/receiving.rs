//! Client to server: PUBLISH, its acknowledgements, and our Receive Maximum.

use super::peer::Peer;
use super::wire::{Connect, PUBREL, ack, packet, properties, publish, text};
use crate::codec::{QoS, ReasonCode};
use crate::session::Settings;

/// Flags of PUBLISH.
const Q1: u8 = 0x02;
const Q2: u8 = 0x04;
const DUP: u8 = 0x08;
const RETAIN: u8 = 0x01;

fn send(peer: &mut Peer, flags: u8, id: u16, payload: &str) {
    let bytes = publish(flags, "a", Some(id), Some(&[]), payload);
    peer.send(&bytes);
}

fn peer() -> Peer {
    Peer::connected(&Connect::new("c"))
}

fn with_receive_maximum(count: u16, connect: &Connect) -> Peer {
    let settings = Settings {
        max_inflight_messages: count,
        ..Settings::default()
    };
    Peer::with(connect, settings)
}

#[test]
fn mqtt_3_3_4_1_each_qos_has_its_answer() {
    let mut peer = peer();
    peer.send(&publish(0, "a", None, Some(&[]), "zero"));
    assert!(peer.sent().is_empty());
    send(&mut peer, Q1, 1_234, "one");
    send(&mut peer, Q2, 5, "two");
    assert_eq!(peer.sent(), ["PUBACK #1234", "PUBREC #5"]); // [MQTT-2.2.1-5]
    assert_eq!(peer.routed, ["a zero", "a one", "a two"]);
}

#[test]
fn mqtt_4_6_0_2_and_3_acknowledgements_come_in_the_order_of_the_messages() {
    let mut peer = peer();
    for (flags, id) in [(Q1, 3), (Q2, 9), (Q1, 1), (Q2, 8), (Q1, 2)] {
        send(&mut peer, flags, id, "x");
    }
    peer.send(&ack(PUBREL, 8, None));
    peer.send(&ack(PUBREL, 9, None));
    assert_eq!(
        peer.sent(),
        [
            "PUBACK #3",
            "PUBREC #9",
            "PUBACK #1",
            "PUBREC #8",
            "PUBACK #2",
            "PUBCOMP #8",
            "PUBCOMP #9"
        ]
    );
}

#[test]
fn mqtt_4_3_2_5_after_puback_the_identifier_is_a_new_message_whatever_dup_says() {
    let mut peer = peer();
    send(&mut peer, Q1, 1, "first");
    send(&mut peer, Q1 | DUP, 1, "second");
    assert_eq!(peer.routed, ["a first", "a second"]);
    assert_eq!(peer.sent(), ["PUBACK #1", "PUBACK #1"]);
}

#[test]
fn mqtt_4_3_3_10_to_12_a_qos_2_message_is_routed_once_until_it_is_released() {
    let mut peer = peer();
    send(&mut peer, Q2, 7, "x");
    send(&mut peer, Q2 | DUP, 7, "x");
    // The identifier decides, not the flag: a client that forgets DUP sends no second message.
    send(&mut peer, Q2, 7, "x");
    assert_eq!(peer.routed, ["a x"]);
    assert_eq!(peer.sent(), ["PUBREC #7", "PUBREC #7", "PUBREC #7"]);
    peer.send(&ack(PUBREL, 7, None));
    assert_eq!(peer.sent(), ["PUBCOMP #7"]);
    send(&mut peer, Q2, 7, "y");
    assert_eq!(peer.routed, ["a x", "a y"]);
}

#[test]
fn mqtt_4_3_3_9_a_refused_qos_2_identifier_is_free_at_once() {
    let mut peer = peer();
    peer.verdict = ReasonCode::NOT_AUTHORIZED;
    send(&mut peer, Q2, 5, "refused");
    assert_eq!(peer.sent(), ["PUBREC #5 0x87"]);
    peer.verdict = ReasonCode::SUCCESS;
    send(&mut peer, Q2, 5, "allowed");
    assert_eq!(peer.sent(), ["PUBREC #5"]);
    assert_eq!(peer.routed, ["a refused", "a allowed"]);
}

#[test]
fn a_refused_qos_1_message_is_told_in_puback_to_5_0_clients_alone() {
    let mut peer = peer();
    peer.verdict = ReasonCode::NOT_AUTHORIZED;
    send(&mut peer, Q1, 4, "x");
    assert_eq!(peer.sent(), ["PUBACK #4 0x87"]);
    let mut old = Peer::connected(&Connect::new("c").level(4));
    old.verdict = ReasonCode::NOT_AUTHORIZED;
    old.send(&publish(Q1, "a", Some(4), None, "x"));
    assert_eq!(old.sent(), ["PUBACK #4"]);
}

#[test]
fn mqtt_3_7_2_1_pubrel_for_an_unknown_identifier_is_completed_with_0x92() {
    let mut peer = peer();
    peer.send(&ack(PUBREL, 0x1234, None));
    assert_eq!(peer.sent(), ["PUBCOMP #4660 0x92"]);
    // 3.x has no code, and the client must be able to forget the identifier all the same.
    let mut old = Peer::connected(&Connect::new("c").level(4));
    old.send(&ack(PUBREL, 0x1234, None));
    assert_eq!(old.sent(), ["PUBCOMP #4660"]);
}

#[test]
fn mqtt_3_3_4_7_more_unreleased_messages_than_our_receive_maximum_are_an_error() {
    let mut peer = with_receive_maximum(2, &Connect::new("c"));
    send(&mut peer, Q2, 1, "x");
    send(&mut peer, Q2, 2, "x");
    // A copy of one that is open takes no room of its own.
    send(&mut peer, Q2 | DUP, 2, "x");
    let third = publish(Q2, "a", Some(3), Some(&[]), "x");
    assert_eq!(peer.refused(&third), (0x93, "receive_maximum_exceeded"));
    assert_eq!(peer.routed, ["a x", "a x"]);
}

#[test]
fn the_quota_comes_back_with_pubcomp_and_with_a_refusal() {
    let mut peer = with_receive_maximum(1, &Connect::new("c"));
    for id in 1..=3 {
        send(&mut peer, Q2, id, "x");
        peer.send(&ack(PUBREL, id, None));
    }
    peer.verdict = ReasonCode::QUOTA_EXCEEDED;
    send(&mut peer, Q2, 4, "x");
    peer.verdict = ReasonCode::SUCCESS;
    send(&mut peer, Q2, 5, "x");
    // QoS 1 is answered before the next packet is read, so it never fills the quota.
    send(&mut peer, Q1, 6, "x");
    assert_eq!(peer.routed.len(), 6);
}

#[test]
fn mqtt_3_3_4_8_other_packets_are_served_while_the_quota_is_spent() {
    let mut peer = with_receive_maximum(1, &Connect::new("c"));
    send(&mut peer, Q2, 1, "x");
    peer.sent();
    peer.send(&[0xC0, 0]);
    peer.send(&packet(0x82, &[0, 9, 0, 0, 1, b'a', 1]));
    peer.send(&publish(0, "a", None, Some(&[]), "y"));
    assert_eq!(peer.sent(), ["PINGRESP", "SUBACK #9 01"]);
    assert_eq!(peer.routed, ["a x", "a y"]);
}

#[test]
fn clients_of_3_x_are_told_no_receive_maximum_and_held_to_none() {
    let mut peer = with_receive_maximum(1, &Connect::new("c").level(4));
    for id in 1..=100 {
        peer.send(&publish(Q2, "a", Some(id), None, "x"));
    }
    assert_eq!(peer.routed.len(), 100);
}

#[test]
fn messages_taken_before_a_resume_are_not_routed_again() {
    let connect = Connect::new("c").expiry(60).resume();
    let mut peer = Peer::connected(&connect);
    send(&mut peer, Q2, 7, "x");
    let mut peer = peer.resumed(&connect);
    send(&mut peer, Q2 | DUP, 7, "x");
    assert!(peer.routed.is_empty());
    assert_eq!(peer.sent(), ["PUBREC #7"]);
    peer.send(&ack(PUBREL, 7, None));
    assert_eq!(peer.sent(), ["PUBCOMP #7"]);
    send(&mut peer, Q2, 7, "new");
    assert_eq!(peer.routed, ["a new"]);
}

/// Quotas begin anew with each Network Connection (section 4.9): a client that never releases what
/// it sent on an earlier one is not shut out for as long as its session lives.
#[test]
fn what_an_earlier_connection_left_open_takes_no_quota_of_the_next() {
    let connect = Connect::new("c").expiry(60).resume();
    let mut peer = with_receive_maximum(2, &connect);
    send(&mut peer, Q2, 1, "x");
    send(&mut peer, Q2, 2, "x");
    let mut peer = peer.resumed(&connect);
    send(&mut peer, Q2, 3, "y");
    // Sent again, an old one counts like any other of this connection.
    send(&mut peer, Q2 | DUP, 1, "x");
    let over = publish(Q2, "a", Some(4), Some(&[]), "y");
    assert_eq!(peer.refused(&over), (0x93, "receive_maximum_exceeded"));
    assert_eq!(peer.routed, ["a y"]);
}

#[test]
fn mqtt_3_2_2_11_qos_above_what_was_announced_is_an_error() {
    let settings = Settings {
        max_qos: QoS::AtLeastOnce,
        ..Settings::default()
    };
    let mut peer = Peer::with(&Connect::new("c"), settings);
    send(&mut peer, Q1, 1, "x");
    let bytes = publish(Q2, "a", Some(2), Some(&[]), "x");
    assert_eq!(peer.refused(&bytes), (0x9B, "qos_not_supported"));
}

#[test]
fn mqtt_3_2_2_14_retain_is_an_error_where_it_was_said_not_to_be_available() {
    let settings = Settings {
        retain_available: false,
        ..Settings::default()
    };
    let mut peer = Peer::with(&Connect::new("c"), settings);
    let bytes = publish(RETAIN, "a", None, Some(&[]), "x");
    assert_eq!(peer.refused(&bytes), (0x9A, "retain_not_supported"));
    assert!(peer.routed.is_empty());
}

#[test]
fn mqtt_3_1_0_2_a_second_connect_is_an_error() {
    for level in [3, 4, 5] {
        let connect = Connect::new("c").level(level);
        let mut peer = Peer::connected(&connect);
        assert_eq!(peer.refused(&connect.bytes()), (0x82, "second_connect"));
    }
}

#[test]
fn packets_of_servers_and_reserved_types_are_errors_and_so_is_auth_in_3_x() {
    for first in [0x20, 0x90, 0xB0, 0xD0] {
        let (code, label) = peer().refused(&packet(first, &[0, 1, 0]));
        assert_eq!((code, label), (0x82, "packet_type"), "0x{first:02X}");
    }
    assert_eq!(peer().refused(&packet(0, &[])), (0x81, "reserved_type"));
    let mut old = Peer::connected(&Connect::new("c").level(4));
    assert_eq!(old.refused(&packet(0xF0, &[])), (0x81, "reserved_type"));
}

#[test]
fn mqtt_3_8_4_6_and_3_11_3_1_one_code_for_each_filter_in_its_order() {
    let mut peer = peer();
    let filters = [0, 77, 0, 0, 1, b'a', 0, 0, 1, b'b', 2, 0, 1, b'c', 1];
    peer.send(&packet(0x82, &filters));
    peer.send(&packet(0xA2, &[0, 78, 0, 0, 1, b'a', 0, 1, b'b']));
    assert_eq!(peer.sent(), ["SUBACK #77 00 02 01", "UNSUBACK #78 11 11"]);
    let mut old = Peer::connected(&Connect::new("c").level(4));
    old.send(&packet(0x82, &[0, 77, 0, 1, b'a', 2]));
    old.send(&packet(0xA2, &[0, 78, 0, 1, b'a']));
    assert_eq!(old.sent(), ["SUBACK #77 02", "UNSUBACK #78"]);
}

#[test]
fn mqtt_3_8_3_4_no_local_on_a_shared_subscription_is_an_error_of_the_whole_packet() {
    let subscribe = |filters: &[(&str, u8)]| {
        let mut body = vec![0, 9, 0];
        for (filter, options) in filters {
            body.extend(text(filter));
            body.push(*options);
        }
        packet(0x82, &body)
    };
    let mut peer = peer();
    peer.send(&subscribe(&[("$share/g/a", 1), ("a", 4 | 1)]));
    let error = peer.refused(&subscribe(&[("a", 1), ("$share/g/a", 4 | 1)]));
    assert_eq!(error, (0x82, "shared_no_local"));
    assert_eq!(peer.sent(), ["SUBACK #9 01 01"]);
}

#[test]
fn mqtt_4_12_0_7_auth_from_a_client_that_named_no_method_is_an_error() {
    let block = [&[0x15][..], &text("SCRAM")].concat();
    let auth = packet(0xF0, &[&[0x19][..], &properties(&block)].concat());
    assert_eq!(peer().refused(&auth), (0x82, "auth_not_expected"));
}

fn auth(reason: u8, method: &str) -> Vec<u8> {
    let block = [&[0x15][..], &text(method), &[0x16], &text("data")].concat();
    packet(0xF0, &[&[reason][..], &properties(&block)].concat())
}

#[test]
fn mqtt_4_12_1_2_who_named_a_method_may_authenticate_again_and_again() {
    let mut peer = Peer::connected(&Connect::new("c").method("SCRAM"));
    for _ in 0..2 {
        peer.send(&auth(0x19, "SCRAM"));
        assert_eq!(peer.sent(), ["AUTH 0x18 method=SCRAM data=data"]);
        peer.send(&auth(0x18, "SCRAM"));
        assert_eq!(peer.sent(), ["AUTH 0x00 method=SCRAM data=data"]);
    }
}

#[test]
fn mqtt_4_12_1_1_another_method_is_an_error() {
    let mut peer = Peer::connected(&Connect::new("c").method("SCRAM"));
    let refused = peer.refused(&auth(0x19, "OTHER"));
    assert_eq!(refused, (0x82, "auth_method_changed"));
}

#[test]
fn auth_out_of_turn_is_an_error() {
    let mut peer = Peer::connected(&Connect::new("c").method("SCRAM"));
    let refused = peer.refused(&auth(0x18, "SCRAM"));
    assert_eq!(refused, (0x82, "auth_not_expected"));
    let mut peer = Peer::connected(&Connect::new("c").method("SCRAM"));
    peer.send(&auth(0x19, "SCRAM"));
    let refused = peer.refused(&auth(0x19, "SCRAM"));
    assert_eq!(refused, (0x82, "auth_not_expected"));
}

#[test]
fn mqtt_3_1_2_24_an_answer_too_large_for_the_client_ends_the_connection_instead() {
    let mut peer = Peer::connected(&Connect::new("c").maximum_packet(40));
    let mut filters = vec![0, 7, 0];
    for _ in 0..36 {
        filters.extend([0, 1, b'a', 0]);
    }
    let refused = peer.refused(&packet(0x82, &filters));
    assert_eq!(refused, (0x95, "answer_too_large"));
    assert_eq!(peer.sent(), [""; 0]);
}

#[test]
fn mqtt_3_1_2_24_a_client_that_takes_no_connack_is_told_before_it_has_a_session() {
    use crate::session::{Settings, open};
    let settings = Settings::default();
    let can = |bytes: u32| {
        let connect = Connect::new("c").maximum_packet(bytes).bytes();
        let connect = crate::codec::decode_connect(&connect, &crate::codec::Limits::default());
        let opening = open(&connect.expect("valid"), &settings, [0; 16]).expect("allowed");
        opening.can_be_answered(&settings)
    };
    assert!(can(40) && !can(10));
}
