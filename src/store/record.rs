//! What is told to the store, and what it gives back.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use crate::codec::{PacketId, QoS};
use crate::message::{ClientId, Identifiers, Message, Subscription};
use crate::session::TopicTokens;

/// A session's number in the store: given once and never again, so that what was written for a session
/// that has ended is never taken for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub NonZeroU32);

/// A place in a session's queue: greater is later. The place of a message that waits for one client; what a
/// client is sent again comes in this order.
pub type Seq = u64;

/// A session that a message waits for, and how it gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Which session.
    pub session: SessionKey,
    /// Its place in the queue.
    pub seq: Seq,
    /// The QoS it is delivered with: 1 or 2.
    pub qos: QoS,
    /// The RETAIN flag it is delivered with.
    pub retain: bool,
    /// Subscription Identifiers it is delivered with.
    pub identifiers: Identifiers,
}

/// How far a message of a queue has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits.
    Queued,
    /// It was sent with this Packet Identifier.
    Sent(PacketId),
    /// PUBREC has come: only PUBREL is repeated.
    Released(PacketId),
}

/// What is known of a session apart from its subscriptions and its messages.
#[derive(Clone, Debug)]
pub struct SessionFacts {
    /// Its Client Identifier.
    pub client_id: ClientId,
    /// Whose it is.
    pub username: Option<Arc<str>>,
    /// Session Expiry Interval in seconds; `u32::MAX` never expires, 0 ends with the connection.
    pub expiry_interval_s: u32,
    /// Since when nobody is connected; `None` while somebody is.
    pub away_since: Option<Instant>,
    /// Its topic tokens.
    pub tokens: Option<Box<TopicTokens>>,
}

/// A will that is to be published should the client, or the broker, vanish.
#[derive(Clone, Debug)]
pub struct StoredWill {
    /// What is published; its Message Expiry Interval begins then, so `expires_at` is `None`.
    pub message: Arc<Message>,
    /// Its Message Expiry Interval in seconds.
    pub expiry_interval_s: Option<u32>,
    /// Will Delay Interval in seconds.
    pub delay_s: u32,
    /// When it is due; `None` while the client is connected.
    pub due: Option<Instant>,
}

/// One change. A batch of them is applied whole or not at all.
#[derive(Clone, Debug)]
pub enum Record {
    /// A message, and where it is kept: for receivers, as the retained message of its topic, or both.
    Publish {
        /// The message.
        message: Arc<Message>,
        /// Whether it takes the place of its topic's retained message.
        retained: bool,
        /// Whom it waits for.
        receivers: Vec<Receiver>,
    },
    /// A message of a queue was given a Packet Identifier. The message was handed over before.
    Sent {
        /// Which session.
        session: SessionKey,
        /// Which message.
        seq: Seq,
        /// The identifier.
        packet_id: PacketId,
    },
    /// PUBREC came for it: from now on only PUBREL is repeated.
    Released {
        /// Which session.
        session: SessionKey,
        /// Which message.
        seq: Seq,
        /// Its identifier.
        packet_id: PacketId,
    },
    /// It waits no longer: acknowledged, or dropped.
    Done {
        /// Which session.
        session: SessionKey,
        /// Which message.
        seq: Seq,
    },
    /// A session, new or with other facts. It is the first that is told of a session apart from its will, and
    /// is not told any more once it has ended.
    Session {
        /// Which session.
        session: SessionKey,
        /// Its facts, all of them.
        facts: Box<SessionFacts>,
    },
    /// A session has ended, with all that waits for it and all its subscriptions. Its will is its own.
    SessionEnd {
        /// Which session.
        session: SessionKey,
    },
    /// A subscription, new or with other options.
    Subscribe {
        /// Which session.
        session: SessionKey,
        /// The subscription.
        subscription: Box<Subscription>,
    },
    /// A subscription has ended.
    Unsubscribe {
        /// Which session.
        session: SessionKey,
        /// The text of its filter, `$share/…` included.
        filter: Box<str>,
    },
    /// A QoS 2 message with this identifier was taken from the client.
    Received {
        /// Which session.
        session: SessionKey,
        /// The identifier.
        packet_id: PacketId,
    },
    /// PUBREL came for it: the identifier is free.
    ReceivedDone {
        /// Which session.
        session: SessionKey,
        /// The identifier.
        packet_id: PacketId,
    },
    /// The will of a client that has connected. The session may be one that is not kept.
    Will {
        /// Which session.
        session: SessionKey,
        /// The will.
        will: Box<StoredWill>,
    },
    /// The client is gone and its will is due.
    WillArmed {
        /// Which session.
        session: SessionKey,
        /// When.
        due: Instant,
    },
    /// The will was published or is not wanted any more.
    WillDone {
        /// Which session.
        session: SessionKey,
    },
    /// A topic has no retained message any more.
    Unretain {
        /// The Topic Name.
        topic: crate::topic::TopicName,
    },
    /// Nothing but that the broker is alive: the time of a crash is known to be later.
    Alive,
}

/// One message of a queue, as it is found when the store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuedMessage {
    /// Its place.
    pub seq: Seq,
    /// How far it has come.
    pub stage: Stage,
    /// The QoS it is delivered with.
    pub qos: QoS,
    /// Bytes it is counted for.
    pub bytes: u32,
}

/// A session, as it is found when the store is opened.
#[derive(Clone, Debug)]
pub struct RecoveredSession {
    /// Its number.
    pub session: SessionKey,
    /// Its facts. `away_since` is set: who was connected is not any more.
    pub facts: SessionFacts,
    /// Its subscriptions, in the order of their text.
    pub subscriptions: Vec<Subscription>,
    /// Packet Identifiers of QoS 2 messages that were received and not released.
    pub received: Vec<PacketId>,
    /// What waits for it, in order.
    pub queue: Vec<QueuedMessage>,
}

/// Everything that was found when the store was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Sessions in the order of their numbers.
    pub sessions: Vec<RecoveredSession>,
    /// Retained messages.
    pub retained: Vec<Arc<Message>>,
    /// Wills by the number of their session, which may not be among the sessions: then it has ended and
    /// its will is due. `due` is set.
    pub wills: Vec<(SessionKey, StoredWill)>,
}

/// A message read back.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    /// Its place.
    pub seq: Seq,
    /// How far it has come: queued or sent. Of a released one there is nothing to read.
    pub stage: Stage,
    /// What is to be delivered.
    pub delivery: crate::message::Delivery,
}
