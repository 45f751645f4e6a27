//! Beside the codecs of others: what ours accepts they accept and read alike, save where they are known
//! to be wrong; what ours alone refuses is counted by kind, and each kind has its statement.

use std::collections::BTreeMap;

use bytes::BytesMut;
use portcullis::codec::Version::{self, V5, V311};
use portcullis::codec::{Limits, Packet, decode, frame_length};
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Decoder;

use crate::corpus::valid;
use crate::mutation::{Random, mutate, seeds};

/// Topic and payload of a PUBLISH, filters of a SUBSCRIBE or UNSUBSCRIBE: what routing rests on.
#[derive(Debug, PartialEq, Eq)]
enum Gist {
    Publish(String, Vec<u8>, Option<u16>),
    Filters(Vec<String>, u16),
    Other(u8),
}

fn ours(bytes: &[u8], version: Version) -> Result<Gist, &'static str> {
    let packet = decode(bytes, version, &Limits::default()).map_err(|error| error.kind.label())?;
    Ok(match packet {
        Packet::Publish(publish) => Gist::Publish(
            publish.topic.into(),
            publish.payload.into(),
            publish.packet_id.map(Into::into),
        ),
        Packet::Subscribe(subscribe) => Gist::Filters(
            subscribe
                .filters()
                .map(|filter| filter.filter.into())
                .collect(),
            subscribe.packet_id.get(),
        ),
        Packet::Unsubscribe(unsubscribe) => Gist::Filters(
            unsubscribe.filters().map(Into::into).collect(),
            unsubscribe.packet_id.get(),
        ),
        _ => Gist::Other(bytes[0] >> 4),
    })
}

fn rmqtt(bytes: &[u8], version: Version) -> Option<Gist> {
    let mut buffer = BytesMut::from(bytes);
    let kind = bytes[0] >> 4;
    if version == V5 {
        Some(match v5::Codec::new(0, 0).decode(&mut buffer).ok()??.0 {
            v5::Packet::Publish(publish) => Gist::Publish(
                publish.topic.to_string(),
                publish.payload.to_vec(),
                publish.packet_id.map(Into::into),
            ),
            v5::Packet::Subscribe(subscribe) => Gist::Filters(
                subscribe
                    .topic_filters
                    .iter()
                    .map(|(filter, _)| filter.to_string())
                    .collect(),
                subscribe.packet_id.get(),
            ),
            v5::Packet::Unsubscribe(unsubscribe) => Gist::Filters(
                unsubscribe
                    .topic_filters
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                unsubscribe.packet_id.get(),
            ),
            _ => Gist::Other(kind),
        })
    } else {
        Some(match v3::Codec::new(0).decode(&mut buffer).ok()??.0 {
            v3::Packet::Publish(publish) => Gist::Publish(
                publish.topic.to_string(),
                publish.payload.to_vec(),
                publish.packet_id.map(Into::into),
            ),
            v3::Packet::Subscribe {
                packet_id,
                topic_filters,
            } => Gist::Filters(
                topic_filters
                    .iter()
                    .map(|(filter, _)| filter.to_string())
                    .collect(),
                packet_id.get(),
            ),
            v3::Packet::Unsubscribe {
                packet_id,
                topic_filters,
            } => Gist::Filters(
                topic_filters.iter().map(ToString::to_string).collect(),
                packet_id.get(),
            ),
            _ => Gist::Other(kind),
        })
    }
}

#[test]
fn valid_packets_are_read_alike() {
    for (name, version, bytes) in valid() {
        // It has no 3.1 of its own, whose packets after CONNECT are those of 3.1.1.
        let theirs = rmqtt(&bytes, version);
        if KNOWN.contains(&name) {
            assert_eq!(
                theirs, None,
                "{name}: mended there, so take it out of the list"
            );
            continue;
        }
        assert_eq!(ours(&bytes, version).ok(), theirs, "{name} of {version:?}");
    }
}

/// Valid packets that rmqtt-codec does not read.
const KNOWN: [&str; 0] = [];

#[test]
fn of_mutated_packets_ours_accepts_nothing_that_they_read_otherwise() {
    let seeds = seeds();
    let mut random = Random(42);
    let mut only_ours: BTreeMap<String, u32> = BTreeMap::new();
    let mut only_theirs: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..100_000 {
        let (version, seed) = &seeds[random.below(seeds.len())];
        let version = if *version == V5 { V5 } else { V311 };
        let mut bytes = seed.clone();
        mutate(&mut bytes, &seeds, &mut random);
        let Ok(Some(length)) = frame_length(&bytes, 2_000_000) else {
            continue;
        };
        if length > bytes.len() || bytes[0] >> 4 == 1 {
            continue;
        }
        bytes.truncate(length);
        match (ours(&bytes, version), rmqtt(&bytes, version)) {
            (Ok(ours), Some(theirs)) => assert_eq!(ours, theirs, "{version:?} {bytes:02x?}"),
            (Ok(_), None) => {
                *only_ours.entry(format!("{:x}", bytes[0] >> 4)).or_default() += 1;
            }
            (Err(kind), Some(_)) => *only_theirs.entry(kind).or_default() += 1,
            (Err(_), None) => {}
        }
    }
    // They let through what the standard forbids, and we name it. The other way round there is little.
    assert!(only_theirs.len() > 3, "{only_theirs:?}");
    let total: u32 = only_ours.values().sum();
    assert!(total < 2_000, "ours alone accepts {only_ours:?}");
}
