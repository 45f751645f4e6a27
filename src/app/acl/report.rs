//! `acl report`: what each user may do, in all.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::app::cli::{ProfileOption, Stop};
use crate::app::serve::refused;
use crate::app::{generation, reading};
use crate::app::{invalid, out};
use crate::policy::ListenerPolicy;

use super::subjects::{self, except, rule, too_long};

/// `acl report`.
#[derive(Clone, Debug, Args)]
pub struct Report {
    /// An ACL file; or a configuration, by `-c`.
    #[arg(
        required_unless_present = "config_file",
        conflicts_with = "config_file"
    )]
    file: Option<PathBuf>,
    /// The group file that goes with the ACL file.
    #[arg(long, value_name = "FILE", conflicts_with = "config_file")]
    group_file: Option<PathBuf>,
    /// The configuration: its rules, groups and users.
    #[arg(short = 'c', long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Which listener, counted from 1 in the order of the file.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    listener: u16,
    /// One JSON object for a program to read.
    #[arg(long)]
    json: bool,
    /// The profile.
    #[command(flatten)]
    profile: ProfileOption,
}

/// Runs it.
pub(super) fn run(arguments: &Report, variable: Option<OsString>) -> Result<(), Stop> {
    let (rules, users) = match &arguments.file {
        Some(file) => (
            subjects::load(file, arguments.group_file.as_deref())?,
            Vec::new(),
        ),
        None => configured(arguments, variable)?,
    };
    let mut text = String::new();
    let mut list: Vec<Value> = Vec::new();
    for subject in subjects::of(&[&rules], &users) {
        let rights = subject.rights(&rules);
        let _ = writeln!(text, "{}", subject.shown());
        let mut granted = Vec::new();
        for (write, verb) in [(false, "read"), (true, "write")] {
            for line in rights.granted(write).map_err(|_| too_long())? {
                let by = rule(line.new.as_ref());
                let _ = writeln!(
                    text,
                    "  may {verb} {}{}  [{by}]",
                    line.filter,
                    except(&line)
                );
                granted.push(subjects::json(&line, write));
            }
        }
        if granted.is_empty() {
            text.push_str("  may do nothing\n");
        }
        list.push(json!({"who": subject.shown(), "granted": granted}));
    }
    if arguments.json {
        out(&format!("{:#}\n", json!({"rights": list})));
    } else {
        out(&text);
    }
    Ok(())
}

/// The rules of a listener, and the users of its password file.
fn configured(
    arguments: &Report,
    variable: Option<OsString>,
) -> Result<(ListenerPolicy, Vec<String>), Stop> {
    let options = arguments.profile.load_options(variable)?;
    let loaded = reading::load(arguments.config_file.as_deref(), &options);
    if !loaded.is_ok() {
        return Err(refused(&loaded));
    }
    let index = usize::from(arguments.listener - 1);
    let policy = generation::policy(&loaded.settings, &loaded.files);
    let rules = policy.listeners.get(index).cloned().ok_or_else(|| {
        invalid(format!(
            "error: there is no listener {}; the configuration has {}\n",
            arguments.listener,
            policy.listeners.len()
        ))
    })?;
    Ok((rules, loaded.users(index)))
}
