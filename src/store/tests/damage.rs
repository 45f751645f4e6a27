//! Whatever happens to the files of a store: it is told, or it changes nothing. Never is anything else read
//! than what was written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::crash::seeds;
use super::faults::FaultDisk;
use super::model::{History, View, Workload, expected, open_on, seen, small};
use super::world::{WALL_MS, commit, publish, receiver};
use crate::store::frame::{self, FrameHeader, SegmentHeader};
use crate::store::scan::Scan;
use crate::store::{
    Damage, Journal, OnDamage, OpenError, Record, Recovered, Store, StoreSettings, salvage,
};

type Files = BTreeMap<String, Vec<u8>>;

const META: &str = "/data/store/META";

fn segment(number: u32) -> String {
    format!("/data/store/s0/{number:010}.seg")
}

fn sidecar(number: u32) -> String {
    format!("/data/store/s0/{number:010}.idx")
}

fn settings() -> StoreSettings {
    StoreSettings {
        segment_bytes: 1 << 10,
        ..small()
    }
}

/// A store of some segments that was closed, and what is in it.
struct Closed {
    begun: Instant,
    files: Files,
    view: View,
}

fn closed(seed: u64) -> Closed {
    let begun = Instant::now();
    let disk = FaultDisk::new();
    let mut workload = Workload::new(seed, begun, 600);
    let mut history = History::new(workload.state.clone());
    let (store, _) = open_on(&disk, begun, &settings()).expect("a store");
    history.work(&store, &mut workload, 40);
    drop(store);
    let view = expected(begun, &workload.state);
    // Sidecars are written beside the rest.
    drop(open_on(&disk, begun, &settings()).expect("a store"));
    let mut files = disk.all_files();
    files.remove("/data/store/s0/spare");
    let closed = Closed { begun, files, view };
    assert!(closed.segments().len() >= 4, "{:?}", closed.files.keys());
    closed
}

impl Closed {
    fn segments(&self) -> Vec<u32> {
        let number = |name: &String| {
            let name = name.strip_prefix("/data/store/s0/")?;
            name.strip_suffix(".seg")?.parse().ok()
        };
        self.files.keys().filter_map(number).collect()
    }

    fn changed(&self, change: impl FnOnce(&mut Files)) -> FaultDisk {
        let mut files = self.files.clone();
        change(&mut files);
        FaultDisk::with(&files)
    }

    fn open(&self, change: impl FnOnce(&mut Files)) -> Result<(Journal, Recovered), OpenError> {
        open_on(&self.changed(change), self.begun, &settings())
    }

    /// The damages that are told of a store with this change.
    fn damages(&self, change: impl FnOnce(&mut Files)) -> Vec<Damage> {
        match self.open(change) {
            Err(OpenError::Damaged(damages)) => damages,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it opens"),
        }
    }

    fn is_whole(&self, store: &Journal, found: &Recovered) {
        assert_eq!(seen(self.begun, store, found), self.view);
    }
}

/// One bit of `file` is another. Gives whether it was found.
fn flip(closed: &Closed, file: &str, offset: usize, bit: usize) -> bool {
    let opened = closed.open(|files| {
        files.get_mut(file).expect("a file")[offset] ^= 1 << bit;
    });
    let at = format!("{file} at byte {offset}, bit {bit}");
    let (store, found) = match opened {
        Ok(opened) => opened,
        Err(OpenError::Damaged(damages)) => {
            assert!(!file.ends_with("idx"), "{at}: {damages:?}");
            let first = damages.first().expect("a damage");
            assert_eq!(first.file, Path::new(file), "{at}");
            assert!(first.offset <= offset as u64, "{at}: {first}");
            return true;
        }
        Err(other) => panic!("{at}: {other}"),
    };
    let view = seen(closed.begun, &store, &found);
    let mut unreadable = BTreeSet::new();
    let wanted: BTreeSet<_> = closed.view.iter().collect();
    for line in view.iter().filter(|line| !wanted.contains(line)) {
        let (seq, place) = line.split_once(" is unreadable: ").expect(&at);
        assert!(place.starts_with(file), "{at}: {line}");
        unreadable.insert(seq.to_owned() + " ");
    }
    let is_told = |line: &String| unreadable.iter().any(|seq| line.starts_with(seq));
    let got: BTreeSet<_> = view.iter().collect();
    for line in closed.view.iter().filter(|line| !got.contains(line)) {
        assert!(is_told(line), "{at}: not there: {line}");
    }
    !unreadable.is_empty()
}

#[test]
fn a_changed_bit_is_told_or_changes_nothing() {
    // One bit of each byte, and another one with each seed.
    for seed in seeds(1) {
        let closed = closed(3);
        let mut found = 0;
        for (file, content) in &closed.files {
            let used = content
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1);
            // Behind what is in use nothing has a meaning: some places are enough.
            let behind = (used..content.len()).step_by(97);
            for offset in (0..used).chain(behind) {
                let bit = (offset + usize::try_from(seed).expect("small")) % 8;
                found += usize::from(flip(&closed, file, offset, bit));
            }
        }
        assert!(found > 1_000, "{found}");
    }
}

#[test]
fn a_segment_that_is_missing_is_told_by_its_name() {
    let closed = closed(1);
    let segments = closed.segments();
    let (first, last) = (segments[0], *segments.last().expect("some"));
    for number in [first, segments[1], last] {
        let damages = closed.damages(|files| {
            files.remove(&segment(number));
        });
        assert_eq!(damages[0].file, Path::new(&segment(number)));
        assert_eq!(damages[0].what, "this segment is missing");
    }
}

#[test]
fn a_store_without_meta_is_told_and_nothing_of_it_is_overwritten() {
    let closed = closed(1);
    let damages = closed.damages(|files| {
        files.remove(META);
    });
    assert_eq!(damages[0].file, Path::new(META));
    assert_eq!(damages[0].what, "it is missing, though there are segments");
}

#[test]
fn a_sidecar_that_is_missing_or_of_another_segment_is_made_again() {
    let closed = closed(1);
    let segments = closed.segments();
    let (one, other) = (sidecar(segments[0]), sidecar(segments[1]));
    assert!(closed.files.contains_key(&one) && closed.files.contains_key(&other));
    let disk = closed.changed(|files| {
        files.remove(&one);
        let swapped = files[&other].clone();
        files.insert(one.clone(), swapped);
    });
    let (store, found) = open_on(&disk, closed.begun, &settings()).expect("a store");
    closed.is_whole(&store, &found);
    assert_eq!(disk.content(Path::new(&one)), closed.files[&one]);
}

#[test]
fn segments_that_changed_places_are_told() {
    let closed = closed(1);
    let (one, other) = (segment(closed.segments()[0]), segment(closed.segments()[1]));
    let damages = closed.damages(|files| {
        let first = files.remove(&one).expect("a file");
        let second = files.insert(other.clone(), first).expect("a file");
        files.insert(one.clone(), second);
    });
    assert_eq!(damages[0].file, Path::new(&one));
    assert_eq!(
        damages[0].what,
        "it is a segment of another store, or another one of this"
    );
}

#[test]
fn a_segment_of_another_store_is_told() {
    let (one, other) = (closed(1), closed(1));
    for number in [one.segments()[1], *one.segments().last().expect("some")] {
        let name = segment(number);
        let damages = one.damages(|files| {
            files.insert(name.clone(), other.files[&name].clone());
        });
        assert_eq!(damages[0].file, Path::new(&name));
        assert_eq!(damages[0].offset, 0);
    }
}

#[test]
fn a_file_that_is_shorter_than_it_was_is_told() {
    let closed = closed(1);
    let segments = closed.segments();
    for number in [segments[0], segments[1]] {
        for length in [0, 10, 64, 80, 200] {
            let name = segment(number);
            let damages =
                closed.damages(|files| files.get_mut(&name).expect("a file").truncate(length));
            assert_eq!(damages[0].file, Path::new(&name), "{length}");
        }
    }
    let name = segment(*segments.last().expect("some"));
    for length in [0, 63, 64, 300, 1_000] {
        let damages =
            closed.damages(|files| files.get_mut(&name).expect("a file").truncate(length));
        assert_eq!(damages[0].file, Path::new(&name), "{length}");
    }
    let damages = closed.damages(|files| files.get_mut(META).expect("META").truncate(30));
    assert_eq!(damages[0].file, Path::new(META));
    let (store, found) = closed
        .open(|files| {
            files
                .get_mut(&sidecar(segments[0]))
                .expect("a file")
                .truncate(100);
        })
        .expect("it is made again");
    closed.is_whole(&store, &found);
}

fn meta_of_format(meta: &[u8], format: u32) -> Vec<u8> {
    let text = std::str::from_utf8(meta).expect("text");
    let body = text.split_once("crc").expect("a checksum").0;
    let body = body.replace("format 1", &format!("format {format}"));
    format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes())).into_bytes()
}

#[test]
fn a_store_of_a_newer_format_is_left_alone_and_its_format_told() {
    let closed = closed(1);
    let name = segment(closed.segments()[1]);
    let newer = |error: OpenError, file: &str, number: u32| match error {
        OpenError::Newer {
            file: at, found, ..
        } => {
            assert_eq!((&*at, found), (Path::new(file), number));
        }
        other => panic!("{other}"),
    };
    let error = closed.open(|files| {
        let meta = meta_of_format(&files[META], 2);
        files.insert(META.into(), meta);
    });
    newer(error.expect_err("newer"), META, 2);
    // A segment of a newer one, of which there is no sidecar yet.
    let error = closed.open(|files| {
        files.retain(|name, _| !name.ends_with("idx"));
        let bytes = files.get_mut(&name).expect("a file");
        bytes[8] = 3;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    });
    newer(error.expect_err("newer"), &name, 3);
}

/// The last segment with a frame more, whose records are `payload`.
fn with_a_frame(files: &Files, name: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = files[name].clone();
    let header = SegmentHeader::read(&bytes).expect("a segment");
    let scan = Scan::from(&bytes, header.store, 64, header.first_pos, header.previous);
    let last = scan.last().expect("a frame");
    let mut frame = Vec::new();
    frame::begin(&mut frame);
    frame.extend_from_slice(payload);
    let next = FrameHeader {
        pos: last.pos + 1,
        durable: last.pos,
        previous: last.crc,
        ..last
    };
    frame::seal(&mut frame, header.store, next);
    bytes[scan.end..scan.end + frame.len()].copy_from_slice(&frame);
    bytes
}

#[test]
fn a_record_of_a_kind_that_is_not_known_belongs_to_a_newer_version() {
    let closed = closed(1);
    let name = segment(*closed.segments().last().expect("some"));
    let lenient = StoreSettings {
        on_damage: OnDamage::Quarantine,
        ..settings()
    };
    for settings in [settings(), lenient] {
        let disk = closed.changed(|files| {
            let bytes = with_a_frame(files, &name, &[99, 1, 0, 0, 0, 7]);
            files.insert(name.clone(), bytes);
        });
        match open_on(&disk, closed.begun, &settings) {
            Err(OpenError::Newer { file, found, .. }) => {
                assert_eq!((&*file, found), (Path::new(&name), 99));
            }
            other => panic!("{other:?}"),
        }
    }
    // One that is known changes nothing else: the frame is as it should be.
    let (store, found) = closed
        .open(|files| {
            let bytes = with_a_frame(files, &name, &[15, 0, 0, 0, 0]);
            files.insert(name.clone(), bytes);
        })
        .expect("a store");
    closed.is_whole(&store, &found);
}

#[test]
fn a_second_after_the_last_batch_its_damage_is_told_from_a_torn_write() {
    let begun = Instant::now();
    let disk = FaultDisk::new();
    let (store, _) = open_on(&disk, begun, &settings()).expect("a store");
    let facts = super::world::facts("pump").into();
    let session = super::world::key(1);
    commit(&store, vec![Record::Session { session, facts }]);
    let unsettled = disk.all_files();
    let until = Instant::now() + Duration::from_secs(30);
    while store.numbers().commits < 2 {
        assert!(Instant::now() < until, "nothing is written behind it");
        std::thread::yield_now();
    }
    let settled = disk.all_files();
    disk.kill();
    drop(store);
    let spoilt = |mut files: Files| {
        files.get_mut(&segment(1)).expect("a file")[64 + 60] ^= 1;
        FaultDisk::with(&files)
    };
    // Nothing tells that it was ever there as a whole.
    let (store, found) = open_on(&spoilt(unsettled), begun, &settings()).expect("a store");
    assert!(store.torn_bytes() > 0 && found.sessions.is_empty());
    let error = open_on(&spoilt(settled), begun, &settings()).expect_err("damaged");
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
}

#[test]
fn quarantine_keeps_what_can_be_read_and_tells_the_rest() {
    let closed = closed(1);
    let lenient = StoreSettings {
        on_damage: OnDamage::Quarantine,
        ..settings()
    };
    let last = *closed.segments().last().expect("some");
    let disk = closed.changed(|files| {
        let bytes = files.get_mut(&segment(last)).expect("a file");
        // In the first batch of the last segment, which others follow.
        bytes[64 + 60] ^= 1;
    });
    let before = disk.all_files();
    {
        let (store, found) = open_on(&disk, closed.begun, &lenient).expect("it opens");
        let told = store.quarantined();
        assert_eq!(told[0].file, Path::new(&segment(last)));
        assert_eq!(told[0].offset, 64);
        assert!(told[0].pos.is_some());
        assert_eq!(store.numbers().quarantined, told.len());
        // Nothing is there that never was, but for what the lost batch ended.
        assert!(!found.sessions.is_empty());
        commit(&store, vec![Record::Alive]);
    }
    let name = format!("/data/store/quarantine/s0-0/{last:010}.seg");
    assert_eq!(disk.content(Path::new(&name)), before[&segment(last)]);
    let (store, _) = open_on(&disk, closed.begun, &settings()).expect("it is whole now");
    // It is told as long as it is there.
    let told = store.quarantined();
    assert_eq!(told[0].file, Path::new("/data/store/quarantine/s0-0"));
    let files = disk.all_files();
    assert!(
        files
            .keys()
            .any(|name| name.starts_with("/data/store/s0-1/"))
    );
}

/// A store in which a message waits, and a session's facts stand, behind a sidecar.
fn behind_a_sidecar() -> (Instant, FaultDisk) {
    let begun = Instant::now();
    let disk = FaultDisk::new();
    let (store, _) = open_on(&disk, begun, &settings()).expect("a store");
    let facts = super::world::facts("pump").into();
    let session = super::world::key(1);
    commit(&store, vec![Record::Session { session, facts }]);
    let text = "x".repeat(300);
    for seq in 1..8 {
        commit(&store, vec![publish("a", &text, vec![receiver(1, seq)])]);
    }
    drop(store);
    drop(open_on(&disk, begun, &settings()).expect("a store"));
    (begun, disk)
}

#[test]
fn what_is_set_aside_behind_a_sidecar_is_never_taken_for_whole() {
    let (begun, disk) = behind_a_sidecar();
    let files = disk.all_files();
    let segment_1 = &files[&segment(1)];
    let place = |text: &[u8]| segment_1.windows(text.len()).position(|part| part == text);
    let (name, body) = (
        place(b"pump").expect("there"),
        place(b"xxxx").expect("there"),
    );
    let disk = FaultDisk::with(&files);
    disk.change(Path::new(&segment(1)), |bytes| {
        bytes[name] = b'l';
        bytes[body] = b'y';
    });
    // META is lost: the store is salvaged, and the first segment taken by its sidecar.
    let mut files = disk.all_files();
    files.remove(META);
    let disk = FaultDisk::with(&files);
    let lenient = StoreSettings {
        on_damage: OnDamage::Quarantine,
        ..settings()
    };
    let (store, found) = open_on(&disk, begun, &lenient).expect("it opens");
    assert_eq!(found.sessions[0].facts.client_id.as_str(), "pump");
    let told: Vec<_> = store
        .quarantined()
        .iter()
        .map(|damage| &damage.what)
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("it is missing"));
    assert_eq!(told[1], "a message cannot be read: its checksum is wrong");
    let kept: Vec<_> = found.sessions[0]
        .queue
        .iter()
        .map(|queued| queued.seq)
        .collect();
    assert_eq!(kept, [2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_retained_message_that_cannot_be_read_is_told_when_the_store_is_opened() {
    let begun = Instant::now();
    let disk = FaultDisk::new();
    {
        let (store, _) = open_on(&disk, begun, &settings()).expect("a store");
        for number in 0..6 {
            let message = super::world::message(&format!("t/{number}"), &"z".repeat(300));
            let retained = Record::Publish {
                message,
                retained: true,
                receivers: Vec::new(),
            };
            commit(&store, vec![retained]);
        }
    }
    drop(open_on(&disk, begun, &settings()).expect("a store"));
    disk.change(Path::new(&segment(1)), |bytes| {
        let body = bytes.windows(4).position(|part| part == b"zzzz");
        bytes[body.expect("there")] = b'y';
    });
    let error = open_on(&disk, begun, &settings())
        .expect_err("damaged")
        .to_string();
    assert!(error.contains(&segment(1)), "{error}");
    let lenient = StoreSettings {
        on_damage: OnDamage::Quarantine,
        ..settings()
    };
    let (store, found) = open_on(&disk, begun, &lenient).expect("it opens");
    assert_eq!(found.retained.len(), 5);
    assert!(!store.quarantined().is_empty());
}

#[test]
fn what_compaction_cannot_read_ends_the_store_and_is_told_at_the_next_start() {
    let (begun, disk) = behind_a_sidecar();
    disk.change(Path::new(&segment(1)), |bytes| {
        let body = bytes.windows(4).position(|part| part == b"xxxx");
        bytes[body.expect("there")] = b'y';
    });
    let (store, _) = open_on(&disk, begun, &settings()).expect("a sidecar stands for it");
    let session = super::world::key(1);
    let mut ticket = 0;
    for seq in 2..40 {
        ticket = store.commit(crate::store::Batch {
            records: vec![
                Record::Done { session, seq },
                publish("a", &"y".repeat(300), vec![receiver(1, seq + 100)]),
                Record::Done {
                    session,
                    seq: seq + 100,
                },
            ],
            urgent: true,
        });
        while store.committed() < ticket && store.failure().is_none() {
            std::thread::yield_now();
        }
    }
    let why = store.failure().expect("it has failed");
    assert_eq!(
        why.split(':').next(),
        Some("segment 1 at byte 132"),
        "{why}"
    );
    assert!(store.committed() < ticket);
    drop(store);
    let error = open_on(&disk, begun, &settings())
        .expect_err("damaged")
        .to_string();
    assert!(error.contains(&segment(1)), "{error}");
}

#[test]
fn salvage_makes_a_store_of_what_can_be_read_and_touches_neither_the_old_nor_another() {
    let closed = closed(1);
    let disk = closed.changed(|_| {});
    let before = disk.all_files();
    let to = StoreSettings {
        directory: "/data/other".into(),
        ..settings()
    };
    let work = |to: &StoreSettings| {
        salvage(
            Arc::new(disk.clone()),
            Path::new("/data/store"),
            to,
            Instant::now(),
            WALL_MS,
        )
    };
    assert_eq!(work(&to).expect("a new store"), []);
    let after = disk.all_files();
    for (name, content) in &before {
        assert!(after[name] == *content, "{name}");
    }
    let (store, found) = open_on(&disk, closed.begun, &to).expect("a store");
    closed.is_whole(&store, &found);
    drop(store);
    // Where something is already, nothing is written: not even if its META is gone.
    disk.change(Path::new("/data/other/META"), Vec::clear);
    assert!(matches!(work(&to), Err(OpenError::Damaged(_))));
    let mut files = disk.all_files();
    files.remove("/data/other/META");
    let disk = FaultDisk::with(&files);
    let error = salvage(
        Arc::new(disk),
        Path::new("/data/store"),
        &to,
        Instant::now(),
        WALL_MS,
    );
    assert!(matches!(error, Err(OpenError::Io { .. })));
}
