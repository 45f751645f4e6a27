//! What a scrape tells of the store.

use std::time::Duration;

use prometheus::{Counter, IntCounter, IntGauge};

use super::metrics::{Gauges, Read};

/// What the store says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreGauges {
    /// Whether there is one.
    pub is_kept: bool,
    /// It has no room.
    pub full: bool,
    /// The disk failed.
    pub failed: bool,
    /// Batches written.
    pub commits: u64,
    /// Syncs of the disk.
    pub syncs: u64,
    /// Time that the syncs took.
    pub sync_time: Duration,
    /// Bytes written.
    pub bytes_written: u64,
    /// Those of them that were written before.
    pub bytes_compacted: u64,
    /// Bytes it occupies.
    pub disk_bytes: usize,
    /// Bytes of them that are alive.
    pub live_bytes: usize,
    /// Messages in its queues.
    pub queued: usize,
    /// Messages that could not be read back.
    pub unreadable: u64,
    /// Places that were set aside because they could not be read.
    pub quarantined: usize,
}

pub(super) type GaugeRead = Read<IntGauge, Gauges, usize>;
pub(super) type CounterRead = Read<IntCounter, Gauges, u64>;

pub(super) fn gauges() -> prometheus::Result<Vec<GaugeRead>> {
    let gauge = |name: &str, help: &str| IntGauge::new(name, help);
    Ok(vec![
        (
            gauge(
                "portcullis_store_full",
                "1 while the store has no room: what would be kept is refused.",
            )?,
            |g| usize::from(g.store.full),
        ),
        (
            gauge(
                "portcullis_store_failed",
                "1 if the disk failed: nothing is acknowledged, the broker ends.",
            )?,
            |g| usize::from(g.store.failed),
        ),
        (
            gauge(
                "portcullis_store_disk_bytes",
                "Bytes of disk that the store occupies.",
            )?,
            |g| g.store.disk_bytes,
        ),
        (
            gauge(
                "portcullis_store_live_bytes",
                "Bytes in the store that are needed.",
            )?,
            |g| g.store.live_bytes,
        ),
        (
            gauge(
                "portcullis_store_queued_messages",
                "Messages that wait in the store, or are on their way.",
            )?,
            |g| g.store.queued,
        ),
        (
            gauge(
                "portcullis_store_damaged",
                "Places of the store that could not be read when it was opened, and were set aside.",
            )?,
            |g| g.store.quarantined,
        ),
    ])
}

pub(super) fn counters() -> prometheus::Result<Vec<CounterRead>> {
    let total = |name: &str, help: &str| IntCounter::new(name, help);
    Ok(vec![
        (
            total(
                "portcullis_store_commits_total",
                "Batches written to the store.",
            )?,
            |g| g.store.commits,
        ),
        (
            total("portcullis_store_syncs_total", "Syncs of the store's disk.")?,
            |g| g.store.syncs,
        ),
        (
            total(
                "portcullis_store_written_bytes_total",
                "Bytes written to the store.",
            )?,
            |g| g.store.bytes_written,
        ),
        (
            total(
                "portcullis_store_compacted_bytes_total",
                "Those of them that were written before.",
            )?,
            |g| g.store.bytes_compacted,
        ),
        (
            total(
                "portcullis_store_unreadable_total",
                "Stored messages that could not be read back.",
            )?,
            |g| g.store.unreadable,
        ),
    ])
}

/// Time that syncs took, in seconds.
pub(super) fn sync_seconds() -> prometheus::Result<Read<Counter, Gauges, f64>> {
    let help = "Time that syncs of the store's disk took.";
    let counter = Counter::new("portcullis_store_sync_seconds_total", help)?;
    Ok((counter, |g| g.store.sync_time.as_secs_f64()))
}
