//! Listeners and their TLS.

use crate::auth::CertificateGroups;
use crate::broker::QueueOverflow;
use crate::codec::{QoS, Version};
use crate::config::builder::ListenerDraft;
use crate::config::directive::{Directive, Reload, Repeat, Scope, Section, Structure};
use crate::config::lexer::{Line, Word};
use crate::config::settings::{
    CertificateIdentity, ClientIdFrom, Pattern, SocketDomain, TlsVersion,
};
use crate::config::table::limits::seconds;
use crate::config::value::{Value, ValueError, choice, first, limit, size, text};
use crate::session::ResponseInformation;

const NO_PSK: &str = "the TLS library has no external pre-shared keys";
const NO_ENGINES: &str = "the TLS library has no OpenSSL engines";
const NO_PROXY_PROTOCOL: &str = "whoever reaches such a listener can forge addresses and identities, and there is no list of trusted \
     proxies in this version";

pub(super) static DIRECTIVES: &[Directive] = &[
    Directive::structure("listener", Scope::Listener, "PORT [ADDRESS] | 0 PATH", Structure::Listener)
        .section(Section::Listeners)
        .unset("127.0.0.1 and ::1, port 1883")
        .example("8883")
        .reload(Reload::NeedsRestart)
    .meaning(
            "Opens a listener, on every address unless one is given; `0 PATH` is a Unix socket. The \
             listener directives after it belong to it.",
        ),
    Directive::structure("port", Scope::Listener, "PORT", Structure::Port)
        .section(Section::Listeners)
        .repeat(Repeat::LastWins)
        .example("1883")
    .meaning("Deprecated: a listener for the listener directives that stand before any `listener`."),
    Directive::structure("bind_address", Scope::Listener, "ADDRESS", Structure::BindAddress)
        .section(Section::Listeners)
        .repeat(Repeat::Error)
        .example("127.0.0.1")
    .meaning("Deprecated: the address of the listener of `port`."),
    Directive::listener("allow_insecure_listener", "BOOL", Value::Bool(|draft, value| {
        draft.settings.allow_insecure = value;
    }))
    .own()
    .section(Section::Listeners)
    .default("false")
    .meaning("true: this listener may be off loopback without TLS in the hardened profile too."),
    Directive::listener("protocol", "mqtt|websockets", Value::Parsed(protocol))
        .section(Section::Listeners)
        .default("mqtt")
        .reload(Reload::NewConnections)
    .meaning(
        "`websockets`: MQTT in WebSocket frames, for browsers, at any path, with subprotocol `mqtt` (or \
         `mqttv3.1`); with certfile it is wss. `http_api` is refused; metrics_listener takes its place.",
    ),
    Directive::listener("websockets_origin", "ORIGIN", Value::Parsed(websockets_origin))
        .section(Section::Listeners)
        .repeat(Repeat::Accumulates)
        .unset("any")
        .example("https://app.example.org")
        .reload(Reload::NewConnections)
    .meaning(
        "Where pages that open a WebSocket may come from, compared as a whole (mosquitto compares the \
         beginning); others get 403. Clients that are no browsers send no Origin and are let through.",
    ),
    Directive::listener("websockets_require_origin", "BOOL", Value::Bool(|draft, value| {
        draft.settings.websocket.require_origin = value;
    }))
    .own()
    .section(Section::Listeners)
    .default("false")
    .reload(Reload::NewConnections)
    .meaning("true: who sends no Origin is refused too, and so is every client that is no browser."),
    Directive::listener("max_connections", "N", Value::Int(i32::MIN as i64..=i32::MAX as i64, |draft, value| {
        draft.settings.max_connections = limit(value);
    }))
    .section(Section::Listeners)
    .unit("connections")
    .default("-1")
    .meaning("Connections on this listener; 0 and below is no limit. More are closed before TLS."),
    Directive::listener("mount_point", "PREFIX", Value::Parsed(mount_point))
        .section(Section::Listeners)
        .example("site-a/")
    .meaning(
            "Glued in front of every topic of its clients and taken off on delivery; write the `/`. ACLs \
             see the topic with it.",
        ),
    Directive::listener("queue_overflow", "drop_oldest|reject_new", Value::Choice(
        &["drop_oldest", "reject_new"],
        |draft, index| {
            draft.settings.queue_overflow =
                [QueueOverflow::DropOldest, QueueOverflow::RejectNew][index];
        },
    ))
    .own()
    .section(Section::Limits)
    .default("reject_new")
    .reload(Reload::NewConnections)
    .meaning(
        "What happens to a message for a client of this listener whose queue is full: the oldest that waits makes \
         room for it, or it is dropped itself. Either is counted.",
    ),
    Directive::listener("max_qos", "0-2", Value::Int(0..=2, |draft, value| {
        draft.settings.max_qos =
            u8::try_from(value).ok().and_then(QoS::from_bits).unwrap_or(QoS::ExactlyOnce);
    }))
    .aliases(&["maximum_qos"])
    .section(Section::Listeners)
    .default("2")
    .meaning("Highest QoS; a PUBLISH above it closes the connection, a subscription is given less."),
    Directive::listener("allow_addresses_file", "PATH", Value::Path(|draft, path| {
        draft.settings.allow_addresses_file = Some(path);
    }))
    .own()
    .section(Section::Listeners)
    .example("/etc/portcullis/addresses.allow")
    .reload(Reload::Applied)
    .meaning(
        "Addresses and networks (`192.0.2.0/24`), one a line: others are closed before TLS, and at a reload \
         that takes them out.",
    ),
    Directive::listener("deny_addresses_file", "PATH", Value::Path(|draft, path| {
        draft.settings.deny_addresses_file = Some(path);
    }))
    .own()
    .section(Section::Listeners)
    .example("/etc/portcullis/addresses.deny")
    .reload(Reload::Applied)
    .meaning("As allow_addresses_file, for those that may not connect; it beats the other list."),
    Directive::listener("clientid_from", "user|certificate|jwt:CLAIM", Value::Parsed(clientid_from))
        .own()
        .section(Section::Listeners)
        .unset("any client id")
        .example("user")
    .meaning(
            "What the client id must be equal to: the user name, the Common Name of the client certificate, or \
             a claim of the token. A client that sends none is given it, if it is one by clientid_prefixes, \
             clientid_pattern and the lengths; another is refused (0x85).",
        ),
    Directive::listener("clientid_min_length", "N", Value::Int(0..=65_535, |draft, value| {
        draft.settings.clientid_min_length = size(value);
    }))
    .own()
    .section(Section::Listeners)
    .unit("bytes")
    .default("0")
    .meaning("Shortest client id, where a client sends one; a shorter one is refused (0x85)."),
    Directive::listener("clientid_max_length", "N", Value::Int(1..=65_535, |draft, value| {
        draft.settings.clientid_max_length = size(value);
    }))
    .own()
    .section(Section::Listeners)
    .unit("bytes")
    .profiles("256", "65535")
    .meaning("Longest client id; a longer one is refused (0x85)."),
    Directive::listener("clientid_pattern", "REGEX", Value::Parsed(clientid_pattern))
        .own()
        .section(Section::Listeners)
        .unset("any client id")
        .example("[a-z]+-[0-9]{4}")
    .meaning(
            "Regular expression that the whole client id must match, where a client sends one; it needs no \
             anchors. Others are refused (0x85).",
        ),
    Directive::listener("wildcard_subscriptions", "BOOL", Value::Bool(|draft, value| {
        draft.settings.available.wildcards = value;
    }))
    .own()
    .section(Section::Listeners)
    .default("true")
    .reload(Reload::NewConnections)
    .meaning("false: filters with `+` or `#` are refused; version 5 clients are told so and disconnected (0xA2)."),
    Directive::listener("shared_subscriptions", "BOOL", Value::Bool(|draft, value| {
        draft.settings.available.shared = value;
    }))
    .own()
    .section(Section::Listeners)
    .default("true")
    .reload(Reload::NewConnections)
    .meaning("false: `$share/...` is refused; version 5 clients are told so and disconnected (0x9E)."),
    Directive::listener("subscription_identifiers", "BOOL", Value::Bool(|draft, value| {
        draft.settings.available.identifiers = value;
    }))
    .own()
    .section(Section::Listeners)
    .default("true")
    .reload(Reload::NewConnections)
    .meaning("false: version 5 clients are told so, and disconnected if they send one (0xA1)."),
    Directive::listener("reason_strings", "BOOL", Value::Bool(|draft, value| {
        draft.settings.reason_strings = value;
    }))
    .own()
    .section(Section::Listeners)
    .default("false")
    .reload(Reload::NewConnections)
    .meaning(
        "Tell version 5 clients in words why something was refused, where they take it. Never which rule \
         refused it: that stands in the audit log.",
    ),
    Directive::listener("response_information", "PREFIX", Value::Parsed(response_information))
        .own()
        .section(Section::Listeners)
        .example("answers/%c/")
        .reload(Reload::NewConnections)
    .meaning(
        "Told to version 5 clients that ask for Response Information: where they may have answers sent. \
         `%c` is the client id, `%u` the user name, `%t` the topic token (topic_token_prefix); a client whose \
         name has `/`, `+` or `#` is told nothing. It grants nothing: write the ACL for it.",
    ),
    Directive::listener("topic_token_prefix", "PREFIX", Value::Parsed(topic_token_prefix))
        .own()
        .section(Section::Listeners)
        .unset("no tokens are drawn")
        .example("mcp/res")
        .meaning(
            "Draws a word of 128 random bits for each session, which ACL files of version 2 name `%t`. Version 5 \
             clients that ask for Response Information are told `PREFIX/TOKEN/CLIENTID`; every client can subscribe \
             to `$me/token` and is told the token there, and each new one.",
        ),
    Directive::listener("topic_token_rotation", "SECONDS", Value::Int(0..=31_536_000, |draft, value| {
        draft.settings.topic_tokens.rotation = (value > 0).then(|| seconds(value));
    }))
    .own()
    .section(Section::Listeners)
    .unit("seconds")
    .default("0")
    .meaning(
        "How long a topic token is the current one; 0 for as long as the session. A new one is told under \
         `$me/token` alone, so use it where clients subscribe to that.",
    ),
    Directive::listener("topic_token_overlap", "SECONDS", Value::Int(0..=86_400, |draft, value| {
        draft.settings.topic_tokens.overlap = seconds(value);
    }))
    .own()
    .section(Section::Listeners)
    .unit("seconds")
    .default("60")
    .meaning("How long the token before the current one still holds."),
    Directive::listener("topic_token_generation", "N", Value::Int(0..=4_294_967_295, |draft, value| {
        draft.settings.topic_tokens.generation = u32::try_from(value).unwrap_or(u32::MAX);
    }))
    .own()
    .section(Section::Listeners)
    .default("0")
    .meaning("Write another number and reload: every session is given a new token at once."),
    Directive::listener("response_topic_guard", "on|off", Value::Choice(&["off", "on"], |draft, index| {
        draft.settings.response_topic_guard = index == 1;
    }))
    .own()
    .section(Section::Listeners)
    .default("off")
    .meaning(
        "on: a message that names a Response Topic which its author may not read is refused, so that nobody can \
         have an answer sent into another's hands.",
    ),
    Directive::listener("max_topic_alias", "N", Value::Int(0..=65_535, |draft, value| {
        draft.settings.max_topic_alias = u16::try_from(value).unwrap_or(u16::MAX);
    }))
    .section(Section::Listeners)
    .unit("aliases")
    .default("10")
    .meaning("Topic Aliases a client may use."),
    Directive::listener("max_topic_alias_broker", "N", Value::Int(0..=65_535, |draft, value| {
        draft.settings.max_topic_alias_broker = u16::try_from(value).unwrap_or(u16::MAX);
    }))
    .section(Section::Listeners)
    .unit("aliases")
    .default("10")
    .meaning("Topic Aliases the broker uses towards a client, for the topics it is sent most."),
    Directive::listener("accept_protocol_versions", "LIST of 3, 4, 5", Value::Parsed(versions))
        .section(Section::Listeners)
        .default("3 4 5")
        .meaning("MQTT versions a CONNECT may name (3 is 3.1, 4 is 3.1.1). An unknown number is an error."),
    Directive::listener("socket_domain", "ipv4|ipv6", Value::Choice(&["ipv4", "ipv6"], |draft, index| {
        draft.settings.socket_domain = Some([SocketDomain::Ipv4, SocketDomain::Ipv6][index]);
    }))
    .section(Section::Listeners)
    .reload(Reload::NeedsRestart)
    .unset("both")
    .example("ipv4")
    .meaning("Restricts the listener to one address family."),
    Directive::listener("bind_interface", "DEVICE", Value::Text(|draft, text| {
        draft.settings.bind_interface = Some(text);
    }))
    .section(Section::Listeners)
    .repeat(Repeat::Error)
    .reload(Reload::NeedsRestart)
    .example("eth0")
    .meaning("Binds to one network device (Linux)."),
    Directive::refused(
        "http_dir",
        Scope::Listener,
        "DIRECTORY",
        "a broker in the DMZ serves no files",
        "use a web server, and metrics_listener for metrics",
    )
    .section(Section::Listeners)
    .meaning("Files served over HTTP."),
    Directive::refused(
        "enable_proxy_protocol",
        Scope::Listener,
        "1|2",
        NO_PROXY_PROTOCOL,
        "let the proxy pass TCP through and remove the line",
    )
    .section(Section::Listeners)
    .meaning("PROXY protocol."),
    Directive::refused(
        "proxy_protocol_v2_require_tls",
        Scope::Listener,
        "BOOL",
        NO_PROXY_PROTOCOL,
        "end TLS here (certfile, keyfile) and remove the line",
    )
    .harmless(&["false", "0"])
    .section(Section::Listeners)
    .meaning("PROXY protocol with TLS only."),
    Directive::listener("certfile", "PATH", Value::Path(|draft, path| draft.tls.certfile = Some(path)))
        .section(Section::Tls)
        .example("/etc/portcullis/server.crt")
    .meaning("Server certificate chain in PEM, leaf first; with keyfile it turns TLS on. Re-read on reload."),
    Directive::listener("keyfile", "PATH", Value::Path(|draft, path| draft.tls.keyfile = Some(path)))
        .section(Section::Tls)
        .example("/etc/portcullis/server.key")
    .meaning("Private key of certfile in PEM. Hardened refuses a file that group or world can read. Re-read on reload."),
    Directive::listener("ocsp_file", "PATH", Value::Path(|draft, path| draft.tls.ocsp_file = Some(path)))
        .own()
        .section(Section::Tls)
        .example("/etc/portcullis/server.ocsp")
    .meaning(
        "OCSP response in DER that is handed to clients with the certificate, as long as it is fresh. Somebody else \
         fetches it. Re-read on reload.",
    ),
    Directive::listener("cafile", "PATH", Value::Path(|draft, path| draft.tls.cafile = Some(path)))
        .section(Section::Tls)
        .example("/etc/portcullis/ca.crt")
    .meaning("Certificates trusted to sign client certificates. Re-read on reload."),
    Directive::listener("capath", "DIRECTORY", Value::Path(|draft, path| draft.tls.capath = Some(path)))
        .section(Section::Tls)
        .example("/etc/portcullis/ca.d")
    .meaning("As cafile: every PEM file of the directory; no hash links are needed."),
    Directive::listener("crlfile", "PATH", Value::Path(|draft, path| draft.tls.crlfile = Some(path)))
        .section(Section::Tls)
        .example("/etc/portcullis/ca.crl")
    .meaning(
        "Revoked certificates in PEM, of the CA of every client; lists of CAs above it count if they are there. \
         Needs require_certificate. Re-read on reload.",
    ),
    Directive::listener("require_certificate", "BOOL", Value::Bool(|draft, value| {
        draft.tls.require_certificate = value;
    }))
    .section(Section::Tls)
    .default("false")
    .meaning("Clients must present a certificate of cafile or capath; false does not ask for one."),
    Directive::listener("use_identity_as_username", "BOOL", Value::Bool(|draft, value| {
        draft.tls.use_identity = value;
    }))
    .section(Section::Tls)
    .default("false")
    .meaning(
        "The Common Name of the client certificate is the user name; what CONNECT says is dropped. One with `+`, \
         `#`, `*`, control characters or more than 64 characters is refused. Beats the next.",
    ),
    Directive::listener("use_subject_as_username", "BOOL", Value::Bool(|draft, value| {
        draft.tls.use_subject = value;
    }))
    .section(Section::Tls)
    .default("false")
    .meaning("As use_identity_as_username, with the whole subject as RFC 2253 writes it."),
    Directive::listener("certificate_identity", "cn|subject|san_dns|san_email|san_uri", Value::Choice(
        &["cn", "subject", "san_dns", "san_email", "san_uri"],
        |draft, index| {
            draft.tls.identity = Some(
                [
                    CertificateIdentity::CommonName,
                    CertificateIdentity::Subject,
                    CertificateIdentity::Dns,
                    CertificateIdentity::Email,
                    CertificateIdentity::Uri,
                ][index],
            );
        },
    ))
    .own()
    .section(Section::Tls)
    .unset("the certificate names nobody")
    .example("san_uri")
    .meaning(
        "Which name of the client certificate is the user name; what CONNECT says is dropped. `cn` and \
         `subject` are as the two directives above. There must be exactly one alternative name of the \
         kind, without wildcard or control characters.",
    ),
    Directive::listener("certificate_groups", "ou|san_dns|san_uri", Value::Choice(
        &["ou", "san_dns", "san_uri"],
        |draft, index| {
            draft.settings.certificate_groups = Some(
                [
                    CertificateGroups::OrganizationalUnit,
                    CertificateGroups::Dns,
                    CertificateGroups::Uri,
                ][index],
            );
        },
    ))
    .own()
    .section(Section::Tls)
    .unset("certificates name no groups")
    .example("ou")
    .meaning(
        "Where a client certificate that names the user also names its groups: every Organizational Unit of the \
         subject, or every alternative name of a kind. They add to those of group_file.",
    ),
    Directive::listener("tls_version", "tlsv1.2|tlsv1.3", Value::Parsed(tls_version))
        .section(Section::Tls)
        .repeat(Repeat::Error)
        .default("tlsv1.2")
        .meaning("Lowest TLS version; older ones are refused."),
    Directive::listener("ciphers", "LIST", Value::Parsed(|draft, line| {
        let suites = suites(line, &TLS12_SUITES)?;
        let written = suites.join(":");
        draft.tls.ciphers = Some(suites);
        Ok(written)
    }))
    .section(Section::Tls)
    .unset("every ECDHE AEAD suite")
    .example("ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384")
    .meaning("TLS 1.2 suites by OpenSSL's exact names, separated by colons; keywords such as HIGH are refused."),
    Directive::listener("ciphers_tls1.3", "LIST", Value::Parsed(|draft, line| {
        let suites = suites(line, &TLS13_SUITES)?;
        let written = suites.join(":");
        draft.tls.ciphers_tls13 = Some(suites);
        Ok(written)
    }))
    .section(Section::Tls)
    .unset("all three")
    .example("TLS_AES_256_GCM_SHA384")
    .meaning("TLS 1.3 suites, separated by colons."),
    Directive::refused(
        "disable_client_cert_date_checks",
        Scope::Listener,
        "BOOL",
        "an expired client certificate is not accepted",
        "renew the certificates and remove the line",
    )
    .harmless(&["false", "0"])
    .section(Section::Tls)
    .meaning("Accepts expired client certificates."),
    Directive::refused(
        "psk_file",
        Scope::SecurityGroup,
        "PATH",
        NO_PSK,
        "use client certificates (require_certificate, use_identity_as_username)",
    )
    .section(Section::Tls)
    .meaning("Pre-shared keys."),
    Directive::refused(
        "psk_hint",
        Scope::Listener,
        "TEXT",
        NO_PSK,
        "use client certificates (require_certificate, use_identity_as_username)",
    )
    .section(Section::Tls)
    .meaning("Pre-shared keys."),
    Directive::refused("tls_engine", Scope::Listener, "NAME", NO_ENGINES, "use a key file")
        .section(Section::Tls)
        .meaning("OpenSSL engine."),
    Directive::refused("tls_engine_kpass_sha1", Scope::Listener, "HASH", NO_ENGINES, "use a key file")
        .secret()
        .section(Section::Tls)
        .meaning("Password of an engine's key."),
    Directive::refused("tls_keyform", Scope::Listener, "pem|engine", NO_ENGINES, "use a key file in PEM")
        .harmless(&["pem"])
        .section(Section::Tls)
        .meaning("Form of keyfile."),
    Directive::ignored(
        "dhparamfile",
        Scope::Listener,
        "PATH",
        "only elliptic curve and hybrid post-quantum key exchange is offered",
    )
    .section(Section::Tls)
    .meaning("Diffie-Hellman parameters."),
];

/// TLS 1.2 suites of the TLS library, by OpenSSL's names.
pub(in crate::config) const TLS12_SUITES: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305",
];
/// TLS 1.3 suites of the TLS library.
pub(in crate::config) const TLS13_SUITES: [&str; 3] = [
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_CHACHA20_POLY1305_SHA256",
];

/// An origin as browsers send it: scheme, host, and a port that is not the scheme's own.
fn websockets_origin(draft: &mut ListenerDraft, line: &Line) -> Result<String, ValueError> {
    let word = first(line)?;
    let wrong = |problem: &str| {
        ValueError::new(word.at, problem).help("for example `https://app.example.org`")
    };
    let (scheme, host) = word
        .text
        .split_once("://")
        .ok_or_else(|| wrong("an origin begins with `https://`"))?;
    if host.is_empty() || host.contains(['/', '*', '?', '#', '@']) {
        return Err(wrong(
            "an origin is a scheme and a host, without path or wildcard",
        ));
    }
    if !matches!(scheme, "http" | "https") {
        return Err(wrong("browsers send origins with http or https"));
    }
    draft.settings.websocket.origins.push(word.text.to_owned());
    Ok(word.text.to_owned())
}

fn protocol(draft: &mut ListenerDraft, line: &Line) -> Result<String, ValueError> {
    let word = first(line)?;
    draft.settings.websockets = word.text == "websockets";
    match word.text {
        "mqtt" | "websockets" => Ok(word.text.to_owned()),
        "http_api" => Err(
            ValueError::new(word.at, "there is no HTTP API on a listener")
                .help("use `metrics_listener PORT [ADDRESS]`"),
        ),
        other => Err(
            ValueError::new(word.at, format!("`{other}` is not a protocol"))
                .help("write `mqtt` or `websockets`"),
        ),
    }
}

fn clientid_from(draft: &mut ListenerDraft, line: &Line) -> Result<String, ValueError> {
    let word = first(line)?;
    draft.settings.clientid_from = Some(match word.text.strip_prefix("jwt:") {
        Some("") => {
            return Err(ValueError::new(
                word.at,
                "the claim is missing behind `jwt:`",
            ));
        }
        Some(claim) => ClientIdFrom::Jwt(claim.to_owned()),
        None => match choice(word, &["user", "certificate"])? {
            0 => ClientIdFrom::User,
            _ => ClientIdFrom::Certificate,
        },
    });
    Ok(word.text.to_owned())
}

fn clientid_pattern(draft: &mut ListenerDraft, line: &Line) -> Result<String, ValueError> {
    let pattern = text(line)?;
    let build = |pattern: &str| {
        regex::RegexBuilder::new(pattern)
            .size_limit(1 << 20)
            .build()
    };
    // As it was written first, so that what is wrong is told of what was written.
    let whole = build(pattern)
        .and_then(|_| build(&format!("^(?:{pattern})$")))
        .map_err(|error| {
            let told = error.to_string();
            let last = told.lines().last().unwrap_or_default();
            let last = last.trim_start_matches("error: ");
            ValueError::new(
                line.value_at(),
                format!("it is no regular expression: {last}"),
            )
        })?;
    draft.settings.clientid_pattern = Some(Pattern(whole));
    Ok(pattern.to_owned())
}

fn response_information(draft: &mut ListenerDraft, line: &Line) -> Result<String, ValueError> {
    let prefix = text(line)?;
    let information = ResponseInformation::parse(prefix).map_err(|problem| {
        ValueError::new(line.value_at(), problem).help("for example `answers/%c/`")
    })?;
    draft.settings.response_information = Some(information);
    Ok(prefix.to_owned())
}

fn topic_token_prefix(draft: &mut ListenerDraft, line: &Line) -> Result<String, ValueError> {
    let prefix = text(line)?;
    let wrong = |problem| ValueError::new(line.value_at(), problem).help("for example `mcp/res`");
    if prefix.ends_with('/') {
        return Err(wrong("the prefix ends without `/`, which comes behind it"));
    }
    ResponseInformation::parse(prefix).map_err(wrong)?;
    draft.settings.topic_token_prefix = Some(prefix.to_owned());
    Ok(prefix.to_owned())
}

fn mount_point(draft: &mut ListenerDraft, line: &Line) -> Result<String, ValueError> {
    let prefix = text(line)?;
    if prefix.contains(['+', '#']) {
        return Err(ValueError::new(
            line.value_at(),
            "a mount point holds no wildcards",
        ));
    }
    if prefix.starts_with('$') {
        return Err(
            ValueError::new(line.value_at(), "a mount point does not begin with `$`")
                .help("topics of the broker itself begin so"),
        );
    }
    draft.settings.mount_point = Some(prefix.to_owned());
    Ok(prefix.to_owned())
}

fn versions(draft: &mut ListenerDraft, line: &Line) -> Result<String, ValueError> {
    first(line)?;
    let mut versions = Vec::new();
    for word in line.words_before_comment() {
        for number in word.text.split(',').filter(|number| !number.is_empty()) {
            versions.push(match number {
                "3" => Version::V31,
                "4" => Version::V311,
                "5" => Version::V5,
                other => {
                    return Err(ValueError::new(
                        word.at,
                        format!("`{other}` is not a protocol version"),
                    )
                    .help("3 is MQTT 3.1, 4 is MQTT 3.1.1, 5 is MQTT 5.0"));
                }
            });
        }
    }
    versions.sort_unstable();
    versions.dedup();
    if versions.is_empty() {
        return Err(ValueError::new(
            line.value_at(),
            "no protocol version is named",
        ));
    }
    let written: Vec<String> = versions
        .iter()
        .map(|version| version.level().to_string())
        .collect();
    draft.settings.versions = versions;
    Ok(written.join(" "))
}

fn tls_version(draft: &mut ListenerDraft, line: &Line) -> Result<String, ValueError> {
    let word = first(line)?;
    if matches!(word.text, "tlsv1" | "tlsv1.0" | "tlsv1.1") {
        return Err(
            ValueError::new(word.at, format!("{} is broken and not offered", word.text))
                .help("write `tls_version tlsv1.2` or `tls_version tlsv1.3`"),
        );
    }
    let index = choice(word, &["tlsv1.2", "tlsv1.3"])?;
    draft.tls.minimum_version = [TlsVersion::Tls12, TlsVersion::Tls13][index];
    Ok(word.text.to_owned())
}

fn suites(line: &Line, known: &[&'static str]) -> Result<Vec<&'static str>, ValueError> {
    first(line)?;
    let mut chosen = Vec::new();
    for word in line.words_before_comment() {
        let mut at = word.at;
        for name in word.text.split([':', ',']) {
            if !name.is_empty() {
                let index = choice(Word { text: name, at }, known).map_err(|error| ValueError {
                    message: format!("cipher suite `{name}` is not offered"),
                    ..error
                })?;
                if !chosen.contains(&known[index]) {
                    chosen.push(known[index]);
                }
            }
            at += name.len() + 1;
        }
    }
    if chosen.is_empty() {
        return Err(ValueError::new(line.value_at(), "no cipher suite is named"));
    }
    Ok(chosen)
}
