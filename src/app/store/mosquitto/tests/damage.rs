//! Files that were cut or changed.

use proptest::prelude::*;

use super::super::*;
use super::real::REAL;

/// Where the chunks of a file end, by their lengths alone; the first is the end of the first chunk.
fn ends(bytes: &[u8], header: usize) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 23;
    while at < bytes.len() {
        let length: [u8; 4] = bytes[at + header - 4..at + header].try_into().unwrap();
        at += header + usize::try_from(u32::from_be_bytes(length)).unwrap();
        ends.push(at);
    }
    ends
}

fn chunks(imported: &Imported<'_>) -> usize {
    1 + imported.sessions.len()
        + imported.messages.len()
        + imported.client_messages.len()
        + imported.subscriptions.len()
        + imported.retained.len()
}

/// The format has no end mark, so a beginning that ends with a chunk is a file, of as many chunks; every other is
/// refused.
pub(super) fn beginnings(whole: &[u8], header: usize) {
    let ends = ends(whole, header);
    assert_eq!(ends.last(), Some(&whole.len()));
    for length in 0..=whole.len() {
        let read = read(&whole[..length]);
        match ends.iter().position(|&end| end == length) {
            Some(number) => assert_eq!(chunks(&read.unwrap()), number + 1),
            None => assert!(read.is_err(), "cut at {length}"),
        }
    }
}

#[test]
fn each_beginning_of_a_real_file_is_refused_unless_a_chunk_ends_there() {
    beginnings(REAL, 8);
}

/// What was read is no more than what was there.
fn is_plausible(bytes: &[u8], imported: &Imported<'_>) {
    let held: usize = imported
        .messages
        .iter()
        .map(|message| {
            assert!(message.expires_at.is_none_or(|time| time <= 1 << 40));
            message.topic.as_str().len() + message.payload.len() + message.properties.len()
        })
        .sum();
    let named: usize = imported
        .sessions
        .iter()
        .map(|client| {
            client.client_id.as_str().len() + client.username.as_ref().map_or(0, |name| name.len())
        })
        .sum();
    assert!(held + named < bytes.len());
    assert!(chunks(imported) * 8 < bytes.len());
    for message in &imported.client_messages {
        let is_waiting = message.standing == Standing::Queued;
        assert!(is_waiting || message.packet_id.is_some());
    }
}

fn either(bytes: &[u8]) {
    match read(bytes) {
        Ok(imported) => is_plausible(bytes, &imported),
        Err(problems) => {
            assert!(!problems.is_empty() && problems.len() <= MOST_PROBLEMS);
            for problem in problems {
                assert!(problem.at <= bytes.len(), "{problem}");
                assert!(problem.to_string().is_ascii());
            }
        }
    }
}

#[test]
fn each_flipped_bit_of_a_real_file_is_refused_or_leaves_plausible_data() {
    let mut bytes = REAL.to_vec();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            either(&bytes);
            bytes[at] ^= 1 << bit;
        }
    }
}

#[test]
fn a_length_beyond_the_file_is_refused_before_anything_is_made_of_it() {
    // The length of the first message's chunk, and that of its payload.
    for at in [51, 71] {
        let mut bytes = REAL.to_vec();
        bytes[at..at + 4].copy_from_slice(&[0x0F, 0xFF, 0xFF, 0xFF]);
        let problems = read(&bytes).unwrap_err();
        assert_eq!(problems[0].chunk, Some(Chunk::BaseMessage));
        let is_short = matches!(
            problems[0].wrong,
            Wrong::Short {
                wanted: 0x0FFF_FFFF,
                ..
            }
        );
        assert!(is_short, "{problems:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_changes_of_a_real_file_make_it_panic(
        changes in prop::collection::vec((0..REAL.len(), any::<u8>()), 1..8),
        cut in 0..REAL.len(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = REAL.to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        if is_cut {
            bytes.truncate(cut);
        }
        either(&bytes);
    }

    #[test]
    fn no_bytes_behind_a_header_make_it_panic(
        version in 4_u8..7,
        tail in prop::collection::vec(any::<u8>(), 0..200),
        config in any::<bool>(),
    ) {
        let mut bytes = REAL[..if config { 47 } else { 23 }].to_vec();
        bytes[22] = version;
        bytes.extend(tail);
        either(&bytes);
    }
}
