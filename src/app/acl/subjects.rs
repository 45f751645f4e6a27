//! Whom rules are compared and reported for.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::app::cli::Stop;
use crate::app::invalid;
use crate::app::reading::include;
use crate::message::Groups;
use crate::policy::acl::AclFile;
use crate::policy::{
    Difference, ListenerPolicy, Members, Policy, Principal, Rights, RuleId, SubscribeGuard,
};

/// What stands for a name that no file has.
const SOMEBODY: &str = "USER";
const SOME_CLIENT: &str = "CLIENTID";
const SOME_TOKEN: &str = "TOKEN";

/// Somebody for whom rules may say something of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    User(String),
    /// A member of a group who has no rules of his own.
    Member(String),
    /// A client by its identifier, or by how that begins.
    Client(String),
    Anonymous,
    /// A user whom no file names.
    Anybody,
}

impl Subject {
    pub(super) fn shown(&self) -> String {
        match self {
            Self::User(name) => format!("user {name}"),
            Self::Member(group) => format!("a member of {group}"),
            Self::Client(id) => format!("client {id}"),
            Self::Anonymous => "anonymous clients".into(),
            Self::Anybody => "any other user".into(),
        }
    }

    /// What rules give it.
    pub(super) fn rights(&self, rules: &ListenerPolicy) -> Rights {
        let policy = Policy::of(vec![rules.clone()], usize::MAX);
        let tokens = [Arc::from(SOME_TOKEN)];
        let groups: Groups = match self {
            Self::Member(group) => [Arc::from(group.as_str())].into(),
            _ => Groups::default(),
        };
        let username = match self {
            Self::User(name) => Some(name.as_str()),
            Self::Anonymous => None,
            _ => Some(SOMEBODY),
        };
        let client_id = match self {
            Self::Client(id) => id.trim_end_matches('*'),
            _ => SOME_CLIENT,
        };
        let principal = Principal {
            groups: Some(&groups),
            tokens: &tokens,
            ..Principal::new(username, client_id)
        };
        policy.bind(&principal, 0)
    }
}

/// Everybody whom these rules name, or this group file, in an order that is the same each time.
pub(super) fn of(rules: &[&ListenerPolicy], users: &[String]) -> Vec<Subject> {
    let mut all: BTreeSet<Subject> = users.iter().cloned().map(Subject::User).collect();
    for rules in rules {
        let named = rules.members.iter().map(|(user, _)| user.to_owned());
        all.extend(named.map(Subject::User));
        let Some(acl) = &rules.acl else {
            continue;
        };
        all.extend(acl.users().map(|user| Subject::User(user.to_owned())));
        all.extend(acl.groups().map(|group| Subject::Member(group.to_owned())));
        all.extend(acl.clients().map(Subject::Client));
    }
    all.extend([Subject::Anonymous, Subject::Anybody]);
    all.into_iter().collect()
}

/// Rules of one file, with the groups of another.
pub(super) fn load(file: &Path, members: Option<&Path>) -> Result<ListenerPolicy, Stop> {
    let text = super::read(file)?;
    let name = super::shown_name(file);
    let acl = AclFile::parse_with(&name, &text, &mut |from, path| include(file, from, path));
    let told = |path: &Path, errors: Vec<crate::policy::acl::AclError>| {
        let lines = errors.into_iter().map(|error| {
            let shown = error.file.as_deref().map_or(path, Path::new).display();
            format!(
                "{shown}:{}:{}: error: {}\n",
                error.line, error.column, error.message
            )
        });
        invalid(lines.collect::<String>())
    };
    let acl = acl.map_err(|errors| told(file, errors))?;
    let members = match members {
        None => Members::default(),
        Some(file) => Members::parse(&super::read(file)?).map_err(|errors| told(file, errors))?,
    };
    Ok(ListenerPolicy {
        acl: Some(Arc::new(acl)),
        members: Arc::new(members),
        guard: SubscribeGuard::Strict,
    })
}

/// `acl.conf:4`, or that there is none.
pub(super) fn rule(rule: Option<&RuleId>) -> String {
    rule.map_or_else(|| "no rule".to_owned(), ToString::to_string)
}

/// What else a line does not mean.
pub(super) fn except(line: &Difference) -> String {
    match line.except.as_slice() {
        [] => String::new(),
        filters => format!(" but not {}", filters.join(", ")),
    }
}

pub(super) fn json(line: &Difference, write: bool) -> Value {
    json!({
        "access": if write { "write" } else { "read" },
        "filter": line.filter,
        "except": line.except,
        "allowed": line.is_allowed,
        "old_rule": line.old.as_ref().map(ToString::to_string),
        "new_rule": line.new.as_ref().map(ToString::to_string),
    })
}

pub(super) fn too_long() -> Stop {
    invalid("error: there are too many rules for one user to walk through\n")
}
