//! Denials that repeat become a count: an attacker pays one packet, and we one line.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long repetitions of one denial are only counted.
const WINDOW: Duration = Duration::from_secs(10);
/// Denials watched at a time; beyond that each is told.
const WATCHED: usize = 4_096;

#[derive(Debug)]
struct Watched {
    since: Instant,
    repeated: u64,
    line: String,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Floods {
    hasher: RandomState,
    watched: Mutex<HashMap<u64, Watched>>,
}

impl Floods {
    /// Whether the denial that `key` names is to be told now. `line` makes what its summary says.
    pub(crate) fn is_new(&self, key: impl Hash, now: Instant, line: impl FnOnce() -> String) -> bool {
        let key = self.hasher.hash_one(key);
        let mut watched = self.watched.lock();
        if let Some(known) = watched.get_mut(&key) {
            known.repeated += 1;
            return false;
        }
        if watched.len() < WATCHED {
            let entry = Watched {
                since: now,
                repeated: 0,
                line: line(),
            };
            watched.insert(key, entry);
        }
        true
    }

    /// Ends windows that are over; gives what was repeated in them, and how often.
    pub(crate) fn over(&self, now: Instant) -> Vec<(String, u64)> {
        let mut told = Vec::new();
        self.watched.lock().retain(|_, watched| {
            if now.duration_since(watched.since) < WINDOW {
                return true;
            }
            if watched.repeated > 0 {
                told.push((std::mem::take(&mut watched.line), watched.repeated));
            }
            false
        });
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_within_a_window_are_counted_and_summed_up() {
        let floods = Floods::default();
        let now = Instant::now();
        assert!(floods.is_new("a", now, || "A".into()));
        for _ in 0..5 {
            assert!(!floods.is_new("a", now, || "A".into()));
        }
        assert!(floods.is_new("b", now, || "B".into()));
        assert!(floods.over(now + Duration::from_secs(9)).is_empty());
        assert_eq!(floods.over(now + WINDOW), [("A".to_owned(), 5)]);
        assert!(floods.is_new("a", now + WINDOW, || "A".into()));
    }
}
