//! The seeded simulation: the broker as it is, from its first byte to its last, with hundreds of model
//! clients in one thread and in virtual time.

use std::io::Write;

mod client;
mod fault;
mod host;
mod line;
mod oracle;
mod packets;
mod rng;
mod rules;
mod world;

#[path = "../../src/session/tests/wire.rs"]
#[expect(
    dead_code,
    reason = "the other half of it reads what this one reads by itself"
)]
mod wire;

use fault::Fault;
use oracle::Verdict;
use world::World;

/// What a run came to.
struct Run {
    verdict: Verdict,
    trace: Vec<String>,
    tampered: bool,
    owed: usize,
    excused: usize,
}

fn run(seed: u64, fault: Option<Fault>, traced: bool) -> Run {
    let mut world = World::new(seed, fault, traced);
    let mut counted = oracle::Counted::default();
    let verdict = (|| {
        world.run()?;
        world.all_away()?;
        world.rest()?;
        world.audit()?;
        counted = world.oracle.settle(world.host.dropped())?;
        // Once more: whatever is sent now should have been forgotten.
        world.oracle.settled = true;
        world.all_away()?;
        world.rest()?;
        world.all_expired()
    })();
    Run {
        verdict,
        trace: world.trace(),
        tampered: world.tampering.done,
        owed: counted.owed,
        excused: counted.excused,
    }
}

fn seeds() -> u64 {
    let count = std::env::var("PORTCULLIS_SIM_SEEDS").ok();
    count.map_or(200, |count| count.parse().expect("a number"))
}

#[test]
fn whatever_the_seed_does_what_is_owed_comes_and_nothing_else() {
    let (mut owed, mut excused) = (0, 0);
    let mut failures = Vec::new();
    for seed in 0..seeds() {
        let run = run(seed, None, false);
        owed += run.owed;
        excused += run.excused;
        if let Err(found) = run.verdict {
            failures.push(format!("seed {seed}: {found}\n  replay: {}", replay(seed)));
        }
        if failures.len() == 10 {
            break;
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // A simulation in which nothing happens shows nothing.
    assert!(
        owed > 1_000 && excused > 0,
        "{owed} owed, {excused} excused"
    );
}

fn replay(seed: u64) -> String {
    format!("PORTCULLIS_SIM_SEED={seed} cargo test --test sim one_seed -- --nocapture")
}

/// Runs seeds until `found` of them were tampered with and found out; gives the others as well.
fn tampered(fault: Fault, found: usize) -> (Vec<String>, Vec<u64>) {
    let (mut told, mut unnoticed) = (Vec::new(), Vec::new());
    for seed in 0..200 {
        let run = run(seed, Some(fault), false);
        match run.verdict {
            Err(reason) if run.tampered => told.push(reason),
            Err(reason) => panic!("seed {seed} without the fault: {reason}"),
            Ok(()) if run.tampered => unnoticed.push(seed),
            Ok(()) => {}
        }
        if told.len() == found {
            break;
        }
    }
    (told, unnoticed)
}

#[test]
fn each_fault_put_in_is_found() {
    let faults = [
        (Fault::Lose, "never reached"),
        (Fault::Repeat, "too often"),
        (Fault::Swap, "after message"),
        (Fault::Leak, "DUP, but new"),
        (Fault::Reuse, "in use and used again"),
        (Fault::Unreadable, "may not read"),
        (Fault::Unwritable, "was refused and is delivered"),
        (Fault::Unasked, "did not ask for"),
        (Fault::Present, "Session Present true"),
        (Fault::Astray, "which was not sent"),
        (Fault::Undue, "was not due"),
        (Fault::Window, "in flight"),
        (Fault::Quota, "subscriptions"),
        (Fault::Forget, "Session Present false"),
    ];
    for (fault, word) in faults {
        let (told, unnoticed) = tampered(fault, 8);
        assert_eq!(
            told.len(),
            8,
            "{fault:?} is found in {told:?}, not in {unnoticed:?}"
        );
        assert!(
            told.iter().any(|told| told.contains(word)),
            "{fault:?}: {told:?}"
        );
    }
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in [0, 7, 11] {
        let (first, second) = (run(seed, None, true), run(seed, None, true));
        assert!(first.trace.len() > 1_000);
        assert_eq!(first.trace, second.trace);
        assert_ne!(first.trace, run(seed + 1, None, true).trace);
    }
}

#[test]
fn one_seed_is_replayed_with_its_trace() {
    let seed = std::env::var("PORTCULLIS_SIM_SEED").ok();
    let Some(seed) = seed else {
        return;
    };
    let run = run(seed.parse().expect("a number"), None, true);
    let mut out = std::io::stdout().lock();
    for line in &run.trace {
        writeln!(out, "{line}").expect("standard output");
    }
    assert_eq!(run.verdict, Ok(()));
}
