//! The disk refuses: nothing is acknowledged that is not so, and what can go on goes on.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use super::faults::{Call, FaultDisk};
use super::model::{open_on, small};
use super::world::*;
use crate::store::{Batch, Journal, OpenError, Record, Standing, Store, StoreSettings, SyncPolicy};

const READ_ONLY: ErrorKind = ErrorKind::ReadOnlyFilesystem;

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::yield_now();
    }
}

fn one(seq: u64, bytes: usize) -> Vec<Record> {
    vec![publish("a", &"x".repeat(bytes), vec![receiver(1, seq)])]
}

fn urgent(store: &Journal, records: Vec<Record>) -> u64 {
    store.commit(Batch {
        records,
        urgent: true,
    })
}

/// A store with one session.
fn begin(disk: &FaultDisk, begun: Instant, settings: &StoreSettings) -> Journal {
    let (store, _) = open_on(disk, begun, settings).expect("a store");
    let session = Record::Session {
        session: key(1),
        facts: facts("pump").into(),
    };
    commit(&store, vec![session]);
    store
}

fn queue_after_restart(disk: &FaultDisk, begun: Instant, settings: &StoreSettings) -> Vec<u64> {
    let (_store, found) = open_on(disk, begun, settings).expect("a store");
    let queue = &found.sessions[0].queue;
    queue.iter().map(|queued| queued.seq).collect()
}

#[test]
fn after_a_write_or_a_sync_that_failed_nothing_is_acknowledged_and_what_is_there_can_be_read() {
    for call in [Call::Sync, Call::Write] {
        let begun = Instant::now();
        let disk = FaultDisk::new();
        let store = begin(&disk, begun, &small());
        commit(&store, one(1, 10));
        let before = store.committed();
        disk.refuse(call, ErrorKind::InvalidInput);
        urgent(&store, one(2, 10));
        wait_for("it fails", || store.standing() == Standing::Failed);
        let why = store.failure().expect("a reason");
        assert_eq!(why, ErrorKind::InvalidInput.to_string());
        // That the disk works again proves nothing.
        disk.allow();
        let tickets = [urgent(&store, one(3, 10)), urgent(&store, one(4, 10))];
        assert_eq!(payloads(&read(&store, 1, 10)), ["x".repeat(10)]);
        store.checkpoint();
        store.close();
        assert_eq!(store.committed(), before);
        assert!(tickets.iter().all(|ticket| *ticket > before));
        assert_eq!(store.standing(), Standing::Failed);
        drop(store);
        disk.crash(7);
        let queue = queue_after_restart(&disk, begun, &small());
        assert!(queue == [1] || queue == [1, 2], "{queue:?}");
    }
}

#[test]
fn a_sync_that_fails_at_its_interval_ends_the_store() {
    let begun = Instant::now();
    let disk = FaultDisk::new();
    let settings = StoreSettings {
        sync: SyncPolicy::Interval(Duration::from_millis(1)),
        ..small()
    };
    let store = begin(&disk, begun, &settings);
    disk.refuse(Call::Sync, ErrorKind::InvalidInput);
    commit(&store, vec![]);
    urgent(&store, one(1, 10));
    wait_for("it fails", || store.standing() == Standing::Failed);
}

#[test]
fn without_room_for_another_segment_it_is_full_and_takes_what_fits_until_there_is_room() {
    let begun = Instant::now();
    let disk = FaultDisk::new();
    let settings = StoreSettings {
        segment_bytes: 8 << 10,
        ..small()
    };
    let store = begin(&disk, begun, &settings);
    disk.refuse(Call::Allocate, ErrorKind::StorageFull);
    // The room that was taken beforehand is used up.
    let mut seq = 0;
    while store.standing() == Standing::Good {
        seq += 1;
        commit(&store, one(seq, 500));
        assert!(seq < 40);
    }
    assert_eq!(store.standing(), Standing::Full);
    let done = |seq| Record::Done {
        session: key(1),
        seq,
    };
    commit(&store, (1..seq).map(done).collect());
    assert_eq!(store.failure(), None);
    disk.allow();
    wait_for("there is room", || store.standing() == Standing::Good);
    for more in 1..40 {
        commit(&store, one(seq + more, 500));
    }
    drop(store);
    assert_eq!(queue_after_restart(&disk, begun, &settings).len(), 40);
}

#[test]
fn when_the_last_room_is_used_up_it_fails_and_what_was_acknowledged_is_there() {
    let begun = Instant::now();
    let disk = FaultDisk::new();
    let store = begin(&disk, begun, &small());
    disk.refuse(Call::Allocate, ErrorKind::StorageFull);
    let mut seq = 0;
    loop {
        seq += 1;
        let ticket = urgent(&store, one(seq, 300));
        wait_for("an answer", || {
            store.committed() >= ticket || store.failure().is_some()
        });
        if store.failure().is_some() {
            break;
        }
    }
    assert_eq!(store.failure(), Some(ErrorKind::StorageFull.to_string()));
    drop(store);
    disk.allow();
    disk.crash(3);
    let queue = queue_after_restart(&disk, begun, &small());
    assert_eq!(queue, (1..seq).collect::<Vec<_>>());
}

#[test]
fn a_store_that_may_grow_no_further_is_full_until_enough_is_done() {
    let begun = Instant::now();
    let disk = FaultDisk::new();
    let settings = StoreSettings {
        max_bytes: 20 << 10,
        ..small()
    };
    let store = begin(&disk, begun, &settings);
    let mut seq = 0;
    while store.standing() == Standing::Good {
        seq += 1;
        commit(&store, one(seq, 300));
        assert!(seq < 100);
    }
    for seq in 1..=seq {
        let session = key(1);
        commit(&store, vec![Record::Done { session, seq }]);
    }
    wait_for("there is room", || store.standing() == Standing::Good);
    assert!(store.numbers().disk_bytes < 16 << 10);
}

#[test]
fn as_many_messages_as_may_wait_make_it_full() {
    let begun = Instant::now();
    let disk = FaultDisk::new();
    let settings = StoreSettings {
        max_messages: 3,
        ..small()
    };
    let store = begin(&disk, begun, &settings);
    for seq in 1..=3 {
        assert_eq!(store.standing(), Standing::Good);
        commit(&store, one(seq, 10));
    }
    wait_for("it is full", || store.standing() == Standing::Full);
    let session = key(1);
    commit(&store, vec![Record::Done { session, seq: 2 }]);
    wait_for("there is room", || store.standing() == Standing::Good);
}

#[test]
fn a_disk_that_cannot_be_written_to_is_told_when_the_store_is_opened_and_ends_one_that_is() {
    let begun = Instant::now();
    let disk = FaultDisk::new();
    let calls = [
        Call::Create,
        Call::CreateDir,
        Call::Write,
        Call::Rename,
        Call::Remove,
        Call::Allocate,
    ];
    let store = begin(&disk, begun, &small());
    for call in calls {
        disk.refuse(call, READ_ONLY);
    }
    let ticket = urgent(&store, one(1, 10));
    wait_for("it fails", || store.standing() == Standing::Failed);
    assert!(store.committed() < ticket);
    drop(store);
    let error = open_on(&disk, begun, &small()).expect_err("read-only");
    assert!(matches!(&error, OpenError::Io { error, .. } if error.kind() == READ_ONLY));
    let empty = FaultDisk::new();
    empty.refuse(Call::CreateDir, READ_ONLY);
    let error = open_on(&empty, begun, &small()).expect_err("read-only");
    let OpenError::Io { path, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(path, Path::new("/data/store"));
}

#[test]
fn a_disk_that_gives_fewer_bytes_than_there_are_gives_no_other_message() {
    let begun = Instant::now();
    let disk = FaultDisk::new();
    let store = begin(&disk, begun, &small());
    commit(&store, one(1, 400));
    disk.read_at_most(100);
    let page = read(&store, 1, 10);
    assert!(page.messages.is_empty());
    assert_eq!(page.unreadable.len(), 1);
    assert_eq!(store.numbers().unreadable, 1);
    drop(store);
    let error = open_on(&disk, begun, &small()).expect_err("it seems to be cut");
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
    disk.read_at_most(usize::MAX);
    assert_eq!(queue_after_restart(&disk, begun, &small()), [1]);
}

#[test]
fn a_message_larger_than_a_segment_has_one_of_its_own() {
    let begun = Instant::now();
    let disk = FaultDisk::new();
    let store = begin(&disk, begun, &small());
    for seq in 1..4 {
        commit(&store, one(seq, 3_000_000));
        commit(&store, one(seq + 10, 3));
    }
    let lengths = |page: &crate::store::Page| {
        let length = |stored: &crate::store::StoredMessage| stored.delivery.message.payload.len();
        page.messages.iter().map(length).collect::<Vec<_>>()
    };
    let wanted = [3_000_000, 3_000_000, 3_000_000, 3, 3, 3];
    assert_eq!(lengths(&read(&store, 1, 10)), wanted);
    drop(store);
    let (store, _) = open_on(&disk, begun, &small()).expect("a store");
    assert_eq!(lengths(&read(&store, 1, 10)), wanted);
}

#[test]
fn an_opened_store_goes_on_in_a_segment_that_is_full_to_its_last_byte() {
    let begun = Instant::now();
    let settings = StoreSettings {
        segment_bytes: 1 << 10,
        ..small()
    };
    // The batch that fills what is left is found by trying.
    for bytes in 300..900 {
        let disk = FaultDisk::new();
        let store = begin(&disk, begun, &settings);
        commit(&store, one(1, bytes));
        // It is killed: nothing follows.
        disk.refuse(Call::Write, READ_ONLY);
        drop(store);
        disk.allow();
        let content = disk.content(Path::new("/data/store/s0/0000000001.seg"));
        if content.last() == Some(&0) {
            continue;
        }
        let (store, _) = open_on(&disk, begun, &settings).expect("a store");
        commit(&store, one(2, 10));
        drop(store);
        assert_eq!(queue_after_restart(&disk, begun, &settings), [1, 2]);
        return;
    }
    panic!("no batch fills the segment");
}
