//! Valid packets, field by field.

use portcullis::codec::Version::{V5, V31, V311};
use portcullis::codec::{Limits, Packet, QoS, ReasonCode, decode, decode_connect};

use crate::corpus::{full_connect, full_publish, small_connect, valid};

fn limits() -> Limits {
    Limits::default()
}

#[test]
fn every_valid_packet_is_understood() {
    for (name, version, bytes) in valid() {
        let decoded = decode(&bytes, version, &limits());
        assert!(decoded.is_ok(), "{name} of {version:?}: {decoded:?}");
    }
}

#[test]
fn a_connect_says_everything_in_every_version() {
    for version in [V31, V311, V5] {
        let bytes = full_connect(version);
        let connect = decode_connect(&bytes, &limits()).expect("valid");
        assert_eq!(connect.version, version);
        assert!(!connect.bridge && connect.clean_start);
        assert_eq!((connect.keep_alive_s, connect.client_id), (60, "client"));
        assert_eq!(connect.username, Some("user"));
        assert_eq!(connect.password, Some(b"pass\xFFword".as_slice()));
        let will = connect.will.expect("a will");
        assert_eq!(
            (will.topic, will.payload),
            ("w\u{e4}ll", b"gone\xFF".as_slice())
        );
        assert_eq!((will.qos, will.retain), (QoS::AtLeastOnce, true));
        if version != V5 {
            assert_eq!(connect.session_expiry_interval_s, None);
            continue;
        }
        assert_eq!(connect.session_expiry_interval_s, Some(10));
        assert_eq!(
            (connect.receive_maximum, connect.maximum_packet_size),
            (20, 65_536)
        );
        assert_eq!(connect.topic_alias_maximum, 5);
        assert!(connect.request_response_information && !connect.request_problem_information);
        assert_eq!(connect.authentication_method, Some("SCRAM"));
        assert_eq!(connect.authentication_data, Some(b"\x00\xFF".as_slice()));
        assert_eq!(
            (will.delay_interval_s, will.expiry_interval_s),
            (7, Some(9))
        );
        assert!(will.payload_is_utf8);
        // What a receiver of the will gets: neither the delay nor the expiry, which is counted down.
        let mut forwarded = Vec::new();
        will.properties.copy_forwardable(&mut forwarded);
        assert_eq!(forwarded.first(), Some(&0x01));
        assert!(
            !forwarded.starts_with(&[0x18]) && forwarded.ends_with(&[0x26, 0, 1, b'k', 0, 1, b'v'])
        );
    }
}

#[test]
fn what_a_connect_leaves_out_has_the_values_of_the_standard() {
    let bytes = small_connect(V5);
    let connect = decode_connect(&bytes, &limits()).expect("valid");
    assert_eq!(connect.receive_maximum, 65_535);
    assert_eq!(connect.maximum_packet_size, u32::MAX);
    assert_eq!(connect.topic_alias_maximum, 0);
    assert!(!connect.request_response_information && connect.request_problem_information);
    assert_eq!(
        (connect.username, connect.password, connect.will),
        (None, None, None)
    );
    assert_eq!(connect.session_expiry_interval_s, None);
}

#[test]
fn an_empty_user_name_is_a_user_name() {
    let bytes = crate::corpus::packet(
        0x10,
        b"\x00\x04MQTT\x04\xC2\x00\x00\x00\x01c\x00\x00\x00\x00",
    );
    let connect = decode_connect(&bytes, &limits()).expect("valid");
    assert_eq!(
        (connect.username, connect.password),
        (Some(""), Some([].as_slice()))
    );
}

#[test]
fn the_bit_of_a_mosquitto_bridge_is_understood_in_3_x() {
    for (name, level, version) in [("MQTT", 0x84, V311), ("MQIsdp", 0x83, V31)] {
        let mut body = crate::corpus::lp(name.as_bytes());
        body.extend([level, 2, 0, 0, 0, 1, b'c']);
        let bytes = crate::corpus::packet(0x10, &body);
        let connect = decode_connect(&bytes, &limits()).expect("valid");
        assert_eq!((connect.version, connect.bridge), (version, true));
    }
}

#[test]
fn a_publish_says_everything() {
    let bytes = full_publish();
    let Ok(Packet::Publish(publish)) = decode(&bytes, V5, &limits()) else {
        panic!("valid");
    };
    assert!(publish.dup && publish.retain);
    assert_eq!(publish.qos, QoS::AtLeastOnce);
    assert_eq!(publish.topic, "t\u{f6}pic/a");
    assert_eq!(publish.packet_id.map(std::num::NonZeroU16::get), Some(9));
    assert_eq!(
        (publish.alias, publish.expiry_interval_s),
        (Some(3), Some(256))
    );
    assert_eq!(publish.response_topic, Some("answer"));
    assert!(publish.payload_is_utf8);
    assert_eq!(publish.payload, b"payload");
    let mut forwarded = Vec::new();
    publish.properties.copy_forwardable(&mut forwarded);
    let expected = b"\x01\x01\x08\x00\x06answer\x09\x00\x02\x00\x01\x26\x00\x01k\x00\x01v\x26\x00\x01k\x00\x01w\x03\x00\x04json";
    assert_eq!(
        forwarded, expected,
        "alias and expiry stay behind, the order is kept"
    );
}

#[test]
fn a_subscribe_gives_each_filter_with_its_options() {
    let (_, version, bytes) = valid()
        .into_iter()
        .find(|(name, ..)| *name == "SUBSCRIBE with an identifier and options")
        .expect("it is in the corpus");
    let Ok(Packet::Subscribe(subscribe)) = decode(&bytes, version, &limits()) else {
        panic!("valid");
    };
    assert_eq!(subscribe.identifier, Some(16_383));
    let filters: Vec<_> = subscribe.filters().collect();
    let [one] = filters.as_slice() else {
        panic!("one filter");
    };
    assert_eq!((one.filter, one.qos), ("$share/g/a", QoS::AtLeastOnce));
    assert!(one.no_local && one.retain_as_published);
    assert_eq!(one.retain_handling, 2);
}

#[test]
fn disconnect_and_acknowledgements_give_code_and_reason() {
    for (name, version, bytes) in valid() {
        match decode(&bytes, version, &limits()).expect("valid") {
            Packet::Disconnect(disconnect) if name == "DISCONNECT with properties" => {
                assert_eq!(disconnect.session_expiry_interval_s, Some(1));
                assert_eq!(disconnect.reason_string, Some("why"));
            }
            Packet::Disconnect(disconnect) if name == "DISCONNECT with a code" => {
                assert_eq!(disconnect.reason, ReasonCode(4));
            }
            Packet::Pubrec(ack) if name == "PUBREC with properties" => {
                assert_eq!(
                    (ack.reason, ack.reason_string),
                    (ReasonCode(0x80), Some("why"))
                );
            }
            Packet::Auth(auth) if name == "AUTH" => {
                assert_eq!(
                    (auth.reason, auth.method),
                    (ReasonCode(0x18), Some("SCRAM"))
                );
            }
            _ => {}
        }
    }
}
