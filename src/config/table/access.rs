//! Who may connect, and what they may do.

use crate::auth::{Provider, parse_pin};
use crate::config::Located;
use crate::config::directive::{Directive, Reload, Repeat, Scope, Section, Structure};
use crate::config::lexer::Line;
use crate::config::settings::{DeniedPublish, DeniedSubscribe, SecurityGroup, SubscribeGuard};
use crate::config::table::limits::seconds;
use crate::config::table::process::processors;
use crate::config::value::{Value, ValueError, bool, choice, first, size, text};

pub(super) static DIRECTIVES: &[Directive] = &[
    Directive::structure(
        "security_profile",
        Scope::Global,
        "hardened|compatible",
        Structure::SecurityProfile,
    )
    .own()
    .section(Section::Access)
    .repeat(Repeat::Error)
    .unset("hardened")
    .example("hardened")
    .meaning(
        "Decides every default and whether an unsafe configuration starts. `--security-profile` beats \
         the environment variable PORTCULLIS_SECURITY_PROFILE, which beats this line.",
    ),
    Directive::security("allow_anonymous", "BOOL", Value::Parsed(|group, line| {
        let word = first(line)?;
        group.allow_anonymous = bool(word)?;
        group.allow_anonymous_origin = Some(line.origin(line.name_at(), false));
        Ok(group.allow_anonymous.to_string())
    }))
    .section(Section::Access)
    .unset("false; true when no listener is configured")
    .example("false")
    .meaning(
        "Whether a client that sends no user name may connect. Hardened refuses true on a listener \
         off loopback.",
    ),
    Directive::listener("listener_allow_anonymous", "BOOL", Value::Parsed(|draft, line| {
        let value = bool(first(line)?)?;
        draft.allow_anonymous = Some((value, line.origin(line.name_at(), false)));
        Ok(value.to_string())
    }))
    .section(Section::Access)
    .unset("as allow_anonymous")
    .example("false")
    .meaning("Beats allow_anonymous for this listener, in both directions."),
    Directive::security("password_file", "PATH", Value::Path(|group, path| group.password_file = Some(path)))
        .section(Section::Access)
        .example("/etc/portcullis/passwd")
    .meaning(
            "User names and password hashes ($6$, $7$, argon2id, bcrypt, SCRAM-SHA-256). Where a user has \
             a SCRAM verifier the listener offers that Authentication Method. Re-read on reload. Hardened \
             refuses a file that group or world can read.",
        ),
    Directive::security("acl_file", "PATH", Value::Path(|group, path| group.acl_file = Some(path)))
        .section(Section::Access)
        .unset("none: everything is allowed")
        .example("/etc/portcullis/acl.conf")
    .meaning(
            "Who may read and write which topics, in mosquitto's grammar. Re-read on reload. Hardened \
             refuses a listener off loopback without one.",
        ),
    Directive::security("group_file", "PATH", Value::Path(|group, path| group.group_file = Some(path)))
        .own()
        .section(Section::Access)
        .example("/etc/portcullis/groups.conf")
    .meaning(
            "Who is in which group: `group NAME` lines, each followed by `user NAME` lines. Rules for groups stand \
             in ACL files of version 2. Re-read on reload.",
        ),
    Directive::security("auth_provider", "password|jwt|certificate|scram|introspection", Value::Parsed(auth_provider))
        .own()
        .section(Section::Access)
        .repeat(Repeat::Accumulates)
        .unset("certificate alone where it is the identity; else jwt, password, scram, introspection, as far as configured")
        .example("certificate")
    .meaning(
            "Who is asked who a client is, one a line, in this order. The first that knows the client decides; \
             whoever has no say (no certificate, no token, an unknown user) leaves it to the next. Whom nobody \
             knows is refused, but for anonymous clients with allow_anonymous.",
        ),
    Directive::security("pin_spki", "USER sha256=BASE64|HEX", Value::Parsed(pin_spki))
        .own()
        .section(Section::Access)
        .repeat(Repeat::Accumulates)
        .unset("users are bound to no key")
        .example("pump7 sha256=uS1GHeZ0qfrHJfzYyVhP0HvXE0XqQ9kZpZqSRkPR6Lo=")
    .meaning(
            "USER may only connect with a certificate whose public key has this SHA-256, by whatever means it \
             says who it is; several lines for one user are several keys. Connections whose key a reload takes \
             out end.",
        ),
    Directive::global("subscribe_guard", "strict|filter|report", Value::Choice(
        &["strict", "filter", "report"],
        |settings, index| {
            settings.access.subscribe_guard =
                [SubscribeGuard::Strict, SubscribeGuard::Filter, SubscribeGuard::Report][index];
        },
    ))
    .own()
    .section(Section::Access)
    .profiles("strict", "filter")
    .meaning(
        "A subscription that could match a topic outside the grants is refused (strict), accepted and \
         checked message by message as mosquitto does (filter), or that with a report of what strict \
         would have refused (report).",
    ),
    Directive::listener("listener_subscribe_guard", "strict|filter|report", Value::Choice(
        &["strict", "filter", "report"],
        |draft, index| {
            draft.settings.subscribe_guard = Some(
                [SubscribeGuard::Strict, SubscribeGuard::Filter, SubscribeGuard::Report][index],
            );
        },
    ))
    .own()
    .section(Section::Access)
    .unset("as subscribe_guard")
    .example("strict")
    .meaning("Beats subscribe_guard for this listener."),
    Directive::global("check_retain_source", "BOOL", Value::Bool(|settings, value| {
        settings.access.check_retain_source = value;
    }))
    .section(Section::Access)
    .profiles("true", "false")
    .meaning(
        "Withhold a retained message once its author may no longer write its topic. The manual of \
         mosquitto says true, its code does false.",
    ),
    Directive::global("mqtt3_denied_publish", "ack|disconnect", Value::Choice(
        &["ack", "disconnect"],
        |settings, index| {
            settings.access.mqtt3_denied_publish =
                [DeniedPublish::Ack, DeniedPublish::Disconnect][index];
        },
    ))
    .own()
    .section(Section::Access)
    .default("ack")
    .meaning(
        "What a 3.1 or 3.1.1 client sees when its PUBLISH is refused: an ordinary acknowledgement, or a \
         closed connection. Version 5 clients get a Reason Code.",
    ),
    Directive::global("mqtt31_denied_subscribe", "disconnect|grant", Value::Choice(
        &["disconnect", "grant"],
        |settings, index| {
            settings.access.mqtt31_denied_subscribe =
                [DeniedSubscribe::Disconnect, DeniedSubscribe::Grant][index];
        },
    ))
    .own()
    .section(Section::Access)
    .profiles("disconnect", "grant")
    .meaning(
        "What a 3.1 client sees when its SUBSCRIBE is refused, which its SUBACK cannot say: a closed \
         connection, or as with mosquitto a granted subscription that nothing is delivered for. Clients of \
         3.1.1 get the code 0x80, those of version 5 a Reason Code.",
    ),
    Directive::security("allow_zero_length_clientid", "BOOL", Value::Bool(|group, value| {
        group.allow_zero_length_clientid = value;
    }))
    .section(Section::Access)
    .default("true")
    .reload(Reload::NewConnections)
    .meaning("Whether an empty client id is given a generated one."),
    Directive::security("auto_id_prefix", "TEXT", Value::Parsed(|group, line| {
        group.auto_id_prefix = id_prefix(line)?;
        Ok(group.auto_id_prefix.clone())
    }))
    .section(Section::Access)
    .repeat(Repeat::Error)
    .default("auto-")
    .reload(Reload::NewConnections)
    .meaning("Begins every generated client id; at most 50 bytes."),
    Directive::listener("listener_auto_id_prefix", "TEXT", Value::Parsed(|draft, line| {
        let prefix = id_prefix(line)?;
        draft.auto_id_prefix = Some(prefix.clone());
        Ok(prefix)
    }))
    .section(Section::Access)
    .repeat(Repeat::Error)
    .unset("as auto_id_prefix")
    .example("outside-")
    .meaning("Beats auto_id_prefix for this listener."),
    Directive::global("clientid_prefixes", "TEXT", Value::Text(|settings, text| {
        settings.access.clientid_prefix = Some(text.value);
    }))
    .section(Section::Access)
    .reload(Reload::NewConnections)
    .example("pump-")
    .meaning("One literal prefix that every client id must begin with; checked before use_username_as_clientid."),
    Directive::listener("use_username_as_clientid", "BOOL", Value::Bool(|draft, value| {
        draft.settings.use_username_as_clientid = value;
    }))
    .section(Section::Access)
    .default("false")
    .meaning(
        "The user name replaces the client id; a client without one, or with one that clientid_pattern or \
         the lengths do not allow, is refused.",
    ),
    Directive::structure("per_listener_settings", Scope::Global, "BOOL", Structure::PerListenerSettings)
        .section(Section::Access)
        .repeat(Repeat::OneWay)
        .unset("false")
        .example("false")
    .meaning(
            "Moves the directives of scope \"security group\" to the listener they stand under. Must come \
             before all of them.",
        ),
    Directive::global("hash_workers", "N", Value::Int(0..=1024, |settings, value| {
        settings.hashing.workers = if value == 0 { (processors() / 2).max(1) } else { size(value) };
    }))
    .own()
    .section(Section::Access)
    .unit("threads")
    .default("0")
    .reload(Reload::NeedsRestart)
    .meaning("Threads that verify passwords; 0 is half the processors."),
    Directive::global("hash_queue", "N", Value::Int(1..=1_000_000, |settings, value| {
        settings.hashing.queue = size(value);
    }))
    .own()
    .section(Section::Access)
    .default("1024")
    .reload(Reload::NeedsRestart)
    .meaning("Passwords that may wait for a thread; above it a client is told that the server is busy."),
    Directive::global("credential_cache", "N", Value::Int(0..=10_000_000, |settings, value| {
        settings.hashing.credential_cache = size(value);
    }))
    .own()
    .section(Section::Access)
    .unit("entries")
    .default("10000")
    .reload(Reload::NeedsRestart)
    .meaning(
        "Verified credentials remembered (as a keyed hash, in memory) so that a reconnect storm does not \
         hash every password again; 0 for none. Emptied on reload.",
    ),
    Directive::global("credential_cache_seconds", "N", Value::Int(1..=86_400, |settings, value| {
        settings.hashing.credential_cache_time = seconds(value);
    }))
    .own()
    .section(Section::Access)
    .unit("seconds")
    .default("300")
    .reload(Reload::NeedsRestart)
    .meaning("How long a verified credential is remembered."),
];

fn auth_provider(group: &mut SecurityGroup, line: &Line) -> Result<String, ValueError> {
    let word = first(line)?;
    let names = Provider::ALL.map(Provider::name);
    let provider = Provider::ALL[choice(word, &names)?];
    if group.providers.iter().any(|known| known.value == provider) {
        return Err(ValueError::new(
            line.value_at(),
            format!("{} is asked already", provider.name()),
        ));
    }
    group.providers.push(Located {
        value: provider,
        origin: line.origin(line.name_at(), false),
    });
    Ok(provider.name().to_owned())
}

/// The last word is the pin; a user name may have blanks.
fn pin_spki(group: &mut SecurityGroup, line: &Line) -> Result<String, ValueError> {
    const EXAMPLE: &str = "for example `pin_spki pump7 sha256=BASE64`; docs/operations.md has the command that \
                           prints it";
    let value = text(line)?;
    let last = line.words().last().map_or(value, |word| word.text);
    let at = line.value_at() + value.len() - last.len();
    let wrong = |at, message: String| ValueError::new(at, message).help(EXAMPLE);
    let user = value[..value.len() - last.len()].trim_end();
    if user.is_empty() {
        let missing = if last.starts_with("sha256=") {
            "the user is missing before the pin"
        } else {
            "the pin is missing behind the user"
        };
        return Err(wrong(line.value_at(), missing.into()));
    }
    let pin = parse_pin(last).map_err(|problem| wrong(at, problem.to_string()))?;
    group.pins.add(user, pin);
    Ok(value.to_owned())
}

fn id_prefix(line: &Line) -> Result<String, ValueError> {
    let text = text(line)?;
    if text.len() > 50 {
        return Err(ValueError::new(
            line.value_at(),
            "the prefix is longer than 50 bytes",
        ));
    }
    if text.contains(['+', '#', '/']) {
        return Err(
            ValueError::new(line.value_at(), "the prefix holds `+`, `#` or `/`")
                .help("such a client id could not be used in ACL patterns"),
        );
    }
    Ok(text.to_owned())
}
