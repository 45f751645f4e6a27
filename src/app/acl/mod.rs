//! `portcullis acl`: what is done with rule files beside loading them.

mod check;
mod convert;
mod diff;
mod explain;
mod learn;
mod report;
mod subjects;
mod used;

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use clap::Subcommand;

use super::cli::{CANNOT_LISTEN, Environment, Stop, UNREADABLE_FILE};
use super::{out, replace};

/// What to do with rule files.
#[derive(Clone, Debug, Subcommand)]
pub enum Acl {
    /// Say what is wrong in ACL files, and what seldom means what it says.
    Check(check::Check),
    /// Write a file of mosquitto's as version 2.
    Convert(convert::Convert),
    /// Propose the least rules that allow what an audit log says was used.
    Learn(learn::Learn),
    /// Say what becomes allowed and what becomes denied, for each user.
    Diff(diff::Diff),
    /// Say what each user may do.
    Report(report::Report),
    /// Say whether a client may do something, and by which rule.
    Explain(explain::Explain),
}

/// Runs it.
pub(super) fn run(command: &Acl, environment: Environment) -> Result<(), Stop> {
    match command {
        Acl::Check(arguments) => check::run(arguments, environment),
        Acl::Convert(arguments) => convert::run(arguments),
        Acl::Learn(arguments) => learn::run(arguments),
        Acl::Diff(arguments) => diff::run(arguments),
        Acl::Report(arguments) => report::run(arguments, environment),
        Acl::Explain(arguments) => explain::run(arguments, environment),
    }
}

/// More than any file of rules that the broker could serve from.
const MAX_BYTES: u64 = 256 << 20;

/// The text of a file of rules.
fn read(file: &Path) -> Result<String, Stop> {
    let text = fs::File::open(file).and_then(|open| {
        let mut text = String::new();
        open.take(MAX_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(io::Error::other("it is larger than 256 MiB"));
        }
        Ok(text)
    });
    text.map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &io::Error) -> Stop {
    Stop {
        code: UNREADABLE_FILE,
        text: format!("error: {} cannot be read: {error}\n", file.display()),
    }
}

/// How rules of a file are shown: as the broker does.
fn shown_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str());
    name.to_string_lossy().into_owned()
}

/// Writes what was made to a file, or to standard output.
fn write(file: Option<&Path>, text: &str) -> Result<(), Stop> {
    let Some(file) = file else {
        out(text);
        return Ok(());
    };
    replace::replace(file, text, |_, _| {}).map_err(|error| Stop {
        code: CANNOT_LISTEN,
        text: format!("error: {} cannot be written: {error}\n", file.display()),
    })
}
