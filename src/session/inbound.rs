//! Client to server: QoS 2 Packet Identifiers between PUBLISH and PUBREL.

use std::collections::HashSet;

use crate::codec::PacketId;

/// Packet Identifiers of QoS 2 messages that were received and not yet released. Part of the
/// Session State (MQTT 5.0 section 4.1).
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    /// Received on this Network Connection: they count against our Receive Maximum.
    received: HashSet<PacketId>,
    /// Received on an earlier one. The quota begins anew with each connection (section 4.9), and a
    /// client that never releases them must not find it spent for ever.
    earlier: HashSet<PacketId>,
}

impl Inbound {
    /// Whether the message with this identifier was already taken: a copy must not be routed
    /// again [MQTT-4.3.3-10]. A copy that comes on another connection counts there.
    pub(crate) fn is_repeated(&mut self, id: PacketId) -> bool {
        if self.earlier.remove(&id) {
            self.received.insert(id);
        }
        self.received.contains(&id)
    }

    pub(crate) fn insert(&mut self, id: PacketId) {
        self.received.insert(id);
    }

    /// PUBREL: the identifier is free again [MQTT-4.3.3-12]. False if it was not known.
    pub(crate) fn release(&mut self, id: PacketId) -> bool {
        let known = self.received.remove(&id) || self.earlier.remove(&id);
        if self.received.is_empty() && self.received.capacity() > 64 {
            self.received = HashSet::new();
        }
        known
    }

    /// Messages that count against our Receive Maximum.
    pub(crate) fn open(&self) -> usize {
        self.received.len()
    }

    /// A session that was found in the store had received these.
    pub(crate) fn restore(&mut self, ids: impl IntoIterator<Item = PacketId>) {
        self.earlier.extend(ids);
    }

    /// A new connection resumes the session.
    pub(crate) fn resume(&mut self) {
        let received = std::mem::take(&mut self.received);
        if self.earlier.is_empty() {
            self.earlier = received;
        } else {
            self.earlier.extend(received);
        }
    }
}
