//! The store of a running broker: opened before anything else, watched while it runs, closed last.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::audit::StoreGauges;
use crate::broker::Effects;
use crate::config::Settings;
use crate::net::{Cores, Shared};
use crate::store::disk::FileSystem;
use crate::store::{Batch, Journal, OpenError, Record, Recovered, Standing, Store, SyncPolicy};

use super::cli::{STORAGE, Stop};
use super::denied;

/// How often the store is told that the broker is alive, so that the time of a crash is known.
const ALIVE_EVERY: Duration = Duration::from_secs(60);

/// A store that was opened, and what was found in it.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) recovered: Recovered,
    /// Who is told of commits, once they run.
    cores: Arc<OnceLock<Arc<Cores>>>,
}

impl Opened {
    /// From now on these are told of commits.
    pub(crate) fn connect(&self, cores: &Arc<Cores>) {
        // There is one broker in a process.
        drop(self.cores.set(Arc::clone(cores)));
    }
}

/// The time of day in milliseconds since 1970.
pub(super) fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

/// Opens the store that the settings name; `None` if nothing is kept.
pub(super) fn open(settings: &Settings) -> Result<Option<Opened>, Stop> {
    let Some(wanted) = settings.persistence.store() else {
        return Ok(None);
    };
    let directory = wanted.directory.clone();
    let cores: Arc<OnceLock<Arc<Cores>>> = Arc::default();
    let told = Arc::clone(&cores);
    let notify = Box::new(move |ticket| {
        if let Some(cores) = told.get() {
            cores.committed(ticket);
        }
    });
    let begun = Instant::now();
    let (journal, recovered) =
        Journal::open(wanted, Arc::new(FileSystem), begun, wall_ms(), notify)
            .map_err(|error| cannot_open(settings, &directory, &error))?;
    for damage in journal.quarantined() {
        tracing::error!(
            "the store was damaged, and its log is set aside in {}/quarantine: {damage}",
            directory.display()
        );
    }
    if journal.torn_bytes() > 0 {
        tracing::info!(
            "{} bytes at the end of the store were being written when the broker ended, and were not \
             acknowledged: cut off",
            journal.torn_bytes()
        );
    }
    let numbers = journal.numbers();
    tracing::info!(
        target: "portcullis::log::notice",
        "{}: {} sessions, {} messages that wait, {} retained, read in {} ms",
        directory.display(),
        recovered.sessions.len(),
        numbers.queued,
        recovered.retained.len(),
        begun.elapsed().as_millis(),
    );
    Ok(Some(Opened {
        store: Arc::new(journal),
        recovered,
        cores,
    }))
}

fn cannot_open(settings: &Settings, directory: &Path, error: &OpenError) -> Stop {
    let mut text = format!("error: {error}\n");
    if let OpenError::Io { error, .. } = error
        && error.kind() == ErrorKind::PermissionDenied
    {
        text.push_str(&denied::advice(directory));
        if settings.persistence.location.is_none() {
            text.push_str(
                "\nor write `persistence_location DIRECTORY`: without it the store is in the current directory",
            );
        }
        text.push('\n');
    }
    Stop {
        code: STORAGE,
        text,
    }
}

/// What `check` says of the store.
pub(super) fn told(settings: &Settings) -> String {
    let Some(store) = settings.persistence.store() else {
        return "store: none: sessions, messages that wait and retained messages end with the broker; `persistence \
                true` keeps them\n"
            .to_owned();
    };
    let directory = std::path::absolute(&store.directory).unwrap_or(store.directory);
    let state = match directory.join("META").try_exists() {
        Ok(true) => "is there",
        Ok(false) => "is made at the first start",
        Err(_) => "may not be looked into by this account",
    };
    let promise = match store.sync {
        SyncPolicy::Always => "what is acknowledged is on the disk".to_owned(),
        SyncPolicy::Interval(interval) => format!(
            "a power cut takes what was acknowledged in the last {} ms",
            interval.as_millis()
        ),
    };
    format!("store: {} {state}; {promise}\n", directory.display())
}

/// Gives the broker what was found. Before anybody is let in.
pub(super) fn restore(shared: &Shared, recovered: Recovered) {
    let mut effects = Effects::default();
    shared
        .broker
        .restore(recovered, Instant::now(), &mut effects);
    shared.finish(&mut effects);
}

/// What is done now and then.
pub(super) struct Watch {
    alive: Instant,
    was_full: bool,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            alive: Instant::now(),
            was_full: false,
        }
    }
}

impl Watch {
    /// Tells the store that the broker lives, and the operator how the store is.
    ///
    /// # Errors
    /// The disk has failed: the broker must end, for it can promise nothing any more.
    pub(super) fn tick(&mut self, store: &dyn Store) -> Result<(), Stop> {
        let standing = store.standing();
        if standing == Standing::Failed {
            let why = store.failure().unwrap_or_default();
            let text = format!(
                "the store has failed: {why}. Nothing is acknowledged any more; what was acknowledged is on \
                 the disk"
            );
            tracing::error!("{text}");
            return Err(Stop {
                code: STORAGE,
                text: format!("error: {text}\n"),
            });
        }
        let is_full = standing == Standing::Full;
        if is_full != self.was_full {
            self.was_full = is_full;
            if is_full {
                tracing::error!(
                    "the store has no room: messages, sessions and subscriptions that would be kept are refused \
                     until clients have taken what waits for them, or there is room on the disk \
                     (store_max_bytes, store_max_messages)"
                );
            } else {
                tracing::warn!("the store has room again");
            }
        }
        if self.alive.elapsed() >= ALIVE_EVERY {
            self.alive = Instant::now();
            store.commit(Batch {
                records: vec![Record::Alive],
                urgent: false,
            });
        }
        Ok(())
    }
}

/// Why the broker is not ready on account of its store.
pub(super) fn readiness(store: Option<&dyn Store>) -> Result<(), String> {
    match store.map(Store::standing) {
        Some(Standing::Failed) => Err("the store has failed".into()),
        Some(Standing::Full) => Err("the store has no room".into()),
        Some(Standing::Good) | None => Ok(()),
    }
}

/// What a scrape is told.
pub(super) fn gauges(store: Option<&dyn Store>) -> StoreGauges {
    let Some(store) = store else {
        return StoreGauges::default();
    };
    let numbers = store.numbers();
    let standing = store.standing();
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    StoreGauges {
        is_kept: true,
        full: standing == Standing::Full,
        failed: standing == Standing::Failed,
        commits: numbers.commits,
        syncs: numbers.syncs,
        sync_time: numbers.sync_time,
        bytes_written: numbers.bytes_written,
        bytes_compacted: numbers.bytes_compacted,
        disk_bytes: size(numbers.disk_bytes),
        live_bytes: size(numbers.live_bytes),
        queued: size(numbers.queued),
        unreadable: numbers.unreadable,
        quarantined: numbers.quarantined,
    }
}
