//! The index sidecar of a sealed segment: its records without the messages, so that opening a store need
//! not read them. It can always be made again from the segment.

use super::decoding::{has_place, head_of, split};
use super::disk::Disk;
use super::encoding::RECORD_HEADER;
use super::frame::{FORMAT, StoreId};
use super::layout::Layout;
use super::wire::{Reader, WireError, put_bytes};

const MAGIC: [u8; 8] = *b"PORTCIDX";
const HEADER: usize = 8 + 4 + 16 + 4 + 8 + 8 + 4 + 8 + 4;

/// What a whole segment is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    /// Bytes that are used in it.
    pub(super) used: u64,
    /// Number of its last frame.
    pub(super) last_pos: u64,
    /// Checksum of that frame.
    pub(super) last_crc: u32,
    /// When that frame was written.
    pub(super) last_time_ms: u64,
}

/// Goes through the records of a frame that begins at `base` in its segment; `visit` is given the offset and
/// the length of each and its beginning.
pub(super) fn walk<'a>(
    payload: &'a [u8],
    base: u32,
    mut visit: impl FnMut(u32, u32, &'a [u8]) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut at = 0;
    while let Some(rest) = payload.get(at..).filter(|rest| !rest.is_empty()) {
        let (_, _, length) = split(rest)?;
        let record = rest.get(..length).ok_or(WireError::Short)?;
        let offset = u32::try_from(at).map_err(|_| WireError::Short)?;
        let length_u32 = u32::try_from(length).map_err(|_| WireError::Short)?;
        visit(base.saturating_add(offset), length_u32, head_of(record)?)?;
        at += length;
    }
    Ok(())
}

/// Adds the beginning of a record to the heads of its segment.
pub(super) fn note(heads: &mut Vec<u8>, offset: u32, length: u32, head: &[u8]) {
    let tag = head.first().copied().unwrap_or_default();
    heads.push(u8::from(has_place(tag)));
    if has_place(tag) {
        heads.extend_from_slice(&offset.to_le_bytes());
        heads.extend_from_slice(&length.to_le_bytes());
        put_bytes(heads, head);
    } else {
        heads.extend_from_slice(head);
    }
}

/// Goes through heads as [`note`] wrote them.
pub(super) fn each(
    heads: &[u8],
    mut visit: impl FnMut(u32, u32, &[u8]) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut reader = Reader::new(heads);
    while !reader.is_empty() {
        if reader.u8()? == 1 {
            let (offset, length) = (reader.u32()?, reader.u32()?);
            visit(offset, length, reader.bytes()?)?;
        } else {
            let (_, fields, length) = split(reader.rest())?;
            let record = reader.take(RECORD_HEADER + fields.len())?;
            let length = u32::try_from(length).map_err(|_| WireError::Short)?;
            visit(0, length, record)?;
        }
    }
    Ok(())
}

fn bytes(store: StoreId, number: u32, sealed: &Sealed, heads: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + heads.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&store.0);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&sealed.used.to_le_bytes());
    out.extend_from_slice(&sealed.last_pos.to_le_bytes());
    out.extend_from_slice(&sealed.last_crc.to_le_bytes());
    out.extend_from_slice(&sealed.last_time_ms.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), heads);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(heads);
    out
}

/// Writes the sidecar of segment `number`. It is never relied on without its checksum, so it needs no sync.
pub(super) fn write(
    disk: &dyn Disk,
    layout: &Layout,
    store: StoreId,
    number: u32,
    sealed: &Sealed,
    heads: &[u8],
) -> std::io::Result<()> {
    let path = layout.sidecar(number);
    match disk.remove(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&path)?;
    file.write_all_at(&bytes(store, number, sealed, heads), 0)
}

/// Reads the sidecar of segment `number` if there is one that is whole.
pub(super) fn read(
    disk: &dyn Disk,
    layout: &Layout,
    store: StoreId,
    number: u32,
) -> Option<(Sealed, Vec<u8>)> {
    let file = disk.open(&layout.sidecar(number)).ok()?;
    let length = usize::try_from(file.len().ok()?).ok()?;
    let mut all = vec![0; length];
    let got = file.read_at(&mut all, 0).ok()?;
    if got != length || length < HEADER {
        return None;
    }
    let (fields, rest) = all.split_at(HEADER - 4);
    let (crc, heads) = rest.split_first_chunk::<4>()?;
    if crc32c::crc32c_append(crc32c::crc32c(fields), heads) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut reader = Reader::new(fields);
    let is_ours = reader.take(8).ok()? == MAGIC
        && reader.u32().ok()? == FORMAT
        && reader.take(16).ok()? == store.0
        && reader.u32().ok()? == number;
    let sealed = Sealed {
        used: reader.u64().ok()?,
        last_pos: reader.u64().ok()?,
        last_crc: reader.u32().ok()?,
        last_time_ms: reader.u64().ok()?,
    };
    all.drain(..HEADER);
    is_ours.then_some((sealed, all))
}
