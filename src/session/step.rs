//! What a connection hands to its caller: the next step, and what became of a delivery.

use crate::codec::{Publish, ReasonCode, Subscribe, Unsubscribe};
use crate::topic::TopicName;

/// What the caller has to do after a packet.
#[derive(Debug)]
pub enum Step<'a> {
    /// Nothing: the packet is dealt with.
    Continue,
    /// Judge and route the message, then call [`super::Connection::published`].
    Publish(Incoming<'a>),
    /// Judge and make the subscriptions, then call [`super::Connection::subscribed`].
    Subscribe(Subscribe<'a>),
    /// Remove the subscriptions, then call [`super::Connection::unsubscribed`].
    Unsubscribe(Unsubscribe<'a>),
    /// The window has room again: call [`super::Connection::pump`].
    WindowOpened,
    /// Take the next message of an authentication in session, then call
    /// [`super::Connection::authenticated`].
    Authenticate {
        /// Whether it is the first one.
        begins: bool,
        /// Authentication Data.
        data: Option<&'a [u8]>,
    },
    /// The client says goodbye; the will goes only if `publish_will`.
    Disconnect {
        /// The client's Reason Code; 0 for 3.x.
        reason: ReasonCode,
        /// Whether the Will Message is still to be published.
        publish_will: bool,
    },
}

/// The Topic Name of an incoming PUBLISH, its alias resolved.
#[derive(Debug)]
pub enum IncomingTopic<'a> {
    /// As it stands in the packet.
    Text(&'a str),
    /// What the Topic Alias stands for.
    Alias(TopicName),
}

impl IncomingTopic<'_> {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Alias(name) => name.as_str(),
        }
    }
}

/// A PUBLISH that is to be routed.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// The packet.
    pub publish: Publish<'a>,
    /// Its Topic Name.
    pub topic: IncomingTopic<'a>,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// Written to `out`.
    Sent,
    /// Behind others that wait for the window.
    Waiting,
    /// The Message Expiry Interval is over [MQTT-3.3.2-5].
    Expired,
    /// Larger than the client takes; counted as delivered [MQTT-3.1.2-25].
    TooLarge,
}

/// What a connection did since it was last asked, for the counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// PUBLISH packets sent, by QoS.
    pub sent: [u64; 3],
    /// Deliveries dropped because they had expired.
    pub expired: u64,
    /// Deliveries dropped because the client does not take packets so large.
    pub too_large: u64,
}
