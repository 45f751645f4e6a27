//! The bounded queue in front of one session.
//!
//! Any publisher's task pushes; only the session's own task takes. The lock is held for a push or a
//! take, never across a system call or a wake.

use std::collections::VecDeque;
use std::task::Waker;

use parking_lot::Mutex;

use crate::codec::QoS;
use crate::message::Delivery;
use crate::store::{Seq, SessionKey};

use super::backlog::{Backlog, Waiting};

/// How much may wait for one client. Both count everything a message holds, properties included.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// `max_queued_messages`; 0 is no limit.
    pub messages: usize,
    /// `max_queued_bytes`; 0 is no limit.
    pub bytes: usize,
    /// `queue_qos0_messages`: whether QoS 0 messages wait for an absent client.
    pub queue_qos0: bool,
}

/// The bounds at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueBounds {
    /// For each session.
    pub limits: QueueLimits,
    /// `memory_limit` is reached: nothing more is kept for clients that do not take it.
    pub pressed: bool,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            messages: 1_000,
            bytes: 4 << 20,
            queue_qos0: false,
        }
    }
}

/// What may pile up for a connected client that takes what it is sent, between two of its turns.
/// `QueueLimits` are for clients that cannot take: absent, or with a full socket or window.
const BURST_MESSAGES: usize = 65_536;
const BURST_BYTES: usize = 16 << 20;

/// A queue that was used keeps room for this many deliveries; an idle session holds little.
const KEPT_CAPACITY: usize = 32;

/// What is done when the queue of a client is full (`queue_overflow`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueOverflow {
    /// What comes is dropped.
    #[default]
    RejectNew,
    /// The oldest that waits is dropped.
    DropOldest,
}

/// So many messages of an absent client are kept in memory as well as in the store, at least.
const SPILL_AWAY: usize = 4;
/// So many of a client that does not take what it is sent.
const SPILL_BLOCKED: usize = 1_024;
/// Places between two messages of a queue, for retained messages that go before what came after their
/// SUBSCRIBE.
const SEQ_STEP: Seq = 1 << 20;
/// What a message that waits in the store takes of memory.
pub(super) const WAITING_BYTES: usize = 130;

/// A delivery was pushed.
#[derive(Debug)]
pub struct Push {
    /// What happened to it.
    pub outcome: Pushed,
    /// Its place in the store's queue, if the session is kept there: the caller tells the store.
    pub kept: Option<(SessionKey, Seq)>,
    /// Those that made room for it; of those with a place the store is told.
    pub dropped: Vec<Dropped>,
}

impl From<Pushed> for Push {
    fn from(outcome: Pushed) -> Self {
        Self {
            outcome,
            kept: None,
            dropped: Vec::new(),
        }
    }
}

/// A message that waited and does not any more.
pub type Dropped = Option<(SessionKey, Seq)>;

/// What happened to a pushed delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Queued, and the session's task knows already.
    Queued,
    /// Queued, and the caller has to wake the session's task at the end of its batch.
    QueuedWake,
    /// Queued, and the queue of a client that takes from it is long.
    Crowded,
    /// The queue bound is reached.
    Full,
    /// QoS 0 for a client that is away.
    Away,
    /// The subscription it was sent for belongs to a session that has ended.
    Stale,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Delivery>,
    bytes: usize,
    /// Messages and bytes the session's task took but cannot send yet, because the window is full.
    held_messages: usize,
    held_bytes: usize,
    /// Counts the sessions this mailbox has served; see `Pushed::Stale`.
    epoch: u32,
    live: bool,
    blocked: bool,
    notified: bool,
    waker: Option<Waker>,
    /// Of a session that is kept in the store.
    key: Option<SessionKey>,
    last_seq: Seq,
    /// The last place that was given in front of the queue.
    last_before: Seq,
    /// What waits in the store only, in front of the queue.
    backlog: Backlog,
    /// Deliveries in the queue that the store has as well.
    unspilled: usize,
    overflow: QueueOverflow,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Mailbox {
    inner: Mutex<Inner>,
}

impl Mailbox {
    /// Adds a delivery made for the session of `epoch`.
    #[inline]
    pub fn push(&self, epoch: u32, mut delivery: Delivery, bounds: QueueBounds) -> Push {
        let size = delivery.message.size_bytes();
        let mut inner = self.inner.lock();
        if inner.epoch != epoch {
            return Pushed::Stale.into();
        }
        if !inner.live && delivery.qos == QoS::AtMostOnce && !bounds.limits.queue_qos0 {
            return Pushed::Away.into();
        }
        let mut dropped = Vec::new();
        if inner.is_full(size, bounds) && !inner.make_room(size, bounds, &mut dropped) {
            return Push {
                dropped,
                ..Pushed::Full.into()
            };
        }
        let mut kept = None;
        if let Some(key) = inner.key
            && delivery.qos != QoS::AtMostOnce
        {
            inner.spill_if_long();
            inner.unspilled += 1;
            delivery.seq = inner.next_seq();
            kept = Some((key, delivery.seq));
        }
        inner.bytes += size;
        inner.queue.push_back(delivery);
        let outcome = inner.pushed();
        Push {
            outcome,
            kept,
            dropped,
        }
    }

    /// Moves everything queued to the end of `into`. `held` is what the caller still holds from
    /// earlier calls: it goes on counting against the bounds. False if nothing was moved because
    /// something older waits in the store.
    pub fn take(&self, into: &mut VecDeque<Delivery>, held: (usize, usize)) -> bool {
        let mut inner = self.inner.lock();
        // Always, also when nothing is there to take: who pushes next must wake us again.
        inner.notified = false;
        inner.blocked = false;
        (inner.held_messages, inner.held_bytes) = held;
        if !inner.backlog.is_empty() {
            return false;
        }
        inner.bytes = 0;
        inner.unspilled = 0;
        into.append(&mut inner.queue);
        if inner.queue.capacity() > KEPT_CAPACITY {
            inner.queue = VecDeque::new();
        }
        true
    }

    /// Puts back, in front, what could not be sent because the socket is full. Until the next
    /// [`Mailbox::take`] nobody is woken and the queue bounds apply.
    pub fn give_back(&self, rest: &mut VecDeque<Delivery>, held: (usize, usize)) {
        let mut inner = self.inner.lock();
        inner.notified = true;
        inner.blocked = true;
        (inner.held_messages, inner.held_bytes) = held;
        inner.bytes += rest
            .iter()
            .map(|delivery| delivery.message.size_bytes())
            .sum::<usize>();
        inner.unspilled += rest.iter().filter(|delivery| delivery.seq != 0).count();
        rest.append(&mut inner.queue);
        // The caller's queue is a scratch of its core; only its content moves.
        inner.queue.extend(rest.drain(..));
    }

    /// So many messages and bytes wait for the client's window: they count against the bounds.
    pub fn set_held(&self, held: (usize, usize)) {
        let mut inner = self.inner.lock();
        (inner.held_messages, inner.held_bytes) = held;
    }

    /// Whether a publisher does well to let this session's task run before it sends more.
    pub fn is_crowded(&self) -> bool {
        let inner = self.inner.lock();
        inner.live && !inner.blocked && inner.is_long()
    }

    /// A connection's task takes over; `waker` wakes it.
    pub fn attach(&self, waker: Waker) {
        let mut inner = self.inner.lock();
        inner.live = true;
        inner.notified = true; // the task looks for itself first
        inner.blocked = false;
        inner.waker = Some(waker);
    }

    /// The connection has ended; `held` deliveries went back to the parked Session State.
    pub fn detach(&self, held: (usize, usize)) {
        let mut inner = self.inner.lock();
        inner.live = false;
        inner.blocked = false;
        inner.notified = false;
        inner.waker = None;
        (inner.held_messages, inner.held_bytes) = held;
    }

    /// As [`Mailbox::detach`], for a session that is kept in the store: what the connection held and has not
    /// sent waits there from now on, and what the queue holds as well.
    pub fn detach_kept(&self, held: (usize, usize), unsent: Vec<Waiting>) {
        self.detach(held);
        let mut inner = self.inner.lock();
        inner.backlog.put_back(unsent);
        inner.spill();
    }

    /// Nobody serves the session any more: what a client that takes may be handed at once is more than
    /// may wait for one that is away. Drops QoS 0, where it is not kept, and then the newest. Gives
    /// the number of those dropped for the bound.
    pub fn settle(&self, bounds: QueueBounds) -> Vec<Dropped> {
        let mut inner = self.inner.lock();
        let limits = bounds.limits;
        if !limits.queue_qos0 {
            inner
                .queue
                .retain(|delivery| delivery.qos != QoS::AtMostOnce);
            inner.count_bytes();
        }
        let mut dropped = Vec::new();
        loop {
            let (messages, bytes) = inner.all();
            let too_many = limits.messages != 0 && messages > limits.messages;
            // One message may always wait.
            let too_large = limits.bytes != 0 && bytes > limits.bytes && messages > 1;
            if !too_many && !too_large {
                break;
            }
            let Some(newest) = inner.pop_newest() else {
                break;
            };
            dropped.push(newest);
        }
        dropped
    }

    /// The session has ended: forgets everything, and takes nothing more that was meant for it.
    /// Gives the number of deliveries dropped, and the session's number in the store.
    pub fn reset(&self) -> (usize, Option<SessionKey>) {
        let mut inner = self.inner.lock();
        let dropped = inner.queue.len() + inner.backlog.len();
        let key = inner.key;
        *inner = Inner {
            epoch: inner.epoch.wrapping_add(1),
            live: inner.live,
            waker: inner.waker.take(),
            ..Inner::default()
        };
        (dropped, key)
    }

    /// From now on the store has the session under `key`.
    pub fn keep(&self, key: SessionKey, overflow: QueueOverflow) {
        let mut inner = self.inner.lock();
        inner.key = Some(key);
        inner.overflow = overflow;
    }

    /// What the client's listener says about a full queue.
    pub fn set_overflow(&self, overflow: QueueOverflow) {
        self.inner.lock().overflow = overflow;
    }

    /// The session was found in the store with this queue.
    pub(super) fn restore(&self, key: SessionKey, last_seq: Seq, waiting: Vec<Waiting>) {
        let mut inner = self.inner.lock();
        inner.key = Some(key);
        inner.last_seq = last_seq;
        inner.last_before = last_seq;
        inner.backlog.put_back(waiting);
    }

    /// The session's number in the store.
    pub fn key(&self) -> Option<SessionKey> {
        self.inner.lock().key
    }

    /// A place in the store's queue for a delivery that the caller has, in front of all that was pushed and not
    /// taken; `None` if the session is not kept.
    pub fn next_place(&self) -> Option<(SessionKey, Seq)> {
        let mut inner = self.inner.lock();
        let key = inner.key?;
        Some((key, inner.seq_before_queue()))
    }

    /// Whether a place was given by [`Mailbox::next_place`]: of a retained message that its client has not been sent.
    pub fn is_of_a_replay(seq: Seq) -> bool {
        !seq.is_multiple_of(SEQ_STEP)
    }

    /// Places of the next messages that wait in the store only: the first and the last of at most `most`.
    pub fn next_backlog(&self, most: usize) -> Option<(SessionKey, Seq, Seq)> {
        let inner = self.inner.lock();
        let (first, last) = inner.backlog.next(most)?;
        Some((inner.key?, first, last))
    }

    /// Messages up to this place were handed to the client, or do not wait any more.
    pub fn forget_backlog(&self, to: Seq) {
        self.inner.lock().backlog.forget(to);
    }

    /// Which session this mailbox serves.
    pub fn epoch(&self) -> u32 {
        self.inner.lock().epoch
    }

    /// Effects the session's task, if there is one.
    pub fn wake(&self) {
        // Woken outside the lock: the woken task may start with a take.
        let waker = self.inner.lock().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Messages and bytes that wait.
    pub fn queued(&self) -> (usize, usize) {
        self.inner.lock().all()
    }

    /// Bytes of memory that is taken by what waits.
    pub fn memory_bytes(&self) -> usize {
        let inner = self.inner.lock();
        inner.bytes + inner.held_bytes + inner.backlog.len() * WAITING_BYTES
    }

    /// Keeps only the queued deliveries `keep` allows; gives those dropped. What waits in the store only, or
    /// was not handed to it yet, is judged when it is delivered.
    pub fn retain(&self, mut keep: impl FnMut(&Delivery) -> bool) -> Vec<Dropped> {
        let mut inner = self.inner.lock();
        let key = inner.key;
        let mut dropped = Vec::new();
        inner.queue.retain(|delivery| {
            let may_go = delivery.seq == 0 || delivery.message.submitted.is_set();
            if !may_go || keep(delivery) {
                return true;
            }
            dropped.push(
                key.map(|key| (key, delivery.seq))
                    .filter(|_| delivery.seq != 0),
            );
            false
        });
        inner.unspilled -= dropped.iter().flatten().count();
        inner.count_bytes();
        dropped
    }
}

impl Inner {
    /// A place behind all others.
    fn next_seq(&mut self) -> Seq {
        self.last_seq = (self.last_seq / SEQ_STEP + 1) * SEQ_STEP;
        self.last_seq
    }

    /// A place behind what was taken, and in front of what is in the queue.
    fn seq_before_queue(&mut self) -> Seq {
        let next = (self.last_seq / SEQ_STEP + 1) * SEQ_STEP;
        let mut queued = self.queue.iter().map(|delivery| delivery.seq);
        let front = queued.find(|seq| *seq != 0).unwrap_or(next);
        let seq = self.last_before.max(front.saturating_sub(SEQ_STEP)) + 1;
        if seq >= front {
            // So many came in between that there is no place left.
            return self.next_seq();
        }
        self.last_before = seq;
        self.last_seq = self.last_seq.max(seq);
        seq
    }

    /// What the caller of a push has to do.
    #[inline]
    fn pushed(&mut self) -> Pushed {
        if self.live && !self.notified {
            self.notified = true;
            Pushed::QueuedWake
        } else if self.live && !self.blocked && self.is_long() {
            Pushed::Crowded
        } else {
            Pushed::Queued
        }
    }

    /// Messages and bytes that wait, wherever.
    fn all(&self) -> (usize, usize) {
        (
            self.queue.len() + self.held_messages + self.backlog.len(),
            self.bytes + self.held_bytes + self.backlog.bytes(),
        )
    }

    fn count_bytes(&mut self) {
        let sizes = self.queue.iter();
        self.bytes = sizes.map(|delivery| delivery.message.size_bytes()).sum();
    }

    fn spill_if_long(&mut self) {
        let most = match (self.live, self.blocked) {
            (false, _) => SPILL_AWAY,
            (true, true) => SPILL_BLOCKED,
            // It takes what is in the store first.
            (true, false) if !self.backlog.is_empty() => SPILL_BLOCKED,
            (true, false) => return,
        };
        if self.unspilled >= most {
            self.spill();
        }
    }

    /// What the queue holds and the store has too is from now on only there.
    fn spill(&mut self) {
        if self.unspilled == 0 {
            return;
        }
        let mut goes = true;
        let (mut spilled, mut bytes) = (0, 0);
        let backlog = &mut self.backlog;
        self.queue.retain(|delivery| {
            if delivery.seq == 0 {
                return true;
            }
            // The store must have heard of it before it is asked for it.
            goes &= delivery.message.submitted.is_set();
            if goes {
                let size = delivery.message.size_bytes();
                backlog.push(delivery.seq, size);
                spilled += 1;
                bytes += size;
            }
            !goes
        });
        self.unspilled -= spilled;
        self.bytes -= bytes;
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    fn dropped(&mut self, delivery: &Delivery) -> Dropped {
        self.bytes -= delivery.message.size_bytes();
        if delivery.seq == 0 {
            return None;
        }
        self.unspilled -= 1;
        self.key.map(|key| (key, delivery.seq))
    }

    /// Takes the newest out; the store must have heard of it.
    fn pop_newest(&mut self) -> Option<Dropped> {
        if let Some(newest) = self.queue.back() {
            if newest.seq != 0 && !newest.message.submitted.is_set() {
                return None;
            }
            let newest = self.queue.pop_back()?;
            return Some(self.dropped(&newest));
        }
        let newest = self.backlog.pop_newest()?;
        Some(self.key.map(|key| (key, newest.seq)))
    }

    /// Drops the oldest until `size` bytes more may wait, if that is what the operator wants.
    #[cold]
    fn make_room(&mut self, size: usize, bounds: QueueBounds, into: &mut Vec<Dropped>) -> bool {
        if self.overflow != QueueOverflow::DropOldest || bounds.pressed {
            return false;
        }
        while self.is_full(size, bounds) {
            if let Some(oldest) = self.backlog.pop_oldest() {
                into.push(self.key.map(|key| (key, oldest.seq)));
                continue;
            }
            let may_go =
                |delivery: &Delivery| delivery.seq == 0 || delivery.message.submitted.is_set();
            if !self.queue.front().is_some_and(may_go) {
                return false;
            }
            if let Some(oldest) = self.queue.pop_front() {
                let dropped = self.dropped(&oldest);
                into.push(dropped);
            }
        }
        true
    }

    fn is_long(&self) -> bool {
        self.queue.len() > BURST_MESSAGES / 4 || self.bytes > BURST_BYTES / 4
    }

    fn is_full(&self, size: usize, bounds: QueueBounds) -> bool {
        let limits = bounds.limits;
        let (messages, bytes) = if self.live && !self.blocked {
            // Never less than may wait for a client that does not take; without a limit of messages their
            // bytes are the bound.
            let most = match limits.messages {
                0 => usize::MAX,
                messages => BURST_MESSAGES.max(messages),
            };
            if self.queue.len() >= most || self.bytes + size > BURST_BYTES.max(limits.bytes) {
                return true;
            }
            // The task takes what is queued at its next turn; only what it cannot send counts.
            (
                self.held_messages + self.backlog.len(),
                self.held_bytes + self.backlog.bytes(),
            )
        } else {
            self.all()
        };
        if bounds.pressed && (!self.live || self.blocked || messages > 0) {
            return true;
        }
        // One message may always wait, however large: it was within the packet bounds.
        let one = messages == 0;
        (limits.messages != 0 && messages >= limits.messages)
            || (limits.bytes != 0 && bytes + size > limits.bytes && !one)
    }
}
