//! Opening a store: every record that holds is found again, and what cannot be read is told or, at the very
//! end of the log, was never acknowledged.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::clock::Clock;
use super::decoding::{carries_message, check, head_of, split};
use super::disk::{Disk, DiskFile};
use super::error::{Damage, OpenError};
use super::frame::{FORMAT, FRAME_HEADER, FrameHeader, SEGMENT_HEADER, SegmentHeader, StoreId};
use super::index::Place;
use super::layout::{Layout, Meta};
use super::log::Log;
use super::scan::{Scan, later_frames};
use super::sidecar::{self, Sealed};
use super::wire::WireError;

/// Whether to go on behind what cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// What is damaged is told, and nothing else is done.
    Strict,
    /// What can be read is read.
    Salvage,
    /// The same, and every byte is looked at.
    Inspect,
}

/// Reads the log of a store that is locked by the caller.
pub(super) fn read(
    disk: &dyn Disk,
    layout: &Layout,
    meta: &Meta,
    reading: Reading,
    now: Instant,
    wall_ms: u64,
) -> Result<Log, OpenError> {
    let mut reader = LogReader {
        disk,
        layout,
        meta,
        reading,
        log: Log::new(Clock::new(now, wall_ms)),
        expected: None,
        last: None,
    };
    reader.find_segments()?;
    let last = reader.last_time()?;
    // The time of day never goes back behind what was written: that would give expired things more time.
    reader.log.clock = Clock::new(now, wall_ms.max(last));
    let numbers: Vec<u32> = reader.log.segments.keys().copied().collect();
    for number in numbers {
        reader.segment(number)?;
    }
    let mut log = reader.log;
    log.last_time_ms = log.last_time_ms.max(last);
    log.index.end_replay();
    Ok(log)
}

struct LogReader<'a> {
    disk: &'a dyn Disk,
    layout: &'a Layout,
    meta: &'a Meta,
    reading: Reading,
    log: Log,
    /// Number and chain of the next frame, once one was seen.
    expected: Option<(u64, u32)>,
    /// The last segment, once it was read.
    last: Option<(u32, Vec<u8>)>,
}

impl LogReader<'_> {
    fn damage(&mut self, file: &Path, offset: usize, pos: Option<u64>, what: impl Into<String>) {
        self.log.damages.push(Damage {
            file: file.to_owned(),
            offset: offset as u64,
            pos,
            what: what.into(),
        });
    }

    fn open(&self, number: u32) -> Result<Arc<dyn DiskFile>, OpenError> {
        let path = self.layout.segment(number);
        self.disk.open(&path).map_err(OpenError::io(&path))
    }

    /// Opens the segments there must be, and finds what a crash left over before the first and behind the last.
    fn find_segments(&mut self) -> Result<(), OpenError> {
        let dir = self.layout.log();
        let names = match self.disk.list(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(OpenError::io(&dir))?,
        };
        for number in names.iter().filter_map(|name| Layout::number(name, "idx")) {
            if !(self.meta.first..self.meta.last).contains(&number) {
                self.log.left_over.push(self.layout.sidecar(number));
            }
        }
        for number in names.iter().filter_map(|name| Layout::number(name, "seg")) {
            if (self.meta.first..=self.meta.last).contains(&number) {
                let file = self.open(number)?;
                self.log.segments.insert(number, file);
                continue;
            }
            let path = self.layout.segment(number);
            if number > self.meta.last {
                let bytes = self.bytes(number)?;
                let beyond = number - self.meta.last > 1;
                if beyond || later_frames(&bytes, self.meta.store, 0, 0).first.is_some() {
                    self.damage(&path, 0, None, "META does not know of this segment");
                    if self.reading != Reading::Strict {
                        let file = self.open(number)?;
                        self.log.segments.insert(number, file);
                    }
                    continue;
                }
            }
            self.log.left_over.push(path);
        }
        for number in self.meta.first..=self.meta.last {
            if !self.log.segments.contains_key(&number) {
                let path = self.layout.segment(number);
                self.damage(&path, 0, None, "this segment is missing");
            }
        }
        Ok(())
    }

    fn bytes(&self, number: u32) -> Result<Vec<u8>, OpenError> {
        let path = self.layout.segment(number);
        let read = || {
            let file = self.disk.open(&path)?;
            let length = usize::try_from(file.len()?).map_err(std::io::Error::other)?;
            let mut bytes = vec![0; length];
            let got = file.read_at(&mut bytes, 0)?;
            bytes.truncate(got);
            Ok(bytes)
        };
        read().map_err(OpenError::io(&path))
    }

    /// When the last thing was written.
    fn last_time(&mut self) -> Result<u64, OpenError> {
        let Some(number) = self.log.segments.keys().next_back().copied() else {
            return Ok(0);
        };
        let bytes = self.bytes(number)?;
        let Some(header) = SegmentHeader::read(&bytes) else {
            return Ok(0);
        };
        let scan = Scan::from(
            &bytes,
            self.meta.store,
            SEGMENT_HEADER,
            header.first_pos,
            header.previous,
        );
        let time_ms = scan.last().map_or(header.time_ms, |last| last.time_ms);
        self.last = Some((number, bytes));
        Ok(time_ms)
    }

    fn segment(&mut self, number: u32) -> Result<(), OpenError> {
        let is_last = number == self.meta.last;
        if !is_last && self.reading != Reading::Inspect && self.by_sidecar(number)? {
            return Ok(());
        }
        let path = self.layout.segment(number);
        let bytes = match self.last.take() {
            Some((last, bytes)) if last == number => bytes,
            last => {
                self.last = last;
                self.bytes(number)?
            }
        };
        let store = self.meta.store;
        let Some(header) = SegmentHeader::read(&bytes) else {
            self.damage(
                &path,
                0,
                None,
                "it does not begin as a segment of this store does",
            );
            if self.reading != Reading::Strict {
                self.salvage(number, &bytes, 0)?;
            }
            return Ok(());
        };
        if header.format > FORMAT {
            return Err(OpenError::Newer {
                file: path,
                found: header.format,
                known: FORMAT,
            });
        }
        let chain = (header.first_pos, header.previous);
        if header.store != store || header.number != number {
            self.damage(
                &path,
                0,
                None,
                "it is a segment of another store, or another one of this",
            );
        } else if self.expected.is_some_and(|expected| expected != chain) {
            let pos = self.expected.map(|(pos, _)| pos);
            self.damage(
                &path,
                0,
                pos,
                "batches are missing in front of this segment",
            );
        }
        if bytes.len() < header.size as usize {
            let what = format!("it ends here, and was made with {} bytes", header.size);
            self.damage(&path, bytes.len(), None, what);
        }
        let (mut pos, mut previous, mut at) = (chain.0, chain.1, SEGMENT_HEADER);
        self.log.heads.clear();
        loop {
            let scan = Scan::from(&bytes, store, at, pos, previous);
            self.take(number, &bytes, &scan)?;
            if let Some(last) = scan.last() {
                (pos, previous) = (last.pos + 1, last.crc);
            }
            self.log.end = scan.end as u64;
            (self.log.last_pos, self.log.last_crc) = (pos - 1, previous);
            self.expected = Some((pos, previous));
            self.log.used.insert(number, scan.end as u64);
            let Some(problem) = scan.problem else {
                if !is_last && self.log.damages.is_empty() && self.reading == Reading::Strict {
                    self.write_sidecar(number);
                }
                return Ok(());
            };
            // What follows a batch that was synced was written later.
            let later = later_frames(&bytes, store, scan.end, pos);
            if is_last && later.durable < pos {
                self.found_torn(&bytes);
                return Ok(());
            }
            self.damage(&path, scan.end, Some(pos), problem);
            if self.reading != Reading::Strict {
                self.take_readable(number, &bytes, scan.end);
            }
            match later.first {
                Some(later) if self.reading != Reading::Strict => {
                    (at, pos, previous) = (later.offset, later.header.pos, later.header.previous);
                }
                _ => return Ok(()),
            }
        }
    }

    /// The segment just read has no sidecar. One that cannot be written is no loss.
    fn write_sidecar(&self, number: u32) {
        let sealed = Sealed {
            used: self.log.end,
            last_pos: self.log.last_pos,
            last_crc: self.log.last_crc,
            last_time_ms: self.log.last_time_ms,
        };
        let heads = &self.log.heads;
        let store = self.meta.store;
        drop(sidecar::write(
            self.disk,
            self.layout,
            store,
            number,
            &sealed,
            heads,
        ));
    }

    /// Everything readable of a segment whose beginning is not.
    fn salvage(&mut self, number: u32, bytes: &[u8], mut at: usize) -> Result<(), OpenError> {
        while let Some(found) = later_frames(bytes, self.meta.store, at, 0).first {
            let (pos, previous) = (found.header.pos, found.header.previous);
            let scan = Scan::from(bytes, self.meta.store, found.offset, pos, previous);
            self.take(number, bytes, &scan)?;
            at = scan.end;
        }
        self.expected = None;
        Ok(())
    }

    /// Takes the records of frames.
    fn take(&mut self, number: u32, bytes: &[u8], scan: &Scan) -> Result<(), OpenError> {
        for frame in &scan.frames {
            let from = frame.offset + FRAME_HEADER;
            let length = frame.header.length as usize;
            let payload = bytes.get(from..from + length).unwrap_or_default();
            let base = u32::try_from(from).unwrap_or(u32::MAX);
            let log = &mut self.log;
            let mut heads = std::mem::take(&mut log.heads);
            let walked = sidecar::walk(payload, base, |offset, length, head| {
                sidecar::note(&mut heads, offset, length, head);
                let place = Place {
                    segment: number,
                    offset,
                    length,
                };
                log.apply(place, head)
            });
            log.heads = heads;
            log.last_time_ms = log.last_time_ms.max(frame.header.time_ms);
            if let Err(error) = walked {
                let path = self.layout.segment(number);
                if let WireError::Tag(tag) = error {
                    return Err(OpenError::Newer {
                        file: path,
                        found: u32::from(tag),
                        known: FORMAT,
                    });
                }
                let what = format!("a record cannot be read: {error}");
                self.damage(&path, from, Some(frame.header.pos), what);
            }
        }
        Ok(())
    }

    /// Takes the messages of a frame that is damaged as far as they are whole. What else it says cannot be
    /// known to be so.
    fn take_readable(&mut self, number: u32, bytes: &[u8], at: usize) {
        let frame = bytes.get(at..).unwrap_or_default();
        let Some(header) = FrameHeader::read(frame, self.meta.store) else {
            return;
        };
        let end = FRAME_HEADER + header.length as usize;
        let mut rest = frame
            .get(FRAME_HEADER..end.min(frame.len()))
            .unwrap_or_default();
        let mut offset = at + FRAME_HEADER;
        while let Ok((tag, _, length)) = split(rest) {
            let (record, behind) = rest.split_at(length);
            if carries_message(tag)
                && check(record).is_ok()
                && let Ok(head) = head_of(record)
            {
                let place = Place {
                    segment: number,
                    offset: u32::try_from(offset).unwrap_or(u32::MAX),
                    length: u32::try_from(length).unwrap_or(u32::MAX),
                };
                // Its checksum is right and it cannot be read: then it is one of what cannot.
                drop(self.log.apply(place, head));
            }
            offset += length;
            rest = behind;
        }
    }

    /// Takes a sealed segment by its sidecar; false if it has to be read.
    fn by_sidecar(&mut self, number: u32) -> Result<bool, OpenError> {
        let Some((sealed, heads)) = sidecar::read(self.disk, self.layout, self.meta.store, number)
        else {
            return Ok(false);
        };
        let Some(file) = self.log.segments.get(&number).cloned() else {
            return Ok(false);
        };
        let path = self.layout.segment(number);
        let mut front = [0; SEGMENT_HEADER];
        let length = file.len().map_err(OpenError::io(&path))?;
        file.read_at(&mut front, 0).map_err(OpenError::io(&path))?;
        let Some(header) = SegmentHeader::read(&front) else {
            return Ok(false);
        };
        let chain = (header.first_pos, header.previous);
        let fits = header.store == self.meta.store
            && header.format <= FORMAT
            && header.number == number
            && length >= sealed.used.max(u64::from(header.size))
            && self.expected.is_none_or(|expected| expected == chain);
        if !fits {
            return Ok(false);
        }
        let log = &mut self.log;
        let read = sidecar::each(&heads, |offset, length, head| {
            let place = Place {
                segment: number,
                offset,
                length,
            };
            log.apply(place, head)
        });
        if read.is_err() {
            // Its checksum was right, so it was written so: by a version that knows more.
            return Err(OpenError::Newer {
                file: self.layout.sidecar(number),
                found: FORMAT + 1,
                known: FORMAT,
            });
        }
        self.expected = Some((sealed.last_pos + 1, sealed.last_crc));
        self.log.used.insert(number, sealed.used);
        (self.log.last_pos, self.log.last_crc) = (sealed.last_pos, sealed.last_crc);
        self.log.last_time_ms = self.log.last_time_ms.max(sealed.last_time_ms);
        Ok(true)
    }

    /// A frame was being written when the power failed. Nobody was told that it was there.
    fn found_torn(&mut self, bytes: &[u8]) {
        let end = usize::try_from(self.log.end).unwrap_or(usize::MAX);
        let rest = bytes.get(end..).unwrap_or_default();
        let torn = rest
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        self.log.torn_bytes = torn as u64;
    }
}

/// The lock of a store; it is free again when this is dropped.
pub(super) type Lock = Box<dyn Debug + Send + Sync>;

/// Locks the store at `layout`, whose directory is made if it is not there.
pub(super) fn lock(disk: &dyn Disk, layout: &Layout) -> Result<Lock, OpenError> {
    let dir = layout.root();
    disk.create_dir(dir).map_err(OpenError::io(dir))?;
    let path = layout.lock();
    disk.lock(&path)
        .map_err(OpenError::io(&path))?
        .ok_or(OpenError::Locked(path))
}

/// What `META` says, which is written if the store is new.
pub(super) fn meta(disk: &dyn Disk, layout: &Layout) -> Result<Meta, OpenError> {
    if let Some(meta) = Meta::read(disk, layout)? {
        return Ok(meta);
    }
    let dir = layout.log();
    disk.create_dir(&dir).map_err(OpenError::io(&dir))?;
    let names = disk.list(&dir).map_err(OpenError::io(&dir))?;
    if names
        .iter()
        .any(|name| Layout::number(name, "seg").is_some())
    {
        return Err(OpenError::Damaged(vec![Damage {
            file: layout.meta(),
            offset: 0,
            pos: None,
            what: "it is missing, though there are segments".into(),
        }]));
    }
    let path = layout.meta();
    let meta = Meta {
        store: fresh_id().map_err(OpenError::io(&path))?,
        generation: 0,
        first: 1,
        last: 0,
    };
    meta.write(disk, layout).map_err(OpenError::io(&path))?;
    Ok(meta)
}

/// An identity that no other store has.
pub(super) fn fresh_id() -> std::io::Result<StoreId> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(std::io::Error::other)?;
    Ok(StoreId(id))
}
