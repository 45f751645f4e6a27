//! DISCONNECT, AUTH, PINGREQ and PINGRESP (MQTT 5.0 sections 3.12 to 3.15).

use super::encode;
use super::error::MalformedKind;
use super::frame::{self, Limits};
use super::property::{Place, Properties, id};
use super::reader::Reader;
use super::types::{ReasonCode, Version};
use super::varint;

/// A DISCONNECT packet from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Normal disconnection if absent, and in 3.x.
    pub reason: ReasonCode,
    /// Session Expiry Interval in seconds, if it is to change.
    pub session_expiry_interval_s: Option<u32>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
}

pub(crate) fn decode_disconnect<'a>(
    body: &'a [u8],
    version: Version,
    limits: &Limits,
) -> Result<Disconnect<'a>, MalformedKind> {
    let mut reader = Reader::new(body);
    let mut disconnect = Disconnect {
        reason: ReasonCode::SUCCESS,
        session_expiry_interval_s: None,
        reason_string: None,
    };
    if version.is_v5() && !reader.is_empty() {
        disconnect.reason = ReasonCode(reader.u8()?);
        if !client_may_disconnect_with(disconnect.reason) {
            return Err(MalformedKind::ReasonCode);
        }
        if !reader.is_empty() {
            let (mut properties, _) =
                Properties::read(&mut reader, Place::Disconnect, limits.max_user_properties)?;
            while let Some((property, value)) = properties.next()? {
                match property {
                    id::SESSION_EXPIRY_INTERVAL => {
                        disconnect.session_expiry_interval_s = Some(value.number());
                    }
                    id::REASON_STRING => disconnect.reason_string = Some(value.text()),
                    // Only a server may refer elsewhere [MQTT-3.14.2-2].
                    id::SERVER_REFERENCE => return Err(MalformedKind::PropertyNotAllowed),
                    _ => {}
                }
            }
        }
    }
    reader.finish()?;
    Ok(disconnect)
}

fn client_may_disconnect_with(reason: ReasonCode) -> bool {
    // 0x8C stands in the general table of codes and not in that of DISCONNECT: tolerated.
    matches!(
        reason.0,
        0x00 | 0x04 | 0x80..=0x83 | 0x8C | 0x90 | 0x93..=0x99
    )
}

/// An AUTH packet from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Continue or re-authenticate.
    pub reason: ReasonCode,
    /// Authentication Method.
    pub method: &'a str,
    /// Authentication Data: a secret.
    pub data: Option<&'a [u8]>,
}

pub(crate) fn decode_auth<'a>(body: &'a [u8], limits: &Limits) -> Result<Auth<'a>, MalformedKind> {
    let mut reader = Reader::new(body);
    // The short forms without properties lack the method, which every AUTH must name.
    if reader.is_empty() {
        return Err(MalformedKind::AuthMethodMissing);
    }
    let reason = ReasonCode(reader.u8()?);
    // Success is the server's to say [MQTT-3.15.2-1].
    if !matches!(
        reason,
        ReasonCode::CONTINUE_AUTHENTICATION | ReasonCode::RE_AUTHENTICATE
    ) {
        return Err(MalformedKind::ReasonCode);
    }
    if reader.is_empty() {
        return Err(MalformedKind::AuthMethodMissing);
    }
    let (mut method, mut data) = (None, None);
    let (mut properties, _) =
        Properties::read(&mut reader, Place::Auth, limits.max_user_properties)?;
    while let Some((property, value)) = properties.next()? {
        match property {
            id::AUTHENTICATION_METHOD => method = Some(value.text()),
            id::AUTHENTICATION_DATA => data = Some(value.binary()),
            _ => {}
        }
    }
    reader.finish()?;
    Ok(Auth {
        reason,
        method: method.ok_or(MalformedKind::AuthMethodMissing)?,
        data,
    })
}

/// Appends PINGRESP.
#[inline]
pub fn encode_pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[frame::PINGRESP << 4, 0]);
}

/// Appends DISCONNECT. 3.x has none from a server: nothing is written, the close must do.
pub fn encode_disconnect(
    out: &mut Vec<u8>,
    version: Version,
    reason: ReasonCode,
    reason_string: Option<&str>,
    server_reference: Option<&str>,
) {
    if !version.is_v5() {
        return;
    }
    let mut properties = Vec::new();
    if let Some(text) = reason_string {
        encode::text_property(&mut properties, id::REASON_STRING, text);
    }
    if let Some(text) = server_reference {
        encode::text_property(&mut properties, id::SERVER_REFERENCE, text);
    }
    out.push(frame::DISCONNECT << 4);
    if properties.is_empty() {
        out.extend_from_slice(&[1, reason.0]);
        return;
    }
    let length = varint::encoded_len(properties.len());
    varint::write(
        out,
        properties.len().saturating_add(length).saturating_add(1),
    );
    out.push(reason.0);
    varint::write(out, properties.len());
    out.extend_from_slice(&properties);
}

/// Appends AUTH (5.0 only).
pub fn encode_auth(out: &mut Vec<u8>, reason: ReasonCode, method: &str, data: Option<&[u8]>) {
    let mut properties = Vec::new();
    encode::text_property(&mut properties, id::AUTHENTICATION_METHOD, method);
    if let Some(data) = data {
        properties.push(id::AUTHENTICATION_DATA);
        encode::binary(&mut properties, data);
    }
    out.push(frame::AUTH << 4);
    let length = varint::encoded_len(properties.len());
    varint::write(
        out,
        properties.len().saturating_add(length).saturating_add(1),
    );
    out.push(reason.0);
    varint::write(out, properties.len());
    out.extend_from_slice(&properties);
}
