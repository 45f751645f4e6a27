//! Fields and properties of packets, read slowly and from the text of the standard alone: nothing of
//! the codec is used, so that a mistake there cannot hide itself. `None` is: the standard forbids it.

/// What is left of a packet.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        if self.0.len() < count {
            return None;
        }
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// A number of `count` bytes, the highest first.
    pub(super) fn number(&mut self, count: usize) -> Option<u32> {
        let bytes = self.take(count)?;
        Some(
            bytes
                .iter()
                .fold(0, |sum, &byte| sum << 8 | u32::from(byte)),
        )
    }

    /// A Packet Identifier, which is never 0 [MQTT-2.2.1-3].
    pub(super) fn identifier(&mut self) -> Option<u16> {
        let number = self.number(2)?;
        (number != 0).then(|| u16::try_from(number).unwrap())
    }

    /// A Variable Byte Integer: seven bits a byte, the lowest first, in as few bytes as it needs
    /// [MQTT-1.5.5-1].
    pub(super) fn variable(&mut self) -> Option<u32> {
        let mut used = Vec::new();
        loop {
            let byte = self.byte()?;
            used.push(byte);
            if byte < 128 {
                break;
            }
            if used.len() == 4 {
                return None;
            }
        }
        if used.len() > 1 && used.last() == Some(&0) {
            return None;
        }
        Some(
            used.iter()
                .rev()
                .fold(0, |sum, byte| sum * 128 + u32::from(byte % 128)),
        )
    }

    pub(super) fn binary(&mut self) -> Option<&'a [u8]> {
        let length = self.number(2)?;
        self.take(usize::try_from(length).unwrap())
    }

    /// A UTF-8 Encoded String: well-formed, no surrogates, no U+0000 [MQTT-1.5.4-1],
    /// [MQTT-1.5.4-2].
    pub(super) fn text(&mut self) -> Option<String> {
        let mut rest = Fields(self.binary()?);
        let mut text = String::new();
        while let Some(first) = rest.byte() {
            let (mut value, more, least) = match first {
                0x01..=0x7F => (u32::from(first), 0, 0),
                0xC0..=0xDF => (u32::from(first & 0x1F), 1, 0x80),
                0xE0..=0xEF => (u32::from(first & 0x0F), 2, 0x800),
                0xF0..=0xF7 => (u32::from(first & 0x07), 3, 0x1_0000),
                _ => return None,
            };
            for _ in 0..more {
                let next = rest.byte()?;
                if next & 0xC0 != 0x80 {
                    return None;
                }
                value = value << 6 | u32::from(next & 0x3F);
            }
            if value < least {
                return None;
            }
            text.push(char::from_u32(value)?);
        }
        Some(text)
    }
}

/// A property, with its bytes as they stand in the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Property {
    pub(super) id: u8,
    pub(super) value: Value,
    pub(super) bytes: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(u32),
    Text(String),
    Binary(Vec<u8>),
    Pair,
}

/// Properties of one packet in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Properties(pub(super) Vec<Property>);

impl Properties {
    pub(super) fn find(&self, id: u8) -> Option<&Value> {
        let found = self.0.iter().find(|property| property.id == id);
        found.map(|property| &property.value)
    }

    pub(super) fn has(&self, id: u8) -> bool {
        self.find(id).is_some()
    }

    pub(super) fn number(&self, id: u8) -> Option<u32> {
        match self.find(id)? {
            Value::Number(number) => Some(*number),
            other => panic!("{other:?} is no number"),
        }
    }

    pub(super) fn text(&self, id: u8) -> Option<&str> {
        match self.find(id)? {
            Value::Text(text) => Some(text),
            other => panic!("{other:?} is no text"),
        }
    }

    pub(super) fn binary(&self, id: u8) -> Option<&[u8]> {
        match self.find(id)? {
            Value::Binary(bytes) => Some(bytes),
            other => panic!("{other:?} is no binary data"),
        }
    }

    /// Every Subscription Identifier.
    pub(super) fn identifiers(&self) -> Vec<u32> {
        let numbers = self.0.iter().filter(|property| property.id == 0x0B);
        numbers
            .map(|property| match property.value {
                Value::Number(number) => number,
                _ => panic!("no number"),
            })
            .collect()
    }

    /// Those that a receiver gets unchanged and in their order [MQTT-3.3.2-17], as bytes.
    pub(super) fn forwarded(&self) -> Vec<u8> {
        let forwarded =
            |property: &&Property| matches!(property.id, 0x01 | 0x03 | 0x08 | 0x09 | 0x26);
        let kept = self.0.iter().filter(forwarded);
        kept.flat_map(|property| property.bytes.clone()).collect()
    }
}

/// Where properties stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum In {
    Connect,
    Connack,
    Publish,
    PublishFromServer,
    Will,
    Ack,
    Subscribe,
    Suback,
    Unsubscribe,
    Disconnect,
    DisconnectFromServer,
    Auth,
}

/// The table of section 2.2.2.2: how a property is written, and where it may stand.
fn standard(id: u32, place: In) -> Option<char> {
    use In::{
        Ack, Auth, Connack, Connect, Disconnect, DisconnectFromServer, Publish, PublishFromServer,
        Suback, Subscribe, Will,
    };
    let message = matches!(place, Publish | PublishFromServer | Will);
    let greeting = matches!(place, Connect | Connack);
    let (kind, allowed) = match id {
        0x01 => ('1', message),
        0x02 => ('4', message),
        0x03 | 0x08 => ('t', message),
        0x09 => ('b', message),
        0x0B => ('v', matches!(place, PublishFromServer | Subscribe)),
        // Only a client may change it at the end [MQTT-3.14.2-2].
        0x11 => ('4', greeting || place == Disconnect),
        0x12 | 0x1A => ('t', place == Connack),
        0x13 => ('2', place == Connack),
        0x15 => ('t', greeting || place == Auth),
        0x16 => ('b', greeting || place == Auth),
        0x17 | 0x19 => ('1', place == Connect),
        0x18 => ('4', place == Will),
        0x1C => ('t', matches!(place, Connack | DisconnectFromServer)),
        0x1F => {
            let no_answer = matches!(place, Connect | Subscribe | In::Unsubscribe);
            ('t', !message && !no_answer)
        }
        0x21 | 0x22 => ('2', greeting),
        0x23 => ('2', matches!(place, Publish | PublishFromServer)),
        0x24 | 0x25 | 0x28 | 0x29 | 0x2A => ('1', place == Connack),
        0x26 => ('p', true),
        0x27 => ('4', greeting),
        _ => return None,
    };
    debug_assert!(
        id != 0x1F
            || allowed
                == matches!(
                    place,
                    Connack | Ack | Suback | Auth | Disconnect | DisconnectFromServer
                )
    );
    allowed.then_some(kind)
}

/// Takes a property block off `fields`, with no more than `users` User Properties.
pub(super) fn properties(fields: &mut Fields<'_>, place: In, users: usize) -> Option<Properties> {
    let length = fields.variable()?;
    let mut block = Fields(fields.take(usize::try_from(length).unwrap())?);
    let mut all: Vec<Property> = Vec::new();
    while !block.0.is_empty() {
        let before = block.0;
        let id = block.variable()?;
        let value = match standard(id, place)? {
            '1' => Value::Number(block.number(1)?),
            '2' => Value::Number(block.number(2)?),
            '4' => Value::Number(block.number(4)?),
            'v' => Value::Number(block.variable()?),
            't' => Value::Text(block.text()?),
            'b' => Value::Binary(block.binary()?.to_vec()),
            _ => {
                block.text()?;
                block.text()?;
                Value::Pair
            }
        };
        let id = u8::try_from(id).unwrap();
        let repeats = id == 0x26 || (id == 0x0B && place == In::PublishFromServer);
        if (!repeats && all.iter().any(|known| known.id == id)) || !value_is_allowed(id, &value) {
            return None;
        }
        let bytes = before[..before.len() - block.0.len()].to_vec();
        all.push(Property { id, value, bytes });
    }
    let count = all.iter().filter(|property| property.id == 0x26).count();
    (count <= users).then_some(Properties(all))
}

/// What sections 3.1.2.11, 3.2.2.3 and 3.3.2.3 say of single values.
fn value_is_allowed(id: u8, value: &Value) -> bool {
    match (id, value) {
        // Flags.
        (0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A, Value::Number(number)) => {
            *number < 2
        }
        // Subscription Identifier, Receive Maximum, Topic Alias, Maximum Packet Size.
        (0x0B | 0x21 | 0x23 | 0x27, Value::Number(number)) => *number != 0,
        // Response Topic [MQTT-3.3.2-14].
        (0x08, Value::Text(topic)) => is_topic_name(topic),
        _ => true,
    }
}

/// Sections 4.7.1 and 4.7.3; that it is text without U+0000 is known already.
pub(super) fn is_topic_name(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|character| matches!(character, '+' | '#'))
}
