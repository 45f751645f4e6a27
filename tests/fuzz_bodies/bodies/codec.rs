//! Arbitrary bytes as packets.

use portcullis::codec::Version;

#[path = "../../codec/corpus.rs"]
#[expect(dead_code, reason = "the tests of the codec need more of it")]
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
