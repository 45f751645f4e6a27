//! Clients that mean no good: no byte sequence crashes, hangs or grows the broker.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::clients::ACL;
use crate::support::raw::{Hello, Raw, Will, packet, publish, subscribe};
use crate::support::site::{PATIENCE, Site, eventually};

fn site(more: &str) -> Site {
    Site::with_users(&["inside", "alice", "bob"], ACL, more)
}

/// xorshift: the same packets on every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("small")
    }
}

#[test]
fn mqtt_4_13_1_1_what_is_malformed_ends_the_connection_with_the_right_code_and_is_counted_by_kind()
{
    let site = site("");
    let broker = site.start();
    let cases: [(&str, Vec<u8>, u8); 12] = [
        ("a reserved type", vec![0x00, 0], 0x81),
        ("wrong flags of SUBSCRIBE", vec![0x80, 0], 0x81),
        ("QoS 3", vec![0x36, 5, 0, 1, b'a', 0, 1], 0x81),
        ("DUP with QoS 0", vec![0x38, 4, 0, 1, b'a', 0], 0x81),
        (
            "a length of five bytes",
            vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF],
            0x81,
        ),
        (
            "a wildcard in a Topic Name",
            publish(5, "a/+", b"", 0, 0, false, &[]),
            0x81,
        ),
        (
            "a NUL in a Topic Name",
            vec![0x30, 6, 0, 3, b'a', 0, b'b', 0],
            0x81,
        ),
        ("no Topic Filter", vec![0x82, 3, 0, 1, 0], 0x82),
        (
            "Packet Identifier 0",
            subscribe(5, 0, &[("demo/a", 0)], &[]),
            0x82,
        ),
        (
            "a second CONNECT",
            Hello::new(5, "x", "alice").encode(),
            0x82,
        ),
        ("a server's packet", vec![0x20, 2, 0, 0], 0x82),
        (
            "an alias above the maximum",
            publish(5, "", b"", 0, 0, false, &[0x23, 0xFF, 0xFF]),
            0x94,
        ),
    ];
    for (what, bytes, code) in cases {
        let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "m", "alice"));
        alice.send(&bytes);
        let heard = alice.receive();
        assert_eq!(heard.first, 0xE0, "{what}: {heard:02x?}");
        let said = heard.body.first().copied();
        assert!(
            said == Some(code) || (code == 0x82 && said == Some(0x81)),
            "{what}: {code:02x} expected, {heard:02x?}"
        );
        alice.expect_end();
    }
    let text = broker.http("/metrics");
    let total: f64 = text
        .lines()
        .filter(|line| line.starts_with("portcullis_malformed_packets_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert!((total - 12.0).abs() < f64::EPSILON, "{total}");
    // Each kind is told; that one came again is counted.
    let kinds = text
        .lines()
        .filter(|line| line.starts_with("portcullis_malformed_packets_total{"))
        .filter(|line| !line.ends_with(" 0"))
        .count();
    eventually("every kind is told", || {
        (broker.audit("malformed").len() == kinds).then_some(())
    });
}

#[test]
fn before_connect_nothing_is_answered_to_who_does_not_speak_mqtt() {
    let site = site("");
    let broker = site.start();
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(),
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC],
        &publish(5, "demo/x", b"x", 0, 0, false, &[]),
        &[0xE0, 0],
        &[0; 64],
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", site.plain)).expect("accepted");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(bytes).expect("sent");
        let mut answer = Vec::new();
        // A reset is as good an end as a close.
        drop(stream.read_to_end(&mut answer));
        assert_eq!(answer, Vec::<u8>::new());
    }
    // On the TLS listener it is no TLS.
    let mut stream = TcpStream::connect(("127.0.0.1", site.tls)).expect("accepted");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
        .write_all(&Hello::new(5, "x", "alice").encode())
        .expect("sent");
    drop(stream.read_to_end(&mut Vec::new()));
    broker.metric_becomes(
        "portcullis_tls_handshake_failures_total{reason=\"not_tls\"}",
        1.0,
    );
}

#[test]
fn a_version_that_does_not_exist_is_answered_as_the_standard_says() {
    let site = site("");
    let _broker = site.start();
    let mut body = Vec::new();
    crate::support::raw::put_bytes(&mut body, b"MQTT");
    body.extend([9, 2, 0, 60, 0, 0, 1, b'a']);
    let mut raw = Raw::plain(site.plain, 4);
    raw.send(&packet(0x10, &body));
    let connack = raw.receive();
    // [MQTT-3.1.2-2]: 0x84 for who may understand 5.0, 1 for who does not.
    assert!(matches!(connack.body[1], 0x84 | 0x01), "{connack:02x?}");
    raw.expect_end();
}

#[test]
fn mutated_conversations_leave_the_broker_alive_and_its_memory_as_it_was() {
    // Mutants guess: to make them wait is tested elsewhere.
    let site = site("auth_failure_delay_ms 0 0");
    let mut broker = site.start();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let conversation = |version: u8| {
        let will = Will::new("demo/alice/requests/w", "w");
        [
            Hello::new(version, "mutant", "alice")
                .with_will(will)
                .encode(),
            subscribe(
                version,
                1,
                &[("demo/alice/answers/#", 2), ("a/+/b", 1)],
                &[],
            ),
            publish(
                version,
                "demo/alice/requests/1",
                b"payload",
                2,
                2,
                true,
                &[],
            ),
            vec![0x62, 2, 0, 2],
            vec![0xC0, 0],
            vec![0xE0, 0],
        ]
        .concat()
    };
    let whole = [3, 4, 5].map(conversation);
    let run = |random: &mut Random, rounds: usize| {
        for _ in 0..rounds {
            let mut bytes = whole[random.below(3)].clone();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                match random.below(4) {
                    0 => bytes[at] ^= 1 << random.below(8),
                    1 => bytes[at] = 0xFF,
                    2 => bytes.truncate(at + 1),
                    _ => bytes.insert(at, u8::try_from(random.below(256)).expect("a byte")),
                }
            }
            let mut stream = TcpStream::connect(("127.0.0.1", site.plain)).expect("accepted");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            drop(stream.write_all(&bytes));
            drop(stream.shutdown(std::net::Shutdown::Write));
            // It must end: the broker never waits for more from who has said all.
            drop(stream.read_to_end(&mut Vec::new()));
        }
    };
    run(&mut random, 300);
    let before = broker.resident_kib();
    run(&mut random, 1_500);
    let grown = broker.resident_kib().saturating_sub(before);
    assert!(grown < 8_192, "{grown} KiB");
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "healthy", "alice"));
    assert_eq!(
        alice.publish_acked("demo/alice/requests/1", "x", 1) & 0x80,
        0
    );
    broker.metric_becomes("portcullis_connections", 1.0);
    assert!(!broker.log().contains("panicked"), "{}", broker.log());
    assert_eq!(broker.stop().code(), Some(0));
}

#[test]
fn what_clients_call_themselves_cannot_forge_a_line_of_the_log() {
    let site = site("");
    let broker = site.start();
    let evil = "x\u{1b}[2J\u{202e}\"}{\"event\":\"reload\"";
    let hello = Hello::new(5, evil, evil);
    assert_eq!(Raw::refused(site.plain, &hello), 0x86);
    broker.audited("authentication_failure", |_| true);
    for text in [broker.log(), site.read("audit.log")] {
        assert!(
            !text.contains('\u{1b}') && !text.contains('\u{202e}'),
            "{text}"
        );
    }
    for line in site.read("audit.log").lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("a JSON object");
        assert_ne!(value["event"], "reload");
    }
}

#[test]
fn a_flood_of_one_refusal_becomes_a_count() {
    let site = site("");
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    for _ in 0..500 {
        assert_eq!(alice.subscribe(&[("#", 0)]), [0x87]);
    }
    let sample = "portcullis_subscribe_denied_total{reason=\"wildcard\"}";
    broker.metric_becomes(sample, 500.0);
    assert!(
        broker.audit("acl_denied").len() < 20,
        "{}",
        broker.audit("acl_denied").len()
    );
}

#[test]
fn a_connect_split_in_single_bytes_is_a_connect() {
    let site = site("");
    let _broker = site.start();
    let mut raw = Raw::plain(site.plain, 5);
    for byte in Hello::new(5, "bytes", "alice").encode() {
        raw.send(&[byte]);
    }
    assert_eq!(raw.receive().body[1], 0);
}

#[test]
fn what_comes_with_connect_in_one_write_is_served_after_it() {
    let site = site("");
    let _broker = site.start();
    for version in [3, 4, 5] {
        let mut raw = Raw::plain(site.plain, version);
        let all = [
            Hello::new(version, "eager", "inside").encode(),
            subscribe(version, 1, &[("demo/x", 1)], &[]),
            publish(version, "demo/x", b"eager", 1, 2, false, &[]),
        ]
        .concat();
        raw.send(&all);
        assert_eq!(raw.receive().kind(), 2);
        assert_eq!(raw.receive().kind(), 9);
        let mut kinds = [raw.receive().kind(), raw.receive().kind()];
        kinds.sort_unstable();
        assert_eq!(kinds, [3, 4]);
    }
}

#[test]
fn who_subscribes_without_reading_does_not_pile_up_retained_messages() {
    let site = site("max_retained_messages 0");
    let broker = site.start();
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(4, "i", "inside"));
    for number in 0..5_000 {
        let topic = format!("demo/{number}");
        inside.send(&publish(4, &topic, &[b'x'; 100], 0, 0, true, &[]));
    }
    inside.expect_silence();
    broker.metric_becomes("portcullis_retained_messages", 5_000.0);
    // Before the measurement: checking a new password takes 19 MiB by itself.
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(4, "a", "alice"));
    let before = broker.resident_kib();
    let (mut greedy, _) = Raw::hello(site.plain, &Hello::new(4, "g", "inside"));
    let mut all = Vec::new();
    for id in 1..=5_000 {
        all.extend(subscribe(4, id, &[("demo/#", 0)], &[]));
    }
    // More than its socket takes: what is not read stays there.
    greedy.wait_at_most(std::time::Duration::from_millis(500));
    drop(greedy.try_send(&all));
    alice.expect_silence();
    let grown = broker.resident_kib().saturating_sub(before);
    // 25 million messages were asked for; one lookup of 5,000 is some hundred KiB.
    assert!(grown < 4_096, "{grown} KiB");
    drop(greedy);
}

#[test]
fn who_asks_for_something_else_each_time_cannot_fill_the_logs() {
    let site = site("");
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    for number in 0..20_u16 {
        let names: Vec<String> = (0..100).map(|n| format!("demo/{number}/{n}")).collect();
        let filters: Vec<(&str, u8)> = names.iter().map(|name| (name.as_str(), 0)).collect();
        assert!(alice.subscribe(&filters).iter().all(|code| *code == 0x87));
    }
    let sample = "portcullis_subscribe_denied_total{reason=\"no_rule\"}";
    broker.metric_becomes(sample, 2_000.0);
    assert!((50..150).contains(&broker.audit("acl_denied").len()));
    assert!(broker.log().lines().count() < 300);
    let summary = broker.audited("acl_denied", |line| line["various"] == true);
    assert!(
        summary["repeated"].as_u64().expect("a number") > 1_000,
        "{summary}"
    );
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    use std::process::{Command, Stdio};
    let site = site("");
    // Its standard error is a pipe that is never read: 64 KiB fit into it.
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["-v", "-c", &site.path_text("portcullis.conf")])
        .env_remove("PORTCULLIS_SECURITY_PROFILE")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    eventually("it listens", || {
        TcpStream::connect(("127.0.0.1", site.plain)).ok()
    });
    for number in 0..500 {
        let id = format!("client-{number}-{}", "x".repeat(200));
        Raw::hello(site.plain, &Hello::new(5, &id, "alice"))
            .0
            .disconnect();
    }
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    assert_eq!(inside.subscribe(&[("demo/x", 0)]), [0]);
    inside.publish("demo/x", "still here", 0, 0);
    assert_eq!(inside.message().payload, "still here");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}
