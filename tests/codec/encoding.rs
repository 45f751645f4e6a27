//! What we send, read by the codecs of others.

use bytes::BytesMut;
use portcullis::codec::Version::{self, V5, V311};
use portcullis::codec::{
    AckKind, Connack, PublishHead, QoS, ReasonCode, encode_ack, encode_auth, encode_connack,
    encode_disconnect, encode_pingresp, encode_suback, encode_unsuback,
};
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Decoder;

fn read5(bytes: &[u8]) -> v5::Packet {
    let mut buffer = BytesMut::from(bytes);
    let read = v5::Codec::new(0, 0).decode(&mut buffer);
    let (packet, _) = read.expect("it can be read").expect("it is whole");
    assert!(buffer.is_empty(), "bytes are left over: {buffer:?}");
    packet
}

fn read3(bytes: &[u8]) -> v3::Packet {
    let mut buffer = BytesMut::from(bytes);
    let read = v3::Codec::new(0).decode(&mut buffer);
    let (packet, _) = read.expect("it can be read").expect("it is whole");
    assert!(buffer.is_empty(), "bytes are left over: {buffer:?}");
    packet
}

fn id(number: u16) -> std::num::NonZeroU16 {
    std::num::NonZeroU16::new(number).expect("not 0")
}

fn head(version: Version) -> (PublishHead<'static>, Vec<u8>) {
    let head = PublishHead {
        dup: true,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: "t\u{f6}pic/a",
        packet_id: Some(id(9)),
        alias: Some(3),
        expiry_interval_s: Some(77),
        identifiers: &[1, 16_384],
        properties: b"\x03\x00\x04json\x26\x00\x01k\x00\x01v",
        payload_bytes: 7,
    };
    let mut out = Vec::new();
    head.encode(version, &mut out);
    out.extend_from_slice(b"payload");
    assert_eq!(out.len(), head.packet_bytes(version));
    (head, out)
}

#[test]
fn a_publish_is_read_with_all_it_says() {
    let (_, bytes) = head(V5);
    let v5::Packet::Publish(publish) = read5(&bytes) else {
        panic!("a PUBLISH");
    };
    assert!(publish.dup && publish.retain);
    assert_eq!(&*publish.topic, "t\u{f6}pic/a");
    assert_eq!(publish.packet_id, Some(id(9)));
    assert_eq!(&*publish.payload, b"payload");
    let properties = publish.properties.expect("properties");
    assert_eq!(properties.topic_alias, Some(id(3)));
    assert_eq!(
        properties.message_expiry_interval.map(Into::into),
        Some(77_u32)
    );
    assert_eq!(properties.content_type.as_deref(), Some("json"));
    let identifiers: Vec<u32> = properties
        .subscription_ids
        .iter()
        .map(|id| id.get())
        .collect();
    assert_eq!(identifiers, [1, 16_384]);
    assert_eq!(properties.user_properties.len(), 1);

    let (_, bytes) = head(V311);
    let v3::Packet::Publish(publish) = read3(&bytes) else {
        panic!("a PUBLISH");
    };
    assert_eq!(
        (&*publish.topic, &*publish.payload),
        ("t\u{f6}pic/a", b"payload".as_slice())
    );
}

#[test]
fn lengths_at_the_borders_of_the_variable_byte_integer_are_right() {
    for payload_bytes in [
        0, 100, 120, 121, 122, 123, 124, 125, 16_370, 16_377, 16_380, 2_097_140,
    ] {
        for version in [V311, V5] {
            let head = PublishHead {
                dup: false,
                qos: QoS::AtMostOnce,
                retain: false,
                topic: "a",
                packet_id: None,
                alias: None,
                expiry_interval_s: None,
                identifiers: &[],
                properties: &[],
                payload_bytes,
            };
            let mut out = Vec::new();
            head.encode(version, &mut out);
            out.resize(out.len() + payload_bytes, b'x');
            assert_eq!(out.len(), head.packet_bytes(version));
            let payload = if version == V5 {
                let v5::Packet::Publish(publish) = read5(&out) else {
                    panic!("a PUBLISH")
                };
                publish.payload.len()
            } else {
                let v3::Packet::Publish(publish) = read3(&out) else {
                    panic!("a PUBLISH")
                };
                publish.payload.len()
            };
            assert_eq!(payload, payload_bytes);
        }
    }
}

#[test]
fn a_connack_is_read_with_all_it_says() {
    let connack = Connack {
        session_present: true,
        session_expiry_interval_s: Some(100),
        receive_maximum: Some(20),
        maximum_qos: Some(QoS::AtLeastOnce),
        retain_available: Some(false),
        maximum_packet_size: Some(1_000),
        assigned_client_identifier: Some("auto-1"),
        topic_alias_maximum: Some(10),
        reason_string: Some("why"),
        wildcard_available: Some(false),
        identifiers_available: Some(false),
        shared_available: Some(false),
        server_keep_alive_s: Some(30),
        response_information: Some("answers/"),
        server_reference: Some("other"),
        authentication_method: Some("SCRAM"),
        authentication_data: Some(b"\xFF"),
        ..Connack::new(ReasonCode::SUCCESS)
    };
    let mut out = Vec::new();
    encode_connack(&mut out, V5, &connack);
    let v5::Packet::ConnectAck(read) = read5(&out) else {
        panic!("a CONNACK");
    };
    assert!(read.session_present);
    assert_eq!(read.session_expiry_interval_secs, Some(100));
    assert_eq!(
        (read.receive_max.get(), read.max_packet_size),
        (20, Some(1_000))
    );
    assert_eq!(read.assigned_client_id.as_deref(), Some("auto-1"));
    assert_eq!(
        (read.topic_alias_max, read.server_keepalive_sec),
        (10, Some(30))
    );
    assert!(!read.retain_available && !read.wildcard_subscription_available);
    assert!(!read.subscription_identifiers_available && !read.shared_subscription_available);
    assert_eq!(read.response_info.as_deref(), Some("answers/"));
    assert_eq!(read.server_reference.as_deref(), Some("other"));
    assert_eq!(
        (read.auth_method.as_deref(), read.auth_data.as_deref()),
        (Some("SCRAM"), Some(&[0xFF][..]))
    );
    assert_eq!(read.reason_string.as_deref(), Some("why"));
    // 3.1.1 has nothing of it; each refusal becomes one of its five codes.
    for (reason, code) in [
        (ReasonCode::SUCCESS, 0),
        (ReasonCode::UNSUPPORTED_PROTOCOL_VERSION, 1),
        (ReasonCode::CLIENT_IDENTIFIER_NOT_VALID, 2),
        (ReasonCode::SERVER_UNAVAILABLE, 3),
        (ReasonCode::BAD_USER_NAME_OR_PASSWORD, 4),
        (ReasonCode::NOT_AUTHORIZED, 5),
    ] {
        out.clear();
        encode_connack(&mut out, V311, &Connack::new(reason));
        assert_eq!(out, [0x20, 2, 0, code]);
    }
}

#[test]
fn acknowledgements_are_read_and_are_as_short_as_they_may_be() {
    let mut out = Vec::new();
    for (kind, first) in [
        (AckKind::Puback, 0x40),
        (AckKind::Pubrec, 0x50),
        (AckKind::Pubrel, 0x62),
        (AckKind::Pubcomp, 0x70),
    ] {
        for version in [V311, V5] {
            out.clear();
            encode_ack(&mut out, version, kind, id(258), ReasonCode::SUCCESS, None);
            assert_eq!(out, [first, 2, 1, 2]);
        }
    }
    out.clear();
    encode_ack(
        &mut out,
        V5,
        AckKind::Puback,
        id(7),
        ReasonCode::NOT_AUTHORIZED,
        Some("no"),
    );
    let v5::Packet::PublishAck(ack) = read5(&out) else {
        panic!("a PUBACK");
    };
    assert_eq!(
        (ack.packet_id, ack.reason_string.as_deref()),
        (id(7), Some("no"))
    );
    out.clear();
    encode_ack(
        &mut out,
        V311,
        AckKind::Puback,
        id(7),
        ReasonCode::NOT_AUTHORIZED,
        Some("no"),
    );
    assert_eq!(out, [0x40, 2, 0, 7], "3.1.1 cannot be told");
}

#[test]
fn suback_and_unsuback_have_a_code_for_each_filter() {
    let codes = [
        ReasonCode::granted(QoS::ExactlyOnce),
        ReasonCode::NOT_AUTHORIZED,
    ];
    let mut out = Vec::new();
    encode_suback(&mut out, V5, id(5), &codes);
    let v5::Packet::SubscribeAck(ack) = read5(&out) else {
        panic!("a SUBACK");
    };
    assert_eq!(ack.status.len(), 2);
    assert_eq!(&out[out.len() - 2..], [2, 0x87]);
    out.clear();
    encode_suback(&mut out, V311, id(5), &codes);
    assert_eq!(out, [0x90, 4, 0, 5, 2, 0x80], "3.1.1 knows one failure");
    let v3::Packet::SubscribeAck { status, .. } = read3(&out) else {
        panic!("a SUBACK");
    };
    assert_eq!(status.len(), 2);
    out.clear();
    encode_unsuback(
        &mut out,
        V5,
        id(5),
        &[ReasonCode::SUCCESS, ReasonCode::NO_SUBSCRIPTION_EXISTED],
    );
    let v5::Packet::UnsubscribeAck(ack) = read5(&out) else {
        panic!("an UNSUBACK");
    };
    assert_eq!(ack.status.len(), 2);
    out.clear();
    encode_unsuback(&mut out, V311, id(5), &codes);
    assert_eq!(out, [0xB0, 2, 0, 5]);
}

#[test]
fn disconnect_auth_and_pingresp_are_read() {
    let mut out = Vec::new();
    encode_disconnect(
        &mut out,
        V5,
        ReasonCode::SERVER_SHUTTING_DOWN,
        Some("bye"),
        Some("other"),
    );
    let v5::Packet::Disconnect(disconnect) = read5(&out) else {
        panic!("a DISCONNECT");
    };
    assert_eq!(
        disconnect.reason_code,
        v5::DisconnectReasonCode::ServerShuttingDown
    );
    assert_eq!(disconnect.reason_string.as_deref(), Some("bye"));
    assert_eq!(disconnect.server_reference.as_deref(), Some("other"));
    out.clear();
    encode_disconnect(&mut out, V311, ReasonCode::SERVER_SHUTTING_DOWN, None, None);
    assert_eq!(out, [0; 0], "a server of 3.1.1 sends none");
    encode_auth(&mut out, ReasonCode(0x18), "SCRAM", Some(b"\xFF"));
    let v5::Packet::Auth(auth) = read5(&out) else {
        panic!("an AUTH");
    };
    assert_eq!(
        (auth.auth_method.as_deref(), auth.auth_data.as_deref()),
        (Some("SCRAM"), Some(&[0xFF][..]))
    );
    out.clear();
    encode_pingresp(&mut out);
    assert!(matches!(read5(&out), v5::Packet::PingResponse));
}
