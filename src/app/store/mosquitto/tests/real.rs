//! The file of a mosquitto 2.0.11.

use std::num::NonZeroU16;

use super::super::*;
use crate::message::RetainHandling;
use crate::topic::SubscriptionFilter;

pub(super) const REAL: &[u8] =
    include_bytes!("../../../../../tests/fixtures/store/mosquitto-2.0-v6.db");
/// Seconds since 1970 when it was made.
const MADE: u64 = 1_795_460_595;

fn imported() -> Imported<'static> {
    read(REAL).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

pub(super) fn session(client_id: &str) -> Session {
    Session {
        client_id: ClientId::new(client_id),
        last_packet_id: 0,
        expires_at: None,
        expiry_interval_s: 0,
        disconnected_at: None,
        username: None,
        username_is_sure: true,
        listener_port: Some(39_889),
    }
}

#[test]
fn the_header_of_a_real_file_is_read() {
    let imported = imported();
    assert_eq!(imported.version, 6);
    assert!(!imported.shutdown, "it was written at SIGUSR1");
    assert_eq!(imported.last_store_id, 62);
}

#[test]
fn sessions_of_a_real_file_have_user_expiry_and_listener() {
    let expected = [
        Session {
            last_packet_id: 3,
            expiry_interval_s: u32::MAX,
            ..session("valve")
        },
        Session {
            last_packet_id: 3,
            expires_at: Some(MADE + 3600),
            expiry_interval_s: 3600,
            username: Some("plant".into()),
            ..session("pump")
        },
        // Connected without an interval: it was to end with its connection.
        Session {
            username: Some("writer".into()),
            ..session("source")
        },
    ];
    assert_eq!(imported().sessions, expected);
}

fn message(store_id: u64, topic: &str, payload: &'static str, qos: QoS) -> BaseMessage<'static> {
    BaseMessage {
        store_id,
        source_id: Some(ClientId::new("source")),
        source_username: Some("writer".into()),
        source_port: Some(39_889),
        topic: TopicName::parse(topic).unwrap(),
        payload: payload.as_bytes(),
        properties: Box::default(),
        qos,
        retain: false,
        expires_at: None,
    }
}

#[test]
fn messages_of_a_real_file_have_publisher_properties_and_expiry() {
    use QoS::{AtLeastOnce as Q1, ExactlyOnce as Q2};
    let expected = [
        BaseMessage {
            retain: true,
            ..message(62, "kept/3", "plain", Q2)
        },
        BaseMessage {
            retain: true,
            expires_at: Some(MADE + 3600),
            properties: (*b"\x01\x01\x03\0\x04text\x08\0\x03r/t\x09\0\x02cd\x26\0\x01k\0\x01v")
                .into(),
            ..message(60, "kept/1", "retained", Q1)
        },
        message(59, "s/1", "shared", Q1),
        BaseMessage {
            retain: true,
            expires_at: Some(MADE + 1_000_000),
            properties: (*b"\x26\0\x01k\0\x01v").into(),
            ..message(58, "a/two/y", "second", Q2)
        },
        message(57, "a/one/x", "first", Q1),
        BaseMessage {
            source_id: Some(ClientId::new("valve")),
            source_username: None,
            ..message(56, "in/flight", "held", Q2)
        },
        message(55, "b/pubcomp", "three", Q2),
        message(54, "b/pubrec", "two", Q2),
        message(53, "b/puback", "one", Q1),
    ];
    assert_eq!(imported().messages, expected);
}

fn of_client(
    client_id: &str,
    store_id: u64,
    packet_id: u16,
    qos: QoS,
    standing: Standing,
) -> ClientMessage {
    ClientMessage {
        client_id: ClientId::new(client_id),
        store_id,
        packet_id: NonZeroU16::new(packet_id),
        qos,
        standing,
        retain: false,
        dup: false,
        identifiers: Identifiers::new(),
    }
}

#[test]
fn messages_on_their_way_in_a_real_file_stand_where_the_exchange_stood() {
    use QoS::{AtLeastOnce as Q1, ExactlyOnce as Q2};
    let sent = |store_id, packet_id, qos, standing| ClientMessage {
        dup: true,
        ..of_client("valve", store_id, packet_id, qos, standing)
    };
    let expected = [
        of_client("valve", 56, 77, Q2, Standing::Received),
        sent(53, 1, Q1, Standing::Sent),
        sent(54, 2, Q2, Standing::Sent),
        sent(55, 3, Q2, Standing::Released),
        ClientMessage {
            identifiers: [7].into_iter().collect(),
            ..of_client("pump", 57, 1, Q1, Standing::Queued)
        },
        ClientMessage {
            retain: true,
            identifiers: [128].into_iter().collect(),
            ..of_client("pump", 58, 2, Q2, Standing::Queued)
        },
        of_client("pump", 59, 3, Q1, Standing::Queued),
    ];
    assert_eq!(imported().client_messages, expected);
}

pub(super) fn subscription(filter: &str, qos: QoS) -> Subscription {
    Subscription {
        filter: SubscriptionFilter::parse(filter).unwrap(),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
        identifier: None,
    }
}

#[test]
fn subscriptions_of_a_real_file_have_their_options_and_the_shared_one_is_not_there() {
    use QoS::{AtLeastOnce as Q1, AtMostOnce as Q0, ExactlyOnce as Q2};
    let pump = || ClientId::new("pump");
    let expected = [
        (ClientId::new("valve"), subscription("b/#", Q2)),
        (pump(), subscription("a/zero", Q0)),
        (
            pump(),
            Subscription {
                identifier: Some(7),
                ..subscription("a/one/+", Q1)
            },
        ),
        // It was made with Retain Handling 1, which mosquitto 2.0 does not keep.
        (
            pump(),
            Subscription {
                no_local: true,
                retain_as_published: true,
                identifier: Some(128),
                ..subscription("a/two/#", Q2)
            },
        ),
        (pump(), subscription("/lead/+", Q1)),
    ];
    assert_eq!(imported().subscriptions, expected);
}

#[test]
fn retained_messages_of_a_real_file_are_named_by_number() {
    assert_eq!(imported().retained, [58, 60, 62]);
}
