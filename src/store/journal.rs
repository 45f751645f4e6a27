//! The store on disk: one thread commits, one reads.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::clock::Clock;
use super::committer::Committer;
use super::disk::{Disk, DiskFile};
use super::error::{Damage, OpenError};
use super::index::Index;
use super::layout::{Layout, Meta};
use super::log::Log;
use super::reader::{self, Job};
use super::record::{Record, Recovered, SessionKey};
use super::recovery::{self, Reading};
use super::settings::{OnDamage, StoreSettings};
use super::writer::{End, Writer};
use super::{Batch, Numbers, Query, Reply, Standing, Store, Ticket};

/// Records that wait for the commit thread before publishers do well to wait.
const CROWDED_RECORDS: usize = 8_192;
/// Bytes of messages that do.
const CROWDED_BYTES: usize = 16 << 20;

/// What waits for the commit thread.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) batches: Vec<(Ticket, Vec<Record>)>,
    pub(super) records: usize,
    pub(super) bytes: usize,
    /// Somebody waits for what is there.
    pub(super) urgent: bool,
    /// Since when something is there that nobody waits for.
    pub(super) since: Option<Instant>,
    pub(super) reads: Vec<Job>,
    pub(super) seal: bool,
    pub(super) closing: bool,
    next: Ticket,
}

/// A segment that is there.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) used: u64,
    pub(super) size: u64,
}

/// What the threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: StoreSettings,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) layout: Layout,
    pub(super) clock: Clock,
    pub(super) waiting: Mutex<Waiting>,
    pub(super) ready: Condvar,
    pub(super) index: Mutex<Index>,
    pub(super) segments: Mutex<BTreeMap<u32, Segment>>,
    pub(super) committed: AtomicU64,
    standing: AtomicU8,
    failure: Mutex<Option<String>>,
    crowded: AtomicBool,
    next_session: AtomicU32,
    pub(super) tallies: Tallies,
    notify: Notify,
}

/// Called after each commit, and when the store fails, with the last ticket that is done.
pub type Wake = Box<dyn Fn(Ticket) + Send + Sync>;

struct Notify(Wake);

impl std::fmt::Debug for Notify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Notify")
    }
}

/// Counters.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    pub(super) commits: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) sync_us: AtomicU64,
    pub(super) bytes_written: AtomicU64,
    pub(super) bytes_compacted: AtomicU64,
    pub(super) disk_bytes: AtomicU64,
    pub(super) unreadable: AtomicU64,
    pub(super) segments: AtomicU64,
}

impl Shared {
    /// The store does not work any more: nothing is acknowledged from here on.
    pub(super) fn fail(&self, what: impl Into<String>) {
        let mut failure = self.failure.lock();
        if failure.is_none() {
            *failure = Some(what.into());
        }
        drop(failure);
        self.standing
            .store(Standing::Failed as u8, Ordering::Release);
        (self.notify.0)(self.committed.load(Ordering::Acquire));
    }

    pub(super) fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Acquire) {
            0 => Standing::Good,
            1 => Standing::Full,
            _ => Standing::Failed,
        }
    }

    /// Whether there is room for more.
    pub(super) fn set_full(&self, full: bool) {
        let (from, to) = if full {
            (Standing::Good, Standing::Full)
        } else {
            (Standing::Full, Standing::Good)
        };
        // One that has failed stays so.
        let _ = self.standing.compare_exchange(
            from as u8,
            to as u8,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    }

    pub(super) fn commit_done(&self, ticket: Ticket) {
        self.committed.store(ticket, Ordering::Release);
        (self.notify.0)(ticket);
    }

    /// After the queue was emptied.
    pub(super) fn uncrowd(&self) {
        self.crowded.store(false, Ordering::Relaxed);
    }
}

/// See the module.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    quarantined: Vec<Damage>,
    torn_bytes: u64,
    /// Dropped last.
    _lock: recovery::Lock,
}

impl Journal {
    /// Opens the store, or makes one, and gives what is in it. At `now` it is `wall_ms` milliseconds after
    /// 1970. `notify` is called on the store's own thread after each commit; it must not take long.
    ///
    /// # Errors
    /// It is in use, of a newer version, or damaged, or the disk refuses.
    pub fn open(
        settings: StoreSettings,
        disk: Arc<dyn Disk>,
        now: Instant,
        wall_ms: u64,
        notify: Wake,
    ) -> Result<(Self, Recovered), OpenError> {
        let layout = Layout::new(&settings.directory);
        let lock = recovery::lock(&*disk, &layout)?;
        let (opened, mut quarantined) = read(&settings, &disk, &layout, now, wall_ms)?;
        let (meta, mut log, recovered) = opened;
        let layout = layout.of(&meta);
        log.tidy(&*disk, &layout, &meta)?;
        super::salvage::set_aside(&*disk, &layout)?;
        if quarantined.is_empty() {
            // Told at each start.
            quarantined = super::salvage::still_aside(&*disk, &layout)?;
        }
        let mut segments = BTreeMap::new();
        for (number, file) in &log.segments {
            let path = layout.segment(*number);
            let segment = Segment {
                file: Arc::clone(file),
                used: log.used.get(number).copied().unwrap_or(0),
                size: file.len().map_err(OpenError::io(&path))?,
            };
            segments.insert(*number, segment);
        }
        let end = End {
            file: log.segments.get(&meta.last).cloned(),
            at: log.end,
            last_pos: log.last_pos,
            last_crc: log.last_crc,
            last_time_ms: log.last_time_ms,
            heads: std::mem::take(&mut log.heads),
        };
        let torn_bytes = log.torn_bytes;
        let next_session = log.greatest_key().saturating_add(1);
        let writer = Writer::new(
            Arc::clone(&disk),
            layout.clone(),
            meta,
            settings.segment_bytes,
            end,
        )
        .map_err(OpenError::io(layout.root()))?;
        let shared = Arc::new(Shared {
            settings,
            disk,
            layout,
            clock: log.clock,
            waiting: Mutex::default(),
            ready: Condvar::new(),
            index: Mutex::new(log.index),
            segments: Mutex::new(segments),
            committed: AtomicU64::new(0),
            standing: AtomicU8::new(0),
            failure: Mutex::new(None),
            crowded: AtomicBool::new(false),
            next_session: AtomicU32::new(next_session),
            tallies: Tallies::default(),
            notify: Notify(notify),
        });
        let threads = start(&shared, writer).map_err(OpenError::io(shared.layout.root()))?;
        let journal = Self {
            shared,
            threads: Mutex::new(threads),
            quarantined,
            torn_bytes,
            _lock: lock,
        };
        Ok((journal, recovered))
    }

    /// What was set aside because it could not be read (`store_on_damage quarantine`), now or at an earlier
    /// start: it is told until the operator has removed it from `quarantine` in the store's directory.
    pub fn quarantined(&self) -> &[Damage] {
        &self.quarantined
    }

    /// Bytes at the end of the log that were being written when the broker was killed, and are cut off. They
    /// were not acknowledged.
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// Writes what is left and ends. Nothing is taken from now on.
    pub fn close(&self) {
        self.shared.waiting.lock().closing = true;
        self.shared.ready.notify_one();
        for thread in self.threads.lock().drain(..) {
            // One that panicked has told so; there is nobody left to tell.
            drop(thread.join());
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

type Opened = (Meta, Log, Recovered);

fn read(
    settings: &StoreSettings,
    disk: &Arc<dyn Disk>,
    layout: &Layout,
    now: Instant,
    wall_ms: u64,
) -> Result<(Opened, Vec<Damage>), OpenError> {
    let strict = || {
        let meta = recovery::meta(&**disk, layout)?;
        let layout = layout.of(&meta);
        let mut log = recovery::read(&**disk, &layout, &meta, Reading::Strict, now, wall_ms)?;
        let recovered = log.recovered(&layout)?;
        if log.damages.is_empty() {
            Ok((meta, log, recovered))
        } else {
            Err(OpenError::Damaged(log.damages))
        }
    };
    match strict() {
        Ok(opened) => Ok((opened, Vec::new())),
        Err(OpenError::Damaged(mut damages)) if settings.on_damage == OnDamage::Quarantine => {
            let more = super::salvage::in_place(settings, disk, layout, now, wall_ms)?;
            for damage in more {
                if !damages.contains(&damage) {
                    damages.push(damage);
                }
            }
            Ok((strict()?, damages))
        }
        Err(error) => Err(error),
    }
}

/// A thread that panics leaves nobody waiting for it.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("a thread of the store has panicked");
        }
    }
}

fn start(shared: &Arc<Shared>, writer: Writer) -> io::Result<Vec<JoinHandle<()>>> {
    let (jobs, from) = std::sync::mpsc::channel();
    let for_reader = Arc::clone(shared);
    let reader = std::thread::Builder::new()
        .name("store-read".into())
        .spawn(move || {
            let _guard = Guard(Arc::clone(&for_reader));
            reader::run(&for_reader, &from);
        })?;
    let for_committer = Arc::clone(shared);
    let committer = Committer::new(Arc::clone(shared), writer, jobs);
    let committer = std::thread::Builder::new()
        .name("store-commit".into())
        .spawn(move || {
            let _guard = Guard(for_committer);
            committer.run();
        })?;
    Ok(vec![committer, reader])
}

pub(super) fn weight(record: &Record) -> usize {
    match record {
        Record::Publish { message, .. } => message.size_bytes(),
        Record::Will { will, .. } => will.message.size_bytes(),
        _ => 0,
    }
}

impl Store for Journal {
    fn commit(&self, batch: Batch) -> Ticket {
        let bytes: usize = batch.records.iter().map(weight).sum();
        for record in &batch.records {
            if let Record::Publish { message, .. } = record {
                message.submitted.set();
            }
        }
        let mut waiting = self.shared.waiting.lock();
        waiting.next += 1;
        let ticket = waiting.next;
        if waiting.closing || self.shared.standing() == Standing::Failed {
            // Nobody would ever take it.
            return ticket;
        }
        waiting.records += batch.records.len();
        waiting.bytes += bytes;
        let is_crowded = waiting.records > CROWDED_RECORDS || waiting.bytes > CROWDED_BYTES;
        waiting.batches.push((ticket, batch.records));
        let was_idle = waiting.since.is_none() && !waiting.urgent;
        if batch.urgent {
            waiting.urgent = true;
        } else if waiting.since.is_none() {
            waiting.since = Some(Instant::now());
        }
        drop(waiting);
        if is_crowded {
            self.shared.crowded.store(true, Ordering::Relaxed);
        }
        if batch.urgent || was_idle {
            self.shared.ready.notify_one();
        }
        ticket
    }

    fn committed(&self) -> Ticket {
        self.shared.committed.load(Ordering::Acquire)
    }

    fn standing(&self) -> Standing {
        self.shared.standing()
    }

    fn failure(&self) -> Option<String> {
        self.shared.failure.lock().clone()
    }

    fn is_crowded(&self) -> bool {
        self.shared.crowded.load(Ordering::Relaxed)
    }

    fn new_session(&self) -> Option<SessionKey> {
        let number = self
            .shared
            .next_session
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |number| {
                number.checked_add(1)
            })
            .ok()?;
        std::num::NonZeroU32::new(number).map(SessionKey)
    }

    fn read(&self, query: Query, reply: Reply) {
        let mut waiting = self.shared.waiting.lock();
        waiting.reads.push(Job::Read(query, reply));
        drop(waiting);
        self.shared.ready.notify_one();
    }

    fn checkpoint(&self) {
        self.shared.waiting.lock().seal = true;
        self.shared.ready.notify_one();
    }

    fn close(&self) {
        Self::close(self);
    }

    fn numbers(&self) -> Numbers {
        let tallies = &self.shared.tallies;
        let get = |tally: &AtomicU64| tally.load(Ordering::Relaxed);
        let index = self.shared.index.lock().counts();
        Numbers {
            commits: get(&tallies.commits),
            syncs: get(&tallies.syncs),
            sync_time: Duration::from_micros(get(&tallies.sync_us)),
            bytes_written: get(&tallies.bytes_written),
            bytes_compacted: get(&tallies.bytes_compacted),
            disk_bytes: get(&tallies.disk_bytes),
            segments: get(&tallies.segments),
            unreadable: get(&tallies.unreadable),
            quarantined: self.quarantined.len(),
            live_bytes: index.live_bytes,
            queued: index.queued,
            queued_bytes: index.queued_bytes,
            sessions: index.sessions,
            retained: index.retained,
        }
    }
}
