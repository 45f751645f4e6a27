//! SUBSCRIBE and UNSUBSCRIBE, and what each is answered (sections 3.8 to 3.11).

use crate::clients::ACL;
use crate::support::raw::{Hello, Packet, Raw, packet, put_bytes, subscribe};
use crate::support::site::Site;

fn site(more: &str) -> Site {
    Site::with_users(&["inside", "alice", "bob"], ACL, more)
}

/// alice may read what is below it.
const ANSWERS: &str = "demo/alice/answers/#";

fn alice(site: &Site) -> Raw {
    Raw::hello(site.plain, &Hello::new(5, "a", "alice")).0
}

fn inside(site: &Site) -> Raw {
    Raw::hello(site.plain, &Hello::new(5, "i", "inside")).0
}

fn unsubscribe(id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.push(0);
    for filter in filters {
        put_bytes(&mut body, filter.as_bytes());
    }
    packet(0xA2, &body)
}

/// First byte, identifier and codes of a SUBACK or UNSUBACK.
fn parts(answer: &Packet) -> (u8, u16, &[u8]) {
    let id = u16::from_be_bytes([answer.body[0], answer.body[1]]);
    assert_eq!(answer.body[2], 0, "no properties: {answer:02x?}");
    (answer.first, id, &answer.body[3..])
}

#[test]
fn mqtt_2_2_1_6_suback_and_unsuback_have_the_identifier_of_what_they_answer() {
    let site = site("");
    let _broker = site.start();
    let mut alice = alice(&site);
    let ids = [0x1234, 1, 0xFFFF, 0x0100];
    for id in ids {
        alice.send(&subscribe(5, id, &[(ANSWERS, 0)], &[]));
        alice.send(&unsubscribe(id ^ 0x0203, &[ANSWERS]));
    }
    for id in ids {
        assert_eq!(parts(&alice.receive()), (0x90, id, &[0][..]));
        assert_eq!(parts(&alice.receive()), (0xB0, id ^ 0x0203, &[0][..]));
    }
}

#[test]
fn mqtt_3_8_4_1_and_2_every_subscribe_is_answered_with_its_identifier_refused_or_not() {
    let site = site("");
    let _broker = site.start();
    let mut alice = alice(&site);
    let all = [
        (7, ANSWERS, 0x01),
        (6, "#", 0x87),
        (7, "a#", 0x8F),
        (0x8000, ANSWERS, 0x01),
    ];
    // In one write, none of them waiting for the answer to another.
    let bytes: Vec<u8> = all
        .iter()
        .flat_map(|(id, filter, _)| subscribe(5, *id, &[(filter, 1)], &[]))
        .collect();
    alice.send(&bytes);
    for (id, _, code) in all {
        assert_eq!(parts(&alice.receive()), (0x90, id, &[code][..]));
    }
    alice.expect_silence();
}

#[test]
fn mqtt_3_8_4_5_several_filters_are_taken_one_after_the_other_and_answered_once() {
    let site = site("");
    let _broker = site.start();
    let mut alice = alice(&site);
    let filters = [
        ("demo/alice/answers/1", 0),
        ("demo/bob/answers/1", 0),
        ("demo/alice/answers/2", 0),
        // The one above again: this one holds.
        ("demo/alice/answers/1", 2),
    ];
    alice.send(&subscribe(5, 5, &filters, &[]));
    let answer = alice.receive();
    assert_eq!(parts(&answer), (0x90, 5, &[0, 0x87, 0, 2][..]));
    alice.expect_silence();
    let mut inside = inside(&site);
    for (id, topic) in (1..).zip([
        "demo/alice/answers/2",
        "demo/bob/answers/1",
        "demo/alice/answers/3",
        "demo/alice/answers/1",
    ]) {
        inside.publish(topic, topic, 2, id);
        assert_eq!(inside.receive().first, 0x50);
    }
    let seen = [alice.message(), alice.message()].map(|seen| (seen.topic, seen.qos));
    let expected = [
        ("demo/alice/answers/2".into(), 0),
        ("demo/alice/answers/1".into(), 2),
    ];
    assert_eq!(seen, expected);
    alice.expect_silence();
}

#[test]
fn mqtt_3_8_4_7_each_code_is_the_qos_that_is_then_delivered_or_a_refusal_of_which_nothing_comes() {
    let site = site("");
    let _broker = site.start();
    let mut alice = alice(&site);
    let topics = [
        "demo/alice/answers/0",
        "demo/alice/answers/1",
        "demo/alice/answers/2",
        "demo/bob/answers/0",
    ];
    let filters: Vec<(&str, u8)> = topics.into_iter().zip([0, 1, 2, 2]).collect();
    assert_eq!(alice.subscribe(&filters), [0, 1, 2, 0x87]);
    let mut inside = inside(&site);
    for (id, topic) in (1..).zip(topics) {
        inside.publish(topic, "x", 2, id);
        assert_eq!(inside.receive().first, 0x50);
    }
    for granted in [0, 1, 2] {
        let message = alice.message();
        assert_eq!(
            (&*message.topic, message.qos),
            (topics[usize::from(granted)], granted)
        );
    }
    alice.expect_silence();
}

/// Section 3.9.3; what is not here is of other packets.
#[test]
fn mqtt_3_9_3_2_whatever_a_filter_is_refused_for_there_is_a_code_of_suback() {
    let site = site("max_subscriptions_per_client 2\nmax_topic_levels 5");
    let _broker = site.start();
    let mut alice = alice(&site);
    let deep = "demo/alice/answers/4/5/6";
    let filters = [
        ("demo/bob/answers/#", 0),
        ("$SYS/#", 0),
        ("+", 0),
        ("a+", 0),
        ("$share/g", 0),
        (deep, 0),
        ("demo/alice/answers/1", 1),
        ("demo/alice/answers/2", 2),
        ("demo/alice/answers/3", 0),
    ];
    let codes = [0x87, 0x87, 0x87, 0x8F, 0x8F, 0x8F, 1, 2, 0x97];
    assert_eq!(alice.subscribe(&filters), codes);
}

#[test]
fn mqtt_3_10_4_4_and_5_every_unsubscribe_is_answered_also_where_nothing_was_there() {
    let site = site("");
    let _broker = site.start();
    let mut alice = alice(&site);
    assert_eq!(alice.subscribe(&[(ANSWERS, 0)]), [0]);
    let all = [
        (0x0102, ANSWERS, 0x00),
        (0x0304, ANSWERS, 0x11),
        (0xFFFF, "never/there", 0x11),
        (0x0102, "no#filter", 0x8F),
    ];
    let bytes: Vec<u8> = all
        .iter()
        .flat_map(|(id, filter, _)| unsubscribe(*id, &[filter]))
        .collect();
    alice.send(&bytes);
    for (id, _, code) in all {
        assert_eq!(parts(&alice.receive()), (0xB0, id, &[code][..]));
    }
    alice.expect_silence();
}

#[test]
fn mqtt_3_10_4_6_and_3_11_3_2_several_filters_are_taken_away_one_by_one_and_answered_once_with_its_codes()
 {
    let site = site("");
    let _broker = site.start();
    let mut alice = alice(&site);
    let [first, second, kept] = [
        "demo/alice/answers/1",
        "demo/alice/answers/2",
        "demo/alice/answers/3",
    ];
    assert_eq!(
        alice.subscribe(&[(first, 0), (second, 0), (kept, 0)]),
        [0; 3]
    );
    let gone = [second, "demo/alice/answers/4", "a#", first, second];
    alice.send(&unsubscribe(9, &gone));
    // Success, there was none, no valid filter.
    let codes = [0x00, 0x11, 0x8F, 0x00, 0x11];
    assert_eq!(parts(&alice.receive()), (0xB0, 9, &codes[..]));
    let mut inside = inside(&site);
    for (id, topic) in (1..).zip([first, second, kept]) {
        assert_eq!(inside.publish_acked(topic, "x", id) & 0x80, 0);
    }
    assert_eq!(alice.message().topic, kept);
    alice.expect_silence();
}

#[test]
fn mqtt_3_3_1_11_what_is_sent_for_one_subscribe_is_not_changed_by_the_next_that_wants_nothing() {
    let site = site("");
    let _broker = site.start();
    let mut inside = inside(&site);
    inside.publish_with("demo/alice/answers/1", "its own", 1, 1, true, &[]);
    assert_eq!(inside.receive().first, 0x40);
    // No Local first, then without it and with Retain Handling 2: the message was for neither.
    let mut both = subscribe(5, 2, &[("demo/#", 0x04)], &[]);
    both.extend(subscribe(5, 3, &[("demo/#", 0x20)], &[]));
    inside.send(&both);
    assert_eq!(
        (inside.receive().first, inside.receive().first),
        (0x90, 0x90)
    );
    inside.expect_silence();
}
