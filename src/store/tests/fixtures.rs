//! Stores of every format there was open in every later version. `tests/fixtures/store/v1` is one of format 1.
//!
//! A new format gets a directory of its own, made once by
//! `PORTCULLIS_FIXTURE=DIRECTORY cargo test --lib make_a_fixture -- --ignored`; one that is there is never
//! made again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::world::*;
use crate::message::Message;
use crate::session::TopicTokens;
use crate::store::disk::FileSystem;
use crate::store::{
    Journal, Record, Recovered, SessionFacts, Stage, Store, StoreSettings, StoredWill,
};

fn settings(directory: &Path) -> StoreSettings {
    StoreSettings {
        segment_bytes: 2 << 10,
        ..StoreSettings::new(directory)
    }
}

fn open_at(directory: &Path, now: Instant, wall_ms: u64) -> (Journal, Recovered) {
    let disk = Arc::new(FileSystem);
    Journal::open(settings(directory), disk, now, wall_ms, Box::new(|_| {})).expect("a store")
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn will(text: &str) -> StoredWill {
    StoredWill {
        message: message("will", text),
        expiry_interval_s: Some(60),
        delay_s: 7,
        due: None,
    }
}

fn sessions(now: Instant) -> Vec<Record> {
    let pump = SessionFacts {
        username: Some("user".into()),
        away_since: Some(now + seconds(1)),
        ..facts("pump")
    };
    let tokens = TopicTokens {
        current: "token".into(),
        drawn_at: now,
        generation: 2,
        previous: Some(("before".into(), now + seconds(30))),
        subscribed: Some((crate::codec::QoS::AtLeastOnce, Some(4))),
    };
    let valve = SessionFacts {
        expiry_interval_s: u32::MAX,
        tokens: Some(tokens.into()),
        ..facts("valve")
    };
    vec![
        Record::Session {
            session: key(1),
            facts: pump.into(),
        },
        Record::Session {
            session: key(2),
            facts: valve.into(),
        },
        Record::Session {
            session: key(3),
            facts: facts("gone").into(),
        },
    ]
}

fn of_sessions(now: Instant) -> Vec<Record> {
    let (one, packet_id) = (key(1), id(8));
    let mut records: Vec<_> = ["a/+", "$share/g/b/#", "c"]
        .into_iter()
        .map(|filter| Record::Subscribe {
            session: one,
            subscription: subscription(filter).into(),
        })
        .collect();
    records.push(Record::Unsubscribe {
        session: one,
        filter: "c".into(),
    });
    for packet_id in [id(8), id(9)] {
        records.push(Record::Received {
            session: one,
            packet_id,
        });
    }
    records.push(Record::ReceivedDone {
        session: one,
        packet_id,
    });
    for (session, text) in [(1, "armed"), (2, "not wanted"), (3, "of one that is gone")] {
        records.push(Record::Will {
            session: key(session),
            will: will(text).into(),
        });
    }
    records.push(Record::WillArmed {
        session: one,
        due: now + seconds(50),
    });
    records.push(Record::WillDone { session: key(2) });
    records.push(Record::SessionEnd { session: key(3) });
    records
}

fn messages(now: Instant) -> Vec<Record> {
    let session = key(1);
    let mut kept = Arc::into_inner(message("r", "retained")).expect("the only one");
    kept.expires_at = Some(now + seconds(1_000));
    let retained = |message: Message| Record::Publish {
        message: Arc::new(message),
        retained: true,
        receivers: vec![receiver(1, 10), receiver(2, 1 << 40)],
    };
    let gone = Arc::into_inner(message("q", "gone")).expect("the only one");
    vec![
        publish("a/1", "one", vec![receiver(1, 1)]),
        publish("a/2", "two", vec![receiver(1, 2)]),
        publish("a/3", "three", vec![receiver(1, 3), receiver(3, 1)]),
        Record::Sent {
            session,
            seq: 1,
            packet_id: id(5),
        },
        Record::Released {
            session,
            seq: 2,
            packet_id: id(6),
        },
        retained(kept),
        retained(gone),
        Record::Unretain {
            topic: message("q", "").topic.clone(),
        },
        Record::Alive,
    ]
}

#[test]
#[ignore = "makes what is checked in"]
fn make_a_fixture() {
    let directory = std::env::var("PORTCULLIS_FIXTURE").expect("a directory");
    let directory = PathBuf::from(directory);
    assert!(!directory.exists(), "it is never made again");
    let now = Instant::now();
    let (store, _) = open_at(&directory, now, WALL_MS);
    commit(&store, sessions(now));
    commit(&store, of_sessions(now));
    commit(&store, messages(now));
    for seq in 100..110 {
        let filler = "x".repeat(200);
        commit(&store, vec![publish("a", &filler, vec![receiver(2, seq)])]);
    }
    drop(store);
    for name in ["LOCK", "s0/spare"] {
        std::fs::remove_file(directory.join(name)).expect("removed");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn check(directory: &Path) {
    let now = Instant::now();
    let (store, found) = open_at(directory, now, WALL_MS + 10_000);
    let left = |at: Option<Instant>| {
        let left = at.expect("a time").saturating_duration_since(now);
        (left.as_millis() + 500) / 1_000
    };
    let [pump, valve] = &found.sessions[..] else {
        panic!("{found:?}");
    };
    assert_eq!((pump.session, valve.session), (key(1), key(2)));
    assert_eq!(pump.facts.client_id.as_str(), "pump");
    assert_eq!(pump.facts.username.as_deref(), Some("user"));
    assert_eq!(pump.facts.expiry_interval_s, 3_600);
    let away = pump.facts.away_since.expect("away");
    assert_eq!((now - away).as_millis().div_ceil(1_000), 9);
    assert_eq!(
        pump.subscriptions,
        [subscription("$share/g/b/#"), subscription("a/+")]
    );
    assert_eq!(pump.received, [id(9)]);
    let stages: Vec<_> = pump
        .queue
        .iter()
        .map(|queued| (queued.seq, queued.stage))
        .collect();
    let wanted = [
        (1, Stage::Sent(id(5))),
        (2, Stage::Released(id(6))),
        (3, Stage::Queued),
        (10, Stage::Queued),
    ];
    assert_eq!(stages, wanted);
    assert_eq!(payloads(&read(&store, 1, 9)), ["one", "three", "gone"]);
    let tokens = valve.facts.tokens.as_ref().expect("tokens");
    assert_eq!((&*tokens.current, tokens.generation), ("token", 2));
    let (before, until) = tokens.previous.as_ref().expect("one before");
    assert_eq!((&**before, left(Some(*until))), ("before", 20));
    let page = read(&store, 2, 99);
    assert_eq!(page.messages.len(), 11);
    assert_eq!(page.messages[10].seq, 1 << 40);
    let [retained] = &found.retained[..] else {
        panic!("{found:?}");
    };
    assert_eq!(&retained.payload[..], b"retained");
    assert_eq!(left(retained.expires_at), 990);
    assert_eq!(retained.author.username.as_deref(), Some("user"));
    let wills: Vec<_> = found
        .wills
        .iter()
        .map(|(session, will)| (*session, String::from_utf8_lossy(&will.message.payload)))
        .collect();
    assert_eq!(
        wills,
        [
            (key(1), "armed".into()),
            (key(3), "of one that is gone".into())
        ]
    );
    assert_eq!(left(found.wills[0].1.due), 40);
    assert_eq!(store.new_session(), Some(key(4)));
    commit(&store, vec![publish("a", "new", vec![receiver(1, 11)])]);
}

#[test]
fn a_store_of_format_1_opens() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store/v1");
    let dir = tempfile::tempdir().expect("a directory");
    let whole = dir.path().join("whole");
    copy(&fixture, &whole);
    check(&whole);
    // Without the sidecars it is the same.
    let without = dir.path().join("without");
    copy(&fixture, &without);
    let mut removed = 0;
    for entry in std::fs::read_dir(without.join("s0")).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "idx") {
            std::fs::remove_file(path).expect("removed");
            removed += 1;
        }
    }
    assert!(removed > 1);
    check(&without);
}
