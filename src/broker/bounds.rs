//! The broker's settings while it runs: a reload changes them under everybody's eyes, so they are
//! numbers that are read where they count.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::mailbox::QueueLimits;
use super::retained::RetainLimits;
use super::{QueueBounds, Settings};

/// `max_sessions` without a limit.
const NO_LIMIT: usize = usize::MAX;

/// Bounds of every mailbox, shared by all sessions.
#[derive(Debug, Default)]
pub struct LiveQueue {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    queue_qos0: AtomicBool,
    pressed: AtomicBool,
}

impl LiveQueue {
    /// As they are now.
    #[inline]
    pub fn now(&self) -> QueueBounds {
        QueueBounds {
            limits: QueueLimits {
                messages: self.messages.load(Ordering::Relaxed),
                bytes: self.bytes.load(Ordering::Relaxed),
                queue_qos0: self.queue_qos0.load(Ordering::Relaxed),
            },
            pressed: self.pressed.load(Ordering::Relaxed),
        }
    }
}

/// Everything else.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) queue: std::sync::Arc<LiveQueue>,
    retain_messages: AtomicUsize,
    retain_bytes: AtomicUsize,
    max_sessions: AtomicUsize,
    upgrade_outgoing_qos: AtomicBool,
    check_retain_source: AtomicBool,
}

impl Live {
    pub(super) fn new(settings: &Settings) -> Self {
        let live = Self::default();
        live.set(settings);
        live
    }

    pub(super) fn set(&self, settings: &Settings) {
        let (queue, retain) = (&settings.queue, &settings.retain);
        self.queue.messages.store(queue.messages, Ordering::Relaxed);
        self.queue.bytes.store(queue.bytes, Ordering::Relaxed);
        self.queue
            .queue_qos0
            .store(queue.queue_qos0, Ordering::Relaxed);
        self.retain_messages
            .store(retain.messages, Ordering::Relaxed);
        self.retain_bytes.store(retain.bytes, Ordering::Relaxed);
        let sessions = settings.max_sessions.unwrap_or(NO_LIMIT);
        self.max_sessions.store(sessions, Ordering::Relaxed);
        self.upgrade_outgoing_qos
            .store(settings.upgrade_outgoing_qos, Ordering::Relaxed);
        self.check_retain_source
            .store(settings.check_retain_source, Ordering::Relaxed);
    }

    /// Whether `memory_limit` is reached; true if that is news.
    pub(super) fn press(&self, pressed: bool) -> bool {
        self.queue.pressed.swap(pressed, Ordering::Relaxed) != pressed
    }

    pub(super) fn is_pressed(&self) -> bool {
        self.queue.pressed.load(Ordering::Relaxed)
    }

    pub(super) fn retain(&self) -> RetainLimits {
        RetainLimits {
            messages: self.retain_messages.load(Ordering::Relaxed),
            bytes: self.retain_bytes.load(Ordering::Relaxed),
        }
    }

    pub(super) fn max_sessions(&self) -> Option<usize> {
        match self.max_sessions.load(Ordering::Relaxed) {
            NO_LIMIT => None,
            maximum => Some(maximum),
        }
    }

    #[inline]
    pub(super) fn upgrade_outgoing_qos(&self) -> bool {
        self.upgrade_outgoing_qos.load(Ordering::Relaxed)
    }

    pub(super) fn check_retain_source(&self) -> bool {
        self.check_retain_source.load(Ordering::Relaxed)
    }
}
