//! Process and files.

use crate::config::Located;
use crate::config::directive::{Directive, Reload, Repeat, Scope, Section, Structure};
use crate::config::lexer::Line;
use crate::config::settings::Settings;
use crate::config::table::limits::seconds;
use crate::config::value::{Value, ValueError, size, text};
use crate::net::Placement;

pub(super) static DIRECTIVES: &[Directive] = &[
    Directive::structure("include_dir", Scope::Global, "DIRECTORY", Structure::IncludeDir)
        .section(Section::Process)
        .example("/etc/portcullis/conf.d")
    .meaning(
            "Reads every *.conf file of the directory here, in mosquitto's order. Not inside an included \
             file; no recursion.",
        ),
    Directive::global("user", "NAME", Value::Parsed(user))
        .section(Section::Process)
        .unset("portcullis, else nobody")
        .reload(Reload::NeedsRestart)
        .example("portcullis")
    .meaning(
            "Account to change to when started as root. `root` stays root, with a warning: some \
             containers have no other account.",
        ),
    Directive::global("pid_file", "PATH", Value::Path(|settings, path| settings.process.pid_file = Some(path)))
        .section(Section::Process)
        .repeat(Repeat::Error)
        .reload(Reload::NeedsRestart)
        .example("/run/portcullis/portcullis.pid")
    .meaning("Holds the process id while the broker runs."),
    Directive::global("watch_files", "BOOL", Value::Bool(|settings, value| {
        settings.process.watch_files = value;
    }))
    .own()
    .section(Section::Process)
    .default("false")
    .meaning(
        "Reload without SIGHUP when the configuration or a file it names (rules, users, certificates, keys, \
         revocations) has changed: looked at each second, and read once it has stayed the same for one.",
    ),
    Directive::global("threads", "N", Value::Int(0..=1024, |settings, value| {
        settings.process.threads = if value == 0 { processors() } else { size(value) };
    }))
    .own()
    .section(Section::Process)
    .unit("threads")
    .default("0")
    .reload(Reload::NeedsRestart)
    .meaning("Network threads; 0 is one per processor."),
    Directive::global("connection_placement", "pack|spread", Value::Choice(&["pack", "spread"], |settings, index| {
        settings.process.placement = if index == 0 { Placement::Pack } else { Placement::Spread };
    }))
    .own()
    .section(Section::Process)
    .default("pack")
    .reload(Reload::NeedsRestart)
    .meaning(
        "`pack` serves clients by as few network threads as their traffic needs, and moves connections when \
         that changes; `spread` uses all threads alike.",
    ),
    Directive::global("shutdown_timeout", "SECONDS", Value::Int(0..=3600, |settings, value| {
        settings.process.shutdown_timeout = seconds(value);
    }))
    .own()
    .section(Section::Process)
    .unit("seconds")
    .default("5")
    .meaning("How long connections are drained after SIGTERM before they are cut."),
];

fn user(settings: &mut Settings, line: &Line) -> Result<String, ValueError> {
    let name = text(line)?;
    settings.process.user = Some(Located::new(
        name.to_owned(),
        line.origin(line.value_at(), false),
    ));
    Ok(name.to_owned())
}

/// Processors this process may use.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
