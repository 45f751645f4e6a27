//! Which events repeat, and who causes them.

use std::net::SocketAddr;

use super::event::{Event, Touched};
use super::flood::Repeatable;
use crate::policy::Who;

/// Different denials of one source that are told in one window of ten seconds.
const DENIALS: u32 = 100;
/// Subscriptions of one client that are told in one window: more than it may have.
const SUBSCRIPTIONS: u32 = 2_000;

type FloodKey<'a> = (&'static str, String, &'a str, &'static str);
pub(super) type FloodOf<'a> = Repeatable<FloodKey<'a>, (&'static str, String)>;

fn denial<'a>(kind: &'static str, who: &Who, topic: &'a str, reason: &'static str) -> FloodOf<'a> {
    Repeatable {
        key: (kind, name(who), topic, reason),
        source: ("denial", origin(who)),
        lines: DENIALS,
    }
}

fn subscription<'a>(kind: &'static str, who: &Who, filter: &'a str) -> FloodOf<'a> {
    Repeatable {
        key: (kind, name(who), filter, ""),
        source: ("subscription", name(who)),
        lines: SUBSCRIPTIONS,
    }
}

/// Of these nothing is known but the address.
fn early<'a>(
    kind: &'static str,
    address: SocketAddr,
    listener: &'a str,
    reason: &'static str,
) -> FloodOf<'a> {
    Repeatable {
        key: (kind, address.ip().to_string(), listener, reason),
        source: ("early", address.ip().to_string()),
        lines: DENIALS,
    }
}

/// What makes two events the same, and who causes them; `None` for events that are always told.
pub(super) fn repeated<'a>(event: &Event<'a>) -> Option<FloodOf<'a>> {
    Some(match *event {
        Event::Denied {
            who,
            action,
            topic,
            denial: why,
        } => denial(action.label(), who, topic, why.reason.label()),
        Event::Canary { who, touched, .. } => match touched {
            Touched::User => denial("canary", who, "", touched.label()),
            Touched::Topic { action, topic, .. } => denial("canary", who, topic, action.label()),
        },
        Event::Misuse { who, found, .. } => denial("misuse", who, "", found.kind.label()),
        Event::WouldDeny {
            who,
            topic,
            denial: why,
        } => denial("would_deny", who, topic, why.reason.label()),
        Event::SubscriptionLost {
            who,
            filter,
            denial: why,
        } => denial("lost", who, filter, why.reason.label()),
        Event::ProtocolError { who, label, .. } => denial("protocol", who, "", label),
        Event::ConnectRefused { who, denial: why } => {
            // Names are what an attacker makes up; the address is what he has.
            let mut refused = denial("connect", who, "", why.reason.label());
            refused.key.1 = format!("{}\n{}", name(who), origin(who));
            refused
        }
        Event::Subscribed { who, filter, .. } => subscription("subscribed", who, filter),
        Event::Published { who, topic } => subscription("published", who, topic),
        Event::Unsubscribed { who, filter } => subscription("unsubscribed", who, filter),
        Event::RefusedEarly {
            address,
            listener,
            reason,
            ..
        } => early("early", address, listener, reason.label()),
        Event::TlsFailed {
            address,
            listener,
            label,
            ..
        } => early("tls", address, listener, label),
        Event::MalformedConnect {
            address,
            listener,
            label,
            ..
        } => early("malformed", address, listener, label),
        Event::GreetTimeout {
            address,
            listener,
            stage,
        } => early("timeout", address, listener, stage),
        Event::AcceptFailed { listener, .. } => Repeatable {
            key: ("accept", String::new(), listener, ""),
            source: ("accept", listener.to_owned()),
            lines: DENIALS,
        },
        _ => return None,
    })
}

/// The address of a client; of a local one its name.
fn origin(who: &Who) -> String {
    who.address
        .map_or_else(|| name(who), |address| address.ip().to_string())
}

fn name(who: &Who) -> String {
    format!(
        "{}\n{}",
        who.client_id.as_str(),
        who.username.as_deref().unwrap_or_default()
    )
}
