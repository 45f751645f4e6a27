//! A store that is looked at while no broker uses it. Nothing is changed.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::decoding::MessageReader;
use super::disk::Disk;
use super::error::{Damage, OpenError};
use super::layout::{Layout, Meta};
use super::log::Log;
use super::log::read_record;
use super::record::{QueuedMessage, Recovered, SessionKey, Stage, StoredMessage};
use super::recovery::{self, Reading};
use super::{IndexCounts, salvage};

/// What a store is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Segments.
    pub segments: usize,
    /// Bytes that are used in them.
    pub used_bytes: u64,
    /// Number of the newest batch.
    pub last_batch: u64,
    /// When it was written, in milliseconds since 1970.
    pub last_time_ms: u64,
    /// Bytes of a batch that was being written when the broker ended.
    pub torn_bytes: u64,
    /// Sessions, messages, and bytes that are needed.
    pub counts: IndexCounts,
}

/// See the module.
#[derive(Debug)]
pub struct Inspected {
    layout: Layout,
    log: Log,
    recovered: Option<Recovered>,
    /// Nobody else opens it meanwhile.
    _lock: recovery::Lock,
}

impl Inspected {
    /// Reads the store at `root`, every byte of it that is used.
    ///
    /// # Errors
    /// There is none, a broker uses it, it is of a newer version, or the disk refuses.
    pub fn read(
        disk: &Arc<dyn Disk>,
        root: &Path,
        now: Instant,
        wall_ms: u64,
    ) -> Result<Self, OpenError> {
        let layout = Layout::new(root);
        // A directory that is no store is not made one by looking.
        disk.list(root).map_err(OpenError::io(root))?;
        if Meta::read(&**disk, &layout).is_ok_and(|meta| meta.is_none()) {
            let names = disk.list(root).map_err(OpenError::io(root))?;
            if !names.iter().any(|name| name.starts_with("s0")) {
                return Err(OpenError::io(root)(std::io::Error::other(
                    "there is no store here",
                )));
            }
        }
        let lock = recovery::lock(&**disk, &layout)?;
        let told = match Meta::read(&**disk, &layout) {
            Err(OpenError::Damaged(damages)) => damages,
            Err(error) => return Err(error),
            Ok(_) => Vec::new(),
        };
        let meta = salvage::salvaged_meta(&**disk, &layout)?;
        let layout = layout.of(&meta);
        let mut log = recovery::read(&**disk, &layout, &meta, Reading::Inspect, now, wall_ms)?;
        log.damages.splice(0..0, told);
        let recovered = log.recovered(&layout)?;
        let mut inspected = Self {
            layout,
            log,
            recovered: Some(recovered),
            _lock: lock,
        };
        inspected.read_queues();
        Ok(inspected)
    }

    /// Reads every message that waits.
    fn read_queues(&mut self) {
        let mut damages = Vec::new();
        let sessions = self.recovered.iter().flat_map(|found| &found.sessions);
        for session in sessions {
            for queued in &session.queue {
                if matches!(queued.stage, Stage::Released(_)) {
                    continue;
                }
                if let Err(damage) = self.message(session.session, queued) {
                    damages.push(damage);
                }
            }
        }
        damages.retain(|damage| !self.log.damages.contains(damage));
        self.log.damages.extend(damages);
    }

    /// What cannot be read.
    pub fn damages(&self) -> &[Damage] {
        &self.log.damages
    }

    /// What is in it. Once.
    pub fn take(&mut self) -> Recovered {
        self.recovered.take().unwrap_or_default()
    }

    /// Sizes and counts.
    pub fn totals(&self) -> Totals {
        Totals {
            segments: self.log.segments.len(),
            used_bytes: self.log.used.values().sum(),
            last_batch: self.log.last_pos,
            last_time_ms: self.log.last_time_ms,
            torn_bytes: self.log.torn_bytes,
            counts: self.log.index.counts(),
        }
    }

    /// One message of a queue.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn message(
        &self,
        session: SessionKey,
        queued: &QueuedMessage,
    ) -> Result<StoredMessage, Damage> {
        let found = self.log.index.page(session, queued.seq, queued.seq, 1);
        let at = found.first().map(|(_, _, place)| *place);
        let damage = |what: String| Damage {
            file: at.map_or_else(
                || self.layout.log(),
                |place| self.layout.segment(place.segment),
            ),
            offset: at.map_or(0, |place| u64::from(place.offset)),
            pos: None,
            what: format!("a record that holds cannot be read: {what}"),
        };
        let place = at.ok_or_else(|| damage("it is not there".into()))?;
        let file = self.log.segments.get(&place.segment);
        let file = file.ok_or_else(|| damage("its segment is not there".into()))?;
        let record = read_record(&**file, place).map_err(|error| damage(error.to_string()))?;
        let delivery = MessageReader::new(self.log.clock)
            .delivery(&record, session, queued.seq)
            .map_err(|error| damage(error.to_string()))?;
        Ok(StoredMessage {
            seq: queued.seq,
            stage: queued.stage,
            delivery,
        })
    }
}
