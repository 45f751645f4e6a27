//! The switches of the store in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::world::*;
use crate::store::{Batch, Memory, Record, Standing, Store, Ticket};

fn hand_over(store: &Memory, record: Record) -> Ticket {
    store.commit(Batch {
        records: vec![record],
        urgent: true,
    })
}

fn session() -> Record {
    Record::Session {
        session: key(1),
        facts: facts("pump").into(),
    }
}

fn one(seq: u64) -> Record {
    publish("a", &seq.to_string(), vec![receiver(1, seq)])
}

fn queued(store: &Memory) -> Vec<u64> {
    let found = store.crash(Instant::now());
    let queue = found.sessions.first().map(|session| session.queue.clone());
    let queue = queue.unwrap_or_default();
    queue.iter().map(|queued| queued.seq).collect()
}

#[test]
fn while_it_is_held_so_many_batches_are_committed_as_are_released() {
    let told = Arc::new(AtomicU64::new(0));
    let last = Arc::clone(&told);
    let store = Memory::new(Box::new(move |ticket| {
        last.store(ticket, Ordering::Relaxed);
    }));
    hand_over(&store, session());
    assert_eq!(told.load(Ordering::Relaxed), 1);
    store.hold();
    let tickets = [1, 2, 3].map(|seq| hand_over(&store, one(seq)));
    assert_eq!(tickets, [2, 3, 4]);
    assert_eq!((store.waiting(), store.committed()), (3, 1));
    assert_eq!(store.release(2), 2);
    assert_eq!((store.waiting(), store.committed()), (1, 3));
    assert_eq!(told.load(Ordering::Relaxed), 3);
    assert_eq!(queued(&store), [1, 2]);
    // It is as if it was just opened, and commits at once.
    assert_eq!((store.waiting(), store.committed()), (0, 0));
    assert_eq!(hand_over(&store, one(4)), 1);
    assert_eq!(store.committed(), 1);
    store.hold();
    hand_over(&store, one(5));
    assert_eq!(store.release(9), 1);
    assert_eq!(store.release(9), 0);
    store.hold();
    hand_over(&store, one(6));
    store.resume();
    hand_over(&store, one(7));
    assert_eq!(queued(&store), [1, 2, 4, 5, 6, 7]);
}

#[test]
fn a_disk_that_lies_loses_what_it_acknowledged() {
    let store = Memory::default();
    hand_over(&store, session());
    hand_over(&store, one(1));
    store.lose(true);
    let ticket = hand_over(&store, one(2));
    store.lose(false);
    hand_over(&store, one(3));
    assert!(store.committed() > ticket);
    assert_eq!(payloads(&read(&store, 1, 9)), ["1", "2", "3"]);
    assert_eq!(queued(&store), [1, 3]);
}

#[test]
fn a_message_that_was_spoilt_is_told_to_be_unreadable() {
    let store = Memory::default();
    hand_over(&store, session());
    hand_over(&store, one(1));
    hand_over(&store, one(2));
    store.spoil(key(1), 1);
    let page = read(&store, 1, 9);
    assert_eq!(page.messages.len(), 1);
    assert_eq!(page.messages[0].seq, 2);
    assert_eq!(page.unreadable[0].0, 1);
    assert_eq!(store.numbers().unreadable, 1);
}

#[test]
fn without_room_it_says_so_and_takes_what_it_is_given() {
    let store = Memory::default();
    hand_over(&store, session());
    store.set_full(true);
    assert_eq!(store.standing(), Standing::Full);
    hand_over(&store, one(1));
    assert_eq!(store.committed(), 2);
    store.set_full(false);
    assert_eq!(store.standing(), Standing::Good);
    store.hold();
    hand_over(&store, one(2));
    store.fail("the disk is on fire");
    store.set_full(true);
    assert_eq!(store.standing(), Standing::Failed);
    assert_eq!(store.failure().as_deref(), Some("the disk is on fire"));
    store.resume();
    assert_eq!(store.release(9), 0);
    assert_eq!(store.committed(), 2);
    store.set_full(false);
    assert_eq!(queued(&store), [1]);
    assert_eq!(store.standing(), Standing::Good);
}
