//! Valid CONNECT packets, field by field.

use portcullis::codec::{Connect, Limits, QoS, Version, decode_connect};

use crate::wire::wire;

/// What a CONNECT says that has only a Client Identifier.
fn plain(version: Version, client_id: &str) -> Connect<'_> {
    Connect {
        version,
        bridge: false,
        clean_start: true,
        keep_alive_s: 60,
        client_id,
        will: None,
        username: None,
        password: None,
        session_expiry_interval_s: None,
        receive_maximum: 65_535,
        maximum_packet_size: u32::MAX,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
        authentication_data: None,
    }
}

#[track_caller]
fn reads(notation: &str, expected: &Connect<'_>) {
    let bytes = wire(notation);
    assert_eq!(
        decode_connect(&bytes, &Limits::default()).as_ref(),
        Ok(expected),
        "{notation}"
    );
}

#[test]
fn a_plain_connect_of_each_version_has_the_defaults_of_the_standard() {
    reads(
        r#"10 ("MQIsdp" 03 02 00 3C "pump7")"#,
        &plain(Version::V31, "pump7"),
    );
    reads(
        r#"10 ("MQTT" 04 02 00 3C "pump7")"#,
        &plain(Version::V311, "pump7"),
    );
    reads(
        r#"10 ("MQTT" 05 02 00 3C () "pump7")"#,
        &plain(Version::V5, "pump7"),
    );
}

#[test]
fn an_empty_client_identifier_is_not_the_codecs_business() {
    reads(
        r#"10 ("MQTT" 04 00 FF FF "")"#,
        &Connect {
            clean_start: false,
            keep_alive_s: 65_535,
            ..plain(Version::V311, "")
        },
    );
}

#[test]
fn a_bridge_sets_the_highest_bit_of_the_level() {
    for (notation, version) in [
        (r#"10 ("MQIsdp" 83 02 00 3C "b")"#, Version::V31),
        (r#"10 ("MQTT" 84 02 00 3C "b")"#, Version::V311),
    ] {
        reads(
            notation,
            &Connect {
                bridge: true,
                ..plain(version, "b")
            },
        );
    }
}

#[test]
fn v31_6_and_v31_7_bits_that_3_1_does_not_use_are_ignored() {
    let expected = plain(Version::V31, "pump7");
    reads(r#"14 ("MQIsdp" 03 02 00 3C "pump7")"#, &expected);
    reads(r#"1F ("MQIsdp" 03 02 00 3C "pump7")"#, &expected);
    reads(r#"10 ("MQIsdp" 03 03 00 3C "pump7")"#, &expected);
}

#[test]
fn mqtt_3_1_2_19_a_password_is_binary_and_empty_credentials_are_there() {
    reads(
        r#"10 ("MQTT" 04 C2 00 3C "a" "user" 00 03 FF 00 80)"#,
        &Connect {
            username: Some("user"),
            password: Some(&[0xFF, 0x00, 0x80]),
            ..plain(Version::V311, "a")
        },
    );
    reads(
        r#"10 ("MQTT" 05 C2 00 3C () "a" "" "")"#,
        &Connect {
            username: Some(""),
            password: Some(b""),
            ..plain(Version::V5, "a")
        },
    );
    // 5.0 allows a password alone, 3.x does not.
    reads(
        r#"10 ("MQTT" 05 42 00 3C () "a" "token")"#,
        &Connect {
            password: Some(b"token"),
            ..plain(Version::V5, "a")
        },
    );
}

#[test]
fn mqtt_1_5_4_3_a_byte_order_mark_is_a_character_like_others() {
    reads(
        "10 (\"MQTT\" 04 02 00 3C \"\u{FEFF}a\")",
        &plain(Version::V311, "\u{FEFF}a"),
    );
}

#[test]
fn every_property_of_connect_is_read() {
    reads(
        r#"10 ("MQTT" 05 02 00 3C (11 00 00 0E 10 21 00 14 27 00 01 00 00 22 00 0A 19 01 17 00
            26 "k" "v" 26 "k" "v" 15 "SCRAM" 16 00 02 FF 00) "pump7")"#,
        &Connect {
            session_expiry_interval_s: Some(3_600),
            receive_maximum: 20,
            maximum_packet_size: 65_536,
            topic_alias_maximum: 10,
            request_response_information: true,
            request_problem_information: false,
            authentication_method: Some("SCRAM"),
            authentication_data: Some(&[0xFF, 0x00]),
            ..plain(Version::V5, "pump7")
        },
    );
}

#[test]
fn extreme_values_of_properties_are_taken_as_they_are() {
    reads(
        r#"10 ("MQTT" 05 02 00 3C (11 FF FF FF FF 21 FF FF 27 FF FF FF FF 22 FF FF 19 00 17 01 15 "")
            "pump7")"#,
        &Connect {
            session_expiry_interval_s: Some(u32::MAX),
            topic_alias_maximum: 65_535,
            authentication_method: Some(""),
            ..plain(Version::V5, "pump7")
        },
    );
}

#[test]
fn wills_of_3_x_are_read() {
    for (flags, qos, retain) in [
        ("06", QoS::AtMostOnce, false),
        ("0E", QoS::AtLeastOnce, false),
        ("36", QoS::ExactlyOnce, true),
    ] {
        let bytes = wire(&format!(
            r#"10 ("MQTT" 04 {flags} 00 3C "pump7" "will/a" 00 02 FF 00)"#
        ));
        let connect = decode_connect(&bytes, &Limits::default()).unwrap();
        let will = connect.will.unwrap();
        assert_eq!(will.topic, "will/a");
        assert_eq!(will.payload, [0xFF, 0x00]);
        assert_eq!(will.qos, qos, "{flags}");
        assert_eq!(will.retain, retain, "{flags}");
        assert_eq!(will.delay_interval_s, 0);
        assert_eq!(will.expiry_interval_s, None);
        assert!(!will.payload_is_utf8);
        assert!(will.properties.is_empty());
    }
}

#[test]
fn a_will_of_5_has_its_properties_and_stands_before_the_credentials() {
    let bytes = wire(
        r#"10 ("MQTT" 05 EE 00 3C () "pump7"
            (18 00 00 00 05 02 00 00 00 3C 01 01 03 "text" 08 "answer/here" 09 00 02 00 FF
             26 "k" "v" 26 "k" "w")
            "will/a" "gone" "user" "secret")"#,
    );
    let connect = decode_connect(&bytes, &Limits::default()).unwrap();
    assert_eq!(connect.username, Some("user"));
    assert_eq!(connect.password, Some(&b"secret"[..]));
    let will = connect.will.unwrap();
    assert_eq!(will.topic, "will/a");
    assert_eq!(will.payload, b"gone");
    assert_eq!(will.qos, QoS::AtLeastOnce);
    assert!(will.retain);
    assert_eq!(will.delay_interval_s, 5);
    assert_eq!(will.expiry_interval_s, Some(60));
    assert!(will.payload_is_utf8);
    // [MQTT-3.1.3-10]: in their order; delay and expiry stay with the server.
    let mut forwarded = Vec::new();
    will.properties.copy_forwardable(&mut forwarded);
    assert_eq!(
        forwarded,
        wire(r#"01 01 03 "text" 08 "answer/here" 09 00 02 00 FF 26 "k" "v" 26 "k" "w""#)
    );
}
