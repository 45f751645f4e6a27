//! A place in the file. Nothing is read beyond the end, and nothing is allocated for bytes that are not there.

use super::problem::{Located, Wrong};

type Result<T> = std::result::Result<T, Located>;

/// Later than any time mosquitto could have computed: year 36812.
const LAST_SECOND: u64 = 1 << 40;

#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at: 0 }
    }

    /// Where it is in the file.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn bytes(&mut self, wanted: usize) -> Result<&'a [u8]> {
        let Some((head, rest)) = self.rest.split_at_checked(wanted) else {
            let left = self.rest.len();
            return Err(Wrong::Short { wanted, left }.at(self.at));
        };
        self.rest = rest;
        self.at += wanted;
        Ok(head)
    }

    /// The next bytes as a whole of their own.
    pub(super) fn part(&mut self, wanted: usize) -> Result<Self> {
        let at = self.at;
        let rest = self.bytes(wanted)?;
        Ok(Self { rest, at })
    }

    /// Nothing may be left.
    pub(super) fn finish(&self) -> Result<()> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Wrong::Surplus(left).at(self.at)),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A number in the order of the machine, which is taken to be that of nearly all: little-endian.
    pub(super) fn native(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Seconds since 1970; 0 is none.
    pub(super) fn time(&mut self) -> Result<Option<u64>> {
        let at = self.at;
        match self.native()? {
            0 => Ok(None),
            time if time <= LAST_SECOND => Ok(Some(time)),
            time => Err(Wrong::Time(time).at(at)),
        }
    }

    /// The same in four bytes.
    pub(super) fn short_time(&mut self) -> Result<Option<u64>> {
        let time = u64::from(u32::from_le_bytes(self.array()?));
        Ok((time != 0).then_some(time))
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool> {
        let at = self.at;
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(Wrong::Flag { field, found }.at(at)),
        }
    }

    pub(super) fn qos(&mut self) -> Result<crate::codec::QoS> {
        let at = self.at;
        let bits = self.u8()?;
        crate::codec::QoS::from_bits(bits).ok_or_else(|| Wrong::QoS(bits).at(at))
    }

    /// A text whose length is known, as MQTT has texts.
    pub(super) fn text(&mut self, length: u16, field: &'static str) -> Result<&'a str> {
        let at = self.at;
        let bytes = self.bytes(usize::from(length))?;
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Ok(text),
            _ => Err(Wrong::Text(field).at(at)),
        }
    }

    /// A text with its length before it.
    pub(super) fn counted(&mut self, field: &'static str) -> Result<&'a str> {
        let length = self.u16()?;
        self.text(length, field)
    }
}
