//! Decoding allocates nothing, for packets of every type and version and for malformed ones; and
//! neither does encoding what is sent often, once the output buffer has its size.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]
#![expect(
    dead_code,
    reason = "modules of another test, of which this needs a part"
)]

use std::hint::black_box;

use allocation_counter::measure;
use portcullis::codec::{
    self, AckKind, Limits, Packet, PacketId, PublishHead, QoS, ReasonCode, Version, encode_ack,
    encode_pingresp, encode_suback, encode_unsuback, frame_length,
};

#[path = "codec/corpus.rs"]
mod corpus;
#[path = "codec/mutate.rs"]
mod mutate;
#[path = "codec/wire.rs"]
mod wire;

const MAX: usize = 2_000_000;

/// How often `run` asks the allocator for memory, growing included.
fn allocations(run: impl FnOnce()) -> u64 {
    measure(run).count_total
}

/// Decodes one packet as a connection does and looks at all of it.
fn decode(bytes: &[u8], version: Version, limits: &Limits) -> bool {
    let Ok(Some(length)) = frame_length(bytes, MAX) else {
        return false;
    };
    let Some(frame) = bytes.get(..length) else {
        return false;
    };
    if codec::is_connect(frame[0]) {
        return black_box(codec::decode_connect(frame, limits)).is_ok();
    }
    match codec::decode(frame, version, limits) {
        Ok(Packet::Subscribe(subscribe)) => subscribe.filters().map(black_box).count() > 0,
        Ok(Packet::Unsubscribe(unsubscribe)) => unsubscribe.filters().map(black_box).count() > 0,
        other => black_box(other).is_ok(),
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(vec![1_u8]))), 1);
    assert_eq!(allocations(|| assert_eq!(black_box([1_u8]), [1])), 0);
}

#[test]
fn decoding_a_valid_packet_of_any_type_and_version_allocates_nothing() {
    let limits = Limits::default();
    for seed in corpus::seeds() {
        let mut accepted = false;
        let count = allocations(|| accepted = decode(&seed.bytes, seed.version, &limits));
        assert!(accepted, "{:02X?}", seed.bytes);
        assert_eq!(count, 0, "{:02X?}", seed.bytes);
    }
}

#[test]
fn refusing_a_malformed_packet_allocates_nothing() {
    let limits = Limits::default();
    let seeds = corpus::seeds();
    let mut rng = mutate::Rng::new(4);
    let mut refused = 0;
    for _ in 0..20_000 {
        let seed = rng.pick(&seeds);
        let mut packet = seed.bytes.clone();
        mutate::mutate(&mut rng, &mut packet, &seeds[0].bytes);
        let count = allocations(|| refused += u32::from(!decode(&packet, seed.version, &limits)));
        assert_eq!(count, 0, "{packet:02X?}");
    }
    assert!(refused > 10_000, "{refused} of 20,000 were refused");
}

#[test]
fn a_length_that_is_only_announced_allocates_nothing() {
    let announced = [0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0x00];
    for bound in [1_000, usize::MAX] {
        let mut length = None;
        let count = allocations(|| length = frame_length(&announced, bound).ok());
        assert_eq!((count, length.is_some()), (0, bound > 1_000));
    }
}

/// Everything that is sent per message or per request, into one buffer.
fn encode_all(out: &mut Vec<u8>, properties: &[u8]) {
    let id = PacketId::new(7).unwrap();
    let codes = [ReasonCode(0), ReasonCode(0x87)];
    out.clear();
    for version in [Version::V31, Version::V311, Version::V5] {
        for (qos, packet_id) in [
            (QoS::AtMostOnce, None),
            (QoS::AtLeastOnce, Some(id)),
            (QoS::ExactlyOnce, Some(id)),
        ] {
            let head = PublishHead {
                dup: false,
                qos,
                retain: false,
                topic: "sensors/pump7/pressure",
                packet_id,
                alias: Some(3),
                expiry_interval_s: Some(60),
                identifiers: &[1, 300],
                properties,
                payload_bytes: 5,
            };
            black_box(head.packet_bytes(version));
            head.encode(version, out);
            out.extend_from_slice(b"12.34");
        }
        for kind in [
            AckKind::Puback,
            AckKind::Pubrec,
            AckKind::Pubrel,
            AckKind::Pubcomp,
        ] {
            encode_ack(out, version, kind, id, ReasonCode(0), None);
            encode_ack(out, version, kind, id, ReasonCode(0x92), Some("why"));
        }
        encode_suback(out, version, id, &codes, None);
        encode_unsuback(out, version, id, &codes, None);
        encode_pingresp(out);
    }
}

#[test]
fn encoding_into_a_warm_buffer_allocates_nothing() {
    let properties = wire::wire(r#"01 01 03 "text" 26 "k" "v""#);
    let mut out = Vec::new();
    let cold = allocations(|| encode_all(&mut out, &properties));
    assert!(cold > 0, "the first time the buffer grows");
    assert_eq!(allocations(|| encode_all(&mut out, &properties)), 0);
}

#[test]
fn copying_forwarded_properties_into_a_warm_buffer_allocates_nothing() {
    let publish = wire::wire(
        r#"30 ("a" (01 01 02 00 00 00 0A 03 "text" 08 "r" 09 "c" 23 00 05 26 "k" "v" 26 "k" "w"))"#,
    );
    let Ok(Packet::Publish(read)) = codec::decode(&publish, Version::V5, &Limits::default()) else {
        panic!("no PUBLISH")
    };
    let mut out = Vec::with_capacity(publish.len());
    let count = allocations(|| read.properties.copy_forwardable(&mut out));
    assert_eq!(count, 0);
    assert!(!out.is_empty());
}
