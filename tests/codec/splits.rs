//! Packets arrive in pieces of any size: a piece is never an error, and never read early.

use portcullis::codec::{self, Limits, Version, frame_length};

use crate::corpus::seeds;

const MAX: usize = 2_000_000;

/// What a packet says, as text, so that it can be kept after its buffer is gone.
fn meaning(frame: &[u8], version: Version) -> String {
    let limits = Limits::default();
    if codec::is_connect(frame[0]) {
        format!("{:?}", codec::decode_connect(frame, &limits).unwrap())
    } else {
        format!("{:?}", codec::decode(frame, version, &limits).unwrap())
    }
}

#[test]
fn every_prefix_of_a_valid_packet_is_incomplete_and_no_error() {
    for seed in seeds() {
        let bytes = &seed.bytes;
        let header = 1 + bytes[1..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        for end in 0..=bytes.len() {
            let expected = (end >= header).then_some(bytes.len());
            assert_eq!(
                frame_length(&bytes[..end], MAX),
                Ok(expected),
                "{end} bytes of {bytes:02X?}"
            );
        }
    }
}

/// Cuts frames off a buffer that grows by `step` bytes, as a connection does.
fn meanings_in_steps(stream: &[u8], step: usize, version: Version) -> Vec<String> {
    let mut buffer = Vec::new();
    let mut found = Vec::new();
    for piece in stream.chunks(step) {
        buffer.extend_from_slice(piece);
        while let Some(length) = frame_length(&buffer, MAX).unwrap()
            && length <= buffer.len()
        {
            let rest = buffer.split_off(length);
            found.push(meaning(&buffer, version));
            buffer = rest;
        }
    }
    assert!(buffer.is_empty(), "the stream ends with a packet");
    found
}

#[test]
fn a_stream_means_the_same_in_pieces_of_any_size() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let seeds: Vec<_> = seeds()
            .into_iter()
            .filter(|seed| seed.version == version)
            .collect();
        let expected: Vec<_> = seeds
            .iter()
            .map(|seed| meaning(&seed.bytes, version))
            .collect();
        let stream: Vec<u8> = seeds.into_iter().flat_map(|seed| seed.bytes).collect();
        for step in [1, 2, 3, 7, 64, stream.len()] {
            assert_eq!(
                meanings_in_steps(&stream, step, version),
                expected,
                "{version:?} in pieces of {step}"
            );
        }
    }
}

#[test]
fn a_packet_cut_short_with_its_length_corrected_is_never_waited_for() {
    // The type has no "more bytes needed" for what is inside a frame: a cut is an error, or
    // another valid packet (a shorter payload, a shorter acknowledgement), and never a panic.
    let limits = Limits::default();
    for seed in seeds() {
        let header = 1 + seed.bytes[1..].iter().position(|b| b & 0x80 == 0).unwrap() + 1;
        let body = &seed.bytes[header..];
        for end in 0..body.len() {
            let mut cut = vec![seed.bytes[0]];
            cut.extend(crate::wire::varint(end));
            cut.extend_from_slice(&body[..end]);
            if seed.is_connect() {
                codec::decode_connect(&cut, &limits).unwrap_err();
            } else if let Ok(packet) = codec::decode(&cut, seed.version, &limits) {
                assert!(
                    may_be_shorter(&seed.bytes, seed.version),
                    "{packet:?} from {cut:02X?}"
                );
            }
        }
    }
}

/// PUBLISH has a payload, SUBSCRIBE and UNSUBSCRIBE have lists; in 5.0 acknowledgements and
/// DISCONNECT have short forms.
fn may_be_shorter(packet: &[u8], version: Version) -> bool {
    match packet[0] >> 4 {
        3 | 8 | 10 => true,
        4..=7 | 14 => version.is_v5(),
        _ => false,
    }
}
