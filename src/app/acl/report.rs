//! `acl report`: what each user may do, in all.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::app::cli::{Environment, ProfileOption, Stop};
use crate::app::serve::refused;
use crate::app::{generation, reading};
use crate::app::{invalid, out};
use crate::config::printable;
use crate::policy::acl::{Listed, Place};
use crate::policy::{Answer, Ask, ListenerPolicy, Region, Rights, Survey, TooManySteps};

use super::subjects::{self, Circumstances, Subject, listed, rules_of};

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
    /// What else rules ask.
    #[command(flatten)]
    more: Circumstances,
    /// One JSON object for a program to read.
    #[arg(long)]
    json: bool,
    /// The profile.
    #[command(flatten)]
    profile: ProfileOption,
}

/// Runs it.
pub(super) fn run(arguments: &Report, environment: Environment) -> Result<(), Stop> {
    let (rules, users) = match &arguments.file {
        Some(file) => (
            subjects::load(file, arguments.group_file.as_deref())?,
            Vec::new(),
        ),
        None => configured(arguments, environment)?,
    };
    let more = &arguments.more;
    more.note(&[&rules]);
    let mut text = String::new();
    let mut list: Vec<Value> = Vec::new();
    let mut deciding = BTreeSet::new();
    for subject in subjects::of(&[&rules], &users, more) {
        let rights = subject.rights(&rules, more)?;
        let lines =
            lines(&rights, &mut deciding).map_err(|error| subjects::too_many(&subject, error))?;
        let groups = subject.groups(&rules);
        // Writing to a string does not fail.
        let _ = write!(text, "{}", subject.shown());
        if !groups.is_empty() {
            let _ = write!(text, ", in {}", printable(&groups.join(", ")));
        }
        text.push('\n');
        for line in &lines {
            let _ = writeln!(text, "  {}", line.sentence());
        }
        if !lines.iter().any(|line| line.qos.is_some()) {
            text.push_str("  may do nothing\n");
        }
        let of = |granted: bool| {
            let lines = lines.iter().filter(|line| line.qos.is_some() == granted);
            lines.map(Line::json).collect::<Vec<_>>()
        };
        list.push(json!({
            "who": subject.shown(),
            "groups": groups,
            "granted": of(true),
            "denied": of(false),
        }));
    }
    let idle = idle(&rules, &users, more, &mut deciding)?;
    if !idle.is_empty() {
        text.push_str("rules that decide nothing for anybody\n");
    }
    for rule in &idle {
        let (section, rule, id) = (&rule.section, &rule.text, &rule.id);
        let _ = writeln!(
            text,
            "  {}  [{id}]",
            printable(&format!("{section}: {rule}"))
        );
    }
    if arguments.json {
        let idle = idle.iter().map(
            |rule| json!({"rule": rule.id.to_string(), "section": rule.section, "text": rule.text}),
        );
        let idle: Vec<Value> = idle.collect();
        out(&format!(
            "{:#}\n",
            json!({"rights": list, "without_effect": idle})
        ));
    } else {
        out(&text);
    }
    Ok(())
}

/// Topics that are granted up to a QoS, or that a rule denies.
struct Line {
    ask: Ask,
    verb: &'static str,
    qos: Option<u8>,
    region: Region,
}

/// Everything that is granted or denied to somebody; `deciding` gathers the rules that do so.
fn lines(rights: &Rights, deciding: &mut BTreeSet<Place>) -> Result<Vec<Line>, TooManySteps> {
    let mut lines = Vec::new();
    for (ask, verb) in subjects::asks(&[rights]) {
        let survey = Survey::new(&[rights], ask)?;
        deciding.extend(survey.deciding().map(|(_, place)| place));
        let answers = [2, 1, 0].map(Answer::Granted);
        for answer in answers.into_iter().chain([Answer::Denied]) {
            let regions = survey.regions(|answers| answers == [answer])?;
            lines.extend(regions.into_iter().map(|region| Line {
                ask,
                verb,
                qos: answer.qos(),
                region,
            }));
        }
    }
    // What is denied comes last.
    lines.sort_by_key(|line| line.qos.is_none());
    Ok(lines)
}

impl Line {
    fn sentence(&self) -> String {
        let (may, limit) = match self.qos {
            None => ("may not", String::new()),
            Some(2) => ("may", String::new()),
            Some(qos) => ("may", format!(", with QoS {qos} at most")),
        };
        let filters = subjects::filters(&self.region);
        let by = match rules_of(&self.region, 0) {
            rules if rules.is_empty() => "no ACL is configured".to_owned(),
            rules => listed(&rules),
        };
        format!("{may} {} {filters}{limit}  [{by}]", self.verb)
    }

    fn json(&self) -> Value {
        json!({
            "access": subjects::word(self.ask),
            "filter": self.region.filter,
            "except": self.region.except,
            "qos": self.qos,
            "rules": rules_of(&self.region, 0),
        })
    }
}

/// The rules that decide about no topic for anybody. Of those for some addresses that cannot be said.
fn idle(
    rules: &ListenerPolicy,
    users: &[String],
    more: &Circumstances,
    deciding: &mut BTreeSet<Place>,
) -> Result<Vec<Listed>, Stop> {
    let Some(acl) = &rules.acl else {
        return Ok(Vec::new());
    };
    // Who is in a group that no rule names may be met by a `%g`.
    let mut subjects = vec![Subject::Member("GROUP".into())];
    let plain = Circumstances::default();
    if *more != plain {
        // The options say who is shown, not whom the rules are for.
        subjects.extend(subjects::of(&[rules], users, &plain));
    }
    for subject in subjects {
        let rights = subject.rights(rules, &plain)?;
        lines(&rights, deciding).map_err(|error| subjects::too_many(&subject, error))?;
    }
    let mut idle = acl.listed();
    idle.retain(|rule| !rule.by_address && !deciding.contains(&rule.place));
    Ok(idle)
}

/// The rules of a listener, and the users of its password file.
fn configured(
    arguments: &Report,
    environment: Environment,
) -> Result<(ListenerPolicy, Vec<String>), Stop> {
    let options = arguments.profile.load_options(environment)?;
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
