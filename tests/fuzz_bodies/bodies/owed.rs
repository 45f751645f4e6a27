//! What a subscriber is owed: made from what publishers wrote and from its own subscriptions, slowly.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use portcullis::codec::Version;

use super::obviously_matches;
use super::reading::Properties;
use super::standard::{Publish, Will};

/// A message as its publisher wrote it.
#[derive(Clone, Debug)]
pub(super) struct Message {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    /// Those that are forwarded, in their wire form.
    properties: Vec<u8>,
    expires_at: Option<Instant>,
}

fn expires_at(properties: &Properties, now: Instant) -> Option<Instant> {
    let seconds = u64::from(properties.number(0x02)?);
    Some(now + Duration::from_secs(seconds))
}

impl Message {
    pub(super) fn of(publish: &Publish, topic: &str, now: Instant) -> Self {
        Self {
            topic: topic.to_owned(),
            payload: publish.payload.clone(),
            qos: publish.qos,
            retain: publish.retain,
            properties: publish.properties.forwarded(),
            expires_at: expires_at(&publish.properties, now),
        }
    }

    /// A will of a session that ends with its connection: its delay is over at once, and what is left
    /// of its interval is all of it (section 3.1.3.2.4).
    pub(super) fn of_will(will: &Will, now: Instant) -> Self {
        Self {
            topic: will.topic.clone(),
            payload: will.payload.clone(),
            qos: will.qos,
            retain: will.retain,
            properties: will.properties.forwarded(),
            expires_at: expires_at(&will.properties, now),
        }
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// A subscription.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    pub(super) qos: u8,
    pub(super) retain_as_published: bool,
    pub(super) identifier: Option<u32>,
}

/// The filter of a shared subscription, behind its ShareName.
fn after_name(rest: &str) -> &str {
    rest.split_once('/').map_or("", |parts| parts.1)
}

/// One copy of a message.
#[derive(Clone, Debug)]
struct Copy {
    message: Message,
    qos: u8,
    retain: bool,
    identifiers: Vec<u32>,
    /// The copies of one batch may come in any order: retained messages have none.
    batch: usize,
    /// It came as two that 3.x does not tell apart, for it has no Subscription Identifiers.
    is_either: bool,
    /// It was of QoS 0, and the connection ended before it was sent.
    may_be_lost: bool,
}

/// How large a PUBLISH the subscriber takes, and of which version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taker {
    pub(super) version: Version,
    pub(super) maximum: usize,
}

/// See the module.
#[derive(Default)]
pub(super) struct Owed {
    pub(super) subscriptions: BTreeMap<String, Made>,
    retained: BTreeMap<String, Message>,
    /// By QoS: they have orders of their own.
    copies: [Vec<Copy>; 3],
    /// Sent and not acknowledged.
    inflight: HashMap<u16, Copy>,
    batch: usize,
}

impl Owed {
    /// A message was published; `away` if the subscriber is not connected.
    pub(super) fn published(&mut self, message: &Message, away: bool, now: Instant) {
        if message.retain {
            if message.payload.is_empty() {
                self.retained.remove(&message.topic);
            } else {
                self.retained.insert(message.topic.clone(), message.clone());
            }
        }
        if message.is_expired(now) {
            return;
        }
        self.batch += 1;
        let mut own = Vec::new();
        let mut shared = Vec::new();
        for (filter, made) in &self.subscriptions {
            match filter.strip_prefix("$share/") {
                None if obviously_matches(filter, &message.topic) => own.push(*made),
                Some(rest) if obviously_matches(after_name(rest), &message.topic) => {
                    shared.push(vec![*made]);
                }
                _ => {}
            }
        }
        // One copy for all its own, and one for each group, of which it is the only member.
        for matching in shared.into_iter().chain([own]) {
            let Some(granted) = matching.iter().map(|made| made.qos).max() else {
                continue;
            };
            let qos = message.qos.min(granted); // [MQTT-3.8.4-8]
            if away && qos == 0 {
                continue;
            }
            self.owe(Copy {
                qos,
                retain: message.retain && matching.iter().any(|made| made.retain_as_published),
                identifiers: matching.iter().filter_map(|made| made.identifier).collect(),
                message: message.clone(),
                batch: self.batch,
                is_either: false,
                may_be_lost: false,
            });
        }
    }

    fn owe(&mut self, mut copy: Copy) {
        copy.identifiers.sort_unstable();
        self.copies[usize::from(copy.qos)].push(copy);
    }

    /// The subscriber has subscribed with this Retain Handling.
    pub(super) fn subscribed(&mut self, filter: &str, made: Made, handling: u8, now: Instant) {
        let is_new = self.subscriptions.insert(filter.to_owned(), made).is_none();
        self.batch += 1;
        // Shared subscriptions get no retained messages (section 4.8.2).
        if handling == 2 || (handling == 1 && !is_new) || filter.starts_with("$share/") {
            return;
        }
        let matching = |message: &&Message| {
            obviously_matches(filter, &message.topic) && !message.is_expired(now)
        };
        let found: Vec<Message> = self.retained.values().filter(matching).cloned().collect();
        for message in found {
            let copy = Copy {
                qos: message.qos.min(made.qos),
                retain: true, // [MQTT-3.3.1-8]
                identifiers: made.identifier.into_iter().collect(),
                message,
                batch: self.batch,
                is_either: false,
                may_be_lost: false,
            };
            self.owe(copy);
        }
    }

    /// The subscriber's session has ended; what is retained stays.
    pub(super) fn forget(&mut self) {
        *self = Self {
            retained: std::mem::take(&mut self.retained),
            batch: self.batch,
            ..Self::default()
        };
    }

    /// The connection of the subscriber has ended.
    pub(super) fn cut(&mut self) {
        for copy in &mut self.copies[0] {
            copy.may_be_lost = true;
        }
    }

    /// The subscriber has acknowledged this for good.
    pub(super) fn completed(&mut self, id: u16) {
        self.inflight.remove(&id);
    }

    /// The subscriber was sent this, its alias resolved: it is owed, and its turn has come.
    pub(super) fn received(&mut self, publish: &Publish, taker: Taker, now: Instant) {
        if publish.dup {
            let id = publish.id.expect("QoS 1 or 2");
            let copy = self.inflight.get(&id).expect("sent before");
            assert!(copy.is(publish, taker, now), "{publish:?}\n{copy:?}");
            return;
        }
        let copies = &mut self.copies[usize::from(publish.qos)];
        let is_it = |copy: &Copy| copy.is(publish, taker, now) && !copy.message.is_expired(now);
        let Some(at) = copies.iter().position(is_it) else {
            panic!("nobody owes {publish:?}\n{copies:?}");
        };
        let batch = copies[at].batch;
        let is_same = |copy: &&mut Copy| copy.batch == batch && copy.is(publish, taker, now);
        let same: Vec<&mut Copy> = copies.iter_mut().filter(is_same).collect();
        if same.len() > 1 {
            for copy in same {
                copy.is_either = true;
            }
        }
        let copy = copies.remove(at);
        let mut index = 0;
        copies.retain(|earlier| {
            let passed = index < at && earlier.batch != copy.batch;
            index += 1;
            assert!(
                !passed || earlier.may_stay_away(taker, now),
                "{earlier:?} before {copy:?}"
            );
            !passed
        });
        if let Some(id) = publish.id {
            self.inflight.insert(id, copy);
        }
    }

    /// Nothing more is to come: what did not come must not have.
    pub(super) fn settled(&mut self, taker: Taker, now: Instant) {
        for copy in self.copies.iter_mut().flat_map(std::mem::take) {
            assert!(copy.may_stay_away(taker, now), "{copy:?} did not come");
        }
    }

    /// A message of an earlier connection was not sent again: it is too large for this one. Its
    /// identifier may have been another's since.
    pub(super) fn stays_away(&mut self, id: u16, taker: Taker, now: Instant) {
        if let Some(copy) = self.inflight.remove(&id) {
            let bytes = copy.bytes(taker, now);
            assert!(bytes > taker.maximum, "{copy:?} did not come again");
        }
    }
}

impl Copy {
    fn expiry_left_s(&self, now: Instant) -> Option<u32> {
        let left = self.message.expires_at?.saturating_duration_since(now);
        Some(u32::try_from(left.as_secs()).unwrap())
    }

    /// Whether it is what was sent.
    fn is(&self, publish: &Publish, taker: Taker, now: Instant) -> bool {
        let properties = &publish.properties;
        let mut identifiers = properties.identifiers();
        identifiers.sort_unstable();
        let told = taker.version == Version::V5;
        self.message.topic == publish.topic
            && self.message.payload == publish.payload
            && self.qos == publish.qos
            && self.retain == publish.retain
            && (!told || self.message.properties == properties.forwarded())
            && (!told || self.expiry_left_s(now) == properties.number(0x02))
            && (!told || self.is_either || self.identifiers == identifiers)
    }

    fn may_stay_away(&self, taker: Taker, now: Instant) -> bool {
        self.may_be_lost || self.message.is_expired(now) || self.bytes(taker, now) > taker.maximum
    }

    /// Bytes of the packet, without an alias.
    fn bytes(&self, taker: Taker, now: Instant) -> usize {
        let variable = |value: usize| match value {
            0..128 => 1,
            128..16_384 => 2,
            16_384..2_097_152 => 3,
            _ => 4,
        };
        let mut body = 2 + self.message.topic.len() + self.message.payload.len();
        if self.qos > 0 {
            body += 2;
        }
        if taker.version == Version::V5 {
            let mut block = self.message.properties.len();
            if self.expiry_left_s(now).is_some() {
                block += 5;
            }
            if self.is_either {
                block += 3;
            }
            for &identifier in &self.identifiers {
                block += 1 + variable(usize::try_from(identifier).unwrap());
            }
            body += variable(block) + block;
        }
        1 + variable(body) + body
    }
}
