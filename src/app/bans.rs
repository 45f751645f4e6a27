//! `portcullis bans`: who is refused for a time, and how to end it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::{Timestamp, ToSpan};

use crate::audit::escape;
use crate::config::LoadOptions;
use crate::policy::{BanCause, Banned};

use super::ban_file::{self, Entry, shown};
use super::cli::{BanAction, Bans, CANNOT_LISTEN, Stop};
use super::replace::lock;
use super::{invalid, out};

fn failed(text: impl std::fmt::Display) -> Stop {
    Stop {
        code: CANNOT_LISTEN,
        text: format!("error: {text}\n"),
    }
}

/// Runs it.
pub(super) fn run(arguments: &Bans) -> Result<(), Stop> {
    let path = file(&arguments.config_file)?;
    let cannot = |error: std::io::Error| failed(format!("{}: {error}", path.display()));
    let _locked = lock(&path).map_err(cannot)?;
    let text = ban_file::read(&path).map_err(cannot)?.unwrap_or_default();
    let mut entries = ban_file::parse(&text).map_err(|errors| {
        let (line, message) = errors.into_iter().next().unwrap_or_default();
        failed(format!("{}:{line}: {message}", path.display()))
    })?;
    entries.retain(|entry| entry.left().is_some());
    match &arguments.action {
        BanAction::List { json: true } => out(&text),
        BanAction::List { json: false } => list(&entries),
        BanAction::Lift { who, user } => {
            let before = entries.len();
            let lifted = match who.as_str() {
                "all" => None,
                given => Some(address(given)?),
            };
            // The address as it is counted.
            let lifted = lifted.and_then(|address| Banned::new(address, None));
            entries.retain(|entry| {
                let banned = &entry.banned;
                let other = lifted
                    .as_ref()
                    .is_some_and(|lifted| lifted.address != banned.address);
                other
                    || user
                        .as_deref()
                        .is_some_and(|user| banned.user.as_deref() != Some(user))
            });
            let gone = before - entries.len();
            if gone == 0 {
                return Err(failed("there is no such ban"));
            }
            ban_file::write(&path, &entries).map_err(cannot)?;
            out(&format!("{gone} lifted\n"));
        }
        BanAction::Add { who, seconds, user } => {
            let address = address(who)?;
            let banned = Banned::new(address, user.as_deref())
                .ok_or_else(|| invalid("error: the user name is longer than 256 bytes\n"))?;
            entries.retain(|entry| entry.banned != banned);
            entries.push(Entry {
                banned,
                cause: BanCause::Operator,
                until: Timestamp::now()
                    .saturating_add(i64::from(*seconds).seconds())
                    .unwrap_or(Timestamp::MAX),
            });
            ban_file::write(&path, &entries).map_err(cannot)?;
        }
    }
    Ok(())
}

fn address(text: &str) -> Result<IpAddr, Stop> {
    ban_file::address(text).map_err(|message| invalid(format!("error: {message}\n")))
}

/// The file that the configuration names. What else is wrong with it is not asked here: bans must be
/// lifted when it matters.
fn file(config: &Path) -> Result<PathBuf, Stop> {
    let read = crate::config::read(Some(config), &LoadOptions::default());
    match &read.settings.abuse.ban_file {
        Some(file) => Ok(file.value.clone()),
        None => Err(invalid(format!(
            "error: {} has no `ban_file`: the broker keeps its bans to itself\n",
            config.display()
        ))),
    }
}

fn list(entries: &[Entry]) {
    for entry in entries {
        let Some(left) = entry.left() else {
            continue;
        };
        let user = entry.banned.user.as_deref();
        let user = user.map_or_else(String::new, |user| format!(" user {}", escape(user)));
        out(&format!(
            "{}{user}: {} ({} s left)\n",
            shown(entry.banned.address),
            entry.cause.sentence(),
            left.as_secs()
        ));
    }
}
