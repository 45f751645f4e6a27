//! Retained messages on their way to a client that has just subscribed.
//!
//! A client may subscribe faster than it reads. So what waits is the names of its subscriptions, each
//! once, and the messages of one of them at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::broker::{Broker, Effects, Session};
use crate::message::{Delivery, Subscription};
use crate::session::SessionState;

#[derive(Default)]
pub(crate) struct Replay {
    /// Texts of subscriptions whose retained messages were not looked up yet.
    waiting: VecDeque<Arc<str>>,
    /// The same, with the subscription as it was when it asked.
    known: HashMap<Arc<str>, Subscription>,
    /// Those of the subscription whose turn it is.
    due: VecDeque<Delivery>,
}

impl Replay {
    /// The subscription with this text wants the retained messages that match.
    /// What it becomes afterwards, by a SUBSCRIBE that wants none, is not what is sent
    /// [MQTT-3.3.1-11].
    pub(crate) fn want(&mut self, text: &str, subscription: Subscription) {
        if let Some(known) = self.known.get_mut(text) {
            *known = subscription;
            return;
        }
        let text: Arc<str> = text.into();
        self.known.insert(Arc::clone(&text), subscription);
        self.waiting.push_back(text);
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
            // It may have been taken back, by the client or by a new policy.
            if let Some(subscription) = self.known.remove(&text)
                && state.subscriptions.contains_key(&*text)
            {
                self.due = broker.retained_for(&subscription, session, now).into();
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
        effects: &mut Effects,
    ) {
        while let Some(delivery) = self.next(broker, session, state, now) {
            if !broker.keep_unsent(session, state, delivery, effects) {
                // Those of subscriptions that were not looked up yet count as one each: looking them
                // up to be dropped would cost more than it tells.
                broker.count_dropped(1 + self.due.len() + self.waiting.len());
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
