//! What is said of an event: a class and a sentence for the operator, fields for the audit log.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value, json};

use super::event::{Cause, Event, Touched};
use super::oplog::LogClass;
use super::text::escape;
use crate::policy::{BanCause, Denial, DenyReason, MisuseKind, Who};

/// What one event becomes.
pub(super) struct Told {
    pub(super) class: LogClass,
    pub(super) sentence: String,
    pub(super) json: Map<String, Value>,
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

fn with_banned(
    map: Map<String, Value>,
    address: IpAddr,
    user: Option<&str>,
    cause: BanCause,
) -> Map<String, Value> {
    let mut map = with(map, "address", address.to_string());
    if let Some(user) = user {
        map = with(map, "username", escape(user).into_owned());
    }
    with(map, "reason", cause.label())
}

/// Who is banned, in a sentence.
fn banned(address: IpAddr, user: Option<&str>) -> String {
    match user {
        None => format!("address {address}"),
        Some(user) => format!("user {} from address {address}", escape(user)),
    }
}

/// In the words of requirement C28.
fn misuse_tag(kind: MisuseKind) -> &'static str {
    match kind {
        MisuseKind::Wildcards | MisuseKind::Topics => "acl-denied",
        MisuseKind::ClientIds | MisuseKind::Sequence | MisuseKind::Takeovers => "connect",
    }
}

fn ban_tag(cause: BanCause) -> &'static str {
    match cause {
        BanCause::AuthFailures => "auth-failed",
        BanCause::Misuse | BanCause::Canary | BanCause::Operator => "acl-denied",
    }
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
        | DenyReason::CertificatePin
        | DenyReason::UserDisabled
        | DenyReason::AuthUnavailable
        | DenyReason::AuthBusy
        | DenyReason::TokenMalformed
        | DenyReason::TokenSignature
        | DenyReason::TokenClaims
        | DenyReason::TokenExpired
        | DenyReason::TokenRevoked
        | DenyReason::TokenReplayed
        | DenyReason::BadAuthMethod => "auth-failed",
        DenyReason::MessageRate
        | DenyReason::ByteRate
        | DenyReason::ConnectRate
        | DenyReason::ConnectionsPerAddress
        | DenyReason::MaxConnections
        | DenyReason::MaxClients
        | DenyReason::MaxSubscriptions
        | DenyReason::RetainQuota
        | DenyReason::StoreFull => "rate-limited",
        DenyReason::UseAnotherServer | DenyReason::ServerMoved => "drained",
        _ => "acl-denied",
    }
}

/// The event's arm: class and sentence for the operator, fields for the audit log.
#[expect(
    clippy::too_many_lines,
    reason = "one arm for each event is what makes it a table"
)]
pub(super) fn tell(event: &Event<'_>) -> Told {
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
        Event::Published { who, topic } => (
            LogClass::Debug,
            format!("{} publishes to {}", called(who), escape(topic)),
            with(
                with_who(fields("publish", &["mqtt", "success"], "allow"), who),
                "topic",
                escape(topic).into_owned(),
            ),
        ),
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
        Event::Banned {
            address,
            user,
            cause,
            lasts,
        } => {
            let seconds = lasts.as_secs();
            let json = fields("banned", &["connect", "blocked", ban_tag(cause)], "deny");
            (
                LogClass::Denial,
                format!(
                    "{} is banned for {seconds} s: {}",
                    banned(address, user),
                    cause.sentence()
                ),
                with(with_banned(json, address, user, cause), "seconds", seconds),
            )
        }
        Event::Canary { who, touched, bans } => {
            let what = if bans { "blocked" } else { "detect-only" };
            let (tag, did) = match touched {
                Touched::User => ("connect", "authenticates as a canary".to_owned()),
                Touched::Topic { action, topic, .. } => (
                    "acl-denied",
                    format!("asks to {} {}, a canary", verb(action), escape(topic)),
                ),
            };
            let decision = match touched {
                Touched::Topic { allowed: true, .. } => "allow",
                _ => "deny",
            };
            let mut json = with_who(fields("canary", &["mqtt", what, tag], decision), who);
            json = with(json, "severity", "high");
            json = with(json, "reason", touched.label());
            if let Touched::Topic { action, topic, .. } = touched {
                json = with(json, "action", action.label());
                json = with(json, "topic", escape(topic).into_owned());
            }
            (LogClass::Warning, format!("{} {did}", called(who)), json)
        }
        Event::Misuse {
            who,
            found,
            example,
        } => {
            let decision = if found.limit.ban.is_some() {
                ("blocked", "deny")
            } else {
                ("detect-only", "allow")
            };
            let tags = ["mqtt", decision.0, misuse_tag(found.kind)];
            let json = with_who(fields("misuse", &tags, decision.1), who);
            let json = with(json, "severity", "high");
            let json = with(json, "reason", found.kind.label());
            let json = with(json, "count", found.limit.count);
            let json = with(json, "seconds", found.limit.window.as_secs());
            (
                LogClass::Warning,
                format!(
                    "{}: {} {} within {} s, the last {}",
                    called(who),
                    found.limit.count,
                    found.kind.sentence(),
                    found.limit.window.as_secs(),
                    escape(example)
                ),
                with(json, "example", escape(example).into_owned()),
            )
        }
        Event::BanEnded {
            address,
            user,
            cause,
            lifted,
        } => {
            let json = fields("ban_ended", &["connect"], "allow");
            let how = if lifted { "lifted" } else { "over" };
            (
                LogClass::Denial,
                format!("the ban of {} is {how}", banned(address, user)),
                with(with_banned(json, address, user, cause), "how", how),
            )
        }
        Event::PasswordRehashed { user, file } => {
            let (user, file) = (escape(user), file.display().to_string());
            let json = fields("password_rehashed", &["success"], "allow");
            (
                LogClass::Notice,
                format!("the password of user {user} has a better hash in {file} now"),
                with(with(json, "username", user.into_owned()), "file", file),
            )
        }
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
        Cause::PacketTimeout => "a packet of it was not complete within packet_timeout",
        Cause::Drained => "the broker is being drained",
        Cause::ProofOver => "its token or certificate is over",
    }
}
