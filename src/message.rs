//! What is routed: Application Messages, Subscriptions and Deliveries.
//!
//! These types hold data and answer questions about it; who may send or receive them is decided
//! in [`crate::policy`], and where they go in `crate::broker`.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::codec::QoS;
use crate::topic::{SubscriptionFilter, TopicName};

/// A Client Identifier as the session is known by: what the client sent or what we assigned.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// Takes `text` as it is; the codec has checked that it is UTF-8 without NUL.
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The identifier as text. It comes from outside: escape it before it is shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// The groups somebody is in: sorted, each once.
pub type Groups = Arc<[Arc<str>]>;

/// The topic tokens of a session, the newest first.
pub type Tokens = Arc<[Arc<str>]>;

/// Most groups that one proof of identity can name.
const MAX_GROUPS: usize = 256;
/// Longest name of a group, in bytes.
const MAX_GROUP_BYTES: usize = 256;

/// Whether rules can name a group so.
pub fn is_group_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_GROUP_BYTES && !name.chars().any(char::is_control)
}

/// Sorts names of groups. `None` if one cannot be a name, or if there are too many: to leave one
/// out could take away what denies something.
pub fn group_set<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Groups> {
    let mut set: Vec<&str> = Vec::new();
    for name in names {
        if !is_group_name(name) || set.len() == MAX_GROUPS {
            return None;
        }
        set.push(name);
    }
    set.sort_unstable();
    set.dedup();
    Some(set.into_iter().map(Arc::from).collect())
}

/// Rules that a proof of identity brings along: valid Topic Filters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// What may be published to.
    pub publish: Vec<Box<str>>,
    /// What may be subscribed to and received.
    pub subscribe: Vec<Box<str>>,
}

/// Who published a message: kept with retained messages so that the author's right can be
/// checked again (`check_retain_source`), and for No Local.
#[derive(Debug, PartialEq, Eq)]
pub struct Author {
    /// The publisher's Client Identifier.
    pub client_id: ClientId,
    /// The publisher's user name, `None` for an anonymous client.
    pub username: Option<Arc<str>>,
    /// The groups that its proof of identity named.
    pub groups: Groups,
    /// The rules that its proof of identity brought along.
    pub grants: Option<Arc<Grants>>,
    /// Its topic tokens.
    pub tokens: Tokens,
    /// Where it connected from.
    pub address: Option<IpAddr>,
    /// Index of the listener it came by; `None` for the broker itself.
    pub listener: Option<u16>,
}

/// An Application Message, made once per PUBLISH and shared by all its deliveries.
#[derive(Debug)]
pub struct Message {
    /// Where it was published, mount point included.
    pub topic: TopicName,
    /// The Application Message itself.
    pub payload: Bytes,
    /// The PUBLISH properties that are forwarded unchanged, in wire form and in their order:
    /// Payload Format Indicator, Content Type, Response Topic, Correlation Data, User Properties.
    pub properties: Box<[u8]>,
    /// The QoS it was published with.
    pub qos: QoS,
    /// Whether the publisher set RETAIN.
    pub retain: bool,
    /// When the Message Expiry Interval runs out [MQTT-3.3.2-5].
    pub expires_at: Option<Instant>,
    /// Who sent it.
    pub author: Arc<Author>,
    /// Whether the store has been told of it, if it is to be.
    pub submitted: Submitted,
}

/// Set once the store was handed a message that it is to keep. Until then nothing further may be told of it:
/// the store would hear of its acknowledgement before it hears of it.
#[derive(Debug, Default)]
pub struct Submitted(AtomicBool);

impl Submitted {
    /// Of a message that was read from the store.
    pub fn yes() -> Self {
        Self(AtomicBool::new(true))
    }

    /// The store was handed the message.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Message {
    /// Bytes this message is counted for against queue bounds: topic, properties and payload.
    pub fn size_bytes(&self) -> usize {
        self.topic.as_str().len() + self.properties.len() + self.payload.len()
    }

    /// Whether the Message Expiry Interval has passed.
    pub fn is_expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// What is left of the Message Expiry Interval, in whole seconds rounded up, so that a
    /// message on its way is never sent with an interval of its past [MQTT-3.3.2-6]. A turn that began a
    /// little before the publisher's does not make it more than it was.
    pub fn expiry_left_s(&self, now: Instant) -> Option<u32> {
        const SKEW: Duration = Duration::from_millis(10);
        let left = self.expires_at?.saturating_duration_since(now);
        let whole = (left + Duration::from_secs(1))
            .saturating_sub(SKEW)
            .as_secs();
        let least = u64::from(!left.is_zero());
        Some(u32::try_from(whole.max(least)).unwrap_or(u32::MAX))
    }

    /// The instant at which an interval of `seconds` from `now` is over.
    pub fn expiry(seconds: u32, now: Instant) -> Option<Instant> {
        now.checked_add(Duration::from_secs(u64::from(seconds)))
    }
}

/// Retain Handling option of a subscription (MQTT 5.0 section 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RetainHandling {
    /// 0: send retained messages at each SUBSCRIBE.
    #[default]
    Send,
    /// 1: send them only if the subscription is new.
    SendIfNew,
    /// 2: never send them.
    DoNotSend,
}

/// What a client asked for with one Topic Filter of a SUBSCRIBE packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The Topic Filter, with the ShareName of a shared subscription.
    pub filter: SubscriptionFilter,
    /// The QoS granted: the most that deliveries for it may have.
    pub qos: QoS,
    /// Do not deliver the client's own messages.
    pub no_local: bool,
    /// Keep the RETAIN flag as published.
    pub retain_as_published: bool,
    /// Whether retained messages are sent at subscribe time.
    pub retain_handling: RetainHandling,
    /// Subscription Identifier, 1 to 268,435,455.
    pub identifier: Option<u32>,
}

/// The Subscription Identifiers of one delivery; most have none or one.
pub type Identifiers = SmallVec<[u32; 2]>;

/// One message on its way to one session.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message, shared with every other delivery of it.
    pub message: Arc<Message>,
    /// The QoS it is delivered with: the lower of published and granted.
    pub qos: QoS,
    /// The RETAIN flag it is delivered with.
    pub retain: bool,
    /// Subscription Identifiers of every subscription that asked for it [MQTT-3.3.4-3].
    pub identifiers: Identifiers,
    /// Its place in the session's queue in the store; 0 if it is not kept there.
    pub seq: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt_3_3_2_6_what_is_left_of_an_interval_is_rounded_up_and_never_more_than_it_was() {
        let now = Instant::now();
        let message = Message {
            topic: TopicName::parse("a").expect("a topic"),
            payload: Bytes::new(),
            properties: Box::default(),
            qos: QoS::AtMostOnce,
            retain: false,
            expires_at: Message::expiry(3_600, now),
            author: Arc::new(Author {
                client_id: ClientId::new("c"),
                username: None,
                groups: Groups::default(),
                grants: None,
                tokens: Tokens::default(),
                address: None,
                listener: None,
            }),
            submitted: Submitted::default(),
        };
        let left = |at: Instant| message.expiry_left_s(at);
        assert_eq!(left(now), Some(3_600));
        let before = now.checked_sub(Duration::from_millis(5)).expect("a time");
        assert_eq!(left(before), Some(3_600));
        assert_eq!(left(now + Duration::from_millis(500)), Some(3_600));
        assert_eq!(left(now + Duration::from_millis(1_500)), Some(3_599));
        assert_eq!(left(now + Duration::from_millis(3_599_995)), Some(1));
        assert_eq!(left(now + Duration::from_secs(3_600)), Some(0));
    }
}
