//! The bodies of the fuzz targets, run on a stable compiler: some thousand inputs each, the same
//! on every run. `scripts/fuzz.sh` runs them for longer, guided by coverage.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]
#![expect(
    dead_code,
    reason = "modules of another test, of which this needs a part"
)]

#[path = "../codec/generate.rs"]
mod generate;
#[path = "../codec/mutate.rs"]
mod mutate;
#[path = "../codec/wire.rs"]
mod wire;

mod bodies;

use bodies::Body;
use mutate::{Rng, change};

/// Runs a body on its seeds, on changed ones, and on random bytes.
fn run(body: &Body, inputs: usize) {
    let seeds = (body.seeds)();
    for seed in &seeds {
        (body.run)(seed);
    }
    let mut rng = Rng::new(77);
    for number in 0..inputs {
        let mut input = rng.pick(&seeds).clone();
        if number % 16 == 0 {
            let length = rng.below(64);
            input = (0..length).map(|_| rng.byte()).collect();
        }
        let other = rng.pick(&seeds);
        for _ in 0..=rng.below(6) {
            change(&mut rng, &mut input, other);
        }
        (body.run)(&input);
    }
}

#[test]
fn codec() {
    run(&bodies::CODEC, 20_000);
}

#[test]
fn connect() {
    run(&bodies::CONNECT, 60_000);
}

#[test]
fn publish() {
    run(&bodies::PUBLISH, 60_000);
}

#[test]
fn acknowledgement() {
    run(&bodies::ACKNOWLEDGEMENT, 60_000);
}

#[test]
fn subscribe() {
    run(&bodies::SUBSCRIBE, 60_000);
}

#[test]
fn unsubscribe() {
    run(&bodies::UNSUBSCRIBE, 60_000);
}

#[test]
fn control() {
    run(&bodies::CONTROL, 60_000);
}

#[test]
fn auth() {
    run(&bodies::AUTH, 60_000);
}

#[test]
fn connection() {
    run(&bodies::CONNECTION, 15_000);
}

#[test]
fn relay() {
    run(&bodies::RELAY, 4_000);
}

#[test]
fn conf() {
    run(&bodies::CONF, 3_000);
}

#[test]
fn acl() {
    run(&bodies::ACL, 5_000);
}

#[test]
fn passwords() {
    run(&bodies::PASSWORDS, 5_000);
}

#[test]
fn containment() {
    run(&bodies::CONTAINMENT, 2_000);
}

#[test]
fn records() {
    run(&bodies::RECORDS, 20_000);
}

#[test]
fn files() {
    run(&bodies::FILES, 20_000);
}
