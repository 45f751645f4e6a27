//! Arbitrary bytes as packets.

use portcullis::codec::Version;

#[path = "../../codec/corpus.rs"]
pub(super) mod corpus;
#[path = "../../codec/examine.rs"]
pub(super) mod examine;

pub(super) fn run(data: &[u8]) {
    for version in [Version::V31, Version::V311, Version::V5] {
        examine::examine(data, version, &mut |_| {});
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    corpus::seeds().into_iter().map(|seed| seed.bytes).collect()
}
