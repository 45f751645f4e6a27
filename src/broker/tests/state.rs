//! Session State: whose it is, how long it is kept, and what CONNACK says of it (sections 3.1, 3.2
//! and 4.1); and that messages reach every session they are for.

use crate::broker::tests::world::{
    Hello, Peer, Q0, Q1, Q2, World, message, retained, to, with_qos,
};
use crate::session::tests::wire::Connect;

fn expiring(id: &'static str, seconds: u32) -> Hello {
    Hello::with(id, Connect::new(id).resume().expiry(seconds))
}

fn reader(world: &mut World, hello: &Hello, filter: &str) -> Peer {
    let mut reader = world.connect(hello);
    world.subscribe(&mut reader, to(filter, Q1));
    reader
}

/// What CONNACK says before its properties.
fn said(peer: &Peer) -> &str {
    peer.connack.split(" receive-maximum").next().expect("text")
}

#[test]
fn mqtt_3_1_2_6_without_clean_start_a_session_is_made_where_there_is_none() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let peer = reader(&mut world, &Hello::kept("reader"), "a");
    assert_eq!(said(&peer), "CONNACK 0x00");
    assert_eq!(world.broker.counts().sessions, 2);
    world.disconnect(peer);
    world.publish(&mut writer, with_qos(Q1, "a", "x"));
    let mut back = world.connect(&Hello::kept("reader"));
    assert_eq!(world.payloads(&mut back), ["x"]);
}

#[test]
fn mqtt_3_2_2_2_with_clean_start_no_session_is_present_whatever_was_there() {
    let mut world = World::open();
    let clean = Hello::kept("c").clean_start();
    let never_seen = world.connect(&clean);
    assert_eq!(said(&never_seen), "CONNACK 0x00");
    // One that a connection has.
    let taken_over = world.take_over(&clean, never_seen);
    assert_eq!(said(&taken_over), "CONNACK 0x00");
    // One that waits for its client.
    world.disconnect(taken_over);
    assert_eq!(said(&world.connect(&clean)), "CONNACK 0x00");
}

#[test]
fn mqtt_3_2_2_3_without_clean_start_a_session_is_present_exactly_if_it_lives() {
    let mut world = World::open();
    let hello = expiring("c", 10);
    for (away, expected) in [
        (0, "CONNACK 0x00"),
        (9, "CONNACK 0x00 present"),
        (10, "CONNACK 0x00"),
        (0, "CONNACK 0x00 present"),
    ] {
        world.wait(away);
        let peer = world.connect(&hello);
        assert_eq!(said(&peer), expected, "after {away} s");
        world.disconnect(peer);
    }
    let old = world.connect(&hello);
    let new = world.take_over(&hello, old);
    assert_eq!(said(&new), "CONNACK 0x00 present");
}

#[test]
fn mqtt_3_1_3_2_a_session_is_found_by_the_client_identifier_and_by_nothing_else() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let kept = reader(&mut world, &Hello::kept("reader").user("u"), "a");
    world.disconnect(kept);
    world.publish(&mut writer, with_qos(Q1, "a", "x"));
    // The same user under another identifier, alike as it may look.
    for id in ["Reader", "reader ", "reade", "reader\u{301}"] {
        let mut other = world.connect(&Hello::kept(id).user("u"));
        assert!(!other.present, "{id:?}");
        assert!(world.payloads(&mut other).is_empty(), "{id:?}");
    }
    let mut own = world.connect(&Hello::kept("reader").user("u"));
    assert!(own.present);
    assert_eq!(world.payloads(&mut own), ["x"]);
}

#[test]
fn mqtt_4_1_0_1_a_session_is_kept_while_its_connection_is_open_however_long() {
    for (id, seconds) in [("ends with it", 0), ("ten seconds", 10)] {
        let mut world = World::open();
        let mut writer = world.connect(&Hello::clean("writer"));
        let mut open = reader(&mut world, &expiring(id, seconds), "a");
        world.publish(&mut writer, with_qos(Q2, "a", "before"));
        assert_eq!(world.wait(1 << 20), 0, "{id}");
        world.publish(&mut writer, with_qos(Q1, "a", "after"));
        assert_eq!(world.payloads(&mut open), ["before", "after"]);
        assert_eq!(world.broker.counts().expired_sessions, 0);
        world.disconnect(open);
        world.wait(10);
        assert_eq!(world.broker.counts().sessions, 1, "{id}");
    }
}

#[test]
fn mqtt_4_5_0_1_a_message_is_added_to_every_session_whose_filter_matches_present_or_not() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    let mut present = Vec::new();
    for (id, filter) in [("exact", "a/b"), ("plus", "+/b"), ("hash", "#")] {
        present.push(reader(&mut world, &Hello::clean(id), filter));
    }
    let absent = [Hello::kept("away"), Hello::kept("also away")];
    for hello in &absent {
        let peer = reader(&mut world, hello, "a/#");
        world.disconnect(peer);
    }
    let mut other = reader(&mut world, &Hello::clean("other"), "a/c");
    let fanout = world.publish(&mut writer, with_qos(Q1, "a/b", "x"));
    assert_eq!((fanout.matched, fanout.delivered), (5, 5));
    present.extend(absent.iter().map(|hello| world.connect(hello)));
    for peer in &mut present {
        assert_eq!(world.payloads(peer), ["x"]);
    }
    assert!(world.payloads(&mut other).is_empty());
}

/// Bytes are compared, and nothing is made alike before.
#[test]
fn mqtt_4_7_3_4_names_and_filters_match_as_they_are_written() {
    let names = [
        "a/b",
        "A/b",
        "/a/b",
        "a/b/",
        "a//b",
        "a/ b",
        // One letter, and a letter with an accent put on it.
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{feff}a/b",
    ];
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    for filter in names {
        let mut reader = reader(&mut world, &Hello::clean("reader"), filter);
        for name in names {
            world.publish(&mut writer, message(name, "x"));
            let line = format!("PUBLISH q0 {name:?} x");
            let expected: &[String] = if name == filter { &[line] } else { &[] };
            assert_eq!(world.received(&mut reader), expected, "{filter:?} {name:?}");
        }
        world.disconnect(reader);
    }
}

#[test]
fn mqtt_3_8_4_4_a_subscription_made_again_is_sent_what_is_retained_and_loses_nothing() {
    let mut world = World::open();
    let mut writer = world.connect(&Hello::clean("writer"));
    world.publish(&mut writer, retained("a/kept", "kept"));
    let mut reader = world.connect(&Hello::kept("reader"));
    let mut seen = Vec::new();
    for (number, qos) in (1..=6).zip([Q1, Q2, Q1].into_iter().cycle()) {
        world.publish(&mut writer, with_qos(Q1, "a/live", &number.to_string()));
        world.subscribe(&mut reader, to("a/+", qos));
        // Not always read before it is made again.
        if number % 2 == 0 {
            seen.extend(world.payloads(&mut reader));
        }
    }
    let retained = seen.iter().filter(|payload| *payload == "kept").count();
    assert_eq!(retained, 6, "{seen:?}");
    seen.retain(|payload| payload != "kept");
    // The first was published before there was any subscription.
    assert_eq!(seen, ["2", "3", "4", "5", "6"]);
    world.publish(&mut writer, message("a/live", "7"));
    world.subscribe(&mut reader, to("a/+", Q0));
    let mut last = world.payloads(&mut reader);
    last.sort();
    assert_eq!(last, ["7", "kept"]);
}
