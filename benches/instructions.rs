//! How many instructions the steps of a message take, counted by valgrind: the same on every run, so that
//! a change which makes one dearer is seen where times are too noisy to show it.
//!
//! `cargo bench --bench instructions` counts and compares with `benches/instructions.toml`; a step that
//! needs 3 % more fails. What is meant to cost more is taken with `-- --accept`, which writes the file.
//! `cargo test` runs each step once.
//!
//! A step is run as a process of its own, twice, with different numbers of repetitions: the difference is
//! that of the repetitions alone, whatever start and end take.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that measures"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use portcullis::audit::{Auditor, Journal, JournalTarget, Metrics, Traffic};
use portcullis::auth::Authenticator;
use portcullis::broker::{Broker, Settings};
use portcullis::codec::{self, Limits, Packet, PublishHead, QoS, Version};
use portcullis::net::listener::{Listener, ListenerState, connection};
use portcullis::net::{Cores, Sentry, SentrySettings, Shared};
use portcullis::policy::acl::AclFile;
use portcullis::policy::{Admission, AdmissionSettings, Gate, Policy, Principal, SubscribeGuard};
use portcullis::topic::{FilterTree, TopicFilter};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// A step may take so much more than is written, in thousandths.
const TOLERANCE: u64 = 30;
const ACCEPTED: &str = "benches/instructions.toml";

/// Runs a step so many times.
type Step = fn(usize);

struct Case {
    name: &'static str,
    what: &'static str,
    step: Step,
    /// Things that one repetition does.
    each: u64,
    /// Repetitions: enough that a count is more than its start.
    times: usize,
}

const CASES: &[Case] = &[
    Case {
        name: "decode",
        what: "a PUBLISH of 5.0 with two properties and 64 bytes",
        step: decode,
        each: 100,
        times: 200,
    },
    Case {
        name: "encode",
        what: "the same, sent",
        step: encode,
        each: 100,
        times: 200,
    },
    Case {
        name: "match",
        what: "a Topic Name of five levels among 10,000 filters",
        step: matching,
        each: 100,
        times: 100,
    },
    Case {
        name: "publish_rules",
        what: "may this topic be written, 25 rules, nothing remembered",
        step: publish_rules,
        each: 4,
        times: 500,
    },
    Case {
        name: "subscribe_proof",
        what: "does this filter lie inside what was granted, 25 rules",
        step: subscribe_proof,
        each: 4,
        times: 500,
    },
    Case {
        name: "path_qos0",
        what: "a message of 64 bytes from one connection to another, all of the broker but the socket",
        step: path_qos0,
        each: 100,
        times: 100,
    },
    Case {
        name: "path_qos1",
        what: "the same with QoS 1 on both sides",
        step: path_qos1,
        each: 20,
        times: 100,
    },
    Case {
        name: "fan_out",
        what: "each delivery of one message to 100 connections",
        step: fan_out,
        each: 1_000,
        times: 30,
    },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|known| known == word);
    if let [first, name, times] = words.as_slice()
        && first == "--run"
    {
        let case = CASES.iter().find(|case| case.name == name).unwrap();
        (case.step)(times.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    if !has("--bench") {
        for case in CASES {
            (case.step)(1);
        }
        return ExitCode::SUCCESS;
    }
    let found = Counts {
        made_with: made_with(),
        instructions: CASES
            .iter()
            .map(|case| (case.name.to_owned(), count(case)))
            .collect(),
    };
    if has("--accept") {
        let text = format!(
            "# Instructions of each step, counted by `cargo bench --bench instructions -- --accept`.\n{}",
            toml::to_string(&found).unwrap()
        );
        fs::write(ACCEPTED, text).unwrap();
        println!("written to {ACCEPTED}");
        return ExitCode::SUCCESS;
    }
    compare(&found)
}

#[derive(Deserialize, Serialize)]
struct Counts {
    /// Another compiler makes other code, and the C library copies memory as the processor allows: then
    /// nothing is compared.
    made_with: String,
    instructions: BTreeMap<String, u64>,
}

fn made_with() -> String {
    let said = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let first = text.unwrap_or_default();
        first.lines().next().unwrap_or_default().trim().to_owned()
    };
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = processor.lines().find(|line| line.starts_with("flags"));
    let has_avx2 = flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "avx2"));
    format!(
        "{}, {}, {}, {}",
        said("rustc", "--version"),
        said("valgrind", "--version"),
        said("ldd", "--version"),
        if has_avx2 {
            "with AVX2"
        } else {
            "without AVX2"
        }
    )
}

/// Instructions for each of the things a case does.
fn count(case: &Case) -> u64 {
    let few = instructions(case, case.times);
    let many = instructions(case, 3 * case.times);
    let things = 2 * u64::try_from(case.times).unwrap() * case.each;
    (many - few) / things
}

fn instructions(case: &Case, times: usize) -> u64 {
    let output = Command::new("valgrind")
        .args([
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--run", case.name, &times.to_string()])
        .output()
        .expect("valgrind is installed");
    let told = String::from_utf8_lossy(&output.stderr);
    let line = told
        .lines()
        .find(|line| line.contains("== I ") && line.contains(" refs:"))
        .unwrap_or_else(|| panic!("{}: {told}", case.name));
    let digits: String = line
        .rsplit(':')
        .next()
        .unwrap()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap()
}

fn compare(found: &Counts) -> ExitCode {
    let accepted: Counts =
        toml::from_str(&fs::read_to_string(Path::new(ACCEPTED)).unwrap()).unwrap();
    if accepted.made_with != found.made_with {
        println!(
            "{ACCEPTED} was counted with {}, this is {}: nothing is compared; `-- --accept` writes it anew",
            accepted.made_with, found.made_with
        );
        return ExitCode::SUCCESS;
    }
    let mut worse = 0;
    for case in CASES {
        let now = found.instructions[case.name];
        let before = accepted.instructions.get(case.name).copied().unwrap_or(0);
        let is_worse = now * 1_000 > before * (1_000 + TOLERANCE);
        worse += u32::from(is_worse);
        let verdict = match (is_worse, now * 1_000 < before * (1_000 - TOLERANCE)) {
            (true, _) => "MORE THAN ACCEPTED",
            (_, true) => "less: accept it, so that it stays so",
            _ => "",
        };
        println!(
            "{:16} {now:6} (accepted {before:6})  {}  {verdict}",
            case.name, case.what
        );
    }
    if worse > 0 {
        println!(
            "{worse} step(s) take more than 3 % more instructions. If that is meant: cargo bench --bench \
             instructions -- --accept, and say in the commit what it buys"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

// The steps.

fn head(topic: &str) -> PublishHead<'_> {
    PublishHead {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic,
        packet_id: codec::PacketId::new(7),
        alias: None,
        expiry_interval_s: Some(60),
        identifiers: &[],
        // Content Type `text/plain`.
        properties: b"\x03\x00\x0atext/plain",
        payload_bytes: 64,
    }
}

fn frame() -> Vec<u8> {
    let mut frame = Vec::new();
    head("plant/area1/line2/machine3/state").encode(Version::V5, &mut frame);
    frame.extend([b'x'; 64]);
    frame
}

fn decode(times: usize) {
    let frames = frame().repeat(100);
    let limits = Limits::default();
    for _ in 0..times {
        let mut rest = black_box(frames.as_slice());
        while let Some(length) = codec::frame_length(rest, limits.max_packet_bytes).unwrap() {
            let packet = codec::decode(&rest[..length], Version::V5, &limits).unwrap();
            assert!(matches!(black_box(packet), Packet::Publish(_)));
            rest = &rest[length..];
        }
    }
}

fn encode(times: usize) {
    let payload = [b'x'; 64];
    let mut out = Vec::with_capacity(64 * 1024);
    for _ in 0..times {
        out.clear();
        for _ in 0..100 {
            let head = head(black_box("plant/area1/line2/machine3/state"));
            head.encode(Version::V5, &mut out);
            out.extend_from_slice(&payload);
        }
        black_box(&out);
    }
}

fn matching(times: usize) {
    let mut tree = FilterTree::default();
    for number in 0..10_000_usize {
        let (area, line, machine) = (number / 1_000, number / 100 % 10, number / 10 % 10);
        let filter = match number % 10 {
            0 => format!("plant/area{area}/line{line}/+/state"),
            1 => format!("plant/area{area}/line{line}/machine{machine}/#"),
            sensor => format!("plant/area{area}/line{line}/machine{machine}/sensor{sensor}"),
        };
        tree.insert(&filter, number);
    }
    let names: Vec<String> = (0..100)
        .map(|number| {
            format!(
                "plant/area{}/line{}/machine3/state",
                number / 10,
                number % 10
            )
        })
        .collect();
    let mut found = 0_usize;
    for _ in 0..times {
        for name in &names {
            tree.for_each_match(black_box(name), |_| found += 1);
        }
    }
    assert!(found > 0);
}

/// Five rules of the user's own and twenty patterns.
fn rules() -> String {
    let mut text =
        "user alice\ntopic read news/#\ntopic read plant/+/state\ntopic write cmd/alice/#\n\
                    topic readwrite chat/alice\ntopic deny plant/secret/state\n"
            .to_owned();
    for kind in 0..20 {
        let access = if kind % 2 == 0 { "read" } else { "write" };
        writeln!(text, "pattern {access} kind{kind}/%u/%c/#").unwrap();
    }
    text
}

fn policy(text: &str) -> Policy {
    let file = AclFile::parse("acl", text).unwrap();
    Policy::new(vec![Some(Arc::new(file))], SubscribeGuard::Strict, 200)
}

fn publish_rules(times: usize) {
    let rights = policy(&rules()).bind(&Principal::new(Some("alice"), "pump-7"), 0);
    for _ in 0..times {
        for topic in [
            "chat/alice",
            "cmd/alice/7",
            "kind5/alice/pump-7/x",
            "news/today",
        ] {
            drop(black_box(rights.publish(black_box(topic), QoS::AtMostOnce)));
        }
    }
}

fn subscribe_proof(times: usize) {
    let rights = policy(&rules()).bind(&Principal::new(Some("alice"), "pump-7"), 0);
    let filters = ["chat/alice", "plant/7/+", "news/+/today", "#"];
    let filters = filters.map(|filter| TopicFilter::parse(filter).unwrap());
    for _ in 0..times {
        for filter in &filters {
            drop(black_box(
                rights.subscribe(black_box(filter), QoS::AtLeastOnce),
            ));
        }
    }
}

/// A broker with its guard, rules, metrics and audit, in this thread.
struct Site {
    shared: Arc<Shared>,
    listener: Arc<Listener>,
}

impl Site {
    fn new() -> Self {
        let traffic = Arc::new(Traffic::new(1));
        let metrics = Metrics::new(
            Arc::clone(&traffic),
            &[],
            &[],
            Authenticator::methods(),
            &[],
        );
        let journal = Journal::start(&JournalTarget::Off).unwrap();
        let audit = Auditor::new(journal, metrics.unwrap().1);
        let policy = policy("topic readwrite plant/#\ntopic deny plant/secret/#\n");
        let gate = Arc::new(Gate::new(policy, Arc::clone(&audit) as Arc<_>));
        let sentry = Sentry::new(Arc::clone(&audit), &SentrySettings::default());
        let shared = Shared::new(
            Broker::new(&Settings::default(), gate),
            audit,
            traffic,
            Admission::new(AdmissionSettings {
                connections: None,
                rate: None,
            }),
            sentry,
            Cores::here(),
        );
        let listener = Listener::new(ListenerState::bare());
        shared.add_listener(Arc::clone(&listener));
        Self { shared, listener }
    }

    /// A connected client of 3.1.1.
    async fn client(&self, name: &str) -> DuplexStream {
        let (mut client, stream) = tokio::io::duplex(1 << 20);
        let peer = "127.0.0.1:1".parse().unwrap();
        let served = connection(&self.shared, &self.listener, Box::new(stream), peer);
        tokio::spawn(served.unwrap());
        let length = u8::try_from(12 + name.len()).unwrap();
        let mut connect = vec![0x10, length];
        connect.extend(b"\x00\x04MQTT\x04\x02\x00\x00\x00");
        connect.push(u8::try_from(name.len()).unwrap());
        connect.extend(name.as_bytes());
        client.write_all(&connect).await.unwrap();
        answer(&mut client, 4).await;
        client
    }

    async fn subscriber(&self, name: &str, qos: u8) -> DuplexStream {
        let mut client = self.client(name).await;
        let mut subscribe = b"\x82\x0f\x00\x01\x00\x0aplant/line".to_vec();
        subscribe.push(qos);
        client.write_all(&subscribe).await.unwrap();
        answer(&mut client, 5).await;
        client
    }
}

async fn answer(client: &mut DuplexStream, bytes: usize) {
    client.read_exact(&mut vec![0; bytes]).await.unwrap();
}

fn publish(qos: u8, id: u16) -> Vec<u8> {
    let mut packet = vec![0x30 | qos << 1, if qos == 0 { 76 } else { 78 }];
    packet.extend(b"\x00\x0aplant/line");
    if qos > 0 {
        packet.extend(id.to_be_bytes());
    }
    packet.extend([b'x'; 64]);
    packet
}

fn here<F: Future<Output = ()>>(work: impl FnOnce() -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().build().unwrap().block_on(async {
        work().await;
    });
}

fn path_qos0(times: usize) {
    here(|| async move {
        let site = Site::new();
        let mut reader = site.subscriber("reader", 0).await;
        let mut writer = site.client("writer").await;
        let messages = publish(0, 0).repeat(100);
        for _ in 0..times {
            writer.write_all(&messages).await.unwrap();
            answer(&mut reader, messages.len()).await;
        }
    });
}

fn path_qos1(times: usize) {
    here(|| async move {
        let site = Site::new();
        let mut reader = site.subscriber("reader", 1).await;
        let mut writer = site.client("writer").await;
        // Below `max_inflight_messages`, so that nothing waits for a window.
        let messages: Vec<u8> = (1..=20).flat_map(|id| publish(1, id)).collect();
        let mut received = vec![0; messages.len()];
        for _ in 0..times {
            writer.write_all(&messages).await.unwrap();
            answer(&mut writer, 4 * 20).await;
            reader.read_exact(&mut received).await.unwrap();
            let mut answers = Vec::new();
            for packet in received.chunks(80) {
                answers.extend([0x40, 2, packet[14], packet[15]]);
            }
            reader.write_all(&answers).await.unwrap();
        }
    });
}

fn fan_out(times: usize) {
    here(|| async move {
        let site = Site::new();
        let mut readers = Vec::new();
        for number in 0..100 {
            readers.push(site.subscriber(&format!("reader-{number}"), 0).await);
        }
        let mut writer = site.client("writer").await;
        let messages = publish(0, 0).repeat(10);
        for _ in 0..times {
            writer.write_all(&messages).await.unwrap();
            for reader in &mut readers {
                answer(reader, messages.len()).await;
            }
        }
    });
}
