//! Whom rules are compared and reported for.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use clap::Args;

use crate::app::cli::Stop;
use crate::app::reading::include;
use crate::app::{err, invalid};
use crate::config::printable;
use crate::message::{Groups, group_set};
use crate::policy::acl::AclFile;
use crate::policy::{
    Ask, ListenerPolicy, Members, Policy, Principal, Region, Rights, SubscribeGuard, TooManySteps,
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
        printable(&match self {
            Self::User(name) => format!("user {name}"),
            Self::Member(group) => format!("a member of {group}"),
            Self::Client(id) => format!("client {id}"),
            Self::Anonymous => "anonymous clients".into(),
            Self::Anybody => "any other user".into(),
        })
    }

    /// What rules give it.
    pub(super) fn rights(
        &self,
        rules: &ListenerPolicy,
        more: &Circumstances,
    ) -> Result<Rights, Stop> {
        let policy = Policy::of(vec![rules.clone()], usize::MAX);
        let tokens = [Arc::from(SOME_TOKEN)];
        let member_of = match self {
            Self::Member(group) => Some(group),
            _ => None,
        };
        let groups = more.groups.iter().chain(member_of).map(String::as_str);
        let groups =
            group_set(groups).ok_or_else(|| invalid("error: a group cannot be called so\n"))?;
        let client_id = match (self, &more.client) {
            (_, Some(client)) => client,
            (Self::Client(id), None) => id.trim_end_matches('*'),
            _ => SOME_CLIENT,
        };
        let principal = Principal {
            groups: Some(&groups),
            tokens: &tokens,
            address: more.address,
            ..Principal::new(self.username(), client_id)
        };
        Ok(policy.bind(&principal, 0))
    }

    fn username(&self) -> Option<&str> {
        match self {
            Self::User(name) => Some(name),
            Self::Anonymous => None,
            _ => Some(SOMEBODY),
        }
    }

    /// The groups that it is in by the files.
    pub(super) fn groups(&self, rules: &ListenerPolicy) -> Vec<String> {
        let groups = rules.members.groups_of(self.username(), &Groups::default());
        groups.iter().map(ToString::to_string).collect()
    }
}

/// What rules ask beside who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(super) struct Circumstances {
    /// The client id; without it one that no rule names.
    #[arg(short = 'i', long, value_name = "CLIENT")]
    client: Option<String>,
    /// A group that everybody is in, as by a certificate or token; may be given several times.
    #[arg(short = 'g', long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Where clients connect from; without it rules for some addresses only deny.
    #[arg(short = 'a', long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
}

impl Circumstances {
    /// Says what was not looked at.
    pub(super) fn note(&self, rules: &[&ListenerPolicy]) {
        let acls = rules.iter().filter_map(|rules| rules.acl.as_ref());
        let mut listed = acls.flat_map(|acl| acl.listed());
        if let (None, Some(rule)) = (self.address, listed.find(|rule| rule.by_address)) {
            err(&format!(
                "note: rules for some addresses, as {}, grant nothing here; --address says from where\n",
                rule.id
            ));
        }
    }
}

/// Everybody whom these rules name, or this group file, in an order that is the same each time.
pub(super) fn of(
    rules: &[&ListenerPolicy],
    users: &[String],
    more: &Circumstances,
) -> Vec<Subject> {
    let mut all: BTreeSet<Subject> = users.iter().cloned().map(Subject::User).collect();
    for rules in rules {
        let named = rules.members.iter().map(|(user, _)| user.to_owned());
        all.extend(named.map(Subject::User));
        let Some(acl) = &rules.acl else {
            continue;
        };
        all.extend(acl.users().map(|user| Subject::User(user.to_owned())));
        all.extend(acl.groups().map(|group| Subject::Member(group.to_owned())));
        if more.client.is_none() {
            all.extend(acl.clients().map(Subject::Client));
        }
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

/// What may be asked of these: to subscribe only where a rule tells it from reading.
pub(super) fn asks(rights: &[&Rights]) -> impl Iterator<Item = (Ask, &'static str)> {
    let by_itself = rights.iter().any(|rights| rights.has_subscribe());
    let all = [
        (Ask::Read, "read"),
        (Ask::Write, "write"),
        (Ask::Subscribe, "subscribe to"),
    ];
    all.into_iter()
        .filter(move |(ask, _)| by_itself || *ask != Ask::Subscribe)
}

pub(super) fn word(ask: Ask) -> &'static str {
    match ask {
        Ask::Read => "read",
        Ask::Write => "write",
        Ask::Subscribe => "subscribe",
    }
}

/// The rules of one of the sets that decide.
pub(super) fn rules_of(region: &Region, set: usize) -> Vec<String> {
    let rules = region.rules.iter().filter(|(of, _)| *of == set);
    let mut rules: Vec<String> = rules.map(|(_, rule)| rule.to_string()).collect();
    rules.dedup();
    rules
}

/// `acl.conf:4, acl.conf:7`, or that there is none.
pub(super) fn listed(rules: &[String]) -> String {
    match rules {
        [] => "no rule".to_owned(),
        rules => first_of(rules),
    }
}

/// `a/# but not a/b/#`
pub(super) fn filters(region: &Region) -> String {
    let text = match region.except.as_slice() {
        [] => region.filter.clone(),
        except => format!("{} but not {}", region.filter, first_of(except)),
    };
    printable(&text)
}

/// All, or as many as can be read; a program is told all.
fn first_of(list: &[String]) -> String {
    const SHOWN: usize = 8;
    if list.len() <= SHOWN + 1 {
        return list.join(", ");
    }
    let (first, rest) = list.split_at(SHOWN);
    let first = first.join(", ");
    format!("{first} and {} more (see --json)", rest.len())
}

pub(super) fn too_many(subject: &Subject, error: TooManySteps) -> Stop {
    invalid(format!("error: {}: {error}\n", subject.shown()))
}
