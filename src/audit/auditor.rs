//! Event in; counter, log line and audit line out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::event::{Cause, Event};
use super::flood::{Floods, Repeatable};
use super::journal::Journal;
use super::metrics::Families;
use super::oplog::{LogClass, say};
use super::text::escape;
use crate::policy::{Denial, DenyReason, Observer, Request, Who};

/// See the module.
#[derive(Debug)]
pub struct Auditor {
    journal: Journal,
    families: Families,
    floods: Floods,
}

/// What one event becomes.
struct Told {
    class: LogClass,
    sentence: String,
    json: Map<String, Value>,
}

impl Auditor {
    /// Tells into `journal` and counts in `families`.
    pub fn new(journal: Journal, families: Families) -> Arc<Self> {
        Arc::new(Self {
            journal,
            families,
            floods: Floods::default(),
        })
    }

    /// The counters.
    pub fn families(&self) -> &Families {
        &self.families
    }

    /// The audit log.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Counts and tells one event.
    pub fn record(&self, event: &Event<'_>) {
        self.count(event);
        if let Some(what) = repeated(event) {
            let line = || Value::Object(tell(event).json).to_string();
            if !self.floods.is_new(&what, Instant::now(), line) {
                return;
            }
        }
        let told = tell(event);
        say(told.class, &told.sentence);
        if self.journal.is_on() {
            self.journal.write(line(told.json));
        }
    }

    /// Ends flood windows that are over. To be called every second or so.
    pub fn tick(&self, now: Instant) {
        for summary in self.floods.over(now) {
            let Ok(Value::Object(mut json)) = serde_json::from_str(&summary.line) else {
                continue;
            };
            let repeated = summary.repeated;
            json.insert("repeated".into(), repeated.into());
            if summary.various {
                json.insert("various".into(), true.into());
            }
            let example = json
                .get("message")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let sentence = if summary.various {
                format!("{repeated} more of this source, for example: {example}")
            } else {
                format!("{repeated} more like: {example}")
            };
            say(LogClass::Notice, &sentence);
            if self.journal.is_on() {
                self.journal.write(stamped(json));
            }
        }
    }

    fn count(&self, event: &Event<'_>) {
        let families = &self.families;
        match event {
            Event::Connected { who, .. } => families.connects("accepted", who.method),
            Event::ConnectRefused { who, denial } => {
                families.connects("refused", who.method);
                families.refused(denial.reason);
            }
            Event::RefusedEarly { reason, .. } => {
                families.connects("refused", "none");
                families.refused(*reason);
            }
            Event::TlsFailed { label, .. } => {
                families.tls_failures.with_label_values(&[label]).inc();
            }
            Event::GreetTimeout { stage, .. } => {
                families.connect_timeouts.with_label_values(&[stage]).inc();
            }
            Event::MalformedConnect { label, .. } | Event::ProtocolError { label, .. } => {
                families.malformed.with_label_values(&[label]).inc();
            }
            Event::Disconnected { cause, .. } => {
                families
                    .disconnects
                    .with_label_values(&[cause.label()])
                    .inc();
            }
            Event::Subscribed { .. } => families.subscribes.inc(),
            Event::Unsubscribed { .. } => families.unsubscribes.inc(),
            Event::SubscriptionLost { .. } => families.subscriptions_lost.inc(),
            Event::Denied { action, denial, .. } => families.denied(*action, denial.reason),
            Event::WouldDeny { denial, .. } => {
                families
                    .would_deny
                    .with_label_values(&[denial.reason.label()])
                    .inc();
            }
            Event::TakenOver { .. } => families.takeovers.inc(),
            Event::Banned { .. } => families.bans.inc(),
            Event::AcceptFailed { .. } => families.accept_failures.inc(),
            Event::Reloaded { .. } => families.reloads.with_label_values(&["applied"]).inc(),
            Event::ReloadFailed { .. } => families.reloads.with_label_values(&["failed"]).inc(),
            Event::Started { .. } | Event::Stopping => {}
        }
    }
}

impl Observer for Auditor {
    fn denied(&self, request: &Request<'_>, denial: &Denial) {
        self.record(&Event::Denied {
            who: request.who,
            action: request.action,
            topic: request.topic,
            denial,
        });
    }

    fn would_deny(&self, request: &Request<'_>, denial: &Denial) {
        self.record(&Event::WouldDeny {
            who: request.who,
            topic: request.topic,
            denial,
        });
    }
}

/// Different denials of one source that are told in one window of ten seconds.
const DENIALS: u32 = 100;
/// Subscriptions of one client that are told in one window: more than it may have.
const SUBSCRIPTIONS: u32 = 2_000;

type FloodKey<'a> = (&'static str, String, &'a str, &'static str);
type FloodOf<'a> = Repeatable<FloodKey<'a>, (&'static str, String)>;

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
fn repeated<'a>(event: &Event<'a>) -> Option<FloodOf<'a>> {
    Some(match *event {
        Event::Denied {
            who,
            action,
            topic,
            denial: why,
        } => denial(action.label(), who, topic, why.reason.label()),
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

fn line(json: Map<String, Value>) -> String {
    stamped(json)
}

fn stamped(mut json: Map<String, Value>) -> String {
    let now = Timestamp::now();
    json.insert("time".into(), format!("{now:.3}").into());
    Value::Object(json).to_string()
}

fn fields(event: &str, tags: &[&str], decision: &str) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("event".into(), event.into());
    map.insert("decision".into(), decision.into());
    map.insert("tags".into(), json!(tags));
    map
}

fn with_who(mut map: Map<String, Value>, who: &Who) -> Map<String, Value> {
    map.insert("listener".into(), who.listener_name.as_ref().into());
    if let Some(address) = who.address {
        map.insert("address".into(), address.ip().to_string().into());
        map.insert("port".into(), address.port().into());
    }
    map.insert(
        "client_id".into(),
        escape(who.client_id.as_str()).into_owned().into(),
    );
    if let Some(username) = &who.username {
        map.insert("username".into(), escape(username).into_owned().into());
    }
    map.insert("protocol".into(), who.protocol.label().into());
    map.insert("method".into(), who.method.into());
    map
}

fn with_place(
    mut map: Map<String, Value>,
    listener: &str,
    address: SocketAddr,
) -> Map<String, Value> {
    map.insert("listener".into(), listener.into());
    map.insert("address".into(), address.ip().to_string().into());
    map.insert("port".into(), address.port().into());
    map
}

fn with_denial(mut map: Map<String, Value>, denial: &Denial) -> Map<String, Value> {
    map.insert("reason".into(), denial.reason.label().into());
    map.insert("code".into(), denial.reason.reason_code().0.into());
    if let Some(rule) = &denial.rule {
        map.insert("rule".into(), rule.to_string().into());
    }
    map
}

fn with(mut map: Map<String, Value>, key: &str, value: impl Into<Value>) -> Map<String, Value> {
    map.insert(key.into(), value.into());
    map
}

/// How a client is named in a sentence.
fn called(who: &Who) -> String {
    let mut text = format!("client {}", escape(who.client_id.as_str()));
    if let Some(username) = &who.username {
        text.push_str(&format!(" (user {})", escape(username)));
    }
    if let Some(address) = who.address {
        text.push_str(&format!(" from {address}"));
    }
    text
}

fn by_rule(denial: &Denial) -> String {
    denial
        .rule
        .as_ref()
        .map_or_else(String::new, |rule| format!(" [{rule}]"))
}

/// The tag for a refusal, in the words of requirement C28.
fn refusal_tag(reason: DenyReason) -> &'static str {
    match reason {
        DenyReason::BadCredentials
        | DenyReason::AnonymousForbidden
        | DenyReason::NoCertificate
        | DenyReason::BadCertificateIdentity
        | DenyReason::AuthUnavailable
        | DenyReason::AuthBusy
        | DenyReason::BadAuthMethod => "auth-failed",
        DenyReason::MessageRate
        | DenyReason::ByteRate
        | DenyReason::ConnectRate
        | DenyReason::ConnectionsPerAddress
        | DenyReason::MaxConnections
        | DenyReason::MaxClients
        | DenyReason::MaxSubscriptions
        | DenyReason::RetainQuota => "rate-limited",
        _ => "acl-denied",
    }
}

/// The event's arm: class and sentence for the operator, fields for the audit log.
#[expect(
    clippy::too_many_lines,
    reason = "one arm for each event is what makes it a table"
)]
fn tell(event: &Event<'_>) -> Told {
    let (class, sentence, json) = match *event {
        Event::Connected {
            who,
            clean_start,
            keep_alive_s,
            session_present,
        } => {
            let json = with_who(
                fields("connect", &["mqtt", "connect", "success"], "allow"),
                who,
            );
            let json = with(json, "clean_start", clean_start);
            let json = with(json, "keep_alive_s", keep_alive_s);
            (
                LogClass::Connection,
                format!(
                    "{} connected by {} on {} (MQTT {}, {})",
                    called(who),
                    who.method,
                    who.listener_name,
                    who.protocol.label(),
                    if session_present {
                        "session resumed"
                    } else {
                        "new session"
                    },
                ),
                with(json, "session_present", session_present),
            )
        }
        Event::ConnectRefused { who, denial } => {
            let tags = ["mqtt", "connect", "blocked", refusal_tag(denial.reason)];
            let name = if tags[3] == "auth-failed" {
                "authentication_failure"
            } else if denial.reason == DenyReason::SessionOwner {
                "takeover_refused"
            } else {
                "connect"
            };
            (
                LogClass::Denial,
                format!(
                    "{} refused: {}{}",
                    called(who),
                    denial.reason,
                    by_rule(denial)
                ),
                with_denial(with_who(fields(name, &tags, "deny"), who), denial),
            )
        }
        Event::RefusedEarly {
            address,
            listener,
            version,
            reason,
        } => {
            let tags = ["mqtt", "connect", "blocked", refusal_tag(reason)];
            let mut json = with_place(fields("connect", &tags, "deny"), listener, address);
            if let Some(version) = version {
                json = with(json, "protocol", version.label());
            }
            (
                LogClass::Denial,
                format!("connection from {address} to {listener} refused: {reason}"),
                with_denial(json, &Denial::new(reason)),
            )
        }
        Event::TlsFailed {
            address,
            listener,
            label,
            detail,
        } => (
            LogClass::Denial,
            format!(
                "TLS handshake with {address} on {listener} failed: {label} ({})",
                escape(detail)
            ),
            with(
                with_place(
                    fields("tls_failure", &["connect", "blocked"], "deny"),
                    listener,
                    address,
                ),
                "reason",
                label,
            ),
        ),
        Event::GreetTimeout {
            address,
            listener,
            stage,
        } => (
            LogClass::Denial,
            format!(
                "connection from {address} to {listener} closed: no CONNECT within connect_timeout (waiting for {stage})"
            ),
            with(
                with_place(
                    fields("connect", &["mqtt", "connect", "blocked"], "deny"),
                    listener,
                    address,
                ),
                "reason",
                "connect_timeout",
            ),
        ),
        Event::MalformedConnect {
            address,
            listener,
            label,
            statement,
        } => {
            let json = with_place(
                fields("malformed", &["mqtt", "connect", "blocked"], "deny"),
                listener,
                address,
            );
            let json = with(json, "reason", label);
            (
                LogClass::Denial,
                format!("connection from {address} to {listener} closed: {label} [{statement}]"),
                with(json, "statement", statement),
            )
        }
        Event::ProtocolError {
            who,
            label,
            statement,
        } => {
            let json = with_who(fields("malformed", &["mqtt", "blocked"], "deny"), who);
            let json = with(json, "reason", label);
            (
                LogClass::Denial,
                format!("{} broke the protocol: {label} [{statement}]", called(who)),
                with(json, "statement", statement),
            )
        }
        Event::Disconnected {
            who,
            cause,
            code,
            lasted,
        } => {
            let mut json = with_who(fields("disconnect", &["mqtt"], "allow"), who);
            json = with(json, "reason", cause.label());
            if let Some(code) = code {
                json = with(json, "code", code.0);
            }
            (
                LogClass::Connection,
                format!("{} disconnected: {}", called(who), disconnected(cause)),
                with(json, "lasted_s", lasted.as_secs()),
            )
        }
        Event::Subscribed { who, filter, qos } => (
            LogClass::Subscribe,
            format!(
                "{} subscribed to {} (QoS {})",
                called(who),
                escape(filter),
                qos.bits()
            ),
            with(
                with(
                    with_who(fields("subscribe", &["mqtt", "success"], "allow"), who),
                    "topic",
                    escape(filter).into_owned(),
                ),
                "qos",
                qos.bits(),
            ),
        ),
        Event::Unsubscribed { who, filter } => (
            LogClass::Unsubscribe,
            format!("{} unsubscribed from {}", called(who), escape(filter)),
            with(
                with_who(fields("unsubscribe", &["mqtt", "success"], "allow"), who),
                "topic",
                escape(filter).into_owned(),
            ),
        ),
        Event::SubscriptionLost {
            who,
            filter,
            denial,
        } => (
            LogClass::Denial,
            format!(
                "{} lost its subscription to {}: {}{}",
                called(who),
                escape(filter),
                denial.reason,
                by_rule(denial)
            ),
            with_denial(
                with(
                    with_who(
                        fields(
                            "subscription_lost",
                            &["mqtt", "blocked", "acl-denied"],
                            "deny",
                        ),
                        who,
                    ),
                    "topic",
                    escape(filter).into_owned(),
                ),
                denial,
            ),
        ),
        Event::Denied {
            who,
            action,
            topic,
            denial,
        } => {
            let tag = refusal_tag(denial.reason);
            let name = if tag == "rate-limited" {
                "rate_limit"
            } else {
                "acl_denied"
            };
            let json = with_who(fields(name, &["mqtt", "blocked", tag], "deny"), who);
            let json = with(json, "action", action.label());
            let json = with(json, "topic", escape(topic).into_owned());
            (
                LogClass::Denial,
                format!(
                    "{} may not {} {}: {}{}",
                    called(who),
                    verb(action),
                    escape(topic),
                    denial.reason,
                    by_rule(denial)
                ),
                with_denial(json, denial),
            )
        }
        Event::WouldDeny { who, topic, denial } => {
            let json = with_who(
                fields(
                    "acl_denied",
                    &["mqtt", "detect-only", "acl-denied"],
                    "allow",
                ),
                who,
            );
            let json = with(json, "action", "subscribe");
            let json = with(json, "topic", escape(topic).into_owned());
            (
                LogClass::Denial,
                format!(
                    "{} would be refused {} by `subscribe_guard strict`: {}{}",
                    called(who),
                    escape(topic),
                    denial.reason,
                    by_rule(denial)
                ),
                with_denial(json, denial),
            )
        }
        Event::TakenOver { client_id } => (
            LogClass::Connection,
            format!(
                "client {} connects again; the old connection ends",
                escape(client_id)
            ),
            with(
                fields("takeover", &["mqtt", "connect"], "allow"),
                "client_id",
                escape(client_id).into_owned(),
            ),
        ),
        Event::Banned { address } => (
            LogClass::Denial,
            format!(
                "address {} is banned after repeated failures (auth_failure_limit)",
                address.ip()
            ),
            with(
                fields("banned", &["connect", "blocked", "auth-failed"], "deny"),
                "address",
                address.ip().to_string(),
            ),
        ),
        Event::AcceptFailed { listener, detail } => (
            LogClass::Error,
            format!(
                "a connection to {listener} cannot be accepted: {detail}; raise the limit of open files"
            ),
            with(
                fields("accept_failed", &["connect"], "deny"),
                "listener",
                listener,
            ),
        ),
        Event::Reloaded { changes } => (
            LogClass::Notice,
            format!("configuration reloaded: {changes}"),
            with(fields("reload", &["success"], "allow"), "changes", changes),
        ),
        Event::ReloadFailed { errors, first } => (
            LogClass::Error,
            format!(
                "reload refused, the running configuration stays as it is: {errors} error(s); first: {first}"
            ),
            with(
                with(fields("reload", &["blocked"], "deny"), "errors", errors),
                "reason",
                first,
            ),
        ),
        Event::Started { version } => (
            LogClass::Notice,
            format!("portcullis {version} accepts connections"),
            with(fields("start", &["success"], "allow"), "version", version),
        ),
        Event::Stopping => (
            LogClass::Notice,
            "portcullis stops".to_owned(),
            fields("stop", &["success"], "allow"),
        ),
    };
    Told {
        class,
        json: with(json, "message", sentence.clone()),
        sentence,
    }
}

fn verb(action: crate::policy::Action) -> &'static str {
    use crate::policy::Action;
    match action {
        Action::Publish => "publish to",
        Action::Subscribe => "subscribe to",
        Action::Deliver => "receive",
        Action::Will => "leave a will for",
    }
}

fn disconnected(cause: Cause) -> &'static str {
    match cause {
        Cause::Client => "it said goodbye",
        Cause::Closed => "it closed the connection",
        Cause::Socket => "the connection failed",
        Cause::KeepAlive => "it was silent for longer than its keep alive",
        Cause::Protocol => "it broke the protocol",
        Cause::TakenOver => "it connected again",
        Cause::Shutdown => "the broker stops",
        Cause::Rate => "it sent more than its rate allows",
        Cause::Revoked => "its right to be connected was taken away",
        Cause::Denied => "it published what it may not",
    }
}
