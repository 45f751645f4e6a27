//! The bounded queue in front of one session.
//!
//! Any publisher's task pushes; only the session's own task takes. The lock is held for a push or a
//! take, never across a system call or a wake.

use std::collections::VecDeque;
use std::task::Waker;

use parking_lot::Mutex;

use crate::codec::QoS;
use crate::message::Delivery;

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
}

/// See the module.
#[derive(Debug, Default)]
pub struct Mailbox {
    inner: Mutex<Inner>,
}

impl Mailbox {
    /// Adds a delivery made for the session of `epoch`.
    #[inline]
    pub fn push(&self, epoch: u32, delivery: Delivery, bounds: QueueBounds) -> Pushed {
        let size = delivery.message.size_bytes();
        let mut inner = self.inner.lock();
        if inner.epoch != epoch {
            return Pushed::Stale;
        }
        if !inner.live && delivery.qos == QoS::AtMostOnce && !bounds.limits.queue_qos0 {
            return Pushed::Away;
        }
        if inner.is_full(size, bounds) {
            return Pushed::Full;
        }
        inner.bytes += size;
        inner.queue.push_back(delivery);
        if inner.live && !inner.notified {
            inner.notified = true;
            Pushed::QueuedWake
        } else if inner.live && !inner.blocked && inner.is_long() {
            Pushed::Crowded
        } else {
            Pushed::Queued
        }
    }

    /// Moves everything queued to the end of `into`. `held` is what the caller still holds from
    /// earlier calls: it goes on counting against the bounds.
    pub fn take(&self, into: &mut VecDeque<Delivery>, held: (usize, usize)) {
        let mut inner = self.inner.lock();
        // Always, also when nothing is there to take: who pushes next must wake us again.
        inner.notified = false;
        inner.blocked = false;
        (inner.held_messages, inner.held_bytes) = held;
        inner.bytes = 0;
        into.append(&mut inner.queue);
        if inner.queue.capacity() > KEPT_CAPACITY {
            inner.queue = VecDeque::new();
        }
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

    /// Nobody serves the session any more: what a client that takes may be handed at once is more than
    /// may wait for one that is away. Drops QoS 0, where it is not kept, and then the newest. Gives
    /// the number of those dropped for the bound.
    pub fn settle(&self, bounds: QueueBounds) -> usize {
        let mut inner = self.inner.lock();
        let limits = bounds.limits;
        if !limits.queue_qos0 {
            inner
                .queue
                .retain(|delivery| delivery.qos != QoS::AtMostOnce);
            inner.bytes = inner
                .queue
                .iter()
                .map(|delivery| delivery.message.size_bytes())
                .sum();
        }
        let mut dropped = 0;
        loop {
            let too_many =
                limits.messages != 0 && inner.queue.len() + inner.held_messages > limits.messages;
            // One message may always wait.
            let too_large = limits.bytes != 0
                && inner.bytes + inner.held_bytes > limits.bytes
                && inner.queue.len() + inner.held_messages > 1;
            if !too_many && !too_large {
                break;
            }
            let Some(newest) = inner.queue.pop_back() else {
                break;
            };
            inner.bytes -= newest.message.size_bytes();
            dropped += 1;
        }
        dropped
    }

    /// The session has ended: forgets everything, and takes nothing more that was meant for it.
    /// Gives the number of deliveries dropped.
    pub fn reset(&self) -> usize {
        let mut inner = self.inner.lock();
        let dropped = inner.queue.len();
        *inner = Inner {
            epoch: inner.epoch.wrapping_add(1),
            live: inner.live,
            waker: inner.waker.take(),
            ..Inner::default()
        };
        dropped
    }

    /// Which session this mailbox serves.
    pub fn epoch(&self) -> u32 {
        self.inner.lock().epoch
    }

    /// Wakes the session's task, if there is one.
    pub fn wake(&self) {
        // Woken outside the lock: the woken task may start with a take.
        let waker = self.inner.lock().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Messages and bytes that wait.
    pub fn queued(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (
            inner.queue.len() + inner.held_messages,
            inner.bytes + inner.held_bytes,
        )
    }

    /// Keeps only the queued deliveries `keep` allows; gives the number dropped.
    pub fn retain(&self, mut keep: impl FnMut(&Delivery) -> bool) -> usize {
        let mut inner = self.inner.lock();
        let before = inner.queue.len();
        inner.queue.retain(|delivery| keep(delivery));
        inner.bytes = inner
            .queue
            .iter()
            .map(|delivery| delivery.message.size_bytes())
            .sum();
        before - inner.queue.len()
    }
}

impl Inner {
    fn is_long(&self) -> bool {
        self.queue.len() > BURST_MESSAGES / 4 || self.bytes > BURST_BYTES / 4
    }

    fn is_full(&self, size: usize, bounds: QueueBounds) -> bool {
        let limits = bounds.limits;
        let (messages, bytes) = if self.live && !self.blocked {
            if self.queue.len() >= BURST_MESSAGES
                || self.bytes + size > BURST_BYTES.max(limits.bytes)
            {
                return true;
            }
            // The task takes what is queued at its next turn; only what it cannot send counts.
            (self.held_messages, self.held_bytes)
        } else {
            (
                self.queue.len() + self.held_messages,
                self.bytes + self.held_bytes,
            )
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
