//! How a WebSocket ends: by the peer's close frame, and by what breaks its framing.

use std::io::Write;

use crate::support::raw::{Hello, Will, publish};
use crate::websockets::{MQTT, frame, framed, next_frame, open, site};

#[test]
fn what_comes_in_one_piece_with_the_close_frame_is_handled_before_it() {
    let site = site("");
    let broker = site.start();
    let mut watcher = framed(site.plain, 5, 100);
    watcher.send(&Hello::new(5, "w", "inside").encode());
    watcher.receive();
    watcher.subscribe(&[("demo/alice/requests/#", 0)]);
    let will = Will::new("demo/alice/requests/will", "gone");
    let last_words = |payload: &str| {
        let topic = "demo/alice/requests/1";
        let mut packets = publish(5, topic, payload.as_bytes(), 0, 0, false, &[]);
        packets.extend([0xE0, 0]);
        [frame(2, &packets), frame(8, &1000_u16.to_be_bytes())].concat()
    };
    for (id, greeted) in [("late", true), ("early", false)] {
        let (mut stream, _) = open(site.plain, &[MQTT]);
        let hello = Hello::new(5, id, "alice").with_will(will.clone());
        let mut last = last_words(id);
        if greeted {
            stream.write_all(&frame(2, &hello.encode())).expect("sent");
            assert_eq!(next_frame(&mut stream).expect("CONNACK").0, 2);
        } else {
            last.splice(0..0, frame(2, &hello.encode()));
        }
        stream.write_all(&last).expect("sent");
        assert_eq!(next_frame(&mut stream).expect("a close frame").0, 8);
        assert_eq!(watcher.message().payload, id);
        let left = broker.audited("disconnect", |line| line["client_id"] == id);
        assert_eq!(left["reason"], "client", "[MQTT-3.14.4-3]: and so no Will");
        watcher.expect_silence();
    }
}

/// Frames that no client may send, what is said of them in MQTT and in the close frame, and the label.
fn broken_frames() -> [(Vec<u8>, u8, u16, &'static str); 4] {
    let mut huge = vec![0x82, 0xFF];
    huge.extend((1_u64 << 62).to_be_bytes());
    huge.extend([0; 4]);
    let unmasked = vec![0x82, 2, 0xC0, 0];
    let reserved = frame(3, b"");
    [
        (unmasked, 0x81, 1002, "websocket_frame"),
        (reserved, 0x81, 1002, "websocket_frame"),
        (huge, 0x95, 1009, "websocket_too_large"),
        (frame(1, b"text"), 0x81, 1003, "websocket_text"),
    ]
}

#[test]
fn a_frame_that_may_not_be_sent_is_told_counted_and_written_down() {
    let site = site("");
    let broker = site.start();
    for (number, (bytes, code, close, label)) in broken_frames().into_iter().enumerate() {
        for version in [5, 4] {
            let id = format!("{label}-{number}-{version}");
            let (mut stream, _) = open(site.plain, &[MQTT]);
            let hello = Hello::new(version, &id, "alice").encode();
            stream.write_all(&frame(2, &hello)).expect("sent");
            assert_eq!(next_frame(&mut stream).expect("CONNACK").0, 2);
            let all = [frame(2, &[0xC0, 0]), bytes.clone()].concat();
            stream.write_all(&all).expect("sent");
            let mut mqtt = Vec::new();
            let said = loop {
                match next_frame(&mut stream).expect("a frame") {
                    (2, payload) => mqtt.extend(payload),
                    (8, payload) => break payload,
                    (other, _) => panic!("a frame of type {other}"),
                }
            };
            // PINGREQ came before it, and is answered.
            let told = [vec![0xD0, 0], vec![0xE0, 1, code]].concat();
            assert_eq!(mqtt, told[..if version == 5 { 5 } else { 2 }], "{id}");
            assert_eq!(said, close.to_be_bytes(), "{id}");
            assert!(next_frame(&mut stream).is_err(), "and nothing more");
            let event = broker.audited("malformed", |line| line["client_id"] == id.as_str());
            assert_eq!(event["reason"], label);
            let left = broker.audited("disconnect", |line| line["client_id"] == id.as_str());
            assert_eq!(left["reason"], "protocol");
        }
    }
}

#[test]
fn a_frame_that_may_not_be_sent_before_connect_is_counted_too() {
    let site = site("");
    let broker = site.start();
    for (bytes, _, close, _) in broken_frames() {
        let (mut stream, _) = open(site.plain, &[MQTT]);
        stream.write_all(&bytes).expect("sent");
        let said = next_frame(&mut stream).expect("a close frame");
        assert_eq!(said, (8, close.to_be_bytes().to_vec()));
    }
    for (label, count) in [
        ("websocket_frame", 2.0),
        ("websocket_too_large", 1.0),
        ("websocket_text", 1.0),
    ] {
        let sample = format!("portcullis_malformed_packets_total{{kind=\"{label}\"}}");
        broker.metric_becomes(&sample, count);
    }
}

#[test]
fn more_frames_without_mqtt_than_anybody_needs_end_the_connection() {
    let site = site("");
    let broker = site.start();
    // A ping, a pong and an empty message, 600 of each, in one piece.
    for (opcode, version) in [(9, 5), (10, 5), (2, 5), (9, 4)] {
        let id = format!("flood-{opcode}-{version}");
        let (mut stream, _) = open(site.plain, &[MQTT]);
        let hello = Hello::new(version, &id, "alice").encode();
        stream.write_all(&frame(2, &hello)).expect("sent");
        assert_eq!(next_frame(&mut stream).expect("CONNACK").0, 2);
        let flood = frame(opcode, b"").repeat(600);
        stream.write_all(&flood).expect("sent");
        let mut mqtt = Vec::new();
        let said = loop {
            match next_frame(&mut stream).expect("a frame") {
                (2, payload) => mqtt.extend(payload),
                (8, payload) => break payload,
                (other, _) => assert_eq!(other, 10, "an answer to a ping"),
            }
        };
        let told: &[u8] = if version == 5 { &[0xE0, 1, 0x96] } else { &[] };
        assert_eq!((&*mqtt, &*said), (told, &1008_u16.to_be_bytes()[..]));
        let event = broker.audited("malformed", |line| line["client_id"] == id.as_str());
        assert_eq!(event["reason"], "websocket_empty_frames");
    }
    let (mut stream, _) = open(site.plain, &[MQTT]);
    let flood = frame(9, b"").repeat(600);
    stream.write_all(&flood).expect("sent");
    let ends = std::iter::from_fn(|| next_frame(&mut stream).ok()).last();
    assert_eq!(ends, Some((8, 1008_u16.to_be_bytes().to_vec())));
}

#[test]
fn bytes_received_are_those_of_the_frames() {
    let site = site("");
    let broker = site.start();
    let (mut stream, _) = open(site.plain, &[MQTT]);
    let hello = frame(2, &Hello::new(5, "c", "alice").encode());
    let pings = frame(9, &[b'x'; 100]).repeat(10);
    stream.write_all(&hello).expect("sent");
    assert_eq!(next_frame(&mut stream).expect("CONNACK").0, 2);
    stream.write_all(&pings).expect("sent");
    let sent = u32::try_from(hello.len() + pings.len()).expect("small");
    broker.metric_becomes("portcullis_bytes_received_total", sent.into());
}
