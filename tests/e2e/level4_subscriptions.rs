//! MQTT 3.1.1: subscriptions, and which topics they match.

use crate::fifteen::site;
use crate::level4_messages::{bytes, connected, payloads, reader, retain, send, unsubscribe};
use crate::support::raw::{Raw, ack, subscribe};

#[test]
fn mqtt_3_3_2_3_and_4_7_1_2_and_4_7_1_3_of_3_1_1_filters_match_level_by_level() {
    let site = site("");
    let _broker = site.start();
    let filters = ["a/b", "a/+", "a/#", "+/b", "#", "+", "+/+/c", "a/b/#", "/+"];
    let mut readers: Vec<Raw> = filters
        .iter()
        .map(|filter| reader(&site, filter, filter, 0))
        .collect();
    let mut sender = connected(&site, "p");
    for (topic, matching) in [
        ("a/b", &["a/b", "a/+", "a/#", "+/b", "#", "a/b/#"][..]),
        ("a", &["a/#", "#", "+"]),
        ("a/b/c", &["a/#", "#", "+/+/c", "a/b/#"]),
        ("/b", &["+/b", "#", "/+"]),
    ] {
        sender.publish(topic, "x", 0, 0);
        sender.expect_silence();
        for (filter, reader) in filters.iter().zip(&mut readers) {
            if matching.contains(filter) {
                assert_eq!(reader.message().topic, topic, "{filter}");
            }
            reader.expect_silence();
        }
    }
    // Wildcards stand alone in a level, and the multi-level one last.
    let mut wrong = connected(&site, "w");
    for filter in ["a#", "#a", "a/#/b", "a+", "+a/b"] {
        assert_eq!(wrong.subscribe(&[(filter, 0)]), [0x80], "{filter}");
    }
}

#[test]
fn mqtt_3_8_3_2_of_3_1_1_filters_with_wildcards_are_refused_where_they_are_not_offered() {
    let site = site("");
    let line = format!("listener {} 127.0.0.1\n", site.plain);
    let conf = site.read("portcullis.conf");
    let off = format!("{line}wildcard_subscriptions false\n");
    site.write("portcullis.conf", &conf.replace(&line, &off));
    let _broker = site.start();
    let mut raw = connected(&site, "r");
    assert_eq!(
        raw.subscribe(&[("a/+", 1), ("a/b", 1), ("#", 0)]),
        [0x80, 1, 0x80]
    );
}

#[test]
fn mqtt_3_8_4_3_of_3_1_1_the_same_filter_again_replaces_the_subscription() {
    let site = site("");
    let _broker = site.start();
    let mut sender = connected(&site, "p");
    retain(&mut sender, "kept", 1, 1);
    let mut raw = reader(&site, "r", "t", 0);
    assert_eq!(raw.message().payload, "kept");
    raw.subscribe(&[("t", 1)]);
    assert_eq!(raw.message().payload, "kept", "sent again");
    send(&mut sender, "t", "once", 1, 2);
    let message = raw.message();
    assert_eq!((message.payload.as_str(), message.qos), ("once", 1));
    raw.expect_silence();
}

#[test]
fn mqtt_3_8_4_4_and_5_and_3_9_3_1_of_3_1_1_several_filters_are_answered_at_once_in_their_order() {
    let site = site("");
    let _broker = site.start();
    let mut raw = connected(&site, "r");
    let wanted = [("a", 0), ("b", 1), ("wr#ng", 2), ("c", 2)];
    raw.send(&subscribe(4, 9, &wanted, &[]));
    assert_eq!(bytes(&mut raw), (0x90, vec![0, 9, 0, 1, 0x80, 2]));
    let mut sender = connected(&site, "p");
    for topic in ["a", "b", "c"] {
        send(&mut sender, topic, topic, 0, 0);
    }
    assert_eq!(payloads(&mut raw, 3), ["a", "b", "c"]);
}

#[test]
fn mqtt_3_8_4_6_of_3_1_1_a_message_is_delivered_with_the_lower_qos_of_both() {
    let site = site("");
    let _broker = site.start();
    for granted in 0..=2 {
        let mut raw = reader(&site, "r", "t", granted);
        let mut sender = connected(&site, "p");
        for published in 0..=2 {
            send(&mut sender, "t", "x", published, 1);
            assert_eq!(raw.message().qos, published.min(granted));
        }
    }
}

#[test]
fn mqtt_3_10_4_1_and_4_of_3_1_1_a_filter_is_removed_if_it_is_the_same_and_answered_in_any_case() {
    let site = site("");
    let _broker = site.start();
    let mut raw = reader(&site, "r", "a/+", 0);
    let mut sender = connected(&site, "p");
    for other in ["a/b", "a/#", "A/+", "never"] {
        raw.send(&unsubscribe(3, &[other]));
        assert_eq!(bytes(&mut raw), (0xB0, vec![0, 3]), "{other}");
        sender.publish("a/b", other, 0, 0);
        assert_eq!(raw.message().payload, other);
    }
    raw.send(&unsubscribe(4, &["a/+"]));
    assert_eq!(bytes(&mut raw), (0xB0, vec![0, 4]));
    sender.publish("a/b", "x", 0, 0);
    sender.expect_silence();
    raw.expect_silence();
}

#[test]
fn mqtt_3_10_4_2_of_3_1_1_nothing_new_is_sent_for_a_filter_that_was_removed() {
    let site = site("");
    let _broker = site.start();
    let mut raw = reader(&site, "r", "t", 1);
    raw.send(&unsubscribe(1, &["t"]));
    assert_eq!(raw.receive().first, 0xB0);
    send(&mut connected(&site, "p"), "t", "x", 1, 1);
    raw.expect_silence();
}

#[test]
fn mqtt_3_10_4_3_of_3_1_1_a_delivery_that_has_begun_is_brought_to_its_end() {
    let site = site("");
    let _broker = site.start();
    let mut raw = reader(&site, "r", "t", 2);
    send(&mut connected(&site, "p"), "t", "x", 2, 1);
    let id = raw.unacknowledged().id.expect("QoS 2");
    raw.send(&unsubscribe(1, &["t"]));
    assert_eq!(raw.receive().first, 0xB0);
    raw.send(&ack(0x50, id));
    assert_eq!(bytes(&mut raw), (0x62, id.to_be_bytes().to_vec()));
    raw.send(&ack(0x70, id));
    raw.expect_silence();
}

#[test]
fn mqtt_3_10_4_6_of_3_1_1_several_filters_are_removed_with_one_answer() {
    let site = site("");
    let _broker = site.start();
    let mut raw = connected(&site, "r");
    raw.subscribe(&[("a", 0), ("b", 0), ("c", 0)]);
    raw.send(&unsubscribe(5, &["a", "unknown", "c"]));
    assert_eq!(bytes(&mut raw), (0xB0, vec![0, 5]));
    let mut sender = connected(&site, "p");
    for topic in ["a", "c", "b"] {
        sender.publish(topic, topic, 0, 0);
    }
    assert_eq!(payloads(&mut raw, 1), ["b"]);
    raw.expect_silence();
}

#[test]
fn mqtt_4_7_2_1_of_3_1_1_wildcards_in_front_match_no_topic_with_a_dollar() {
    let site = site("");
    let _broker = site.start();
    let mut wild = connected(&site, "w");
    wild.subscribe(&[("#", 0), ("+/t", 0)]);
    let mut named = reader(&site, "n", "$other/#", 0);
    connected(&site, "p").publish("$other/t", "x", 0, 0);
    assert_eq!(named.message().topic, "$other/t");
    wild.expect_silence();
}

#[test]
fn mqtt_4_7_3_3_of_3_1_1_a_topic_of_65_535_bytes_arrives_whole() {
    let site = site("");
    let _broker = site.start();
    let mut raw = reader(&site, "r", "#", 0);
    let longest = "x".repeat(65_535);
    connected(&site, "p").publish(&longest, "y", 0, 0);
    let message = raw.message();
    assert_eq!(
        (message.topic.len(), message.payload.as_str()),
        (65_535, "y")
    );
}

#[test]
fn mqtt_4_7_3_4_of_3_1_1_topics_are_compared_byte_by_byte() {
    let site = site("");
    let _broker = site.start();
    // The same letter composed and decomposed, another case, more and fewer levels.
    let filters = [
        "caf\u{e9}",
        "cafe\u{301}",
        "CAF\u{c9}",
        "a/b",
        "a//b",
        "/a/b",
        "a/b/",
    ];
    let mut readers: Vec<Raw> = filters
        .iter()
        .map(|filter| reader(&site, filter, filter, 0))
        .collect();
    let mut sender = connected(&site, "p");
    for topic in filters {
        sender.publish(topic, "x", 0, 0);
    }
    for (filter, reader) in filters.iter().zip(&mut readers) {
        assert_eq!(reader.message().topic, *filter);
        reader.expect_silence();
    }
}
