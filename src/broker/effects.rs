//! What is left to do when a turn is over: sessions to wake, and records for the store.

use std::sync::Arc;

use crate::store::{Batch, Record, Store, Ticket};

use super::registry::Session;

/// Collected while packets are handled, so that each session is woken once however many messages it got,
/// and everything that happened is one batch.
#[derive(Debug, Default)]
pub struct Effects {
    sessions: Vec<Arc<Session>>,
    batch: Batch,
}

impl Effects {
    /// Notes that `session` has something to take.
    pub fn wake(&mut self, session: &Arc<Session>) {
        self.sessions.push(Arc::clone(session));
    }

    /// Whether nobody is to be woken.
    pub fn wakes_nobody(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Takes the sessions out, leaving the room for the next batch.
    pub fn drain(&mut self) -> impl Iterator<Item = Arc<Session>> + '_ {
        self.sessions.drain(..)
    }

    /// Notes something that is to be kept, and that nobody waits for.
    pub fn record(&mut self, record: Record) {
        self.batch.records.push(record);
    }

    /// Notes something that somebody will be told is kept.
    pub fn promise(&mut self, record: Record) {
        self.batch.urgent = true;
        self.batch.records.push(record);
    }

    /// Somebody will be told that what was noted is kept.
    pub fn awaited(&mut self) {
        self.batch.urgent = true;
    }

    /// Whether an answer must wait for what was noted so far.
    #[inline]
    pub fn has_promises(&self) -> bool {
        self.batch.urgent
    }

    /// Hands what was noted to the store. `None` if it was nothing. With `awaited` somebody waits for it.
    pub fn submit(&mut self, store: &dyn Store, awaited: bool) -> Option<Ticket> {
        if self.batch.records.is_empty() {
            return None;
        }
        let mut batch = std::mem::take(&mut self.batch);
        batch.urgent |= awaited;
        Some(store.commit(batch))
    }
}
