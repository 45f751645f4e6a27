//! What a client may send, read slowly and from the standard alone (MQTT 5.0, 3.1.1 and 3.1).
//!
//! Choices of ours that the standard leaves open: 3.1 has unused flags where later versions have
//! reserved ones; a mosquitto bridge sets the highest bit of the level; 0x8C is taken in DISCONNECT;
//! one property block holds only so many User Properties.

use portcullis::codec::{Limits, Version};

use super::reading::{Fields, In, Properties, is_topic_name, properties};

/// A packet that a client may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Connect(Box<Connect>),
    Publish(Box<Publish>),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP, as the high half of the first byte.
    Ack(u8, u16, u8, Option<String>),
    /// Identifier, Subscription Identifier, filters with their options.
    Subscribe(u16, Option<u32>, Vec<(String, u8)>),
    Unsubscribe(u16, Vec<String>),
    Pingreq,
    /// Reason Code, Session Expiry Interval, Reason String.
    Disconnect(u8, Option<u32>, Option<String>),
    /// Reason Code, method, data.
    Auth(u8, String, Option<Vec<u8>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Connect {
    pub(super) version: Version,
    pub(super) bridge: bool,
    pub(super) clean: bool,
    pub(super) keep_alive: u16,
    pub(super) client_id: String,
    pub(super) properties: Properties,
    pub(super) will: Option<Will>,
    pub(super) username: Option<String>,
    pub(super) password: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Will {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) properties: Properties,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Publish {
    pub(super) dup: bool,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) topic: String,
    pub(super) id: Option<u16>,
    pub(super) properties: Properties,
    pub(super) payload: Vec<u8>,
}

/// Reads one frame that begins a connection, or of a connection of `version`.
pub(super) fn read(frame: &[u8], version: Option<Version>, limits: &Limits) -> Option<Read> {
    let mut fields = Fields(frame);
    let first = fields.byte()?;
    let length = fields.variable()?;
    if fields.0.len() != usize::try_from(length).unwrap() {
        return None;
    }
    let (kind, flags) = (first >> 4, first % 16);
    let Some(version) = version else {
        return if kind == 1 {
            connect(flags, &mut fields, limits)
        } else {
            None
        };
    };
    let mut reading = Reading {
        fields,
        version,
        users: limits.max_user_properties,
    };
    let packet = reading.packet(kind, flags)?;
    reading.fields.0.is_empty().then_some(packet)
}

/// [MQTT-2.1.3-1]. In 3.1 PUBREL, SUBSCRIBE and UNSUBSCRIBE have QoS 1 and may have DUP; of the
/// others nothing is said.
fn flags_are_right(kind: u8, flags: u8, version: Version) -> bool {
    let qos_1 = matches!(kind, 6 | 8 | 10);
    match version {
        Version::V31 if qos_1 => matches!(flags, 0b0010 | 0b0011 | 0b1010 | 0b1011),
        Version::V31 => true,
        _ if qos_1 => flags == 0b0010,
        _ => flags == 0,
    }
}

struct Reading<'a> {
    fields: Fields<'a>,
    version: Version,
    users: usize,
}

impl Reading<'_> {
    fn packet(&mut self, kind: u8, flags: u8) -> Option<Read> {
        if kind != 3 && !flags_are_right(kind, flags, self.version) {
            return None;
        }
        match kind {
            3 => self.publish(flags),
            4..=7 => self.ack(kind),
            8 => self.subscribe(),
            10 => self.unsubscribe(),
            12 => Some(Read::Pingreq),
            14 => self.disconnect(),
            15 if self.version == Version::V5 => self.auth(),
            _ => None,
        }
    }

    /// The property block, which only 5.0 has.
    fn properties(&mut self, place: In) -> Option<Properties> {
        if self.version == Version::V5 {
            properties(&mut self.fields, place, self.users)
        } else {
            Some(Properties::default())
        }
    }

    fn publish(&mut self, flags: u8) -> Option<Read> {
        let (dup, qos, retain) = (flags & 8 != 0, flags / 2 % 4, flags % 2 == 1);
        if qos == 3 || (dup && qos == 0) {
            return None; // [MQTT-3.3.1-4], [MQTT-3.3.1-2]
        }
        let topic = self.fields.text()?;
        let id = if qos > 0 {
            Some(self.fields.identifier()?)
        } else {
            None
        };
        let properties = self.properties(In::Publish)?;
        let named = if topic.is_empty() {
            properties.has(0x23)
        } else {
            is_topic_name(&topic)
        };
        let payload = self.fields.take(self.fields.0.len())?.to_vec();
        named.then(|| {
            Read::Publish(Box::new(Publish {
                dup,
                qos,
                retain,
                topic,
                id,
                properties,
                payload,
            }))
        })
    }

    fn ack(&mut self, kind: u8) -> Option<Read> {
        let id = self.fields.identifier()?;
        let (mut code, mut text) = (0, None);
        if self.version == Version::V5 && !self.fields.0.is_empty() {
            code = self.fields.byte()?;
            let codes: &[u8] = match kind {
                4 | 5 => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
                _ => &[0x00, 0x92],
            };
            if !codes.contains(&code) {
                return None;
            }
            if !self.fields.0.is_empty() {
                text = self.properties(In::Ack)?.text(0x1F).map(str::to_owned);
            }
        }
        Some(Read::Ack(kind, id, code, text))
    }

    fn subscribe(&mut self) -> Option<Read> {
        let id = self.fields.identifier()?;
        let properties = self.properties(In::Subscribe)?;
        let mut filters = Vec::new();
        while !self.fields.0.is_empty() || filters.is_empty() {
            let filter = self.fields.text()?;
            let options = self.fields.byte()?;
            let (qos, handling) = (options % 4, options / 16 % 4);
            let reserved = match self.version {
                Version::V5 => options / 64,
                _ => options / 4,
            };
            if qos == 3 || handling == 3 || reserved != 0 {
                return None; // [MQTT-3.8.3-5], section 3.8.3.1
            }
            filters.push((filter, options));
        }
        Some(Read::Subscribe(id, properties.number(0x0B), filters))
    }

    fn unsubscribe(&mut self) -> Option<Read> {
        let id = self.fields.identifier()?;
        self.properties(In::Unsubscribe)?;
        let mut filters = Vec::new();
        while !self.fields.0.is_empty() || filters.is_empty() {
            filters.push(self.fields.text()?);
        }
        Some(Read::Unsubscribe(id, filters))
    }

    fn disconnect(&mut self) -> Option<Read> {
        if self.version != Version::V5 || self.fields.0.is_empty() {
            return Some(Read::Disconnect(0, None, None));
        }
        let code = self.fields.byte()?;
        let codes = [
            0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x8C, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
            0x99,
        ];
        if !codes.contains(&code) {
            return None;
        }
        let mut properties = Properties::default();
        if !self.fields.0.is_empty() {
            properties = self.properties(In::Disconnect)?;
        }
        let text = properties.text(0x1F).map(str::to_owned);
        Some(Read::Disconnect(code, properties.number(0x11), text))
    }

    fn auth(&mut self) -> Option<Read> {
        let code = self.fields.byte()?;
        if !matches!(code, 0x18 | 0x19) {
            return None; // [MQTT-3.15.2-1]: success is the server's to say
        }
        let properties = self.properties(In::Auth)?;
        let method = properties.text(0x15)?.to_owned();
        let data = properties.binary(0x16).map(Vec::from);
        Some(Read::Auth(code, method, data))
    }
}

fn connect(flags: u8, fields: &mut Fields<'_>, limits: &Limits) -> Option<Read> {
    let users = limits.max_user_properties;
    let name = fields.binary()?;
    let level = fields.byte()?;
    let bridge = level >= 128;
    let version = match (name, level % 128) {
        (b"MQIsdp", 3) => Version::V31,
        (b"MQTT", 4) => Version::V311,
        (b"MQTT", 5) if !bridge => Version::V5,
        _ => return None,
    };
    if !flags_are_right(1, flags, version) {
        return None;
    }
    let bits = fields.byte()?;
    let has = |bit: u8| bits & bit != 0;
    if !connect_flags_are_right(bits, version) {
        return None;
    }
    let keep_alive = u16::try_from(fields.number(2)?).unwrap();
    let block = |fields: &mut Fields<'_>, place| match version {
        Version::V5 => properties(fields, place, users),
        _ => Some(Properties::default()),
    };
    let properties = block(fields, In::Connect)?;
    if properties.has(0x16) && !properties.has(0x15) {
        return None; // section 3.1.2.11.10
    }
    let client_id = fields.text()?;
    let mut will = None;
    if has(0x04) {
        let properties = block(fields, In::Will)?;
        let topic = fields.text().filter(|topic| is_topic_name(topic))?;
        will = Some(Will {
            topic,
            payload: fields.binary()?.to_vec(),
            qos: bits / 8 % 4,
            retain: has(0x20),
            properties,
        });
    }
    let username = if has(0x80) {
        Some(fields.text()?)
    } else {
        None
    };
    let password = if has(0x40) {
        Some(fields.binary()?.to_vec())
    } else {
        None
    };
    fields.0.is_empty().then(|| {
        Read::Connect(Box::new(Connect {
            version,
            bridge,
            clean: has(0x02),
            keep_alive,
            client_id,
            properties,
            will,
            username,
            password,
        }))
    })
}

/// [MQTT-3.1.2-3], [MQTT-3.1.2-11] to [MQTT-3.1.2-13], [MQTT-3.1.2-22 in 3.1.1].
fn connect_flags_are_right(bits: u8, version: Version) -> bool {
    let has = |bit: u8| bits & bit != 0;
    let will_qos = bits / 8 % 4;
    let reserved = has(0x01) && version != Version::V31;
    let no_will = !has(0x04) && (will_qos > 0 || has(0x20));
    let password_alone = version != Version::V5 && has(0x40) && !has(0x80);
    will_qos < 3 && !reserved && !no_will && !password_alone
}
