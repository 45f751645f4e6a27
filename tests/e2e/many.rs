//! Many publishers, many connections, many cores: order is kept, nothing is lost, and nobody waits for
//! somebody else.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::support::raw::{Hello, Raw, ack, publish};
use crate::support::site::{PATIENCE, Site};

fn site(more: &str) -> Site {
    let site = Site::new();
    site.conf(&format!(
        "security_profile compatible\nlistener {{plain}} 127.0.0.1\nallow_anonymous true\n\
         metrics_listener {{metrics}} 127.0.0.1\n{more}"
    ));
    site
}

const PUBLISHERS: usize = 4;
const MESSAGES: u16 = 300;

/// Publishes numbers to two topics in turn, without waiting for one acknowledgement before the next
/// message; ends when all are acknowledged.
fn publish_numbers(port: u16, publisher: usize, qos: u8) {
    let hello = Hello::nameless(4, &format!("p{publisher}"));
    let (mut raw, _) = Raw::hello(port, &hello);
    let mut open = 0;
    let mut done = 0;
    let mut next = 1;
    while done < MESSAGES {
        while next <= MESSAGES && open < 15 {
            let topic = format!("t/{publisher}/{}", next % 2);
            raw.publish(&topic, &next.to_string(), qos, next);
            next += 1;
            open += 1;
        }
        let packet = raw.receive();
        let id = u16::from_be_bytes([packet.body[0], packet.body[1]]);
        match packet.kind() {
            5 => raw.send(&ack(0x62, id)),
            4 | 7 => {
                open -= 1;
                done += 1;
            }
            other => panic!("packet type {other}"),
        }
    }
}

/// What a subscriber saw of each topic: the number, and whether DUP was set.
type Seen = BTreeMap<String, Vec<(u16, bool)>>;

/// Receives until every message is there. Every so often it breaks off without acknowledging what it
/// has just been sent, and resumes.
fn receive_numbers(port: u16, name: &str, qos: u8, breaks_after: usize) -> Seen {
    let hello = Hello::nameless(4, name).kept();
    let (mut raw, _) = Raw::hello(port, &hello);
    let mut seen = Seen::new();
    let mut distinct = 0;
    let mut since_break = 0;
    while distinct < PUBLISHERS * usize::from(MESSAGES) {
        let packet = raw.receive();
        if packet.kind() == 6 {
            raw.send(&ack(
                0x70,
                u16::from_be_bytes([packet.body[0], packet.body[1]]),
            ));
            continue;
        }
        assert_eq!(packet.kind(), 3, "{packet:02x?}");
        let length = usize::from(packet.body[1]);
        let topic = String::from_utf8(packet.body[2..2 + length].to_vec()).expect("text");
        let id = u16::from_be_bytes([packet.body[2 + length], packet.body[3 + length]]);
        let number: u16 = String::from_utf8_lossy(&packet.body[4 + length..])
            .parse()
            .expect("a number");
        let of_topic = seen.entry(topic).or_default();
        let is_new = of_topic.iter().all(|&(known, _)| known != number);
        distinct += usize::from(is_new);
        of_topic.push((number, packet.first & 8 == 8));
        since_break += 1;
        if since_break == breaks_after {
            since_break = 0;
            raw.vanish();
            let (again, present) = Raw::hello(port, &hello);
            assert!(present);
            raw = again;
            continue;
        }
        raw.send(&ack(if qos == 1 { 0x40 } else { 0x50 }, id));
    }
    seen
}

fn order_is_kept(qos: u8) {
    // More messages wait for one that resumes than the default queue holds.
    let site = site("threads 4\nmax_queued_messages 10000");
    let _broker = site.start();
    let port = site.plain;
    let subscribers = [("steady", usize::MAX), ("breaks", 70), ("breaks more", 31)];
    for (name, _) in subscribers {
        let (mut raw, _) = Raw::hello(port, &Hello::nameless(4, name).kept());
        assert_eq!(raw.subscribe(&[("t/#", qos)]), [qos]);
        raw.disconnect();
    }
    thread::scope(|scope| {
        let receiving = subscribers.map(|(name, breaks_after)| {
            (
                name,
                scope.spawn(move || receive_numbers(port, name, qos, breaks_after)),
            )
        });
        for publisher in 0..PUBLISHERS {
            scope.spawn(move || publish_numbers(port, publisher, qos));
        }
        for (name, received) in receiving {
            let seen = received.join().expect("it receives");
            assert_eq!(seen.len(), 2 * PUBLISHERS, "{name}");
            for (topic, numbers) in seen {
                judge(name, &topic, &numbers);
            }
        }
    });
}

/// New messages come in the order of their numbers, and what comes again says so.
fn judge(name: &str, topic: &str, numbers: &[(u16, bool)]) {
    let mut last = 0;
    let mut known = std::collections::BTreeSet::new();
    for &(number, dup) in numbers {
        if known.insert(number) {
            assert!(number > last, "{name} {topic}: {number} behind {last}");
            last = number;
        } else {
            assert!(dup, "{name} {topic}: {number} comes again without DUP");
        }
    }
    assert_eq!(known.len(), usize::from(MESSAGES) / 2, "{name} {topic}");
}

#[test]
fn mqtt_4_6_0_6_each_publishers_order_is_kept_on_many_cores_through_breaks_at_qos_1() {
    order_is_kept(1);
}

#[test]
fn mqtt_4_6_0_5_each_publishers_order_is_kept_on_many_cores_through_breaks_at_qos_2() {
    order_is_kept(2);
}

const CONNECTIONS: usize = 10_000;

/// Sends as fast as it is let, and counts what is acknowledged.
fn flood(port: u16, stop: &AtomicBool, acknowledged: &AtomicU64) {
    let (raw, _) = Raw::hello(port, &Hello::nameless(4, "flooder"));
    drop(raw);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("accepted");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
        .write_all(&Hello::nameless(4, "flooder").encode())
        .expect("sent");
    stream.read_exact(&mut [0; 4]).expect("CONNACK");
    let batch: Vec<u8> = (1..=500)
        .flat_map(|id| publish(4, "flood", b"as fast as it goes", 1, id, false, &[]))
        .collect();
    let mut answers = [0; 4 * 500];
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&batch).expect("sent");
        stream.read_exact(&mut answers).expect("500 PUBACK");
        acknowledged.fetch_add(500, Ordering::Relaxed);
    }
}

#[test]
fn each_of_10_000_connections_is_answered_while_one_of_them_floods() {
    let site = site("connect_rate_per_ip 0\nmax_connections_per_ip 0");
    let broker = site.start();
    let port = site.plain;
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|number| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("accepted");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let hello = Hello::nameless(4, &format!("c{number}"));
            stream.write_all(&hello.encode()).expect("sent");
            stream
        })
        .collect();
    for stream in &mut streams {
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).expect("CONNACK");
        assert_eq!(connack, [0x20, 2, 0, 0]);
    }
    broker.metric_becomes("portcullis_sessions_connected", 10_000.0);
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| flood(port, &stop, &acknowledged));
        while acknowledged.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        for round in 1..=3 {
            let packet = publish(4, "t", b"x", 1, round, false, &[]);
            for stream in &mut streams {
                stream.write_all(&packet).expect("sent");
            }
            let [high, low] = round.to_be_bytes();
            for stream in &mut streams {
                let mut puback = [0; 4];
                stream.read_exact(&mut puback).expect("PUBACK");
                assert_eq!(puback, [0x40, 2, high, low]);
            }
        }
        // Whoever was starved has not been answered in time.
        stop.store(true, Ordering::Relaxed);
    });
}
