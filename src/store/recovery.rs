//! Opening a store: every record that holds is found again, and what cannot be read is told or, at the very
//! end of the log, was never acknowledged.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::codec::PacketId;
use crate::message::Subscription;

use super::clock::Clock;
use super::disk::{Disk, DiskFile};
use super::encoding::{
    Item, MessageReader, WillTimes, carries_message, check, head_of, item, split,
};
use super::error::{Damage, OpenError};
use super::frame::{
    self, FORMAT, FRAME_HEADER, FrameHeader, SEGMENT_HEADER, SegmentHeader, StoreId,
};
use super::index::{Index, Place};
use super::layout::{Layout, Meta};
use super::record::{Record, Recovered, RecoveredSession, SessionFacts, SessionKey, StoredWill};
use super::sidecar::{self, Sealed};
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
    left_over: Vec<PathBuf>,
}

/// A frame that stands at an offset of its segment.
#[derive(Clone, Copy, Debug)]
struct FrameAt {
    offset: usize,
    header: FrameHeader,
}

/// The frames of one segment, as far as they follow one another.
#[derive(Debug, Default)]
struct Scan {
    frames: Vec<FrameAt>,
    end: usize,
    /// What is at `end`, if it is not the end.
    problem: Option<&'static str>,
}

impl Scan {
    /// Reads frames from `at` on, the first of which has number `pos`.
    fn from(bytes: &[u8], store: StoreId, mut at: usize, mut pos: u64, mut previous: u32) -> Self {
        let mut scan = Self::default();
        while let Some((header, payload)) =
            bytes.get(at..).and_then(|rest| frame::frame(rest, store))
        {
            if header.pos != pos || header.previous != previous {
                scan.end = at;
                scan.problem = Some("a batch is missing in front of this one");
                return scan;
            }
            scan.frames.push(FrameAt { offset: at, header });
            at += FRAME_HEADER + payload.len();
            pos += 1;
            previous = header.crc;
        }
        scan.end = at;
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.iter().any(|byte| *byte != 0) {
            scan.problem = Some("no whole batch stands here");
        }
        scan
    }

    fn last(&self) -> Option<FrameHeader> {
        self.frames.last().map(|frame| frame.header)
    }
}

/// What stands behind a place where no frame does.
#[derive(Clone, Copy, Debug, Default)]
struct Later {
    first: Option<FrameAt>,
    /// The highest number that any of them knows to be on the disk.
    durable: u64,
}

/// Looks for frames behind `from` with numbers from `pos` on, wherever they begin.
fn later_frames(bytes: &[u8], store: StoreId, from: usize, pos: u64) -> Later {
    let mut later = Later::default();
    let mut at = from;
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() > FRAME_HEADER) {
        if rest.starts_with(&[0; 4]) {
            // No frame begins with four zeros; most of what is not in use is nothing else.
            let Some(next) = rest.iter().position(|byte| *byte != 0) else {
                break;
            };
            at += next - 3;
            continue;
        }
        match frame::frame(rest, store) {
            Some((header, payload)) if header.pos >= pos => {
                later.first.get_or_insert(FrameAt { offset: at, header });
                later.durable = later.durable.max(header.durable);
                at += FRAME_HEADER + payload.len();
            }
            _ => at += 1,
        }
    }
    later
}

/// Whether to go on behind what cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// What is damaged is told, and nothing else is done.
    Strict,
    /// What can be read is read.
    Salvage,
}

/// Reads the log of a store that is locked by the caller.
pub(super) fn read(
    disk: &dyn Disk,
    layout: &Layout,
    meta: &Meta,
    reading: Reading,
    now: Instant,
    wall_ms: u64,
) -> Result<Log, OpenError> {
    let mut reader = LogReader {
        disk,
        layout,
        meta,
        reading,
        log: Log::new(Clock::new(now, wall_ms)),
        expected: None,
    };
    reader.find_segments()?;
    let last = reader.last_time()?;
    // The time of day never goes back behind what was written: that would give expired things more time.
    reader.log.clock = Clock::new(now, wall_ms.max(last));
    let numbers: Vec<u32> = reader.log.segments.keys().copied().collect();
    for number in numbers {
        reader.segment(number)?;
    }
    let mut log = reader.log;
    log.last_time_ms = log.last_time_ms.max(last);
    log.index.end_replay();
    Ok(log)
}

impl Log {
    fn new(clock: Clock) -> Self {
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

    fn apply(&mut self, place: Place, head: &[u8]) -> Result<(), WireError> {
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

struct LogReader<'a> {
    disk: &'a dyn Disk,
    layout: &'a Layout,
    meta: &'a Meta,
    reading: Reading,
    log: Log,
    /// Number and chain of the next frame, once one was seen.
    expected: Option<(u64, u32)>,
}

impl LogReader<'_> {
    fn damage(&mut self, file: &Path, offset: usize, pos: Option<u64>, what: impl Into<String>) {
        self.log.damages.push(Damage {
            file: file.to_owned(),
            offset: offset as u64,
            pos,
            what: what.into(),
        });
    }

    fn open(&self, number: u32) -> Result<Arc<dyn DiskFile>, OpenError> {
        let path = self.layout.segment(number);
        self.disk.open(&path).map_err(OpenError::io(&path))
    }

    /// Opens the segments there must be, and finds what a crash left over before the first and behind the last.
    fn find_segments(&mut self) -> Result<(), OpenError> {
        let dir = self.layout.log();
        let names = match self.disk.list(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(OpenError::io(&dir))?,
        };
        for number in names.iter().filter_map(|name| Layout::number(name, "idx")) {
            if !(self.meta.first..self.meta.last).contains(&number) {
                self.log.left_over.push(self.layout.sidecar(number));
            }
        }
        for number in names.iter().filter_map(|name| Layout::number(name, "seg")) {
            if (self.meta.first..=self.meta.last).contains(&number) {
                let file = self.open(number)?;
                self.log.segments.insert(number, file);
                continue;
            }
            let path = self.layout.segment(number);
            if number > self.meta.last {
                let bytes = self.bytes(number)?;
                let beyond = number - self.meta.last > 1;
                if beyond || later_frames(&bytes, self.meta.store, 0, 0).first.is_some() {
                    self.damage(&path, 0, None, "META does not know of this segment");
                    if self.reading == Reading::Salvage {
                        let file = self.open(number)?;
                        self.log.segments.insert(number, file);
                    }
                    continue;
                }
            }
            self.log.left_over.push(path);
        }
        for number in self.meta.first..=self.meta.last {
            if !self.log.segments.contains_key(&number) {
                let path = self.layout.segment(number);
                self.damage(&path, 0, None, "this segment is missing");
            }
        }
        Ok(())
    }

    fn bytes(&self, number: u32) -> Result<Vec<u8>, OpenError> {
        let path = self.layout.segment(number);
        let read = || {
            let file = self.disk.open(&path)?;
            let length = usize::try_from(file.len()?).map_err(std::io::Error::other)?;
            let mut bytes = vec![0; length];
            let got = file.read_at(&mut bytes, 0)?;
            bytes.truncate(got);
            Ok(bytes)
        };
        read().map_err(OpenError::io(&path))
    }

    /// When the last thing was written.
    fn last_time(&mut self) -> Result<u64, OpenError> {
        let Some(number) = self.log.segments.keys().next_back().copied() else {
            return Ok(0);
        };
        let bytes = self.bytes(number)?;
        let Some(header) = SegmentHeader::read(&bytes) else {
            return Ok(0);
        };
        let scan = Scan::from(
            &bytes,
            self.meta.store,
            SEGMENT_HEADER,
            header.first_pos,
            header.previous,
        );
        Ok(scan.last().map_or(header.time_ms, |last| last.time_ms))
    }

    fn segment(&mut self, number: u32) -> Result<(), OpenError> {
        let is_last = number == self.meta.last;
        if !is_last && self.by_sidecar(number)? {
            return Ok(());
        }
        let path = self.layout.segment(number);
        let bytes = self.bytes(number)?;
        let store = self.meta.store;
        let Some(header) = SegmentHeader::read(&bytes) else {
            self.damage(
                &path,
                0,
                None,
                "it does not begin as a segment of this store does",
            );
            if self.reading == Reading::Salvage {
                self.salvage(number, &bytes, 0)?;
            }
            return Ok(());
        };
        if header.format > FORMAT {
            return Err(OpenError::Newer {
                file: path,
                found: header.format,
                known: FORMAT,
            });
        }
        let chain = (header.first_pos, header.previous);
        if header.store != store || header.number != number {
            self.damage(
                &path,
                0,
                None,
                "it is a segment of another store, or another one of this",
            );
        } else if self.expected.is_some_and(|expected| expected != chain) {
            let pos = self.expected.map(|(pos, _)| pos);
            self.damage(
                &path,
                0,
                pos,
                "batches are missing in front of this segment",
            );
        }
        if bytes.len() < header.size as usize {
            let what = format!("it ends here, and was made with {} bytes", header.size);
            self.damage(&path, bytes.len(), None, what);
        }
        let (mut pos, mut previous, mut at) = (chain.0, chain.1, SEGMENT_HEADER);
        self.log.heads.clear();
        loop {
            let scan = Scan::from(&bytes, store, at, pos, previous);
            self.take(number, &bytes, &scan)?;
            if let Some(last) = scan.last() {
                (pos, previous) = (last.pos + 1, last.crc);
            }
            self.log.end = scan.end as u64;
            (self.log.last_pos, self.log.last_crc) = (pos - 1, previous);
            self.expected = Some((pos, previous));
            self.log.used.insert(number, scan.end as u64);
            let Some(problem) = scan.problem else {
                if !is_last && self.log.damages.is_empty() && self.reading == Reading::Strict {
                    self.write_sidecar(number);
                }
                return Ok(());
            };
            // What follows a batch that was synced was written later.
            let later = later_frames(&bytes, store, scan.end, pos);
            if is_last && later.durable < pos {
                self.found_torn(&bytes);
                return Ok(());
            }
            self.damage(&path, scan.end, Some(pos), problem);
            if self.reading == Reading::Salvage {
                self.take_readable(number, &bytes, scan.end);
            }
            match later.first {
                Some(later) if self.reading == Reading::Salvage => {
                    (at, pos, previous) = (later.offset, later.header.pos, later.header.previous);
                }
                _ => return Ok(()),
            }
        }
    }

    /// The segment just read has no sidecar. One that cannot be written is no loss.
    fn write_sidecar(&self, number: u32) {
        let sealed = Sealed {
            used: self.log.end,
            last_pos: self.log.last_pos,
            last_crc: self.log.last_crc,
            last_time_ms: self.log.last_time_ms,
        };
        let heads = &self.log.heads;
        let store = self.meta.store;
        drop(sidecar::write(
            self.disk,
            self.layout,
            store,
            number,
            &sealed,
            heads,
        ));
    }

    /// Everything readable of a segment whose beginning is not.
    fn salvage(&mut self, number: u32, bytes: &[u8], mut at: usize) -> Result<(), OpenError> {
        while let Some(found) = later_frames(bytes, self.meta.store, at, 0).first {
            let (pos, previous) = (found.header.pos, found.header.previous);
            let scan = Scan::from(bytes, self.meta.store, found.offset, pos, previous);
            self.take(number, bytes, &scan)?;
            at = scan.end;
        }
        self.expected = None;
        Ok(())
    }

    /// Takes the records of frames.
    fn take(&mut self, number: u32, bytes: &[u8], scan: &Scan) -> Result<(), OpenError> {
        for frame in &scan.frames {
            let from = frame.offset + FRAME_HEADER;
            let length = frame.header.length as usize;
            let payload = bytes.get(from..from + length).unwrap_or_default();
            let base = u32::try_from(from).unwrap_or(u32::MAX);
            let log = &mut self.log;
            let mut heads = std::mem::take(&mut log.heads);
            let walked = sidecar::walk(payload, base, |offset, length, head| {
                sidecar::note(&mut heads, offset, length, head);
                let place = Place {
                    segment: number,
                    offset,
                    length,
                };
                log.apply(place, head)
            });
            log.heads = heads;
            log.last_time_ms = log.last_time_ms.max(frame.header.time_ms);
            if let Err(error) = walked {
                let path = self.layout.segment(number);
                if let WireError::Tag(tag) = error {
                    return Err(OpenError::Newer {
                        file: path,
                        found: u32::from(tag),
                        known: FORMAT,
                    });
                }
                let what = format!("a record cannot be read: {error}");
                self.damage(&path, from, Some(frame.header.pos), what);
            }
        }
        Ok(())
    }

    /// Takes the messages of a frame that is damaged as far as they are whole. What else it says cannot be
    /// known to be so.
    fn take_readable(&mut self, number: u32, bytes: &[u8], at: usize) {
        let frame = bytes.get(at..).unwrap_or_default();
        let Some(header) = FrameHeader::read(frame, self.meta.store) else {
            return;
        };
        let end = FRAME_HEADER + header.length as usize;
        let mut rest = frame
            .get(FRAME_HEADER..end.min(frame.len()))
            .unwrap_or_default();
        let mut offset = at + FRAME_HEADER;
        while let Ok((tag, _, length)) = split(rest) {
            let (record, behind) = rest.split_at(length);
            if carries_message(tag)
                && check(record).is_ok()
                && let Ok(head) = head_of(record)
            {
                let place = Place {
                    segment: number,
                    offset: u32::try_from(offset).unwrap_or(u32::MAX),
                    length: u32::try_from(length).unwrap_or(u32::MAX),
                };
                // Its checksum is right and it cannot be read: then it is one of what cannot.
                drop(self.log.apply(place, head));
            }
            offset += length;
            rest = behind;
        }
    }

    /// Takes a sealed segment by its sidecar; false if it has to be read.
    fn by_sidecar(&mut self, number: u32) -> Result<bool, OpenError> {
        let Some((sealed, heads)) = sidecar::read(self.disk, self.layout, self.meta.store, number)
        else {
            return Ok(false);
        };
        let Some(file) = self.log.segments.get(&number).cloned() else {
            return Ok(false);
        };
        let path = self.layout.segment(number);
        let mut front = [0; SEGMENT_HEADER];
        let length = file.len().map_err(OpenError::io(&path))?;
        file.read_at(&mut front, 0).map_err(OpenError::io(&path))?;
        let Some(header) = SegmentHeader::read(&front) else {
            return Ok(false);
        };
        let chain = (header.first_pos, header.previous);
        let fits = header.store == self.meta.store
            && header.format <= FORMAT
            && header.number == number
            && length >= sealed.used.max(u64::from(header.size))
            && self.expected.is_none_or(|expected| expected == chain);
        if !fits {
            return Ok(false);
        }
        let log = &mut self.log;
        let read = sidecar::each(&heads, |offset, length, head| {
            let place = Place {
                segment: number,
                offset,
                length,
            };
            log.apply(place, head)
        });
        if read.is_err() {
            // Its checksum was right, so it was written so: by a version that knows more.
            return Err(OpenError::Newer {
                file: self.layout.sidecar(number),
                found: FORMAT + 1,
                known: FORMAT,
            });
        }
        self.expected = Some((sealed.last_pos + 1, sealed.last_crc));
        self.log.used.insert(number, sealed.used);
        (self.log.last_pos, self.log.last_crc) = (sealed.last_pos, sealed.last_crc);
        self.log.last_time_ms = self.log.last_time_ms.max(sealed.last_time_ms);
        Ok(true)
    }

    /// A frame was being written when the power failed. Nobody was told that it was there.
    fn found_torn(&mut self, bytes: &[u8]) {
        let end = usize::try_from(self.log.end).unwrap_or(usize::MAX);
        let rest = bytes.get(end..).unwrap_or_default();
        let torn = rest
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        self.log.torn_bytes = torn as u64;
    }
}

/// The lock of a store; it is free again when this is dropped.
pub(super) type Lock = Box<dyn Debug + Send + Sync>;

/// Locks the store at `layout`, whose directory is made if it is not there.
pub(super) fn lock(disk: &dyn Disk, layout: &Layout) -> Result<Lock, OpenError> {
    let dir = layout.root();
    disk.create_dir(dir).map_err(OpenError::io(dir))?;
    let path = layout.lock();
    disk.lock(&path)
        .map_err(OpenError::io(&path))?
        .ok_or(OpenError::Locked(path))
}

/// What `META` says, which is written if the store is new.
pub(super) fn meta(disk: &dyn Disk, layout: &Layout) -> Result<Meta, OpenError> {
    if let Some(meta) = Meta::read(disk, layout)? {
        return Ok(meta);
    }
    let dir = layout.log();
    disk.create_dir(&dir).map_err(OpenError::io(&dir))?;
    let names = disk.list(&dir).map_err(OpenError::io(&dir))?;
    if names
        .iter()
        .any(|name| Layout::number(name, "seg").is_some())
    {
        return Err(OpenError::Damaged(vec![Damage {
            file: layout.meta(),
            offset: 0,
            pos: None,
            what: "it is missing, though there are segments".into(),
        }]));
    }
    let path = layout.meta();
    let meta = Meta {
        store: fresh_id().map_err(OpenError::io(&path))?,
        generation: 0,
        first: 1,
        last: 0,
    };
    meta.write(disk, layout).map_err(OpenError::io(&path))?;
    Ok(meta)
}

/// An identity that no other store has.
pub(super) fn fresh_id() -> std::io::Result<StoreId> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(std::io::Error::other)?;
    Ok(StoreId(id))
}
