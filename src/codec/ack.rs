//! PUBACK, PUBREC, PUBREL, PUBCOMP (MQTT 5.0 sections 3.4 to 3.7), SUBACK and UNSUBACK.

use super::encode;
use super::error::MalformedKind;
use super::frame::{self, Limits};
use super::property::{Place, Properties, id};
use super::reader::Reader;
use super::types::{PacketId, ReasonCode, Version};
use super::varint;

/// Which acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckKind {
    /// PUBACK.
    Puback,
    /// PUBREC.
    Pubrec,
    /// PUBREL.
    Pubrel,
    /// PUBCOMP.
    Pubcomp,
}

impl AckKind {
    fn first_byte(self) -> u8 {
        match self {
            Self::Puback => frame::PUBACK << 4,
            Self::Pubrec => frame::PUBREC << 4,
            Self::Pubrel => frame::PUBREL << 4 | 0x02, // [MQTT-3.6.1-1]
            Self::Pubcomp => frame::PUBCOMP << 4,
        }
    }

    fn allows(self, reason: ReasonCode) -> bool {
        match self {
            Self::Puback | Self::Pubrec => matches!(
                reason.0,
                0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99
            ),
            Self::Pubrel | Self::Pubcomp => matches!(reason.0, 0x00 | 0x92),
        }
    }
}

impl ReasonCode {
    /// What is said in PUBACK and PUBREC: only some codes may stand there, the others become the
    /// nearest that may.
    #[must_use]
    pub fn in_puback(self) -> Self {
        match self {
            Self::SUCCESS
            | Self::NO_MATCHING_SUBSCRIBERS
            | Self::UNSPECIFIED_ERROR
            | Self::IMPLEMENTATION_SPECIFIC_ERROR
            | Self::NOT_AUTHORIZED
            | Self::TOPIC_NAME_INVALID
            | Self::PACKET_IDENTIFIER_IN_USE
            | Self::QUOTA_EXCEEDED
            | Self::PAYLOAD_FORMAT_INVALID => self,
            // A message too large, or one too many in a second, is one over a quota.
            Self::PACKET_TOO_LARGE | Self::MESSAGE_RATE_TOO_HIGH => Self::QUOTA_EXCEEDED,
            _ => Self::NOT_AUTHORIZED,
        }
    }

    /// What is said in SUBACK for a filter that is refused [MQTT-3.9.3-2].
    #[must_use]
    pub fn in_suback(self) -> Self {
        match self {
            Self::TOPIC_NAME_INVALID => Self::TOPIC_FILTER_INVALID,
            Self::MESSAGE_RATE_TOO_HIGH => Self::QUOTA_EXCEEDED,
            Self::TOPIC_FILTER_INVALID
            | Self::QUOTA_EXCEEDED
            | Self::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED
            | Self::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED => self,
            _ => Self::NOT_AUTHORIZED,
        }
    }
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Whose message.
    pub packet_id: PacketId,
    /// Success if absent, and in 3.x.
    pub reason: ReasonCode,
    /// Reason String: for a diagnosis by hand, never parsed [MQTT-3.4.2-2].
    pub reason_string: Option<&'a str>,
}

#[inline]
pub(crate) fn decode<'a>(
    kind: AckKind,
    body: &'a [u8],
    version: Version,
    limits: &Limits,
) -> Result<Ack<'a>, MalformedKind> {
    let mut reader = Reader::new(body);
    let mut ack = Ack {
        packet_id: reader.packet_id()?,
        reason: ReasonCode::SUCCESS,
        reason_string: None,
    };
    if version.is_v5() && !reader.is_empty() {
        ack.reason = ReasonCode(reader.u8()?);
        if !kind.allows(ack.reason) {
            return Err(MalformedKind::ReasonCode);
        }
        if !reader.is_empty() {
            let (mut properties, _) =
                Properties::read(&mut reader, Place::Ack, limits.max_user_properties)?;
            while let Some((property, value)) = properties.next()? {
                if property == id::REASON_STRING {
                    ack.reason_string = Some(value.text());
                }
            }
        }
    }
    reader.finish()?;
    Ok(ack)
}

/// Appends an acknowledgement. In 3.x only the identifier is sent.
#[inline]
pub fn encode_ack(
    out: &mut Vec<u8>,
    version: Version,
    kind: AckKind,
    packet_id: PacketId,
    reason: ReasonCode,
    reason_string: Option<&str>,
) {
    let [high, low] = packet_id.get().to_be_bytes();
    // Cut first: the lengths before it count what is written.
    let reason_string = reason_string.filter(|_| version.is_v5()).map(encode::cut);
    match reason_string {
        // Success without properties is left out: the short form says the same.
        None if !version.is_v5() || reason == ReasonCode::SUCCESS => {
            out.extend_from_slice(&[kind.first_byte(), 2, high, low]);
        }
        None => out.extend_from_slice(&[kind.first_byte(), 3, high, low, reason.0]),
        Some(text) => {
            let properties = text.len().saturating_add(3);
            let remaining = properties
                .saturating_add(varint::encoded_len(properties))
                .saturating_add(3);
            out.push(kind.first_byte());
            varint::write(out, remaining);
            out.extend_from_slice(&[high, low, reason.0]);
            varint::write(out, properties);
            out.push(id::REASON_STRING);
            encode::text(out, text);
        }
    }
}

/// Appends SUBACK with one code for each filter. 3.x knows 0, 1, 2 and 0x80 [MQTT-3.9.3-2].
pub fn encode_suback(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: PacketId,
    codes: &[ReasonCode],
    reason_string: Option<&str>,
) {
    out.push(frame::SUBACK << 4);
    if version.is_v5() {
        codes_with_properties(out, packet_id, codes, reason_string);
        return;
    }
    varint::write(out, codes.len().saturating_add(2));
    out.extend_from_slice(&packet_id.get().to_be_bytes());
    out.extend(
        codes
            .iter()
            .map(|code| if code.is_error() { 0x80 } else { code.0 }),
    );
}

/// What SUBACK and UNSUBACK of 5.0 hold behind their first byte.
fn codes_with_properties(
    out: &mut Vec<u8>,
    packet_id: PacketId,
    codes: &[ReasonCode],
    reason_string: Option<&str>,
) {
    // Cut first: the lengths before it count what is written.
    let text = reason_string.map(encode::cut);
    let properties = text.map_or(0, |text| text.len().saturating_add(3));
    let remaining = properties
        .saturating_add(varint::encoded_len(properties))
        .saturating_add(codes.len())
        .saturating_add(2);
    varint::write(out, remaining);
    out.extend_from_slice(&packet_id.get().to_be_bytes());
    varint::write(out, properties);
    if let Some(text) = text {
        out.push(id::REASON_STRING);
        encode::text(out, text);
    }
    out.extend(codes.iter().map(|code| code.0));
}

/// Appends UNSUBACK; in 3.x it has no codes.
pub fn encode_unsuback(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: PacketId,
    codes: &[ReasonCode],
    reason_string: Option<&str>,
) {
    out.push(frame::UNSUBACK << 4);
    if version.is_v5() {
        codes_with_properties(out, packet_id, codes, reason_string);
    } else {
        out.push(2);
        out.extend_from_slice(&packet_id.get().to_be_bytes());
    }
}
