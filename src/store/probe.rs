//! Entries for the fuzz targets, which are not part of this crate: bytes are read as the store reads them.

use std::time::Instant;

use super::clock::Clock;
use super::compaction::keep;
use super::decoding::{item, put_right, read_messages};
use super::frame::{self, FrameHeader, SegmentHeader, StoreId};
use super::index::{Index, IndexCounts, Place};
use super::layout::Meta;
use super::scan::{Scan, later_frames};
use super::sidecar;
use super::wire::WireError;
use super::{Record, SessionKey};

const STORE: StoreId = StoreId(*b"the store itself");

/// What some records come to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    counts: IndexCounts,
    queues: Vec<(SessionKey, Vec<super::QueuedMessage>)>,
}

fn place(offset: u32, length: u32) -> Place {
    Place {
        segment: 1,
        offset,
        length,
    }
}

fn outcome(index: &Index) -> Outcome {
    let counts = IndexCounts {
        // A copy is shorter where some of it does not hold any more.
        live_bytes: 0,
        ..index.counts()
    };
    let keys = index.session_keys();
    let queues = keys.into_iter().map(|key| (key, index.queue(key)));
    Outcome {
        counts,
        queues: queues.collect(),
    }
}

fn index(payload: &[u8], clock: &Clock, heads: &mut Vec<u8>) -> Result<Index, WireError> {
    let mut index = Index::default();
    index.replaying = true;
    sidecar::walk(payload, 0, |offset, length, head| {
        index.apply(&item(head, clock)?, place(offset, length));
        sidecar::note(heads, offset, length, head);
        Ok(())
    })?;
    index.end_replay();
    Ok(index)
}

/// Reads `payload` as the records of a frame, as a sidecar tells them, and as compaction writes them again:
/// all of it comes to the same. Checksums are put right first, or nothing would get past them.
///
/// # Panics
/// It does not.
pub fn records(payload: &[u8]) {
    let clock = Clock::new(Instant::now(), 1_800_000_000_000);
    let mut payload = payload.to_vec();
    put_right(&mut payload);
    let mut heads = Vec::new();
    let Ok(first) = index(&payload, &clock, &mut heads) else {
        return;
    };
    let mut second = Index::default();
    second.replaying = true;
    sidecar::each(&heads, |offset, length, head| {
        second.apply(&item(head, &clock)?, place(offset, length));
        Ok(())
    })
    .expect("what was noted is read");
    second.end_replay();
    assert_eq!(outcome(&first), outcome(&second));
    let mut copy = Vec::new();
    let copied = sidecar::walk(&payload, 0, |offset, length, head| {
        let record = &payload[offset as usize..][..length as usize];
        keep(
            &first,
            &clock,
            place(offset, length),
            head,
            record,
            &mut copy,
        )
    });
    if copied.is_ok() {
        let third = index(&copy, &clock, &mut Vec::new()).expect("what is copied is read");
        assert_eq!(outcome(&first), outcome(&third));
        read_messages(&copy, &clock);
    }
    read_messages(&payload, &clock);
}

/// Reads `bytes` as a segment, a sidecar and META.
///
/// # Panics
/// It does not.
pub fn files(bytes: &[u8]) {
    let _ = SegmentHeader::read(bytes);
    let _ = FrameHeader::read(bytes, STORE);
    let scan = Scan::from(bytes, STORE, 0, 1, 0);
    assert!(scan.end <= bytes.len());
    if let Some(first) = later_frames(bytes, STORE, 0, 0).first {
        assert!(frame::frame(&bytes[first.offset..], STORE).is_some());
    }
    drop(sidecar::each(bytes, |_, _, _| Ok(())));
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Meta::parse(text);
    }
}

/// The records of each of these, to begin with.
pub fn record_seeds(batches: &[Vec<Record>]) -> Vec<Vec<u8>> {
    let clock = Clock::new(Instant::now(), 1_800_000_000_000);
    let seed = |records: &Vec<Record>| {
        let mut out = Vec::new();
        for record in records {
            super::encoding::encode(record, &clock, &mut out);
        }
        out
    };
    batches.iter().map(seed).collect()
}

/// Frames of these, one behind the other, with the header of their segment.
pub fn file_seeds(batches: &[Vec<Record>]) -> Vec<Vec<u8>> {
    let header = SegmentHeader {
        format: frame::FORMAT,
        store: STORE,
        shard: 0,
        number: 1,
        size: 4_096,
        first_pos: 1,
        previous: 0,
        time_ms: 7,
    };
    let mut segment = header.bytes().to_vec();
    let mut previous = 0;
    let mut frames = Vec::new();
    for (pos, records) in (1..).zip(record_seeds(batches)) {
        let mut out = Vec::new();
        frame::begin(&mut out);
        out.extend_from_slice(&records);
        let header = FrameHeader {
            length: 0,
            shard: 0,
            pos,
            epoch: 0,
            durable: pos - 1,
            time_ms: 7,
            previous,
            crc: 0,
        };
        previous = frame::seal(&mut out, STORE, header);
        segment.extend_from_slice(&out);
        frames.push(out);
    }
    frames.push(segment);
    frames
}
