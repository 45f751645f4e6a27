//! Frames: where a packet ends, before anything in it is looked at.

use super::error::{DecodeError, MalformedKind};
use super::types::Version;
use super::varint;

pub(crate) const CONNECT: u8 = 1;
pub(crate) const CONNACK: u8 = 2;
pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBACK: u8 = 4;
pub(crate) const PUBREC: u8 = 5;
pub(crate) const PUBREL: u8 = 6;
pub(crate) const PUBCOMP: u8 = 7;
pub(crate) const SUBSCRIBE: u8 = 8;
pub(crate) const SUBACK: u8 = 9;
pub(crate) const UNSUBSCRIBE: u8 = 10;
pub(crate) const UNSUBACK: u8 = 11;
pub(crate) const PINGREQ: u8 = 12;
pub(crate) const PINGRESP: u8 = 13;
pub(crate) const DISCONNECT: u8 = 14;
pub(crate) const AUTH: u8 = 15;

/// Bounds on what a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest packet, fixed header included.
    pub max_packet_bytes: usize,
    /// Most User Properties in one property block.
    pub max_user_properties: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_packet_bytes: 2_000_000,
            max_user_properties: 1_000,
        }
    }
}

/// Whether a packet that begins with `first` is a CONNECT, flags aside.
pub fn is_connect(first: u8) -> bool {
    first >> 4 == CONNECT
}

/// The length of the whole packet that begins `buffer`, read from its fixed header alone; `None`
/// if the header is not complete. The packet itself need not be there yet, so that one that is too
/// large is refused before anything is kept for it.
///
/// # Errors
/// A length that is over-long or encoded in more bytes than it needs; a packet over the bound.
#[inline]
pub fn frame_length(buffer: &[u8], max_packet_bytes: usize) -> Result<Option<usize>, DecodeError> {
    let Some((_, rest)) = buffer.split_first() else {
        return Ok(None);
    };
    let Some((remaining, used)) = varint::read(rest)? else {
        return Ok(None);
    };
    let total = usize::try_from(remaining)
        .unwrap_or(usize::MAX)
        .saturating_add(used)
        .saturating_add(1);
    if total > max_packet_bytes {
        return Err(MalformedKind::TooLarge.into());
    }
    Ok(Some(total))
}

/// The low four bits of the first byte of everything but PUBLISH [MQTT-2.1.3-1].
#[inline]
pub(crate) fn check_flags(kind: u8, flags: u8, version: Version) -> Result<(), MalformedKind> {
    let expected = match kind {
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => 0x02,
        _ => 0x00,
    };
    // 3.1 has no reserved flags, only unused ones: those three are sent with QoS 1, and with DUP
    // if they are repeated; of the others nothing is said.
    let unused = match (version, expected) {
        (Version::V31, 0x02) => 0x09,
        (Version::V31, _) => 0x0F,
        _ => 0x00,
    };
    if flags & !unused == expected {
        Ok(())
    } else {
        Err(MalformedKind::Flags)
    }
}

/// Parts a whole frame into its first byte and its body.
#[inline]
pub(crate) fn split(frame: &[u8]) -> Result<(u8, &[u8]), MalformedKind> {
    let (&first, rest) = frame.split_first().ok_or(MalformedKind::Truncated)?;
    let (remaining, used) = varint::read(rest)?.ok_or(MalformedKind::Truncated)?;
    let body = rest.get(used..).ok_or(MalformedKind::Truncated)?;
    match body
        .len()
        .cmp(&usize::try_from(remaining).unwrap_or(usize::MAX))
    {
        std::cmp::Ordering::Less => Err(MalformedKind::Truncated),
        std::cmp::Ordering::Equal => Ok((first, body)),
        std::cmp::Ordering::Greater => Err(MalformedKind::Surplus),
    }
}
