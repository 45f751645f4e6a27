//! `--test-config` and `check`: the same loading as a start, and nothing changed.

use std::fmt::Write;

use crate::config::{LoadOptions, SecurityProfile};

use super::cli::{Check, Environment, Run, Stop};
use super::generation;
use super::keeping;
use super::reading::{self, Loaded};
use super::serve::refused;
use super::{err, invalid, out};

/// `--test-config`, as mosquitto has it, but with every file opened.
pub(super) fn test_config(run: &Run, environment: Environment) -> Result<(), Stop> {
    let options = run.load_options(environment)?;
    let loaded = reading::load(run.config_file.as_deref(), &options);
    if !loaded.is_ok() {
        // Code 3 for whatever is wrong: that is what scripts ask for.
        return Err(invalid(refused(&loaded).text));
    }
    warn(&loaded);
    out("Configuration file is OK.\n");
    Ok(())
}

fn warn(loaded: &Loaded) {
    for diagnostic in &loaded.diagnostics {
        err(&format!("{diagnostic}\n"));
    }
}

/// `check`.
pub(super) fn check(arguments: &Check, environment: Environment) -> Result<(), Stop> {
    let options = arguments.profile.load_options(environment)?;
    let loaded = reading::load(Some(&arguments.config_file), &options);
    if !loaded.is_ok() && !arguments.security {
        return Err(refused(&loaded));
    }
    if arguments.security {
        return security(arguments, &options);
    }
    warn(&loaded);
    let settings = &loaded.settings;
    for (listener, at) in generation::certificates(settings, &loaded.files) {
        let days = (at - generation::now_s()).div_euclid(86_400);
        out(&format!(
            "listener {listener}: certificate valid for {days} more day(s)\n"
        ));
    }
    out(&keeping::told(settings));
    out(&format!(
        "{}: in order ({} listener(s), profile {} {})\n",
        arguments.config_file.display(),
        settings.listeners.len(),
        settings.profile,
        settings.profile_source,
    ));
    Ok(())
}

/// What stands between a configuration and the hardened profile: it is read as compatible, which
/// collects findings where hardened would stop.
fn security(arguments: &Check, options: &LoadOptions) -> Result<(), Stop> {
    let options = LoadOptions {
        profile: Some((
            SecurityProfile::Compatible,
            crate::config::ProfileSource::CommandLine,
        )),
        ..options.clone()
    };
    let compatible = reading::load(Some(&arguments.config_file), &options);
    let settings = &compatible.settings;
    if compatible.errors().next().is_some() {
        return Err(refused(&compatible));
    }
    if settings.findings.is_empty() {
        out("nothing stands between this configuration and the hardened profile\n");
        return Ok(());
    }
    let mut text = String::new();
    for finding in &settings.findings {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{}: {} [{}]\nhelp: {}",
            finding.origin,
            finding.message,
            finding.kind.label(),
            finding.remedy
        );
    }
    let _ = writeln!(
        text,
        "{} thing(s) stand between this configuration and the hardened profile",
        settings.findings.len()
    );
    Err(invalid(text))
}
