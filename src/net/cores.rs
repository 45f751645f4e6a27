//! One thread and one current-thread runtime per core, and what a core lends its connections.
//!
//! A connection that waits holds no buffer: it reads into its core's, encodes into its core's, and
//! uses its core's match cache. Everything here is used inside one poll and never across a wait.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

use crate::audit::{CoreGauges, CoresGauges};
use crate::broker::{Broker, Effects, MatchCache, Session};
use crate::message::Delivery;
use crate::store::Ticket;

use super::balance::{self, ALL, Balancer, CoreLoad, Order, Placement, Shift, Weight, Work};

/// Bytes one read takes at most.
pub(crate) const READ_BYTES: usize = 64 * 1024;
/// A write batch is closed when it holds this much.
pub(crate) const WRITE_BYTES: usize = 64 * 1024;
/// An output buffer that grew beyond this for one large message is given back.
const KEPT_OUTPUT_BYTES: usize = 1 << 20;

/// What a core lends to the connection whose turn it is.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) index: u16,
    /// Bytes as they came from the socket.
    pub(crate) input: Box<[u8]>,
    /// Bytes after decryption.
    pub(crate) plain: Vec<u8>,
    /// Packets to send.
    pub(crate) output: Vec<u8>,
    pub(crate) deliveries: VecDeque<Delivery>,
    pub(crate) cache: MatchCache,
    pub(crate) effects: Effects,
    /// Packets of this turn that may be sent when what was noted in it is kept.
    pub(crate) held: Vec<u8>,
    /// Sessions that wait for a commit, in the order of their tickets.
    waiters: VecDeque<(Ticket, Arc<Session>)>,
    inboxes: Arc<[Inbox]>,
    loads: Arc<[Load]>,
    work: Work,
}

thread_local! {
    static CORE: RefCell<Option<Core>> = const { RefCell::new(None) };
}

impl Core {
    fn new(index: u16, inboxes: Arc<[Inbox]>, loads: Arc<[Load]>) -> Self {
        Self {
            index,
            input: vec![0; READ_BYTES].into_boxed_slice(),
            plain: Vec::new(),
            output: Vec::with_capacity(WRITE_BYTES),
            deliveries: VecDeque::new(),
            cache: MatchCache::default(),
            effects: Effects::default(),
            held: Vec::new(),
            waiters: VecDeque::new(),
            inboxes,
            loads,
            work: Work::default(),
        }
    }

    /// Counts what a connection has done in its turn. Says where it is to go on, if this core has too much
    /// to do or the work of all fits on fewer.
    pub(crate) fn worked(&mut self, weight: &mut Weight, units: u32) -> Option<usize> {
        let orders = &self.loads.get(usize::from(self.index))?.orders;
        if orders.look.load(Ordering::Acquire) != self.work.look() {
            self.work.begin(orders.read());
        }
        self.work.turn(weight, units)
    }

    /// Has `session` woken when everything up to `ticket` is kept.
    pub(crate) fn await_commit(&mut self, ticket: Ticket, session: &Arc<Session>) {
        self.waiters.push_back((ticket, Arc::clone(session)));
        if let Some(inbox) = self.inboxes.get(usize::from(self.index)) {
            inbox.awaits_commit.store(true, Ordering::SeqCst);
            // It may have been done before it was known that somebody waits.
            if inbox.committed.load(Ordering::SeqCst) >= ticket {
                inbox.wake();
            }
        }
    }

    /// Wakes those who have waited for commits up to `ticket`.
    fn committed(&mut self, ticket: Ticket) {
        while let Some((_, session)) = self.waiters.pop_front_if(|(wanted, _)| *wanted <= ticket) {
            session.mailbox.wake();
        }
        if self.waiters.is_empty()
            && let Some(inbox) = self.inboxes.get(usize::from(self.index))
        {
            inbox.awaits_commit.store(false, Ordering::SeqCst);
        }
    }

    /// Hands what was noted to the store, if the turn has not, and wakes everybody this batch has put
    /// something before: neighbours on this core one by one, those of another core with one entry in its
    /// inbox and one wake for all.
    pub(crate) fn flush_effects(&mut self, broker: &Broker) {
        broker.submit(&mut self.effects, false);
        if self.effects.wakes_nobody() {
            return;
        }
        let index = self.index;
        let mut others: Vec<Arc<Session>> = Vec::new();
        for session in self.effects.drain() {
            if session.core() == index {
                session.mailbox.wake();
            } else {
                others.push(session);
            }
        }
        if others.is_empty() {
            return;
        }
        others.sort_unstable_by_key(|session| session.core());
        for group in others.chunk_by(|a, b| a.core() == b.core()) {
            let Some(first) = group.first() else { continue };
            match self.inboxes.get(usize::from(first.core())) {
                Some(inbox) => inbox.add(group),
                None => group.iter().for_each(|session| session.mailbox.wake()),
            }
        }
    }

    /// Empties the output buffer for the next connection.
    pub(crate) fn reset_output(&mut self) {
        if self.output.capacity() > KEPT_OUTPUT_BYTES {
            self.output = Vec::with_capacity(WRITE_BYTES);
        } else {
            self.output.clear();
        }
        self.held.clear();
        if self.plain.capacity() > KEPT_OUTPUT_BYTES {
            self.plain = Vec::new();
        }
    }
}

/// Lends the core of this thread to `work`. `None` on a thread that is no core.
pub(crate) fn with_core<R>(work: impl FnOnce(&mut Core) -> R) -> Option<R> {
    CORE.with_borrow_mut(|core| core.as_mut().map(work))
}

/// Sessions another core wants woken here.
#[derive(Debug, Default)]
struct Inbox {
    sessions: Mutex<Vec<Arc<Session>>>,
    waker: Mutex<Option<Waker>>,
    /// The last commit of the store.
    committed: AtomicU64,
    /// Somebody on this core waits for one.
    awaits_commit: AtomicBool,
}

impl Inbox {
    fn add(&self, sessions: &[Arc<Session>]) {
        let was_empty = {
            let mut waiting = self.sessions.lock();
            let was_empty = waiting.is_empty();
            waiting.extend(sessions.iter().cloned());
            was_empty
        };
        if was_empty {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.lock().as_ref() {
            waker.wake_by_ref();
        }
    }

    async fn serve(&self) {
        let mut batch = Vec::new();
        poll_fn::<(), _>(|cx| {
            {
                let mut waker = self.waker.lock();
                if waker
                    .as_ref()
                    .is_none_or(|known| !known.will_wake(cx.waker()))
                {
                    *waker = Some(cx.waker().clone());
                }
            }
            std::mem::swap(&mut *self.sessions.lock(), &mut batch);
            for session in batch.drain(..) {
                session.mailbox.wake();
            }
            if self.awaits_commit.load(Ordering::SeqCst) {
                let committed = self.committed.load(Ordering::SeqCst);
                with_core(|core| core.committed(committed));
            }
            Poll::Pending
        })
        .await;
    }
}

/// How busy a core is, for placing new connections.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Load {
    connections: AtomicUsize,
    /// Thread id, for its CPU time under /proc.
    tid: AtomicU64,
    cpu_ns: AtomicU64,
    /// Share of the last interval the thread was running, in thousandths.
    busy: AtomicU64,
    orders: Orders,
}

impl Load {
    /// Time the thread has been running.
    fn cpu(&self) -> Option<Duration> {
        let tid = self.tid.load(Ordering::Relaxed);
        let text = std::fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).ok()?;
        let ns = text.split_whitespace().next()?.parse().ok()?;
        Some(Duration::from_nanos(ns))
    }

    fn gauges(&self) -> CoreGauges {
        CoreGauges {
            connections: self.connections.load(Ordering::Relaxed),
            cpu: self.cpu().unwrap_or_default(),
        }
    }

    fn now(&self) -> CoreLoad {
        CoreLoad {
            busy: self.busy.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
        }
    }
}

/// What the core is told to hand over. Written at each look, read by the core in each turn: a cache line
/// that changes ten times a second at most.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Orders {
    /// Counts the looks; written last.
    look: AtomicU32,
    to: AtomicUsize,
    /// Of the work since the last look, in thousandths.
    share: AtomicU32,
}

impl Orders {
    fn give(&self, shift: Option<Shift>) {
        let (to, share) = shift.map_or((0, 0), |shift| (shift.to, shift.share));
        self.to.store(to, Ordering::Relaxed);
        self.share.store(share, Ordering::Relaxed);
        self.look.fetch_add(1, Ordering::Release);
    }

    fn read(&self) -> Order {
        Order {
            look: self.look.load(Ordering::Acquire),
            to: self.to.load(Ordering::Relaxed),
            share: self.share.load(Ordering::Relaxed),
        }
    }
}

/// All cores.
#[derive(Debug)]
pub struct Cores {
    handles: Vec<Handle>,
    loads: Arc<[Load]>,
    inboxes: Arc<[Inbox]>,
    committed: watch::Sender<Ticket>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stop: watch::Sender<bool>,
    sampled: Mutex<Instant>,
    placement: Placement,
    moved: AtomicU64,
}

/// New connections are packed on the first core that is less busy than this, in thousandths.
const BUSY: u64 = 800;
/// Below so many connections a core is not compared with the others' number.
const PACKED: usize = 256;
const SAMPLE_EVERY: Duration = Duration::from_millis(90);
/// How often it is looked at who is to move while there is work, and while there is none.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_IDLE_EVERY: Duration = Duration::from_secs(1);
/// A core that is busy for less of its time makes nobody look more often, in thousandths.
const WORTH_LOOKING: u64 = 50;
/// So many connections are brought together on one core even if it is more than its share.
const GATHERED: usize = 1_024;

impl Cores {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// The system refuses a thread or a runtime.
    pub fn start(count: usize, placement: Placement) -> io::Result<Arc<Self>> {
        let count = count.clamp(1, usize::from(u16::MAX));
        let inboxes: Arc<[Inbox]> = (0..count).map(|_| Inbox::default()).collect();
        let loads: Arc<[Load]> = (0..count).map(|_| Load::default()).collect();
        let (stop, _) = watch::channel(false);
        let mut handles = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            let inboxes = Arc::clone(&inboxes);
            let loads = Arc::clone(&loads);
            let mut stop = stop.subscribe();
            let thread = std::thread::Builder::new().name(format!("core-{index}"));
            threads.push(thread.spawn(move || {
                let tid = u64::from(nix::unistd::gettid().as_raw().unsigned_abs());
                if let Some(load) = loads.get(index) {
                    load.tid.store(tid, Ordering::Relaxed);
                }
                let number = u16::try_from(index).unwrap_or(u16::MAX);
                CORE.set(Some(Core::new(number, Arc::clone(&inboxes), loads)));
                runtime.block_on(async {
                    let serve = async {
                        if let Some(inbox) = inboxes.get(index) {
                            inbox.serve().await;
                        }
                    };
                    tokio::select! {
                        () = serve => {}
                        _ = stop.wait_for(|stop| *stop) => {}
                    }
                });
                CORE.set(None);
                // Tasks that are left hold sockets and sessions of a broker that is ending.
                runtime.shutdown_background();
            })?);
        }
        Ok(Arc::new(Self {
            handles,
            loads,
            inboxes,
            committed: watch::channel(0).0,
            threads: Mutex::new(threads),
            stop,
            sampled: Mutex::new(Instant::now()),
            placement,
            moved: AtomicU64::new(0),
        }))
    }

    /// Makes the caller's thread the only core; its runtime is the one the caller has entered. For
    /// those who drive connections themselves ([`super::listener::connection`]).
    ///
    /// # Panics
    /// No runtime was entered.
    #[doc(hidden)]
    pub fn here() -> Arc<Self> {
        let inboxes: Arc<[Inbox]> = Arc::new([Inbox::default()]);
        let loads: Arc<[Load]> = Arc::new([Load::default()]);
        CORE.set(Some(Core::new(0, Arc::clone(&inboxes), Arc::clone(&loads))));
        Arc::new(Self {
            inboxes,
            committed: watch::channel(0).0,
            handles: vec![Handle::current()],
            loads,
            placement: Placement::default(),
            moved: AtomicU64::new(0),
            threads: Mutex::default(),
            stop: watch::channel(false).0,
            sampled: Mutex::new(Instant::now()),
        })
    }

    /// The store has kept everything up to `ticket`: wakes those who wait for it. May be called on any
    /// thread.
    pub fn committed(&self, ticket: Ticket) {
        for inbox in self.inboxes.iter() {
            inbox.committed.fetch_max(ticket, Ordering::SeqCst);
            if inbox.awaits_commit.load(Ordering::SeqCst) {
                inbox.wake();
            }
        }
        // Those who are not connected yet.
        self.committed.send_replace(ticket);
    }

    /// As [`Cores::committed`] on the thread of [`Cores::here`], where nobody else wakes anybody.
    #[doc(hidden)]
    pub fn committed_here(&self, ticket: Ticket) {
        self.committed(ticket);
        with_core(|core| core.committed(ticket));
    }

    /// Waits until the store has kept everything up to `ticket`.
    pub(crate) async fn wait_for_commit(&self, ticket: Ticket) {
        let mut committed = self.committed.subscribe();
        // The sender is in `self`.
        drop(committed.wait_for(|done| *done >= ticket).await);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// The runtime of core `index`.
    pub fn handle(&self, index: usize) -> &Handle {
        &self.handles[index.min(self.handles.len() - 1)]
    }

    /// Chooses a core for a new connection: the first that is not busy and does not hold far more
    /// than its share, because what sparse traffic costs is the number of cores woken for it.
    pub fn place(self: &Arc<Self>) -> Placed {
        self.sample();
        let limit = self.share().max(PACKED);
        let fits = |load: &Load| {
            load.busy.load(Ordering::Relaxed) < BUSY
                && load.connections.load(Ordering::Relaxed) < limit
        };
        let first = match self.placement {
            Placement::Pack => self.loads.iter().position(fits),
            Placement::Spread => None,
        };
        let index = first.or_else(|| {
            self.loads
                .iter()
                .enumerate()
                .min_by_key(|(_, load)| {
                    (
                        load.busy.load(Ordering::Relaxed) / 100,
                        load.connections.load(Ordering::Relaxed),
                    )
                })
                .map(|(index, _)| index)
        });
        let index = index.unwrap_or(0);
        if let Some(load) = self.loads.get(index) {
            load.connections.fetch_add(1, Ordering::Relaxed);
        }
        Placed {
            cores: Arc::clone(self),
            index,
        }
    }

    /// A quarter more connections than each core would have if all had as many.
    fn share(&self) -> usize {
        (self.connections() / self.loads.len()).saturating_mul(5) / 4
    }

    /// Looks again and again which connections belong on another core. Ends with the runtime it runs on.
    pub async fn balance(self: Arc<Self>) {
        if self.loads.len() == 1 {
            return;
        }
        let mut balancer = Balancer::default();
        let mut idle = Idle::default();
        let mut every = LOOK_IDLE_EVERY;
        loop {
            tokio::time::sleep(every).await;
            self.sample();
            let loads: Vec<CoreLoad> = self.loads.iter().map(Load::now).collect();
            let limit = self.share().max(GATHERED);
            let idle = idle.look(balance::is_hot(&loads));
            let shift = balancer.look(&loads, self.placement, limit, idle);
            self.order(shift);
            let works = loads.iter().any(|load| load.busy >= WORTH_LOOKING);
            every = if works { LOOK_EVERY } else { LOOK_IDLE_EVERY };
        }
    }

    /// Tells each core what it is to hand over, if anything.
    fn order(&self, shift: Option<Shift>) {
        for (index, load) in self.loads.iter().enumerate() {
            load.orders.give(shift.filter(|shift| shift.from == index));
        }
    }

    /// Has all connections of one core that take a turn go to another. For tests: what decides in earnest
    /// is [`Cores::balance`].
    #[doc(hidden)]
    pub fn move_all(&self, from: usize, to: usize) {
        self.order(Some(Shift {
            from,
            to,
            share: ALL,
        }));
    }

    /// What there is to be told of each thread.
    pub fn gauges(&self) -> CoresGauges {
        CoresGauges {
            each: self.loads.iter().map(Load::gauges).collect(),
            moved: self.moved.load(Ordering::Relaxed),
        }
    }

    /// Connections on all cores, those that still greet included.
    pub fn connections(&self) -> usize {
        self.loads
            .iter()
            .map(|load| load.connections.load(Ordering::Relaxed))
            .sum()
    }

    /// Reads each thread's CPU time, at most every `SAMPLE_EVERY`.
    fn sample(&self) {
        let Some(mut sampled) = self.sampled.try_lock() else {
            return;
        };
        let passed = sampled.elapsed();
        if passed < SAMPLE_EVERY || self.loads.len() == 1 {
            return;
        }
        *sampled = Instant::now();
        for load in self.loads.iter() {
            let Some(cpu) = load.cpu() else {
                continue;
            };
            let now = u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX);
            let before = load.cpu_ns.swap(now, Ordering::Relaxed);
            let used = u128::from(now.saturating_sub(before));
            let busy = used * 1_000 / passed.as_nanos().max(1);
            load.busy
                .store(u64::try_from(busy).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Ends all threads; waits for them.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked has told so already; there is nobody left to tell.
            drop(thread.join());
        }
    }
}

/// What the machine has left, between looks at which it is asked for.
#[derive(Debug, Default)]
struct Idle {
    before: Option<(Duration, Instant)>,
}

impl Idle {
    /// How much of one processor was idle since the last look, in thousandths, if that one asked too.
    fn look(&mut self, is_asked: bool) -> Option<u64> {
        let now = is_asked.then(idle_time).flatten();
        let now = now.map(|idle| (idle, Instant::now()));
        let before = std::mem::replace(&mut self.before, now);
        let ((idle, at), (idle_before, at_before)) = (now?, before?);
        let idle = idle.saturating_sub(idle_before).as_nanos();
        let passed = at.duration_since(at_before).as_nanos().max(1);
        u64::try_from(idle * 1_000 / passed).ok()
    }
}

/// Time that processors have been idle, all of them together.
fn idle_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find(|line| line.starts_with("cpu "))?;
    let ticks = |field: usize| -> Option<u64> { line.split_whitespace().nth(field)?.parse().ok() };
    // Idle, and waiting for a disk. USER_HZ is 100 on every Linux that this runs on.
    Some(Duration::from_millis((ticks(4)? + ticks(5)?) * 10))
}

/// A connection's place on a core; counted until it is dropped.
#[derive(Debug)]
pub struct Placed {
    cores: Arc<Cores>,
    /// Which core.
    pub index: usize,
}

impl Placed {
    /// The core's runtime.
    pub fn handle(&self) -> &Handle {
        self.cores.handle(self.index)
    }

    /// Counts the connection on another core from now on.
    pub(crate) fn move_to(&mut self, index: usize) {
        let loads = &self.cores.loads;
        if let (Some(from), Some(to)) = (loads.get(self.index), loads.get(index)) {
            from.connections.fetch_sub(1, Ordering::Relaxed);
            to.connections.fetch_add(1, Ordering::Relaxed);
            self.cores.moved.fetch_add(1, Ordering::Relaxed);
            self.index = index;
        }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if let Some(load) = self.cores.loads.get(self.index) {
            load.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
