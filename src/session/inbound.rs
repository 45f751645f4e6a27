//! Client to server: QoS 2 Packet Identifiers between PUBLISH and PUBREL.

use std::collections::HashSet;

use crate::codec::PacketId;

/// Packet Identifiers of QoS 2 messages that were received and not yet released. Part of the
/// Session State (MQTT 5.0 section 4.1).
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    received: HashSet<PacketId>,
}

impl Inbound {
    /// Whether the message with this identifier was already taken: a copy must not be routed
    /// again [MQTT-4.3.3-10].
    pub(crate) fn contains(&self, id: PacketId) -> bool {
        self.received.contains(&id)
    }

    pub(crate) fn insert(&mut self, id: PacketId) {
        self.received.insert(id);
    }

    /// PUBREL, or a refusal: the identifier is free again [MQTT-4.3.3-9].
    pub(crate) fn remove(&mut self, id: PacketId) -> bool {
        let removed = self.received.remove(&id);
        if self.received.is_empty() && self.received.capacity() > 64 {
            self.received = HashSet::new();
        }
        removed
    }

    pub(crate) fn len(&self) -> usize {
        self.received.len()
    }
}
