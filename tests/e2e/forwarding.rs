//! A PUBLISH on its way through: what is forwarded as it came, and what is not (sections 3.3, 4.3
//! and 4.7).

use crate::clients::ACL;
use crate::support::raw::{Hello, Packet, Raw, ack, publish};
use crate::support::site::Site;

const ANSWERS: &str = "demo/alice/answers/#";
const ANSWER: &str = "demo/alice/answers/1";

fn site() -> Site {
    Site::with_users(&["inside", "alice"], ACL, "")
}

/// A client that listens, and one that speaks.
fn pair(site: &Site, qos: u8) -> (Raw, Raw) {
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    assert_eq!(alice.subscribe(&[(ANSWERS, qos)]), [qos]);
    let (inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    (alice, inside)
}

/// Name, and properties that arrive byte for byte as they were sent.
const FORWARDED: [(&str, &[u8]); 10] = [
    ("mqtt_3_3_2_4_payload_format_0", &[0x01, 0]),
    ("mqtt_3_3_2_4_payload_format_1", &[0x01, 1]),
    ("mqtt_3_3_2_15_response_topic", b"\x08\x00\x07answers"),
    (
        "mqtt_3_3_2_16_correlation_data_is_binary",
        &[9, 0, 3, 0, 0xFF, 0x80],
    ),
    ("mqtt_3_3_2_16_correlation_data_may_be_empty", &[9, 0, 0]),
    (
        "mqtt_3_3_2_17_user_property",
        b"\x26\x00\x01k\x00\x05v\xC3\xA9 w",
    ),
    (
        "mqtt_3_3_2_17_the_same_user_property_twice",
        b"\x26\x00\x01k\x00\x01v\x26\x00\x01k\x00\x01v",
    ),
    (
        "mqtt_3_3_2_18_user_properties_in_their_order",
        b"\x26\x00\x01b\x00\x012\x26\x00\x01a\x00\x011\x26\x00\x01b\x00\x010",
    ),
    ("mqtt_3_3_2_20_content_type", b"\x03\x00\x0Atext/plain"),
    (
        "mqtt_3_3_2_20_content_type_is_not_understood",
        b"\x03\x00\x03///",
    ),
];

#[test]
fn properties_of_the_message_arrive_as_they_were_sent_live_and_retained() {
    let site = site();
    let _broker = site.start();
    let (mut alice, mut inside) = pair(&site, 1);
    for (id, (name, block)) in (1..).zip(FORWARDED) {
        inside.publish_with(ANSWER, name, 1, id, true, block);
        assert_eq!(inside.receive().first, 0x40, "{name}");
        let live = alice.message();
        assert_eq!((&*live.payload, &*live.properties), (name, block));
        let (mut late, _) = Raw::hello(site.plain, &Hello::new(5, "late", "alice"));
        assert_eq!(late.subscribe(&[(ANSWERS, 1)]), [1]);
        let kept = late.message();
        assert_eq!((&*kept.payload, &*kept.properties), (name, block));
    }
}

#[test]
fn mqtt_3_3_1_3_dup_of_an_incoming_publish_is_not_forwarded() {
    let site = site();
    let _broker = site.start();
    let (mut alice, mut inside) = pair(&site, 2);
    for (qos, acks) in [(1, &[0x40][..]), (2, &[0x50, 0x70])] {
        let mut bytes = publish(5, ANSWER, b"x", qos, 7, false, &[]);
        bytes[0] |= 0x08;
        inside.send(&bytes);
        assert_eq!(inside.receive().first, acks[0]);
        if let Some(&pubcomp) = acks.get(1) {
            inside.send(&ack(0x62, 7));
            assert_eq!(inside.receive().first, pubcomp);
        }
        let message = alice.message();
        assert_eq!((message.qos, message.dup), (qos, false));
    }
}

/// It was over before it came, so nobody is sent it; its exchange is brought to its end all the same.
#[test]
fn mqtt_4_3_3_13_a_message_that_has_expired_is_acknowledged_to_the_end() {
    let site = site();
    let _broker = site.start();
    let (mut alice, mut inside) = pair(&site, 2);
    let over = &[0x02, 0, 0, 0, 0];
    inside.publish_with(ANSWER, "over", 2, 0x0102, false, over);
    let pubrec = inside.receive();
    assert_eq!((pubrec.first, &*pubrec.body), (0x50, &[1, 2][..]));
    // Again, as after a connection that broke: it is known.
    let mut again = publish(5, ANSWER, b"over", 2, 0x0102, false, over);
    again[0] |= 0x08;
    inside.send(&again);
    assert_eq!(inside.receive().body, [1, 2]);
    inside.send(&ack(0x62, 0x0102));
    let pubcomp = inside.receive();
    assert_eq!((pubcomp.first, &*pubcomp.body), (0x70, &[1, 2][..]));
    alice.expect_silence();
}

/// With the prefix of a mount point in front, which the client does not see, it may be too long.
#[test]
fn mqtt_4_7_3_3_names_and_filters_of_65535_bytes_are_served_whole_and_longer_ones_not_at_all() {
    const MOST: usize = 65_535;
    for (prefix, longest) in [("", MOST), ("site/7/", MOST - 7)] {
        let site = Site::with_users(&["inside"], "user inside\ntopic readwrite #\n", "");
        if !prefix.is_empty() {
            site.on_plain_listener(&format!("mount_point {prefix}"));
        }
        let _broker = site.start();
        let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
        let name = "x".repeat(longest);
        assert_eq!(inside.subscribe(&[(&name, 0)]), [0]);
        inside.publish(&name, "whole", 1, 1);
        let mut seen = [inside.receive(), inside.receive()];
        seen.sort_by_key(Packet::kind);
        let [message, puback] = seen;
        assert_eq!(&puback.body, &[0, 1]);
        let expected = publish(5, &name, b"whole", 0, 0, false, &[]);
        assert_eq!(message.bytes(), expected.len());
        assert!(expected.ends_with(&message.body));
        if longest < MOST {
            let longer = "x".repeat(longest + 1);
            assert_eq!(inside.subscribe(&[(&longer, 0)]), [0x8F]);
            assert_eq!(inside.publish_acked(&longer, "cut?", 2), 0x90);
        }
        inside.expect_silence();
    }
}
