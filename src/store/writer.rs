//! The end of the log: frames are added to the last segment, and segments to the log.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::frame::{self, FRAME_HEADER_U32, FrameHeader, SEGMENT_HEADER, SegmentHeader};
use super::layout::{Layout, Meta};
use super::sidecar::{self, Sealed};

/// A segment that is full: what its sidecar needs.
#[derive(Debug)]
pub(super) struct Full {
    pub(super) number: u32,
    pub(super) sealed: Sealed,
    pub(super) heads: Vec<u8>,
}

/// Adds to the log. One thread has it.
#[derive(Debug)]
pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    pub(super) layout: Layout,
    pub(super) meta: Meta,
    segment_bytes: u64,
    file: Option<Arc<dyn DiskFile>>,
    /// Bytes of the file that are there to be written to.
    room: u64,
    at: u64,
    next_pos: u64,
    /// The highest number that is known to be on the disk.
    durable: u64,
    previous: u32,
    last_time_ms: u64,
    heads: Vec<u8>,
    has_spare: bool,
    /// `META` is kept up to date.
    named: bool,
}

/// Where a log goes on.
#[derive(Debug)]
pub(super) struct End {
    pub(super) file: Option<Arc<dyn DiskFile>>,
    pub(super) at: u64,
    pub(super) last_pos: u64,
    pub(super) last_crc: u32,
    pub(super) last_time_ms: u64,
    pub(super) heads: Vec<u8>,
}

impl Writer {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        layout: Layout,
        meta: Meta,
        segment_bytes: u32,
        end: End,
    ) -> io::Result<Self> {
        let room = match &end.file {
            Some(file) => file.len()?,
            None => 0,
        };
        // Room that was left over may be of another size.
        match disk.remove(&layout.spare()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self {
            disk,
            layout,
            meta,
            segment_bytes: u64::from(segment_bytes),
            file: end.file,
            room,
            at: end.at,
            next_pos: end.last_pos + 1,
            durable: end.last_pos,
            previous: end.last_crc,
            last_time_ms: end.last_time_ms,
            heads: end.heads,
            has_spare: false,
            named: true,
        })
    }

    /// The log is not the store's yet: `META` goes on naming another until [`Writer::name`].
    pub(super) fn unnamed(mut self) -> Self {
        self.named = false;
        self
    }

    /// From now on this is the store's log.
    pub(super) fn name(&mut self) -> io::Result<()> {
        self.named = true;
        self.meta.write(&*self.disk, &self.layout)
    }

    /// The number of the segment that is written to; 0 if there is none yet.
    pub(super) fn segment(&self) -> u32 {
        self.meta.last
    }

    /// Where the next record will stand in its segment, if it is in front of a frame of `payload_bytes`.
    pub(super) fn base(&self) -> u32 {
        u32::try_from(self.at).unwrap_or(u32::MAX) + FRAME_HEADER_U32
    }

    /// Bytes that are left in the segment.
    pub(super) fn left(&self) -> u64 {
        self.room - self.at.min(self.room)
    }

    /// Whether a frame of so many bytes, header included, begins a new segment.
    pub(super) fn must_roll(&self, bytes: usize) -> bool {
        self.file.is_none() || self.at + bytes as u64 > self.room
    }

    /// Bytes of the segments that are there, the one kept in reserve included.
    pub(super) fn spare_bytes(&self) -> u64 {
        if self.has_spare {
            self.segment_bytes
        } else {
            0
        }
    }

    /// Size of a new segment that has room for a frame of so many bytes.
    fn size_for(&self, bytes: usize) -> u64 {
        self.segment_bytes.max((SEGMENT_HEADER + bytes) as u64)
    }

    /// Begins a new segment with room for a frame of `bytes` bytes. Gives the one that is full.
    pub(super) fn roll(&mut self, bytes: usize, time_ms: u64) -> io::Result<Option<Full>> {
        let number = self.meta.last.checked_add(1);
        let number = number.ok_or_else(|| io::Error::other("there are no more segment numbers"))?;
        let path = self.layout.segment(number);
        let size = self.size_for(bytes);
        let file = if self.has_spare && size == self.segment_bytes {
            self.disk.rename(&self.layout.spare(), &path)?;
            self.has_spare = false;
            self.disk.open(&path)?
        } else {
            let file = self.disk.create(&path)?;
            file.allocate(size)?;
            file
        };
        let header = SegmentHeader {
            format: frame::FORMAT,
            store: self.meta.store,
            shard: 0,
            number,
            size: u32::try_from(size).map_err(io::Error::other)?,
            first_pos: self.next_pos,
            previous: self.previous,
            time_ms,
        };
        file.write_all_at(&header.bytes(), 0)?;
        file.sync()?;
        self.disk.sync_dir(&self.layout.log())?;
        // From here on the segment must be there.
        let meta = Meta {
            last: number,
            ..self.meta
        };
        if self.named {
            meta.write(&*self.disk, &self.layout)?;
        }
        let full = self.file.take().map(|_| Full {
            number: self.meta.last,
            sealed: Sealed {
                used: self.at,
                last_pos: self.next_pos - 1,
                last_crc: self.previous,
                last_time_ms: self.last_time_ms,
            },
            heads: std::mem::take(&mut self.heads),
        });
        self.meta = meta;
        self.file = Some(file);
        self.room = size;
        self.at = SEGMENT_HEADER as u64;
        Ok(full)
    }

    /// Takes room for the next segment from the disk beforehand, so that there is some when it is full.
    pub(super) fn make_spare(&mut self) -> io::Result<()> {
        if self.has_spare {
            return Ok(());
        }
        let path = self.layout.spare();
        match self.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.disk.create(&path)?;
        let made = file.allocate(self.segment_bytes).and_then(|()| file.sync());
        if let Err(error) = made {
            // What was taken is given back: others may need it more.
            drop(self.disk.remove(&path));
            return Err(error);
        }
        self.has_spare = true;
        Ok(())
    }

    /// Writes a frame, which was begun by [`frame::begin`] and has room in the segment. It is there for
    /// certain after [`Writer::sync`].
    pub(super) fn write(&mut self, frame: &mut [u8], time_ms: u64) -> io::Result<()> {
        let header = FrameHeader {
            length: 0,
            shard: 0,
            pos: self.next_pos,
            epoch: 0,
            durable: self.durable,
            time_ms: time_ms.max(self.last_time_ms),
            previous: self.previous,
            crc: 0,
        };
        let crc = frame::seal(frame, self.meta.store, header);
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        file.write_all_at(frame, self.at)?;
        self.last_time_ms = header.time_ms;
        self.previous = crc;
        self.next_pos += 1;
        self.at += frame.len() as u64;
        Ok(())
    }

    /// Everything that was written is on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.sync()?;
        }
        self.durable = self.next_pos - 1;
        Ok(())
    }

    /// Notes a record that was written, for the sidecar.
    pub(super) fn note(&mut self, offset: u32, length: u32, head: &[u8]) {
        sidecar::note(&mut self.heads, offset, length, head);
    }

    /// Whether there is anything in the segment that is written to.
    pub(super) fn has_frames(&self) -> bool {
        self.file.is_some() && self.at > SEGMENT_HEADER as u64
    }

    /// The file that is written to.
    pub(super) fn file(&self) -> Option<&Arc<dyn DiskFile>> {
        self.file.as_ref()
    }

    /// Removes the oldest segment, of which nothing is alive any more.
    pub(super) fn remove_oldest(&mut self) -> io::Result<u32> {
        let number = self.meta.first;
        let meta = Meta {
            first: number + 1,
            ..self.meta
        };
        meta.write(&*self.disk, &self.layout)?;
        self.meta = meta;
        match self.disk.remove(&self.layout.sidecar(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.disk.remove(&self.layout.segment(number))?;
        self.disk.sync_dir(&self.layout.log())?;
        Ok(number)
    }
}
