//! A frame is one batch: the unit that is there as a whole or not at all.
//!
//! Its checksum begins with the store's identity, so that nothing a client sends can look like a frame.

use super::wire::Reader;

/// Bytes before a frame's records.
pub(super) const FRAME_HEADER: usize = 52;
/// The same, for places in a file.
pub(super) const FRAME_HEADER_U32: u32 = 52;
/// Largest payload of a frame: one message of the largest size MQTT has, and its records.
pub(super) const MAX_FRAME_BYTES: usize = 300 << 20;
/// Bytes at the front of a segment.
pub(super) const SEGMENT_HEADER: usize = 64;
/// The format that this version writes.
pub(super) const FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"PORTCSEG";

/// What a store is told from others by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoreId(pub(super) [u8; 16]);

impl StoreId {
    fn seed(self) -> u32 {
        crc32c::crc32c(&self.0)
    }

    pub(super) fn hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Bytes of records that follow.
    pub(super) length: u32,
    /// Which log it belongs to; 0 on one machine.
    pub(super) shard: u32,
    /// Its number: one more than that of the frame before.
    pub(super) pos: u64,
    /// Which writer's time it is; 0 on one machine.
    pub(super) epoch: u64,
    /// The highest number that was known to be on the disk when this frame was written.
    pub(super) durable: u64,
    /// When it was written, in milliseconds since 1970.
    pub(super) time_ms: u64,
    /// Checksum of the frame before.
    pub(super) previous: u32,
    /// Checksum of all above and the records.
    pub(super) crc: u32,
}

/// Bytes of a header in front of its two checksums.
const FIELDS: usize = FRAME_HEADER - 8;

impl FrameHeader {
    /// Reads a header; `None` if there is none of this store. It has a checksum of its own, which nobody can
    /// make who does not know the store's identity: to look for a frame among what clients have sent is to
    /// look at each byte once.
    pub(super) fn read(bytes: &[u8], store: StoreId) -> Option<Self> {
        let bytes = bytes.get(..FRAME_HEADER)?;
        let mut reader = Reader::new(bytes);
        let length = reader.u32().ok()?;
        if length == 0 || length as usize > MAX_FRAME_BYTES {
            return None;
        }
        reader.take(FIELDS - 4).ok()?;
        if reader.u32().ok()? != crc32c::crc32c_append(store.seed(), bytes.get(..FIELDS)?) {
            return None;
        }
        let mut reader = Reader::new(bytes);
        let header = Self {
            length: reader.u32().ok()?,
            shard: reader.u32().ok()?,
            pos: reader.u64().ok()?,
            epoch: reader.u64().ok()?,
            durable: reader.u64().ok()?,
            time_ms: reader.u64().ok()?,
            previous: reader.u32().ok()?,
            crc: {
                reader.u32().ok()?;
                reader.u32().ok()?
            },
        };
        Some(header)
    }

    fn bytes(&self, store: StoreId) -> [u8; FRAME_HEADER] {
        let mut bytes = [0; FRAME_HEADER];
        let fields = [
            &self.length.to_le_bytes()[..],
            &self.shard.to_le_bytes(),
            &self.pos.to_le_bytes(),
            &self.epoch.to_le_bytes(),
            &self.durable.to_le_bytes(),
            &self.time_ms.to_le_bytes(),
            &self.previous.to_le_bytes(),
        ];
        for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        let own = crc32c::crc32c_append(store.seed(), &bytes[..FIELDS]);
        bytes[FIELDS..FIELDS + 4].copy_from_slice(&own.to_le_bytes());
        bytes[FIELDS + 4..].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }
}

/// Leaves room for the header at the front of `out`.
pub(super) fn begin(out: &mut Vec<u8>) {
    out.clear();
    out.resize(FRAME_HEADER, 0);
}

/// Writes the header in front of the records that follow it in `out`. Gives the frame's checksum.
pub(super) fn seal(out: &mut [u8], store: StoreId, header: FrameHeader) -> u32 {
    let length = out.len() - FRAME_HEADER;
    let mut header = FrameHeader {
        length: u32::try_from(length).unwrap_or(u32::MAX),
        crc: 0,
        ..header
    };
    header.crc = checksum(store, &header, out.get(FRAME_HEADER..).unwrap_or_default());
    if let Some(front) = out.get_mut(..FRAME_HEADER) {
        front.copy_from_slice(&header.bytes(store));
    }
    header.crc
}

fn checksum(store: StoreId, header: &FrameHeader, payload: &[u8]) -> u32 {
    let bytes = header.bytes(store);
    let crc = crc32c::crc32c_append(store.seed(), &bytes[..FRAME_HEADER - 4]);
    crc32c::crc32c_append(crc, payload)
}

/// The frame at the front of `bytes` with its records, if there is a whole one of this store.
pub(super) fn frame(bytes: &[u8], store: StoreId) -> Option<(FrameHeader, &[u8])> {
    let header = FrameHeader::read(bytes, store)?;
    let length = usize::try_from(header.length).ok()?;
    let payload = bytes.get(FRAME_HEADER..FRAME_HEADER + length)?;
    (checksum(store, &header, payload) == header.crc).then_some((header, payload))
}

/// What stands at the front of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) format: u32,
    pub(super) store: StoreId,
    pub(super) shard: u32,
    pub(super) number: u32,
    /// Bytes that the file was made with: one that is shorter has lost its end.
    pub(super) size: u32,
    /// Number of its first frame.
    pub(super) first_pos: u64,
    /// Checksum of the last frame of the segment before.
    pub(super) previous: u32,
    /// When it was begun, in milliseconds since 1970.
    pub(super) time_ms: u64,
}

impl SegmentHeader {
    pub(super) fn bytes(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        let fields = [
            &MAGIC[..],
            &self.format.to_le_bytes(),
            &self.store.0,
            &self.shard.to_le_bytes(),
            &self.number.to_le_bytes(),
            &self.size.to_le_bytes(),
            &self.first_pos.to_le_bytes(),
            &self.previous.to_le_bytes(),
            &self.time_ms.to_le_bytes(),
        ];
        for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        let crc = crc32c::crc32c(&bytes[..SEGMENT_HEADER - 4]);
        bytes[SEGMENT_HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` if there is none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..SEGMENT_HEADER)?;
        let (fields, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(fields) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut reader = Reader::new(fields);
        if reader.take(MAGIC.len()).ok()? != MAGIC {
            return None;
        }
        Some(Self {
            format: reader.u32().ok()?,
            store: StoreId(reader.take(16).ok()?.try_into().ok()?),
            shard: reader.u32().ok()?,
            number: reader.u32().ok()?,
            size: reader.u32().ok()?,
            first_pos: reader.u64().ok()?,
            previous: reader.u32().ok()?,
            time_ms: reader.u64().ok()?,
        })
    }
}
