//! What is due at a time: the end of parked sessions, and wills that wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use parking_lot::Mutex;

use crate::message::ClientId;

/// Times at which to look at parked sessions. An entry is a hint: what is really due is decided by
/// the session, which may have been resumed, taken over or ended meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    due: Mutex<BinaryHeap<Reverse<(Instant, ClientId)>>>,
}

impl Agenda {
    pub(crate) fn add(&self, at: Instant, client_id: &ClientId) {
        self.due.lock().push(Reverse((at, client_id.clone())));
    }

    pub(crate) fn pop(&self, now: Instant) -> Option<ClientId> {
        let mut due = self.due.lock();
        if due.peek().is_none_or(|Reverse((at, _))| *at > now) {
            return None;
        }
        due.pop().map(|Reverse((_, client_id))| client_id)
    }

    pub(crate) fn len(&self) -> usize {
        self.due.lock().len()
    }

    /// Throws away what is of no use any more; `due_of` says when a session is still to be looked at. A
    /// client that reconnects every second with a long expiry leaves an entry behind each time.
    pub(crate) fn sweep(&self, due_of: impl Fn(&ClientId) -> [Option<Instant>; 2]) {
        let mut due = self.due.lock();
        let mut ids: Vec<ClientId> = due.drain().map(|Reverse((_, id))| id).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            let times = due_of(&id).into_iter().flatten();
            due.extend(times.map(|at| Reverse((at, id.clone()))));
        }
    }
}
