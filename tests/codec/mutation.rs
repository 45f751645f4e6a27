//! A million packets that are almost right: no panic, and every error has a code that may be sent.

use portcullis::codec::Version::{self, V5, V31, V311};
use portcullis::codec::{
    DecodeError, Limits, Packet, PublishHead, decode, decode_connect, frame_length,
};

use crate::corpus::{full_connect, full_publish, small_connect, valid};

const PACKETS: u64 = 1_000_000;
const THREADS: u64 = 2;

/// xorshift: the same packets on every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("small")
    }
}

/// Bytes and the version they are decoded as.
pub(crate) fn seeds() -> Vec<(Version, Vec<u8>)> {
    let mut seeds: Vec<(Version, Vec<u8>)> = valid()
        .into_iter()
        .map(|(_, version, bytes)| (version, bytes))
        .collect();
    for version in [V31, V311, V5] {
        seeds.push((version, full_connect(version)));
        seeds.push((version, small_connect(version)));
    }
    seeds.push((V5, full_publish()));
    seeds
}

/// Values that sit at the ends of something.
const TELLING: [u8; 12] = [0, 1, 2, 3, 0x0B, 0x23, 0x26, 0x7F, 0x80, 0xC0, 0xFE, 0xFF];

pub(crate) fn mutate(bytes: &mut Vec<u8>, seeds: &[(Version, Vec<u8>)], random: &mut Random) {
    for _ in 0..=random.below(3) {
        if bytes.is_empty() {
            bytes.push(TELLING[random.below(TELLING.len())]);
        }
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = TELLING[random.below(TELLING.len())],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, TELLING[random.below(TELLING.len())]),
            4 => {
                bytes.remove(at);
            }
            5 => {
                // A piece of another packet.
                let other = &seeds[random.below(seeds.len())].1;
                let from = random.below(other.len());
                let piece = &other[from..(from + 8).min(other.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            6 => bytes[at] = bytes[at].wrapping_add(1),
            // A length that is right again: what is inside is then what is looked at.
            _ => {
                let first = bytes[0];
                let header = bytes[1..]
                    .iter()
                    .take_while(|byte| **byte & 0x80 != 0)
                    .count()
                    + 2;
                let body = bytes.get(header..).unwrap_or_default().to_vec();
                *bytes = crate::corpus::packet(first, &body);
            }
        }
    }
}

/// Codes a server may put into CONNACK or DISCONNECT for what is wrong with a packet.
fn check(error: DecodeError) {
    let code = error.reason_code().0;
    assert!(
        matches!(code, 0x81 | 0x82 | 0x84 | 0x90 | 0x94 | 0x95),
        "{error:?} has 0x{code:02x}"
    );
}

/// Everything a packet says is inside the frame: reading it all finds out.
fn touch(packet: &Packet<'_>, frame: &[u8], scratch: &mut Vec<u8>) {
    let inside = |part: &[u8]| assert!(part.len() <= frame.len());
    match packet {
        Packet::Publish(publish) => {
            inside(publish.topic.as_bytes());
            inside(publish.payload);
            assert!(!publish.topic.contains(['+', '#', '\0']));
            assert!(!publish.topic.is_empty() || publish.alias.is_some());
            scratch.clear();
            publish.properties.copy_forwardable(scratch);
            inside(scratch);
            // What is forwarded is again a PUBLISH that can be read.
            let head = PublishHead {
                dup: false,
                qos: publish.qos,
                retain: publish.retain,
                topic: if publish.topic.is_empty() {
                    "t"
                } else {
                    publish.topic
                },
                packet_id: publish.packet_id,
                alias: None,
                expiry_interval_s: publish.expiry_interval_s,
                identifiers: &[],
                properties: scratch,
                payload_bytes: publish.payload.len(),
            };
            let mut out = Vec::new();
            head.encode(V5, &mut out);
            out.extend_from_slice(publish.payload);
            assert_eq!(out.len(), head.packet_bytes(V5));
            let again = decode(&out, V5, &Limits::default());
            assert!(
                matches!(again, Ok(Packet::Publish(again)) if again.payload == publish.payload)
            );
        }
        Packet::Subscribe(subscribe) => {
            let mut filters = 0;
            for filter in subscribe.filters() {
                inside(filter.filter.as_bytes());
                assert!(filter.retain_handling < 3 && !filter.filter.contains('\0'));
                filters += 1;
            }
            assert!(filters > 0);
        }
        Packet::Unsubscribe(unsubscribe) => assert!(unsubscribe.filters().count() > 0),
        _ => {}
    }
}

fn run(seed: u64, packets: u64) -> (u64, u64) {
    let seeds = seeds();
    let mut random = Random(seed);
    let limits = Limits {
        max_packet_bytes: 10_000,
        max_user_properties: 10,
    };
    let (mut valid, mut scratch) = (0, Vec::new());
    let mut bytes = Vec::new();
    for _ in 0..packets {
        let (version, seed) = &seeds[random.below(seeds.len())];
        bytes.clone_from(seed);
        mutate(&mut bytes, &seeds, &mut random);
        let frame = match frame_length(&bytes, limits.max_packet_bytes) {
            Ok(Some(length)) => bytes.get(..length).unwrap_or(&bytes),
            Ok(None) => &bytes,
            Err(error) => {
                check(error);
                &bytes
            }
        };
        match decode(frame, *version, &limits) {
            Ok(packet) => {
                valid += 1;
                touch(&packet, frame, &mut scratch);
            }
            Err(error) => check(error),
        }
        match decode_connect(frame, &limits) {
            Ok(connect) => assert!(!connect.client_id.contains('\0')),
            Err(error) => check(error),
        }
    }
    (valid, packets - valid)
}

#[test]
fn a_million_mutated_packets_neither_panic_nor_escape_their_frame() {
    let threads: Vec<_> = (1..=THREADS)
        .map(|thread| {
            let seed = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(thread);
            std::thread::spawn(move || run(seed, PACKETS / THREADS))
        })
        .collect();
    let (mut valid, mut refused) = (0, 0);
    for thread in threads {
        let (some, others) = thread.join().expect("no panic");
        valid += some;
        refused += others;
    }
    assert_eq!(valid + refused, PACKETS);
    // Both sides of the line were looked at.
    assert!(
        valid > PACKETS / 50 && refused > PACKETS / 4,
        "{valid} valid, {refused} refused"
    );
}
