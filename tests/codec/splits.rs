//! A packet may come in any pieces.

use portcullis::codec::Version::{V5, V31, V311};
use portcullis::codec::{Limits, decode, decode_connect, frame_length};

use crate::corpus::{full_connect, packet, small_connect, valid};

fn all() -> Vec<Vec<u8>> {
    let connects = [V31, V311, V5].map(|version| [full_connect(version), small_connect(version)]);
    let mut all: Vec<Vec<u8>> = connects.into_iter().flatten().collect();
    all.extend(valid().into_iter().map(|(_, _, bytes)| bytes));
    all
}

#[test]
fn no_beginning_of_a_valid_packet_is_an_error_and_its_length_is_known_from_its_header() {
    for bytes in all() {
        for end in 0..=bytes.len() {
            let known = frame_length(&bytes[..end], 2_000_000).expect("a beginning is no error");
            let header = 1
                + bytes[1..]
                    .iter()
                    .take_while(|byte| **byte & 0x80 != 0)
                    .count()
                + 1;
            let expected = (end >= header).then_some(bytes.len());
            assert_eq!(known, expected, "{end} of {bytes:02x?}");
        }
    }
}

#[test]
fn a_frame_cut_anywhere_is_an_error_and_never_a_shorter_packet() {
    for (name, version, bytes) in valid() {
        for end in 0..bytes.len() {
            assert!(
                decode(&bytes[..end], version, &Limits::default()).is_err(),
                "{name} cut at {end}"
            );
        }
    }
    for version in [V31, V311, V5] {
        let bytes = full_connect(version);
        for end in 0..bytes.len() {
            assert!(
                decode_connect(&bytes[..end], &Limits::default()).is_err(),
                "cut at {end}"
            );
        }
    }
}

#[test]
fn a_body_shortened_with_its_length_is_never_taken_for_more_than_it_is() {
    // The packet ends where its header says: a string that goes on beyond it is cut off, not read.
    for (name, version, bytes) in valid() {
        let header = 1
            + bytes[1..]
                .iter()
                .take_while(|byte| **byte & 0x80 != 0)
                .count()
            + 1;
        for end in header..bytes.len() {
            let mut shortened = packet(bytes[0], &bytes[header..end]);
            let alone = decode(&shortened, version, &Limits::default()).is_ok();
            let length = shortened.len();
            shortened.extend_from_slice(&bytes[end..]);
            let frame = frame_length(&shortened, 2_000_000)
                .expect("a length")
                .expect("whole");
            assert_eq!(frame, length, "{name}");
            let together = decode(&shortened[..frame], version, &Limits::default()).is_ok();
            assert_eq!(alone, together, "{name} at {end}");
        }
    }
}
