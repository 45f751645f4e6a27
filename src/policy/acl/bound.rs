//! The rules that hold for one client, with its names put in as whole literal levels.
//!
//! A name is never pasted into a filter as text: `#` as a user name binds to a level that is `#`
//! literally, which no topic has (mosquitto CVE-2017-7650 and its relatives).

use std::sync::Arc;

use super::file::{Access, AclFile, Rule};
use crate::policy::{Denial, DenyReason, RuleId};

/// One level of a bound rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Literal(Box<str>),
    Plus,
    Hash,
}

#[derive(Clone, Debug)]
pub(crate) struct BoundRule {
    pub(crate) levels: Box<[Level]>,
    pub(crate) access: Access,
    pub(crate) line: u32,
}

impl BoundRule {
    /// Whether the rule's filter matches a Topic Name, as section 4.7 has it.
    fn matches(&self, topic: &str) -> bool {
        let mut names = topic.split('/');
        for (depth, level) in self.levels.iter().enumerate() {
            match (level, names.next()) {
                // `#` and `+` at the start do not reach `$…` [MQTT-4.7.2-1].
                (Level::Hash | Level::Plus, _) if depth == 0 && topic.starts_with('$') => {
                    return false;
                }
                (Level::Hash, _) => return true,
                (_, None) => return false,
                (Level::Plus, Some(_)) => {}
                (Level::Literal(want), Some(have)) => {
                    if **want != *have {
                        return false;
                    }
                }
            }
        }
        names.next().is_none()
    }
}

/// What the rules say about one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// Allowed by this line.
    Allowed(u32),
    /// Denied; by this line if a rule did it.
    Denied(DenyReason, Option<u32>),
}

/// The rules for one client: its own list first, then the patterns; in each, denies (latest first)
/// before grants (in the order of the file).
#[derive(Clone, Debug)]
pub struct Rules {
    pub(crate) file: Arc<str>,
    pub(crate) lists: [Box<[BoundRule]>; 2],
    /// A pattern could not be bound because of a character in the client's names.
    pub(crate) unbindable: bool,
}

impl Rules {
    /// Binds the rules of `file` to a client. `username` is `None` for an anonymous one.
    pub(crate) fn bind(file: &AclFile, username: Option<&str>, client_id: &str) -> Self {
        let own = match username {
            None => file.anonymous.as_slice(),
            Some(name) => file.users.get(name).map_or(&[][..], Vec::as_slice),
        };
        let (patterns, unbindable) = bind_patterns(&file.patterns, username, client_id);
        Self {
            file: Arc::clone(&file.name),
            lists: [ordered(own.iter().map(plain).collect()), ordered(patterns)],
            unbindable,
        }
    }

    /// Judges one topic. `write` asks for the write bit, else for the read bit.
    pub(crate) fn decide(&self, topic: &str, write: bool) -> Decided {
        self.decide_by(write, |_, _, rule| rule.matches(topic))
    }

    /// The order of decision, for any way of telling whether a rule matches: containment walks it
    /// with what is known of a set of topics.
    pub(crate) fn decide_by(
        &self,
        write: bool,
        mut matches: impl FnMut(usize, usize, &BoundRule) -> bool,
    ) -> Decided {
        let mut other_bit = None;
        for (list, rules) in self.lists.iter().enumerate() {
            for (index, rule) in rules.iter().enumerate() {
                if !matches(list, index, rule) {
                    continue;
                }
                match (rule.access, write) {
                    (Access::Deny, _) => {
                        return Decided::Denied(DenyReason::DenyRule, Some(rule.line));
                    }
                    (Access::ReadWrite, _) | (Access::Write, true) | (Access::Read, false) => {
                        return Decided::Allowed(rule.line);
                    }
                    (Access::Read, true) => {
                        other_bit.get_or_insert((DenyReason::ReadOnly, rule.line));
                    }
                    (Access::Write, false) => {
                        other_bit.get_or_insert((DenyReason::WriteOnly, rule.line));
                    }
                }
            }
        }
        match other_bit {
            Some((reason, line)) => Decided::Denied(reason, Some(line)),
            None if self.unbindable => Decided::Denied(DenyReason::IdentityCharacters, None),
            None => Decided::Denied(DenyReason::NoRule, None),
        }
    }

    pub(crate) fn rule_id(&self, line: u32) -> RuleId {
        RuleId {
            file: Arc::clone(&self.file),
            line,
        }
    }

    pub(crate) fn denial(&self, reason: DenyReason, line: Option<u32>) -> Denial {
        Denial {
            reason,
            rule: line.map(|line| self.rule_id(line)),
        }
    }
}

/// Denies first, latest first; then the rest in the order of the file.
fn ordered(rules: Vec<BoundRule>) -> Box<[BoundRule]> {
    let (mut denies, grants): (Vec<_>, Vec<_>) = rules
        .into_iter()
        .partition(|rule| rule.access == Access::Deny);
    denies.reverse();
    denies.extend(grants);
    denies.into()
}

fn plain(rule: &Rule) -> BoundRule {
    BoundRule {
        levels: rule.filter.split('/').map(level).collect(),
        access: rule.access,
        line: rule.line,
    }
}

fn level(text: &str) -> Level {
    match text {
        "+" => Level::Plus,
        "#" => Level::Hash,
        _ => Level::Literal(text.into()),
    }
}

struct BadName;

/// The patterns for a client, and whether one could not be bound.
fn bind_patterns(
    rules: &[Rule],
    username: Option<&str>,
    client_id: &str,
) -> (Vec<BoundRule>, bool) {
    // As in mosquitto such a name has no pattern at all, those without %c and %u included.
    let is_wild = |name: &str| name.contains(['+', '#']);
    if !rules.is_empty() && (is_wild(client_id) || username.is_some_and(is_wild)) {
        return (Vec::new(), true);
    }
    let mut bound = Vec::new();
    let mut unbindable = false;
    for rule in rules {
        match bind_pattern(rule, username, client_id) {
            Ok(rule) => bound.extend(rule),
            // What a deny would have covered is not known: the grants beside it would cover it.
            Err(BadName) if rule.access == Access::Deny => return (Vec::new(), true),
            Err(BadName) => unbindable = true,
        }
    }
    (bound, unbindable)
}

/// `Ok(None)`: the pattern needs a user name and there is none.
fn bind_pattern(
    rule: &Rule,
    username: Option<&str>,
    client_id: &str,
) -> Result<Option<BoundRule>, BadName> {
    let mut levels = Vec::new();
    for text in rule.filter.split('/') {
        levels.push(match text {
            "%c" => name_level(client_id)?,
            "%u" => match username {
                Some(name) => name_level(name)?,
                None => return Ok(None),
            },
            _ => level(text),
        });
    }
    // `$` at the start of a name would turn `%c/…` into a rule for reserved topics.
    let starts_with_name = rule.filter.starts_with("%c") || rule.filter.starts_with("%u");
    if starts_with_name
        && matches!(levels.first(), Some(Level::Literal(name)) if name.starts_with('$'))
    {
        return Err(BadName);
    }
    Ok(Some(BoundRule {
        levels: levels.into(),
        access: rule.access,
        line: rule.line,
    }))
}

fn name_level(name: &str) -> Result<Level, BadName> {
    let bad = |character: char| matches!(character, '+' | '#' | '/') || character.is_control();
    if name.is_empty() || name.contains(bad) {
        return Err(BadName);
    }
    Ok(Level::Literal(name.into()))
}
