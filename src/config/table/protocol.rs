//! What MQTT leaves open to a server.

use std::time::Duration;

use crate::config::directive::{Directive, Reload, Scope, Section};
use crate::config::lexer::Line;
use crate::config::settings::{DrainSettings, DrainTo, Settings};
use crate::config::table::limits::seconds;
use crate::config::value::{Value, ValueError, choice, first, int, limit, positive};

pub(super) static DIRECTIVES: &[Directive] = &[
    Directive::global("retain_available", "BOOL", Value::Bool(|settings, value| {
        settings.protocol.retain_available = value;
    }))
    .section(Section::Protocol)
    .default("true")
    .reload(Reload::NewConnections)
    .meaning("false: a retained PUBLISH closes the connection and a retained will is refused (0x9A)."),
    Directive::global("retain_expiry_interval", "MINUTES", Value::Int(1..=10_000_000, |settings, value| {
        settings.protocol.retain_expiry = Some(Duration::from_secs(positive(value) * 60));
    }))
    .section(Section::Protocol)
    .unit("minutes")
    .unset("never")
    .example("1440")
    .meaning(
        "Retained messages whose Message Expiry Interval is over are removed this often, and every minute \
         at least. They are not sent from the moment they expire.",
    ),
    Directive::global("persistent_client_expiration", "N{s|h|d|w|m|y}", Value::Parsed(expiration))
        .section(Section::Protocol)
        .unset("never")
        .example("30d")
        .reload(Reload::NewConnections)
    .meaning("Sessions are removed this long after their client left. A unit is needed; m is 30 days, y 365."),
    Directive::global("upgrade_outgoing_qos", "BOOL", Value::Bool(|settings, value| {
        settings.protocol.upgrade_outgoing_qos = value;
    }))
    .section(Section::Protocol)
    .default("false")
    .meaning("Deliver with the QoS of the subscription even when the message had a lower one. Not MQTT."),
    Directive::global("allow_duplicate_messages", "BOOL", Value::Bool(|settings, value| {
        settings.protocol.allow_duplicate_messages = value;
    }))
    .section(Section::Protocol)
    .default("true")
    .reload(Reload::NeedsRestart)
    .meaning("Overlapping subscriptions of a client deliver once each; false delivers once, with the highest QoS."),
    Directive::global("sys_interval", "SECONDS", Value::Int(0..=65_535, |settings, value| {
        settings.protocol.sys_interval = (value > 0).then(|| seconds(value));
    }))
    .section(Section::Protocol)
    .unit("seconds")
    .default("10")
    .meaning("How often $SYS/broker/... is published; 0 is never. Readable only where an ACL grants it."),
    Directive::global("drain", "use_another_server|server_moved [REFERENCE]", Value::Parsed(drain))
        .own()
        .section(Section::Protocol)
        .unset("clients are taken")
        .example("use_another_server broker-b.example.org:8883")
    .meaning(
            "Sends clients away: new ones are refused and those that are connected are disconnected, for a \
             time (0x9C) or for good (0x9D). Version 5 clients that have authenticated are told REFERENCE. \
             Write it and reload to begin, remove it and reload to end; /readyz says so meanwhile.",
        ),
    Directive::global("drain_rate", "N", Value::Int(0..=1_000_000, |settings, value| {
        settings.protocol.drain_rate = limit(value);
    }))
    .own()
    .section(Section::Protocol)
    .unit("clients per second")
    .default("1000")
    .meaning("How many clients drain disconnects in a second, so that they do not all come to another at once; 0 is all."),
    Directive::global("set_tcp_nodelay", "BOOL", Value::Bool(|settings, value| {
        settings.process.tcp_nodelay = value;
    }))
    .section(Section::Protocol)
    .profiles("true", "false")
    .reload(Reload::NewConnections)
    .meaning("TCP_NODELAY on client connections."),
    Directive::ignored(
        "packet_buffer_size",
        Scope::Global,
        "N",
        "read buffers are shared by the connections of a thread and have one size",
    )
    .aliases(&["websockets_headers_size"])
    .section(Section::Protocol)
    .meaning("Read buffer of a connection, and the header bound of WebSockets."),
    Directive::ignored(
        "retry_interval",
        Scope::Global,
        "SECONDS",
        "messages are sent again only when a client reconnects, as MQTT 3.1.1 and 5.0 demand",
    )
    .section(Section::Protocol)
    .meaning("Left over from mosquitto 1.4."),
    Directive::ignored("store_clean_interval", Scope::Global, "SECONDS", "the store needs no cleaning")
        .section(Section::Protocol)
        .meaning("Left over from mosquitto 1.6."),
];

/// The code, and where to go.
fn drain(settings: &mut Settings, line: &Line) -> Result<String, ValueError> {
    let word = first(line)?;
    let index = choice(word, &["use_another_server", "server_moved"])?;
    let references: Vec<&str> = line
        .words_before_comment()
        .iter()
        .skip(1)
        .map(|word| word.text)
        .collect();
    // Section 4.11: references are separated by a space.
    let reference = references.join(" ");
    settings.protocol.drain = Some(DrainSettings {
        to: [DrainTo::Another, DrainTo::Moved][index],
        reference: (!reference.is_empty()).then(|| reference.clone()),
    });
    Ok(format!("{} {reference}", word.text).trim_end().to_owned())
}

/// A number and a unit. mosquitto reads junk as 0; here it is an error.
fn expiration(settings: &mut Settings, line: &Line) -> Result<String, ValueError> {
    let word = first(line)?;
    let units = [
        ("s", 1),
        ("h", 3_600),
        ("d", 86_400),
        ("w", 604_800),
        ("m", 2_592_000),
        ("y", 31_536_000),
    ];
    let wrong = || {
        ValueError::new(word.at, format!("`{}` is not a length of time", word.text))
            .help("write a number and one of the units s, h, d, w, m (30 days), y (365 days), for example `30d`")
    };
    let (number, unit_seconds) = units
        .iter()
        .find_map(|&(unit, seconds)| word.text.strip_suffix(unit).map(|number| (number, seconds)))
        .ok_or_else(wrong)?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) || number.is_empty() {
        return Err(wrong());
    }
    // Decimal whatever the leading digit, as mosquitto's atoi reads it.
    let digits = number.trim_start_matches('0');
    let number = crate::config::lexer::Word {
        text: if digits.is_empty() { "0" } else { digits },
        at: word.at,
    };
    let number = positive(int(number, &(1..=1_000_000_000))?);
    settings.protocol.persistent_client_expiration =
        Some(Duration::from_secs(number * unit_seconds));
    Ok(word.text.to_owned())
}
