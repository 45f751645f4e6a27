//! What authentication counts, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that only grow; read them with [`AuthCounters::figures`].
#[derive(Debug, Default)]
pub struct AuthCounters {
    pub(super) hash_runs: AtomicU64,
    pub(super) cache_hits: AtomicU64,
    pub(super) joined: AtomicU64,
    pub(super) queue_full: AtomicU64,
    pub(super) abandoned: AtomicU64,
    pub(super) failed_runs: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthFigures {
    /// Hash runs done.
    pub hash_runs: u64,
    /// Verifications answered from the cache of verified credentials.
    pub cache_hits: u64,
    /// Verifications that waited for a run somebody else had asked for with the same credentials.
    pub joined: u64,
    /// Verifications refused because the queue was full.
    pub queue_full: u64,
    /// Runs never started because everybody who waited for them had gone.
    pub abandoned: u64,
    /// Runs that could not be completed, for want of memory.
    pub failed_runs: u64,
}

impl AuthCounters {
    /// The counters now.
    pub fn figures(&self) -> AuthFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AuthFigures {
            hash_runs: read(&self.hash_runs),
            cache_hits: read(&self.cache_hits),
            joined: read(&self.joined),
            queue_full: read(&self.queue_full),
            abandoned: read(&self.abandoned),
            failed_runs: read(&self.failed_runs),
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
