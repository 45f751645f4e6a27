//! What outlives a Network Connection (MQTT 5.0 section 4.1).

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use crate::codec::PacketId;
use crate::message::{Delivery, Subscription};

use super::inbound::Inbound;
use super::outbound::Outbound;
use super::progress::{Progress, Unfinished};
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
    /// Its number in the store, if it is kept there.
    pub number: Option<NonZeroU32>,
    /// The number under which the store has the will of the connection.
    pub will_number: Option<NonZeroU32>,
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

    /// Takes the steps of its exchanges that the store was not told of yet.
    pub fn take_progress(&mut self) -> Vec<Progress> {
        std::mem::take(&mut self.outbound.progress)
    }

    /// The session is parked and the store has what it owes. Gives what waits, as places in the store's
    /// queue and bytes; of what is on its way the messages are forgotten.
    pub fn strip(&mut self) -> Vec<(u64, usize)> {
        self.outbound.strip()
    }

    /// Places in the store of the first and the last message that must be read back before the session is
    /// resumed.
    pub fn missing(&self) -> Option<(u64, u64)> {
        self.outbound.missing()
    }

    /// One of them was read back.
    pub fn found(&mut self, id: PacketId, delivery: Delivery) {
        self.outbound.found(id, delivery);
    }

    /// Those that are still missing cannot be read, and are not sent again. Gives their number.
    pub fn give_up_missing(&mut self) -> usize {
        self.outbound.give_up_missing()
    }

    /// What the store says of a session's exchanges: identifiers received and not released, and messages
    /// sent and not completed, in the order of sending.
    pub fn restore(
        &mut self,
        received: impl IntoIterator<Item = PacketId>,
        unfinished: impl Iterator<Item = Unfinished>,
    ) {
        self.inbound.restore(received);
        self.outbound.restore(unfinished);
    }

    /// Whether the session goes on after the connection ends [MQTT-3.1.2-23].
    pub fn outlives_connection(&self) -> bool {
        self.expiry_interval_s > 0
    }
}
