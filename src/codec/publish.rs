//! PUBLISH (MQTT 5.0 section 3.3).

use super::error::MalformedKind;
use super::frame::{self, Limits};
use super::property::{ForwardProperties, Place, Properties, id};
use super::reader::Reader;
use super::types::{PacketId, QoS, Version};
use super::varint;
use crate::topic;

/// A PUBLISH packet, borrowed from its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// DUP.
    pub dup: bool,
    /// QoS.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// Topic Name; empty if only the alias names it.
    pub topic: &'a str,
    /// Packet Identifier, for QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// Topic Alias, not 0.
    pub alias: Option<u16>,
    /// Message Expiry Interval in seconds.
    pub expiry_interval_s: Option<u32>,
    /// Response Topic.
    pub response_topic: Option<&'a str>,
    /// Payload Format Indicator says UTF-8.
    pub payload_is_utf8: bool,
    /// All properties.
    pub properties: ForwardProperties<'a>,
    /// The Application Message.
    pub payload: &'a [u8],
}

#[inline]
pub(crate) fn decode<'a>(
    flags: u8,
    body: &'a [u8],
    version: Version,
    limits: &Limits,
) -> Result<Publish<'a>, MalformedKind> {
    let qos = QoS::from_bits((flags >> 1) & 3).ok_or(MalformedKind::QoS)?;
    let dup = flags & 0x08 != 0;
    if dup && qos == QoS::AtMostOnce {
        return Err(MalformedKind::DupWithQos0); // [MQTT-3.3.1-2]
    }
    let mut reader = Reader::new(body);
    let topic = name(&mut reader)?;
    let packet_id = match qos {
        QoS::AtMostOnce => None,
        _ => Some(reader.packet_id()?),
    };
    let mut publish = Publish {
        dup,
        qos,
        retain: flags & 0x01 != 0,
        topic,
        packet_id,
        alias: None,
        expiry_interval_s: None,
        response_topic: None,
        payload_is_utf8: false,
        properties: ForwardProperties::default(),
        payload: &[],
    };
    if version.is_v5() {
        properties(&mut publish, &mut reader, limits)?;
    }
    if publish.topic.is_empty() && publish.alias.is_none() {
        return Err(MalformedKind::EmptyTopic);
    }
    publish.payload = reader.rest();
    Ok(publish)
}

/// A Topic Name: UTF-8, no NUL, no wildcard. May be empty here: an alias can stand for it.
#[inline]
fn name<'a>(reader: &mut Reader<'a>) -> Result<&'a str, MalformedKind> {
    let bytes = reader.binary()?;
    for &byte in bytes {
        match byte {
            b'+' | b'#' => return Err(MalformedKind::TopicName), // [MQTT-3.3.2-2]
            0 => return Err(MalformedKind::Nul),
            _ => {}
        }
    }
    std::str::from_utf8(bytes).map_err(|_| MalformedKind::Utf8)
}

fn properties<'a>(
    publish: &mut Publish<'a>,
    reader: &mut Reader<'a>,
    limits: &Limits,
) -> Result<(), MalformedKind> {
    let (mut properties, block) =
        Properties::read(reader, Place::Publish, limits.max_user_properties)?;
    while let Some((property, value)) = properties.next()? {
        match property {
            id::TOPIC_ALIAS => {
                let alias = value.number16();
                if alias == 0 {
                    return Err(MalformedKind::TopicAliasZero); // [MQTT-3.3.2-8]
                }
                publish.alias = Some(alias);
            }
            id::MESSAGE_EXPIRY_INTERVAL => publish.expiry_interval_s = Some(value.number()),
            id::PAYLOAD_FORMAT_INDICATOR => publish.payload_is_utf8 = value.flag()?,
            id::RESPONSE_TOPIC => {
                let text = value.text();
                topic::check_name(text).map_err(|_| MalformedKind::ResponseTopic)?;
                publish.response_topic = Some(text);
            }
            // A client may not send one [MQTT-3.3.4-6].
            id::SUBSCRIPTION_IDENTIFIER => return Err(MalformedKind::PropertyNotAllowed),
            _ => {}
        }
    }
    publish.properties = ForwardProperties::new(block, Place::Publish);
    Ok(())
}

/// A property block of PUBLISH that stands alone, its length before it, as a server would send it: what is
/// forwarded, and its Subscription Identifiers.
pub(crate) fn decode_properties(
    bytes: &[u8],
) -> Result<(ForwardProperties<'_>, Vec<u32>), MalformedKind> {
    let mut reader = Reader::new(bytes);
    let (properties, block) = Properties::read(&mut reader, Place::Publish, usize::MAX)?;
    reader.finish()?;
    let mut properties = properties.sent_by_server();
    let mut identifiers = Vec::new();
    while let Some((property, value)) = properties.next()? {
        match property {
            id::PAYLOAD_FORMAT_INDICATOR => {
                value.flag()?;
            }
            id::RESPONSE_TOPIC => {
                topic::check_name(value.text()).map_err(|_| MalformedKind::ResponseTopic)?;
            }
            id::SUBSCRIPTION_IDENTIFIER => identifiers.push(value.not_zero()?),
            _ => {}
        }
    }
    Ok((ForwardProperties::new(block, Place::Publish), identifiers))
}

/// Everything of an outgoing PUBLISH but its payload.
#[derive(Clone, Copy, Debug)]
pub struct PublishHead<'a> {
    /// DUP.
    pub dup: bool,
    /// QoS.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// Topic Name; empty if the alias alone names it.
    pub topic: &'a str,
    /// Packet Identifier; must be there for QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// Topic Alias.
    pub alias: Option<u16>,
    /// Message Expiry Interval in seconds.
    pub expiry_interval_s: Option<u32>,
    /// Subscription Identifiers.
    pub identifiers: &'a [u32],
    /// Forwarded properties in wire form.
    pub properties: &'a [u8],
    /// Length of the payload that will follow, in bytes.
    pub payload_bytes: usize,
}

impl PublishHead<'_> {
    #[inline]
    fn properties_len(&self) -> usize {
        let mut length = self.properties.len();
        if self.alias.is_some() {
            length = length.saturating_add(3);
        }
        if self.expiry_interval_s.is_some() {
            length = length.saturating_add(5);
        }
        for &identifier in self.identifiers {
            let bytes = varint::encoded_len(usize::try_from(identifier).unwrap_or(usize::MAX));
            length = length.saturating_add(bytes).saturating_add(1);
        }
        length
    }

    #[inline]
    fn remaining_len(&self, version: Version) -> usize {
        let mut length = self
            .topic
            .len()
            .saturating_add(2)
            .saturating_add(self.payload_bytes);
        if self.packet_id.is_some() {
            length = length.saturating_add(2);
        }
        if version.is_v5() {
            let properties = self.properties_len();
            length = length
                .saturating_add(properties)
                .saturating_add(varint::encoded_len(properties));
        }
        length
    }

    /// Bytes of the whole packet, fixed header and payload included. More than the largest
    /// packet there can be (268,435,460) if it could not be written.
    #[inline]
    pub fn packet_bytes(&self, version: Version) -> usize {
        let remaining = self.remaining_len(version);
        if remaining > varint::MAX as usize || self.topic.len() > topic::MAX_BYTES {
            return usize::MAX;
        }
        remaining
            .saturating_add(varint::encoded_len(remaining))
            .saturating_add(1)
    }

    /// Appends everything before the payload.
    #[inline]
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let flags = u8::from(self.dup) << 3 | self.qos.bits() << 1 | u8::from(self.retain);
        out.push(frame::PUBLISH << 4 | flags);
        varint::write(out, self.remaining_len(version));
        super::encode::text(out, self.topic);
        if let Some(id) = self.packet_id {
            out.extend_from_slice(&id.get().to_be_bytes());
        }
        if !version.is_v5() {
            return;
        }
        varint::write(out, self.properties_len());
        out.extend_from_slice(self.properties);
        if let Some(seconds) = self.expiry_interval_s {
            out.push(id::MESSAGE_EXPIRY_INTERVAL);
            out.extend_from_slice(&seconds.to_be_bytes());
        }
        for &identifier in self.identifiers {
            out.push(id::SUBSCRIPTION_IDENTIFIER);
            varint::write(out, usize::try_from(identifier).unwrap_or(usize::MAX));
        }
        if let Some(alias) = self.alias {
            out.push(id::TOPIC_ALIAS);
            out.extend_from_slice(&alias.to_be_bytes());
        }
    }
}
