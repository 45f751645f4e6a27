//! What the standard forbids a client to send, each with its statement: the decoder names the kind.

use std::collections::BTreeSet;

use portcullis::codec::MalformedKind::{self, *};
use portcullis::codec::Version::{self, V5, V31, V311};
use portcullis::codec::{Limits, decode, decode_connect, frame_length};

use crate::corpus::{block, join, lp, packet};

/// Statement, what is wrong, version, bytes, kind.
type Case = (&'static str, &'static str, Version, Vec<u8>, MalformedKind);

fn limits() -> Limits {
    Limits {
        max_packet_bytes: 2_000,
        max_user_properties: 2,
    }
}

fn connect(version: Version, flags: u8, rest: &[u8]) -> Vec<u8> {
    let name: &[u8] = if version == V31 { b"MQIsdp" } else { b"MQTT" };
    packet(
        0x10,
        &join(&[&lp(name), &[version.level(), flags, 0, 0], rest]),
    )
}

/// CONNECT of 5.0 with these properties.
fn connect_with(properties: &[&[u8]]) -> Vec<u8> {
    connect(V5, 2, &join(&[&block(properties), &lp(b"c")]))
}

fn publish_with(properties: &[&[u8]]) -> Vec<u8> {
    packet(0x30, &join(&[&lp(b"a"), &block(properties)]))
}

fn subscribe(version: Version, list: &[u8]) -> Vec<u8> {
    let properties: &[u8] = if version == V5 { &[0] } else { &[] };
    packet(0x82, &join(&[&[0, 1], properties, list]))
}

#[rustfmt::skip] // A table: one case a line.
fn connects() -> Vec<Case> {
    let client = lp(b"c");
    let user = join(&[&[0x26], &lp(b"k"), &lp(b"v")]);
    let will5 = |will: &[&[u8]]| connect(V5, 0x06, &join(&[&[0], &client, &join(will)]));
    vec![
        ("3.1.0-1", "another packet first", V5, packet(0xC0, &[]), NotConnect),
        ("2.1.3-1", "flags in the header of CONNECT", V5, packet(0x11, &[]), Flags),
        ("3.1.2-1", "an unknown protocol name", V5, packet(0x10, b"\x00\x04HTTP\x05\x02\x00\x00\x00\x00\x01c"), ProtocolName),
        ("3.1.2-1", "the name in small letters", V5, packet(0x10, b"\x00\x04mqtt\x05\x02\x00\x00\x00\x00\x01c"), ProtocolName),
        ("3.1.2-2", "a level to come", V5, packet(0x10, b"\x00\x04MQTT\x06\x02\x00\x00\x00\x00\x01c"), ProtocolLevel),
        ("3.1.2-2", "the level of 3.1 with the name of 3.1.1", V311, packet(0x10, b"\x00\x04MQTT\x03\x02\x00\x00\x00\x01c"), ProtocolLevel),
        ("3.1.2-2", "the level of 3.1.1 with the name of 3.1", V31, packet(0x10, b"\x00\x06MQIsdp\x04\x02\x00\x00\x00\x01c"), ProtocolLevel),
        ("3.1.2-3", "the reserved connect flag", V5, connect(V5, 0x03, &join(&[&[0], &client])), ConnectFlags),
        ("3.1.2-11", "will QoS without a will", V5, connect(V5, 0x0A, &join(&[&[0], &client])), WillFlags),
        ("3.1.2-12", "will QoS 3", V5, connect(V5, 0x1E, &join(&[&[0], &client, &[0], &lp(b"w"), &lp(b"")])), WillFlags),
        ("3.1.2-13", "Will Retain without a will", V5, connect(V5, 0x22, &join(&[&[0], &client])), WillFlags),
        ("3.1.2-22 of 3.1.1", "a password without a user name", V311, connect(V311, 0x42, &join(&[&client, &lp(b"p")])), PasswordWithoutUsername),
        ("3.1.3-4", "a client id that is no UTF-8", V5, connect(V5, 2, &join(&[&[0], &lp(b"\xC3\x28")])), Utf8),
        ("1.5.4-1", "a surrogate in the client id", V5, connect(V5, 2, &join(&[&[0], &lp(b"\xED\xA0\x80")])), Utf8),
        ("1.5.4-2", "a NUL in the client id", V5, connect(V5, 2, &join(&[&[0], &lp(b"a\0b")])), Nul),
        ("3.1.3-11", "a will topic with a wildcard", V5, will5(&[&[0], &lp(b"a/#"), &lp(b"")]), WillTopic),
        ("3.1.3-11", "an empty will topic", V311, connect(V311, 0x06, &join(&[&client, &lp(b""), &lp(b"")])), WillTopic),
        ("3.1.3-12", "a user name that is no UTF-8", V311, connect(V311, 0x82, &join(&[&client, &lp(b"\xFF")])), Utf8),
        ("2.1.4-1", "no client id", V311, connect(V311, 2, &[]), Truncated),
        ("2.1.4-1", "a user name announced and missing", V311, connect(V311, 0x82, &client), Truncated),
        ("2.1.4-1", "bytes behind the end", V311, connect(V311, 2, &join(&[&client, b"x"])), Surplus),
        ("2.2.2-1", "a property block longer than the packet", V5, connect(V5, 2, &join(&[&[9], &client])), Truncated),
        ("2.2.2-1", "a property that does not exist", V5, connect_with(&[&[0x7E, 0]]), UnknownProperty),
        ("2.2.2-1", "a property of another packet", V5, connect_with(&[&[0x23, 0, 1]]), PropertyNotAllowed),
        ("2.2.2-1", "a server's property", V5, connect_with(&[&[0x24, 1]]), PropertyNotAllowed),
        ("3.1.2-11.2", "Session Expiry Interval twice", V5, connect_with(&[&[0x11, 0, 0, 0, 1], &[0x11, 0, 0, 0, 1]]), DuplicateProperty),
        ("3.1.2-11.3", "Receive Maximum 0", V5, connect_with(&[&[0x21, 0, 0]]), PropertyValue),
        ("3.1.2-11.4", "Maximum Packet Size 0", V5, connect_with(&[&[0x27, 0, 0, 0, 0]]), PropertyValue),
        ("3.1.2-11.6", "Request Response Information 2", V5, connect_with(&[&[0x19, 2]]), PropertyValue),
        ("3.1.2-11.7", "Request Problem Information 2", V5, connect_with(&[&[0x17, 2]]), PropertyValue),
        ("3.1.2-11.10", "Authentication Data without a Method", V5, connect_with(&[&join(&[&[0x16], &lp(b"x")])]), AuthDataWithoutMethod),
        ("1.5.7-1", "more User Properties than the bound", V5, connect_with(&[&user, &user, &user]), UserProperties),
        ("1.5.7-1", "a User Property that is no UTF-8", V5, connect_with(&[&join(&[&[0x26], &lp(b"\xFF"), &lp(b"")])]), Utf8),
        ("3.1.3-2.6", "a Response Topic with a wildcard in the will", V5, will5(&[&block(&[&join(&[&[0x08], &lp(b"a/+")])]), &lp(b"w"), &lp(b"")]), ResponseTopic),
        ("3.1.3-2.3", "Payload Format Indicator 2 in the will", V5, will5(&[&block(&[&[0x01, 2]]), &lp(b"w"), &lp(b"")]), PropertyValue),
        ("2.2.2-1", "a Topic Alias in the will", V5, will5(&[&block(&[&[0x23, 0, 1]]), &lp(b"w"), &lp(b"")]), PropertyNotAllowed),
    ]
}

#[rustfmt::skip] // A table: one case a line.
fn publishes() -> Vec<Case> {
    let answer = |text: &[u8]| join(&[&[0x08], &lp(text)]);
    vec![
        ("3.3.1-4", "QoS 3", V5, packet(0x36, &join(&[&lp(b"a"), &[0, 1, 0]])), QoS),
        ("3.3.1-2", "DUP with QoS 0", V5, packet(0x38, &join(&[&lp(b"a"), &[0]])), DupWithQos0),
        ("3.3.2-2", "+ in the Topic Name", V311, packet(0x30, &lp(b"a/+")), TopicName),
        ("3.3.2-2", "# in the Topic Name", V5, packet(0x30, &join(&[&lp(b"#"), &[0]])), TopicName),
        ("1.5.4-2", "a NUL in the Topic Name", V311, packet(0x30, &lp(b"a\0")), Nul),
        ("3.3.2-1", "a Topic Name that is no UTF-8", V311, packet(0x30, &lp(b"\xFF")), Utf8),
        ("4.7.3-1", "an empty Topic Name", V311, packet(0x30, &lp(b"")), EmptyTopic),
        ("4.7.3-1", "an empty Topic Name without an alias", V5, packet(0x30, &[0, 0, 0]), EmptyTopic),
        ("2.2.1-3", "Packet Identifier 0", V311, packet(0x32, &join(&[&lp(b"a"), &[0, 0]])), PacketId),
        ("2.1.4-1", "QoS 1 without an identifier", V311, packet(0x32, &lp(b"a")), Truncated),
        ("2.1.4-1", "no property length", V5, packet(0x30, &lp(b"a")), Truncated),
        ("2.1.4-1", "a name longer than the packet", V311, packet(0x30, &[0, 9, b'a']), Truncated),
        ("3.3.2-8", "Topic Alias 0", V5, publish_with(&[&[0x23, 0, 0]]), TopicAliasZero),
        ("3.3.4-6", "a Subscription Identifier from a client", V5, publish_with(&[&[0x0B, 1]]), PropertyNotAllowed),
        ("3.3.2-14", "a Response Topic with a wildcard", V5, publish_with(&[&answer(b"a/#")]), ResponseTopic),
        ("3.3.2-13", "a Response Topic that is no UTF-8", V5, publish_with(&[&answer(b"\xFF")]), Utf8),
        ("3.3.2-3.2", "Payload Format Indicator 2", V5, publish_with(&[&[0x01, 2]]), PropertyValue),
        ("3.3.2-3.3", "Message Expiry Interval twice", V5, publish_with(&[&[2, 0, 0, 0, 1], &[2, 0, 0, 0, 1]]), DuplicateProperty),
        ("2.2.2-1", "a block that ends inside a property", V5, publish_with(&[&[0x09, 0, 16]]), Truncated),
        ("1.5.5-1", "a property id in more bytes than it needs", V5, publish_with(&[&[0x81, 0x00, 0]]), LengthEncoding),
    ]
}

#[rustfmt::skip] // A table: one case a line.
fn others() -> Vec<Case> {
    vec![
        ("2.1.2-1", "the reserved type 0", V5, packet(0x00, &[]), ReservedType),
        ("2.1.2-1", "type 15 in 3.1.1", V311, packet(0xF0, &[]), ReservedType),
        ("2.1.2-1", "CONNACK from a client", V5, packet(0x20, &[0, 0, 0]), PacketType),
        ("2.1.2-1", "SUBACK from a client", V5, packet(0x90, &[0, 1, 0, 0]), PacketType),
        ("2.1.2-1", "UNSUBACK from a client", V5, packet(0xB0, &[0, 1, 0, 0]), PacketType),
        ("2.1.2-1", "PINGRESP from a client", V5, packet(0xD0, &[]), PacketType),
        ("2.1.3-1", "PUBREL without its flags", V5, packet(0x60, &[0, 1]), Flags),
        ("2.1.3-1", "PUBACK with flags", V5, packet(0x41, &[0, 1]), Flags),
        ("3.8.1-1", "SUBSCRIBE without its flags", V5, packet(0x80, &[]), Flags),
        ("3.10.1-1", "UNSUBSCRIBE without its flags", V5, packet(0xA0, &[]), Flags),
        ("2.1.3-1", "DISCONNECT with flags", V5, packet(0xE1, &[]), Flags),
        ("2.2.1-2", "PUBACK of identifier 0", V5, packet(0x40, &[0, 0]), PacketId),
        ("2.1.4-1", "half an identifier", V5, packet(0x40, &[0]), Truncated),
        ("2.1.4-1", "a code in a PUBACK of 3.1.1", V311, packet(0x40, &[0, 1, 0]), Surplus),
        ("3.4.2-1", "a PUBACK code that does not exist", V5, packet(0x40, &[0, 1, 0x01]), ReasonCode),
        ("3.6.2-1", "a PUBREL code of another packet", V5, packet(0x62, &[0, 1, 0x87]), ReasonCode),
        ("2.2.2-1", "Session Expiry Interval in PUBACK", V5, packet(0x40, &[0, 1, 0, 5, 0x11, 0, 0, 0, 1]), PropertyNotAllowed),
        ("2.1.4-1", "bytes behind the properties of PUBACK", V5, packet(0x40, &[0, 1, 0, 0, 9]), Surplus),
        ("3.8.3-2", "SUBSCRIBE without a filter", V5, subscribe(V5, &[]), NoFilter),
        ("3.8.3-2", "SUBSCRIBE without a filter", V311, subscribe(V311, &[]), NoFilter),
        ("3.8.3-1", "a filter that is no UTF-8", V5, subscribe(V5, &join(&[&lp(b"\xFF"), &[0]])), Utf8),
        ("1.5.4-2", "a NUL in a filter", V5, subscribe(V5, &join(&[&lp(b"a\0"), &[0]])), Nul),
        ("3.8.3-5", "the reserved option bits", V5, subscribe(V5, &join(&[&lp(b"a"), &[0x40]])), SubscriptionOptions),
        ("3.8.3-5", "options of 5.0 in 3.1.1", V311, subscribe(V311, &join(&[&lp(b"a"), &[0x04]])), SubscriptionOptions),
        ("3.8.3-5", "QoS 3 asked for", V5, subscribe(V5, &join(&[&lp(b"a"), &[3]])), SubscriptionOptions),
        ("3.8.3-5", "Retain Handling 3", V5, subscribe(V5, &join(&[&lp(b"a"), &[0x30]])), RetainHandling),
        ("2.1.4-1", "a filter without its options", V5, subscribe(V5, &lp(b"a")), Truncated),
        ("2.2.1-3", "SUBSCRIBE with identifier 0", V5, packet(0x82, &join(&[&[0, 0, 0], &lp(b"a"), &[0]])), PacketId),
        ("3.8.2-1.2", "Subscription Identifier 0", V5, packet(0x82, &join(&[&[0, 1, 2, 0x0B, 0], &lp(b"a"), &[0]])), PropertyValue),
        ("3.8.2-1.2", "two Subscription Identifiers", V5, packet(0x82, &join(&[&[0, 1, 4, 0x0B, 1, 0x0B, 2], &lp(b"a"), &[0]])), DuplicateProperty),
        ("1.5.5-1", "a Subscription Identifier of five bytes", V5, packet(0x82, &join(&[&[0, 1, 6, 0x0B, 0xFF, 0xFF, 0xFF, 0xFF, 1], &lp(b"a"), &[0]])), LengthEncoding),
        ("3.10.3-2", "UNSUBSCRIBE without a filter", V5, packet(0xA2, &[0, 1, 0]), NoFilter),
        ("2.1.4-1", "PINGREQ with a body", V5, packet(0xC0, &[0]), Surplus),
        ("2.1.4-1", "DISCONNECT of 3.1.1 with a body", V311, packet(0xE0, &[0]), Surplus),
        ("3.14.2-1", "a DISCONNECT code only a server may send", V5, packet(0xE0, &[0x8B]), ReasonCode),
        ("3.14.2-2", "a Server Reference from a client", V5, packet(0xE0, &join(&[&[0], &block(&[&join(&[&[0x1C], &lp(b"x")])])])), PropertyNotAllowed),
        ("3.15.2-1", "an AUTH code that does not exist", V5, packet(0xF0, &[0x01]), ReasonCode),
        ("3.15.2-2", "an Authentication Method twice", V5, packet(0xF0, &join(&[&[0x18], &block(&[&join(&[&[0x15], &lp(b"a")]), &join(&[&[0x15], &lp(b"a")])])])), DuplicateProperty),
    ]
}

#[test]
fn each_case_is_refused_as_what_it_is() {
    for (statement, what, version, bytes, kind) in connects() {
        let refused = decode_connect(&bytes, &limits()).map_err(|error| error.kind);
        assert_eq!(
            refused.err(),
            Some(kind),
            "[MQTT-{statement}] {what}, {version:?}"
        );
    }
    for (statement, what, version, bytes, kind) in [publishes(), others()].concat() {
        let refused = decode(&bytes, version, &limits()).map_err(|error| error.kind);
        assert_eq!(
            refused.err(),
            Some(kind),
            "[MQTT-{statement}] {what}, {version:?}"
        );
    }
}

#[test]
fn a_header_tells_of_over_long_lengths_and_of_packets_over_the_bound() {
    for (bytes, kind) in [
        (&[0x30, 0xFF, 0xFF, 0xFF, 0xFF][..], LengthEncoding),
        (&[0x30, 0x80, 0x00], LengthEncoding),
        (&[0x30, 0xFF, 0x00], LengthEncoding),
        // 2,001 bytes with the header, which alone has come.
        (&[0x30, 0xCE, 0x0F], TooLarge),
    ] {
        let refused = frame_length(bytes, 2_000).map_err(|error| error.kind);
        assert_eq!(refused, Err(kind), "{bytes:02x?}");
    }
    assert_eq!(frame_length(&[0x30, 0xCD, 0x0F], 2_000), Ok(Some(2_000)));
}

#[test]
fn there_is_a_case_for_every_kind() {
    let mut seen: BTreeSet<&str> = [connects(), publishes(), others()]
        .concat()
        .iter()
        .map(|(.., kind)| kind.label())
        .collect();
    // Of the header, above.
    seen.insert(TooLarge.label());
    let missing: Vec<_> = MalformedKind::ALL
        .iter()
        .map(|kind| kind.label())
        .filter(|label| !seen.contains(label))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn an_error_in_connect_names_the_version_so_that_the_answer_can_be_understood() {
    for version in [V31, V311, V5] {
        let properties: &[u8] = if version == V5 { &[0] } else { &[] };
        let bytes = connect(version, 0x03, &join(&[properties, &lp(b"c")]));
        let error = decode_connect(&bytes, &limits()).expect_err("the reserved flag");
        assert_eq!(error.version, Some(version));
    }
}
