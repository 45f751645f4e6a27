//! A cursor over one whole frame. Every read can fail and none can ask for more: the frame is
//! complete, so a field that is short is malformed.

use super::error::MalformedKind;
use super::types::PacketId;

type Result<T> = std::result::Result<T, MalformedKind>;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may be left.
    pub(crate) fn finish(&self) -> Result<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(MalformedKind::Surplus)
        }
    }

    #[inline]
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let (head, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(MalformedKind::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8> {
        let (&byte, rest) = self.rest.split_first().ok_or(MalformedKind::Truncated)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<2>()
            .ok_or(MalformedKind::Truncated)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*head))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<4>()
            .ok_or(MalformedKind::Truncated)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*head))
    }

    /// A Variable Byte Integer in its shortest form [MQTT-1.5.5-1].
    pub(crate) fn varint(&mut self) -> Result<u32> {
        match super::varint::read(self.rest)? {
            Some((value, used)) => {
                self.bytes(used)?;
                Ok(value)
            }
            None => Err(MalformedKind::Truncated),
        }
    }

    /// Binary Data: two bytes of length and as many bytes.
    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8]> {
        let length = usize::from(self.u16()?);
        self.bytes(length)
    }

    /// A UTF-8 Encoded String without U+0000 [MQTT-1.5.4-1], [MQTT-1.5.4-2].
    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a str> {
        let bytes = self.binary()?;
        let text = std::str::from_utf8(bytes).map_err(|_| MalformedKind::Utf8)?;
        if bytes.contains(&0) {
            return Err(MalformedKind::Nul);
        }
        Ok(text)
    }

    /// A Packet Identifier, which is never 0 [MQTT-2.2.1-3].
    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId> {
        PacketId::new(self.u16()?).ok_or(MalformedKind::PacketId)
    }
}
