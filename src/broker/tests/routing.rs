//! Which subscriptions a message goes to, in which form, and in which order.

use std::sync::Arc;

use crate::broker::Settings;
use crate::broker::tests::world::{
    Hello, Peer, Q0, Q1, Q2, World, message, retained, to, with_qos,
};
use crate::message::{Message, Subscription};
use crate::session::tests::wire::Connect;

fn identified(filter: &str, qos: crate::codec::QoS, identifier: u32) -> Subscription {
    Subscription {
        identifier: Some(identifier),
        ..to(filter, qos)
    }
}

fn not_own(filter: &str, qos: crate::codec::QoS) -> Subscription {
    Subscription {
        no_local: true,
        ..to(filter, qos)
    }
}

fn pair(world: &mut World) -> (Peer, Peer) {
    let reader = world.connect(&Hello::clean("reader"));
    let writer = world.connect(&Hello::clean("writer"));
    (reader, writer)
}

#[test]
fn mqtt_3_3_2_3_a_message_goes_to_the_sessions_whose_filters_match_it() {
    let mut world = World::open();
    let (mut reader, mut writer) = pair(&mut world);
    for filter in ["a/b", "c/+", "d/#", "+/e", "/f"] {
        world.subscribe(&mut reader, to(filter, Q0));
    }
    for (topic, matched) in [
        ("a/b", 1),
        ("a/b/c", 0),
        ("A/b", 0),
        ("c/", 1),
        ("c", 0),
        ("d", 1),
        ("d/x/y", 1),
        ("x/e", 1),
        ("$x/e", 0),
        ("/f", 1),
        ("f", 0),
    ] {
        let fanout = world.publish(&mut writer, message(topic, "x"));
        assert_eq!(
            (fanout.matched, fanout.delivered),
            (matched, matched),
            "{topic}"
        );
        assert_eq!(world.received(&mut reader).len(), matched, "{topic}");
    }
}

#[test]
fn mqtt_3_3_4_2_to_4_overlapping_subscriptions_get_one_copy_of_the_highest_qos_and_all_identifiers()
{
    let mut world = World::open();
    let (mut reader, mut writer) = pair(&mut world);
    world.subscribe(&mut reader, identified("a/#", Q0, 1));
    world.subscribe(&mut reader, identified("a/b", Q2, 2));
    world.subscribe(&mut reader, identified("+/b", Q1, 300));
    world.subscribe(&mut reader, to("#", Q0));
    let fanout = world.publish(&mut writer, with_qos(Q2, "a/b", "x"));
    assert_eq!((fanout.matched, fanout.delivered), (1, 1));
    let line = world.received(&mut reader).remove(0);
    assert!(line.starts_with(r#"PUBLISH q2 #1 "a/b""#), "{line}");
    let mut identifiers: Vec<&str> = line.split(" id=").skip(1).collect();
    identifiers.sort_unstable();
    assert_eq!(identifiers, ["1", "2", "300 x"]);
    world.publish(&mut writer, with_qos(Q2, "a/c", "x"));
    let line = world.received(&mut reader).remove(0);
    assert_eq!(line, r#"PUBLISH q0 "a/c" id=1 x"#);
}

#[test]
fn mqtt_3_3_4_5_where_copies_are_wanted_each_has_the_qos_and_identifier_of_its_subscription() {
    let mut world = World::settings(Settings {
        duplicates: true,
        ..Settings::default()
    });
    let (mut reader, mut writer) = pair(&mut world);
    world.subscribe(&mut reader, identified("a/#", Q0, 1));
    world.subscribe(&mut reader, identified("a/b", Q1, 2));
    world.publish(&mut writer, with_qos(Q1, "a/b", "x"));
    let mut lines = world.received(&mut reader);
    lines.sort();
    assert_eq!(
        lines,
        [
            r#"PUBLISH q0 "a/b" id=1 x"#,
            r#"PUBLISH q1 #1 "a/b" id=2 x"#
        ]
    );
}

#[test]
fn mqtt_3_8_4_8_the_lower_of_published_and_granted_qos_is_delivered() {
    for (upgrade, expected) in [
        (false, [0, 0, 0, 0, 1, 1, 0, 1, 2]),
        (true, [0, 1, 2, 0, 1, 2, 0, 1, 2]),
    ] {
        let mut world = World::settings(Settings {
            upgrade_outgoing_qos: upgrade,
            ..Settings::default()
        });
        let mut expected = expected.into_iter();
        for published in [Q0, Q1, Q2] {
            for granted in [Q0, Q1, Q2] {
                let (mut reader, mut writer) = pair(&mut world);
                world.subscribe(&mut reader, to("a", granted));
                world.publish(&mut writer, with_qos(published, "a", "x"));
                let line = world.received(&mut reader).remove(0);
                let wanted = format!("PUBLISH q{} ", expected.next().expect("one of nine"));
                assert!(line.starts_with(&wanted), "{line}");
                world.disconnect(reader);
                world.disconnect(writer);
            }
        }
    }
}

#[test]
fn mqtt_3_8_3_3_no_local_keeps_a_clients_own_messages_from_it_and_no_others() {
    let mut world = World::open();
    let (mut reader, mut writer) = pair(&mut world);
    world.subscribe(&mut reader, not_own("a", Q0));
    world.subscribe(&mut writer, to("a", Q0));
    world.publish(&mut reader, message("a", "own"));
    world.publish(&mut writer, message("a", "other"));
    assert_eq!(world.payloads(&mut reader), ["other"]);
    assert_eq!(world.payloads(&mut writer), ["own", "other"]);
}

#[test]
fn a_clients_own_message_is_delivered_as_its_other_subscriptions_say() {
    let mut world = World::open();
    let (mut reader, mut writer) = pair(&mut world);
    let quiet = Subscription {
        identifier: Some(9),
        retain_as_published: true,
        ..not_own("a/#", Q2)
    };
    world.subscribe(&mut reader, quiet);
    world.subscribe(&mut reader, identified("a/b", Q0, 5));
    // One that must not be forwarded to its author adds nothing to what is.
    world.publish(
        &mut reader,
        Message {
            qos: Q1,
            ..retained("a/b", "own")
        },
    );
    assert_eq!(
        world.received(&mut reader),
        [r#"PUBLISH q0 "a/b" id=5 own"#]
    );
    world.publish(&mut writer, with_qos(Q1, "a/b", "other"));
    let line = world.received(&mut reader).remove(0);
    assert!(line.starts_with(r#"PUBLISH q1 #1 "a/b" id="#), "{line}");
    assert!(line.contains("id=5") && line.contains("id=9"), "{line}");
}

#[test]
fn mqtt_3_3_1_12_and_13_retain_is_forwarded_only_to_those_who_asked_for_it_as_published() {
    let mut world = World::open();
    let (mut reader, mut writer) = pair(&mut world);
    let as_published = Subscription {
        retain_as_published: true,
        ..to("b", Q0)
    };
    world.subscribe(&mut reader, to("a", Q0));
    world.subscribe(&mut reader, as_published);
    for topic in ["a", "b"] {
        world.publish(&mut writer, retained(topic, "r"));
        world.publish(&mut writer, message(topic, "n"));
    }
    assert_eq!(
        world.received(&mut reader),
        [
            r#"PUBLISH q0 "a" r"#,
            r#"PUBLISH q0 "a" n"#,
            r#"PUBLISH retain q0 "b" r"#,
            r#"PUBLISH q0 "b" n"#,
        ]
    );
}

#[test]
fn mqtt_3_8_4_3_the_same_filter_again_replaces_the_subscription() {
    let mut world = World::open();
    let (mut reader, mut writer) = pair(&mut world);
    world.subscribe(&mut reader, identified("a", Q0, 1));
    world.subscribe(&mut reader, identified("a", Q1, 2));
    assert_eq!(world.broker.counts().subscriptions, 1);
    world.publish(&mut writer, with_qos(Q2, "a", "x"));
    assert_eq!(world.received(&mut reader), [r#"PUBLISH q1 #1 "a" id=2 x"#]);
}

#[test]
fn mqtt_3_10_4_1_and_2_unsubscribing_takes_away_exactly_the_filter_that_was_named() {
    let mut world = World::open();
    let (mut reader, mut writer) = pair(&mut world);
    world.subscribe(&mut reader, to("a/b", Q0));
    world.subscribe(&mut reader, to("a/+", Q0));
    for other in ["a/#", "a/b/", "+/b", "$share/g/a/b", ""] {
        assert!(!world.unsubscribe(&mut reader, other), "{other}");
    }
    assert!(world.unsubscribe(&mut reader, "a/+"));
    assert!(!world.unsubscribe(&mut reader, "a/+"));
    world.publish(&mut writer, message("a/b", "x"));
    world.publish(&mut writer, message("a/c", "y"));
    assert_eq!(world.payloads(&mut reader), ["x"]);
    assert!(world.unsubscribe(&mut reader, "a/b"));
    assert_eq!(world.publish(&mut writer, message("a/b", "z")).matched, 0);
    assert_eq!(world.broker.counts().subscriptions, 0);
}

#[test]
fn mqtt_3_10_4_3_what_was_begun_is_finished_after_unsubscribing() {
    use crate::session::tests::wire::PUBREC;
    let mut world = World::open();
    let (mut reader, mut writer) = pair(&mut world);
    world.subscribe(&mut reader, to("a", Q2));
    world.publish(&mut writer, with_qos(Q2, "a", "x"));
    world.received(&mut reader);
    world.unsubscribe(&mut reader, "a");
    world.acknowledge(&mut reader, PUBREC, 1);
    assert_eq!(reader.connection.session().inflight(), 1);
}

/// A publisher remembers the receivers of its last topic, and a core those of thousands.
#[test]
fn a_subscription_made_or_ended_meanwhile_counts_for_the_next_message() {
    let mut world = World::open();
    let (mut reader, mut writer) = pair(&mut world);
    let mut publish =
        |world: &mut World, topic: &str| world.publish(&mut writer, message(topic, "x")).matched;
    for filter in ["a/b", "a/+", "#", "+/b", "a/b/#"] {
        for topic in ["a/b", "a/b", "other/topic", "a/b"] {
            let before = publish(&mut world, topic);
            assert_eq!(before, 0, "{filter} {topic}");
        }
        world.subscribe(&mut reader, to(filter, Q0));
        assert_eq!(publish(&mut world, "a/b"), 1, "{filter}");
        let other = publish(&mut world, "other/topic");
        assert_eq!(other, usize::from(filter == "#"), "{filter}");
        world.unsubscribe(&mut reader, filter);
    }
}

#[test]
fn mqtt_4_6_0_5_and_6_each_publishers_messages_arrive_in_its_order() {
    let mut world = World::open();
    let (mut reader, mut writer) = pair(&mut world);
    let mut second = world.connect(&Hello::clean("second"));
    world.subscribe(&mut reader, to("t/#", Q1));
    for count in 0..50 {
        world.publish(&mut writer, with_qos(Q1, "t/a", &format!("w{count}")));
        world.publish(&mut second, with_qos(Q1, "t/b", &format!("s{count}")));
    }
    let payloads = world.payloads(&mut reader);
    for (mark, expected) in [('w', "t/a"), ('s', "t/b")] {
        let own: Vec<&String> = payloads
            .iter()
            .filter(|payload| payload.starts_with(mark))
            .collect();
        let wanted: Vec<String> = (0..50).map(|count| format!("{mark}{count}")).collect();
        assert!(own.into_iter().eq(wanted.iter()), "{expected}");
    }
    assert_eq!(payloads.len(), 100);
}

#[test]
fn a_message_that_has_expired_already_goes_nowhere() {
    let mut world = World::open();
    let (mut reader, mut writer) = pair(&mut world);
    world.subscribe(&mut reader, to("a", Q1));
    let expires_at = Message::expiry(0, world.now);
    let fanout = world.publish(
        &mut writer,
        Message {
            expires_at,
            ..message("a", "x")
        },
    );
    assert_eq!((fanout.matched, fanout.delivered), (0, 0));
}

#[test]
fn clients_of_every_version_receive_one_message_each_in_their_own_form() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let mut peers: Vec<Peer> = [("three", 3), ("four", 4), ("five", 5)]
        .into_iter()
        .map(|(id, level)| world.connect(&Hello::with(id, Connect::new(id).level(level))))
        .collect();
    for peer in &mut peers {
        world.subscribe(peer, identified("a", Q0, 7));
    }
    let author = Arc::clone(&writer.author);
    let fanout = world.publish(
        &mut writer,
        Message {
            properties: Box::from([0x01, 1]),
            author,
            ..message("a", "x")
        },
    );
    assert_eq!(fanout.delivered, 3);
    let lines: Vec<String> = peers
        .iter_mut()
        .flat_map(|peer| world.received(peer))
        .collect();
    assert_eq!(
        lines,
        [
            r#"PUBLISH q0 "a" x"#,
            r#"PUBLISH q0 "a" x"#,
            r#"PUBLISH q0 "a" utf8=1 id=7 x"#
        ]
    );
}
