//! CONNECT (MQTT 5.0 section 3.1).

use super::error::{DecodeError, MalformedKind};
use super::frame::{self, Limits};
use super::property::{ForwardProperties, Place, Properties, id};
use super::reader::Reader;
use super::types::{QoS, Version};
use crate::topic;

/// A CONNECT packet, borrowed from its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the packet")]
pub struct Connect<'a> {
    /// The protocol version it names.
    pub version: Version,
    /// The peer says it is a mosquitto bridge (bit 0x80 of the level of 3.x).
    pub bridge: bool,
    /// Clean Start; Clean Session in 3.x.
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 is none.
    pub keep_alive_s: u16,
    /// Client Identifier; may be empty.
    pub client_id: &'a str,
    /// The Will Message.
    pub will: Option<Will<'a>>,
    /// User Name.
    pub username: Option<&'a str>,
    /// Password: binary data.
    pub password: Option<&'a [u8]>,
    /// Session Expiry Interval in seconds.
    pub session_expiry_interval_s: Option<u32>,
    /// Receive Maximum; 65,535 if absent.
    pub receive_maximum: u16,
    /// Maximum Packet Size in bytes; `u32::MAX` if absent.
    pub maximum_packet_size: u32,
    /// Topic Alias Maximum; 0 if absent.
    pub topic_alias_maximum: u16,
    /// Request Response Information; false if absent.
    pub request_response_information: bool,
    /// Request Problem Information; true if absent.
    pub request_problem_information: bool,
    /// Authentication Method.
    pub authentication_method: Option<&'a str>,
    /// Authentication Data: a secret.
    pub authentication_data: Option<&'a [u8]>,
}

/// The will fields of a CONNECT packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Will Topic.
    pub topic: &'a str,
    /// Will Payload.
    pub payload: &'a [u8],
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will Delay Interval in seconds; 0 if absent.
    pub delay_interval_s: u32,
    /// Message Expiry Interval in seconds.
    pub expiry_interval_s: Option<u32>,
    /// Payload Format Indicator says UTF-8.
    pub payload_is_utf8: bool,
    /// Response Topic.
    pub response_topic: Option<&'a str>,
    /// All will properties.
    pub properties: ForwardProperties<'a>,
}

const FLAG_RESERVED: u8 = 0x01;
const FLAG_CLEAN_START: u8 = 0x02;
const FLAG_WILL: u8 = 0x04;
const FLAG_WILL_RETAIN: u8 = 0x20;
const FLAG_PASSWORD: u8 = 0x40;
const FLAG_USERNAME: u8 = 0x80;

/// Decodes a whole CONNECT frame of any version.
///
/// # Errors
/// Something else than CONNECT, a version we do not speak, or anything the standard forbids. The
/// error names the version if it could be read.
pub fn decode_connect<'a>(frame: &'a [u8], limits: &Limits) -> Result<Connect<'a>, DecodeError> {
    let (first, body) = frame::split(frame)?;
    if first >> 4 != frame::CONNECT {
        return Err(DecodeError::not_connect());
    }
    let mut reader = Reader::new(body);
    let (version, bridge) = version(&mut reader)?;
    frame::check_flags(frame::CONNECT, first & 0x0F, version)
        .and_then(|()| body_of(reader, version, bridge, limits))
        .map_err(|kind| DecodeError::from(kind).with_version(version))
}

fn version(reader: &mut Reader<'_>) -> Result<(Version, bool), MalformedKind> {
    let name = reader.binary()?;
    let level = reader.u8()?;
    // A mosquitto bridge sets the highest bit of the level of 3.1 and 3.1.1.
    match (name, level) {
        (b"MQTT", 5) => Ok((Version::V5, false)),
        (b"MQTT", 4) => Ok((Version::V311, false)),
        (b"MQTT", 0x84) => Ok((Version::V311, true)),
        (b"MQIsdp", 3) => Ok((Version::V31, false)),
        (b"MQIsdp", 0x83) => Ok((Version::V31, true)),
        (b"MQTT" | b"MQIsdp", _) => Err(MalformedKind::ProtocolLevel),
        _ => Err(MalformedKind::ProtocolName),
    }
}

fn body_of<'a>(
    mut reader: Reader<'a>,
    version: Version,
    bridge: bool,
    limits: &Limits,
) -> Result<Connect<'a>, MalformedKind> {
    let flags = reader.u8()?;
    check_flags(flags, version)?;
    let mut connect = Connect {
        version,
        bridge,
        clean_start: flags & FLAG_CLEAN_START != 0,
        keep_alive_s: reader.u16()?,
        client_id: "",
        will: None,
        username: None,
        password: None,
        session_expiry_interval_s: None,
        receive_maximum: u16::MAX,
        maximum_packet_size: u32::MAX,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
        authentication_data: None,
    };
    if version.is_v5() {
        properties(&mut connect, &mut reader, limits)?;
    }
    connect.client_id = reader.string()?; // [MQTT-3.1.3-4]
    if flags & FLAG_WILL != 0 {
        connect.will = Some(will(&mut reader, flags, version, limits)?);
    }
    if flags & FLAG_USERNAME != 0 {
        connect.username = Some(reader.string()?);
    }
    if flags & FLAG_PASSWORD != 0 {
        connect.password = Some(reader.binary()?);
    }
    reader.finish()?;
    Ok(connect)
}

fn check_flags(flags: u8, version: Version) -> Result<(), MalformedKind> {
    // [MQTT-3.1.2-3]; in 3.1 the bit is unused.
    if version != Version::V31 && flags & FLAG_RESERVED != 0 {
        return Err(MalformedKind::ConnectFlags);
    }
    let will_qos = (flags >> 3) & 3;
    if flags & FLAG_WILL == 0 {
        if will_qos != 0 || flags & FLAG_WILL_RETAIN != 0 {
            return Err(MalformedKind::WillFlags); // [MQTT-3.1.2-11], [MQTT-3.1.2-13]
        }
    } else if will_qos == 3 {
        return Err(MalformedKind::WillFlags); // [MQTT-3.1.2-12]
    }
    // [MQTT-3.1.2-22 in 3.1.1]; 5.0 allows a password alone.
    if !version.is_v5() && flags & FLAG_PASSWORD != 0 && flags & FLAG_USERNAME == 0 {
        return Err(MalformedKind::PasswordWithoutUsername);
    }
    Ok(())
}

fn properties<'a>(
    connect: &mut Connect<'a>,
    reader: &mut Reader<'a>,
    limits: &Limits,
) -> Result<(), MalformedKind> {
    let (mut properties, _) = Properties::read(reader, Place::Connect, limits.max_user_properties)?;
    while let Some((property, value)) = properties.next()? {
        match property {
            id::SESSION_EXPIRY_INTERVAL => {
                connect.session_expiry_interval_s = Some(value.number());
            }
            id::RECEIVE_MAXIMUM => {
                value.not_zero()?;
                connect.receive_maximum = value.number16();
            }
            id::MAXIMUM_PACKET_SIZE => connect.maximum_packet_size = value.not_zero()?,
            id::TOPIC_ALIAS_MAXIMUM => connect.topic_alias_maximum = value.number16(),
            id::REQUEST_RESPONSE_INFORMATION => {
                connect.request_response_information = value.flag()?;
            }
            id::REQUEST_PROBLEM_INFORMATION => {
                connect.request_problem_information = value.flag()?;
            }
            id::AUTHENTICATION_METHOD => connect.authentication_method = Some(value.text()),
            id::AUTHENTICATION_DATA => connect.authentication_data = Some(value.binary()),
            _ => {}
        }
    }
    if connect.authentication_data.is_some() && connect.authentication_method.is_none() {
        return Err(MalformedKind::AuthDataWithoutMethod);
    }
    Ok(())
}

fn will<'a>(
    reader: &mut Reader<'a>,
    flags: u8,
    version: Version,
    limits: &Limits,
) -> Result<Will<'a>, MalformedKind> {
    let mut will = Will {
        topic: "",
        payload: &[],
        qos: QoS::from_bits((flags >> 3) & 3).ok_or(MalformedKind::WillFlags)?,
        retain: flags & FLAG_WILL_RETAIN != 0,
        delay_interval_s: 0,
        expiry_interval_s: None,
        payload_is_utf8: false,
        response_topic: None,
        properties: ForwardProperties::default(),
    };
    if version.is_v5() {
        let (mut properties, block) =
            Properties::read(reader, Place::Will, limits.max_user_properties)?;
        while let Some((property, value)) = properties.next()? {
            match property {
                id::WILL_DELAY_INTERVAL => will.delay_interval_s = value.number(),
                id::MESSAGE_EXPIRY_INTERVAL => will.expiry_interval_s = Some(value.number()),
                id::PAYLOAD_FORMAT_INDICATOR => will.payload_is_utf8 = value.flag()?,
                id::RESPONSE_TOPIC => {
                    let text = value.text();
                    topic::check_name(text).map_err(|_| MalformedKind::ResponseTopic)?;
                    will.response_topic = Some(text);
                }
                _ => {}
            }
        }
        will.properties = ForwardProperties::new(block, Place::Will);
    }
    will.topic = reader.string()?;
    topic::check_name(will.topic).map_err(|_| MalformedKind::WillTopic)?;
    will.payload = reader.binary()?;
    Ok(will)
}
