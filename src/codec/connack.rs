//! CONNACK (MQTT 5.0 section 3.2).

use super::encode;
use super::error::DecodeError;
use super::frame;
use super::property::id;
use super::types::{QoS, ReasonCode, Version};
use super::varint;

/// A CONNACK packet to be sent. `None` leaves the property out, which means its default.
#[derive(Clone, Copy, Debug)]
pub struct Connack<'a> {
    /// Session Present; never with an error [MQTT-3.2.2-6].
    pub session_present: bool,
    /// Reason Code.
    pub reason: ReasonCode,
    /// Session Expiry Interval in seconds.
    pub session_expiry_interval_s: Option<u32>,
    /// Receive Maximum, not 0.
    pub receive_maximum: Option<u16>,
    /// Maximum QoS, 0 or 1.
    pub maximum_qos: Option<QoS>,
    /// Retain Available.
    pub retain_available: Option<bool>,
    /// Maximum Packet Size in bytes, not 0.
    pub maximum_packet_size: Option<u32>,
    /// Assigned Client Identifier.
    pub assigned_client_identifier: Option<&'a str>,
    /// Topic Alias Maximum.
    pub topic_alias_maximum: Option<u16>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// Wildcard Subscription Available.
    pub wildcard_available: Option<bool>,
    /// Subscription Identifiers Available.
    pub identifiers_available: Option<bool>,
    /// Shared Subscription Available.
    pub shared_available: Option<bool>,
    /// Server Keep Alive in seconds.
    pub server_keep_alive_s: Option<u16>,
    /// Response Information.
    pub response_information: Option<&'a str>,
    /// Server Reference.
    pub server_reference: Option<&'a str>,
    /// Authentication Method.
    pub authentication_method: Option<&'a str>,
    /// Authentication Data.
    pub authentication_data: Option<&'a [u8]>,
}

impl Connack<'_> {
    /// A CONNACK with this code and nothing else.
    pub fn new(reason: ReasonCode) -> Self {
        Self {
            session_present: false,
            reason,
            session_expiry_interval_s: None,
            receive_maximum: None,
            maximum_qos: None,
            retain_available: None,
            maximum_packet_size: None,
            assigned_client_identifier: None,
            topic_alias_maximum: None,
            reason_string: None,
            wildcard_available: None,
            identifiers_available: None,
            shared_available: None,
            server_keep_alive_s: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }

    fn properties(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(seconds) = self.session_expiry_interval_s {
            out.push(id::SESSION_EXPIRY_INTERVAL);
            out.extend_from_slice(&seconds.to_be_bytes());
        }
        for (property, number) in [
            (id::RECEIVE_MAXIMUM, self.receive_maximum),
            (id::TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum),
            (id::SERVER_KEEP_ALIVE, self.server_keep_alive_s),
        ] {
            if let Some(number) = number {
                out.push(property);
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
        if let Some(bytes) = self.maximum_packet_size {
            out.push(id::MAXIMUM_PACKET_SIZE);
            out.extend_from_slice(&bytes.to_be_bytes());
        }
        if let Some(qos) = self.maximum_qos {
            out.extend_from_slice(&[id::MAXIMUM_QOS, qos.bits()]);
        }
        for (property, flag) in [
            (id::RETAIN_AVAILABLE, self.retain_available),
            (id::WILDCARD_SUBSCRIPTION_AVAILABLE, self.wildcard_available),
            (
                id::SUBSCRIPTION_IDENTIFIER_AVAILABLE,
                self.identifiers_available,
            ),
            (id::SHARED_SUBSCRIPTION_AVAILABLE, self.shared_available),
        ] {
            if let Some(flag) = flag {
                out.extend_from_slice(&[property, u8::from(flag)]);
            }
        }
        for (property, text) in [
            (
                id::ASSIGNED_CLIENT_IDENTIFIER,
                self.assigned_client_identifier,
            ),
            (id::RESPONSE_INFORMATION, self.response_information),
            (id::SERVER_REFERENCE, self.server_reference),
            (id::REASON_STRING, self.reason_string),
            (id::AUTHENTICATION_METHOD, self.authentication_method),
        ] {
            if let Some(text) = text {
                encode::text_property(&mut out, property, text);
            }
        }
        if let Some(data) = self.authentication_data {
            out.push(id::AUTHENTICATION_DATA);
            encode::binary(&mut out, data);
        }
        out
    }
}

/// Appends CONNACK. In 3.x the Reason Code becomes the nearest return code; where there is none,
/// nothing is written and the caller closes [MQTT-3.2.2-6 in 3.1.1].
pub fn encode_connack(out: &mut Vec<u8>, version: Version, connack: &Connack<'_>) {
    let present = u8::from(connack.session_present && !connack.reason.is_error());
    if version.is_v5() {
        let properties = connack.properties();
        let length = varint::encoded_len(properties.len());
        out.push(frame::CONNACK << 4);
        varint::write(
            out,
            properties.len().saturating_add(length).saturating_add(2),
        );
        out.extend_from_slice(&[present, connack.reason.0]);
        varint::write(out, properties.len());
        out.extend_from_slice(&properties);
        return;
    }
    let Some(code) = return_code(connack.reason) else {
        return;
    };
    // 3.1 has no Session Present: the byte is reserved.
    let present = if version == Version::V31 { 0 } else { present };
    out.extend_from_slice(&[frame::CONNACK << 4, 2, present, code]);
}

/// The 3.1.1 return code for a Reason Code (section 3.2.2.3 of 3.1.1).
fn return_code(reason: ReasonCode) -> Option<u8> {
    match reason {
        ReasonCode::SUCCESS => Some(0),
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => Some(1),
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID => Some(2),
        ReasonCode::SERVER_UNAVAILABLE
        | ReasonCode::SERVER_BUSY
        | ReasonCode::QUOTA_EXCEEDED
        | ReasonCode::CONNECTION_RATE_EXCEEDED
        | ReasonCode::USE_ANOTHER_SERVER
        | ReasonCode::SERVER_MOVED => Some(3),
        ReasonCode::BAD_USER_NAME_OR_PASSWORD => Some(4),
        ReasonCode::NOT_AUTHORIZED | ReasonCode::BANNED | ReasonCode::BAD_AUTHENTICATION_METHOD => {
            Some(5)
        }
        _ => None,
    }
}

/// Appends what a CONNECT that could not be decoded is answered with: CONNACK in the version it
/// named, 0x84 and 0x01 for one we do not speak, nothing where 3.x demands a bare close.
pub fn encode_connect_refusal(out: &mut Vec<u8>, error: &DecodeError) {
    use super::error::MalformedKind;
    match (error.kind, error.version) {
        // In the form of 3.1.1, which clients of every age understand.
        (MalformedKind::ProtocolLevel, _) => {
            out.extend_from_slice(&[frame::CONNACK << 4, 2, 0, 1]);
        }
        (kind, Some(Version::V5)) => {
            let reason = match kind {
                // Of a PUBLISH before CONNACK: the code is none that may stand there [MQTT-3.2.2-8].
                MalformedKind::TopicAliasZero => ReasonCode::PROTOCOL_ERROR,
                _ => error.reason_code(),
            };
            encode_connack(out, Version::V5, &Connack::new(reason));
        }
        _ => {}
    }
}
