//! `acl diff`: what becomes allowed and what becomes denied.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::app::cli::{DENIED, Stop};
use crate::app::out;

use super::subjects::{self, Subject, except, rule, too_long};

/// `acl diff`.
#[derive(Clone, Debug, Args)]
pub struct Diff {
    /// The rules as they are.
    old: PathBuf,
    /// The rules as they are to be.
    new: PathBuf,
    /// The group file, for both.
    #[arg(long, value_name = "FILE")]
    group_file: Option<PathBuf>,
    /// This user alone; may be given several times.
    #[arg(short = 'u', long = "user", value_name = "USER")]
    users: Vec<String>,
    /// One JSON object for a program to read.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(super) fn run(arguments: &Diff) -> Result<(), Stop> {
    let members = arguments.group_file.as_deref();
    let old = subjects::load(&arguments.old, members)?;
    let new = subjects::load(&arguments.new, members)?;
    let subjects = if arguments.users.is_empty() {
        subjects::of(&[&old, &new], &[])
    } else {
        let users = arguments.users.iter().cloned();
        users.map(Subject::User).collect()
    };
    let mut text = String::new();
    let mut list: Vec<Value> = Vec::new();
    for subject in subjects {
        let (before, after) = (subject.rights(&old), subject.rights(&new));
        let mut own = String::new();
        let mut changes = Vec::new();
        for (write, verb) in [(false, "read"), (true, "write")] {
            let lines = after.differences(&before, write).map_err(|_| too_long())?;
            for line in lines {
                let (may, now, was) = if line.is_allowed {
                    ("may now", rule(line.new.as_ref()), rule(line.old.as_ref()))
                } else {
                    (
                        "may no longer",
                        rule(line.new.as_ref()),
                        rule(line.old.as_ref()),
                    )
                };
                // Writing to a string does not fail.
                let _ = writeln!(
                    own,
                    "  {may} {verb} {}{}  [{now}; was {was}]",
                    line.filter,
                    except(&line)
                );
                changes.push(subjects::json(&line, write));
            }
        }
        if !changes.is_empty() {
            let _ = write!(text, "{}\n{own}", subject.shown());
            list.push(json!({"who": subject.shown(), "changes": changes}));
        }
    }
    let is_same = list.is_empty();
    if arguments.json {
        out(&format!("{:#}\n", json!({"differences": list})));
    } else if is_same {
        out("nothing is allowed or denied that was not before\n");
    } else {
        out(&text);
    }
    if is_same {
        return Ok(());
    }
    // So that a script can ask; everything is said already.
    Err(Stop {
        code: DENIED,
        text: String::new(),
    })
}
