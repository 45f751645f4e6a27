//! How the broker ends a connection, and how large its answers are (sections 3.4 to 3.7, 3.9, 3.11,
//! 3.14 and 4.13).

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use nix::sys::signal::Signal;

use crate::clients::ACL;
use crate::support::raw::{Hello, Packet, Raw, Will, ack, packet, publish, put_bytes, subscribe};
use crate::support::site::{PATIENCE, Site, eventually};

fn site(more: &str) -> Site {
    Site::with_users(&["inside", "alice", "bob"], ACL, more)
}

const SESSION_EXPIRY: u8 = 0x11;
const REASON_STRING: u8 = 0x1F;
const USER_PROPERTY: u8 = 0x26;

fn has(packet: &Packet, at: usize, property: u8) -> bool {
    packet.properties(at).iter().any(|(id, _)| *id == property)
}

/// Everything that still comes; the connection must end after it.
fn rest(raw: &mut Raw) -> Vec<Packet> {
    std::iter::from_fn(|| raw.next()).collect()
}

#[test]
fn mqtt_3_14_4_1_and_2_after_disconnect_nothing_is_sent_and_the_connection_ends() {
    let site = site("");
    let mut broker = site.start();
    let hello = Hello::new(5, "c", "inside");
    let own = |payload: &[u8]| publish(5, "demo/own", payload, 0, 0, false, &[]);
    let busy = || {
        let (mut raw, _) = Raw::hello(site.plain, &hello);
        assert_eq!(raw.subscribe(&[("demo/own", 0)]), [0]);
        raw
    };
    // An error in the midst of packets that are to be answered, in one write.
    let mut erring = busy();
    let error = hello.encode();
    erring.send(&[own(b"1"), vec![0xC0, 0], error, vec![0xC0, 0], own(b"2")].concat());
    let heard = rest(&mut erring);
    let (last, before) = heard.split_last().expect("a DISCONNECT");
    assert_eq!((last.first, last.body[0]), (0xE0, 0x82));
    assert!(
        before.iter().all(|packet| packet.first != 0xE0),
        "{before:02x?}"
    );
    // One that another takes the session from, and one that is there when the broker stops.
    let mut old = busy();
    let mut new = busy();
    new.send(&own(b"for the new one"));
    assert_eq!(new.message().payload, "for the new one");
    broker.signal(Signal::SIGTERM);
    for (raw, code) in [(&mut old, 0x8E), (&mut new, 0x8B)] {
        let heard = rest(raw);
        assert_eq!(heard.len(), 1, "{heard:02x?}");
        assert_eq!((heard[0].first, heard[0].body[0]), (0xE0, code));
    }
    broker.wait();
}

#[test]
fn who_says_all_at_once_and_hangs_up_is_heard_to_the_end() {
    let site = site("");
    let broker = site.start();
    let (mut watcher, _) = Raw::hello(site.plain, &Hello::new(5, "w", "inside"));
    watcher.subscribe(&[("demo/alice/requests/#", 0)]);
    for (version, id) in [(5, "five"), (4, "four")] {
        let will = Will::new("demo/alice/requests/will", "gone");
        let hello = Hello::new(version, id, "alice").with_will(will);
        let topic = "demo/alice/requests/1";
        let said = publish(version, topic, id.as_bytes(), 0, 0, false, &[]);
        let mut stream = TcpStream::connect(("127.0.0.1", site.plain)).expect("accepted");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // Its end is there long before the password is checked.
        let all = [hello.encode(), said, vec![0xE0, 0]].concat();
        stream.write_all(&all).expect("sent");
        stream.shutdown(Shutdown::Write).expect("no more");
        assert_eq!(watcher.message().payload, id);
        let left = broker.audited("disconnect", |line| line["client_id"] == id);
        assert_eq!(left["reason"], "client", "[MQTT-3.14.4-3]: and so no Will");
        watcher.expect_silence();
    }
}

#[test]
fn mqtt_3_14_2_2_our_disconnect_has_no_session_expiry_interval() {
    let site = site("");
    site.on_plain_listener("reason_strings true\nmax_keepalive 60");
    let mut broker = site.start();
    let kept = |id: &str| Hello::new(5, id, "alice").kept();
    let silent = Hello {
        keep_alive_s: 1,
        ..kept("silent")
    };
    let (mut silent, _) = Raw::hello(site.plain, &silent);
    let (mut old, _) = Raw::hello(site.plain, &kept("twice"));
    let (mut new, _) = Raw::hello(site.plain, &kept("twice"));
    let (mut wrong, _) = Raw::hello(site.plain, &kept("wrong"));
    wrong.send(&[0x82, 0]);
    let mut goodbyes = [&mut silent, &mut old, &mut wrong]
        .map(Raw::receive)
        .to_vec();
    broker.signal(Signal::SIGTERM);
    goodbyes.push(new.receive());
    let codes = [0x8D, 0x8E, 0x81, 0x8B];
    for (goodbye, code) in goodbyes.iter().zip(codes) {
        assert_eq!((goodbye.first, goodbye.body[0]), (0xE0, code));
        assert!(!has(goodbye, 1, SESSION_EXPIRY), "{goodbye:02x?}");
    }
    broker.wait();
}

/// Name; what is sent; first byte of the answer, bytes before its properties, and whether there is
/// something to say in words.
type Row = (&'static str, Vec<u8>, u8, usize, bool);

fn unsubscribe(filter: &str) -> Vec<u8> {
    let mut body = vec![0, 6, 0];
    put_bytes(&mut body, filter.as_bytes());
    packet(0xA2, &body)
}

#[rustfmt::skip] // One row, one line.
fn answers() -> Vec<Row> {
    let denied = |qos, id| publish(5, "demo/bob/x", b"", qos, id, false, &[]);
    vec![
        ("mqtt_3_4_2_2_and_3_puback", denied(1, 1), 0x40, 3, true),
        ("mqtt_3_5_2_2_and_3_pubrec", denied(2, 2), 0x50, 3, true),
        ("mqtt_3_6_2_2_and_3_pubrel_of_what_we_never_sent", ack(0x50, 3), 0x62, 3, false),
        ("mqtt_3_7_2_2_and_3_pubcomp_of_what_we_never_had", ack(0x62, 4), 0x70, 3, false),
        ("mqtt_3_9_2_1_and_2_suback", subscribe(5, 5, &[("#", 0)], &[]), 0x90, 2, true),
        ("mqtt_3_11_2_1_and_2_unsuback", unsubscribe("a#"), 0xB0, 2, true),
        ("mqtt_3_14_2_3_and_4_disconnect", vec![0x20, 2, 0, 0], 0xE0, 1, true),
    ]
}

fn taking(hello: Hello, maximum: usize) -> Hello {
    let [high, low] = u16::try_from(maximum).expect("small").to_be_bytes();
    hello.with_property(&[0x27, 0, 0, high, low])
}

/// The answers to a client that takes packets of so many bytes; none if it takes no CONNACK.
fn answered(port: u16, maximum: usize) -> Option<Vec<Packet>> {
    let mut raw = Raw::plain(port, 5);
    raw.send(&taking(Hello::new(5, "a", "alice"), maximum).encode());
    if raw.receive().body[1] != 0 {
        return None;
    }
    let answers = answers().into_iter().map(|(name, bytes, first, ..)| {
        raw.send(&bytes);
        let answer = raw.receive();
        assert_eq!(answer.first, first, "{name}: {answer:02x?}");
        answer
    });
    Some(answers.collect())
}

/// We have no User Properties to send. A Reason String is left out of the packet that it would make
/// too large, and of no other.
#[test]
fn no_answer_is_too_large_and_each_has_its_reason_string_where_that_fits() {
    let site = site("");
    site.on_plain_listener("reason_strings true");
    let _broker = site.start();
    let unbounded = answered(site.plain, 60_000).expect("connected");
    let sizes: Vec<usize> = unbounded.iter().map(Packet::bytes).collect();
    // Below 5 no refusal can be told either.
    let mut maxima: Vec<usize> = (5..40).collect();
    maxima.extend(sizes.iter().flat_map(|size| [size - 1, *size]));
    maxima.retain(|maximum| *maximum >= 5);
    let mut connected = 0;
    for maximum in maxima {
        let Some(answers_here) = answered(site.plain, maximum) else {
            continue;
        };
        connected += 1;
        for ((row, size), answer) in answers().iter().zip(&sizes).zip(&answers_here) {
            let (name, _, _, at, has_text) = row;
            assert!(answer.bytes() <= maximum, "{name} {maximum}: {answer:02x?}");
            assert!(!has(answer, *at, USER_PROPERTY), "{name}: {answer:02x?}");
            let told = has(answer, *at, REASON_STRING);
            assert_eq!(told, *has_text && *size <= maximum, "{name} {maximum}");
        }
    }
    // It begins with those that can hardly be sent anything.
    assert!(connected > 30, "{connected}");
}

#[test]
fn mqtt_3_2_2_20_connack_has_no_user_properties_and_is_never_too_large() {
    let site = site("auth_failure_delay_ms 0 0");
    site.on_plain_listener("reason_strings true");
    let _broker = site.start();
    let wrong = Hello {
        password: Some("wrong battery".into()),
        ..Hello::new(5, "w", "alice")
    };
    for maximum in 1..60 {
        for hello in [Hello::new(5, "a", "alice"), wrong.clone()] {
            let mut raw = Raw::plain(site.plain, 5);
            raw.send(&taking(hello, maximum).encode());
            let answer = raw.next();
            assert_eq!(answer.is_some(), maximum >= 5, "{maximum}");
            let Some(answer) = answer else { continue };
            assert!(answer.bytes() <= maximum, "{maximum}: {answer:02x?}");
            assert!(!has(&answer, 2, USER_PROPERTY), "{answer:02x?}");
        }
    }
}

/// Whether a process still has the server's end of this connection: once it is closed the kernel keeps
/// it for what was not sent yet, and nobody owns it.
fn is_held(server: u16, client: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("this is Linux");
    let [server, client] = [server, client].map(|port| format!(":{port:04X}"));
    table.lines().any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, _, _, _, _, _, _, inode, ..] = columns[..] else {
            return false;
        };
        local.ends_with(&server) && remote.ends_with(&client) && inode != "0"
    })
}

/// A client that neither reads nor goes away is not kept for want of a way to tell it.
#[test]
fn mqtt_4_13_2_1_a_connection_is_closed_though_its_client_cannot_be_told() {
    let site = site("max_queued_messages 10");
    let broker = site.start();
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    let mut deaf = TcpStream::connect(("127.0.0.1", site.plain)).expect("accepted");
    deaf.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let hello = Hello::new(5, "deaf", "inside");
    let filters = [("demo/flood", 0)];
    let asked = [hello.encode(), subscribe(5, 1, &filters, &[])].concat();
    deaf.write_all(&asked).expect("sent");
    let mut suback = [0; 6];
    while suback != [0x90, 4, 0, 1, 0, 0] {
        suback.rotate_left(1);
        deaf.read_exact(&mut suback[5..])
            .expect("CONNACK and SUBACK");
    }
    // Until nothing more goes into its socket: all of several rounds is dropped.
    let payload = "x".repeat(100_000);
    let dropped = || broker.metric("portcullis_messages_dropped_total{reason=\"queue_full\"}");
    let mut rounds = 0;
    eventually("its socket is full", || {
        let before = dropped();
        for _ in 0..20 {
            inside.publish("demo/flood", &payload, 0, 0);
        }
        inside.expect_silence();
        let all = dropped() - before > 19.5;
        rounds = if all { rounds + 1 } else { 0 };
        (rounds == 5).then_some(())
    });
    let port = deaf.local_addr().expect("connected").port();
    assert!(is_held(site.plain, port));
    // Its session is taken, for which there is 0x8E.
    let (mut other, _) = Raw::hello(site.plain, &hello);
    eventually("its socket is closed", || {
        (!is_held(site.plain, port)).then_some(())
    });
    other.expect_silence();
    let mut end = Vec::new();
    drop(deaf.read_to_end(&mut end));
    assert!(end.ends_with(b"xxx"), "cut off, and no DISCONNECT behind");
}
