//! MQTT 3.1.1 and 3.1: what is wrong with a packet is answered by closing the connection, for there is
//! no word to say it with.

use crate::fifteen::{connected_becomes, site};
use crate::support::raw::{Hello, Raw, packet, put_bytes};

/// A string with its length.
fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, bytes);
    out
}

/// PUBLISH with these flags and this Topic Name.
fn publish(flags: u8, topic: &[u8], rest: &[u8]) -> Vec<u8> {
    packet(0x30 | flags, &[&text(topic), rest].concat())
}

/// SUBSCRIBE to one filter.
fn subscribe(first: u8, id: u8, filter: &[u8]) -> Vec<u8> {
    packet(first, &[&[0, id][..], &text(filter), &[0]].concat())
}

fn unsubscribe(first: u8, id: u8, filter: &[u8]) -> Vec<u8> {
    packet(first, &[&[0, id][..], &text(filter)].concat())
}

/// Surrogates are not UTF-8.
const SURROGATE: &[u8] = &[0xED, 0xA0, 0x80];

/// What a connected client may not send.
fn violations() -> Vec<(&'static str, Vec<u8>)> {
    let connect = Hello::nameless(4, "bad").encode();
    vec![
        (
            "mqtt_1_5_3_1_of_3_1_1_a_topic_of_ill_formed_utf_8",
            publish(0, SURROGATE, &[]),
        ),
        (
            "mqtt_1_5_3_2_of_3_1_1_a_topic_with_nul",
            publish(0, b"a\0b", &[]),
        ),
        (
            "mqtt_2_2_2_1_and_2_of_3_1_1_flags_that_are_reserved",
            vec![0xC1, 0],
        ),
        (
            "mqtt_2_3_1_1_to_3_of_3_1_1_a_subscribe_without_identifier",
            subscribe(0x82, 0, b"t"),
        ),
        (
            "mqtt_2_3_1_1_to_3_of_3_1_1_an_unsubscribe_without_identifier",
            unsubscribe(0xA2, 0, b"t"),
        ),
        (
            "mqtt_2_3_1_1_to_3_of_3_1_1_a_publish_without_identifier",
            publish(2, b"t", &[0, 0]),
        ),
        ("mqtt_3_1_0_2_of_3_1_1_a_second_connect", connect),
        (
            "mqtt_3_3_1_2_of_3_1_1_dup_with_qos_0",
            publish(8, b"t", &[]),
        ),
        ("mqtt_3_3_1_4_of_3_1_1_qos_3", publish(6, b"t", &[0, 1])),
        (
            "mqtt_3_3_2_1_of_3_1_1_a_topic_longer_than_its_packet",
            vec![0x30, 3, 0, 9, b't'],
        ),
        (
            "mqtt_3_3_2_1_of_3_1_1_a_publish_without_topic",
            vec![0x30, 0],
        ),
        (
            "mqtt_3_3_2_2_and_4_7_1_1_of_3_1_1_a_wildcard_in_a_topic",
            publish(0, b"a/#", &[]),
        ),
        (
            "mqtt_3_3_2_2_and_4_7_1_1_of_3_1_1_another_wildcard",
            publish(0, b"+/a", &[]),
        ),
        (
            "mqtt_3_6_1_1_of_3_1_1_pubrel_without_its_flags",
            vec![0x60, 2, 0, 1],
        ),
        (
            "mqtt_3_8_1_1_of_3_1_1_subscribe_without_its_flags",
            subscribe(0x80, 1, b"t"),
        ),
        (
            "mqtt_3_8_3_1_of_3_1_1_a_filter_of_ill_formed_utf_8",
            subscribe(0x82, 1, SURROGATE),
        ),
        (
            "mqtt_3_8_3_3_of_3_1_1_a_subscribe_without_filter",
            packet(0x82, &[0, 1]),
        ),
        (
            "mqtt_3_10_1_1_of_3_1_1_unsubscribe_without_its_flags",
            unsubscribe(0xA0, 1, b"t"),
        ),
        (
            "mqtt_3_10_3_1_of_3_1_1_a_filter_of_ill_formed_utf_8",
            unsubscribe(0xA2, 1, SURROGATE),
        ),
        (
            "mqtt_3_10_3_2_of_3_1_1_an_unsubscribe_without_filter",
            packet(0xA2, &[0, 1]),
        ),
        (
            "mqtt_3_14_1_1_of_3_1_1_disconnect_with_flags",
            vec![0xE1, 0],
        ),
        (
            "mqtt_4_7_3_1_of_3_1_1_a_topic_of_no_characters",
            publish(0, b"", &[]),
        ),
        (
            "mqtt_4_7_3_2_of_3_1_1_a_topic_with_nul",
            publish(0, b"\0", &[]),
        ),
        (
            "mqtt_4_7_3_2_of_3_1_1_a_filter_with_nul",
            subscribe(0x82, 1, b"a\0"),
        ),
    ]
}

/// Each row is one case; the statement about all of them is [MQTT-4.8.0-1].
#[test]
fn mqtt_4_8_0_1_of_3_1_1_each_violation_closes_that_connection_without_a_word_and_no_other() {
    let site = site("");
    let broker = site.start();
    let (mut witness, _) = Raw::hello(site.plain, &Hello::nameless(4, "witness"));
    assert_eq!(witness.subscribe(&[("#", 0)]), [0]);
    for (name, bytes) in violations() {
        let (mut raw, _) = Raw::hello(site.plain, &Hello::nameless(4, "bad"));
        raw.send(&bytes);
        assert_eq!(raw.next(), None, "{name}");
    }
    connected_becomes(&broker, 1.0);
    // None of it reached anybody, and who was there is there still.
    witness.expect_silence();
    let text = broker.http("/metrics");
    let counts = text
        .lines()
        .filter(|line| line.starts_with("portcullis_malformed_packets_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
    assert_eq!(counts.sum::<usize>(), violations().len(), "each is counted");
    let told = broker.audited("malformed", |line| line["client_id"] == "bad");
    assert!(told["statement"].is_string(), "{told}");
}

/// CONNECT of 3.1.1 with these flags and payload.
fn connect(flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x04".to_vec();
    body.extend([flags, 0, 0]);
    for field in payload {
        put_bytes(&mut body, field);
    }
    packet(0x10, &body)
}

/// What is no first packet of a connection.
fn no_connects() -> Vec<(&'static str, Vec<u8>)> {
    let mut other_name = connect(2, &[b"c"]);
    other_name[7] = b'X';
    vec![
        (
            "mqtt_3_1_0_1_of_3_1_1_something_before_connect",
            vec![0xC0, 0],
        ),
        (
            "mqtt_3_1_0_1_of_3_1_1_a_publish_before_connect",
            publish(0, b"t", &[]),
        ),
        ("mqtt_3_1_2_1_of_3_1_1_another_protocol_name", other_name),
        (
            "mqtt_3_1_2_3_of_3_1_1_the_reserved_flag",
            connect(3, &[b"c"]),
        ),
        (
            "mqtt_3_1_2_9_of_3_1_1_a_will_that_is_not_there",
            connect(0x06, &[b"c"]),
        ),
        (
            "mqtt_3_1_2_9_of_3_1_1_half_a_will",
            connect(0x06, &[b"c", b"w"]),
        ),
        (
            "mqtt_3_1_2_11_and_13_of_3_1_1_will_qos_without_will",
            connect(0x0A, &[b"c"]),
        ),
        (
            "mqtt_3_1_2_11_and_15_of_3_1_1_will_retain_without_will",
            connect(0x22, &[b"c"]),
        ),
        (
            "mqtt_3_1_2_11_of_3_1_1_will_fields_without_will",
            connect(0x02, &[b"c", b"w", b"m"]),
        ),
        (
            "mqtt_3_1_2_14_of_3_1_1_will_qos_3",
            connect(0x1E, &[b"c", b"w", b"m"]),
        ),
        (
            "mqtt_3_1_2_18_of_3_1_1_a_user_name_without_its_flag",
            connect(0x02, &[b"c", b"u"]),
        ),
        (
            "mqtt_3_1_2_19_of_3_1_1_a_user_name_that_is_not_there",
            connect(0x82, &[b"c"]),
        ),
        (
            "mqtt_3_1_2_20_of_3_1_1_a_password_without_its_flag",
            connect(0x82, &[b"c", b"u", b"p"]),
        ),
        (
            "mqtt_3_1_2_21_of_3_1_1_a_password_that_is_not_there",
            connect(0xC2, &[b"c", b"u"]),
        ),
        (
            "mqtt_3_1_3_1_of_3_1_1_more_than_the_flags_say",
            connect(0x02, &[b"c", b"more"]),
        ),
        (
            "mqtt_3_1_3_3_of_3_1_1_no_client_identifier_at_all",
            connect(0x02, &[]),
        ),
        (
            "mqtt_3_1_3_4_of_3_1_1_an_identifier_of_ill_formed_utf_8",
            connect(0x02, &[SURROGATE]),
        ),
        (
            "mqtt_3_1_3_10_of_3_1_1_a_will_topic_of_ill_formed_utf_8",
            connect(0x06, &[b"c", SURROGATE, b"m"]),
        ),
        (
            "mqtt_3_1_3_10_and_4_7_1_1_of_3_1_1_a_will_topic_with_a_wildcard",
            connect(0x06, &[b"c", b"w/#", b"m"]),
        ),
        (
            "mqtt_3_1_3_11_of_3_1_1_a_user_name_of_ill_formed_utf_8",
            connect(0x82, &[b"c", SURROGATE]),
        ),
    ]
}

#[test]
fn mqtt_4_8_0_1_of_3_1_1_what_is_no_connect_is_closed_without_connack() {
    let site = site("");
    let broker = site.start();
    for (name, bytes) in no_connects() {
        let mut raw = Raw::plain(site.plain, 4);
        raw.send(&bytes);
        assert_eq!(raw.next(), None, "{name}");
    }
    // The shape they deviate from is accepted.
    for good in [
        connect(0x02, &[b"c"]),
        connect(0xC6, &[b"c", b"w", b"m", b"u", b"p"]),
    ] {
        let mut raw = Raw::plain(site.plain, 4);
        raw.send(&good);
        assert_eq!(raw.receive().body, [0, 0]);
        raw.expect_silence();
    }
    connected_becomes(&broker, 0.0);
}

/// The order of the fields of CONNECT is seen in what becomes of them.
#[test]
fn mqtt_3_1_3_1_of_3_1_1_identifier_will_topic_will_message_user_name_and_password_in_that_order() {
    let site = site("");
    let broker = site.start();
    let (mut heir, _) = Raw::hello(site.plain, &Hello::nameless(4, "heir"));
    heir.subscribe(&[("third", 0)]);
    let mut raw = Raw::plain(site.plain, 4);
    raw.send(&connect(
        0xC6,
        &[b"second", b"third", b"fourth", b"fifth", b"sixth"],
    ));
    assert_eq!(raw.receive().body, [0, 0]);
    raw.vanish();
    let will = heir.message();
    assert_eq!(
        (will.topic.as_str(), will.payload.as_str()),
        ("third", "fourth")
    );
    let event = broker.audited("connect", |line| line["client_id"] == "second");
    assert_eq!(event["username"], "fifth");
}

#[test]
fn v31_7_the_lowest_flag_of_connect_is_not_looked_at() {
    let site = site("");
    let _broker = site.start();
    let mut old = Hello::nameless(3, "old").encode();
    // Header, name of six letters with its length, level, flags.
    assert_eq!(old[11], 0x02);
    old[11] |= 1;
    let mut raw = Raw::plain(site.plain, 3);
    raw.send(&old);
    assert_eq!(raw.receive().body, [0, 0]);
}
