//! Bridges: refused, all of them. A broker in the DMZ opens no connections; an inside service
//! connects to it instead.

use crate::config::directive::{Directive, Reload, Scope, Section, Set, Structure};

/// Why there are no bridges.
pub(in crate::config) const REASON: &str =
    "this broker opens no connections of its own, so there are no bridges";
/// What to do instead.
pub(in crate::config) const ALTERNATIVE: &str = "let a service or broker on the inside connect to a listener here, and remove the lines of the bridge";

const fn bridge(name: &'static str, meaning: &'static str) -> Directive {
    let mut directive = Directive::refused(name, Scope::Bridge, "…", REASON, ALTERNATIVE)
        .section(Section::Bridges)
        .reload(Reload::Applied)
        .meaning(meaning);
    directive.set = Set::Structure(Structure::Bridge);
    directive
}

pub(super) static DIRECTIVES: &[Directive] = &[
    bridge("connection", "Begins a bridge."),
    bridge("address", "Where the bridge connects to.").aliases(&["addresses"]),
    bridge("topic", "What the bridge carries."),
    bridge("remote_clientid", "Client id on the other side.").aliases(&["clientid"]),
    bridge("local_clientid", "Client id on this side."),
    bridge("remote_username", "User name on the other side.").aliases(&["username"]),
    bridge("remote_password", "Password on the other side.")
        .aliases(&["password"])
        .secret(),
    bridge("local_username", "User name on this side."),
    bridge("local_password", "Password on this side.").secret(),
    bridge(
        "cleansession",
        "Whether the session on the other side ends with the connection.",
    ),
    bridge(
        "local_cleansession",
        "Whether the session on this side ends with the connection.",
    ),
    bridge("keepalive_interval", "Keep alive of the bridge."),
    bridge("start_type", "When the bridge connects."),
    bridge("idle_timeout", "When a lazy bridge disconnects."),
    bridge("threshold", "When a lazy bridge connects."),
    bridge("restart_timeout", "When a bridge connects again."),
    bridge("round_robin", "How the addresses are used."),
    bridge("try_private", "Whether the bridge says that it is one."),
    bridge(
        "notifications",
        "Whether the state of the bridge is published.",
    ),
    bridge(
        "notifications_local_only",
        "Whether it is published on this side only.",
    ),
    bridge("notification_topic", "Where it is published."),
    bridge(
        "bridge_attempt_unsubscribe",
        "Whether topics of the other direction are unsubscribed.",
    ),
    bridge("bridge_bind_address", "Local address of the bridge."),
    bridge("bridge_protocol_version", "MQTT version of the bridge."),
    bridge("bridge_max_packet_size", "Largest packet of the bridge."),
    bridge("bridge_outgoing_retain", "Whether RETAIN is kept."),
    bridge("bridge_max_topic_alias", "Topic Aliases of the bridge."),
    bridge("bridge_receive_maximum", "Receive Maximum of the bridge."),
    bridge(
        "bridge_session_expiry_interval",
        "Session Expiry Interval of the bridge.",
    ),
    bridge("bridge_reload_type", "When a reload reaches the bridge."),
    bridge("bridge_tcp_keepalive", "TCP keep alive of the bridge."),
    bridge("bridge_tcp_user_timeout", "TCP user timeout of the bridge."),
    bridge("bridge_cafile", "Trust of the bridge."),
    bridge("bridge_capath", "Trust of the bridge."),
    bridge("bridge_certfile", "Certificate of the bridge."),
    bridge("bridge_keyfile", "Key of the bridge."),
    bridge("bridge_alpn", "ALPN of the bridge."),
    bridge(
        "bridge_insecure",
        "Whether the host name is left unchecked.",
    ),
    bridge("bridge_require_ocsp", "Whether OCSP is required."),
    bridge("bridge_tls_version", "TLS version of the bridge."),
    bridge(
        "bridge_tls_use_os_certs",
        "Whether the system's trust is used.",
    ),
    bridge("bridge_ciphers", "Cipher suites of the bridge."),
    bridge("bridge_ciphers_tls1.3", "Cipher suites of the bridge."),
    bridge("bridge_identity", "PSK identity of the bridge.").secret(),
    bridge("bridge_psk", "PSK of the bridge.").secret(),
];
