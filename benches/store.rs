//! What the journal costs: memory for each message that waits, opening a store that is full of them, and
//! writing.
//!
//! `cargo bench --bench store [MESSAGES]`; `cargo test` runs it once with few messages. It writes to the
//! directory for temporary files (`TMPDIR`): the figures are those of that disk.

#![expect(
    clippy::cast_precision_loss,
    reason = "figures of three digits are enough"
)]

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver as Channel};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use portcullis::codec::QoS;
use portcullis::message::{Author, ClientId, Groups, Message, Submitted};
use portcullis::store::disk::FileSystem;
use portcullis::store::{
    Batch, Journal, Receiver, Record, Recovered, SessionFacts, SessionKey, Store, StoreSettings,
    Ticket,
};
use portcullis::topic::TopicName;

const PAYLOAD: usize = 576;
/// Sessions that the messages wait for, each for one of them.
const SESSIONS: u32 = 100;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let is_bench = arguments.any(|argument| argument == "--bench");
    let number = std::env::args().find_map(|argument| argument.parse().ok());
    let messages = number.unwrap_or(if is_bench { 1_000_000 } else { 500 });
    waiting(messages);
    for together in [1, 64, 256, 1_024] {
        writing(
            together,
            (messages / 5).clamp(together, 4_000 * together.min(50)),
        );
    }
}

#[expect(clippy::print_stdout, reason = "the figures")]
fn say(what: &str, value: f64, unit: &str) {
    println!("{what:<58} {value:>12.2} {unit}");
}

fn open(directory: &Path) -> (Journal, Recovered, Channel<Ticket>) {
    let (wake, woken) = mpsc::channel();
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let wall_ms = wall.map_or(0, |wall| wall.as_secs() * 1_000);
    let (journal, found) = Journal::open(
        StoreSettings::new(directory),
        Arc::new(FileSystem),
        Instant::now(),
        wall_ms,
        Box::new(move |ticket| {
            let _ = wake.send(ticket);
        }),
    )
    .expect("a store");
    (journal, found, woken)
}

fn key(number: u32) -> SessionKey {
    SessionKey(NonZeroU32::new(number).expect("not zero"))
}

fn author() -> Arc<Author> {
    Arc::new(Author {
        client_id: ClientId::new("publisher-17"),
        username: Some("publisher".into()),
        groups: Groups::default(),
        grants: None,
        tokens: Arc::default(),
        address: None,
        listener: Some(0),
    })
}

fn publish(author: &Arc<Author>, number: u64) -> Record {
    let session = key(1 + u32::try_from(number % u64::from(SESSIONS)).expect("small"));
    let message = Message {
        topic: TopicName::parse("plant/7/pump/42/state").expect("a topic"),
        payload: Bytes::from(vec![(number % 251) as u8; PAYLOAD]),
        properties: Box::default(),
        qos: QoS::AtLeastOnce,
        retain: false,
        expires_at: None,
        author: Arc::clone(author),
        submitted: Submitted::default(),
    };
    Record::Publish {
        message: Arc::new(message),
        retained: false,
        receivers: vec![Receiver {
            session,
            seq: number,
            qos: QoS::AtLeastOnce,
            retain: false,
            identifiers: [].into_iter().collect(),
        }],
    }
}

fn done(number: u64) -> Record {
    Record::Done {
        session: key(1 + u32::try_from(number % u64::from(SESSIONS)).expect("small")),
        seq: number,
    }
}

fn sessions() -> Vec<Record> {
    let session = |number| {
        let facts = SessionFacts {
            client_id: ClientId::new(&format!("subscriber-{number}")),
            username: None,
            expiry_interval_s: u32::MAX,
            away_since: Some(Instant::now()),
            tokens: None,
        };
        Record::Session {
            session: key(number),
            facts: facts.into(),
        }
    };
    (1..=SESSIONS).map(session).collect()
}

fn wait(store: &Journal, woken: &Channel<Ticket>, ticket: Ticket) {
    while store.committed() < ticket {
        let _ = woken.recv_timeout(Duration::from_millis(20));
        assert_eq!(store.failure(), None);
    }
}

fn urgent(records: Vec<Record>) -> Batch {
    Batch {
        records,
        urgent: true,
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) * 1_024.0
}

fn waiting(messages: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let author = author();
    {
        let (store, _, woken) = open(dir.path());
        store.commit(urgent(sessions()));
        let begun = Instant::now();
        let mut ticket = 0;
        for number in 1..=messages {
            ticket = store.commit(urgent(vec![publish(&author, number)]));
            if number % 4_096 == 0 {
                wait(&store, &woken, ticket);
            }
        }
        wait(&store, &woken, ticket);
        let rate = messages as f64 / begun.elapsed().as_secs_f64();
        say("filling, 4096 at a time", rate, "messages/s");
        let numbers = store.numbers();
        assert_eq!(numbers.queued, messages);
        let written = numbers.bytes_written as f64 / messages as f64 / PAYLOAD as f64;
        say("  bytes written for each byte of payload", written, "");
    }
    for sidecars in [false, true] {
        if !sidecars {
            for entry in std::fs::read_dir(dir.path().join("s0")).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.extension().is_some_and(|extension| extension == "idx") {
                    std::fs::remove_file(path).expect("removed");
                }
            }
        }
        let before = resident();
        let begun = Instant::now();
        let (store, found, _) = open(dir.path());
        let took = begun.elapsed().as_secs_f64();
        let queued: usize = found
            .sessions
            .iter()
            .map(|session| session.queue.len())
            .sum();
        assert_eq!(queued as u64, messages);
        drop(found);
        let with = if sidecars { "with sidecars" } else { "without" };
        say(&format!("opening {messages} messages, {with}"), took, "s");
        let each = (resident() - before) / messages as f64;
        say("  resident memory for each", each, "bytes");
        drop(store);
    }
}

/// Messages that are delivered and acknowledged soon after, `together` in each commit.
fn writing(together: u64, messages: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, _, woken) = open(dir.path());
    let ticket = store.commit(urgent(sessions()));
    wait(&store, &woken, ticket);
    let author = author();
    let before = store.numbers();
    let begun = Instant::now();
    let mut number = 0;
    while number < messages {
        let mut ticket = 0;
        let first = number + 1;
        let records: Vec<_> = (first..first + together)
            .map(|number| urgent(vec![publish(&author, number)]))
            .collect();
        number += together;
        for batch in records {
            ticket = store.commit(batch);
        }
        wait(&store, &woken, ticket);
        for number in first..first + together {
            store.commit(Batch {
                records: vec![done(number)],
                urgent: false,
            });
        }
    }
    let took = begun.elapsed().as_secs_f64();
    let after = store.numbers();
    let commits = after.commits - before.commits;
    let syncs = (after.syncs - before.syncs).max(1);
    let sync = after
        .sync_time
        .saturating_sub(before.sync_time)
        .as_secs_f64()
        / syncs as f64;
    say(
        &format!("{together} together, publish to done"),
        number as f64 / took,
        "messages/s",
    );
    say("  messages in a commit", number as f64 / commits as f64, "");
    say("  a sync takes", sync * 1_000.0, "ms");
    let written = (after.bytes_written - before.bytes_written) as f64;
    say(
        "  bytes written for each byte of payload",
        written / number as f64 / PAYLOAD as f64,
        "",
    );
}
