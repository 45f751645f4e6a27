//! A million mutated packets.

use std::collections::{BTreeSet, HashSet};

use portcullis::codec::MalformedKind;

use crate::corpus::seeds;
use crate::examine::{Outcome, examine};
use crate::mutate::{Rng, mutate};

const PACKETS: usize = 1_000_000;

#[test]
fn a_million_mutated_packets_are_accepted_or_refused_and_never_more() {
    let seeds = seeds();
    let mut rng = Rng::new(20_261_123);
    let mut refused = HashSet::new();
    let mut accepted = BTreeSet::new();
    let mut packet = Vec::new();
    // A longer run is one variable away.
    let packets = std::env::var("PORTCULLIS_MUTATIONS").map_or(PACKETS, |n| n.parse().unwrap());
    for _ in 0..packets {
        let seed = rng.pick(&seeds);
        packet.clone_from(&seed.bytes);
        let other = &rng.pick(&seeds).bytes;
        mutate(&mut rng, &mut packet, other);
        examine(&packet, seed.version, &mut |outcome| match outcome {
            Outcome::Refused(kind) => {
                refused.insert(kind);
            }
            Outcome::Accepted(level, kind) => {
                accepted.insert((level, kind));
            }
        });
    }
    // Every kind of error, and every packet of every version: else the mutations are too tame.
    let never: Vec<_> = MalformedKind::ALL
        .iter()
        .filter(|kind| !refused.contains(kind))
        .collect();
    assert!(never.is_empty(), "never refused for {never:?}");
    let everything: BTreeSet<(u8, u8)> = seeds
        .iter()
        .map(|seed| (seed.version.level(), seed.bytes[0] >> 4))
        .collect();
    assert!(accepted.is_superset(&everything));
}
