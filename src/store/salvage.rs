//! A new log out of what can be read of a damaged one.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::compaction::keep;
use super::disk::Disk;
use super::encoding::{encode, head_of};
use super::error::{Damage, OpenError};
use super::frame::{self, FRAME_HEADER, SEGMENT_HEADER, SegmentHeader, StoreId};
use super::layout::{Layout, Meta};
use super::record::Record;
use super::recovery::{self, Log, Reading, read_record};
use super::settings::StoreSettings;
use super::writer::{End, Writer};

/// A frame of the new log takes no more once it holds so much.
const FRAME_FULL: usize = 512 << 10;

/// What `META` says, or would say if it could be read.
fn salvaged_meta(disk: &dyn Disk, layout: &Layout) -> Result<Meta, OpenError> {
    match Meta::read(disk, layout) {
        Ok(Some(meta)) => return Ok(meta),
        Ok(None) | Err(OpenError::Damaged(_)) => {}
        Err(error) => return Err(error),
    }
    let root = layout.root();
    let names = disk.list(root).map_err(OpenError::io(root))?;
    let generation = names
        .iter()
        .filter(|name| *name == "s0" || name.starts_with("s0-"))
        .filter_map(|name| name.get(3..).unwrap_or("0").parse().ok())
        .max()
        .unwrap_or(0);
    let mut meta = Meta {
        store: StoreId([0; 16]),
        generation,
        first: 1,
        last: 0,
    };
    let layout = layout.of(&meta);
    let dir = layout.log();
    let names = disk.list(&dir).map_err(OpenError::io(&dir))?;
    let mut numbers: Vec<u32> = names
        .iter()
        .filter_map(|name| Layout::number(name, "seg"))
        .collect();
    numbers.sort_unstable();
    if let (Some(first), Some(last)) = (numbers.first(), numbers.last()) {
        (meta.first, meta.last) = (*first, *last);
    }
    let store = numbers
        .iter()
        .find_map(|number| store_of(disk, &layout.segment(*number)));
    meta.store = store.unwrap_or(meta.store);
    Ok(meta)
}

fn store_of(disk: &dyn Disk, path: &Path) -> Option<StoreId> {
    let mut front = [0; SEGMENT_HEADER];
    disk.open(path).ok()?.read_at(&mut front, 0).ok()?;
    SegmentHeader::read(&front).map(|header| header.store)
}

/// Reads what can be read. The caller has the lock.
pub(super) fn read(
    disk: &dyn Disk,
    layout: &Layout,
    now: Instant,
    wall_ms: u64,
) -> Result<(Meta, Log), OpenError> {
    let meta = salvaged_meta(disk, layout)?;
    let layout = layout.of(&meta);
    let log = recovery::read(disk, &layout, &meta, Reading::Salvage, now, wall_ms)?;
    Ok((meta, log))
}

/// Puts a log in the place of the store's own that holds what can be read of it, and sets the old one aside.
/// Until `META` names the new one the old one holds.
pub(super) fn in_place(
    settings: &StoreSettings,
    disk: &Arc<dyn Disk>,
    layout: &Layout,
    now: Instant,
    wall_ms: u64,
) -> Result<(), OpenError> {
    let (old, log) = read(&**disk, layout, now, wall_ms)?;
    let new = Meta {
        generation: old.generation + 1,
        first: 1,
        last: 0,
        ..old
    };
    let old_layout = layout.of(&old);
    copy(settings, Arc::clone(disk), &old_layout, &log, layout, new)?;
    let aside = layout.quarantine();
    let set_aside = || {
        disk.create_dir(&aside)?;
        let name = format!("s0-{}", old.generation);
        disk.rename(&old_layout.log(), &aside.join(name))?;
        disk.sync_dir(&aside)?;
        disk.sync_dir(layout.root())
    };
    set_aside().map_err(OpenError::io(&aside))
}

/// Writes what is alive in `log` as the log that `meta` describes, in the store at `to`. `META` names it when
/// all of it is there.
fn copy(
    settings: &StoreSettings,
    disk: Arc<dyn Disk>,
    from: &Layout,
    log: &Log,
    to: &Layout,
    meta: Meta,
) -> Result<(), OpenError> {
    let to = to.of(&meta);
    let dir = to.log();
    let fresh = || {
        disk.create_dir(&dir)?;
        // An earlier attempt that was broken off.
        for name in disk.list(&dir)? {
            disk.remove(&dir.join(name))?;
        }
        Ok(())
    };
    fresh().map_err(OpenError::io(&dir))?;
    let end = End {
        file: None,
        at: 0,
        last_pos: log.last_pos,
        last_crc: log.last_crc,
        last_time_ms: log.last_time_ms,
        heads: Vec::new(),
    };
    let segment_bytes = settings.segment_bytes;
    let mut copy = Writer::new(disk, to, meta, segment_bytes, end)
        .map(|writer| Copy {
            writer: writer.unnamed(),
            frame: Vec::new(),
            time_ms: log.last_time_ms,
        })
        .map_err(OpenError::io(&dir))?;
    copy.all(from, log).map_err(OpenError::io(&dir))
}

struct Copy {
    writer: Writer,
    frame: Vec<u8>,
    time_ms: u64,
}

impl Copy {
    fn all(&mut self, from: &Layout, log: &Log) -> std::io::Result<()> {
        frame::begin(&mut self.frame);
        for place in log.index.places() {
            let Some(file) = log.segments.get(&place.segment) else {
                continue;
            };
            let record = read_record(&**file, place)?;
            let kept = head_of(&record).and_then(|head| {
                keep(
                    &log.index,
                    &log.clock,
                    place,
                    head,
                    &record,
                    &mut self.frame,
                )
            });
            if let Err(error) = kept {
                // It was readable as a part of its batch; what it carries is not.
                let path = from.segment(place.segment);
                tracing::error!("{} at byte {}: {error}", path.display(), place.offset);
            }
            self.flush(FRAME_FULL)?;
        }
        for record in log.index.small_records() {
            encode(&record, &log.clock, &mut self.frame);
            self.flush(FRAME_FULL)?;
        }
        encode(&Record::Alive, &log.clock, &mut self.frame);
        self.flush(0)?;
        self.writer.sync()?;
        self.writer.name()
    }

    fn flush(&mut self, full: usize) -> std::io::Result<()> {
        if self.frame.len() - FRAME_HEADER <= full {
            return Ok(());
        }
        if self.writer.must_roll(self.frame.len()) {
            self.writer.sync()?;
            self.writer.roll(self.frame.len(), self.time_ms)?;
        }
        self.writer.write(&mut self.frame, self.time_ms)?;
        frame::begin(&mut self.frame);
        Ok(())
    }
}

/// Makes a store at `to`, where none is, of what can be read of the one at `from`. Gives what cannot.
///
/// # Errors
/// The store is in use, or the disk refuses.
pub fn salvage(
    disk: Arc<dyn Disk>,
    from: &Path,
    to: &StoreSettings,
    now: Instant,
    wall_ms: u64,
) -> Result<Vec<Damage>, OpenError> {
    let layout = Layout::new(from);
    let _lock = recovery::lock(&*disk, &layout)?;
    let (old, log) = read(&*disk, &layout, now, wall_ms)?;
    let target = Layout::new(&to.directory);
    let _target_lock = recovery::lock(&*disk, &target)?;
    if Meta::read(&*disk, &target)?.is_some() {
        return Err(OpenError::Io {
            path: to.directory.clone(),
            error: std::io::ErrorKind::AlreadyExists.into(),
        });
    }
    let meta = Meta {
        generation: 0,
        first: 1,
        last: 0,
        ..old
    };
    copy(to, disk, &layout.of(&old), &log, &target, meta)?;
    Ok(log.damages)
}
