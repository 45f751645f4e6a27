//! How packets look on the wire: bytes to packets and packets to bytes, in the server's role.
//!
//! Decoding borrows from the frame and allocates nothing. [`frame_length`] tells from the fixed
//! header where a packet ends; once the frame is complete there is no "need more": every short
//! field is malformed. Encoders append to a `Vec<u8>`. No socket, no state of a connection: what a
//! packet means where it comes is [`crate::session`]'s business.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::panic
    )
)]

mod ack;
mod connack;
mod connect;
mod control;
mod encode;
mod error;
mod frame;
mod property;
mod publish;
mod reader;
mod subscribe;
mod types;
mod varint;

pub use ack::{Ack, AckKind, encode_ack, encode_suback, encode_unsuback};
pub use connack::{Connack, encode_connack, encode_connect_refusal};
pub use connect::{Connect, Will, decode_connect};
pub use control::{Auth, Disconnect, encode_auth, encode_disconnect, encode_pingresp};
pub use error::{DecodeError, MalformedKind};
pub use frame::{Limits, frame_length, is_connect};
pub use property::ForwardProperties;
pub(crate) use publish::decode_properties;
pub use publish::{Publish, PublishHead};
pub use subscribe::{Subscribe, SubscribeFilter, Unsubscribe};
pub use types::{PacketId, QoS, ReasonCode, Version};

/// A packet that a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// CONNECT, which is only right as the first packet.
    Connect,
    /// PUBLISH.
    Publish(Publish<'a>),
    /// PUBACK.
    Puback(Ack<'a>),
    /// PUBREC.
    Pubrec(Ack<'a>),
    /// PUBREL.
    Pubrel(Ack<'a>),
    /// PUBCOMP.
    Pubcomp(Ack<'a>),
    /// SUBSCRIBE.
    Subscribe(Subscribe<'a>),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe<'a>),
    /// PINGREQ.
    Pingreq,
    /// DISCONNECT.
    Disconnect(Disconnect<'a>),
    /// AUTH.
    Auth(Auth<'a>),
}

/// Decodes one whole frame of a connection whose version is known.
///
/// # Errors
/// Anything the standard forbids a client of this version to send; the caller ends the connection.
#[inline]
pub fn decode<'a>(
    frame: &'a [u8],
    version: Version,
    limits: &Limits,
) -> Result<Packet<'a>, DecodeError> {
    inner(frame, version, limits).map_err(|kind| DecodeError::from(kind).with_version(version))
}

#[inline]
fn inner<'a>(
    frame: &'a [u8],
    version: Version,
    limits: &Limits,
) -> Result<Packet<'a>, MalformedKind> {
    let (first, body) = frame::split(frame)?;
    let (kind, flags) = (first >> 4, first & 0x0F);
    if kind == frame::PUBLISH {
        return publish::decode(flags, body, version, limits).map(Packet::Publish);
    }
    frame::check_flags(kind, flags, version)?;
    match kind {
        frame::CONNECT => Ok(Packet::Connect),
        frame::PUBACK => ack::decode(AckKind::Puback, body, version, limits).map(Packet::Puback),
        frame::PUBREC => ack::decode(AckKind::Pubrec, body, version, limits).map(Packet::Pubrec),
        frame::PUBREL => ack::decode(AckKind::Pubrel, body, version, limits).map(Packet::Pubrel),
        frame::PUBCOMP => ack::decode(AckKind::Pubcomp, body, version, limits).map(Packet::Pubcomp),
        frame::SUBSCRIBE => {
            subscribe::decode_subscribe(body, version, limits).map(Packet::Subscribe)
        }
        frame::UNSUBSCRIBE => {
            subscribe::decode_unsubscribe(body, version, limits).map(Packet::Unsubscribe)
        }
        frame::PINGREQ if body.is_empty() => Ok(Packet::Pingreq),
        frame::PINGREQ => Err(MalformedKind::Surplus),
        frame::DISCONNECT => {
            control::decode_disconnect(body, version, limits).map(Packet::Disconnect)
        }
        frame::AUTH if version.is_v5() => control::decode_auth(body, limits).map(Packet::Auth),
        // 0 is reserved, and so is 15 in 3.x.
        0 | frame::AUTH => Err(MalformedKind::ReservedType),
        // CONNACK, SUBACK, UNSUBACK, PINGRESP come from servers.
        _ => Err(MalformedKind::PacketType),
    }
}
