//! Long random work, compared with what it must come to.

use std::time::Instant;

use super::crash::seeds;
use super::faults::{FaultDisk, Rng};
use super::model::{Workload, expected, open_on, seen, small};
use super::world::read_query;
use crate::store::{Batch, Journal, Query, Store};

/// Reads parts of queues and compares them.
fn look(store: &Journal, workload: &Workload, rng: &mut Rng) {
    for session in workload.state.session_keys() {
        let from = rng.next() % 4_000;
        let to = [u64::MAX, from + 500, from.saturating_sub(1)][rng.below(3)];
        let query = Query {
            session,
            from,
            to,
            most_messages: rng.below(9),
            most_bytes: [usize::MAX, 1][rng.below(2)],
        };
        let (found, wanted) = (
            read_query(store, query.clone()),
            workload.state.page(&query),
        );
        assert_eq!(found.to, wanted.to, "{query:?}");
        assert_eq!(found.unreadable, []);
        let parts = |page: &crate::store::Page| {
            let part = |stored: &crate::store::StoredMessage| {
                let delivery = &stored.delivery;
                let payload = delivery.message.payload.clone();
                (stored.seq, stored.stage, delivery.qos, payload)
            };
            page.messages.iter().map(part).collect::<Vec<_>>()
        };
        assert_eq!(parts(&found), parts(&wanted), "{query:?}");
    }
}

fn work(store: &Journal, workload: &mut Workload, rng: &mut Rng) {
    let mut ticket = 0;
    for _ in 0..rng.below(150) {
        let records = workload.batch();
        let urgent = rng.one_in(2);
        ticket = store.commit(Batch { records, urgent });
        match rng.below(40) {
            0 => store.checkpoint(),
            1..4 => look(store, workload, rng),
            _ => {}
        }
    }
    look(store, workload, rng);
    while store.committed() < ticket {
        assert_eq!(store.failure(), None);
        std::thread::yield_now();
    }
    let mut wanted = crate::store::Numbers::default();
    workload.state.count(&mut wanted);
    let found = store.numbers();
    assert_eq!(
        (found.queued, found.queued_bytes),
        (wanted.queued, wanted.queued_bytes)
    );
    assert_eq!(
        (found.sessions, found.retained),
        (wanted.sessions, wanted.retained)
    );
}

#[test]
fn whatever_is_done_the_store_shows_it_however_often_it_is_closed() {
    for seed in seeds(2) {
        let begun = Instant::now();
        let disk = FaultDisk::new();
        let mut workload = Workload::new(seed, begun, 7_000);
        let mut rng = Rng::new(seed + 1_000);
        let mut compacted = 0;
        for round in 0..20 {
            let (store, found) = open_on(&disk, begun, &small()).expect("a store");
            let (found, wanted) = (
                seen(begun, &store, &found),
                expected(begun, &workload.state),
            );
            assert!(found == wanted, "seed {seed}, round {round}");
            let new = store.new_session().expect("a number");
            assert!(!workload.state.session_keys().contains(&new));
            work(&store, &mut workload, &mut rng);
            compacted += store.numbers().bytes_compacted;
        }
        assert!(compacted > 10_000, "{compacted}");
    }
}
