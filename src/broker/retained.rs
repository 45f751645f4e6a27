//! Retained messages: the last one of each topic, within bounds.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::RwLock;

use crate::message::Message;
use crate::topic::{NameTree, TopicFilter, TopicName};

/// How much may be retained.
#[derive(Clone, Copy, Debug)]
pub struct RetainLimits {
    /// `max_retained_messages`; 0 is no limit.
    pub messages: usize,
    /// `max_retained_bytes` of topics, properties and payloads; 0 is no limit.
    pub bytes: usize,
}

impl Default for RetainLimits {
    fn default() -> Self {
        Self {
            messages: 100_000,
            bytes: 256 << 20,
        }
    }
}

/// What storing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retain {
    /// Stored, or removed if the payload was empty.
    Done,
    /// The bounds leave no room for it: nothing was changed.
    Full,
}

#[derive(Default)]
struct Inner {
    tree: NameTree<Arc<Message>>,
    /// Of clients: the broker's own, below `$SYS`, are few and take nobody's place.
    messages: usize,
    bytes: usize,
}

impl Inner {
    fn insert(&mut self, message: &Arc<Message>) {
        self.remove(message.topic.as_str());
        self.tree
            .insert(message.topic.as_str(), Arc::clone(message));
        if is_of_a_client(message) {
            self.messages += 1;
            self.bytes += message.size_bytes();
        }
    }

    fn remove(&mut self, name: &str) -> bool {
        let Some(old) = self.tree.remove(name) else {
            return false;
        };
        if is_of_a_client(&old) {
            self.messages -= 1;
            self.bytes -= old.size_bytes();
        }
        true
    }

    fn has_room(&self, message: &Arc<Message>, limits: &RetainLimits, pressed: bool) -> bool {
        let replaced = self.tree.get(message.topic.as_str());
        let replaced = replaced.filter(|old| is_of_a_client(old));
        if pressed && replaced.is_none_or(|old| old.size_bytes() < message.size_bytes()) {
            return false;
        }
        let messages = self.messages + usize::from(replaced.is_none());
        let bytes = self.bytes + message.size_bytes() - replaced.map_or(0, |old| old.size_bytes());
        (limits.messages == 0 || messages <= limits.messages)
            && (limits.bytes == 0 || bytes <= limits.bytes)
    }
}

/// Whether a message comes from a client; what is the broker's own is not kept.
pub(super) fn is_of_a_client(message: &Message) -> bool {
    message.author.listener.is_some()
}

/// All retained messages.
#[derive(Default)]
pub struct Retained {
    inner: RwLock<Inner>,
}

impl std::fmt::Debug for Retained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (messages, bytes) = self.counts();
        write!(f, "Retained({messages} messages, {bytes} bytes)")
    }
}

impl Retained {
    /// Keeps `message` for its topic, or forgets the topic's if the payload is empty
    /// [MQTT-3.3.1-6]. With `pressed` nothing may grow.
    pub fn store(&self, message: &Arc<Message>, limits: &RetainLimits, pressed: bool) -> Retain {
        let mut inner = self.inner.write();
        if message.payload.is_empty() {
            inner.remove(message.topic.as_str());
            return Retain::Done;
        }
        if is_of_a_client(message) && !inner.has_room(message, limits, pressed) {
            return Retain::Full;
        }
        inner.insert(message);
        Retain::Done
    }

    /// Takes a message that was found in the store, whatever the bounds say now.
    pub(super) fn restore(&self, message: &Arc<Message>) {
        self.inner.write().insert(message);
    }

    /// The retained messages that match and have not expired, in the order of the tree.
    pub fn matching(&self, filter: &TopicFilter, now: Instant) -> Vec<Arc<Message>> {
        let mut found = Vec::new();
        let inner = self.inner.read();
        inner.tree.for_each_match(filter.as_str(), |message| {
            if !message.is_expired(now) {
                found.push(Arc::clone(message));
            }
            ControlFlow::Continue(())
        });
        found
    }

    /// Removes what has expired (`retain_expiry_interval`); gives the number removed.
    pub fn expire(&self, now: Instant) -> Vec<TopicName> {
        let mut due = Vec::new();
        self.inner.read().tree.for_each_match("#", |message| {
            if message.is_expired(now) {
                due.push(message.topic.clone());
            }
            ControlFlow::Continue(())
        });
        let mut inner = self.inner.write();
        let mut removed = Vec::new();
        for name in due {
            // It may have been replaced since.
            let stored = inner.tree.get(name.as_str());
            if stored.is_some_and(|message| message.is_expired(now)) {
                inner.remove(name.as_str());
                removed.push(name);
            }
        }
        removed
    }

    /// Messages of clients and their bytes.
    pub fn counts(&self) -> (usize, usize) {
        let inner = self.inner.read();
        (inner.messages, inner.bytes)
    }
}
