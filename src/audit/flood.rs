//! Denials that repeat become a count: an attacker pays one packet, and we one line.
//!
//! Two things are watched. The same denial again is counted. And one source (a client, or an address
//! of which nothing else is known) is told only so many different ones, because whoever wants to fill
//! a log asks for something else each time.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long repetitions are only counted.
const WINDOW: Duration = Duration::from_secs(10);
/// Denials, and sources, watched at a time.
const WATCHED: usize = 4_096;
/// The source of everybody when as many are watched as may be.
const OTHERS: u64 = 0;

/// What may repeat.
#[derive(Debug)]
pub(crate) struct Repeatable<K, S> {
    /// The same for the same denial.
    pub(crate) key: K,
    /// Who causes it.
    pub(crate) source: S,
    /// How many different ones of a source are told in a window.
    pub(crate) lines: u32,
}

/// What a window that is over leaves to tell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The line of the first one.
    pub(crate) line: String,
    /// How many there were beside those that were told.
    pub(crate) repeated: u64,
    /// Whether they were different ones of one source.
    pub(crate) various: bool,
}

#[derive(Debug)]
struct Counted {
    line: String,
    repeated: u64,
}

#[derive(Debug)]
struct Source {
    since: Instant,
    told: u32,
    suppressed: Option<Counted>,
}

#[derive(Debug, Default)]
struct Watched {
    denials: HashMap<u64, (Instant, Counted)>,
    sources: HashMap<u64, Source>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Floods {
    hasher: RandomState,
    watched: Mutex<Watched>,
}

impl Floods {
    /// Whether this is to be told now. `line` makes what a summary says.
    pub(crate) fn is_new(
        &self,
        what: &Repeatable<impl Hash, impl Hash>,
        now: Instant,
        line: impl FnOnce() -> String,
    ) -> bool {
        let key = self.hasher.hash_one(&what.key);
        let mut watched = self.watched.lock();
        if let Some((_, known)) = watched.denials.get_mut(&key) {
            known.repeated += 1;
            return false;
        }
        let mut source = self.hasher.hash_one(&what.source);
        if watched.sources.len() >= WATCHED && !watched.sources.contains_key(&source) {
            source = OTHERS;
        }
        let source = watched.sources.entry(source).or_insert(Source {
            since: now,
            told: 0,
            suppressed: None,
        });
        if source.told >= what.lines {
            match &mut source.suppressed {
                Some(suppressed) => suppressed.repeated += 1,
                None => {
                    source.suppressed = Some(Counted {
                        line: line(),
                        repeated: 1,
                    });
                }
            }
            return false;
        }
        source.told += 1;
        if watched.denials.len() < WATCHED {
            let counted = Counted {
                line: line(),
                repeated: 0,
            };
            watched.denials.insert(key, (now, counted));
        }
        true
    }

    /// Ends windows that are over.
    pub(crate) fn over(&self, now: Instant) -> Vec<Summary> {
        let mut told = Vec::new();
        let is_over = |since: Instant| now.duration_since(since) >= WINDOW;
        let mut tell = |counted: &mut Counted, various| {
            if counted.repeated > 0 {
                told.push(Summary {
                    line: std::mem::take(&mut counted.line),
                    repeated: counted.repeated,
                    various,
                });
            }
        };
        let mut watched = self.watched.lock();
        watched.denials.retain(|_, (since, counted)| {
            let over = is_over(*since);
            if over {
                tell(counted, false);
            }
            !over
        });
        watched.sources.retain(|_, source| {
            let over = is_over(source.since);
            if over && let Some(suppressed) = &mut source.suppressed {
                tell(suppressed, true);
            }
            !over
        });
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(key: &'a str, source: &'a str) -> Repeatable<&'a str, &'a str> {
        Repeatable {
            key,
            source,
            lines: 3,
        }
    }

    fn summary(line: &str, repeated: u64, various: bool) -> Summary {
        Summary {
            line: line.to_owned(),
            repeated,
            various,
        }
    }

    #[test]
    fn repetitions_within_a_window_are_counted_and_summed_up() {
        let floods = Floods::default();
        let now = Instant::now();
        let is_new = |key, now| floods.is_new(&of(key, "s"), now, || key.to_uppercase());
        assert!(is_new("a", now));
        for _ in 0..5 {
            assert!(!is_new("a", now));
        }
        assert!(is_new("b", now));
        assert!(floods.over(now + Duration::from_secs(9)).is_empty());
        assert_eq!(floods.over(now + WINDOW), [summary("A", 5, false)]);
        assert!(is_new("a", now + WINDOW));
    }

    #[test]
    fn who_asks_for_something_else_each_time_is_told_so_often_and_then_counted() {
        let floods = Floods::default();
        let now = Instant::now();
        let told = (0..100)
            .filter(|number| {
                let key = number.to_string();
                floods.is_new(&of(&key, "evil"), now, || key.clone())
            })
            .count();
        assert_eq!(told, 3);
        assert!(
            floods.is_new(&of("x", "other"), now, String::new),
            "others are told"
        );
        assert_eq!(floods.over(now + WINDOW), [summary("3", 97, true)]);
    }

    #[test]
    fn many_sources_at_once_share_one_allowance_and_memory_is_bounded() {
        let floods = Floods::default();
        let now = Instant::now();
        let told = (0..100_000)
            .filter(|number| {
                let name = number.to_string();
                floods.is_new(&of(&name, &name), now, String::new)
            })
            .count();
        assert_eq!(told, WATCHED + 3);
        let watched = floods.watched.lock();
        assert!(watched.denials.len() <= WATCHED && watched.sources.len() <= WATCHED + 1);
    }
}
