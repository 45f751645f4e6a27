//! `acl learn`: from what an audit log says was used to the least rules that allow it.
//!
//! The log tells of subscriptions that were granted, of those that only `subscribe_guard report` let
//! through, and of what was refused. A level becomes `%u` or `%c` only where several clients each have their own name there; a wildcard is
//! proposed only where a client subscribed with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use super::used::{Log, Right, Use};
use crate::app::cli::Stop;
use crate::app::{err, invalid};
use crate::policy::acl::{AclFile, literal};
use clap::Args;

/// `acl learn`.
#[derive(Clone, Debug, Args)]
pub struct Learn {
    /// Audit logs of a run, as `audit_log` writes them.
    #[arg(required = true, value_name = "AUDIT_LOG")]
    logs: Vec<PathBuf>,
    /// Write the rules here instead of to standard output.
    #[arg(short = 'o', long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Put users with the same rules into groups, and write these here (`group_file`).
    #[arg(long, value_name = "FILE")]
    group_file: Option<PathBuf>,
    /// Leave out what was refused during the run.
    #[arg(long)]
    without_refused: bool,
}

/// Runs it.
pub(super) fn run(arguments: &Learn) -> Result<(), Stop> {
    let mut log = Log::default();
    for path in &arguments.logs {
        let read = File::open(path).and_then(|file| log.read(BufReader::new(file)));
        read.map_err(|error| super::unreadable(path, &error))?;
    }
    if arguments.without_refused {
        log.used.retain(|_, refused| !*refused);
    }
    err(&log.summary());
    if log.used.is_empty() {
        return Err(invalid("error: the log names nothing that was used\n"));
    }
    let proposal = propose(&log.used, arguments.group_file.is_some());
    if let Some(file) = &arguments.group_file {
        super::write(Some(file), &proposal.groups)?;
    }
    super::write(arguments.output.as_deref(), &proposal.rules)
}

impl Use {
    /// What a rule could say, the most general first; the last is what was used.
    fn forms(&self) -> Vec<Form> {
        let user = self.user.as_deref().filter(|name| can_stand_for(name));
        let client =
            Some(&*self.client_id).filter(|name| can_stand_for(name) && Some(*name) != user);
        let mut forms = Vec::new();
        for (user, client) in [(user, client), (user, None), (None, client), (None, None)] {
            let form = Form::new(&self.topic, user, client);
            let is_new = forms.iter().all(|known: &Form| known.filter != form.filter);
            if is_new {
                forms.push(form);
            }
        }
        forms
    }
}

/// Whether the broker puts the name into rules.
fn can_stand_for(name: &str) -> bool {
    let is_bad = |character: char| matches!(character, '+' | '#' | '/') || character.is_control();
    !name.is_empty() && !name.contains(is_bad) && !name.starts_with('$')
}

/// The filter of a rule that allows a use.
struct Form {
    filter: String,
    has_user: bool,
    has_client: bool,
}

impl Form {
    fn new(topic: &str, user: Option<&str>, client: Option<&str>) -> Self {
        let (mut has_user, mut has_client) = (false, false);
        let levels: Vec<String> = topic
            .split('/')
            .map(|level| {
                if Some(level) == user {
                    has_user = true;
                    "%u".into()
                } else if Some(level) == client {
                    has_client = true;
                    "%c".into()
                } else {
                    literal(level)
                }
            })
            .collect();
        Self {
            filter: levels.join("/"),
            has_user,
            has_client,
        }
    }
}

/// Who has a form: the first, and whether there are others.
#[derive(Default)]
struct Had<'a> {
    first: Option<&'a str>,
    by_several: bool,
}

impl<'a> Had<'a> {
    fn by(&mut self, name: &'a str) {
        let first = *self.first.get_or_insert(name);
        self.by_several |= first != name;
    }
}

/// Rights by filter, and whether each was refused during the run.
type Rules = BTreeMap<(String, Right), bool>;

struct Proposal {
    rules: String,
    groups: String,
}

fn propose(used: &BTreeMap<Use, bool>, with_groups: bool) -> Proposal {
    let mut by_user = generalised(used);
    let everyone = shared(&mut by_user);
    let mut proposal = Proposal {
        rules: "#!acl 2\n# Proposed from an audit log: what was used, and nothing else. Read every line.\n".into(),
        groups: String::new(),
    };
    let mut lines = Vec::new();
    section(&mut lines, "all", &everyone);
    let mut alike: BTreeMap<Rules, Vec<Option<String>>> = BTreeMap::new();
    for (user, rules) in by_user {
        alike.entry(rules).or_default().push(user);
    }
    let mut sections: Vec<(String, Rules)> = Vec::new();
    let mut groups = 0;
    for (rules, users) in alike {
        let named = users.iter().flatten();
        if with_groups && named.clone().count() > 1 {
            groups += 1;
            let group = format!("group learned-{groups}");
            let _ = writeln!(proposal.groups, "{group}");
            for user in named {
                let _ = writeln!(proposal.groups, "user {user}");
            }
            sections.push((group, rules.clone()));
            if users.contains(&None) {
                sections.push(("anonymous".into(), rules));
            }
            continue;
        }
        sections.extend(users.into_iter().map(|user| {
            let name = user.map_or_else(|| "anonymous".into(), |user| format!("user {user}"));
            (name, rules.clone())
        }));
    }
    sections.sort();
    for (name, rules) in &sections {
        section(&mut lines, name, rules);
    }
    proposal
        .rules
        .push_str(&without_shadowed(&proposal.rules, lines));
    proposal
}

/// The rules of each user, with names in place of what is each client's own.
fn generalised(used: &BTreeMap<Use, bool>) -> BTreeMap<Option<String>, Rules> {
    let mut users: HashMap<(String, Right), Had<'_>> = HashMap::new();
    let mut clients: HashMap<(Option<&str>, String, Right), Had<'_>> = HashMap::new();
    for one in used.keys() {
        let user = one.user.as_deref();
        for form in one.forms() {
            if form.has_user {
                let had = users.entry((form.filter.clone(), one.right)).or_default();
                had.by(user.unwrap_or_default());
            }
            if form.has_client {
                let had = clients.entry((user, form.filter, one.right)).or_default();
                had.by(&one.client_id);
            }
        }
    }
    let mut by_user: BTreeMap<Option<String>, Rules> = BTreeMap::new();
    for (one, refused) in used {
        let right = one.right;
        let is_general = |form: &Form| {
            let key = (form.filter.clone(), right);
            let several_users = || users.get(&key).is_some_and(|had| had.by_several);
            let key = (one.user.as_deref(), form.filter.clone(), right);
            let several_clients = || clients.get(&key).is_some_and(|had| had.by_several);
            match (form.has_user, form.has_client) {
                (false, false) => true,
                (true, false) => several_users(),
                (false, true) => several_clients(),
                (true, true) => several_users() || several_clients(),
            }
        };
        // The last form is the use itself, which needs nobody else.
        if let Some(form) = one.forms().into_iter().find(is_general) {
            let rules = by_user.entry(one.user.clone()).or_default();
            let known = rules.entry((form.filter, right)).or_insert(true);
            *known &= refused;
        }
    }
    by_user
}

/// Takes out what every user has under its own name: it can be said once, for all. What names no user
/// stays, since `all` is for anonymous clients and for users to come as well.
fn shared(by_user: &mut BTreeMap<Option<String>, Rules>) -> Rules {
    let named: Vec<&Rules> = by_user
        .iter()
        .filter(|(user, _)| user.is_some())
        .map(|(_, rules)| rules)
        .collect();
    let mut everyone = Rules::new();
    if let [first, others @ ..] = named.as_slice()
        && !others.is_empty()
    {
        for (key, refused) in *first {
            let binds = key.0.split('/').any(|level| level == "%u");
            if binds && others.iter().all(|rules| rules.contains_key(key)) {
                let refused = *refused || others.iter().any(|rules| rules.get(key) == Some(&true));
                everyone.insert(key.clone(), refused);
            }
        }
    }
    for rules in by_user.values_mut() {
        rules.retain(|key, _| !everyone.contains_key(key));
    }
    by_user.retain(|_, rules| !rules.is_empty());
    everyone
}

/// One section, what was granted first.
fn section(lines: &mut Vec<String>, name: &str, rules: &Rules) {
    if rules.is_empty() {
        return;
    }
    lines.push(String::new());
    lines.push(name.to_owned());
    for is_refused in [false, true] {
        let of_these = rules.iter().filter(|(_, refused)| **refused == is_refused);
        let mut rights: BTreeMap<&str, BTreeSet<Right>> = BTreeMap::new();
        for ((filter, right), _) in of_these {
            rights.entry(filter).or_default().insert(*right);
        }
        if is_refused && !rights.is_empty() {
            lines.push("# Refused during the run; take out what is to stay refused.".into());
        }
        let mut rights: Vec<_> = rights.into_iter().collect();
        // The widest first, so that what it covers is seen to be covered.
        rights.sort_by_key(|(filter, _)| (!filter.contains('#'), !filter.contains('+'), *filter));
        for (filter, rights) in rights {
            let word = match (
                rights.contains(&Right::Read),
                rights.contains(&Right::Write),
            ) {
                (true, true) => "readwrite",
                (true, false) => "read",
                _ => "write",
            };
            lines.push(format!("topic {word} {filter}"));
        }
    }
}

/// The lines without rules that others before them cover.
fn without_shadowed(head: &str, lines: Vec<String>) -> String {
    let text = |lines: &[String]| {
        let mut text = lines.join("\n");
        text.push('\n');
        text
    };
    let whole = format!("{head}{}", text(&lines));
    let Ok(file) = AclFile::parse("", &whole) else {
        // It cannot be, and the reader of the file is told where.
        return text(&lines);
    };
    let before = head.lines().count();
    let shadowed: BTreeSet<usize> = file
        .warnings()
        .iter()
        .filter(|warning| warning.name == "shadowed-rule")
        .filter_map(|warning| usize::try_from(warning.line).ok()?.checked_sub(before + 1))
        .collect();
    let kept = lines.into_iter().enumerate();
    let kept: Vec<String> = kept
        .filter(|(index, _)| !shadowed.contains(index))
        .map(|(_, line)| line)
        .collect();
    text(&kept)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::escape;

    /// Event, user, client id, topic.
    fn learned(uses: &[(&str, &str, &str, &str)], with_groups: bool) -> Proposal {
        let mut log = Log::default();
        for (what, user, client, topic) in uses {
            let (event, action, decision) = match *what {
                "subscribed" => ("subscribe", "", "allow"),
                "would" => ("acl_denied", "subscribe", "allow"),
                action => ("acl_denied", action, "deny"),
            };
            let mut line = json!({
                "event": event, "action": action, "decision": decision, "reason": "no_rule",
                "client_id": escape(client), "topic": escape(topic),
            });
            if !user.is_empty() {
                line["username"] = escape(user).into();
            }
            log.read(format!("{line}\n").as_bytes()).expect("memory");
        }
        assert_eq!((log.bad, log.unusable, log.left_out), (0, 0, 0));
        propose(&log.used, with_groups)
    }

    fn rules(uses: &[(&str, &str, &str, &str)]) -> Vec<String> {
        let text = learned(uses, false).rules;
        AclFile::parse("acl", &text).unwrap_or_else(|errors| panic!("{text}{errors:?}"));
        let lines = text.lines().skip(2).filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn each_user_gets_what_it_used() {
        assert_eq!(
            rules(&[
                ("subscribed", "alice", "a", "plant/+/state"),
                ("subscribed", "alice", "a", "$share/g/jobs/#"),
                ("would", "bob", "b", "plant/#"),
                ("subscribed", "bob", "b", "plant/1/state"),
                ("subscribed", "", "x", "news"),
            ]),
            [
                "anonymous",
                "topic read news",
                "user alice",
                "topic read jobs/#",
                "topic read plant/+/state",
                "user bob",
                "topic read plant/#",
            ]
        );
    }

    #[test]
    fn what_was_refused_stands_apart() {
        assert_eq!(
            rules(&[
                ("subscribed", "u", "c", "a/b"),
                ("publish", "u", "c", "a/b"),
                ("publish", "u", "c", "100%/x*"),
                ("subscribe", "u", "c", "#"),
            ]),
            [
                "user u",
                "topic read a/b",
                "# Refused during the run; take out what is to stay refused.",
                "topic read #",
                "topic write 100%%/x%*",
                "topic write a/b",
            ]
        );
    }

    #[test]
    fn what_several_have_under_their_own_names_is_said_with_the_name() {
        assert_eq!(
            rules(&[
                ("subscribed", "alice", "c1", "r/alice/#"),
                ("subscribed", "bob", "c2", "r/bob/#"),
                ("subscribed", "bob", "c2", "d/c2"),
                ("subscribed", "bob", "c3", "d/c3"),
                ("subscribed", "bob", "c3", "d/c2"),
            ]),
            [
                "all",
                "topic read r/%u/#",
                "user bob",
                "topic read d/%c",
                "topic read d/c2",
            ]
        );
        // One client alone is no pattern, and a user that does not do it gets no right.
        assert_eq!(
            rules(&[
                ("subscribed", "alice", "c1", "r/alice"),
                ("subscribed", "bob", "c2", "r/bob"),
                ("subscribed", "eve", "c3", "d/c3"),
            ]),
            [
                "user alice",
                "topic read r/%u",
                "user bob",
                "topic read r/%u",
                "user eve",
                "topic read d/c3",
            ]
        );
    }

    #[test]
    fn users_with_the_same_rules_share_a_group() {
        let proposal = learned(
            &[
                ("subscribed", "alice", "1", "news"),
                ("subscribed", "bob", "2", "news"),
                ("subscribed", "eve", "3", "other"),
            ],
            true,
        );
        assert_eq!(proposal.groups, "group learned-1\nuser alice\nuser bob\n");
        assert!(
            proposal
                .rules
                .ends_with("\ngroup learned-1\ntopic read news\n\nuser eve\ntopic read other\n")
        );
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_panic(lines in proptest::collection::vec(".{0,60}", 0..5)) {
            let mut log = Log::default();
            log.read(lines.join("\n").as_bytes()).expect("memory");
            let _ = propose(&log.used, true);
        }
    }
}
