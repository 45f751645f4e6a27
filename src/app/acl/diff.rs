//! `acl diff`: what becomes allowed and what becomes denied.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::app::cli::{DENIED, Stop};
use crate::app::out;
use crate::policy::{Answer, Ask, Region, Rights, Survey, TooManySteps};

use super::subjects::{self, Circumstances, Subject, listed, rules_of};

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
    /// What else rules ask.
    #[command(flatten)]
    more: Circumstances,
    /// One JSON object for a program to read.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(super) fn run(arguments: &Diff) -> Result<(), Stop> {
    let members = arguments.group_file.as_deref();
    let old = subjects::load(&arguments.old, members)?;
    let new = subjects::load(&arguments.new, members)?;
    let more = &arguments.more;
    let subjects = if arguments.users.is_empty() {
        subjects::of(&[&old, &new], &[], more)
    } else {
        let users = arguments.users.iter().cloned();
        users.map(Subject::User).collect()
    };
    more.note(&[&old, &new]);
    let mut text = String::new();
    let mut list: Vec<Value> = Vec::new();
    for subject in subjects {
        let rights = [subject.rights(&old, more)?, subject.rights(&new, more)?];
        let changes = changes(&rights).map_err(|error| subjects::too_many(&subject, error))?;
        if changes.is_empty() {
            continue;
        }
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", subject.shown());
        for change in &changes {
            let _ = writeln!(text, "  {}", change.sentence());
        }
        let changes: Vec<Value> = changes.iter().map(Change::json).collect();
        list.push(json!({"who": subject.shown(), "changes": changes}));
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

/// Topics that are answered otherwise than before.
struct Change {
    ask: Ask,
    verb: &'static str,
    /// The highest QoS that was granted, and that is now.
    qos: [Option<u8>; 2],
    region: Region,
}

/// What changes from the first to the second.
fn changes(rights: &[Rights; 2]) -> Result<Vec<Change>, TooManySteps> {
    let both = rights.each_ref();
    let mut changes = Vec::new();
    for (ask, verb) in subjects::asks(&both) {
        let survey = Survey::new(&both, ask)?;
        let qos = |answers: &[Answer]| [0, 1].map(|set| answers.get(set).and_then(|a| a.qos()));
        let kinds: BTreeSet<_> = survey.answers().iter().map(|all| qos(all)).collect();
        for kind in kinds.into_iter().filter(|[was, is]| was != is) {
            for region in survey.regions(|answers| qos(answers) == kind)? {
                changes.push(Change {
                    ask,
                    verb,
                    qos: kind,
                    region,
                });
            }
        }
    }
    Ok(changes)
}

impl Change {
    fn sentence(&self) -> String {
        let limit = match self.qos {
            [None, Some(2)] | [_, None] => String::new(),
            [None, Some(qos)] => format!(", with QoS {qos} at most"),
            [Some(was), Some(qos)] => format!(", with QoS {qos} at most instead of {was}"),
        };
        let [was, is] = self.qos;
        format!(
            "{} {} {}{limit}  [{}; was {}]",
            if is > was {
                "may now"
            } else if is.is_none() {
                "may no longer"
            } else {
                "may now only"
            },
            self.verb,
            subjects::filters(&self.region),
            listed(&rules_of(&self.region, 1)),
            listed(&rules_of(&self.region, 0)),
        )
    }

    fn json(&self) -> Value {
        let [was, is] = self.qos;
        json!({
            "access": subjects::word(self.ask),
            "filter": self.region.filter,
            "except": self.region.except,
            "allowed": is > was,
            "old_qos": was,
            "new_qos": is,
            "old_rules": rules_of(&self.region, 0),
            "new_rules": rules_of(&self.region, 1),
        })
    }
}
