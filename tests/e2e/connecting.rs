//! CONNECT and CONNACK, and the wills that came with CONNECT (sections 3.1, 3.2 and 3.14).

use crate::clients::ACL;
use crate::support::raw::{Hello, Packet, Raw, Will, packet, publish, put_bytes, subscribe};
use crate::support::site::{Broker, Site};

fn site(more: &str) -> Site {
    Site::with_users(&["inside", "alice", "bob"], ACL, more)
}

const ANSWERS: &str = "demo/alice/answers/#";
const ANSWER: &str = "demo/alice/answers/1";
const GONE: &str = "demo/alice/requests/gone";

fn watching(site: &Site) -> Raw {
    let (mut watching, _) = Raw::hello(site.plain, &Hello::new(5, "w", "inside"));
    assert_eq!(watching.subscribe(&[("demo/+/requests/gone", 0)]), [0]);
    watching
}

/// Nobody but `count` clients is connected any more, and what their going has caused is on its way.
fn until_left(broker: &Broker<'_>, count: u32) {
    broker.metric_becomes("portcullis_connections", f64::from(count));
}

#[test]
fn mqtt_3_1_2_7_and_10_a_will_is_kept_from_connect_on_and_published_once() {
    let site = site("");
    let broker = site.start();
    let mut watching = watching(&site);
    let with_will = Hello::new(5, "mortal", "alice").with_will(Will::new(GONE, "gone"));
    Raw::hello(site.plain, &with_will).0.vanish();
    assert_eq!(watching.message().payload, "gone");
    // It is spent: the next connection has none.
    let without = Hello::new(5, "mortal", "alice");
    Raw::hello(site.plain, &without).0.vanish();
    until_left(&broker, 1);
    watching.expect_silence();
    // DISCONNECT with 0x00 takes it away, and breaking off later does not bring it back.
    Raw::hello(site.plain, &with_will).0.disconnect();
    Raw::hello(site.plain, &without).0.vanish();
    until_left(&broker, 1);
    watching.expect_silence();
}

#[test]
fn mqtt_3_1_2_14_a_will_without_will_retain_is_not_kept() {
    let site = site("");
    let _broker = site.start();
    let mut early = watching(&site);
    for retain in [false, true] {
        let will = Will {
            retain,
            ..Will::new(GONE, "gone")
        };
        let mortal = Hello::new(5, "mortal", "alice").with_will(will);
        Raw::hello(site.plain, &mortal).0.vanish();
        // Retain As Published is off: it is new to who was there.
        assert!(!early.message().retain);
        let (mut late, _) = Raw::hello(site.plain, &Hello::new(5, "late", "inside"));
        assert_eq!(late.subscribe(&[(GONE, 0)]), [0]);
        if retain {
            assert!(late.message().retain);
        }
        late.expect_silence();
    }
}

#[test]
fn mqtt_3_1_3_10_the_user_properties_of_a_will_arrive_in_their_order() {
    let site = site("");
    let _broker = site.start();
    let mut watching = watching(&site);
    let mut block = Vec::new();
    for (name, value) in [("k2", "a"), ("k1", "b"), ("k2", "c"), ("", "")] {
        block.push(0x26);
        put_bytes(&mut block, name.as_bytes());
        put_bytes(&mut block, value.as_bytes());
    }
    let will = Will {
        properties: block.clone(),
        ..Will::new(GONE, "gone")
    };
    let mortal = Hello::new(5, "mortal", "alice").with_will(will);
    Raw::hello(site.plain, &mortal).0.vanish();
    assert_eq!(watching.message().properties, block);
}

fn connack(port: u16, hello: &Hello) -> (Raw, Packet) {
    let mut raw = Raw::plain(port, hello.version);
    raw.send(&hello.encode());
    let connack = raw.receive();
    assert_eq!(connack.kind(), 2, "{connack:02x?}");
    (raw, connack)
}

const ASSIGNED: u8 = 0x12;

#[test]
fn mqtt_3_1_3_6_and_3_2_2_16_each_client_without_an_identifier_is_given_one_of_its_own() {
    let site = site("");
    let _broker = site.start();
    let mut ids = Vec::new();
    let mut connections = Vec::new();
    for clean in [true, false, true] {
        let hello = Hello {
            clean,
            ..Hello::new(5, "", "alice")
        };
        let (raw, answer) = connack(site.plain, &hello);
        assert_eq!(answer.body[..2], [0, 0]);
        ids.push(answer.said(ASSIGNED).expect("it is told"));
        connections.push(raw);
    }
    assert!(ids.iter().all(|id| !id.is_empty()));
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    // Three sessions: nobody has taken the place of another.
    for raw in &mut connections {
        raw.expect_silence();
    }
    let (_, named) = connack(site.plain, &Hello::new(5, "named", "alice"));
    assert_eq!(named.said(ASSIGNED), None);
}

/// Each CONNECT that is refused, with the code it is refused with.
fn refused() -> Vec<(&'static str, Vec<u8>, u8)> {
    let hello = || Hello::new(5, "r", "alice");
    let wrong = Hello {
        password: Some("wrong battery".into()),
        ..hello()
    };
    let not_granted = hello().with_will(Will::new("demo/bob/requests/gone", "gone"));
    let mut reserved_flag = hello().encode();
    reserved_flag[9] |= 1;
    let mut flags = hello().encode();
    flags[0] = 0x1F;
    vec![
        ("a wrong password", wrong.encode(), 0x86),
        ("nobody", Hello::new(5, "r", "nobody").encode(), 0x86),
        ("no name", Hello::nameless(5, "r").encode(), 0x87),
        ("a will it may not write", not_granted.encode(), 0x87),
        ("another's", Hello::new(5, "owned", "alice").encode(), 0x87),
        ("a reserved flag", reserved_flag, 0x81),
        ("flags of the fixed header", flags, 0x81),
        (
            "Receive Maximum 0",
            hello().with_property(&[0x21, 0, 0]).encode(),
            0x82,
        ),
        (
            "no room for CONNACK",
            hello().with_property(&[0x27, 0, 0, 0, 8]).encode(),
            0x95,
        ),
        (
            "a method that is not there",
            hello().with_property(&[0x15, 0, 1, b'K']).encode(),
            0x8C,
        ),
    ]
}

#[test]
fn mqtt_3_1_4_2_and_3_2_2_7_who_is_not_let_in_is_told_why_and_the_connection_ends() {
    let site = site("");
    let _broker = site.start();
    let (_owner, _) = Raw::hello(site.plain, &Hello::new(5, "owned", "bob"));
    for (what, bytes, code) in refused() {
        let mut raw = Raw::plain(site.plain, 5);
        raw.send(&bytes);
        let answer = raw.receive();
        assert_eq!(
            (answer.first, &answer.body[..2]),
            (0x20, &[0, code][..]),
            "{what}"
        );
        raw.expect_end();
    }
}

#[test]
fn mqtt_3_1_4_6_what_comes_behind_a_connect_that_is_refused_is_not_looked_at() {
    let site = site("");
    let broker = site.start();
    let (_owner, _) = Raw::hello(site.plain, &Hello::new(5, "owned", "bob"));
    let (mut watching, _) = Raw::hello(site.plain, &Hello::new(5, "w", "inside"));
    assert_eq!(watching.subscribe(&[("demo/#", 0)]), [0]);
    for (what, mut bytes, code) in refused() {
        bytes.extend(subscribe(5, 1, &[(ANSWERS, 0)], &[]));
        bytes.extend(publish(5, "demo/alice/requests/1", b"x", 1, 2, true, &[]));
        bytes.extend([0xC0, 0]);
        let mut raw = Raw::plain(site.plain, 5);
        // It may be closed before all of it is written.
        drop(raw.try_send(&bytes));
        if let Some(answer) = raw.next() {
            assert_eq!((answer.first, answer.body[1]), (0x20, code), "{what}");
        }
        raw.expect_end();
    }
    watching.expect_silence();
    assert!(broker.metric("portcullis_retained_messages").abs() < f64::EPSILON);
}

#[test]
fn mqtt_3_2_0_1_connack_comes_before_everything_else() {
    let site = site("");
    let _broker = site.start();
    let hello = Hello::new(5, "kept", "alice").kept();
    let (mut alice, _) = Raw::hello(site.plain, &hello);
    assert_eq!(alice.subscribe(&[(ANSWERS, 1)]), [1]);
    alice.disconnect();
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    for id in 1..=5 {
        assert_eq!(inside.publish_acked(ANSWER, "queued", id), 0);
    }
    // What waits for it, and answers to what comes with CONNECT in one write.
    let mut alice = Raw::plain(site.plain, 5);
    let mut bytes = hello.encode();
    bytes.extend([0xC0, 0]);
    bytes.extend(subscribe(5, 9, &[(ANSWERS, 1)], &[]));
    alice.send(&bytes);
    assert_eq!(alice.receive().kind(), 2);
    let mut behind: Vec<u8> = (0..7).map(|_| alice.receive().kind()).collect();
    behind.sort_unstable();
    assert_eq!(behind, [3, 3, 3, 3, 3, 9, 13]);
}

#[test]
fn mqtt_3_2_0_2_there_is_one_connack_whatever_is_sent() {
    let site = site("");
    let _broker = site.start();
    let good = Hello::new(5, "one", "alice");
    let bad = Hello {
        password: Some("wrong battery".into()),
        ..good.clone()
    };
    for hellos in [[&good, &good], [&good, &bad], [&bad, &good], [&bad, &bad]] {
        let mut raw = Raw::plain(site.plain, 5);
        drop(raw.try_send(&[hellos[0].encode(), hellos[1].encode()].concat()));
        let mut connacks = Vec::new();
        while let Some(packet) = raw.next() {
            connacks.extend((packet.kind() == 2).then_some(packet));
        }
        assert_eq!(connacks.len(), 1, "{connacks:02x?}");
    }
}

#[test]
fn mqtt_3_2_2_4_and_5_after_a_restart_no_session_is_claimed_and_nothing_of_it_is_left() {
    let site = site("");
    let hello = Hello::new(5, "kept", "alice").kept();
    let killed = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &hello);
    assert_eq!(alice.subscribe(&[(ANSWERS, 1)]), [1]);
    // It ends as with kill -9.
    drop(killed);
    let _broker = site.start();
    let (mut alice, present) = Raw::hello(site.plain, &hello);
    assert!(!present);
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    assert_eq!(inside.publish_acked(ANSWER, "x", 1), 0);
    alice.expect_silence();
    assert_eq!(alice.subscribe(&[(ANSWERS, 1)]), [1]);
    assert_eq!(inside.publish_acked(ANSWER, "y", 2), 0);
    assert_eq!(alice.message().payload, "y");
}

#[test]
fn mqtt_3_2_2_10_a_subscription_above_the_maximum_qos_is_taken_and_granted_less() {
    for (directive, granted) in [("max_qos 0", [0, 0, 0]), ("max_qos 1", [0, 1, 1])] {
        let site = site("");
        site.on_plain_listener(directive);
        let _broker = site.start();
        let (mut alice, answer) = connack(site.plain, &Hello::new(5, "a", "alice"));
        let announced = (0x24, vec![granted[2]]);
        assert!(answer.properties(2).contains(&announced), "{answer:02x?}");
        let topics = ["demo/alice/answers/0", "demo/alice/answers/1", ANSWERS];
        let filters = [(topics[0], 0), (topics[1], 1), (topics[2], 2)];
        assert_eq!(alice.subscribe(&filters), granted);
        let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
        inside.publish("demo/alice/answers/2", "x", granted[2], 1);
        assert_eq!(alice.message().qos, granted[2]);
    }
}

#[test]
fn mqtt_3_14_0_1_before_connack_there_is_no_disconnect() {
    let site = site("connect_timeout 1");
    let _broker = site.start();
    let (_owner, _) = Raw::hello(site.plain, &Hello::new(5, "owned", "bob"));
    let mut unknown_level = Vec::new();
    put_bytes(&mut unknown_level, b"MQTT");
    unknown_level.extend([6, 2, 0, 60, 0, 0, 1, b'a']);
    let mut cases: Vec<Vec<u8>> = refused().into_iter().map(|(_, bytes, _)| bytes).collect();
    cases.extend([
        packet(0x10, &unknown_level),
        // What is no CONNECT, what is too large, and what never becomes whole.
        vec![0xC0, 0],
        publish(5, ANSWER, b"x", 0, 0, false, &[]),
        vec![0x10, 0xFF, 0xFF, 0xFF, 0x7F],
        Hello::new(5, "a", "alice").encode()[..12].to_vec(),
    ]);
    for bytes in cases {
        let mut raw = Raw::plain(site.plain, 5);
        raw.send(&bytes);
        while let Some(answer) = raw.next() {
            assert_eq!(answer.kind(), 2, "{bytes:02x?}: {answer:02x?}");
            assert_ne!(answer.body[1], 0);
        }
    }
}

#[test]
fn mqtt_3_14_0_1_a_broker_that_stops_says_nothing_to_who_has_no_connack() {
    let site = site("");
    let mut broker = site.start();
    let mut half = Raw::plain(site.plain, 5);
    half.send(&Hello::new(5, "a", "alice").encode()[..12]);
    let (mut whole, _) = Raw::hello(site.plain, &Hello::new(5, "b", "alice"));
    broker.signal(nix::sys::signal::Signal::SIGTERM);
    whole.expect_disconnect(0x8B);
    half.expect_end();
    assert_eq!(broker.wait().code(), Some(0));
}
