//! Malformed acknowledgements, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT and AUTH.

use portcullis::codec::MalformedKind as Kind;

use crate::malformed::{On, Row};

/// PUBACK, PUBREC, PUBREL and PUBCOMP.
#[rustfmt::skip] // One row, one line.
pub(crate) const ACKNOWLEDGEMENTS: &[Row] = &[
    ("section_3_4_2_puback_empty", On::All, "40 ()", Kind::Truncated, 0x81),
    ("section_3_5_2_pubrec_with_half_an_identifier", On::All, "50 (07)", Kind::Truncated, 0x81),
    ("mqtt_2_2_1_3_puback_of_0", On::All, "40 (00 00)", Kind::PacketId, 0x82),
    ("mqtt_2_2_1_3_pubrec_of_0", On::All, "50 (00 00)", Kind::PacketId, 0x82),
    ("mqtt_2_2_1_3_pubrel_of_0", On::All, "62 (00 00)", Kind::PacketId, 0x82),
    ("mqtt_2_2_1_3_pubcomp_of_0", On::All, "70 (00 00)", Kind::PacketId, 0x82),
    ("section_3_4_of_3_1_1_puback_with_a_code", On::V3, "40 (00 07 00)", Kind::Surplus, 0x81),
    ("section_3_6_of_3_1_1_pubrel_with_a_code", On::V3, "62 (00 07 00)", Kind::Surplus, 0x81),
    ("mqtt_3_4_2_1_puback_with_an_unknown_code", On::V5, "40 (00 07 7F)", Kind::ReasonCode, 0x81),
    ("mqtt_3_4_2_1_puback_with_a_code_of_pubrel", On::V5, "40 (00 07 92)", Kind::ReasonCode, 0x81),
    ("mqtt_3_5_2_1_pubrec_with_a_code_of_suback", On::V5, "50 (00 07 8F)", Kind::ReasonCode, 0x81),
    ("mqtt_3_6_2_1_pubrel_with_a_code_of_pubrec", On::V5, "62 (00 07 80)", Kind::ReasonCode, 0x81),
    ("mqtt_3_7_2_1_pubcomp_with_a_code_of_puback", On::V5, "70 (00 07 10)", Kind::ReasonCode, 0x81),
    ("section_3_4_2_2_bytes_after_the_properties", On::V5, "40 (00 07 00 () 00)", Kind::Surplus, 0x81),
    ("section_3_4_2_2_block_longer_than_the_packet", On::V5, "40 (00 07 00 01)", Kind::Truncated, 0x81),
    ("section_3_4_2_2_reason_string_twice", On::V5, r#"40 (00 07 00 (1F "a" 1F "b"))"#, Kind::DuplicateProperty, 0x82),
    ("section_3_5_2_2_reason_string_with_nul", On::V5, "50 (00 07 00 (1F 00 01 00))", Kind::Nul, 0x81),
    ("section_2_2_2_puback_with_an_alias", On::V5, "40 (00 07 00 (23 00 01))", Kind::PropertyNotAllowed, 0x82),
    ("section_2_2_2_pubrel_with_a_server_reference", On::V5, r#"62 (00 07 00 (1C "b"))"#, Kind::PropertyNotAllowed, 0x82),
    ("section_3_7_2_2_more_user_properties_than_the_bound", On::V5, r#"70 (00 07 00 (26 "" "" 26 "" "" 26 "" "" 26 "" ""))"#, Kind::UserProperties, 0x95),
];

/// SUBSCRIBE.
#[rustfmt::skip] // One row, one line.
pub(crate) const SUBSCRIBE: &[Row] = &[
    ("mqtt_2_2_1_3_packet_identifier_0_in_subscribe", On::V3, r#"82 (00 00 "a" 00)"#, Kind::PacketId, 0x82),
    ("mqtt_2_2_1_3_packet_identifier_0_in_subscribe_of_5", On::V5, r#"82 (00 00 () "a" 00)"#, Kind::PacketId, 0x82),
    ("section_3_8_2_empty", On::All, "82 ()", Kind::Truncated, 0x81),
    ("mqtt_3_8_3_2_no_filter", On::V3, "82 (00 01)", Kind::NoFilter, 0x82),
    ("mqtt_3_8_3_2_no_filter_in_5", On::V5, "82 (00 01 ())", Kind::NoFilter, 0x82),
    ("mqtt_2_2_2_1_no_property_length_in_subscribe", On::V5, "82 (00 01)", Kind::Truncated, 0x81),
    ("mqtt_3_8_3_1_filter_no_utf8", On::V3, "82 (00 01 00 01 FF 00)", Kind::Utf8, 0x81),
    ("mqtt_3_8_3_1_filter_no_utf8_in_5", On::V5, "82 (00 01 () 00 02 C0 AF 00)", Kind::Utf8, 0x81),
    ("mqtt_3_8_3_1_second_filter_no_utf8", On::V5, r#"82 (00 01 () "a" 00 00 01 FF 00)"#, Kind::Utf8, 0x81),
    ("mqtt_1_5_4_2_and_4_7_3_2_filter_with_nul", On::V5, "82 (00 01 () 00 02 'a' 00 00)", Kind::Nul, 0x81),
    ("section_3_8_3_1_no_options", On::V3, r#"82 (00 01 "a")"#, Kind::Truncated, 0x81),
    ("section_3_8_3_1_no_options_in_5", On::V5, r#"82 (00 01 () "a" 00 "b")"#, Kind::Truncated, 0x81),
    ("mqtt_3_8_3_5_reserved_option_bit_6", On::V5, r#"82 (00 01 () "a" 40)"#, Kind::SubscriptionOptions, 0x81),
    ("mqtt_3_8_3_5_reserved_option_bit_7", On::V5, r#"82 (00 01 () "a" 80)"#, Kind::SubscriptionOptions, 0x81),
    ("mqtt_3_8_3_4_of_3_1_1_no_local_is_reserved", On::V3, r#"82 (00 01 "a" 04)"#, Kind::SubscriptionOptions, 0x81),
    ("mqtt_3_8_3_4_of_3_1_1_upper_bits_are_reserved", On::V3, r#"82 (00 01 "a" 80)"#, Kind::SubscriptionOptions, 0x81),
    ("mqtt_3_8_3_4_of_3_1_1_qos_3", On::V3, r#"82 (00 01 "a" 03)"#, Kind::SubscriptionQoS, 0x82),
    ("section_3_8_3_1_qos_3", On::V5, r#"82 (00 01 () "a" 03)"#, Kind::SubscriptionQoS, 0x82),
    ("section_3_8_3_1_retain_handling_3", On::V5, r#"82 (00 01 () "a" 30)"#, Kind::RetainHandling, 0x82),
    ("section_3_8_3_1_options_of_the_second_filter", On::V5, r#"82 (00 01 () "a" 00 "b" 30)"#, Kind::RetainHandling, 0x82),
    ("section_3_8_2_1_2_subscription_identifier_0", On::V5, r#"82 (00 01 (0B 00) "a" 00)"#, Kind::PropertyValue, 0x82),
    ("section_3_8_2_1_2_subscription_identifier_twice", On::V5, r#"82 (00 01 (0B 01 0B 02) "a" 00)"#, Kind::DuplicateProperty, 0x82),
    ("mqtt_1_5_5_1_subscription_identifier_too_long", On::V5, r#"82 (00 01 (0B 81 00) "a" 00)"#, Kind::LengthEncoding, 0x81),
    // The fourth byte of the block is a property of its own and not part of the identifier.
    ("section_2_2_2_unknown_property_after_the_identifier", On::V5, "82 (00 01 (0B FF 7F 00) 01 70 00)", Kind::UnknownProperty, 0x81),
    ("section_2_2_2_reason_string", On::V5, r#"82 (00 01 (1F "no") "a" 00)"#, Kind::PropertyNotAllowed, 0x82),
    ("section_3_8_2_1_3_more_user_properties_than_the_bound", On::V5, r#"82 (00 01 (26 "" "" 26 "" "" 26 "" "" 26 "" "") "a" 00)"#, Kind::UserProperties, 0x95),
];

/// UNSUBSCRIBE.
#[rustfmt::skip] // One row, one line.
pub(crate) const UNSUBSCRIBE: &[Row] = &[
    ("mqtt_2_2_1_3_unsubscribe_with_identifier_0", On::V3, r#"A2 (00 00 "a")"#, Kind::PacketId, 0x82),
    ("mqtt_2_2_1_3_unsubscribe_with_identifier_0_in_5", On::V5, r#"A2 (00 00 () "a")"#, Kind::PacketId, 0x82),
    ("section_3_10_2_empty", On::All, "A2 ()", Kind::Truncated, 0x81),
    ("mqtt_3_10_3_2_no_filter", On::V3, "A2 (00 01)", Kind::NoFilter, 0x82),
    ("mqtt_3_10_3_2_no_filter_in_5", On::V5, "A2 (00 01 ())", Kind::NoFilter, 0x82),
    ("mqtt_2_2_2_1_unsubscribe_without_property_length", On::V5, "A2 (00 01)", Kind::Truncated, 0x81),
    ("mqtt_3_10_3_1_filter_no_utf8", On::V3, "A2 (00 01 00 01 FF)", Kind::Utf8, 0x81),
    ("mqtt_3_10_3_1_filter_no_utf8_in_5", On::V5, "A2 (00 01 () 00 01 FF)", Kind::Utf8, 0x81),
    ("mqtt_1_5_4_2_and_4_7_3_2_unsubscribe_filter_with_nul", On::V3, "A2 (00 01 00 01 00)", Kind::Nul, 0x81),
    ("section_3_10_3_filter_cut_off", On::V3, r#"A2 (00 01 "a" 00 02 'b')"#, Kind::Truncated, 0x81),
    ("section_3_10_2_1_subscription_identifier", On::V5, r#"A2 (00 01 (0B 01) "a")"#, Kind::PropertyNotAllowed, 0x82),
    ("section_3_10_2_1_unknown_property", On::V5, r#"A2 (00 01 (30) "a")"#, Kind::UnknownProperty, 0x81),
    ("section_3_10_2_1_more_user_properties_than_the_bound", On::V5, r#"A2 (00 01 (26 "" "" 26 "" "" 26 "" "" 26 "" "") "a")"#, Kind::UserProperties, 0x95),
];

/// DISCONNECT.
#[rustfmt::skip] // One row, one line.
pub(crate) const DISCONNECT: &[Row] = &[
    ("section_3_14_of_3_1_1_disconnect_with_a_code", On::V3, "E0 (00)", Kind::Surplus, 0x81),
    ("mqtt_3_14_2_1_unknown_code", On::V5, "E0 (7F)", Kind::ReasonCode, 0x81),
    ("mqtt_3_14_2_1_code_of_a_server_8b", On::V5, "E0 (8B)", Kind::ReasonCode, 0x81),
    ("mqtt_3_14_2_1_code_of_a_server_8e", On::V5, "E0 (8E)", Kind::ReasonCode, 0x81),
    ("mqtt_3_14_2_1_code_of_a_server_9d", On::V5, "E0 (9D)", Kind::ReasonCode, 0x81),
    ("mqtt_3_14_2_1_code_of_connack", On::V5, "E0 (86)", Kind::ReasonCode, 0x81),
    ("section_3_14_2_2_block_longer_than_the_packet", On::V5, "E0 (00 01)", Kind::Truncated, 0x81),
    ("section_3_14_2_2_bytes_after_the_properties", On::V5, "E0 (00 () 00)", Kind::Surplus, 0x81),
    ("section_3_14_2_2_2_session_expiry_twice", On::V5, "E0 (00 (11 00 00 00 01 11 00 00 00 01))", Kind::DuplicateProperty, 0x82),
    ("section_3_14_2_2_3_reason_string_no_utf8", On::V5, "E0 (00 (1F 00 01 FF))", Kind::Utf8, 0x81),
    ("section_3_14_2_2_5_server_reference_of_a_client", On::V5, r#"E0 (00 (1C "b"))"#, Kind::PropertyNotAllowed, 0x82),
    ("section_2_2_2_receive_maximum", On::V5, "E0 (00 (21 00 01))", Kind::PropertyNotAllowed, 0x82),
    ("section_3_14_2_2_4_more_user_properties_than_the_bound", On::V5, r#"E0 (00 (26 "" "" 26 "" "" 26 "" "" 26 "" ""))"#, Kind::UserProperties, 0x95),
];

/// AUTH.
#[rustfmt::skip] // One row, one line.
pub(crate) const AUTH: &[Row] = &[
    ("mqtt_3_15_2_1_unknown_code", On::V5, r#"F0 (7F (15 "M"))"#, Kind::ReasonCode, 0x81),
    ("mqtt_3_15_2_1_success_is_said_by_servers", On::V5, r#"F0 (00 (15 "M"))"#, Kind::ReasonCode, 0x81),
    ("section_3_15_2_2_2_empty", On::V5, "F0 ()", Kind::AuthMethodMissing, 0x82),
    ("section_3_15_2_2_2_no_properties", On::V5, "F0 (19)", Kind::AuthMethodMissing, 0x82),
    ("section_3_15_2_2_2_no_method", On::V5, "F0 (18 ())", Kind::AuthMethodMissing, 0x82),
    ("section_3_15_2_2_2_data_without_method", On::V5, r#"F0 (18 (16 "d"))"#, Kind::AuthMethodMissing, 0x82),
    ("section_3_15_2_2_2_method_twice", On::V5, r#"F0 (18 (15 "M" 15 "M"))"#, Kind::DuplicateProperty, 0x82),
    ("section_3_15_2_2_2_method_with_nul", On::V5, "F0 (18 (15 00 01 00))", Kind::Nul, 0x81),
    ("section_3_15_2_2_3_data_twice", On::V5, r#"F0 (18 (15 "M" 16 "d" 16 "d"))"#, Kind::DuplicateProperty, 0x82),
    ("section_2_2_2_auth_with_an_alias", On::V5, "F0 (18 (23 00 01))", Kind::PropertyNotAllowed, 0x82),
    ("section_3_15_2_bytes_after_the_properties", On::V5, r#"F0 (18 (15 "M") 00)"#, Kind::Surplus, 0x81),
    ("section_3_15_2_block_longer_than_the_packet", On::V5, "F0 (18 01)", Kind::Truncated, 0x81),
];
