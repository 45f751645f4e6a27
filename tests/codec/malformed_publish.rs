//! Malformed PUBLISH packets.

use portcullis::codec::MalformedKind as Kind;

use crate::malformed::{On, Row};

/// Flags, Topic Name, Packet Identifier.
#[rustfmt::skip] // One row, one line.
pub(crate) const PUBLISH: &[Row] = &[
    ("mqtt_3_3_1_2_dup_with_qos_0", On::V3, r#"38 ("a")"#, Kind::DupWithQos0, 0x81),
    ("mqtt_3_3_1_2_dup_with_qos_0_in_5", On::V5, r#"38 ("a" ())"#, Kind::DupWithQos0, 0x81),
    ("mqtt_3_3_1_2_dup_with_qos_0_retained", On::V5, r#"39 ("a" ())"#, Kind::DupWithQos0, 0x81),
    ("mqtt_3_3_1_4_qos_3", On::V3, r#"36 ("a" 00 01)"#, Kind::QoS, 0x81),
    ("mqtt_3_3_1_4_qos_3_in_5", On::V5, r#"36 ("a" 00 01 ())"#, Kind::QoS, 0x81),
    ("mqtt_3_3_1_4_qos_3_with_dup_and_retain", On::V5, r#"3F ("a" 00 01 ())"#, Kind::QoS, 0x81),
    ("section_3_3_2_empty", On::All, "30 ()", Kind::Truncated, 0x81),
    ("section_3_3_2_ends_in_the_topic", On::All, "30 (00 05 'a/b')", Kind::Truncated, 0x81),
    ("mqtt_3_3_2_1_topic_no_utf8", On::All, "30 (00 01 FF)", Kind::Utf8, 0x81),
    ("mqtt_1_5_4_1_topic_with_a_surrogate", On::All, "30 (00 03 ED A0 80)", Kind::Utf8, 0x81),
    ("mqtt_1_5_4_1_topic_in_overlong_utf8", On::All, "30 (00 02 C0 AF)", Kind::Utf8, 0x81),
    ("mqtt_1_5_4_1_topic_beyond_unicode", On::All, "30 (00 04 F4 90 80 80)", Kind::Utf8, 0x81),
    ("mqtt_1_5_4_2_and_4_7_3_2_topic_with_nul", On::All, "30 (00 03 'a' 00 'b')", Kind::Nul, 0x81),
    ("mqtt_3_3_2_2_topic_with_plus", On::All, r#"30 ("a/+")"#, Kind::TopicName, 0x81),
    ("mqtt_3_3_2_2_topic_with_hash", On::All, r#"30 ("a/#")"#, Kind::TopicName, 0x81),
    ("mqtt_3_3_2_2_topic_with_plus_in_a_level", On::All, r#"30 ("a+b")"#, Kind::TopicName, 0x81),
    ("mqtt_4_7_3_1_topic_empty", On::V3, r#"30 ("" 'x')"#, Kind::EmptyTopic, 0x82),
    ("mqtt_4_7_3_1_topic_empty_without_alias", On::V5, r#"30 ("" () 'x')"#, Kind::EmptyTopic, 0x82),
    ("mqtt_2_2_1_3_packet_identifier_0", On::V3, r#"32 ("a" 00 00)"#, Kind::PacketId, 0x82),
    ("mqtt_2_2_1_3_packet_identifier_0_in_5", On::V5, r#"34 ("a" 00 00 ())"#, Kind::PacketId, 0x82),
    ("section_3_3_2_2_no_packet_identifier", On::All, r#"32 ("a")"#, Kind::Truncated, 0x81),
    ("section_3_3_2_2_half_a_packet_identifier", On::All, r#"34 ("a" 01)"#, Kind::Truncated, 0x81),
    // A decoder that answers "more bytes needed" here has already taken the frame off its buffer.
    ("mqtt_2_2_2_1_no_property_length_in_publish", On::V5, r#"32 ("a" 00 07)"#, Kind::Truncated, 0x81),
];

/// The property block of PUBLISH.
#[rustfmt::skip] // One row, one line.
pub(crate) const PUBLISH_PROPERTIES: &[Row] = &[
    ("section_2_2_2_block_longer_than_the_packet_in_publish", On::V5, r#"30 ("a" 7F)"#, Kind::Truncated, 0x81),
    ("section_2_2_2_block_length_not_complete", On::V5, r#"30 ("a" 80)"#, Kind::Truncated, 0x81),
    ("mqtt_1_5_5_1_block_length_too_long_in_publish", On::V5, r#"30 ("a" 80 00)"#, Kind::LengthEncoding, 0x81),
    ("mqtt_1_5_5_1_block_length_in_five_bytes", On::V5, r#"30 ("a" 80 80 80 80 01)"#, Kind::LengthEncoding, 0x81),
    // The data goes on beyond the block: the payload would begin 16 bytes too late.
    ("section_2_2_2_property_beyond_its_block_in_publish", On::V5, r#"30 ("a" (09 00 10) '0123456789ABCDEF' 'payload')"#, Kind::Truncated, 0x81),
    ("section_2_2_2_unknown_property_in_publish", On::V5, r#"30 ("a" (3F))"#, Kind::UnknownProperty, 0x81),
    ("section_2_2_2_unknown_property_of_two_bytes", On::V5, r#"30 ("a" (FF 7F))"#, Kind::UnknownProperty, 0x81),
    ("section_2_2_2_property_of_connect", On::V5, r#"30 ("a" (11 00 00 00 01))"#, Kind::PropertyNotAllowed, 0x82),
    ("section_2_2_2_property_of_a_will_in_publish", On::V5, r#"30 ("a" (18 00 00 00 01))"#, Kind::PropertyNotAllowed, 0x82),
    ("section_2_2_2_property_of_acks", On::V5, r#"30 ("a" (1F "why"))"#, Kind::PropertyNotAllowed, 0x82),
    ("section_3_3_2_3_2_payload_format_2", On::V5, r#"30 ("a" (01 02))"#, Kind::PropertyValue, 0x82),
    ("section_3_3_2_3_2_payload_format_twice", On::V5, r#"30 ("a" (01 01 01 01))"#, Kind::DuplicateProperty, 0x82),
    ("section_3_3_2_3_3_expiry_twice", On::V5, r#"30 ("a" (02 00 00 00 01 02 00 00 00 01))"#, Kind::DuplicateProperty, 0x82),
    ("section_3_3_2_3_3_expiry_cut_off", On::V5, r#"30 ("a" (02 00 00 00))"#, Kind::Truncated, 0x81),
    ("mqtt_3_3_2_8_alias_0", On::V5, r#"30 ("a" (23 00 00))"#, Kind::TopicAliasZero, 0x94),
    ("section_3_3_2_3_4_alias_twice", On::V5, r#"30 ("a" (23 00 01 23 00 01))"#, Kind::DuplicateProperty, 0x82),
    ("mqtt_3_3_2_13_response_topic_no_utf8", On::V5, r#"30 ("a" (08 00 01 FF))"#, Kind::Utf8, 0x81),
    ("mqtt_3_3_2_14_response_topic_with_hash", On::V5, r#"30 ("a" (08 "r/#"))"#, Kind::ResponseTopic, 0x82),
    ("mqtt_3_3_2_14_response_topic_with_plus", On::V5, r#"30 ("a" (08 "+"))"#, Kind::ResponseTopic, 0x82),
    ("mqtt_4_7_3_1_response_topic_empty", On::V5, r#"30 ("a" (08 ""))"#, Kind::ResponseTopic, 0x82),
    ("section_3_3_2_3_5_response_topic_twice", On::V5, r#"30 ("a" (08 "r" 08 "r"))"#, Kind::DuplicateProperty, 0x82),
    ("section_3_3_2_3_6_correlation_data_twice", On::V5, r#"30 ("a" (09 "1" 09 "1"))"#, Kind::DuplicateProperty, 0x82),
    ("mqtt_1_5_7_1_nul_in_a_user_property", On::V5, r#"30 ("a" (26 00 01 00 "v"))"#, Kind::Nul, 0x81),
    ("mqtt_1_5_7_1_user_property_without_value", On::V5, r#"30 ("a" (26 "k"))"#, Kind::Truncated, 0x81),
    ("section_3_3_2_3_7_more_user_properties_than_the_bound", On::V5, r#"30 ("a" (26 "" "" 26 "" "" 26 "" "" 26 "" ""))"#, Kind::UserProperties, 0x95),
    ("mqtt_3_3_4_6_subscription_identifier", On::V5, r#"30 ("a" (0B 01))"#, Kind::PropertyNotAllowed, 0x82),
    ("mqtt_3_3_2_19_content_type_no_utf8", On::V5, r#"30 ("a" (03 00 01 FF))"#, Kind::Utf8, 0x81),
    ("section_3_3_2_3_9_content_type_twice", On::V5, r#"30 ("a" (03 "t" 03 "t"))"#, Kind::DuplicateProperty, 0x82),
];
