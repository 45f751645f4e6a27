//! Packets of one type: bytes as they are, and valid ones that the input chooses, changed or not.
//!
//! The decoder takes exactly what the slow reader takes, reads the same in it, and allocates nothing;
//! what it takes and has an encoder for is written again and means the same.

use allocation_counter::measure;
use portcullis::codec::{self, Ack, Connect, Limits, Packet, Publish, Version, frame_length};

use super::codec::{corpus, examine};
use super::reading::Properties;
use super::standard::{self, Read};
use crate::generate;
use crate::mutate::{Rng, change, correct_length};
use crate::wire::varint;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

pub(super) fn connect(data: &[u8]) {
    run(&[1], data);
}

pub(super) fn publish(data: &[u8]) {
    run(&[3], data);
}

pub(super) fn acknowledgement(data: &[u8]) {
    run(&[4, 5, 6, 7], data);
}

pub(super) fn subscribe(data: &[u8]) {
    run(&[8], data);
}

pub(super) fn unsubscribe(data: &[u8]) {
    run(&[10], data);
}

/// PINGREQ, DISCONNECT, and the types that no client may send.
pub(super) fn control(data: &[u8]) {
    run(&[12, 14, 0, 2, 9, 11, 13], data);
}

pub(super) fn auth(data: &[u8]) {
    run(&[15], data);
}

/// The first byte says how the others become a packet: version, type, and one of four ways.
fn run(kinds: &[u8], data: &[u8]) {
    let Some((&head, rest)) = data.split_first() else {
        return;
    };
    let head = usize::from(head);
    let version = VERSIONS[head % 3];
    let kind = kinds[head / 3 % kinds.len()];
    // A type that no generator makes is only tried with bytes.
    let ways = if generates(kind, version) { 4 } else { 2 };
    let mut packet;
    match (head / 21 % ways, rest) {
        (0, [flags, body @ ..]) => {
            packet = vec![kind << 4 | flags & 0x0F];
            packet.extend(varint(body.len()));
            packet.extend_from_slice(body);
        }
        (0 | 1, _) => {
            packet = rest.to_vec();
            if let Some(first) = packet.first_mut() {
                *first = kind << 4 | *first & 0x0F;
            }
        }
        (way, _) => {
            let mut rng = Rng::choosing(rest);
            packet = generated(&mut rng, kind, version);
            if way == 2 {
                is_accepted(&packet, kind, version);
            } else {
                spoil(&mut rng, &mut packet);
            }
        }
    }
    check(&packet, version);
}

fn generates(kind: u8, version: Version) -> bool {
    matches!(kind, 1 | 3..=8 | 10 | 12 | 14) || (kind == 15 && version == Version::V5)
}

fn generated(rng: &mut Rng, kind: u8, version: Version) -> Vec<u8> {
    match kind {
        1 => generate::connect(rng, version),
        _ => generate::packet_of(rng, kind, version),
    }
}

/// Up to four changes, and mostly the right length afterwards.
pub(super) fn spoil(rng: &mut Rng, packet: &mut Vec<u8>) {
    let other = packet.clone();
    for _ in 0..=rng.below(4) {
        change(rng, packet, &other);
    }
    if rng.below(4) != 3 {
        correct_length(packet);
    }
}

/// A packet made as the standard says is taken.
fn is_accepted(packet: &[u8], kind: u8, version: Version) {
    let limits = Limits {
        max_packet_bytes: usize::MAX,
        max_user_properties: usize::MAX,
    };
    let refused = if kind == 1 {
        codec::decode_connect(packet, &limits).err()
    } else {
        codec::decode(packet, version, &limits).err()
    };
    assert_eq!(refused, None, "{packet:02X?} of {version:?}");
}

/// Everything that must hold of a packet, on a connection of `version` and as the first one.
fn check(packet: &[u8], version: Version) {
    let limits = examine::LIMITS;
    let frame = match frame_length(packet, limits.max_packet_bytes) {
        Ok(Some(length)) if length <= packet.len() => &packet[..length],
        _ => packet,
    };
    let mut decoded = (None, None);
    let allocated = measure(|| {
        decoded = (
            codec::decode(frame, version, &limits).ok(),
            codec::decode_connect(frame, &limits).ok(),
        );
    });
    assert_eq!(allocated.count_total, 0, "{frame:02X?}");
    let expected = standard::read(frame, Some(version), &limits);
    match (&decoded.0, &expected) {
        (Some(Packet::Connect) | None, None) => {}
        (Some(ours), Some(read)) => assert!(same(ours, read), "{ours:?}\n{read:?}\n{frame:02X?}"),
        (ours, read) => panic!("{ours:?}\n{read:?}\n{frame:02X?} of {version:?}"),
    }
    match (&decoded.1, standard::read(frame, None, &limits)) {
        (None, None) => {}
        (Some(ours), Some(Read::Connect(read))) => {
            assert!(
                same_connect(ours, &read),
                "{ours:?}\n{read:?}\n{frame:02X?}"
            );
        }
        (ours, read) => panic!("{ours:?}\n{read:?}\n{frame:02X?}"),
    }
    examine::examine(packet, version, &mut |_| {});
}

fn same(ours: &Packet<'_>, read: &Read) -> bool {
    match ours {
        Packet::Connect => false,
        Packet::Publish(publish) => {
            matches!(read, Read::Publish(read) if same_publish(publish, read))
        }
        Packet::Puback(ack) => *read == said(4, ack),
        Packet::Pubrec(ack) => *read == said(5, ack),
        Packet::Pubrel(ack) => *read == said(6, ack),
        Packet::Pubcomp(ack) => *read == said(7, ack),
        Packet::Subscribe(subscribe) => {
            let filters = subscribe.filters().map(|entry| {
                let options = entry.qos.bits()
                    | u8::from(entry.no_local) << 2
                    | u8::from(entry.retain_as_published) << 3
                    | entry.retain_handling << 4;
                (entry.filter.to_owned(), options)
            });
            let (id, identifier) = (subscribe.packet_id.get(), subscribe.identifier);
            *read == Read::Subscribe(id, identifier, filters.collect())
        }
        Packet::Unsubscribe(unsubscribe) => {
            let filters = unsubscribe.filters().map(str::to_owned).collect();
            *read == Read::Unsubscribe(unsubscribe.packet_id.get(), filters)
        }
        Packet::Pingreq => *read == Read::Pingreq,
        Packet::Disconnect(disconnect) => {
            let text = disconnect.reason_string.map(str::to_owned);
            let expiry = disconnect.session_expiry_interval_s;
            *read == Read::Disconnect(disconnect.reason.0, expiry, text)
        }
        Packet::Auth(auth) => {
            let data = auth.data.map(Vec::from);
            *read == Read::Auth(auth.reason.0, auth.method.to_owned(), data)
        }
    }
}

fn said(kind: u8, ack: &Ack<'_>) -> Read {
    let text = ack.reason_string.map(str::to_owned);
    Read::Ack(kind, ack.packet_id.get(), ack.reason.0, text)
}

fn forwarded(properties: &codec::ForwardProperties<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    properties.copy_forwardable(&mut out);
    out
}

fn is_utf8(properties: &Properties) -> bool {
    properties.number(0x01) == Some(1)
}

fn same_publish(ours: &Publish<'_>, read: &standard::Publish) -> bool {
    let properties = &read.properties;
    ours.dup == read.dup
        && ours.qos.bits() == read.qos
        && ours.retain == read.retain
        && ours.topic == read.topic
        && ours.packet_id.map(u16::from) == read.id
        && ours.alias.map(u32::from) == properties.number(0x23)
        && ours.expiry_interval_s == properties.number(0x02)
        && ours.response_topic == properties.text(0x08)
        && ours.payload_is_utf8 == is_utf8(properties)
        && forwarded(&ours.properties) == properties.forwarded()
        && ours.payload == read.payload
}

fn same_connect(ours: &Connect<'_>, read: &standard::Connect) -> bool {
    let properties = &read.properties;
    let number = |id, absent| properties.number(id).unwrap_or(absent);
    let will = match (&ours.will, &read.will) {
        (None, None) => true,
        (Some(ours), Some(read)) => same_will(ours, read),
        _ => false,
    };
    will && ours.version == read.version
        && ours.bridge == read.bridge
        && ours.clean_start == read.clean
        && ours.keep_alive_s == read.keep_alive
        && ours.client_id == read.client_id
        && ours.username == read.username.as_deref()
        && ours.password == read.password.as_deref()
        && ours.session_expiry_interval_s == properties.number(0x11)
        && u32::from(ours.receive_maximum) == number(0x21, 65_535)
        && ours.maximum_packet_size == number(0x27, u32::MAX)
        && u32::from(ours.topic_alias_maximum) == number(0x22, 0)
        && u32::from(ours.request_response_information) == number(0x19, 0)
        && u32::from(ours.request_problem_information) == number(0x17, 1)
        && ours.authentication_method == properties.text(0x15)
        && ours.authentication_data == properties.binary(0x16)
}

fn same_will(ours: &codec::Will<'_>, read: &standard::Will) -> bool {
    let properties = &read.properties;
    ours.topic == read.topic
        && ours.payload == read.payload
        && ours.qos.bits() == read.qos
        && ours.retain == read.retain
        && ours.delay_interval_s == properties.number(0x18).unwrap_or(0)
        && ours.expiry_interval_s == properties.number(0x02)
        && ours.payload_is_utf8 == is_utf8(properties)
        && forwarded(&ours.properties) == properties.forwarded()
}

/// The packets of `kinds` in the corpus, whole and without their headers, and bytes to choose by.
fn seeds(kinds: &[u8]) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for seed in corpus::seeds() {
        let Some(kind) = kinds.iter().position(|&kind| kind == seed.bytes[0] >> 4) else {
            continue;
        };
        let level = usize::from(seed.version.level() - 3);
        // The first of the two that means this version, this type and bytes as they are.
        let mut heads = 0..=u8::MAX;
        let head = heads
            .find(|&head| {
                let head = usize::from(head);
                let ways = if generates(kinds[kind], seed.version) {
                    4
                } else {
                    2
                };
                head % 3 == level && head / 3 % kinds.len() == kind && head / 21 % ways == 1
            })
            .unwrap();
        seeds.push([&[head], &seed.bytes[..]].concat());
    }
    let mut rng = Rng::new(3);
    for head in 0..=u8::MAX {
        let choices = (0..40).map(|_| rng.byte());
        seeds.push([head].into_iter().chain(choices).collect());
    }
    seeds
}

pub(super) fn connect_seeds() -> Vec<Vec<u8>> {
    seeds(&[1])
}

pub(super) fn publish_seeds() -> Vec<Vec<u8>> {
    seeds(&[3])
}

pub(super) fn acknowledgement_seeds() -> Vec<Vec<u8>> {
    seeds(&[4, 5, 6, 7])
}

pub(super) fn subscribe_seeds() -> Vec<Vec<u8>> {
    seeds(&[8])
}

pub(super) fn unsubscribe_seeds() -> Vec<Vec<u8>> {
    seeds(&[10])
}

pub(super) fn control_seeds() -> Vec<Vec<u8>> {
    seeds(&[12, 14, 0, 2, 9, 11, 13])
}

pub(super) fn auth_seeds() -> Vec<Vec<u8>> {
    seeds(&[15])
}
