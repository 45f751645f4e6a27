//! A new log out of what can be read of a damaged one.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::compaction::keep;
use super::decoding::{check_carrier, head_of};
use super::disk::Disk;
use super::encoding::encode;
use super::error::{Damage, OpenError};
use super::frame::{self, FRAME_HEADER, SEGMENT_HEADER, SegmentHeader, StoreId};
use super::index::Place;
use super::layout::{Layout, Meta};
use super::log::{Log, read_record};
use super::record::Record;
use super::recovery::{self, Reading};
use super::settings::StoreSettings;
use super::writer::{End, Writer};

/// A frame of the new log takes no more once it holds so much.
const FRAME_FULL: usize = 512 << 10;

/// Generations of logs that are there.
fn generations(disk: &dyn Disk, layout: &Layout) -> Result<Vec<u32>, OpenError> {
    let root = layout.root();
    let names = disk.list(root).map_err(OpenError::io(root))?;
    let mut generations: Vec<u32> = names
        .iter()
        .filter_map(|name| match name.strip_prefix("s0")? {
            "" => Some(0),
            number => number.strip_prefix('-')?.parse().ok(),
        })
        .collect();
    generations.sort_unstable();
    Ok(generations)
}

fn segments(disk: &dyn Disk, layout: &Layout) -> Result<Vec<u32>, OpenError> {
    let dir = layout.log();
    let names = match disk.list(&dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        names => names.map_err(OpenError::io(&dir))?,
    };
    let numbers = names.iter().filter_map(|name| Layout::number(name, "seg"));
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// What `META` says, or would say if it could be read.
pub(super) fn salvaged_meta(disk: &dyn Disk, layout: &Layout) -> Result<Meta, OpenError> {
    match Meta::read(disk, layout) {
        Ok(Some(meta)) => return Ok(meta),
        Ok(None) | Err(OpenError::Damaged(_)) => {}
        Err(error) => return Err(error),
    }
    let mut meta = Meta {
        store: StoreId([0; 16]),
        generation: 0,
        first: 1,
        last: 0,
    };
    // Of two the later one is a copy that was not completed, or one that was and has not been used yet.
    for generation in generations(disk, layout)? {
        meta.generation = generation;
        let layout = layout.of(&meta);
        let numbers = segments(disk, &layout)?;
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
            continue;
        };
        (meta.first, meta.last) = (*first, *last);
        let store = numbers
            .iter()
            .find_map(|number| store_of(disk, &layout.segment(*number)));
        meta.store = match store {
            Some(store) => store,
            None => recovery::fresh_id().map_err(OpenError::io(&layout.log()))?,
        };
        break;
    }
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
/// Until `META` names the new one the old one holds. Gives what cannot be read.
pub(super) fn in_place(
    settings: &StoreSettings,
    disk: &Arc<dyn Disk>,
    layout: &Layout,
    now: Instant,
    wall_ms: u64,
) -> Result<Vec<Damage>, OpenError> {
    let (old, mut log) = read(&**disk, layout, now, wall_ms)?;
    let new = Meta {
        generation: old.generation + 1,
        first: 1,
        last: 0,
        ..old
    };
    let old_layout = layout.of(&old);
    let lost = copy(settings, Arc::clone(disk), &old_layout, &log, layout, new)?;
    log.damages.extend(lost);
    set_aside(&**disk, &layout.of(&new))?;
    Ok(log.damages)
}

/// Sets logs aside that were before the one `layout` is of.
pub(super) fn set_aside(disk: &dyn Disk, layout: &Layout) -> Result<(), OpenError> {
    let aside = layout.quarantine();
    for generation in generations(disk, layout)? {
        if generation >= layout.generation() {
            continue;
        }
        let old = layout.of_generation(generation);
        let go = || {
            disk.create_dir(&aside)?;
            let taken = disk.list(&aside)?;
            let mut name = format!("s0-{generation}");
            while taken.contains(&name) {
                name.push('x');
            }
            disk.rename(&old.log(), &aside.join(name))?;
            disk.sync_dir(&aside)?;
            disk.sync_dir(layout.root())
        };
        go().map_err(OpenError::io(&aside))?;
    }
    Ok(())
}

/// What was set aside and is still there: nobody has looked at it.
pub(super) fn still_aside(disk: &dyn Disk, layout: &Layout) -> Result<Vec<Damage>, OpenError> {
    let aside = layout.quarantine();
    let names = match disk.list(&aside) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        names => names.map_err(OpenError::io(&aside))?,
    };
    let told = |name: &String| Damage {
        file: aside.join(name),
        offset: 0,
        pos: None,
        what: "a damaged log was set aside; remove it when you have looked at it".into(),
    };
    Ok(names.iter().map(told).collect())
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
) -> Result<Vec<Damage>, OpenError> {
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
            lost: Vec::new(),
        })
        .map_err(OpenError::io(&dir))?;
    copy.all(from, log).map_err(OpenError::io(&dir))?;
    Ok(copy.lost)
}

struct Copy {
    writer: Writer,
    frame: Vec<u8>,
    time_ms: u64,
    /// Records that hold and cannot be read.
    lost: Vec<Damage>,
}

impl Copy {
    fn all(&mut self, from: &Layout, log: &Log) -> std::io::Result<()> {
        frame::begin(&mut self.frame);
        // What was told of sessions is known already. Their records have no checksums of their own, and their
        // batches may never have been read.
        for record in log.sessions() {
            encode(&record, &log.clock, &mut self.frame);
            self.flush(FRAME_FULL)?;
        }
        for (place, is_will) in log.index.places() {
            if let Err(what) = self.one(log, place, is_will) {
                self.lost.push(Damage {
                    file: from.segment(place.segment),
                    offset: u64::from(place.offset),
                    pos: None,
                    what: format!("a message cannot be read: {what}"),
                });
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

    fn one(&mut self, log: &Log, place: Place, is_will: bool) -> Result<(), String> {
        let Some(file) = log.segments.get(&place.segment) else {
            return Err("its segment is missing".into());
        };
        let record = read_record(&**file, place).map_err(|error| error.to_string())?;
        let length = self.frame.len();
        let kept = check_carrier(&record, is_will)
            .and_then(|()| head_of(&record))
            .and_then(|head| {
                let (index, clock) = (&log.index, &log.clock);
                keep(index, clock, place, head, &record, &mut self.frame)
            });
        kept.map_err(|error| {
            self.frame.truncate(length);
            error.to_string()
        })
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
    let (old, mut log) = read(&*disk, &layout, now, wall_ms)?;
    let target = Layout::new(&to.directory);
    let _target_lock = recovery::lock(&*disk, &target)?;
    // Whatever is there is somebody's, also when its META is lost.
    if Meta::read(&*disk, &target)?.is_some() || !generations(&*disk, &target)?.is_empty() {
        return Err(OpenError::Io {
            path: to.directory.clone(),
            error: ErrorKind::AlreadyExists.into(),
        });
    }
    let meta = Meta {
        generation: 0,
        first: 1,
        last: 0,
        ..old
    };
    let lost = copy(to, disk, &layout.of(&old), &log, &target, meta)?;
    log.damages.extend(lost);
    Ok(log.damages)
}
