//! The fifteen things that brokers most often get wrong, each as one story with the real program.

use crate::support::raw::{Hello, Raw, Will, ack, packet, publish, put_bytes, subscribe};
use crate::support::site::{Broker, Site};

/// Anonymous clients on loopback, and metrics to wait by.
pub(crate) fn site(more: &str) -> Site {
    let site = Site::new();
    site.conf(&format!(
        "security_profile compatible\nlistener {{plain}} 127.0.0.1\nallow_anonymous true\n\
         metrics_listener {{metrics}} 127.0.0.1\naudit_log {{dir}}/audit.log\n{more}"
    ));
    site
}

fn hello(id: &str) -> Hello {
    Hello::nameless(5, id)
}

fn connected(site: &Site, hello: &Hello) -> Raw {
    Raw::hello(site.plain, hello).0
}

/// A client that reads `filter`.
fn reader(site: &Site, id: &str, filter: &str, qos: u8) -> Raw {
    let mut raw = connected(site, &hello(id));
    assert_eq!(raw.subscribe(&[(filter, qos)]), [qos]);
    raw
}

pub(crate) fn connected_becomes(broker: &Broker<'_>, count: f64) {
    broker.metric_becomes("portcullis_sessions_connected", count);
}

fn sessions_become(broker: &Broker<'_>, count: f64) {
    broker.metric_becomes("portcullis_sessions", count);
}

/// PUBREL, PUBREC and their like with an identifier, and the code behind it (0 if there is none).
fn expect_ack(raw: &mut Raw, first: u8, id: u16, code: u8) {
    let packet = raw.receive();
    assert_eq!(packet.first, first, "{packet:02x?}");
    assert_eq!(packet.body[..2], id.to_be_bytes(), "{packet:02x?}");
    assert_eq!(
        packet.body.get(2).copied().unwrap_or(0),
        code,
        "{packet:02x?}"
    );
}

#[test]
fn fifteen_01_malformed_and_over_long_encodings_and_duplicate_properties() {
    let site = site("");
    let broker = site.start();
    let mut witness = reader(&site, "witness", "#", 0);
    let twice = publish(5, "t", b"", 0, 0, false, &[0x01, 0, 0x01, 0]);
    for (bytes, code) in [
        // A length of 0 in two bytes, and one that never ends.
        (&[0xC0, 0x80, 0x00][..], 0x81),
        (&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], 0x81),
        // A Topic Name with a surrogate, one with NUL, one that is over-long UTF-8.
        (&[0x30, 6, 0, 3, 0xED, 0xA0, 0x80, 0], 0x81),
        (&[0x30, 4, 0, 1, 0, 0], 0x81),
        (&[0x30, 5, 0, 2, 0xC0, 0xAF, 0], 0x81),
        // A property twice, an unknown one, one that belongs elsewhere.
        (&twice, 0x82),
        (&publish(5, "t", b"", 0, 0, false, &[0x7E, 0]), 0x81),
        (&publish(5, "t", b"", 0, 0, false, &[0x13, 0, 1]), 0x82),
        // Reserved bits, QoS 3, an identifier of 0.
        (&[0xC1, 0], 0x81),
        (&[0x36, 4, 0, 1, b't', 0], 0x81),
        (&publish(5, "t", b"", 1, 0, false, &[]), 0x82),
    ] {
        let mut raw = connected(&site, &hello("bad"));
        raw.send(bytes);
        let end = raw.receive();
        assert_eq!((end.first, end.body[0]), (0xE0, code), "{bytes:02x?}");
        raw.expect_end();
        // The same to 3.1.1, where it can be said: a bare close.
        if !bytes.contains(&0x7E) && bytes[0] != 0x30 {
            let mut old = connected(&site, &Hello::nameless(4, "bad"));
            old.send(bytes);
            old.expect_end();
        }
    }
    witness.expect_silence();
    connected_becomes(&broker, 1.0);
}

#[test]
fn fifteen_02_nobody_gets_a_disconnect_before_connack() {
    let site = site("");
    let _broker = site.start();
    let mut no_name = hello("x").encode();
    no_name[4] = b'N';
    let mut reserved = hello("x").encode();
    reserved[9] |= 1;
    let twice = hello("x").with_property(&[0x21, 0, 5, 0x21, 0, 5]).encode();
    for bytes in [
        no_name,
        reserved,
        twice,
        vec![0xC0, 0],
        publish(5, "t", b"", 0, 0, false, &[]),
        vec![0xE0, 0],
        vec![0x10, 0xFF, 0xFF, 0xFF, 0xFF],
    ] {
        let mut raw = Raw::plain(site.plain, 5);
        raw.send(&bytes);
        match raw.next() {
            None => {}
            Some(answer) => {
                assert_eq!(answer.first, 0x20, "{bytes:02x?}: {answer:02x?}");
                assert!(answer.body[1] >= 0x80, "{answer:02x?}");
                raw.expect_end();
            }
        }
    }
}

#[test]
fn fifteen_03_a_will_goes_out_on_0x04_and_every_abnormal_close_and_not_after_a_return() {
    let site = site("");
    let broker = site.start();
    let mut heir = reader(&site, "heir", "will/#", 1);
    let mortal = |delay: u8| {
        let mut will = Will::new("will/t", "gone");
        will.properties = vec![0x18, 0, 0, 0, delay];
        hello("mortal").kept().with_will(will)
    };
    // 0x04 asks for it, 0x00 takes it away.
    let mut raw = connected(&site, &mortal(0));
    raw.send(&[0xE0, 1, 0x04]);
    raw.expect_end();
    assert_eq!(heir.message().payload, "gone");
    connected(&site, &mortal(0)).disconnect();
    connected_becomes(&broker, 1.0);
    heir.expect_silence();
    // A broken socket, a protocol error, silence.
    connected(&site, &mortal(0)).vanish();
    assert_eq!(heir.message().payload, "gone");
    connected(&site, &mortal(0)).send(&[0xC1, 0]);
    assert_eq!(heir.message().payload, "gone");
    let mut silent = mortal(0);
    silent.keep_alive_s = 1;
    let _silent = connected(&site, &silent);
    assert_eq!(heir.message().payload, "gone");
    // A return before its delay is over cancels it; the end of the session sends it at once.
    connected(&site, &mortal(200)).vanish();
    connected_becomes(&broker, 1.0);
    let mut back = connected(&site, &hello("mortal").kept());
    back.expect_silence();
    heir.expect_silence();
    back.disconnect();
    connected(&site, &mortal(200)).vanish();
    connected_becomes(&broker, 1.0);
    let fresh = connected(&site, &hello("mortal"));
    assert_eq!(heir.message().payload, "gone");
    fresh.disconnect();
}

#[test]
fn fifteen_04_a_takeover_says_0x8e_and_clean_start_ends_the_session() {
    let site = site("");
    let _broker = site.start();
    let mut first = connected(&site, &hello("one").kept());
    first.subscribe(&[("t", 1)]);
    let (mut second, present) = Raw::hello(site.plain, &hello("one").kept());
    first.expect_disconnect(0x8E);
    assert!(present);
    connected(&site, &hello("s")).publish_acked("t", "for the session", 1);
    assert_eq!(second.message().payload, "for the session");
    // 3.1.1 has no word for it: a bare close.
    let (mut old, present) = Raw::hello(site.plain, &Hello::nameless(4, "one").kept());
    second.expect_disconnect(0x8E);
    assert!(present);
    let (mut clean, present) = Raw::hello(site.plain, &hello("one"));
    old.expect_end();
    assert!(!present);
    connected(&site, &hello("s")).publish_acked("t", "for nobody", 1);
    clean.expect_silence();
}

#[test]
fn fifteen_05_session_expiry_0_and_never_and_changed_in_disconnect() {
    let site = site("");
    let broker = site.start();
    let expiring = |id: &str, seconds: u32| {
        let mut property = vec![0x11];
        property.extend(seconds.to_be_bytes());
        let mut hello = hello(id).with_property(&property);
        hello.clean = false;
        hello
    };
    // 0 and absent: it ends with the connection. Never: it stays.
    connected(&site, &expiring("a", 0)).disconnect();
    connected(&site, &hello("b")).vanish();
    connected(&site, &expiring("c", u32::MAX)).disconnect();
    sessions_become(&broker, 1.0);
    // Changed at the end to one second, and to 0.
    let mut raw = connected(&site, &expiring("d", 3600));
    raw.send(&packet(0xE0, &[0, 5, 0x11, 0, 0, 0, 1]));
    raw.expect_end();
    sessions_become(&broker, 1.0);
    let mut raw = connected(&site, &expiring("c", u32::MAX));
    raw.send(&packet(0xE0, &[0, 5, 0x11, 0, 0, 0, 0]));
    raw.expect_end();
    sessions_become(&broker, 0.0);
    // What was 0 cannot be made longer.
    let mut raw = connected(&site, &expiring("e", 0));
    raw.send(&packet(0xE0, &[0, 5, 0x11, 0, 0, 0, 9]));
    raw.expect_disconnect(0x82);
}

#[test]
fn fifteen_06_the_clients_receive_maximum_and_a_refusing_pubrec_that_frees_a_place() {
    let site = site("");
    let _broker = site.start();
    let mut raw = connected(&site, &hello("r").with_property(&[0x21, 0, 2]));
    raw.subscribe(&[("t", 2)]);
    let mut sender = connected(&site, &hello("s"));
    for (id, payload) in [(1, "1"), (2, "2"), (3, "3"), (4, "4")] {
        sender.publish("t", payload, 2, id);
        expect_ack(&mut sender, 0x50, id, 0);
        sender.send(&ack(0x62, id));
        expect_ack(&mut sender, 0x70, id, 0);
    }
    let first = raw.unacknowledged();
    let second = raw.unacknowledged();
    raw.expect_silence();
    // QoS 0 is not held up by it.
    sender.publish("t", "zero", 0, 0);
    assert_eq!(raw.unacknowledged().payload, "zero");
    // A good PUBREC frees nothing yet, a refusing one does.
    let [first_id, second_id] = [first.id, second.id].map(|id| id.expect("QoS 2"));
    raw.send(&ack(0x50, first_id));
    expect_ack(&mut raw, 0x62, first_id, 0);
    raw.expect_silence();
    let [high, low] = second_id.to_be_bytes();
    raw.send(&[0x50, 3, high, low, 0x97]);
    assert_eq!(raw.unacknowledged().payload, "3");
    raw.send(&ack(0x70, first_id));
    assert_eq!(raw.unacknowledged().payload, "4");
}

#[test]
fn fifteen_07_nothing_is_sent_again_while_connected_and_all_of_it_in_order_after() {
    let site = site("");
    let broker = site.start();
    let resuming = hello("r").kept();
    let mut raw = connected(&site, &resuming);
    raw.subscribe(&[("t", 2)]);
    let mut sender = connected(&site, &hello("s"));
    for (id, qos, payload) in [(1, 1, "1"), (2, 2, "2"), (3, 2, "3"), (4, 1, "4")] {
        sender.publish("t", payload, qos, id);
        expect_ack(&mut sender, if qos == 1 { 0x40 } else { 0x50 }, id, 0);
        if qos == 2 {
            sender.send(&ack(0x62, id));
            expect_ack(&mut sender, 0x70, id, 0);
        }
    }
    let ids: Vec<u16> = (0..4)
        .map(|_| raw.unacknowledged().id.expect("QoS 1 or 2"))
        .collect();
    raw.send(&ack(0x50, ids[1]));
    expect_ack(&mut raw, 0x62, ids[1], 0);
    // Pings and time change nothing.
    for _ in 0..3 {
        raw.expect_silence();
    }
    raw.vanish();
    connected_becomes(&broker, 1.0);
    let mut raw = connected(&site, &resuming);
    let again = raw.unacknowledged();
    assert_eq!(
        (again.payload.as_str(), again.dup, again.id),
        ("1", true, Some(ids[0]))
    );
    expect_ack(&mut raw, 0x62, ids[1], 0);
    for (payload, id) in [("3", ids[2]), ("4", ids[3])] {
        let again = raw.unacknowledged();
        assert_eq!(
            (again.payload.as_str(), again.dup, again.id),
            (payload, true, Some(id))
        );
    }
    raw.expect_silence();
}

#[test]
fn fifteen_08_qos_2_is_taken_once_until_pubrel_on_whatever_connection() {
    let site = site("");
    let broker = site.start();
    let mut receiver = reader(&site, "r", "t", 2);
    let kept = hello("s").kept();
    let mut sender = connected(&site, &kept);
    sender.publish("t", "once", 2, 7);
    expect_ack(&mut sender, 0x50, 7, 0);
    sender.vanish();
    connected_becomes(&broker, 1.0);
    let mut sender = connected(&site, &kept);
    let mut again = publish(5, "t", b"once", 2, 7, false, &[]);
    again[0] |= 0x08;
    sender.send(&again);
    expect_ack(&mut sender, 0x50, 7, 0);
    sender.send(&ack(0x62, 7));
    expect_ack(&mut sender, 0x70, 7, 0);
    // Released: 0x92 for what is not known, and the identifier means a new message.
    sender.send(&ack(0x62, 7));
    expect_ack(&mut sender, 0x70, 7, 0x92);
    sender.publish("t", "another", 2, 7);
    expect_ack(&mut sender, 0x50, 7, 0);
    assert_eq!(receiver.unacknowledged().payload, "once");
    assert_eq!(receiver.unacknowledged().payload, "another");
    receiver.expect_silence();
}

#[test]
fn fifteen_09_a_message_too_large_for_one_client_is_dropped_for_it_alone() {
    let site = site("");
    let broker = site.start();
    let small = hello("small").with_property(&[0x27, 0, 0, 0, 60]);
    let mut small = connected(&site, &small);
    small.subscribe(&[("t", 1)]);
    let mut large = reader(&site, "large", "t", 1);
    let mut sender = connected(&site, &hello("s"));
    sender.publish_acked("t", &"x".repeat(100), 1);
    sender.publish_acked("t", "short", 2);
    assert_eq!(large.message().payload.len(), 100);
    assert_eq!(large.message().payload, "short");
    assert_eq!(small.message().payload, "short");
    small.expect_silence();
    let sample = "portcullis_messages_dropped_total{reason=\"too_large\"}";
    broker.metric_becomes(sample, 1.0);
}

#[test]
fn fifteen_10_topic_aliases_in_both_directions_with_0x94_and_0x82() {
    let site = site("");
    let _broker = site.start();
    let wanting = hello("r").with_property(&[0x22, 0, 1]);
    let mut receiver = connected(&site, &wanting);
    receiver.subscribe(&[("t/#", 0)]);
    let mut sender = connected(&site, &hello("s"));
    sender.send(&publish(5, "t/a", b"1", 0, 0, false, &[0x23, 0, 3]));
    sender.send(&publish(5, "", b"2", 0, 0, false, &[0x23, 0, 3]));
    sender.send(&publish(5, "t/b", b"3", 0, 0, false, &[0x23, 0, 3]));
    sender.send(&publish(5, "", b"4", 0, 0, false, &[0x23, 0, 3]));
    let seen: Vec<(String, Vec<u8>)> = (0..4)
        .map(|_| {
            let message = receiver.unacknowledged();
            (message.topic, message.properties)
        })
        .collect();
    // One alias may be used towards this client, for the topic that came first.
    let alias = vec![0x23, 0, 1];
    assert_eq!(seen[0], ("t/a".into(), alias.clone()));
    assert_eq!(seen[1], (String::new(), alias));
    assert_eq!(seen[2].0, "t/b");
    for (bytes, code) in [
        (publish(5, "t/a", b"", 0, 0, false, &[0x23, 0, 0]), 0x94),
        (publish(5, "t/a", b"", 0, 0, false, &[0x23, 0, 11]), 0x94),
        (publish(5, "", b"", 0, 0, false, &[0x23, 0, 9]), 0x82),
        (publish(5, "", b"", 0, 0, false, &[]), 0x82),
    ] {
        let mut wrong = connected(&site, &hello("w"));
        wrong.send(&bytes);
        wrong.expect_disconnect(code);
    }
}

#[test]
fn fifteen_11_retain_handling_retain_as_published_and_the_empty_message() {
    let site = site("");
    let _broker = site.start();
    let mut sender = connected(&site, &hello("s"));
    sender.publish_with("t", "kept", 1, 1, true, &[]);
    expect_ack(&mut sender, 0x40, 1, 0);
    // Handling 0 sends it, 1 only to a new subscription, 2 never; Retain As Published is bit 3.
    let mut raw = connected(&site, &hello("r"));
    raw.subscribe(&[("t", 0x01)]);
    assert!(raw.message().retain);
    raw.subscribe(&[("t", 0x11)]);
    raw.expect_silence();
    raw.subscribe(&[("t", 0x21 | 0x08)]);
    raw.expect_silence();
    let mut fresh = connected(&site, &hello("f"));
    fresh.subscribe(&[("t", 0x11)]);
    assert_eq!(fresh.message().payload, "kept");
    // Live: as published for the one, without the flag for the other.
    sender.publish_with("t", "", 1, 2, true, &[]);
    expect_ack(&mut sender, 0x40, 2, 0);
    let (as_published, plain) = (raw.message(), fresh.message());
    assert_eq!(
        (as_published.payload.as_str(), as_published.retain),
        ("", true)
    );
    assert_eq!((plain.payload.as_str(), plain.retain), ("", false));
    let mut late = connected(&site, &hello("l"));
    late.subscribe(&[("t", 0)]);
    late.expect_silence();
}

#[test]
fn fifteen_12_the_message_expiry_interval_is_counted_down_and_then_over() {
    let site = site("");
    let broker = site.start();
    let resuming = hello("r").kept();
    let mut raw = connected(&site, &resuming);
    raw.subscribe(&[("t", 1)]);
    raw.disconnect();
    let mut sender = connected(&site, &hello("s"));
    let second = [0x02, 0, 0, 0, 1];
    let hour = [0x02, 0, 0, 0x0E, 0x10];
    sender.publish_with("t", "short-lived", 1, 1, false, &second);
    expect_ack(&mut sender, 0x40, 1, 0);
    sender.publish_with("t", "long-lived", 1, 2, true, &hour);
    expect_ack(&mut sender, 0x40, 2, 0);
    // The clock that decides is the broker's, so the test waits as long as the message lives.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let mut raw = connected(&site, &resuming);
    let message = raw.message();
    assert_eq!(message.payload, "long-lived");
    let left = u32::from_be_bytes(message.properties[1..5].try_into().expect("four bytes"));
    assert!((3500..3600).contains(&left), "{left} seconds are left");
    raw.expect_silence();
    let sample = "portcullis_messages_dropped_total{reason=\"expired\"}";
    broker.metric_becomes(sample, 1.0);
}

#[test]
fn fifteen_13_every_matching_subscription_identifier_is_there() {
    let site = site("allow_duplicate_messages false");
    let _broker = site.start();
    let mut raw = connected(&site, &hello("r"));
    for (id, filter) in [(11, "a/#"), (12, "a/+"), (13, "a/b"), (14, "other")] {
        raw.send(&subscribe(
            5,
            id,
            &[(filter, 1)],
            &[0x0B, u8::try_from(id).expect("small")],
        ));
        assert_eq!(raw.receive().first, 0x90);
    }
    // And one without.
    raw.subscribe(&[("+/b", 2)]);
    connected(&site, &hello("s")).publish("a/b", "x", 0, 0);
    let message = raw.message();
    let mut identifiers: Vec<u8> = message.properties.chunks(2).map(|pair| pair[1]).collect();
    identifiers.sort_unstable();
    assert_eq!(identifiers, [11, 12, 13]);
    assert!(message.properties.chunks(2).all(|pair| pair[0] == 0x0B));
    raw.expect_silence();
}

#[test]
fn fifteen_14_shared_subscriptions() {
    let site = site("");
    let broker = site.start();
    // No Local makes no sense there.
    let mut wrong = connected(&site, &hello("w"));
    wrong.send(&subscribe(5, 1, &[("$share/g/t", 0x04)], &[]));
    wrong.expect_disconnect(0x82);
    // What one member refuses goes to nobody else.
    let mut a = reader(&site, "a", "$share/g/t", 1);
    let mut b = reader(&site, "b", "$share/g/t", 1);
    let mut sender = connected(&site, &hello("s"));
    for id in 1..=2 {
        sender.publish_acked("t", "one for each", id);
    }
    for member in [&mut a, &mut b] {
        let [high, low] = member.unacknowledged().id.expect("QoS 1").to_be_bytes();
        member.send(&[0x40, 3, high, low, 0x83]);
    }
    a.expect_silence();
    b.expect_silence();
    // QoS 2 that was begun with a member stays with it, though the other is there.
    let kept = hello("k").kept();
    let mut member = connected(&site, &kept);
    assert_eq!(member.subscribe(&[("$share/h/u", 2)]), [2]);
    sender.publish("u", "mine", 2, 9);
    expect_ack(&mut sender, 0x50, 9, 0);
    sender.send(&ack(0x62, 9));
    expect_ack(&mut sender, 0x70, 9, 0);
    let id = member.unacknowledged().id.expect("QoS 2");
    let mut other = reader(&site, "o", "$share/h/u", 2);
    member.vanish();
    connected_becomes(&broker, 4.0);
    other.expect_silence();
    let mut member = connected(&site, &kept);
    let again = member.unacknowledged();
    assert_eq!(
        (again.payload.as_str(), again.dup, again.id),
        ("mine", true, Some(id))
    );
    other.expect_silence();
}

#[test]
fn fifteen_15_auth_out_of_place_and_topics_that_begin_with_a_dollar() {
    let site = site("sys_interval 1");
    let broker = site.start();
    // No method in CONNECT, so no AUTH.
    let mut raw = connected(&site, &hello("a"));
    let mut body = vec![0x19];
    let mut method = vec![0x15];
    put_bytes(&mut method, b"SCRAM-SHA-256");
    body.push(u8::try_from(method.len()).expect("short"));
    body.extend(method);
    raw.send(&packet(0xF0, &body));
    raw.expect_disconnect(0x82);
    // A method that is not offered.
    let mut property = vec![0x15];
    put_bytes(&mut property, b"SECRET-HANDSHAKE");
    assert_eq!(
        Raw::refused(site.plain, &hello("b").with_property(&property)),
        0x8C
    );
    // In 3.1.1 type 15 is reserved.
    let mut old = connected(&site, &Hello::nameless(4, "c"));
    old.send(&packet(0xF0, &body));
    old.expect_end();
    // Wildcards in front match no topic that begins with a dollar sign; the name itself does.
    broker.metric_becomes("portcullis_sessions_connected", 0.0);
    let mut wild = connected(&site, &hello("d"));
    wild.subscribe(&[("#", 0), ("+/broker/uptime", 0)]);
    let mut named = reader(&site, "e", "$SYS/broker/uptime", 0);
    named.message();
    named.message();
    wild.expect_silence();
}
