//! Topic Aliases, one table for each direction; both die with the connection.

use std::collections::HashMap;
use std::hash::BuildHasher;

use crate::codec::ReasonCode;
use crate::topic::TopicName;

use super::ProtocolError;

/// Aliases the client has set. Filled lazily: a client that announces none costs nothing.
#[derive(Debug, Default)]
pub(crate) struct InboundAliases {
    names: Vec<Option<TopicName>>,
    maximum: u16,
}

impl InboundAliases {
    pub(crate) fn new(maximum: u16) -> Self {
        Self {
            names: Vec::new(),
            maximum,
        }
    }

    fn index(&self, alias: u16) -> Result<usize, ProtocolError> {
        if alias == 0 || alias > self.maximum {
            // [MQTT-3.3.2-8], [MQTT-3.3.2-9]
            return Err(ProtocolError::new(
                ReasonCode::TOPIC_ALIAS_INVALID,
                "topic_alias_invalid",
                "MQTT-3.3.2-9",
            ));
        }
        Ok(usize::from(alias) - 1)
    }

    pub(crate) fn set(&mut self, alias: u16, name: TopicName) -> Result<(), ProtocolError> {
        let index = self.index(alias)?;
        if self.names.len() <= index {
            self.names.resize(index + 1, None);
        }
        self.names[index] = Some(name);
        Ok(())
    }

    pub(crate) fn resolve(&self, alias: u16) -> Result<&TopicName, ProtocolError> {
        let index = self.index(alias)?;
        // An empty topic with an alias never set is a Protocol Error (section 3.3.2.3.4).
        self.names
            .get(index)
            .and_then(Option::as_ref)
            .ok_or_else(|| {
                ProtocolError::new(
                    ReasonCode::PROTOCOL_ERROR,
                    "topic_alias_unknown",
                    "MQTT-3.3.2-12",
                )
            })
    }
}

/// Newcomers that are remembered: enough that a topic which comes often is seen twice.
const NEWCOMERS: usize = 64;
/// Aliases that are looked at for one newcomer.
const STEPS: usize = 4;
/// How many uses an alias is remembered for: so long a topic that was hot keeps its alias.
const MOST_USES: u8 = 15;

/// An alias and how much it was used lately.
#[derive(Debug)]
struct Slot {
    name: TopicName,
    uses: u8,
}

/// Aliases we have set [MQTT-3.1.2-26]. They are given to topics as they come until the client's
/// maximum is used up. From then on a topic that comes again and again takes the alias of one that
/// has gone cold: every newcomer seen before takes one use from each of the next few aliases in turn,
/// and gets the first that has none left.
#[derive(Debug, Default)]
pub(crate) struct OutboundAliases {
    /// The topic of alias `index + 1`.
    slots: Vec<Slot>,
    aliases: HashMap<TopicName, u16>,
    maximum: u16,
    /// The alias used last: most clients are sent one topic many times.
    last: usize,
    hand: usize,
    /// Hashes of topics that were sent without an alias.
    newcomers: Vec<u64>,
}

/// How a topic is written in an outgoing PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// The name alone.
    Name,
    /// The name, and the alias that stands for it from now on.
    NameAndAlias(u16),
    /// The alias alone.
    Alias(u16),
}

impl OutboundAliases {
    pub(crate) fn new(maximum: u16) -> Self {
        Self {
            maximum,
            ..Self::default()
        }
    }

    /// Tells how `topic` would be written. Sets nothing: a packet that turns out to be too large must
    /// not have set an alias.
    pub(crate) fn naming(&mut self, topic: &TopicName) -> Naming {
        if self.maximum == 0 {
            return Naming::Name;
        }
        if let Some(index) = self.find(topic) {
            self.last = index;
            if let Some(slot) = self.slots.get_mut(index) {
                slot.uses = (slot.uses + 1).min(MOST_USES);
            }
            return Naming::Alias(alias(index));
        }
        if self.slots.len() < usize::from(self.maximum) {
            return Naming::NameAndAlias(alias(self.slots.len()));
        }
        if self.came_before(topic) {
            self.coldest()
                .map_or(Naming::Name, |index| Naming::NameAndAlias(alias(index)))
        } else {
            Naming::Name
        }
    }

    fn find(&self, topic: &TopicName) -> Option<usize> {
        if self
            .slots
            .get(self.last)
            .is_some_and(|slot| slot.name == *topic)
        {
            return Some(self.last);
        }
        Some(usize::from(*self.aliases.get(topic)?) - 1)
    }

    /// Whether `topic` was sent without an alias not long ago.
    fn came_before(&mut self, topic: &TopicName) -> bool {
        let hash = self.aliases.hasher().hash_one(topic);
        if self.newcomers.is_empty() {
            self.newcomers = vec![0; NEWCOMERS];
        }
        let place = usize::try_from(hash % NEWCOMERS as u64).unwrap_or(0);
        match self.newcomers.get_mut(place) {
            Some(seen) if *seen == hash => true,
            Some(seen) => {
                *seen = hash;
                false
            }
            None => false,
        }
    }

    /// The next alias nobody uses any more, if it is among the next few.
    fn coldest(&mut self) -> Option<usize> {
        for _ in 0..STEPS.min(self.slots.len()) {
            let index = self.hand % self.slots.len();
            self.hand = index + 1;
            let slot = self.slots.get_mut(index)?;
            if slot.uses == 0 {
                return Some(index);
            }
            slot.uses -= 1;
        }
        None
    }

    /// The packet that sets the alias is on its way.
    pub(crate) fn sent(&mut self, topic: &TopicName, naming: Naming) {
        let Naming::NameAndAlias(alias) = naming else {
            return;
        };
        let slot = Slot {
            name: topic.clone(),
            uses: 0,
        };
        let index = usize::from(alias) - 1;
        match self.slots.get_mut(index) {
            Some(old) => {
                self.aliases.remove(&old.name);
                *old = slot;
            }
            None => self.slots.push(slot),
        }
        self.last = index;
        self.aliases.insert(topic.clone(), alias);
    }
}

fn alias(index: usize) -> u16 {
    u16::try_from(index + 1).unwrap_or(u16::MAX)
}
