//! Topic Aliases, one table for each direction; both die with the connection.

use std::collections::HashMap;

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

/// Aliases we have set, given to topics as they come until the client's maximum is used up
/// [MQTT-3.1.2-26].
#[derive(Debug, Default)]
pub(crate) struct OutboundAliases {
    aliases: HashMap<TopicName, u16>,
    maximum: u16,
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
            aliases: HashMap::new(),
            maximum,
        }
    }

    /// Tells how `topic` would be written, without changing anything: a packet that turns out to be
    /// too large must not have set an alias.
    pub(crate) fn naming(&self, topic: &TopicName) -> Naming {
        if self.maximum == 0 {
            return Naming::Name;
        }
        if let Some(&alias) = self.aliases.get(topic) {
            return Naming::Alias(alias);
        }
        match u16::try_from(self.aliases.len() + 1) {
            Ok(alias) if alias <= self.maximum => Naming::NameAndAlias(alias),
            _ => Naming::Name,
        }
    }

    /// The packet that sets the alias is on its way.
    pub(crate) fn sent(&mut self, topic: &TopicName, naming: Naming) {
        if let Naming::NameAndAlias(alias) = naming {
            self.aliases.insert(topic.clone(), alias);
        }
    }
}
