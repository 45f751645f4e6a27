//! Looking for frames in the bytes of a segment.

use super::frame::{self, FRAME_HEADER, FrameHeader, StoreId};

/// A frame that stands at an offset of its segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameAt {
    pub(super) offset: usize,
    pub(super) header: FrameHeader,
}

/// The frames of one segment, as far as they follow one another.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) frames: Vec<FrameAt>,
    pub(super) end: usize,
    /// What is at `end`, if it is not the end.
    pub(super) problem: Option<&'static str>,
}

impl Scan {
    /// Reads frames from `at` on, the first of which has number `pos`.
    pub(super) fn from(
        bytes: &[u8],
        store: StoreId,
        mut at: usize,
        mut pos: u64,
        mut previous: u32,
    ) -> Self {
        let mut scan = Self::default();
        while let Some((header, payload)) =
            bytes.get(at..).and_then(|rest| frame::frame(rest, store))
        {
            if header.pos != pos || header.previous != previous {
                scan.end = at;
                scan.problem = Some("a batch is missing in front of this one");
                return scan;
            }
            scan.frames.push(FrameAt { offset: at, header });
            at += FRAME_HEADER + payload.len();
            pos += 1;
            previous = header.crc;
        }
        scan.end = at;
        let rest = bytes.get(at..).unwrap_or_default();
        // In pieces, so that they are looked at several bytes at a time.
        let is_zero = |piece: &[u8]| piece.iter().fold(0, |all, byte| all | byte) == 0;
        if !rest.chunks(4_096).all(is_zero) {
            scan.problem = Some("no whole batch stands here");
        }
        scan
    }

    pub(super) fn last(&self) -> Option<FrameHeader> {
        self.frames.last().map(|frame| frame.header)
    }
}

/// What stands behind a place where no frame does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Later {
    pub(super) first: Option<FrameAt>,
    /// The highest number that any of them knows to be on the disk.
    pub(super) durable: u64,
}

/// Looks for frames behind `from` with numbers from `pos` on, wherever they begin.
pub(super) fn later_frames(bytes: &[u8], store: StoreId, from: usize, pos: u64) -> Later {
    let mut later = Later::default();
    let mut at = from;
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() > FRAME_HEADER) {
        if rest.starts_with(&[0; 4]) {
            // No frame begins with four zeros; most of what is not in use is nothing else.
            let Some(next) = rest.iter().position(|byte| *byte != 0) else {
                break;
            };
            at += next - 3;
            continue;
        }
        match frame::frame(rest, store) {
            Some((header, payload)) if header.pos >= pos => {
                later.first.get_or_insert(FrameAt { offset: at, header });
                later.durable = later.durable.max(header.durable);
                at += FRAME_HEADER + payload.len();
            }
            _ => at += 1,
        }
    }
    later
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: StoreId = StoreId(*b"0123456789abcdef");

    fn frame(pos: u64, durable: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::begin(&mut bytes);
        bytes.extend_from_slice(b"records");
        let header = FrameHeader {
            length: 0,
            shard: 0,
            pos,
            epoch: 0,
            durable,
            time_ms: 0,
            previous: 0,
            crc: 0,
        };
        frame::seal(&mut bytes, STORE, header);
        bytes
    }

    #[test]
    fn a_frame_is_found_wherever_it_begins_and_the_highest_durable_number_of_all() {
        for zeros in 0..6 {
            let mut bytes = b"garbage".to_vec();
            bytes.resize(bytes.len() + zeros, 0);
            let offset = bytes.len();
            bytes.extend_from_slice(&frame(5, 1));
            bytes.extend_from_slice(&[0; 9]);
            bytes.extend_from_slice(&frame(6, 5));
            bytes.extend_from_slice(&frame(7, 2));
            bytes.extend_from_slice(&[0; 99]);
            let later = later_frames(&bytes, STORE, 0, 5);
            let first = later.first.expect("a frame");
            assert_eq!(
                (first.offset, first.header.pos, later.durable),
                (offset, 5, 5)
            );
            let later = later_frames(&bytes, STORE, 0, 7);
            assert_eq!(later.first.expect("a frame").header.pos, 7);
            assert!(later_frames(&bytes, STORE, 0, 8).first.is_none());
            let other = StoreId(*b"another store...");
            assert!(later_frames(&bytes, other, 0, 0).first.is_none());
        }
    }

    /// What a client sends can look like headers everywhere. If each of them were believed, this would take
    /// as long as it takes to read the rest once for each: days.
    #[test]
    fn bytes_that_look_like_headers_everywhere_are_looked_at_once() {
        let like_a_header = &frame(5, 4)[..44];
        let mut bytes = Vec::new();
        while bytes.len() < 16 << 20 {
            let mut header = like_a_header.to_vec();
            header[..4].copy_from_slice(&(1_u32 << 20).to_le_bytes());
            bytes.extend_from_slice(&header);
        }
        let other = StoreId(*b"another store...");
        assert!(later_frames(&bytes, other, 0, 5).first.is_none());
    }
}
