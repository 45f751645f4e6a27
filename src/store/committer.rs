//! The commit thread: what is waiting becomes one frame, one write, one sync; then those who wait are told.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::Standing;
use super::Ticket;
use super::compaction::Compaction;
use super::decoding::item;
use super::encoding::encode;
use super::frame::{self, FRAME_HEADER, MAX_FRAME_BYTES, SEGMENT_HEADER};
use super::index::Place;
use super::journal::{Segment, Shared, Waiting, weight};
use super::reader::Job;
use super::record::Record;
use super::settings::SyncPolicy;
use super::sidecar;
use super::writer::Writer;

/// A frame takes no more once it holds so much.
const FRAME_FULL: usize = 900 << 10;
/// How long something that nobody waits for may wait.
const LAZY: Duration = Duration::from_millis(50);
/// After so much time without a commit, the last one is followed by an empty one. Behind a batch that another
/// follows, damage can be told from a write that a power cut tore.
const SETTLE: Duration = Duration::from_secs(1);
/// How often room on the disk is asked for again when there was none.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What is taken out of the queue at a time.
#[derive(Debug, Default)]
struct Work {
    batches: Vec<(Ticket, Vec<Record>)>,
    reads: Vec<Job>,
    seal: bool,
    closing: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Committer {
    shared: Arc<Shared>,
    writer: Writer,
    jobs: Sender<Job>,
    /// Batches that were taken and have not found room in a frame yet.
    left: std::collections::VecDeque<(Ticket, Vec<Record>)>,
    frame: Vec<u8>,
    compaction: Option<Compaction>,
    last_sync: Instant,
    /// Something was written and not synced (`store_sync interval`).
    unsynced: bool,
    last_commit: Instant,
    settled: bool,
    no_room_since: Option<Instant>,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, writer: Writer, jobs: Sender<Job>) -> Self {
        let now = Instant::now();
        let empty = writer.file().is_none();
        Self {
            shared,
            writer,
            jobs,
            left: std::collections::VecDeque::new(),
            frame: Vec::with_capacity(FRAME_FULL),
            compaction: None,
            last_sync: now,
            unsynced: false,
            last_commit: now,
            // What was written last before a crash has no batch behind it either.
            settled: empty,
            no_room_since: None,
        }
    }

    /// Works until it is told to stop or the disk fails.
    pub(super) fn run(mut self) {
        self.look_after_room();
        loop {
            let work = self.wait();
            if self.shared.standing() == Standing::Failed {
                // Nothing is taken any more; nothing that was is acknowledged. What is on the disk can be read.
                self.left.clear();
                self.pass_on(work.reads);
                if work.closing {
                    return;
                }
                continue;
            }
            let closing = work.closing;
            if let Err(error) = self.work(work) {
                self.left.clear();
                self.compaction = None;
                self.shared.fail(error.to_string());
                continue;
            }
            if closing && self.left.is_empty() {
                if let Err(error) = self.settle() {
                    self.shared.fail(error.to_string());
                }
                return;
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&mut self) -> Work {
        let shared = Arc::clone(&self.shared);
        let mut waiting = shared.waiting.lock();
        while !self.has_work(&waiting) {
            match self.wake_at(&waiting) {
                Some(at) => drop(shared.ready.wait_until(&mut waiting, at)),
                None => shared.ready.wait(&mut waiting),
            }
            if self
                .wake_at(&waiting)
                .is_some_and(|at| at <= Instant::now())
            {
                break;
            }
        }
        if waiting.urgent && !shared.settings.linger.is_zero() {
            let until = Instant::now() + shared.settings.linger;
            while !shared.ready.wait_until(&mut waiting, until).timed_out() {}
        }
        waiting.urgent = false;
        waiting.since = None;
        waiting.records = 0;
        waiting.bytes = 0;
        shared.uncrowd();
        Work {
            batches: std::mem::take(&mut waiting.batches),
            reads: std::mem::take(&mut waiting.reads),
            seal: std::mem::take(&mut waiting.seal),
            closing: waiting.closing,
        }
    }

    fn has_work(&self, waiting: &Waiting) -> bool {
        waiting.urgent
            || waiting.closing
            || waiting.seal
            || !waiting.reads.is_empty()
            || !self.left.is_empty()
            || self
                .compaction
                .as_ref()
                .is_some_and(|compaction| !compaction.is_done())
    }

    /// When there is something to do even if nobody comes.
    fn wake_at(&self, waiting: &Waiting) -> Option<Instant> {
        if self.shared.standing() == Standing::Failed {
            return None;
        }
        let lazy = waiting.since.map(|since| since + LAZY);
        let settle = (!self.settled).then(|| self.last_commit + SETTLE);
        let room = self.no_room_since.map(|since| since + ASK_AGAIN);
        let sync = match self.shared.settings.sync {
            SyncPolicy::Interval(interval) if self.unsynced => Some(self.last_sync + interval),
            _ => None,
        };
        [lazy, settle, room, sync].into_iter().flatten().min()
    }

    fn work(&mut self, work: Work) -> io::Result<()> {
        self.left.extend(work.batches);
        if let Err(error) = self.commit() {
            self.pass_on(work.reads);
            return Err(error);
        }
        // What was handed over before them is found by them.
        if self.left.is_empty() {
            self.pass_on(work.reads);
        } else if !work.reads.is_empty() {
            let mut waiting = self.shared.waiting.lock();
            let newer = std::mem::replace(&mut waiting.reads, work.reads);
            waiting.reads.extend(newer);
        }
        if work.seal && self.writer.has_frames() {
            self.roll(0)?;
        }
        let now = Instant::now();
        if !self.settled && self.left.is_empty() && now >= self.last_commit + SETTLE {
            self.settle()?;
        }
        if let SyncPolicy::Interval(interval) = self.shared.settings.sync
            && self.unsynced
            && now >= self.last_sync + interval
        {
            self.sync()?;
        }
        self.look_after_room();
        self.look_for_compaction()
    }

    fn pass_on(&self, reads: Vec<Job>) {
        for job in reads {
            // The reader is there for as long as this thread.
            drop(self.jobs.send(job));
        }
    }

    /// Writes one frame of what is alive in the oldest segment and of what waits.
    fn commit(&mut self) -> io::Result<()> {
        let mut frame = std::mem::take(&mut self.frame);
        frame::begin(&mut frame);
        if let Some(compaction) = &mut self.compaction {
            let index = self.shared.index.lock();
            let sliced = compaction.slice(&index, &self.shared.clock, &mut frame);
            drop(index);
            if let Err(error) = sliced {
                if error.kind() == io::ErrorKind::InvalidData {
                    // At the next start the segment itself is read, and its damage told or set aside.
                    let sidecar = self.shared.layout.sidecar(compaction.segment);
                    drop(self.shared.disk.remove(&sidecar));
                }
                return Err(error);
            }
            let copied = frame.len() - FRAME_HEADER;
            let tally = &self.shared.tallies.bytes_compacted;
            tally.fetch_add(copied as u64, Ordering::Relaxed);
        }
        let mut ticket = None;
        while let Some((number, records)) = self.left.pop_front() {
            // A large batch has a frame of its own: one that is too large could not be read again.
            let bytes: usize = records.iter().map(weight).sum();
            if frame.len() > FRAME_HEADER && frame.len() + bytes > FRAME_FULL {
                self.left.push_front((number, records));
                break;
            }
            for record in &records {
                encode(record, &self.shared.clock, &mut frame);
            }
            ticket = Some(number);
        }
        if frame.len() > FRAME_HEADER + MAX_FRAME_BYTES {
            return Err(io::Error::other("a batch is too large to be kept"));
        }
        if frame.len() > FRAME_HEADER {
            self.write(&mut frame)?;
            self.last_commit = Instant::now();
            self.settled = false;
        }
        if frame.capacity() > 4 * FRAME_FULL {
            frame = Vec::with_capacity(FRAME_FULL);
        }
        self.frame = frame;
        if let Some(ticket) = ticket {
            self.shared.commit_done(ticket);
        }
        self.end_compaction()
    }

    fn write(&mut self, frame: &mut [u8]) -> io::Result<()> {
        if self.writer.must_roll(frame.len()) {
            self.roll(frame.len())?;
        }
        let time_ms = self.shared.clock.wall_ms(Instant::now());
        let base = self.writer.base();
        self.writer.write(frame, time_ms)?;
        match self.shared.settings.sync {
            SyncPolicy::Always => self.sync()?,
            SyncPolicy::Interval(_) => self.unsynced = true,
        }
        let tallies = &self.shared.tallies;
        tallies.commits.fetch_add(1, Ordering::Relaxed);
        tallies
            .bytes_written
            .fetch_add(frame.len() as u64, Ordering::Relaxed);
        self.apply(frame.get(FRAME_HEADER..).unwrap_or_default(), base)
    }

    fn sync(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        self.writer.sync()?;
        self.last_sync = Instant::now();
        self.unsynced = false;
        let took = u64::try_from((self.last_sync - begun).as_micros()).unwrap_or(u64::MAX);
        self.shared.tallies.syncs.fetch_add(1, Ordering::Relaxed);
        self.shared
            .tallies
            .sync_us
            .fetch_add(took, Ordering::Relaxed);
        Ok(())
    }

    /// The index learns what is on the disk now.
    fn apply(&mut self, payload: &[u8], base: u32) -> io::Result<()> {
        let segment = self.writer.segment();
        let shared = Arc::clone(&self.shared);
        let mut index = shared.index.lock();
        let writer = &mut self.writer;
        sidecar::walk(payload, base, |offset, length, head| {
            writer.note(offset, length, head);
            let place = Place {
                segment,
                offset,
                length,
            };
            index.apply(&item(head, &shared.clock)?, place);
            Ok(())
        })
        .map_err(|error| io::Error::other(format!("a record was written wrong: {error}")))?;
        drop(index);
        if let Some(known) = shared.segments.lock().get_mut(&segment) {
            known.used = u64::from(base) + payload.len() as u64;
        }
        Ok(())
    }

    /// Goes on in a new segment.
    fn roll(&mut self, bytes: usize) -> io::Result<()> {
        if self.unsynced {
            self.sync()?;
        }
        let time_ms = self.shared.clock.wall_ms(Instant::now());
        let full = self.writer.roll(bytes, time_ms)?;
        if let Some(file) = self.writer.file() {
            let segment = Segment {
                file: Arc::clone(file),
                used: SEGMENT_HEADER as u64,
                size: file.len()?,
            };
            let number = self.writer.segment();
            self.shared.segments.lock().insert(number, segment);
        }
        if let Some(full) = full {
            drop(self.jobs.send(Job::Sidecar(self.writer.meta.store, full)));
        }
        Ok(())
    }

    /// An empty batch behind the last one.
    fn settle(&mut self) -> io::Result<()> {
        if self.settled {
            return Ok(());
        }
        let mut frame = std::mem::take(&mut self.frame);
        frame::begin(&mut frame);
        encode(&Record::Alive, &self.shared.clock, &mut frame);
        let written = self.write(&mut frame);
        self.frame = frame;
        self.settled = true;
        if self.unsynced {
            self.sync()?;
        }
        written
    }

    /// Keeps room for the next segment, and knows when there is none.
    fn look_after_room(&mut self) {
        let again = self
            .no_room_since
            .is_none_or(|since| since.elapsed() >= ASK_AGAIN);
        if again {
            self.no_room_since = self.writer.make_spare().is_err().then(Instant::now);
        }
        let segments = self.shared.segments.lock();
        let disk_bytes = segments.values().map(|segment| segment.size).sum::<u64>();
        let count = segments.len() as u64;
        drop(segments);
        let disk_bytes = disk_bytes + self.writer.spare_bytes();
        let tallies = &self.shared.tallies;
        tallies.disk_bytes.store(disk_bytes, Ordering::Relaxed);
        tallies.segments.store(count, Ordering::Relaxed);
        let settings = &self.shared.settings;
        let reserve = 2 * u64::from(settings.segment_bytes);
        let too_large = settings.max_bytes != 0 && disk_bytes + reserve > settings.max_bytes;
        let too_many = settings.max_messages != 0
            && self.shared.index.lock().counts().queued >= settings.max_messages;
        self.shared
            .set_full(too_large || too_many || self.no_room_since.is_some());
    }

    /// Begins to compact the oldest segment if there is too little alive in the log.
    fn look_for_compaction(&mut self) -> io::Result<()> {
        if self.compaction.is_some() {
            return Ok(());
        }
        let oldest = self.writer.meta.first;
        if oldest >= self.writer.segment() {
            return Ok(());
        }
        let index = self.shared.index.lock();
        let live = index.counts().live_bytes;
        let live_in_oldest = index.live_bytes(oldest);
        drop(index);
        let segments = self.shared.segments.lock();
        let used: u64 = segments.values().map(|segment| segment.used).sum();
        let found = segments.get(&oldest).cloned();
        drop(segments);
        let Some(segment) = found else {
            return Err(io::Error::other("the oldest segment is not there"));
        };
        let slack = 2 * u64::from(self.shared.settings.segment_bytes);
        // Without room for another segment it must fit into this one, or it would be the end of the store.
        let copies = live_in_oldest + live_in_oldest / 8 + 4 * FRAME_HEADER as u64;
        if self.no_room_since.is_some() && live_in_oldest > 0 && copies > self.writer.left() {
            return Ok(());
        }
        // When room is short, everything that is dead is worth its copying.
        let short = self.shared.standing() == Standing::Full && live < used - used / 8;
        if live_in_oldest == 0 || used > 2 * live + slack || short {
            let store = self.writer.meta.store;
            self.compaction = Some(Compaction::new(oldest, segment.file, store, segment.used));
        }
        Ok(())
    }

    /// Removes the oldest segment once all that was alive in it stands elsewhere.
    fn end_compaction(&mut self) -> io::Result<()> {
        let Some(compaction) = self.compaction.take_if(|compaction| compaction.is_done()) else {
            return Ok(());
        };
        if self.unsynced {
            self.sync()?;
        }
        let mut index = self.shared.index.lock();
        let left = index.live_bytes(compaction.segment);
        if left != 0 {
            return Err(io::Error::other(format!(
                "{left} bytes of segment {} are alive after they were copied",
                compaction.segment
            )));
        }
        index.drop_segment(compaction.segment);
        drop(index);
        let removed = match self.writer.remove_oldest() {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                // There is not even room to write META: it goes when there is.
                self.compaction = Some(compaction);
                return Ok(());
            }
            removed => removed?,
        };
        self.shared.segments.lock().remove(&removed);
        Ok(())
    }
}
