//! `--test-config`, `check` and `explain`: the same loading as a start, and nothing changed.

use std::ffi::OsString;
use std::fmt::Write;

use crate::config::SecurityProfile;
use crate::policy::Explanation;
use crate::policy::Principal;
use crate::topic::{SubscriptionFilter, TopicName};

use super::cli::{Check, DENIED, Explain, ExplainAction, Run, Stop};
use super::generation::{self, Loaded};
use super::serve::refused;
use super::{err, invalid, out};

/// `--test-config`, as mosquitto has it, but with every file opened.
pub(super) fn test_config(run: &Run, variable: Option<OsString>) -> Result<(), Stop> {
    let options = run.load_options(variable)?;
    let loaded = generation::load(run.config_file.as_deref(), &options);
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
pub(super) fn check(arguments: &Check, variable: Option<OsString>) -> Result<(), Stop> {
    let options = arguments.profile.load_options(variable)?;
    let loaded = generation::load(Some(&arguments.config_file), &options);
    if !loaded.is_ok() && !arguments.security {
        return Err(refused(&loaded));
    }
    if arguments.security {
        return security(arguments);
    }
    warn(&loaded);
    let settings = &loaded.settings;
    for (listener, at) in generation::certificates(settings, &loaded.files) {
        let days = (at - generation::now_s()).div_euclid(86_400);
        out(&format!(
            "listener {listener}: certificate valid for {days} more day(s)\n"
        ));
    }
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
fn security(arguments: &Check) -> Result<(), Stop> {
    let options = crate::config::LoadOptions {
        profile: Some((
            SecurityProfile::Compatible,
            crate::config::ProfileSource::CommandLine,
        )),
        ..crate::config::LoadOptions::default()
    };
    let compatible = generation::load(Some(&arguments.config_file), &options);
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

/// `explain`: asks the same rules the gate asks.
pub(super) fn explain(arguments: &Explain, variable: Option<OsString>) -> Result<(), Stop> {
    let options = arguments.profile.load_options(variable)?;
    let loaded = generation::load(Some(&arguments.config_file), &options);
    if !loaded.is_ok() {
        return Err(refused(&loaded));
    }
    let settings = &loaded.settings;
    let index = arguments.listener - 1;
    let Some(listener) = settings.listeners.get(usize::from(index)) else {
        return Err(invalid(format!(
            "error: there is no listener {}; the configuration has {}\n",
            arguments.listener,
            settings.listeners.len()
        )));
    };
    let policy = generation::policy(settings, &loaded.files);
    let principal = Principal::new(arguments.user.as_deref(), &arguments.client);
    let rights = policy.bind(&principal, index);
    let mount = listener.mount_point.as_deref().unwrap_or_default();
    let (what, explanation) = match &arguments.action {
        ExplainAction::Publish { topic } => {
            let topic = TopicName::parse(&format!("{mount}{topic}")).map_err(|error| {
                invalid(format!("error: {topic:?} is no Topic Name: {error}\n"))
            })?;
            let explanation = rights.explain_publish(topic.as_str());
            (format!("publish to {}", topic.as_str()), explanation)
        }
        ExplainAction::Subscribe { filter } => {
            let parsed = SubscriptionFilter::parse(filter).map_err(|error| {
                invalid(format!("error: {filter:?} is no Topic Filter: {error}\n"))
            })?;
            let inner =
                crate::topic::TopicFilter::parse(&format!("{mount}{}", parsed.filter.as_str()))
                    .map_err(|error| {
                        invalid(format!("error: {filter:?} is no Topic Filter: {error}\n"))
                    })?;
            let explanation = rights.explain_subscribe(&inner);
            (format!("subscribe to {}", inner.as_str()), explanation)
        }
    };
    let text = sentence(arguments, &what, &explanation);
    if !explanation.allowed {
        out(&text);
        // So that a script can ask; everything is said already.
        return Err(Stop {
            code: DENIED,
            text: String::new(),
        });
    }
    out(&text);
    Ok(())
}

fn sentence(arguments: &Explain, what: &str, explanation: &Explanation) -> String {
    let who = match &arguments.user {
        Some(user) => format!("user {user:?}"),
        None => "an anonymous client".to_owned(),
    };
    let mut text = format!(
        "{}: {who} (client id {:?}) {} {what}\n",
        if explanation.allowed {
            "allowed"
        } else {
            "denied"
        },
        arguments.client,
        if explanation.allowed {
            "may"
        } else {
            "may not"
        },
    );
    if let Some(rule) = &explanation.rule {
        text.push_str(&format!("rule:   {rule}\n"));
    }
    if let Some(reason) = explanation.reason {
        text.push_str(&format!("reason: {reason} [{}]\n", reason.label()));
        let code = reason.reason_code();
        let code = match &arguments.action {
            ExplainAction::Publish { .. } => code.in_puback(),
            ExplainAction::Subscribe { .. } => code.in_suback(),
        };
        text.push_str(&format!("code:   {code}\n"));
    }
    if let Some(witness) = &explanation.witness {
        text.push_str(&format!(
            "example: the filter also matches {witness}, which this client may not read\n"
        ));
    }
    text
}
