//! Mutations of packets, the same on every run.

use std::collections::VecDeque;

use crate::wire::varint;

/// Where choices come from.
pub(crate) struct Rng(Source);

enum Source {
    /// Pseudo-random numbers: xorshift with a multiplication, seeded.
    Seeded(u64),
    /// The input of a fuzz target, so that it is what chooses; zeros follow its end.
    Input(VecDeque<u8>),
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        // 0 would stay 0.
        Self(Source::Seeded(seed | 1))
    }

    pub(crate) fn choosing(input: &[u8]) -> Self {
        Self(Source::Input(input.iter().copied().collect()))
    }

    /// Bytes of the input that have chosen nothing yet.
    pub(crate) fn left(&self) -> usize {
        match &self.0 {
            Source::Seeded(_) => usize::MAX,
            Source::Input(bytes) => bytes.len(),
        }
    }

    pub(crate) fn next(&mut self) -> u64 {
        match &mut self.0 {
            Source::Seeded(state) => {
                *state ^= *state >> 12;
                *state ^= *state << 25;
                *state ^= *state >> 27;
                state.wrapping_mul(0x2545_F491_4F6C_DD1D)
            }
            Source::Input(bytes) => {
                u64::from_be_bytes(std::array::from_fn(|_| bytes.pop_front().unwrap_or(0)))
            }
        }
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        match &mut self.0 {
            Source::Seeded(_) => usize::try_from(self.next() >> 33).unwrap() % bound,
            Source::Input(bytes) => {
                let mut number = 0;
                let mut reach = 1;
                while reach < bound {
                    number = number << 8 | usize::from(bytes.pop_front().unwrap_or(0));
                    reach <<= 8;
                }
                number % bound
            }
        }
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match &mut self.0 {
            Source::Seeded(_) => self.next().to_be_bytes()[0],
            Source::Input(bytes) => bytes.pop_front().unwrap_or(0),
        }
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Bytes at which decoders like to go wrong.
const BORDERS: [u8; 12] = [
    0x00, 0x01, 0x02, 0x04, 0x7F, 0x80, 0xC0, 0xED, 0xFF, b'+', b'#', 0x26,
];

/// Whole properties, good and bad.
const PROPERTIES: [&[u8]; 17] = [
    &[0x01, 0x01],
    &[0x02, 0, 0, 0, 0],
    &[0x02, 0, 0, 0, 9],
    &[0x03, 0, 1, b't'],
    &[0x08, 0, 1, b'r'],
    &[0x09, 0, 1, 0xFF],
    &[0x0B, 0x80, 0x01],
    &[0x11, 0, 0, 0, 9],
    &[0x15, 0, 1, b'M'],
    &[0x16, 0, 1, b'd'],
    &[0x18, 0, 0, 0, 9],
    &[0x1C, 0, 1, b's'],
    &[0x1F, 0, 1, b'w'],
    &[0x21, 0, 0],
    &[0x23, 0, 9],
    &[0x26, 0, 0, 0, 0],
    &[0x26, 0, 1, b'k', 0, 1, b'v'],
];

/// Changes `packet` in up to four places, and mostly corrects its Remaining Length afterwards:
/// otherwise nearly all would end at the frame. `other` is a packet to take pieces from.
pub(crate) fn mutate(rng: &mut Rng, packet: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=rng.below(4) {
        change(rng, packet, other);
    }
    if rng.below(8) != 0 {
        correct_length(packet);
    }
}

/// One change, wherever it falls.
pub(crate) fn change(rng: &mut Rng, packet: &mut Vec<u8>, other: &[u8]) {
    if packet.is_empty() {
        packet.extend_from_slice(other);
        return;
    }
    let at = rng.below(packet.len());
    match rng.below(11) {
        0 | 1 => packet[at] ^= 1 << rng.below(8),
        2 => packet[at] = *rng.pick(&BORDERS),
        3 => packet[at] = rng.byte(),
        4 => packet.truncate(at),
        5 => packet.insert(at, *rng.pick(&BORDERS)),
        6 => drop(packet.remove(at)),
        7 => {
            // A length of two bytes a little off, or far.
            let step = [1, 2, 0x100, 0xFFFF, 0xFFFE][rng.below(5)];
            if let Some(field) = packet.get_mut(at..at + 2) {
                let value = u16::from_be_bytes([field[0], field[1]]).wrapping_add(step);
                field.copy_from_slice(&value.to_be_bytes());
            }
        }
        8 => {
            // The front of this one with the back of another.
            packet.truncate(at);
            packet.extend_from_slice(&other[rng.below(other.len())..]);
        }
        9 => {
            // One more property behind `at`, and a byte before it larger by as much, most often
            // the one at `at`: the property is in its block if that byte is the block's length.
            let property = *rng.pick(&PROPERTIES);
            let length = if rng.below(2) == 0 {
                at
            } else {
                rng.below(at + 1)
            };
            packet[length] = packet[length].wrapping_add(u8::try_from(property.len()).unwrap());
            packet.splice(at + 1..=at, property.iter().copied());
        }
        _ => {
            // A piece twice: properties and filters are what gets repeated.
            let end = at + rng.below(packet.len() - at) + 1;
            let piece = packet[at..end].to_vec();
            packet.splice(end..end, piece);
        }
    }
}

/// Writes the Remaining Length that the packet should have.
pub(crate) fn correct_length(packet: &mut Vec<u8>) {
    let Some(&first) = packet.first() else {
        return;
    };
    let header = packet
        .iter()
        .skip(1)
        .take(4)
        .position(|byte| byte & 0x80 == 0)
        .map_or(1, |end| end + 2);
    let body = packet.split_off(header);
    packet.clear();
    packet.push(first);
    packet.extend(varint(body.len()));
    packet.extend(body);
}
