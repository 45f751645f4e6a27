//! Decoding and encoding allocate nothing: counted by an allocator that counts.

use std::hint::black_box;

use portcullis::codec::Version::V5;
use portcullis::codec::{
    AckKind, Limits, Packet, PublishHead, QoS, ReasonCode, decode, decode_connect, encode_ack,
    encode_disconnect, encode_suback, frame_length,
};

fn none_in(what: &str, work: impl FnOnce()) {
    let counted = allocation_counter::measure(work);
    assert_eq!(counted.count_total, 0, "{what}: {counted:?}");
}

#[test]
fn decoding_allocates_nothing_valid_or_not() {
    let limits = Limits::default();
    let packets: [(&str, &[u8]); 12] = [
        ("PUBLISH of QoS 0", b"\x30\x06\x00\x01a\x00xy"),
        (
            "PUBLISH of QoS 1",
            b"\x32\x0B\x00\x01a\x00\x01\x03\x23\x00\x07xyz",
        ),
        (
            "PUBLISH of QoS 2 with properties",
            b"\x34\x12\x00\x01a\x00\x01\x0B\x26\x00\x01k\x00\x01v\x08\x00\x01bz",
        ),
        ("PUBACK", b"\x40\x02\x00\x01"),
        ("PUBREC with a code", b"\x50\x03\x00\x01\x87"),
        ("PUBREL", b"\x62\x02\x00\x01"),
        (
            "SUBSCRIBE",
            b"\x82\x0A\x00\x01\x00\x00\x01a\x01\x00\x00\x00",
        ),
        ("UNSUBSCRIBE", b"\xA2\x06\x00\x01\x00\x00\x01a"),
        ("PINGREQ", b"\xC0\x00"),
        ("DISCONNECT", b"\xE0\x01\x04"),
        ("an unknown property", b"\x30\x06\x00\x01a\x02\x7E\x00"),
        ("a text that is no UTF-8", b"\x30\x04\x00\x01\xFF\x00"),
    ];
    for (name, bytes) in packets {
        none_in(name, || {
            let length = frame_length(black_box(bytes), limits.max_packet_bytes);
            black_box(&length)
                .as_ref()
                .expect("a header")
                .expect("whole");
            match decode(black_box(bytes), V5, &limits) {
                Ok(Packet::Subscribe(subscribe)) => {
                    black_box(subscribe.filters().count());
                }
                Ok(Packet::Unsubscribe(unsubscribe)) => {
                    black_box(unsubscribe.filters().count());
                }
                decoded => {
                    black_box(&decoded);
                }
            }
        });
    }
    let connect =
        b"\x10\x19\x00\x04MQTT\x05\xC2\x00\x3C\x05\x11\x00\x00\x00\x0A\x00\x01c\x00\x01u\x00\x01p";
    none_in("CONNECT", || {
        let decoded = decode_connect(black_box(connect), &limits);
        black_box(&decoded).as_ref().expect("valid");
    });
}

#[test]
fn encoding_into_a_buffer_that_is_large_enough_allocates_nothing() {
    let mut out = Vec::with_capacity(4_096);
    let id = std::num::NonZeroU16::MIN;
    none_in("everything on the steady path", || {
        let head = PublishHead {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: "a/b/c",
            packet_id: Some(id),
            alias: Some(1),
            expiry_interval_s: Some(10),
            identifiers: &[1, 2],
            properties: b"\x26\x00\x01k\x00\x01v",
            payload_bytes: 4,
        };
        head.encode(V5, &mut out);
        out.extend_from_slice(b"load");
        encode_ack(&mut out, V5, AckKind::Puback, id, ReasonCode::SUCCESS, None);
        encode_suback(&mut out, V5, id, &[ReasonCode::SUCCESS]);
        encode_disconnect(&mut out, V5, ReasonCode::SERVER_SHUTTING_DOWN, None, None);
    });
    assert!(!out.is_empty());
}
