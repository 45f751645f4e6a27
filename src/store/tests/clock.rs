//! The time of day may be set while the broker is down: nothing gets more time by it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::faults::FaultDisk;
use super::model::small;
use super::world::*;
use crate::message::Message;
use crate::store::{Journal, Record, Recovered, SessionFacts, StoredWill};

const HOUR_MS: u64 = 3_600_000;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn open_at(disk: &FaultDisk, now: Instant, wall_ms: u64) -> (Journal, Recovered) {
    let disk = Arc::new(disk.clone());
    Journal::open(small(), disk, now, wall_ms, Box::new(|_| {})).expect("a store")
}

/// What ends 600 s after `begun`.
fn things(begun: Instant) -> Vec<Record> {
    let mut kept = Arc::into_inner(message("a", "kept")).expect("the only one");
    kept.expires_at = Some(begun + seconds(600));
    let away = SessionFacts {
        away_since: Some(begun + seconds(100)),
        ..facts("pump")
    };
    let will = StoredWill {
        message: message("will", "w"),
        expiry_interval_s: None,
        delay_s: 600,
        due: Some(begun + seconds(600)),
    };
    vec![
        Record::Session {
            session: key(1),
            facts: away.into(),
        },
        Record::Publish {
            message: Arc::new(kept),
            retained: true,
            receivers: vec![receiver(1, 1)],
        },
        Record::Will {
            session: key(1),
            will: will.into(),
        },
    ]
}

/// How long the message, the will, and how long the session was away already.
fn left(store: &Journal, found: &Recovered, now: Instant) -> [u128; 4] {
    let until = |at: Option<Instant>| {
        let left = at.expect("a time").saturating_duration_since(now);
        (left.as_millis() + 500) / 1_000
    };
    let message = |message: &Message| until(message.expires_at);
    let page = read(store, 1, 1);
    let away = now.saturating_duration_since(found.sessions[0].facts.away_since.expect("away"));
    [
        message(&found.retained[0]),
        message(&page.messages[0].delivery.message),
        until(found.wills[0].1.due),
        (away.as_millis() + 500) / 1_000,
    ]
}

/// A store that was used from 500 s ago until now, with the time of day `WALL_MS` at its beginning.
fn used() -> (FaultDisk, Instant) {
    let disk = FaultDisk::new();
    let now = Instant::now();
    let begun = now.checked_sub(seconds(500)).expect("a time");
    let (store, _) = open_at(&disk, begun, WALL_MS);
    commit(&store, things(begun));
    drop(store);
    (disk, now)
}

#[test]
fn a_clock_that_was_set_back_gives_nothing_more_time() {
    for back_ms in [1, 500_000, HOUR_MS, WALL_MS] {
        let (disk, now) = used();
        let wall_ms = (WALL_MS + 500_000) - back_ms;
        let (store, found) = open_at(&disk, now, wall_ms);
        assert_eq!(left(&store, &found, now), [100, 100, 100, 400], "{back_ms}");
    }
}

#[test]
fn time_that_went_by_while_the_broker_was_down_counts() {
    let (disk, now) = used();
    let (store, found) = open_at(&disk, now, WALL_MS + 560_000);
    assert_eq!(left(&store, &found, now), [40, 40, 40, 460]);
    drop(store);
    // The clock goes back to where it was before that: the store's time does not.
    let (store, found) = open_at(&disk, now, WALL_MS + 500_000);
    assert_eq!(left(&store, &found, now), [40, 40, 40, 460]);
    drop((store, found));
    let (store, found) = open_at(&disk, now, WALL_MS + 100 * HOUR_MS);
    assert_eq!(left(&store, &found, now)[..3], [0, 0, 0]);
}

#[test]
fn a_session_whose_client_was_connected_is_away_since_the_last_sign_of_life_or_soon_after() {
    let disk = FaultDisk::new();
    let now = Instant::now();
    let begun = now.checked_sub(seconds(500)).expect("a time");
    let (store, _) = open_at(&disk, begun, WALL_MS);
    let session = Record::Session {
        session: key(1),
        facts: facts("pump").into(),
    };
    commit(&store, vec![session]);
    drop(store);
    let away = |wall_ms| {
        let (_store, found) = open_at(&disk, now, wall_ms);
        let since = found.sessions[0].facts.away_since.expect("away");
        (now.saturating_duration_since(since).as_millis() + 500) / 1_000
    };
    // It was closed 500 s after it was begun, and may have lived a minute longer.
    assert_eq!(away(WALL_MS + 500_000), 0);
    assert_eq!(away(WALL_MS + 530_000), 0);
    let disk_time = away(WALL_MS + 4_100_000);
    assert!((3_500..=3_540).contains(&disk_time), "{disk_time}");
}
