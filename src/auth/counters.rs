//! What hashing counts, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) runs: AtomicU64,
    pub(super) cached: AtomicU64,
    pub(super) shared: AtomicU64,
    pub(super) busy: AtomicU64,
    pub(super) abandoned: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// What hashing has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashCounts {
    /// Hash runs begun.
    pub runs: u64,
    /// Answers from the cache of verified credentials.
    pub cached: u64,
    /// Answers shared with a run that somebody else had asked for with the same credentials.
    pub shared: u64,
    /// Questions turned away because the queue was full.
    pub busy: u64,
    /// Runs never begun because everybody who waited for them had gone.
    pub abandoned: u64,
    /// Runs that could not be completed, for want of memory.
    pub failed: u64,
}

impl Counters {
    pub(super) fn read(&self) -> HashCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HashCounts {
            runs: read(&self.runs),
            cached: read(&self.cached),
            shared: read(&self.shared),
            busy: read(&self.busy),
            abandoned: read(&self.abandoned),
            failed: read(&self.failed),
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
