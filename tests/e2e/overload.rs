//! More than can be done: memory stays bounded, what is dropped is counted, and the broker goes on answering.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::raw::{Hello, Raw, publish, subscribe};
use crate::support::site::{Broker, PATIENCE, Site, eventually};

fn site(more: &str) -> Site {
    let site = Site::new();
    site.conf(&format!(
        "security_profile compatible\nlistener {{plain}} 127.0.0.1\nallow_anonymous true\n\
         metrics_listener {{metrics}} 127.0.0.1\nconnect_rate_per_ip 0\nmax_connections_per_ip 0\n{more}"
    ));
    site
}

/// A connected client whose bytes the test reads by itself, or does not.
fn connected(port: u16, name: &str, filter: Option<&str>) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("accepted");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
        .write_all(&Hello::nameless(4, name).encode())
        .expect("sent");
    stream.read_exact(&mut [0; 4]).expect("CONNACK");
    if let Some(filter) = filter {
        stream
            .write_all(&subscribe(4, 1, &[(filter, 0)], &[]))
            .expect("sent");
        stream.read_exact(&mut [0; 5]).expect("SUBACK");
    }
    stream
}

/// Publishes batches of QoS 0 as fast as they are taken; gives how many messages it were.
fn flood(port: u16, name: &str, stop: &AtomicBool) -> u64 {
    let mut stream = connected(port, name, None);
    let message = publish(4, "flood", &[b'x'; 1_000], 0, 0, false, &[]);
    let batch = message.repeat(200);
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&batch).expect("taken");
        sent += 200;
    }
    // Answered when everything before it was taken.
    stream.write_all(&[0xC0, 0]).expect("taken");
    stream.read_exact(&mut [0; 2]).expect("PINGRESP");
    sent
}

fn total(broker: &Broker<'_>, sample: &str) -> u64 {
    // Counts of messages are whole and far below 2^53.
    let text = format!("{:.0}", broker.metric(sample));
    text.parse().expect("a count")
}

/// Three publishers flood; one subscriber takes all it can, one takes little, one nothing at all.
#[test]
fn publishers_faster_than_their_subscribers_cost_bounded_memory_and_each_message_is_accounted_for()
{
    let site = site("threads 2\nmax_queued_messages 1000\nmax_queued_bytes 1000000");
    let mut broker = site.start();
    let port = site.plain;
    let mut quick = connected(port, "quick", Some("flood"));
    let mut slow = connected(port, "slow", Some("flood"));
    let stuck = connected(port, "stuck", Some("flood"));
    let (mut pinger, _) = Raw::hello(port, &Hello::nameless(4, "pinger"));
    let before = broker.resident_kib();
    let (stop, quiet) = (AtomicBool::new(false), AtomicBool::new(false));
    let taken = AtomicU64::new(0);
    let sent: u64 = thread::scope(|scope| {
        let publishers: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|name| {
                let stop = &stop;
                scope.spawn(move || flood(port, name, stop))
            })
            .collect();
        scope.spawn(|| {
            let mut buffer = vec![0; 1 << 20];
            quick
                .set_read_timeout(Some(Duration::from_millis(20)))
                .expect("a timeout");
            while !quiet.load(Ordering::Relaxed) {
                let read = quick.read(&mut buffer).unwrap_or(0);
                taken.fetch_add(read as u64, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            let mut buffer = vec![0; 4_096];
            slow.set_read_timeout(Some(Duration::from_millis(20)))
                .expect("a timeout");
            while !quiet.load(Ordering::Relaxed) {
                drop(slow.read(&mut buffer));
                thread::yield_now();
            }
        });
        // As long as it takes for a good deal to be dropped, everybody else is answered.
        eventually("much is dropped", || {
            pinger.send(&[0xC0, 0]);
            assert_eq!(pinger.receive().kind(), 13, "PINGRESP");
            let dropped = "portcullis_messages_dropped_total{reason=\"queue_full\"}";
            (total(&broker, dropped) > 50_000).then_some(())
        });
        let grown = broker.resident_kib().saturating_sub(before);
        assert!(grown < 64 * 1_024, "{grown} KiB more");
        stop.store(true, Ordering::Relaxed);
        let sent = publishers
            .into_iter()
            .map(|publisher| publisher.join().expect("it publishes"))
            .sum();
        quiet.store(true, Ordering::Relaxed);
        sent
    });
    assert!(taken.load(Ordering::Relaxed) > 0);
    assert_eq!(
        total(&broker, "portcullis_messages_received_total{qos=\"0\"}"),
        sent
    );
    let accounted = eventually("each delivery is sent, dropped or waits", || {
        let delivered = total(&broker, "portcullis_messages_sent_total{qos=\"0\"}");
        let dropped = "portcullis_messages_dropped_total{reason=\"queue_full\"}";
        let waits = total(&broker, "portcullis_queued_messages");
        let sum = delivered + total(&broker, dropped) + waits;
        (sum == 3 * sent).then_some(sum)
    });
    assert_eq!(accounted, 3 * sent);
    // With a client that takes nothing, and one that takes little.
    assert!(broker.stop().success());
    drop(stuck);
}

const SUBSCRIBERS: usize = 9_000;
const MESSAGES: usize = 20;

#[test]
fn one_topic_with_thousands_of_subscribers_reaches_each_in_order_and_others_are_answered_meanwhile()
{
    let site = site("threads 2");
    let broker = site.start();
    let port = site.plain;
    let mut readers: Vec<TcpStream> = (0..SUBSCRIBERS)
        .map(|number| connected(port, &format!("r{number}"), Some("hot")))
        .collect();
    let before = broker.resident_kib();
    let (mut writer, _) = Raw::hello(port, &Hello::nameless(4, "writer"));
    let (mut pinger, _) = Raw::hello(port, &Hello::nameless(4, "pinger"));
    let messages: Vec<Vec<u8>> = (0..MESSAGES)
        .map(|number| {
            publish(
                4,
                "hot",
                format!("{number:0100}").as_bytes(),
                0,
                0,
                false,
                &[],
            )
        })
        .collect();
    for message in &messages {
        writer.send(message);
        pinger.send(&[0xC0, 0]);
        assert_eq!(pinger.receive().kind(), 13, "PINGRESP");
    }
    let all = messages.concat();
    let mut received = vec![0; all.len()];
    for (number, reader) in readers.iter_mut().enumerate() {
        reader.read_exact(&mut received).expect("all of it");
        assert!(received == all, "reader {number}");
    }
    let grown = broker.resident_kib().saturating_sub(before);
    assert!(grown < 64 * 1_024, "{grown} KiB more");
}
