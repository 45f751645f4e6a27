//! Retained messages: the last one of each topic, within bounds.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::RwLock;

use crate::message::Message;
use crate::topic::{NameTree, TopicFilter};

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
    bytes: usize,
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
    /// [MQTT-3.3.1-6].
    pub fn store(&self, message: &Arc<Message>, limits: &RetainLimits) -> Retain {
        let name = message.topic.as_str();
        let mut inner = self.inner.write();
        if message.payload.is_empty() {
            if let Some(old) = inner.tree.remove(name) {
                inner.bytes -= old.size_bytes();
            }
            return Retain::Done;
        }
        let size = message.size_bytes();
        let replaced = inner.tree.get(name).map(|old| old.size_bytes());
        let messages = inner.tree.len() + usize::from(replaced.is_none());
        let bytes = inner.bytes + size - replaced.unwrap_or(0);
        if (limits.messages != 0 && messages > limits.messages)
            || (limits.bytes != 0 && bytes > limits.bytes)
        {
            return Retain::Full;
        }
        inner.tree.insert(name, Arc::clone(message));
        inner.bytes = bytes;
        Retain::Done
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
    pub fn expire(&self, now: Instant) -> usize {
        let mut due = Vec::new();
        self.inner.read().tree.for_each_match("#", |message| {
            if message.is_expired(now) {
                due.push(message.topic.clone());
            }
            ControlFlow::Continue(())
        });
        let mut inner = self.inner.write();
        let mut removed = 0;
        for name in due {
            // It may have been replaced since.
            if inner
                .tree
                .get(name.as_str())
                .is_some_and(|message| message.is_expired(now))
                && let Some(old) = inner.tree.remove(name.as_str())
            {
                inner.bytes -= old.size_bytes();
                removed += 1;
            }
        }
        removed
    }

    /// Messages and bytes kept.
    pub fn counts(&self) -> (usize, usize) {
        let inner = self.inner.read();
        (inner.tree.len(), inner.bytes)
    }
}
