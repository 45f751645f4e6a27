//! Bounds, and what happens at them.

use std::time::Duration;

use crate::config::directive::{Directive, Reload, Section};
use crate::config::settings::RateAction;
use crate::config::value::{Value, limit, positive, size};

/// mosquitto's own `int`.
pub(super) const INT: i64 = i32::MAX as i64;
/// Largest MQTT packet: Remaining Length of four bytes plus the fixed header (section 2.1.4).
const LARGEST_PACKET: i64 = 268_435_455 + 5;

pub(super) static DIRECTIVES: &[Directive] = &[
    Directive::global("global_max_connections", "N", Value::Int(-INT..=INT, |settings, value| {
        settings.limits.global_max_connections = limit(value);
    }))
    .section(Section::Limits)
    .unit("connections")
    .profiles("10000", "-1")
    .reload(Reload::NewConnections)
    .meaning("Connections over all listeners; 0 and below is no limit. More are closed before TLS."),
    Directive::global("global_max_clients", "N", Value::Int(-INT..=INT, |settings, value| {
        settings.limits.global_max_clients = limit(value);
    }))
    .section(Section::Limits)
    .unit("sessions")
    .profiles("100000", "-1")
    .reload(Reload::NewConnections)
    .meaning("Sessions, the offline ones included; 0 and below is no limit."),
    Directive::global("max_connections_per_ip", "N", Value::Int(0..=INT, |settings, value| {
        settings.limits.max_connections_per_ip = limit(value);
    }))
    .own()
    .section(Section::Limits)
    .unit("connections")
    .profiles("1000", "0")
    .reload(Reload::NewConnections)
    .meaning("Connections from one address (one /64 for IPv6) at a time; 0 is no limit. Checked before TLS."),
    Directive::global("connect_rate_per_ip", "N [BURST]", Value::Rate(|settings, rate| {
        settings.limits.connect_rate_per_ip = rate;
    }))
    .own()
    .section(Section::Limits)
    .unit("connections per second")
    .profiles("100 1000", "0")
    .reload(Reload::NewConnections)
    .meaning("New connections a second from one address (one /64 for IPv6); 0 is no limit. Checked before TLS."),
    Directive::global("max_handshakes", "N", Value::Int(0..=INT, |settings, value| {
        settings.limits.max_handshakes = limit(value);
    }))
    .own()
    .section(Section::Limits)
    .unit("handshakes")
    .profiles("1000", "0")
    .reload(Reload::NewConnections)
    .meaning("TLS handshakes under way at a time; 0 is no limit. More connections are closed."),
    Directive::global("connect_timeout", "SECONDS", Value::Int(1..=3600, |settings, value| {
        settings.limits.connect_timeout = seconds(value);
    }))
    .own()
    .section(Section::Limits)
    .unit("seconds")
    .default("10")
    .reload(Reload::NewConnections)
    .meaning("Time from the accepted connection to a complete CONNECT, the TLS handshake included."),
    Directive::global("packet_timeout", "SECONDS", Value::Int(0..=86_400, |settings, value| {
        settings.limits.packet_timeout = (value > 0).then(|| seconds(value));
    }))
    .own()
    .section(Section::Limits)
    .unit("seconds")
    .profiles("60", "0")
    .meaning(
        "Time a connected client has from the first byte of a packet to its last; then it is disconnected \
         (0x83). Links that need longer for max_packet_size want more. 0 is no limit.",
    ),
    Directive::global("connect_packet_max_bytes", "N", Value::Int(64..=LARGEST_PACKET, |settings, value| {
        settings.limits.connect_packet_max_bytes = size(value);
    }))
    .own()
    .section(Section::Limits)
    .unit("bytes")
    .profiles("16384", "328000")
    .reload(Reload::NewConnections)
    .meaning(
        "Largest packet before CONNECT is accepted. Compatible has room for the largest CONNECT that \
         MQTT 3.1.1 can express.",
    ),
    Directive::global("max_packet_size", "N", Value::Int(20..=LARGEST_PACKET, |settings, value| {
        settings.limits.max_packet_bytes = size(value);
    }))
    .section(Section::Limits)
    .unit("bytes")
    .default("2000000")
    .reload(Reload::NewConnections)
    .meaning("Largest packet of a client, told to version 5 clients; a larger one closes the connection."),
    Directive::global("message_size_limit", "N", Value::Int(0..=LARGEST_PACKET, |settings, value| {
        settings.limits.message_size_limit = limit(value);
    }))
    .section(Section::Limits)
    .unit("bytes")
    .default("0")
    .meaning("Largest payload; a larger message is refused (0x95) and not routed. 0 is no limit."),
    Directive::global("max_inflight_messages", "N", Value::Int(0..=65_535, |settings, value| {
        // 0 is "no limit", which is what the protocol's own bound already means.
        settings.limits.max_inflight_messages = match u16::try_from(value) {
            Ok(0) | Err(_) => u16::MAX,
            Ok(most) => most,
        };
    }))
    .section(Section::Limits)
    .unit("messages")
    .default("20")
    .reload(Reload::NewConnections)
    .meaning(
        "QoS 1 and 2 messages in flight to one client, and the Receive Maximum told to it; 0 is 65535. \
         Clients that exceed it are disconnected (0x93).",
    ),
    Directive::global("max_inflight_bytes", "N", Value::Int(0..=i64::MAX, |settings, value| {
        settings.limits.max_inflight_bytes = limit(value);
    }))
    .section(Section::Limits)
    .unit("bytes")
    .default("0")
    .reload(Reload::NewConnections)
    .meaning("Bytes in flight to one client; one message may always pass. 0 is no limit."),
    Directive::global("max_queued_messages", "N", Value::Int(0..=INT, |settings, value| {
        settings.limits.max_queued_messages = limit(value);
    }))
    .section(Section::Limits)
    .unit("messages")
    .default("1000")
    .meaning("Messages queued for one client beyond those in flight. 0 is no limit, which hardened refuses."),
    Directive::global("max_queued_bytes", "N", Value::Int(0..=i64::MAX, |settings, value| {
        settings.limits.max_queued_bytes = limit(value);
    }))
    .section(Section::Limits)
    .unit("bytes")
    .profiles("4194304", "0")
    .meaning("Bytes queued for one client beyond those in flight; the first limit reached counts. 0 is no limit."),
    Directive::global("queue_qos0_messages", "BOOL", Value::Bool(|settings, value| {
        settings.limits.queue_qos0_messages = value;
    }))
    .section(Section::Limits)
    .default("false")
    .meaning("Whether QoS 0 messages are queued for an offline client with a session."),
    Directive::global("max_keepalive", "SECONDS", Value::Int(0..=65_535, |settings, value| {
        settings.limits.max_keepalive = u16::try_from(value).ok().filter(|&most| most > 0);
    }))
    .section(Section::Limits)
    .unit("seconds")
    .default("0")
    .reload(Reload::NewConnections)
    .meaning(
        "Longest keep alive; version 5 clients are told it, older ones above it or with 0 are refused. \
         0 is no limit.",
    ),
    Directive::global("memory_limit", "N", Value::Int(0..=i64::MAX, |settings, value| {
        settings.limits.memory_limit = (value > 0).then(|| positive(value));
    }))
    .section(Section::Limits)
    .unit("bytes")
    .profiles("1073741824", "0")
    .meaning(
        "Bytes queued for clients that do not take them and retained, over all clients, looked at every \
         second. Above it what would be queued is dropped and new retained messages are refused (0x97). \
         A message counts once for each client it waits for. 0 is no limit.",
    ),
    Directive::global("client_message_rate", "N [BURST]", Value::Rate(|settings, rate| {
        settings.limits.client_message_rate = rate;
    }))
    .own()
    .section(Section::Limits)
    .unit("messages per second")
    .default("0")
    .meaning("PUBLISH packets a second from one client; BURST is twice N unless written. 0 is no limit."),
    Directive::global("client_byte_rate", "N [BURST]", Value::Rate(|settings, rate| {
        settings.limits.client_byte_rate = rate;
    }))
    .own()
    .section(Section::Limits)
    .unit("bytes per second")
    .default("0")
    .meaning("Bytes a second from one client; BURST is twice N unless written. 0 is no limit."),
    Directive::global("rate_action", "throttle|drop|disconnect", Value::Choice(
        &["throttle", "drop", "disconnect"],
        |settings, index| {
            settings.limits.rate_action =
                [RateAction::Throttle, RateAction::Drop, RateAction::Disconnect][index];
        },
    ))
    .own()
    .section(Section::Limits)
    .default("throttle")
    .meaning(
        "What happens above a client rate: stop reading until there is budget, refuse the message (0x97), \
         or close the connection (0x96).",
    ),
    Directive::global("max_subscriptions_per_client", "N", Value::Int(0..=INT, |settings, value| {
        settings.limits.max_subscriptions_per_client = limit(value);
    }))
    .own()
    .section(Section::Limits)
    .unit("subscriptions")
    .profiles("1000", "0")
    .meaning("Subscriptions of one session; 0 is no limit."),
    Directive::global("max_topic_levels", "N", Value::Int(1..=65_535, |settings, value| {
        settings.limits.max_topic_levels = size(value);
    }))
    .own()
    .section(Section::Limits)
    .unit("levels")
    .default("200")
    .meaning("Levels of a Topic Name or Topic Filter."),
    Directive::global("max_retained_messages", "N", Value::Int(0..=INT, |settings, value| {
        settings.limits.max_retained_messages = limit(value);
    }))
    .own()
    .section(Section::Limits)
    .unit("messages")
    .profiles("100000", "0")
    .meaning("Retained messages over all topics; a new topic above it is refused (0x97). 0 is no limit."),
    Directive::global("max_retained_bytes", "N", Value::Int(0..=i64::MAX, |settings, value| {
        settings.limits.max_retained_bytes = (value > 0).then(|| positive(value));
    }))
    .own()
    .section(Section::Limits)
    .unit("bytes")
    .profiles("268435456", "0")
    .meaning("Bytes of all retained messages; 0 is no limit."),
];

/// A number of seconds that its range has kept from being negative.
pub(super) fn seconds(value: i64) -> Duration {
    Duration::from_secs(positive(value))
}
