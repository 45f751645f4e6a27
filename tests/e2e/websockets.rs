//! MQTT in WebSocket frames: frame by frame, and with the libraries of browsers.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::clients::ACL;
use crate::support::raw::{Hello, Raw, Stream, publish};
use crate::support::site::{PASSWORD, PATIENCE, Site};
use crate::support::tools::Tool;

pub(crate) fn site(more: &str) -> Site {
    let site = Site::with_users(&["inside", "alice", "bob"], ACL, "protocol websockets");
    site.on_plain_listener(&format!("protocol websockets\n{more}"));
    site
}

/// Sends the request that opens a WebSocket, with these headers; gives status line and headers.
pub(crate) fn open(port: u16, headers: &[&str]) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("accepted");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let answer = open_over(&mut stream, headers);
    (stream, answer)
}

fn open_over(stream: &mut (impl Read + Write), headers: &[&str]) -> String {
    let mut request = String::from(
        "GET /any/path HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    );
    for header in headers {
        request.push_str(&format!("{header}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).expect("it goes out");
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
        answer.push(byte[0]);
    }
    String::from_utf8(answer).expect("text")
}

pub(crate) const MQTT: &str = "Sec-WebSocket-Protocol: mqtt";

/// A frame as a client sends it: masked.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match u8::try_from(payload.len()) {
        Ok(length) if length < 126 => out.push(0x80 | length),
        _ => {
            out.push(0xFE);
            out.extend(u16::try_from(payload.len()).expect("small").to_be_bytes());
        }
    }
    let mask = [0xA1, 0x02, 0xC3, 0x04];
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    out
}

/// The next frame of the server: opcode and payload.
pub(crate) fn next_frame(stream: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    assert_eq!(head[0] & 0x80, 0x80, "whole messages");
    assert_eq!(head[1] & 0x80, 0, "a server does not mask");
    let length = match head[1] {
        126 => {
            let mut long = [0; 2];
            stream.read_exact(&mut long)?;
            usize::from(u16::from_be_bytes(long))
        }
        length => usize::from(length),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok((head[0] & 0x0F, payload))
}

/// A stream in binary frames that hold so many bytes each.
struct Framed<S> {
    stream: S,
    bytes_in_a_frame: usize,
    unread: Vec<u8>,
}

impl<S: Read> Read for Framed<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            match next_frame(&mut self.stream)? {
                (2, payload) => self.unread = payload,
                (8, _) => return Ok(0),
                (other, _) => panic!("a frame of type {other}"),
            }
        }
        let count = buf.len().min(self.unread.len());
        buf[..count].copy_from_slice(&self.unread[..count]);
        self.unread.drain(..count);
        Ok(count)
    }
}

impl<S: Write> Write for Framed<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        for part in buf.chunks(self.bytes_in_a_frame) {
            self.stream.write_all(&frame(2, part))?;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Stream> Stream for Framed<S> {
    fn wait_at_most(&self, time: Duration) {
        self.stream.wait_at_most(time);
    }
}

pub(crate) fn framed(port: u16, version: u8, bytes_in_a_frame: usize) -> Raw {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("accepted");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    framed_over(stream, version, bytes_in_a_frame)
}

pub(crate) fn framed_over(
    mut stream: impl Stream + 'static,
    version: u8,
    bytes_in_a_frame: usize,
) -> Raw {
    let answer = open_over(&mut stream, &[MQTT]);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let framed = Framed {
        stream,
        bytes_in_a_frame,
        unread: Vec::new(),
    };
    Raw::over(framed, version)
}

fn packets_may_span_and_share_frames(version: u8) {
    let site = site("");
    let _broker = site.start();
    // One byte in each frame.
    let mut slow = framed(site.plain, version, 1);
    slow.send(&Hello::new(version, "slow", "alice").encode());
    assert_eq!(slow.receive().body[1], 0);
    assert_eq!(
        slow.subscribe(&[("demo/alice/answers/#", 1), ("#", 0)])
            .len(),
        2
    );
    // CONNECT, two PUBLISH and PINGREQ in one frame.
    let mut fast = framed(site.plain, version, usize::MAX);
    let mut all = Hello::new(version, "fast", "inside").encode();
    for (number, id) in [("1", 7), ("2", 8)] {
        let topic = "demo/alice/answers/1";
        all.extend(publish(
            version,
            topic,
            number.as_bytes(),
            1,
            id,
            false,
            &[],
        ));
    }
    all.extend([0xC0, 0]);
    fast.send(&all);
    let kinds: Vec<u8> = (0..4).map(|_| fast.receive().kind()).collect();
    assert_eq!(kinds, [2, 4, 4, 13]);
    assert_eq!(slow.message().payload, "1");
    assert_eq!(slow.message().payload, "2");
}

#[test]
fn mqtt_6_0_0_2_packets_may_span_frames_and_share_one() {
    packets_may_span_and_share_frames(5);
}

#[test]
fn mqtt_6_0_0_2_of_3_1_1_packets_may_span_frames_and_share_one() {
    packets_may_span_and_share_frames(4);
}

/// A text frame before CONNECT, and one after it.
fn text_is_refused(version: u8) {
    let site = site("");
    let broker = site.start();
    let hello = Hello::new(version, "t", "alice").encode();
    for greeted in [false, true] {
        let (mut stream, _) = open(site.plain, &[MQTT]);
        if greeted {
            stream.write_all(&frame(2, &hello)).expect("sent");
            assert_eq!(next_frame(&mut stream).expect("CONNACK").0, 2);
        }
        stream.write_all(&frame(1, &hello)).expect("sent");
        if greeted && version == 5 {
            let disconnect = next_frame(&mut stream).expect("DISCONNECT");
            assert_eq!(disconnect, (2, vec![0xE0, 1, 0x81]));
        }
        let (opcode, payload) = next_frame(&mut stream).expect("a close frame");
        assert_eq!((opcode, payload), (8, 1003_u16.to_be_bytes().to_vec()));
        assert!(next_frame(&mut stream).is_err(), "and nothing more");
    }
    let sample = "portcullis_malformed_packets_total{kind=\"websocket_text\"}";
    broker.metric_becomes(sample, 2.0);
    let event = broker.audited("malformed", |line| line["client_id"] == "t");
    assert_eq!(event["statement"], "MQTT-6.0.0-1");
}

#[test]
fn mqtt_6_0_0_1_a_text_frame_closes_the_connection() {
    text_is_refused(5);
}

#[test]
fn mqtt_6_0_0_1_of_3_1_1_a_text_frame_closes_the_connection() {
    text_is_refused(4);
}

#[test]
fn mqtt_6_0_0_3_whoever_does_not_offer_the_subprotocol_is_refused() {
    let site = site("");
    let broker = site.start();
    for headers in [&[][..], &["Sec-WebSocket-Protocol: chat, mqttv5"]] {
        let (mut stream, answer) = open(site.plain, headers);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(
            answer
                .to_ascii_lowercase()
                .contains("x-content-type-options: nosniff")
        );
        let mut body = String::new();
        stream.read_to_string(&mut body).expect("and closed");
        assert_eq!(body, "Sec-WebSocket-Protocol must offer mqtt\n");
    }
    let sample = "portcullis_malformed_packets_total{kind=\"websocket_subprotocol\"}";
    broker.metric_becomes(sample, 2.0);
}

/// The upgrade knows no MQTT version: the first packet names it.
#[test]
fn mqtt_6_0_0_3_of_3_1_1_whoever_does_not_offer_the_subprotocol_is_refused_before_connect() {
    let site = site("");
    let _broker = site.start();
    let (mut stream, answer) = open(site.plain, &["Sec-WebSocket-Protocol: mqttv3"]);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    drop(stream.write_all(&frame(2, &Hello::new(4, "c", "alice").encode())));
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest));
    let text = String::from_utf8_lossy(&rest);
    assert_eq!(
        text, "Sec-WebSocket-Protocol must offer mqtt\n",
        "and no CONNACK"
    );
}

fn the_answer_names_mqtt(offer: &str) {
    let site = site("");
    let _broker = site.start();
    let (_, answer) = open(site.plain, &[offer]);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let lower = answer.to_ascii_lowercase();
    assert!(
        lower.contains("\r\nsec-websocket-protocol: mqtt\r\n"),
        "{answer}"
    );
    // The value that RFC 6455 computes for its own example.
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
}

#[test]
fn mqtt_6_0_0_4_the_subprotocol_in_the_answer_is_mqtt() {
    the_answer_names_mqtt("Sec-WebSocket-Protocol: mqttv3.1, mqtt");
}

#[test]
fn mqtt_6_0_0_4_of_3_1_1_the_subprotocol_in_the_answer_is_mqtt() {
    the_answer_names_mqtt(MQTT);
}

#[test]
fn v31_11_the_subprotocol_of_3_1_is_accepted_from_who_offers_nothing_else() {
    let site = site("");
    let _broker = site.start();
    let (mut stream, answer) = open(site.plain, &["Sec-WebSocket-Protocol: mqttv3.1"]);
    let lower = answer.to_ascii_lowercase();
    assert!(
        lower.contains("\r\nsec-websocket-protocol: mqttv3.1\r\n"),
        "{answer}"
    );
    stream
        .write_all(&frame(2, &Hello::new(3, "old", "alice").encode()))
        .expect("sent");
    let connack = next_frame(&mut stream).expect("CONNACK");
    assert_eq!(connack, (2, vec![0x20, 2, 0, 0]));
}

#[test]
fn what_is_no_request_for_a_websocket_is_closed_and_counted() {
    let site = site("");
    let broker = site.start();
    for request in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
        &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 0],
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", site.plain)).expect("accepted");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(request).expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("no more");
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        assert!(!answer.starts_with(b"HTTP/1.1 101"), "{answer:?}");
    }
    let sample = "portcullis_malformed_packets_total{kind=\"websocket_request\"}";
    broker.metric_becomes(sample, 3.0);
}

#[test]
fn pages_from_elsewhere_are_refused_where_origins_are_named() {
    let site = site("websockets_origin https://app.example.org");
    let _broker = site.start();
    let status = |origin: &str| {
        let (_, answer) = open(site.plain, &[MQTT, origin]);
        answer.get(9..12).unwrap_or_default().to_owned()
    };
    assert_eq!(status("Origin: https://app.example.org"), "101");
    // mosquitto compares the beginning only.
    assert_eq!(
        status("Origin: https://app.example.org.evil.example"),
        "403"
    );
    assert_eq!(status("Origin: https://evil.example"), "403");
    assert_eq!(status("Origin: null"), "403");
    assert_eq!(status("X-Other: 1"), "101", "no browser");
    let strict = self::site("websockets_require_origin true");
    let _broker = strict.start();
    let (_, answer) = open(strict.plain, &[MQTT]);
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[test]
fn a_frame_larger_than_a_packet_may_be_is_refused_from_its_header() {
    let site = site("");
    let broker = site.start();
    let before = broker.resident_kib();
    let mut open_ones = Vec::new();
    for _ in 0..50 {
        let (mut stream, _) = open(site.plain, &[MQTT]);
        // 2^62 bytes are announced before CONNECT.
        let mut header = vec![0x82, 0xFF];
        header.extend((1_u64 << 62).to_be_bytes());
        header.extend([0; 4]);
        stream.write_all(&header).expect("sent");
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
        open_ones.push(stream);
    }
    assert!(broker.resident_kib() < before + 4_096);
}

#[test]
fn pings_are_answered_and_a_close_frame_ends_the_connection_and_sends_the_will() {
    let site = site("");
    let broker = site.start();
    let mut watcher = framed(site.plain, 5, 100);
    watcher.send(&Hello::new(5, "w", "inside").encode());
    watcher.receive();
    watcher.subscribe(&[("demo/alice/requests/#", 0)]);
    let (mut stream, _) = open(site.plain, &[MQTT]);
    let will = crate::support::raw::Will::new("demo/alice/requests/will", "gone");
    let hello = Hello::new(5, "c", "alice").with_will(will);
    stream.write_all(&frame(2, &hello.encode())).expect("sent");
    assert_eq!(next_frame(&mut stream).expect("CONNACK").0, 2);
    stream.write_all(&frame(9, b"are you there")).expect("sent");
    let pong = next_frame(&mut stream).expect("a pong");
    assert_eq!(pong, (10, b"are you there".to_vec()));
    stream
        .write_all(&frame(8, &1000_u16.to_be_bytes()))
        .expect("sent");
    assert_eq!(next_frame(&mut stream).expect("a close frame").0, 8);
    assert_eq!(watcher.message().payload, "gone");
    let left = broker.audited("disconnect", |line| line["client_id"] == "c");
    assert_eq!(left["reason"], "closed");
}

fn run(mut command: Command, site: &Site) {
    command
        .env("PLAIN_PORT", site.plain.to_string())
        .env("TLS_PORT", site.tls.to_string())
        .env("FILES", site.dir())
        .env("PASSWORD", PASSWORD);
    let ended = Tool::start(command).finish();
    assert!(ended.text.ends_with("all is well"), "{}", ended.text);
}

#[test]
fn mqtt_js_works_over_websockets_with_and_without_tls() {
    let site = site("");
    let _broker = site.start();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("node");
    command.env("NODE_PATH", root.join("target/test-js/node_modules"));
    command.arg(root.join("tests/e2e/mqtt_js_websocket.js"));
    run(command, &site);
}

#[test]
fn paho_works_over_websockets_with_and_without_tls() {
    let site = site("");
    let _broker = site.start();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("target/test-venv/bin/python"));
    command.arg(root.join("tests/e2e/paho_websocket.py"));
    run(command, &site);
}

/// Sends pings for as long as they are taken, and reads nothing; gives their number.
fn flood_of_pings(stream: &mut TcpStream) -> usize {
    let pings: Vec<u8> = (0..500).flat_map(|_| frame(9, &[b'x'; 125])).collect();
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout");
    (0..2_000)
        .take_while(|_| stream.write_all(&pings).is_ok())
        .count()
        * 500
}

#[test]
fn who_sends_pings_and_reads_no_answer_takes_no_memory() {
    let site = site("");
    let broker = site.start();
    let before = broker.resident_kib();
    for greeted in [false, true] {
        let (mut stream, _) = open(site.plain, &[MQTT]);
        if greeted {
            let hello = Hello::new(5, "p", "alice").encode();
            stream.write_all(&frame(2, &hello)).expect("sent");
        }
        // A million would be 125 MB of answers.
        let count = flood_of_pings(&mut stream);
        assert!(count < 1_000_000, "greeted: {greeted}");
        let grown = broker.resident_kib().saturating_sub(before);
        assert!(grown < 32 * 1_024, "{grown} KiB, greeted: {greeted}");
    }
}

#[test]
fn a_ping_may_come_before_connect_and_pings_alone_are_no_packet_that_takes_too_long() {
    let site = Site::with_users(&["alice"], ACL, "packet_timeout 1");
    site.on_plain_listener("protocol websockets");
    let _broker = site.start();
    let (mut stream, _) = open(site.plain, &[MQTT]);
    stream.write_all(&frame(9, b"first")).expect("sent");
    assert_eq!(next_frame(&mut stream).expect("a pong").0, 10);
    stream
        .write_all(&frame(2, &Hello::new(5, "c", "alice").encode()))
        .expect("sent");
    assert_eq!(next_frame(&mut stream).expect("CONNACK").0, 2);
    for _ in 0..15 {
        stream.write_all(&frame(9, b"")).expect("sent");
        assert_eq!(next_frame(&mut stream).expect("a pong").0, 10);
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_frame_that_trickles_in_ends_the_connection_like_a_packet() {
    let site = Site::with_users(&["alice"], ACL, "protocol websockets\npacket_timeout 1");
    site.on_plain_listener("protocol websockets");
    let broker = site.start();
    let mut slow = framed(site.plain, 5, usize::MAX);
    slow.send(&Hello::new(5, "slow", "alice").encode());
    assert_eq!(slow.receive().body[1], 0);
    let (mut stream, _) = open(site.plain, &[MQTT]);
    stream
        .write_all(&frame(2, &Hello::new(5, "trickle", "alice").encode()))
        .expect("sent");
    assert_eq!(next_frame(&mut stream).expect("CONNACK").0, 2);
    let long = frame(
        2,
        &publish(5, "demo/alice/orders/1", &[b'x'; 300], 0, 0, false, &[]),
    );
    let sent = long.iter().take_while(|byte| {
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(&[**byte]).is_ok()
    });
    assert!(sent.count() < long.len());
    let left = broker.audited("disconnect", |line| line["client_id"] == "trickle");
    assert_eq!(left["reason"], "packet_timeout");
    slow.expect_silence();
}
