//! What outlives a Network Connection (MQTT 5.0 section 4.1).

use std::collections::BTreeMap;

use crate::message::{Delivery, Subscription};

use super::inbound::Inbound;
use super::outbound::Outbound;
use super::topic_tokens::TopicTokens;

/// The Session State: owned by the connection's task while there is one, parked otherwise.
#[derive(Debug, Default)]
pub struct SessionState {
    pub(crate) inbound: Inbound,
    pub(crate) outbound: Outbound,
    /// Subscriptions by the text of their filter, `$share/…` included. Ordered, so that what is
    /// done for each of them does not depend on a hash.
    pub subscriptions: BTreeMap<Box<str>, Subscription>,
    /// Session Expiry Interval in seconds; `u32::MAX` never expires.
    pub expiry_interval_s: u32,
    /// Its topic tokens, once it has been on a listener that draws them.
    pub tokens: Option<Box<TopicTokens>>,
}

impl SessionState {
    /// Messages sent to the client and not yet completed.
    pub fn inflight(&self) -> usize {
        self.outbound.len()
    }

    /// Messages waiting for room in the client's Receive Maximum.
    pub fn waiting(&self) -> usize {
        self.outbound.waiting()
    }

    /// Bytes of those that wait.
    pub fn waiting_bytes(&self) -> usize {
        self.outbound.waiting_bytes()
    }

    /// Keeps what the connection still had to send when it ended.
    pub fn keep_unsent(&mut self, delivery: Delivery) {
        self.outbound.wait(delivery);
    }

    /// Forgets messages that wait to be sent, or to be sent again, and that the client may no longer
    /// have; gives the number dropped.
    pub fn retain_deliveries(&mut self, keep: impl FnMut(&Delivery) -> bool) -> usize {
        self.outbound.retain(keep)
    }

    /// Whether the session goes on after the connection ends [MQTT-3.1.2-23].
    pub fn outlives_connection(&self) -> bool {
        self.expiry_interval_s > 0
    }
}
