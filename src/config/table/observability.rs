//! Log, audit log and metrics.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use crate::config::Located;
use crate::config::directive::{Directive, Reload, Repeat, Scope, Section};
use crate::config::lexer::Line;
use crate::config::settings::{AuditLog, LogDestination, LogType, MetricsListener, Settings};
use crate::config::value::{Value, ValueError, choice, first, int, text};

pub(super) static DIRECTIVES: &[Directive] = &[
    Directive::global("audit_log", "PATH|stdout|off", Value::Parsed(audit_log))
        .own()
        .section(Section::Observability)
        .default("off")
        .meaning(
            "One JSON object a line for each connect, disconnect, authentication failure, subscribe, \
             denial, limit and reload.",
        ),
    Directive::global("metrics_listener", "PORT [ADDRESS]", Value::Parsed(metrics_listener))
        .own()
        .section(Section::Observability)
        .repeat(Repeat::Error)
        .reload(Reload::NeedsRestart)
        .example("9883")
    .meaning(
            "Plain HTTP with /metrics (Prometheus), /healthz and /readyz; on 127.0.0.1 unless an ADDRESS \
             is given.",
        ),
    Directive::global("log_dest", "none|stdout|stderr|syslog|file PATH", Value::Parsed(log_dest))
        .section(Section::Observability)
        .repeat(Repeat::Accumulates)
        .unset("stderr")
        .example("stderr")
    .meaning(
            "Where the log goes; several lines add up, `none` clears those before it. `topic` is accepted \
             and has no effect: log lines are not shown to clients.",
        ),
    Directive::global(
        "log_type",
        "error|warning|notice|information|debug|subscribe|unsubscribe|websockets|internal|none|all",
        Value::Parsed(log_type),
    )
    .section(Section::Observability)
    .repeat(Repeat::Accumulates)
    .unset("error, warning, notice, information")
    .example("notice")
    .meaning("What is logged; lines add up, `none` clears those before it. -v and -q beat it. The audit log is not affected."),
    Directive::global("log_facility", "0-7", Value::Int(0..=7, |settings, value| {
        settings.log.facility = u8::try_from(value).ok();
    }))
    .section(Section::Observability)
    .unset("daemon")
    .example("0")
    .meaning("The syslog facility local0 to local7."),
    Directive::global("log_timestamp", "BOOL", Value::Bool(|settings, value| settings.log.timestamp = value))
        .section(Section::Observability)
        .default("true")
        .meaning("Whether log lines begin with the time."),
    Directive::global("log_timestamp_format", "FORMAT", Value::Text(|settings, text| {
        settings.log.timestamp_format = Some(text.value);
    }))
    .section(Section::Observability)
    .repeat(Repeat::Error)
    .unset("seconds since the epoch")
    .example("%Y-%m-%dT%H:%M:%S")
    .meaning("strftime format of the time, for example %Y-%m-%dT%H:%M:%S."),
    Directive::global("connection_messages", "BOOL", Value::Bool(|settings, value| {
        settings.log.connection_messages = value;
    }))
    .section(Section::Observability)
    .default("true")
    .meaning("Whether connects and disconnects are logged. The audit log has them in any case."),
    Directive::ignored("websockets_log_level", Scope::Global, "N", "there is no WebSocket library whose log could be set")
        .section(Section::Observability)
        .meaning("Log level of mosquitto's WebSocket library."),
    Directive::ignored("max_log_entries", Scope::Global, "N", "it left mosquitto after 1.6")
        .section(Section::Observability)
        .meaning("Left over from mosquitto 1.6."),
    Directive::ignored("ffdc_output", Scope::Global, "TEXT", "it left mosquitto after 1.6")
        .section(Section::Observability)
        .meaning("Left over from mosquitto 1.6."),
    Directive::ignored("trace_level", Scope::Global, "TEXT", "use `log_type debug` or `-v`")
        .section(Section::Observability)
        .meaning("Left over from mosquitto 1.6."),
    Directive::ignored("trace_output", Scope::Global, "TEXT", "use `log_dest`")
        .section(Section::Observability)
        .meaning("Left over from mosquitto 1.6."),
];

fn audit_log(settings: &mut Settings, line: &Line) -> Result<String, ValueError> {
    let value = text(line)?;
    settings.audit_log = match value {
        "off" => AuditLog::Off,
        "stdout" => AuditLog::Stdout,
        path => AuditLog::File(Located::new(
            PathBuf::from(path),
            line.origin(line.value_at(), false),
        )),
    };
    Ok(value.to_owned())
}

fn metrics_listener(settings: &mut Settings, line: &Line) -> Result<String, ValueError> {
    let words = line.words_before_comment();
    let port = int(first(line)?, &(0..=65_535))?;
    let address = match words.get(1) {
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(word) if word.text == "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(word) if word.text == "*" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Some(word) => word.text.parse().map_err(|_| {
            ValueError::new(word.at, format!("`{}` is not an IP address", word.text))
                .help("write an IPv4 or IPv6 address, or nothing for 127.0.0.1")
        })?,
    };
    settings.metrics_listener = Some(MetricsListener {
        port: u16::try_from(port).unwrap_or(u16::MAX),
        address,
        origin: line.origin(line.name_at(), false),
    });
    Ok(format!("{port} {address}"))
}

fn log_dest(settings: &mut Settings, line: &Line) -> Result<String, ValueError> {
    let word = first(line)?;
    let destinations = &mut settings.log.destinations;
    let destination = match word.text {
        "none" => {
            destinations.clear();
            return Ok("none".to_owned());
        }
        // Log lines can name other clients and their topics; a subscriber must not read them.
        "topic" => return Ok("topic".to_owned()),
        "stdout" => LogDestination::Stdout,
        "stderr" => LogDestination::Stderr,
        "syslog" => LogDestination::Syslog,
        "file" => {
            let path = line.value()["file".len()..].trim_start_matches(' ');
            if path.is_empty() {
                return Err(ValueError::new(word.at, "`log_dest file` has no path"));
            }
            if destinations
                .iter()
                .any(|d| matches!(d, LogDestination::File(_)))
            {
                return Err(ValueError::new(
                    word.at,
                    "there can be only one `log_dest file`",
                ));
            }
            let at = line.value_at() + line.value().len() - path.len();
            LogDestination::File(Located::new(PathBuf::from(path), line.origin(at, false)))
        }
        "dlt" | "android" => {
            return Err(ValueError::new(
                word.at,
                format!("`log_dest {}` is not supported", word.text),
            )
            .help("use stdout, stderr, syslog or file"));
        }
        other => {
            return Err(
                ValueError::new(word.at, format!("`{other}` is not a log destination"))
                    .help("write one of: none, stdout, stderr, syslog, topic, file PATH"),
            );
        }
    };
    if !destinations.contains(&destination) {
        destinations.push(destination);
    }
    Ok(line.value().to_owned())
}

fn log_type(settings: &mut Settings, line: &Line) -> Result<String, ValueError> {
    let word = first(line)?;
    match word.text {
        "none" => settings.log.types.clear(),
        "all" => settings.log.types.extend(LogType::ALL),
        _ => {
            let index = choice(word, &LogType::NAMES).map_err(|error| {
                error.help(format!(
                    "write one of: {}, none, all",
                    LogType::NAMES.join(", ")
                ))
            })?;
            settings.log.types.insert(LogType::ALL[index]);
        }
    }
    Ok(word.text.to_owned())
}
