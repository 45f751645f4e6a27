//! A log that was read: what holds in it, and what the broker goes on with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::PacketId;
use crate::message::Subscription;

use super::clock::Clock;
use super::decoding::{Item, MessageReader, WillTimes, item};
use super::disk::{Disk, DiskFile};
use super::error::{Damage, OpenError};
use super::frame::SEGMENT_HEADER;
use super::index::{Index, Place};
use super::layout::{Layout, Meta};
use super::record::{Record, Recovered, RecoveredSession, SessionFacts, SessionKey, StoredWill};
use super::wire::WireError;

/// How much later than the last sign of life a crash may have been, at most (see `Record::Alive`).
pub(super) const ALIVE_EVERY_MS: u64 = 60_000;

/// What sessions say, while the log is read.
#[derive(Debug, Default)]
struct Told {
    facts: Option<Box<SessionFacts>>,
    subscriptions: BTreeMap<Box<str>, Subscription>,
    received: BTreeSet<PacketId>,
}

/// A log that was read.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) clock: Clock,
    pub(super) index: Index,
    told: BTreeMap<SessionKey, Told>,
    wills: HashMap<SessionKey, WillTimes>,
    greatest_key: u32,
    pub(super) segments: BTreeMap<u32, Arc<dyn DiskFile>>,
    /// Bytes that are used in each segment.
    pub(super) used: BTreeMap<u32, u64>,
    /// When the last frame was written, in milliseconds since 1970.
    pub(super) last_time_ms: u64,
    pub(super) last_pos: u64,
    pub(super) last_crc: u32,
    /// Where the last segment goes on.
    pub(super) end: u64,
    /// Heads of the records of the last segment.
    pub(super) heads: Vec<u8>,
    /// Bytes of a frame that was being written when the power failed.
    pub(super) torn_bytes: u64,
    /// What could not be read.
    pub(super) damages: Vec<Damage>,
    /// Files that a crash left, of which nothing is needed.
    pub(super) left_over: Vec<PathBuf>,
}

impl Log {
    pub(super) fn new(clock: Clock) -> Self {
        let mut index = Index::default();
        index.replaying = true;
        Self {
            clock,
            index,
            told: BTreeMap::new(),
            wills: HashMap::new(),
            greatest_key: 0,
            segments: BTreeMap::new(),
            used: BTreeMap::new(),
            last_time_ms: 0,
            last_pos: 0,
            last_crc: 0,
            end: SEGMENT_HEADER as u64,
            heads: Vec::new(),
            torn_bytes: 0,
            damages: Vec::new(),
            left_over: Vec::new(),
        }
    }

    /// The greatest number a session ever had.
    pub(super) fn greatest_key(&self) -> u32 {
        self.greatest_key
    }

    pub(super) fn apply(&mut self, place: Place, head: &[u8]) -> Result<(), WireError> {
        let item = item(head, &self.clock)?;
        self.index.apply(&item, place);
        self.tell(item);
        Ok(())
    }

    fn told(&mut self, key: SessionKey) -> &mut Told {
        self.seen(key);
        self.told.entry(key).or_default()
    }

    /// A number that was given out once, whatever is said of it.
    fn seen(&mut self, key: SessionKey) {
        self.greatest_key = self.greatest_key.max(key.0.get());
    }

    fn tell(&mut self, item: Item) {
        match item {
            Item::Session(key, facts) => self.told(key).facts = Some(facts),
            Item::SessionEnd(key) => {
                self.seen(key);
                self.told.remove(&key);
            }
            Item::Subscribe(key, subscription) => {
                let filter = subscription.filter.to_string().into();
                self.told(key).subscriptions.insert(filter, *subscription);
            }
            Item::Unsubscribe(key, filter) => {
                self.told(key).subscriptions.remove(&filter);
            }
            Item::Received(key, id) => {
                self.told(key).received.insert(id);
            }
            Item::ReceivedDone(key, id) => {
                self.told(key).received.remove(&id);
            }
            Item::Will(key, times) => {
                self.seen(key);
                self.wills.insert(key, times);
            }
            Item::Publish { targets, .. } => {
                for target in targets {
                    self.seen(target.session);
                }
            }
            Item::Sent(key, ..)
            | Item::Released(key, ..)
            | Item::Done(key, _)
            | Item::WillArmed(key, _)
            | Item::WillDone(key) => self.seen(key),
            Item::Unretain(_) | Item::Alive => {}
        }
    }

    /// What the broker goes on with. Reads the retained messages and the wills.
    pub(super) fn recovered(&mut self, layout: &Layout) -> Result<Recovered, OpenError> {
        let died_ms = self.last_time_ms.saturating_add(ALIVE_EVERY_MS);
        let died = self.clock.instant(died_ms.min(self.clock.begun_ms()));
        let mut recovered = Recovered::default();
        for (session, told) in std::mem::take(&mut self.told) {
            let Some(mut facts) = told.facts.filter(|_| self.index.has_session(session)) else {
                continue;
            };
            facts.away_since.get_or_insert(died);
            recovered.sessions.push(RecoveredSession {
                session,
                facts: *facts,
                subscriptions: told.subscriptions.into_values().collect(),
                received: told.received.into_iter().collect(),
                queue: self.index.queue(session),
            });
        }
        let mut places = self.index.retained_places();
        places.sort_unstable();
        let mut messages = MessageReader::new(self.clock);
        for place in places {
            let record = self.read_place(layout, place)?;
            match messages.published(&record) {
                Ok(message) => recovered.retained.push(message),
                Err(error) => self.damaged(layout, place, &error),
            }
        }
        for (key, place, due_ms) in self.index.will_places() {
            let Some(times) = self.wills.get(&key).copied() else {
                continue;
            };
            let record = self.read_place(layout, place)?;
            let delay = std::time::Duration::from_secs(u64::from(times.delay_s));
            let due = due_ms.map_or(died + delay, |due| self.clock.instant(due));
            match messages.will(&record) {
                Ok(message) => recovered.wills.push((
                    key,
                    StoredWill {
                        message,
                        expiry_interval_s: times.expiry_interval_s,
                        delay_s: times.delay_s,
                        due: Some(due),
                    },
                )),
                Err(error) => self.damaged(layout, place, &error),
            }
        }
        Ok(recovered)
    }

    /// What is known of sessions, as records.
    pub(super) fn sessions(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for (session, told) in &self.told {
            let session = *session;
            let Some(facts) = told
                .facts
                .clone()
                .filter(|_| self.index.has_session(session))
            else {
                continue;
            };
            records.push(Record::Session { session, facts });
            records.extend(told.subscriptions.values().map(|subscription| {
                let subscription = Box::new(subscription.clone());
                Record::Subscribe {
                    session,
                    subscription,
                }
            }));
        }
        records
    }

    /// Makes the log what it was read as. It may have been read from what the system has not written yet: a
    /// broker was killed and started again, and the power fails later. All of it is on the disk before
    /// anything rests on it.
    pub(super) fn tidy(
        &self,
        disk: &dyn Disk,
        layout: &Layout,
        meta: &Meta,
    ) -> Result<(), OpenError> {
        let (root, dir) = (layout.root(), layout.log());
        disk.create_dir(&dir).map_err(OpenError::io(&dir))?;
        disk.sync_dir(root).map_err(OpenError::io(root))?;
        for path in &self.left_over {
            match disk.remove(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(OpenError::io(path)(error));
                }
                _ => {}
            }
        }
        disk.sync_dir(&dir).map_err(OpenError::io(&dir))?;
        let Some(file) = self.segments.get(&meta.last) else {
            return Ok(());
        };
        let path = layout.segment(meta.last);
        if let Ok(torn @ 1..) = usize::try_from(self.torn_bytes) {
            // Nothing of it is ever taken for something.
            file.write_all_at(&vec![0; torn], self.end)
                .map_err(OpenError::io(&path))?;
        }
        file.sync().map_err(OpenError::io(&path))
    }

    fn damaged(&mut self, layout: &Layout, place: Place, error: &WireError) {
        self.damages.push(Damage {
            file: layout.segment(place.segment),
            offset: u64::from(place.offset),
            pos: None,
            what: format!("a record that holds cannot be read: {error}"),
        });
    }

    fn read_place(&self, layout: &Layout, place: Place) -> Result<Vec<u8>, OpenError> {
        let path = layout.segment(place.segment);
        let Some(file) = self.segments.get(&place.segment) else {
            return Ok(Vec::new());
        };
        read_record(&**file, place).map_err(OpenError::io(&path))
    }
}

/// Reads the record at `place`.
pub(super) fn read_record(file: &dyn DiskFile, place: Place) -> std::io::Result<Vec<u8>> {
    let mut record = vec![0; place.length as usize];
    let got = file.read_at(&mut record, u64::from(place.offset))?;
    record.truncate(got);
    Ok(record)
}
