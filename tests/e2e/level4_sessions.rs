//! MQTT 3.1.1 and 3.1: CONNECT, CONNACK, the session and the will.

use crate::fifteen::{connected_becomes, site};
use crate::support::raw::{Hello, Packet, Raw, Will, publish};
use crate::support::site::Site;

fn hello(id: &str) -> Hello {
    Hello::nameless(4, id)
}

fn connected(site: &Site, hello: &Hello) -> Raw {
    Raw::hello(site.plain, hello).0
}

/// What CONNECT is answered with, byte for byte; empty if the connection is closed without a word.
fn answer(site: &Site, hello: &Hello) -> (Raw, Vec<u8>) {
    let mut raw = Raw::plain(site.plain, hello.version);
    raw.send(&hello.encode());
    let bytes = raw.next().map(|Packet { first, body }| {
        let mut bytes = vec![first, u8::try_from(body.len()).expect("short")];
        bytes.extend(body);
        bytes
    });
    (raw, bytes.unwrap_or_default())
}

#[test]
fn mqtt_3_1_2_4_of_3_1_1_a_session_without_clean_session_is_made_kept_and_resumed() {
    let site = site("");
    let broker = site.start();
    let (raw, first) = answer(&site, &hello("s").kept());
    assert_eq!(first, [0x20, 2, 0, 0], "there was none [MQTT-3.2.2-3]");
    raw.vanish();
    connected_becomes(&broker, 0.0);
    broker.metric_becomes("portcullis_sessions", 1.0);
    let (_raw, second) = answer(&site, &hello("s").kept());
    assert_eq!(second, [0x20, 2, 1, 0]);
}

#[test]
fn mqtt_3_2_2_1_to_3_of_3_1_1_session_present_says_what_there_was_before() {
    let site = site("");
    let _broker = site.start();
    for (hello, present) in [
        (hello("s").kept(), 0),
        (hello("s").kept(), 1),
        // Clean Session never has any.
        (hello("s"), 0),
        (hello("s").kept(), 0),
    ] {
        let (raw, bytes) = answer(&site, &hello);
        assert_eq!(bytes, [0x20, 2, present, 0]);
        raw.disconnect();
    }
}

#[test]
fn mqtt_3_1_2_6_of_3_1_1_a_clean_session_begins_with_nothing_and_ends_with_its_connection() {
    let site = site("");
    let broker = site.start();
    let mut kept = connected(&site, &hello("s").kept());
    kept.subscribe(&[("t", 1)]);
    kept.disconnect();
    let mut clean = connected(&site, &hello("s"));
    connected(&site, &hello("p")).publish_acked("t", "for the old one", 1);
    clean.expect_silence();
    clean.subscribe(&[("t", 1)]);
    clean.vanish();
    broker.metric_becomes("portcullis_sessions", 0.0);
    let (_raw, bytes) = answer(&site, &hello("s").kept());
    assert_eq!(bytes, [0x20, 2, 0, 0]);
}

#[test]
fn mqtt_3_1_2_5_of_3_1_1_messages_are_kept_for_a_session_whose_client_is_away() {
    let site = site("");
    let broker = site.start();
    let mut raw = connected(&site, &hello("s").kept());
    raw.subscribe(&[("t", 2)]);
    raw.vanish();
    connected_becomes(&broker, 0.0);
    let mut sender = connected(&site, &hello("p"));
    sender.publish_acked("t", "1", 1);
    sender.publish_acked("t", "2", 2);
    let mut raw = connected(&site, &hello("s").kept());
    assert_eq!(
        (raw.message().payload, raw.message().payload),
        ("1".into(), "2".into())
    );
}

#[test]
fn mqtt_4_5_0_1_of_3_1_1_a_message_is_added_to_every_session_it_matches() {
    let site = site("");
    let _broker = site.start();
    for id in ["a", "b"] {
        let mut raw = connected(&site, &hello(id).kept());
        raw.subscribe(&[("t/+", 1)]);
        raw.disconnect();
    }
    let mut here = connected(&site, &hello("c"));
    here.subscribe(&[("t/#", 1)]);
    connected(&site, &hello("p")).publish_acked("t/1", "for all", 1);
    assert_eq!(here.message().payload, "for all");
    for id in ["a", "b"] {
        let mut raw = connected(&site, &hello(id).kept());
        assert_eq!(raw.message().payload, "for all");
    }
}

#[test]
fn mqtt_3_1_2_7_of_3_1_1_retained_messages_outlive_the_session_that_sent_them() {
    let site = site("");
    let broker = site.start();
    let mut raw = connected(&site, &hello("s"));
    raw.publish_with("t", "kept", 0, 0, true, &[]);
    raw.disconnect();
    broker.metric_becomes("portcullis_sessions", 0.0);
    let mut later = connected(&site, &hello("l"));
    later.subscribe(&[("t", 0)]);
    assert_eq!(later.message().payload, "kept");
}

fn heir(site: &Site) -> Raw {
    let mut heir = connected(site, &hello("heir"));
    heir.subscribe(&[("will/#", 2)]);
    heir
}

fn mortal(qos: u8, retain: bool) -> Hello {
    let will = Will {
        qos,
        retain,
        ..Will::new("will/t", "gone")
    };
    hello("mortal").with_will(will)
}

#[test]
fn mqtt_3_1_2_8_of_3_1_1_a_will_is_sent_at_once_however_the_connection_ends() {
    let site = site("");
    let _broker = site.start();
    let mut heir = heir(&site);
    connected(&site, &mortal(0, false)).vanish();
    assert_eq!(heir.message().payload, "gone");
    connected(&site, &mortal(0, false)).send(&[0xC1, 0]);
    assert_eq!(heir.message().payload, "gone");
    let first = connected(&site, &mortal(0, false));
    let second = connected(&site, &hello("mortal"));
    assert_eq!(heir.message().payload, "gone", "a takeover ends it too");
    drop((first, second));
}

#[test]
fn mqtt_3_14_1_1_of_3_1_1_a_disconnect_with_flags_is_a_violation_and_sends_the_will() {
    let site = site("");
    let _broker = site.start();
    let mut heir = heir(&site);
    let mut raw = connected(&site, &mortal(0, false));
    raw.send(&[0xE1, 0]);
    raw.expect_end();
    assert_eq!(heir.message().payload, "gone");
}

#[test]
fn mqtt_3_1_2_10_of_3_1_1_a_disconnect_removes_the_will() {
    let site = site("");
    let broker = site.start();
    let mut heir = heir(&site);
    connected(&site, &mortal(0, false)).disconnect();
    connected_becomes(&broker, 1.0);
    heir.expect_silence();
}

#[test]
fn mqtt_3_14_4_3_of_3_1_1_the_will_does_not_come_back_with_the_next_connection() {
    let site = site("");
    let broker = site.start();
    let mut heir = heir(&site);
    connected(&site, &mortal(0, false)).disconnect();
    connected(&site, &hello("mortal")).vanish();
    connected_becomes(&broker, 1.0);
    heir.expect_silence();
}

#[test]
fn mqtt_3_1_2_12_of_3_1_1_without_a_will_nothing_is_published() {
    let site = site("");
    let broker = site.start();
    let mut all = connected(&site, &hello("all"));
    all.subscribe(&[("#", 0)]);
    connected(&site, &hello("s")).vanish();
    connected_becomes(&broker, 1.0);
    all.expect_silence();
}

#[test]
fn mqtt_3_1_2_9_of_3_1_1_a_will_has_the_qos_of_its_flags() {
    let site = site("");
    let _broker = site.start();
    let mut heir = heir(&site);
    for qos in 0..=2 {
        connected(&site, &mortal(qos, false)).vanish();
        assert_eq!(heir.message().qos, qos);
    }
}

#[test]
fn mqtt_3_1_2_16_and_17_of_3_1_1_a_will_is_retained_if_its_flag_says_so() {
    let site = site("");
    let _broker = site.start();
    let mut early = heir(&site);
    for retain in [false, true] {
        connected(&site, &mortal(1, retain)).vanish();
        early.message();
        let mut late = connected(&site, &hello("late"));
        late.subscribe(&[("will/t", 0)]);
        if retain {
            assert!(late.message().retain);
        } else {
            late.expect_silence();
        }
    }
}

#[test]
fn mqtt_3_1_2_23_of_3_1_1_pings_keep_a_connection() {
    let site = site("");
    let broker = site.start();
    let mut short = hello("s");
    short.keep_alive_s = 1;
    let mut silent = connected(&site, &short);
    short.client_id = "pings".into();
    let mut pinging = connected(&site, &short);
    // Until the silent one is closed the other lives as long, which is longer than its Keep Alive.
    let sample = "portcullis_disconnects_total{cause=\"keep_alive\"}";
    while broker.metric(sample) < 1.0 {
        pinging.expect_silence();
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    silent.expect_end();
    pinging.expect_silence();
}

#[test]
fn mqtt_3_1_2_24_of_3_1_1_silence_ends_a_connection_and_sends_its_will() {
    let site = site("");
    let _broker = site.start();
    let mut heir = heir(&site);
    let mut short = mortal(0, false);
    short.keep_alive_s = 1;
    let mut silent = connected(&site, &short);
    assert_eq!(heir.message().payload, "gone");
    silent.expect_end();
}

#[test]
fn mqtt_3_1_3_2_of_3_1_1_the_client_identifier_alone_names_the_session() {
    let site = site("");
    let _broker = site.start();
    let mut one = connected(&site, &hello("One").kept());
    let other = connected(&site, &hello("one").kept());
    one.expect_silence();
    other.disconnect();
    assert!(Raw::hello(site.plain, &hello("one").kept()).1);
    assert!(!Raw::hello(site.plain, &hello("one ").kept()).1);
}

#[test]
fn mqtt_3_1_3_5_of_3_1_1_identifiers_of_1_to_23_letters_and_digits_are_accepted() {
    let site = site("");
    let _broker = site.start();
    for id in ["0", "azAZ09", "0123456789abcdefghijklm"] {
        assert_eq!(answer(&site, &hello(id)).1, [0x20, 2, 0, 0], "{id}");
    }
}

#[test]
fn v31_2_identifiers_of_more_than_23_characters_are_accepted_in_3_1_too() {
    let site = site("");
    let _broker = site.start();
    for length in [1, 23, 24, 200] {
        let old = Hello::nameless(3, &"x".repeat(length));
        assert_eq!(answer(&site, &old).1, [0x20, 2, 0, 0], "{length}");
    }
}

#[test]
fn v31_3_in_3_1_a_client_without_identifier_is_refused_with_2() {
    let site = site("");
    let _broker = site.start();
    for clean in [true, false] {
        let mut old = Hello::nameless(3, "");
        old.clean = clean;
        let (mut raw, bytes) = answer(&site, &old);
        assert_eq!(bytes, [0x20, 2, 0, 2]);
        raw.expect_end();
    }
}

#[test]
fn mqtt_3_1_3_6_of_3_1_1_a_client_without_identifier_is_given_one_that_nobody_else_has() {
    let site = site("");
    let broker = site.start();
    let (mut a, first) = answer(&site, &hello(""));
    let (mut b, second) = answer(&site, &hello(""));
    assert_eq!((first, second), (vec![0x20, 2, 0, 0], vec![0x20, 2, 0, 0]));
    a.expect_silence();
    b.expect_silence();
    broker.metric_becomes("portcullis_sessions", 2.0);
}

#[test]
fn mqtt_3_1_3_7_and_8_of_3_1_1_without_identifier_there_is_no_session_to_keep() {
    let site = site("");
    let _broker = site.start();
    let (mut raw, bytes) = answer(&site, &hello("").kept());
    assert_eq!(bytes, [0x20, 2, 0, 2]);
    raw.expect_end();
}

#[test]
fn mqtt_3_1_3_9_of_3_1_1_an_identifier_that_is_not_accepted_is_refused_with_2() {
    let site = site("allow_zero_length_clientid false");
    let _broker = site.start();
    let (mut raw, bytes) = answer(&site, &hello(""));
    assert_eq!(bytes, [0x20, 2, 0, 2]);
    raw.expect_end();
}

#[test]
fn mqtt_3_1_4_2_of_3_1_1_a_second_connection_of_a_client_ends_the_first_without_a_word() {
    let site = site("");
    let _broker = site.start();
    let mut first = connected(&site, &hello("s"));
    let mut second = connected(&site, &hello("s"));
    first.expect_end();
    second.expect_silence();
}

#[test]
fn mqtt_3_1_4_3_of_3_1_1_clean_session_holds_for_a_takeover_too() {
    let site = site("");
    let _broker = site.start();
    let mut first = connected(&site, &hello("s").kept());
    first.subscribe(&[("t", 1)]);
    let (mut second, bytes) = answer(&site, &hello("s"));
    assert_eq!(bytes, [0x20, 2, 0, 0]);
    first.expect_end();
    connected(&site, &hello("p")).publish_acked("t", "x", 1);
    second.expect_silence();
}

#[test]
fn mqtt_3_1_4_4_of_3_1_1_a_good_connect_is_acknowledged_with_0() {
    let site = site("");
    let _broker = site.start();
    assert_eq!(answer(&site, &hello("s")).1, [0x20, 2, 0, 0]);
}

/// A site with a user, for those who are not.
fn guarded() -> Site {
    Site::with_users(&["alice"], "user alice\ntopic readwrite #\n", "")
}

fn stranger(id: &str) -> Hello {
    let mut stranger = Hello::new(4, id, "alice");
    stranger.password = Some("wrong battery".into());
    stranger
}

#[test]
fn mqtt_3_1_4_5_of_3_1_1_nothing_is_processed_behind_a_connect_that_was_refused() {
    let site = guarded();
    let _broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(4, "a", "alice"));
    alice.subscribe(&[("#", 0)]);
    let mut both = stranger("s").encode();
    both.extend(publish(4, "t", b"smuggled", 0, 0, false, &[]));
    let mut raw = Raw::plain(site.plain, 4);
    raw.send(&both);
    assert_eq!(raw.receive().body, [0, 4]);
    raw.expect_end();
    alice.expect_silence();
}

#[test]
fn mqtt_3_2_2_4_and_5_of_3_1_1_a_refusal_has_no_session_and_ends_the_connection() {
    let site = guarded();
    let _broker = site.start();
    let kept = Hello::new(4, "s", "alice").kept();
    Raw::hello(site.plain, &kept).0.disconnect();
    let mut wrong = kept;
    wrong.password = Some("wrong battery".into());
    let (mut raw, bytes) = answer(&site, &wrong);
    assert_eq!(bytes, [0x20, 2, 0, 4], "though it has a session");
    raw.expect_end();
}

#[test]
fn mqtt_3_2_2_6_of_3_1_1_where_no_return_code_fits_the_connection_is_closed_without_connack() {
    let site = site("max_qos 1\nretain_available false");
    let _broker = site.start();
    // 5.0 has 0x9B and 0x9A for these.
    for (qos, retain) in [(2, false), (0, true)] {
        let (_raw, bytes) = answer(&site, &mortal(qos, retain));
        assert!(bytes.is_empty(), "QoS {qos}, retain {retain}");
    }
    assert_eq!(answer(&site, &mortal(1, false)).1, [0x20, 2, 0, 0]);
}

#[test]
fn mqtt_3_2_0_1_of_3_1_1_connack_comes_before_what_has_waited() {
    let site = site("");
    let _broker = site.start();
    let mut raw = connected(&site, &hello("s").kept());
    raw.subscribe(&[("t", 1)]);
    raw.disconnect();
    connected(&site, &hello("p")).publish_acked("t", "waited", 1);
    let mut raw = Raw::plain(site.plain, 4);
    raw.send(&hello("s").kept().encode());
    let kinds = [raw.receive().kind(), raw.receive().kind()];
    assert_eq!(kinds, [2, 3]);
}

#[test]
fn mqtt_4_1_0_1_and_2_of_3_1_1_a_session_lasts_through_its_connections_and_between_them() {
    let site = site("");
    let broker = site.start();
    let mut raw = connected(&site, &hello("s").kept());
    raw.subscribe(&[("t", 1)]);
    let mut sender = connected(&site, &hello("p"));
    for round in 1..=3 {
        sender.publish_acked("t", "x", round);
        assert_eq!(raw.message().payload, "x", "connected");
        raw.vanish();
        connected_becomes(&broker, 1.0);
        sender.publish_acked("t", "y", round);
        let (again, present) = Raw::hello(site.plain, &hello("s").kept());
        assert!(present);
        raw = again;
        assert_eq!(raw.message().payload, "y", "away");
    }
}

#[test]
fn mqtt_3_14_4_1_of_3_1_1_the_server_closes_after_disconnect_if_the_client_does_not() {
    let site = site("");
    let _broker = site.start();
    let mut raw = connected(&site, &hello("s"));
    raw.send(&[0xE0, 0]);
    raw.expect_end();
}

#[test]
fn mqtt_3_14_4_2_of_3_1_1_nothing_behind_a_disconnect_is_processed() {
    let site = site("");
    let broker = site.start();
    let mut all = connected(&site, &hello("all"));
    all.subscribe(&[("#", 0)]);
    let mut bytes = vec![0xE0, 0];
    bytes.extend(publish(4, "t", b"too late", 0, 0, false, &[]));
    let mut raw = connected(&site, &hello("s"));
    raw.send(&bytes);
    raw.expect_end();
    connected_becomes(&broker, 1.0);
    all.expect_silence();
}

#[test]
fn mqtt_7_0_0_1_of_3_1_1_the_broker_is_nobodys_client() {
    let site = site("connection other\naddress 127.0.0.1:1883\ntopic # both");
    let ended = site.run_conf();
    assert_ne!(ended.code, Some(0));
    let why = "this broker opens no connections of its own, so there are no bridges";
    assert!(ended.err.contains(why), "{}", ended.err);
}

#[test]
fn mqtt_7_0_0_2_of_3_1_1_nothing_beyond_the_standard_is_needed_to_work_with_it() {
    let site = Site::new();
    site.conf("listener {plain} 127.0.0.1\nallow_anonymous true");
    let _broker = site.start();
    let mut raw = connected(&site, &hello("plain"));
    assert_eq!(raw.subscribe(&[("t", 2)]), [2]);
    raw.publish("t", "to myself", 0, 0);
    assert_eq!(raw.message().payload, "to myself");
    raw.disconnect();
}

#[test]
fn mqtt_7_1_1_1_and_7_1_2_1_of_3_1_1_tcp_and_tls_carry_all_bytes_in_order() {
    let site = guarded();
    let _broker = site.start();
    let hello = Hello::new(4, "s", "alice").encode();
    let tls = crate::support::material::MATERIAL.tls(None);
    for mut raw in [Raw::plain(site.plain, 4), Raw::tls(site.tls, 4, tls)] {
        raw.send(&hello);
        assert_eq!(raw.receive().body, [0, 0]);
        raw.subscribe(&[("t", 0)]);
        let all: Vec<u8> = (0..500)
            .flat_map(|number: u16| {
                publish(4, "t", number.to_string().as_bytes(), 0, 0, false, &[])
            })
            .collect();
        raw.send(&all);
        for number in 0..500 {
            assert_eq!(raw.message().payload, number.to_string());
        }
    }
}
