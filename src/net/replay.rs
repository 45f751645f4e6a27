//! Retained messages on their way to a client that has just subscribed.
//!
//! A client may subscribe faster than it reads. So what waits is the names of its subscriptions, each
//! once, and the messages of one of them at a time.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::broker::{Broker, Session};
use crate::message::Delivery;
use crate::session::SessionState;

#[derive(Default)]
pub(crate) struct Replay {
    /// Texts of subscriptions whose retained messages were not looked up yet.
    waiting: VecDeque<Arc<str>>,
    /// The same, to find one that waits already.
    known: HashSet<Arc<str>>,
    /// Those of the subscription whose turn it is.
    due: VecDeque<Delivery>,
}

impl Replay {
    /// The subscription with this text wants the retained messages that match.
    pub(crate) fn want(&mut self, subscription: &str) {
        if !self.known.contains(subscription) {
            let text: Arc<str> = subscription.into();
            self.known.insert(Arc::clone(&text));
            self.waiting.push_back(text);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.due.is_empty() && self.waiting.is_empty()
    }

    /// The next message to send, looked up if need be.
    pub(crate) fn next(
        &mut self,
        broker: &Broker,
        session: &Session,
        state: &SessionState,
        now: Instant,
    ) -> Option<Delivery> {
        loop {
            if let Some(delivery) = self.due.pop_front() {
                return Some(delivery);
            }
            let Some(text) = self.waiting.pop_front() else {
                *self = Self::default();
                return None;
            };
            self.known.remove(&text);
            // It may have been taken back, by the client or by a new policy.
            if let Some(subscription) = state.subscriptions.get(&*text) {
                self.due = broker.retained_for(subscription, session, now).into();
            }
        }
    }

    /// Leaves what is still owed with a session that goes on, as far as its queue has room.
    pub(crate) fn keep(
        mut self,
        broker: &Broker,
        session: &Session,
        state: &mut SessionState,
        now: Instant,
    ) {
        while let Some(delivery) = self.next(broker, session, state, now) {
            if !broker.keep_unsent(state, delivery) {
                break;
            }
        }
    }

    /// Drops what may no longer be sent; gives the number dropped.
    pub(crate) fn retain(&mut self, allowed: impl FnMut(&Delivery) -> bool) -> usize {
        let before = self.due.len();
        self.due.retain(allowed);
        before - self.due.len()
    }
}
