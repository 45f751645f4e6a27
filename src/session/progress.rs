//! What a session's exchanges came to, for the store.

use crate::codec::{PacketId, QoS};

/// A step of an exchange that must be known after a restart. `seq` is the message's place in the session's
/// queue in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The message was given a Packet Identifier.
    Sent {
        /// Which message.
        seq: u64,
        /// Its identifier.
        id: PacketId,
        /// The QoS it is sent with.
        qos: QoS,
    },
    /// PUBREC came: from now on only PUBREL is sent.
    Released {
        /// Which message.
        seq: u64,
        /// Its identifier.
        id: PacketId,
    },
    /// It is complete, or was dropped.
    Done {
        /// Which message.
        seq: u64,
    },
    /// A QoS 2 message was taken from the client.
    Received(PacketId),
    /// PUBREL came for it.
    ReceivedDone(PacketId),
}

impl Progress {
    /// Whether a packet may be sent only when this is kept. After a crash the packet would mean something
    /// else: a PUBLISH sent again with another identifier is another message [MQTT-4.3.3-2], one sent again
    /// after PUBREL too [MQTT-4.3.3-6], and an identifier that is free for the client but not for us would
    /// make its next message a repetition.
    pub fn is_awaited(self) -> bool {
        match self {
            Self::Sent { qos, .. } => qos == QoS::ExactlyOnce,
            Self::Released { .. } | Self::Received(_) | Self::ReceivedDone(_) => true,
            Self::Done { .. } => false,
        }
    }
}

/// A message that a client was sent before a restart and has not completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its Packet Identifier.
    pub id: PacketId,
    /// Its place in the store's queue.
    pub seq: u64,
    /// The QoS it was sent with.
    pub qos: QoS,
    /// PUBREC has come.
    pub released: bool,
    /// Bytes it is counted for.
    pub bytes: usize,
}
