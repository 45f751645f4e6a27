//! The oldest segment is written again at the end of the log as far as it is alive, and removed.
//!
//! Only ever the oldest: that is what makes it safe to forget the records that end something. Whatever they
//! ended was older, and is gone already.

use std::io;
use std::sync::Arc;

use super::clock::Clock;
use super::decoding::{Item, check, item};
use super::disk::DiskFile;
use super::encoding::{copy_publish, encode};
use super::frame::{FRAME_HEADER, FRAME_HEADER_U32, FrameHeader, SEGMENT_HEADER, StoreId, frame};
use super::index::{Held, Index, Place};
use super::record::Record;
use super::sidecar;
use super::wire::WireError;

/// A slice ends when it has read so many bytes or copied so many.
const SLICE_READ: usize = 4 << 20;
const SLICE_COPIED: usize = 256 << 10;

/// The segment that is compacted, and how far it has come.
#[derive(Debug)]
pub(super) struct Compaction {
    pub(super) segment: u32,
    file: Arc<dyn DiskFile>,
    store: StoreId,
    at: u64,
    used: u64,
}

impl Compaction {
    /// Begins with a segment of which `used` bytes are in use.
    pub(super) fn new(segment: u32, file: Arc<dyn DiskFile>, store: StoreId, used: u64) -> Self {
        Self {
            segment,
            file,
            store,
            at: SEGMENT_HEADER as u64,
            used,
        }
    }

    /// Whether all of it was looked at.
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.used
    }

    /// Goes on: adds what is alive to `out`. The caller writes it before anything newer.
    pub(super) fn slice(
        &mut self,
        index: &Index,
        clock: &Clock,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let begun = out.len();
        let mut read = 0;
        while !self.is_done() && read < SLICE_READ && out.len() - begun < SLICE_COPIED {
            let bytes = self.next_frame()?;
            // What is copied together is never much more than it was.
            if out.len() > begun && out.len() - begun + bytes.len() > SLICE_READ {
                break;
            }
            let (_, payload) = frame(&bytes, self.store).ok_or_else(|| self.damaged())?;
            let base = u32::try_from(self.at).unwrap_or(u32::MAX) + FRAME_HEADER_U32;
            let segment = self.segment;
            sidecar::walk(payload, base, |offset, length, head| {
                let place = Place {
                    segment,
                    offset,
                    length,
                };
                let from = (offset - base) as usize;
                let record = payload
                    .get(from..from + length as usize)
                    .ok_or(WireError::Short)?;
                keep(index, clock, place, head, record, out)
            })
            .map_err(|error| {
                let text = format!("{}: {error}", self.damaged());
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?;
            self.at += bytes.len() as u64;
            read += bytes.len();
        }
        Ok(())
    }

    fn next_frame(&self) -> io::Result<Vec<u8>> {
        let mut header = [0; FRAME_HEADER];
        self.file.read_at(&mut header, self.at)?;
        let left = self.used.saturating_sub(self.at + FRAME_HEADER as u64);
        let length = FrameHeader::read(&header, self.store)
            .map(|header| header.length)
            .filter(|length| u64::from(*length) <= left)
            .ok_or_else(|| self.damaged())?;
        let mut bytes = vec![0; FRAME_HEADER + length as usize];
        self.file.read_at(&mut bytes, self.at)?;
        Ok(bytes)
    }

    fn damaged(&self) -> io::Error {
        let text = format!(
            "segment {} at byte {}: a batch cannot be read",
            self.segment, self.at
        );
        io::Error::new(io::ErrorKind::InvalidData, text)
    }
}

/// Copies a record if it holds.
pub(super) fn keep(
    index: &Index,
    clock: &Clock,
    place: Place,
    head: &[u8],
    record: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let item = item(head, clock)?;
    if let Item::Publish {
        targets, retained, ..
    } = &item
    {
        let retained = retained
            .as_deref()
            .is_some_and(|topic| index.retains_at(topic, place));
        let waits = targets
            .iter()
            .any(|target| index.stage_at(target.session, target.seq, place).is_some());
        if retained || waits {
            let stage = |session, seq| index.stage_at(session, seq, place);
            copy_publish(record, retained, stage, out)?;
        }
        return Ok(());
    }
    match index.holds(&item, place) {
        Held::No => {}
        Held::Yes => out.extend_from_slice(record),
        Held::Will(due_ms) => {
            check(record)?;
            out.extend_from_slice(record);
            if let (Item::Will(session, times), Some(due_ms)) = (&item, due_ms)
                && times.due_ms != Some(due_ms)
            {
                // The record that armed it stands in front of this copy now.
                let armed = Record::WillArmed {
                    session: *session,
                    due: clock.instant(due_ms),
                };
                encode(&armed, clock, out);
            }
        }
    }
    Ok(())
}
