//! The power fails at every call, and what was committed is there.

use std::path::Path;
use std::time::{Duration, Instant};

use super::faults::{Call, FaultDisk, Rng, When};
use super::model::{History, Workload, open_on, seen, small};
use crate::store::{OnDamage, Store, StoreSettings, SyncPolicy};

const BATCHES: usize = 50;

/// How often each test is repeated with other numbers; more with `PORTCULLIS_STORE_SEEDS`.
pub(super) fn seeds(usual: u64) -> std::ops::Range<u64> {
    let wanted = std::env::var("PORTCULLIS_STORE_SEEDS").ok();
    let first = std::env::var("PORTCULLIS_STORE_FIRST").ok();
    let first = first.and_then(|first| first.parse().ok()).unwrap_or(0);
    first..first + wanted.and_then(|seeds| seeds.parse().ok()).unwrap_or(usual)
}

#[derive(Clone, Copy, Debug)]
struct Crash {
    seed: u64,
    step: usize,
    when: When,
    /// Only the broker dies; the machine loses power at the second crash.
    killed: bool,
    sync: SyncPolicy,
}

/// Works, loses power, works on, loses power again, works on, and closes.
fn crash_and_go_on(crash: Crash) -> bool {
    let begun = Instant::now();
    let disk = FaultDisk::new();
    let settings = StoreSettings {
        sync: crash.sync,
        ..small()
    };
    let is_lazy = crash.sync != SyncPolicy::Always;
    let mut workload = Workload::new(crash.seed, begun, 9_000);
    let mut history = History::new(workload.state.clone());
    let mut rng = Rng::new(crash.seed * 1_000_003 + crash.step as u64);
    disk.crash_at(crash.step, crash.when);
    if let Ok((store, _)) = open_on(&disk, begun, &settings) {
        history.work(&store, &mut workload, BATCHES);
    }
    let reached = disk.is_dead();
    if crash.killed {
        disk.revive();
    } else {
        disk.crash(rng.next());
        if is_lazy {
            // What was not synced may be gone, and still nothing from the middle.
            history.committed = 0;
        }
    }
    // A crash in the middle of opening what a crash left.
    if rng.one_in(2) {
        disk.crash_at(rng.below(12), When::After);
        if let Ok((store, found)) = open_on(&disk, begun, &settings) {
            drop(found);
            store.close();
        }
        disk.crash(rng.next());
        if is_lazy {
            history.committed = 0;
        }
    }
    for round in 0..2 {
        let (store, found) =
            open_on(&disk, begun, &settings).unwrap_or_else(|error| panic!("{round}: {error}"));
        history.settle_on(begun, &seen(begun, &store, &found));
        workload.state = history.states[0].clone();
        if round == 0 {
            disk.crash_at(disk.steps().len() + rng.below(80), When::After);
        }
        history.work(&store, &mut workload, 20);
        drop(store);
        if round == 0 {
            disk.crash(rng.next());
            if is_lazy {
                history.committed = 0;
            }
        } else {
            assert_eq!(history.committed, history.states.len() - 1, "all of it");
            disk.revive();
        }
    }
    let (store, found) = open_on(&disk, begun, &settings).expect("a store");
    history.settle_on(begun, &seen(begun, &store, &found));
    reached
}

fn at_every_step(killed: bool, sync: SyncPolicy, usual: u64) {
    for seed in seeds(usual) {
        for when in [When::Before, When::After] {
            for step in 0.. {
                let crash = Crash {
                    seed,
                    step,
                    when,
                    killed,
                    sync,
                };
                let done = std::panic::catch_unwind(|| crash_and_go_on(crash));
                match done {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(panic) => {
                        let why = panic.downcast_ref::<String>().map_or("", |why| why);
                        panic!("{crash:?}: {why}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_power_fails_at_any_call_and_what_was_committed_is_there() {
    at_every_step(false, SyncPolicy::Always, 1);
}

#[test]
fn the_broker_is_killed_at_any_call_and_then_the_power_fails() {
    at_every_step(true, SyncPolicy::Always, 1);
}

#[test]
fn a_store_that_syncs_at_times_loses_its_end_at_most_and_a_killed_broker_nothing() {
    let sometimes = SyncPolicy::Interval(Duration::from_millis(3));
    at_every_step(false, sometimes, 1);
    at_every_step(true, sometimes, 1);
}

#[test]
fn the_work_is_enough_for_segments_to_come_and_to_go() {
    let begun = Instant::now();
    let disk = FaultDisk::new();
    let mut workload = Workload::new(0, begun, 9_000);
    let mut history = History::new(workload.state.clone());
    let (store, _) = open_on(&disk, begun, &small()).expect("a store");
    history.work(&store, &mut workload, BATCHES);
    let count = |wanted| disk.steps().iter().filter(|call| **call == wanted).count();
    // META is renamed when a segment comes and when one goes.
    assert!(count(Call::Rename) > 8, "{}", count(Call::Rename));
    assert!(
        store.numbers().bytes_compacted > 500,
        "{:?}",
        store.numbers()
    );
}

#[test]
fn the_power_fails_while_a_damaged_log_is_set_aside_and_it_is_done_at_the_next_start() {
    let begun = Instant::now();
    let disk = FaultDisk::new();
    let mut workload = Workload::new(2, begun, 900);
    let mut history = History::new(workload.state.clone());
    let (store, _) = open_on(&disk, begun, &small()).expect("a store");
    history.work(&store, &mut workload, 30);
    drop(store);
    disk.change(Path::new("/data/store/s0/0000000002.seg"), |bytes| {
        bytes[200] ^= 1;
    });
    let mut files = disk.all_files();
    files.retain(|name, _| !name.ends_with("idx"));
    let damaged = files["/data/store/s0/0000000002.seg"].clone();
    let settings = StoreSettings {
        on_damage: OnDamage::Quarantine,
        ..small()
    };
    let open = |disk: &FaultDisk| {
        let (store, found) = open_on(disk, begun, &settings).expect("it opens");
        assert!(!store.quarantined().is_empty());
        seen(begun, &store, &found)
    };
    let wanted = open(&FaultDisk::with(&files));
    for when in [When::Before, When::After] {
        for step in 0.. {
            let disk = FaultDisk::with(&files);
            disk.crash_at(step, when);
            let opened = open_on(&disk, begun, &settings).is_ok();
            let reached = disk.is_dead();
            disk.crash(step as u64);
            assert_eq!(open(&disk), wanted, "{when:?} {step}");
            let files = disk.all_files();
            let name = "/data/store/quarantine/s0-0/0000000002.seg";
            assert!(files[name] == damaged, "{when:?} {step}");
            if opened && !reached {
                break;
            }
        }
    }
}
