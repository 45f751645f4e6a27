//! Topic Aliases, both ways.

use super::peer::{Peer, delivery};
use super::wire::{Connect, publish};
use crate::codec::QoS;
use crate::session::{Delivered, Settings};

fn aliased(topic: &str, alias: u16, payload: &str) -> Vec<u8> {
    let [high, low] = alias.to_be_bytes();
    publish(0, topic, None, Some(&[0x23, high, low]), payload)
}

fn accepting(maximum: u16) -> Peer {
    let settings = Settings {
        topic_alias_maximum: maximum,
        ..Settings::default()
    };
    Peer::with(&Connect::new("c"), settings)
}

fn offering(maximum: u16) -> Peer {
    Peer::connected(&Connect::new("c").alias_maximum(maximum))
}

#[test]
fn mqtt_3_3_2_12_each_alias_up_to_our_maximum_stands_for_its_topic_and_can_be_set_anew() {
    let mut peer = accepting(3);
    for alias in [3, 1, 2] {
        peer.send(&aliased(&format!("t/{alias}"), alias, "set"));
    }
    for alias in [1, 2, 3] {
        peer.send(&aliased("", alias, "used"));
    }
    peer.send(&aliased("other", 2, "set"));
    peer.send(&aliased("", 2, "used"));
    assert_eq!(
        peer.routed,
        [
            "t/3 set",
            "t/1 set",
            "t/2 set",
            "t/1 used",
            "t/2 used",
            "t/3 used",
            "other set",
            "other used"
        ]
    );
}

#[test]
fn mqtt_3_2_2_17_and_3_3_2_9_an_alias_above_our_maximum_is_an_error() {
    for maximum in [0, 1, 2] {
        let mut peer = accepting(maximum);
        let error = peer.refused(&aliased("a", maximum + 1, "x"));
        assert_eq!(error, (0x94, "topic_alias_invalid"));
        assert!(peer.routed.is_empty());
        let error = accepting(maximum).refused(&aliased("", maximum + 1, "x"));
        assert_eq!(error, (0x94, "topic_alias_invalid"));
    }
}

#[test]
fn mqtt_3_3_2_8_alias_0_is_an_error() {
    assert_eq!(
        accepting(5).refused(&aliased("a", 0, "x")),
        (0x94, "topic_alias_zero")
    );
}

#[test]
fn an_alias_that_was_never_set_is_a_protocol_error() {
    let mut peer = accepting(5);
    peer.send(&aliased("a", 5, "x"));
    for alias in [1, 4] {
        let error = peer.refused(&aliased("", alias, "x"));
        assert_eq!(error, (0x82, "topic_alias_unknown"));
    }
}

#[test]
fn mqtt_3_3_2_7_aliases_end_with_the_connection() {
    let connect = Connect::new("c").alias_maximum(5).expiry(60).resume();
    let mut peer = Peer::connected(&connect);
    peer.send(&aliased("a", 1, "x"));
    peer.deliver_all(QoS::AtMostOnce, "b", &["1", "2"]);
    assert_eq!(
        peer.sent(),
        [r#"PUBLISH q0 "b" alias=1 1"#, r#"PUBLISH q0 "" alias=1 2"#]
    );
    let mut peer = peer.resumed(&connect);
    peer.deliver_all(QoS::AtMostOnce, "b", &["3"]);
    assert_eq!(peer.sent(), [r#"PUBLISH q0 "b" alias=1 3"#]);
    assert_eq!(
        peer.refused(&aliased("", 1, "x")),
        (0x82, "topic_alias_unknown")
    );
}

#[test]
fn mqtt_3_1_2_26_and_3_3_2_10_and_3_3_2_11_we_set_aliases_up_to_the_clients_maximum_and_never_above()
 {
    let mut peer = offering(2);
    for topic in ["a", "b", "c", "a", "b", "c"] {
        peer.deliver_all(QoS::AtMostOnce, topic, &["x"]);
    }
    assert_eq!(
        peer.sent(),
        [
            r#"PUBLISH q0 "a" alias=1 x"#,
            r#"PUBLISH q0 "b" alias=2 x"#,
            r#"PUBLISH q0 "c" x"#,
            r#"PUBLISH q0 "" alias=1 x"#,
            r#"PUBLISH q0 "" alias=2 x"#,
            r#"PUBLISH q0 "c" x"#,
        ]
    );
}

#[test]
fn a_topic_that_comes_more_often_takes_the_alias_of_one_that_has_gone_cold() {
    let mut peer = offering(2);
    // Two that come once, and a hot one afterwards.
    peer.deliver_all(QoS::AtMostOnce, "a", &["x"]);
    peer.deliver_all(QoS::AtMostOnce, "b", &["x"]);
    peer.deliver_all(QoS::AtMostOnce, "hot", &["1", "2", "3"]);
    peer.deliver_all(QoS::AtMostOnce, "a", &["x"]);
    assert_eq!(
        peer.sent(),
        [
            r#"PUBLISH q0 "a" alias=1 x"#,
            r#"PUBLISH q0 "b" alias=2 x"#,
            r#"PUBLISH q0 "hot" 1"#,
            r#"PUBLISH q0 "hot" alias=1 2"#,
            r#"PUBLISH q0 "" alias=1 3"#,
            r#"PUBLISH q0 "a" x"#,
        ]
    );
}

#[test]
fn the_hottest_topics_end_up_with_the_aliases_whatever_came_first() {
    let mut peer = offering(3);
    for round in 0..200 {
        // Three that come in every round among many that come once.
        for hot in ["h1", "h2", "h3"] {
            peer.deliver_all(QoS::AtMostOnce, hot, &["x"]);
        }
        peer.deliver_all(QoS::AtMostOnce, &format!("cold/{round}"), &["x"]);
        if round < 199 {
            peer.sent();
        }
    }
    let last = peer.sent();
    let aliased = last
        .iter()
        .filter(|line| line.starts_with(r#"PUBLISH q0 "" alias="#));
    assert_eq!(aliased.count(), 3, "{last:?}");
}

#[test]
fn our_own_maximum_bounds_the_aliases_we_set() {
    let settings = Settings {
        topic_alias_maximum_broker: 1,
        ..Settings::default()
    };
    let mut peer = Peer::with(&Connect::new("c").alias_maximum(u16::MAX), settings);
    for topic in ["a", "b"] {
        peer.deliver_all(QoS::AtMostOnce, topic, &["x"]);
    }
    assert_eq!(
        peer.sent(),
        [r#"PUBLISH q0 "a" alias=1 x"#, r#"PUBLISH q0 "b" x"#]
    );
}

#[test]
fn mqtt_3_1_2_27_a_client_that_named_no_maximum_is_sent_no_alias() {
    for connect in [Connect::new("c"), Connect::new("c").alias_maximum(0)] {
        let mut peer = Peer::connected(&connect);
        peer.deliver_all(QoS::AtMostOnce, "a", &["x", "y"]);
        assert_eq!(peer.sent(), [r#"PUBLISH q0 "a" x"#, r#"PUBLISH q0 "a" y"#]);
    }
}

#[test]
fn a_packet_too_large_for_the_client_sets_no_alias() {
    // Type, length, topic with its length, property length, and for an alias three bytes.
    let mut peer = Peer::connected(&Connect::new("c").alias_maximum(5).maximum_packet(12));
    let large = delivery(QoS::AtMostOnce, "a", "0123456789");
    assert_eq!(peer.deliver(large), Delivered::TooLarge);
    peer.deliver_all(QoS::AtMostOnce, "a", &["x"]);
    assert_eq!(peer.sent(), [r#"PUBLISH q0 "a" alias=1 x"#]);
}

/// [MQTT-3.1.2-25] drops what is too large for the client; an alias of ours is no reason to.
#[test]
fn a_message_that_fits_without_its_alias_is_sent_without_it() {
    // 2 + 3 + 1 + 6 bytes without an alias.
    let mut peer = Peer::connected(&Connect::new("c").alias_maximum(5).maximum_packet(12));
    peer.deliver_all(QoS::AtMostOnce, "a", &["012345", "x", "012345"]);
    assert_eq!(
        peer.sent(),
        [
            r#"PUBLISH q0 "a" 012345"#,
            r#"PUBLISH q0 "a" alias=1 x"#,
            r#"PUBLISH q0 "a" 012345"#,
        ]
    );
}

proptest::proptest! {
    /// What a client that keeps the aliases makes of the packets is what was published.
    #[test]
    fn a_client_that_follows_the_aliases_reads_the_topics_that_were_sent(
        maximum in 1_u16..6,
        topics in proptest::collection::vec(0_u8..12, 1..300),
    ) {
        let mut peer = offering(maximum);
        let mut known = std::collections::HashMap::<u16, String>::new();
        for topic in topics {
            let topic = format!("t/{topic}");
            peer.deliver_all(QoS::AtMostOnce, &topic, &["x"]);
            let line = peer.sent().remove(0);
            let name = line.split('"').nth(1).unwrap().to_owned();
            let alias = line.split("alias=").nth(1).map(|rest| {
                rest.split(' ').next().unwrap().parse::<u16>().unwrap()
            });
            proptest::prop_assert!(alias.is_none_or(|alias| (1..=maximum).contains(&alias)));
            let read = match (name.as_str(), alias) {
                ("", Some(alias)) => known[&alias].clone(),
                (_, Some(alias)) => {
                    known.insert(alias, name.clone());
                    name
                }
                _ => name,
            };
            proptest::prop_assert_eq!(read, topic);
        }
    }
}
