//! MQTT 3.1.1 and 3.1: messages, acknowledgements, subscriptions.

use crate::fifteen::{connected_becomes, site};
use crate::support::raw::{Hello, Raw, Received, ack, packet, publish, put_bytes, subscribe};
use crate::support::site::Site;

fn hello(id: &str) -> Hello {
    Hello::nameless(4, id)
}

pub(crate) fn connected(site: &Site, id: &str) -> Raw {
    Raw::hello(site.plain, &hello(id)).0
}

fn resumed(site: &Site, id: &str) -> Raw {
    Raw::hello(site.plain, &hello(id).kept()).0
}

pub(crate) fn reader(site: &Site, id: &str, filter: &str, qos: u8) -> Raw {
    let mut raw = connected(site, id);
    assert_eq!(raw.subscribe(&[(filter, qos)]), [qos], "{filter}");
    raw
}

/// First byte and body of the next packet.
pub(crate) fn bytes(raw: &mut Raw) -> (u8, Vec<u8>) {
    let packet = raw.receive();
    (packet.first, packet.body)
}

pub(crate) fn unsubscribe(id: u8, filters: &[&str]) -> Vec<u8> {
    let mut body = vec![0, id];
    for filter in filters {
        put_bytes(&mut body, filter.as_bytes());
    }
    packet(0xA2, &body)
}

/// Publishes with every exchange the QoS asks for.
pub(crate) fn send(raw: &mut Raw, topic: &str, payload: &str, qos: u8, id: u16) {
    raw.publish(topic, payload, qos, id);
    match qos {
        0 => {}
        1 => assert_eq!(bytes(raw), (0x40, id.to_be_bytes().to_vec())),
        _ => {
            assert_eq!(bytes(raw), (0x50, id.to_be_bytes().to_vec()));
            raw.send(&ack(0x62, id));
            assert_eq!(bytes(raw), (0x70, id.to_be_bytes().to_vec()));
        }
    }
}

pub(crate) fn payloads(raw: &mut Raw, count: usize) -> Vec<String> {
    (0..count).map(|_| raw.unacknowledged().payload).collect()
}

#[test]
fn mqtt_1_5_3_3_of_3_1_1_a_byte_order_mark_is_a_character_like_others() {
    let site = site("");
    let _broker = site.start();
    let mut without = reader(&site, "w", "a", 0);
    let mut with = reader(&site, "m", "\u{FEFF}a", 0);
    connected(&site, "p").publish("\u{FEFF}a", "x", 0, 0);
    assert_eq!(with.message().topic, "\u{FEFF}a");
    without.expect_silence();
}

#[test]
fn mqtt_2_3_1_4_and_4_3_2_1_and_4_3_3_1_of_3_1_1_each_message_in_flight_has_an_identifier_of_its_own()
 {
    let site = site("");
    let _broker = site.start();
    let mut raw = reader(&site, "r", "t", 2);
    let mut sender = connected(&site, "p");
    for id in 1..=10 {
        send(
            &mut sender,
            "t",
            "x",
            1 + u8::try_from(id % 2).expect("small"),
            id,
        );
    }
    let ids: Vec<u16> = (0..10).filter_map(|_| raw.unacknowledged().id).collect();
    let distinct: std::collections::BTreeSet<u16> = ids.iter().copied().collect();
    assert_eq!((ids.len(), distinct.len()), (10, 10));
    assert!(!distinct.contains(&0));
}

#[test]
fn mqtt_2_3_1_5_of_3_1_1_a_message_of_qos_0_has_no_identifier() {
    let site = site("");
    let _broker = site.start();
    let mut raw = reader(&site, "r", "t", 2);
    let mut sender = connected(&site, "p");
    // If two bytes were taken for an identifier the payload would be shorter.
    sender.send(&[0x30, 5, 0, 1, b't', 0, 7]);
    assert_eq!(bytes(&mut raw), (0x30, vec![0, 1, b't', 0, 7]));
}

#[test]
fn mqtt_2_3_1_6_and_3_3_4_1_of_3_1_1_every_qos_is_answered_in_its_way_with_its_identifier() {
    let site = site("");
    let _broker = site.start();
    let mut raw = connected(&site, "p");
    raw.publish("t", "0", 0, 0);
    raw.expect_silence();
    send(&mut raw, "t", "1", 1, 0x0102);
    send(&mut raw, "t", "2", 2, 0xFFFF);
}

#[test]
fn mqtt_2_3_1_7_and_3_8_4_1_and_3_8_4_2_of_3_1_1_subscribe_and_unsubscribe_are_answered_with_their_identifier()
 {
    let site = site("");
    let _broker = site.start();
    let mut raw = connected(&site, "s");
    raw.send(&subscribe(4, 0x04D2, &[("t", 0)], &[]));
    assert_eq!(bytes(&mut raw), (0x90, vec![0x04, 0xD2, 0]));
    raw.send(&unsubscribe(77, &["t"]));
    assert_eq!(bytes(&mut raw), (0xB0, vec![0, 77]));
}

#[test]
fn mqtt_3_3_1_1_and_4_4_0_1_of_3_1_1_what_was_not_acknowledged_comes_again_with_dup_after_a_resume()
{
    let site = site("");
    let broker = site.start();
    let mut raw = resumed(&site, "r");
    raw.subscribe(&[("t", 2)]);
    let mut sender = connected(&site, "p");
    send(&mut sender, "t", "1", 1, 1);
    send(&mut sender, "t", "2", 2, 2);
    send(&mut sender, "t", "3", 2, 3);
    let sent: Vec<Received> = (0..3).map(|_| raw.unacknowledged()).collect();
    assert!(sent.iter().all(|message| !message.dup));
    let released = sent[2].id.expect("QoS 2");
    raw.send(&ack(0x50, released));
    assert_eq!(bytes(&mut raw).0, 0x62);
    raw.expect_silence();
    raw.vanish();
    connected_becomes(&broker, 1.0);
    let mut raw = resumed(&site, "r");
    for old in &sent[..2] {
        let new = raw.unacknowledged();
        assert!(new.dup);
        assert_eq!((&new.payload, new.id), (&old.payload, old.id));
    }
    assert_eq!(bytes(&mut raw), (0x62, released.to_be_bytes().to_vec()));
}

#[test]
fn mqtt_3_3_1_3_of_3_1_1_dup_of_the_publisher_is_not_passed_on() {
    let site = site("");
    let _broker = site.start();
    let mut raw = reader(&site, "r", "t", 1);
    let mut again = publish(4, "t", b"x", 1, 1, false, &[]);
    again[0] |= 0x08;
    connected(&site, "p").send(&again);
    assert!(!raw.message().dup);
}

/// Publishes a retained message and waits until it is kept.
pub(crate) fn retain(raw: &mut Raw, payload: &str, qos: u8, id: u16) {
    raw.publish_with("t", payload, qos, id, true, &[]);
    if qos == 1 {
        assert_eq!(raw.receive().first, 0x40);
    } else {
        raw.expect_silence();
    }
}

#[test]
fn mqtt_3_3_1_5_and_8_of_3_1_1_a_retained_message_is_kept_with_its_qos_and_sent_with_retain() {
    let site = site("");
    let _broker = site.start();
    retain(&mut connected(&site, "p"), "kept", 1, 1);
    for (granted, expected) in [(0, 0), (1, 1), (2, 1)] {
        let message = reader(&site, "r", "t", granted).message();
        assert_eq!((message.payload.as_str(), message.qos), ("kept", expected));
        assert!(message.retain);
    }
}

#[test]
fn mqtt_3_3_1_6_of_3_1_1_every_subscribe_is_sent_what_is_retained_a_repeated_one_too() {
    let site = site("");
    let _broker = site.start();
    retain(&mut connected(&site, "p"), "kept", 0, 0);
    let mut raw = connected(&site, "r");
    for _ in 0..2 {
        raw.subscribe(&[("t", 0)]);
        assert!(raw.message().retain);
    }
    raw.expect_silence();
}

#[test]
fn mqtt_3_3_1_7_of_3_1_1_a_retained_message_of_qos_0_replaces_the_one_before() {
    let site = site("");
    let _broker = site.start();
    let mut sender = connected(&site, "p");
    retain(&mut sender, "old", 1, 1);
    retain(&mut sender, "new", 0, 0);
    let mut raw = reader(&site, "r", "t", 1);
    assert_eq!(raw.message().payload, "new");
    raw.expect_silence();
}

#[test]
fn mqtt_3_3_1_9_of_3_1_1_who_was_subscribed_before_is_sent_it_without_retain() {
    let site = site("");
    let _broker = site.start();
    let mut raw = reader(&site, "r", "t", 1);
    retain(&mut connected(&site, "p"), "live", 1, 1);
    assert!(!raw.message().retain);
}

#[test]
fn mqtt_3_3_1_9_of_3_1_1_retain_as_published_of_an_earlier_version_5_connection_does_not_count() {
    let site = site("");
    let _broker = site.start();
    let (mut five, _) = Raw::hello(site.plain, &Hello::nameless(5, "r").kept());
    five.subscribe(&[("t", 0x08 | 1)]);
    five.disconnect();
    let mut four = resumed(&site, "r");
    retain(&mut connected(&site, "p"), "live", 1, 1);
    assert!(!four.message().retain);
}

#[test]
fn mqtt_3_3_1_10_and_11_of_3_1_1_an_empty_retained_message_is_delivered_and_nothing_is_kept() {
    let site = site("");
    let _broker = site.start();
    let mut live = reader(&site, "l", "t", 1);
    let mut sender = connected(&site, "p");
    retain(&mut sender, "kept", 1, 1);
    retain(&mut sender, "", 1, 2);
    assert_eq!(live.message().payload, "kept");
    let empty = live.message();
    assert_eq!((empty.payload.as_str(), empty.retain), ("", false));
    reader(&site, "late", "t", 1).expect_silence();
}

#[test]
fn mqtt_3_3_1_12_of_3_1_1_a_message_without_retain_leaves_what_is_kept_as_it_is() {
    let site = site("");
    let _broker = site.start();
    let mut sender = connected(&site, "p");
    retain(&mut sender, "kept", 1, 1);
    send(&mut sender, "t", "passing", 1, 2);
    send(&mut sender, "t", "", 1, 3);
    assert_eq!(reader(&site, "late", "t", 1).message().payload, "kept");
}

#[test]
fn mqtt_3_3_5_1_of_3_1_1_overlapping_subscriptions_get_their_highest_qos() {
    for (directive, copies) in [("true", 2), ("false", 1)] {
        let site = site(&format!("allow_duplicate_messages {directive}"));
        let _broker = site.start();
        let mut raw = connected(&site, "r");
        raw.subscribe(&[("a/#", 0), ("a/b", 2)]);
        send(&mut connected(&site, "p"), "a/b", "x", 2, 1);
        let highest = (0..copies).map(|_| raw.unacknowledged().qos).max();
        assert_eq!(highest, Some(2));
        raw.expect_silence();
    }
}

/// A site whose user may read and not write.
fn read_only(version: u8, more: &str) -> (Site, Hello) {
    let rules = "user alice\ntopic read t/#\n";
    let site = Site::with_users(&["alice"], rules, more);
    (site, Hello::new(version, "a", "alice"))
}

fn refused_publishes_are_acknowledged_or_end_the_connection(version: u8) {
    let (site, hello) = read_only(version, "");
    let broker = site.start();
    let (mut raw, _) = Raw::hello(site.plain, &hello);
    raw.subscribe(&[("t/#", 0)]);
    for qos in 0..=2 {
        send(&mut raw, "t/1", "x", qos, 5);
    }
    raw.expect_silence();
    let sample = "portcullis_acl_denied_total{action=\"publish\",reason=\"read_only\"}";
    broker.metric_becomes(sample, 3.0);
    let (site, hello) = read_only(version, "mqtt3_denied_publish disconnect");
    let _broker = site.start();
    let (mut raw, _) = Raw::hello(site.plain, &hello);
    raw.publish("t/1", "x", 1, 5);
    raw.expect_end();
}

#[test]
fn mqtt_3_3_5_2_of_3_1_1_a_publish_that_is_refused_is_acknowledged_and_dropped_or_ends_the_connection()
 {
    refused_publishes_are_acknowledged_or_end_the_connection(4);
}

#[test]
fn v31_10_a_publish_that_is_refused_is_acknowledged_and_dropped_or_ends_the_connection() {
    refused_publishes_are_acknowledged_or_end_the_connection(3);
}

#[test]
fn mqtt_4_8_0_2_of_3_1_1_what_cannot_be_kept_is_not_acknowledged() {
    let site = site("max_retained_messages 1");
    let _broker = site.start();
    let mut sender = connected(&site, "p");
    retain(&mut sender, "kept", 1, 1);
    // There is no room for another, and 3.1.1 has no word for that.
    sender.publish_with("u", "too many", 1, 2, true, &[]);
    sender.expect_end();
    let mut other = connected(&site, "p");
    retain(&mut other, "another in its place", 1, 3);
}

#[test]
fn mqtt_3_12_4_1_of_3_1_1_a_ping_is_answered() {
    let site = site("");
    let _broker = site.start();
    let mut raw = connected(&site, "r");
    raw.send(&[0xC0, 0, 0xC0, 0]);
    assert_eq!(
        (bytes(&mut raw), bytes(&mut raw)),
        ((0xD0, vec![]), (0xD0, vec![]))
    );
}

#[test]
fn mqtt_4_3_1_1_of_3_1_1_qos_0_is_sent_once_without_dup() {
    let site = site("");
    let broker = site.start();
    let mut raw = resumed(&site, "r");
    raw.subscribe(&[("t", 0)]);
    send(&mut connected(&site, "p"), "t", "x", 0, 0);
    assert_eq!(bytes(&mut raw).0, 0x30);
    raw.vanish();
    connected_becomes(&broker, 0.0);
    resumed(&site, "r").expect_silence();
}

#[test]
fn mqtt_4_3_2_2_of_3_1_1_after_puback_the_identifier_means_a_new_message_whatever_dup_says() {
    let site = site("");
    let _broker = site.start();
    let mut raw = reader(&site, "r", "t", 1);
    let mut sender = connected(&site, "p");
    send(&mut sender, "t", "1", 1, 7);
    let mut dup = publish(4, "t", b"2", 1, 7, false, &[]);
    dup[0] |= 0x08;
    sender.send(&dup);
    assert_eq!(bytes(&mut sender), (0x40, vec![0, 7]));
    assert_eq!(payloads(&mut raw, 2), ["1", "2"]);
}

fn qos_2_is_taken_once(version: u8) {
    let site = site("");
    let _broker = site.start();
    let mut raw = reader(&site, "r", "t", 2);
    let (mut sender, _) = Raw::hello(site.plain, &Hello::nameless(version, "p"));
    let mut again = publish(version, "t", b"once", 2, 7, false, &[]);
    for _ in 0..3 {
        sender.send(&again);
        assert_eq!(bytes(&mut sender), (0x50, vec![0, 7]));
        again[0] |= 0x08;
    }
    sender.send(&ack(0x62, 7));
    assert_eq!(bytes(&mut sender), (0x70, vec![0, 7]));
    sender.send(&ack(0x62, 7));
    assert_eq!(
        bytes(&mut sender),
        (0x70, vec![0, 7]),
        "released is released"
    );
    sender.publish("t", "next", 2, 7);
    assert_eq!(bytes(&mut sender), (0x50, vec![0, 7]));
    assert_eq!(payloads(&mut raw, 2), ["once", "next"]);
    raw.expect_silence();
}

#[test]
fn mqtt_4_3_3_2_of_3_1_1_a_message_of_qos_2_is_taken_once_until_pubrel() {
    qos_2_is_taken_once(4);
}

#[test]
fn v31_9_a_message_of_qos_2_that_is_sent_again_while_connected_is_taken_once() {
    qos_2_is_taken_once(3);
}

#[test]
fn mqtt_4_5_0_2_of_3_1_1_a_delivery_is_in_flight_until_it_is_acknowledged() {
    let site = site("max_inflight_messages 1");
    let _broker = site.start();
    let mut raw = reader(&site, "r", "t", 1);
    let mut sender = connected(&site, "p");
    send(&mut sender, "t", "1", 1, 1);
    send(&mut sender, "t", "2", 1, 2);
    let first = raw.unacknowledged();
    raw.expect_silence();
    raw.send(&ack(0x40, first.id.expect("QoS 1")));
    assert_eq!(raw.message().payload, "2");
}

#[test]
fn mqtt_4_6_0_1_of_3_1_1_what_is_sent_again_keeps_its_order() {
    let site = site("");
    let broker = site.start();
    let mut raw = resumed(&site, "r");
    raw.subscribe(&[("t", 1)]);
    let mut sender = connected(&site, "p");
    for (id, payload) in [(1, "1"), (2, "2"), (3, "3")] {
        send(&mut sender, "t", payload, 1, id);
    }
    assert_eq!(payloads(&mut raw, 3), ["1", "2", "3"]);
    raw.vanish();
    connected_becomes(&broker, 1.0);
    send(&mut sender, "t", "4", 1, 4);
    let mut raw = resumed(&site, "r");
    assert_eq!(payloads(&mut raw, 4), ["1", "2", "3", "4"]);
}

/// The identifiers of the next acknowledgements, all of this kind.
fn acks(raw: &mut Raw, first: u8, count: usize) -> Vec<u8> {
    let packets = (0..count).map(|_| raw.receive());
    packets
        .map(|packet| {
            assert_eq!(packet.first, first, "{packet:02x?}");
            packet.body[1]
        })
        .collect()
}

#[test]
fn mqtt_4_6_0_2_and_3_of_3_1_1_pubacks_and_pubrecs_come_in_the_order_of_the_messages() {
    let site = site("");
    let _broker = site.start();
    let mut raw = connected(&site, "p");
    for (qos, first) in [(1, 0x40), (2, 0x50)] {
        let all: Vec<u8> = [3, 1, 2]
            .into_iter()
            .flat_map(|id| publish(4, "t", b"", qos, id, false, &[]))
            .collect();
        raw.send(&all);
        assert_eq!(acks(&mut raw, first, 3), [3, 1, 2]);
    }
}

#[test]
fn mqtt_4_6_0_4_of_3_1_1_pubrels_come_in_the_order_of_the_pubrecs() {
    let site = site("");
    let _broker = site.start();
    let mut raw = reader(&site, "r", "t", 2);
    let mut sender = connected(&site, "p");
    for id in 1..=3 {
        send(&mut sender, "t", "x", 2, id);
    }
    let ids: Vec<u16> = (0..3).filter_map(|_| raw.unacknowledged().id).collect();
    let order = [ids[2], ids[0], ids[1]];
    let pubrecs: Vec<u8> = order.iter().flat_map(|&id| ack(0x50, id)).collect();
    raw.send(&pubrecs);
    let released: Vec<u16> = acks(&mut raw, 0x62, 3).into_iter().map(u16::from).collect();
    assert_eq!(released, order);
}

#[test]
fn mqtt_4_6_0_5_and_6_of_3_1_1_messages_of_a_topic_arrive_in_the_order_they_were_published() {
    let site = site("threads 4\nmax_queued_messages 10000");
    let _broker = site.start();
    for qos in 0..=2 {
        let mut raw = reader(&site, "r", "t/#", qos);
        let mut sender = connected(&site, "p");
        for id in 1..=200 {
            send(&mut sender, "t/1", &id.to_string(), qos, id);
        }
        let expected: Vec<String> = (1..=200).map(|id| id.to_string()).collect();
        assert_eq!(received(&mut raw, 200), expected);
    }
}

/// Payloads of so many messages, with whatever is to be answered answered.
fn received(raw: &mut Raw, count: usize) -> Vec<String> {
    let mut payloads = Vec::new();
    while payloads.len() < count {
        let packet = raw.receive();
        if packet.kind() == 6 {
            raw.send(&[0x70, 2, packet.body[0], packet.body[1]]);
            continue;
        }
        let qos = packet.first >> 1 & 3;
        let mut at = 2 + usize::from(packet.body[1]);
        if qos > 0 {
            let kind = if qos == 1 { 0x40 } else { 0x50 };
            raw.send(&[kind, 2, packet.body[at], packet.body[at + 1]]);
            at += 2;
        }
        payloads.push(String::from_utf8_lossy(&packet.body[at..]).into_owned());
    }
    payloads
}
