//! ACL files, and the parser of mosquitto's: those that do not begin with `#!acl 2`.
//!
//! The grammar is mosquitto's, to the letter: one space separates words, a `#` is a comment only as
//! the first byte of a line, `topic X` with a single word grants `readwrite` on a topic of that
//! name, and rules before the first `user` line are for anonymous clients alone. Every error of a
//! file is reported, and what is legal but surprising is a warning with a name.

use std::collections::HashMap;
use std::sync::Arc;

use crate::policy::Principal;
use crate::topic::{TopicError, check_filter, level_count};

use super::level::{Level, Levels, Name, Part, Template};
use super::lint;
use super::rule::{Access, Place, Rule};
use super::version2::{self, Include};

/// Levels a rule may have, as in mosquitto.
pub(super) const MAX_LEVELS: usize = 200;

/// An error in an ACL file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclError {
    /// The included file that it is in, as the operator would open it; `None` for the file itself.
    pub file: Option<Arc<str>>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong and what was expected.
    pub message: String,
}

/// Something legal that is seldom meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclWarning {
    /// Its name, of a closed set.
    pub name: &'static str,
    /// The included file that it is in; `None` for the file itself.
    pub file: Option<Arc<str>>,
    /// Line, from 1.
    pub line: u32,
    /// What it means.
    pub message: String,
}

impl AclWarning {
    /// Whether rules may mean something else than whoever wrote them thinks: an error where the
    /// profile is hardened.
    pub fn is_dangerous(&self) -> bool {
        self.name != lint::NOT_COMPARED
    }
}

/// In which order rules are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The user's own rules, then the patterns; in each, denies before grants.
    Mosquitto,
    /// Every deny before any grant: version 2.
    DenyFirst,
}

/// Rules for clients whose Client Identifier is this, or begins so.
#[derive(Clone, Debug)]
pub(crate) struct ClientRules {
    pub(crate) id: Box<str>,
    pub(crate) is_prefix: bool,
    pub(crate) rules: Vec<Rule>,
}

impl ClientRules {
    fn are_for(&self, client_id: &str) -> bool {
        if self.is_prefix {
            client_id.starts_with(&*self.id)
        } else {
            *client_id == *self.id
        }
    }
}

/// A parsed ACL file, with the files it includes.
#[derive(Debug)]
pub struct AclFile {
    /// The names its rules are shown with; an included file has one of its own.
    pub(crate) files: Arc<[Arc<str>]>,
    /// Where the included files are.
    pub(crate) included: Vec<Arc<str>>,
    /// Where each file is that has a name in `files`, but for the first.
    pub(super) paths: Vec<Arc<str>>,
    pub(crate) order: Order,
    pub(crate) anonymous: Vec<Rule>,
    pub(crate) users: HashMap<Box<str>, Vec<Rule>>,
    pub(crate) groups: HashMap<Box<str>, Vec<Rule>>,
    pub(crate) clients: Vec<ClientRules>,
    /// Patterns, or the rules of `all`.
    pub(crate) everyone: Vec<Rule>,
    /// `default allow`.
    pub(crate) default_allow: Option<Place>,
    pub(crate) warnings: Vec<AclWarning>,
}

impl AclFile {
    pub(super) fn empty(name: &str, order: Order) -> Self {
        Self {
            files: [Arc::from(name)].into(),
            included: Vec::new(),
            paths: Vec::new(),
            order,
            anonymous: Vec::new(),
            users: HashMap::new(),
            groups: HashMap::new(),
            clients: Vec::new(),
            everyone: Vec::new(),
            default_allow: None,
            warnings: Vec::new(),
        }
    }

    /// Parses `text`, which includes no other file. `name` is how rules of this file are shown.
    ///
    /// # Errors
    /// Every bad line: one is enough to refuse the whole file.
    pub fn parse(name: &str, text: &str) -> Result<Self, Vec<AclError>> {
        Self::parse_with(name, text, &mut |_, _| {
            Err("files cannot be included here".to_owned())
        })
    }

    /// As [`AclFile::parse`]; files that it includes are read by `include`.
    ///
    /// # Errors
    /// Every bad line of every file.
    pub fn parse_with(
        name: &str,
        text: &str,
        include: &mut Include<'_>,
    ) -> Result<Self, Vec<AclError>> {
        let mut file = if version2::is_for(text) {
            version2::parse(name, text, include)
        } else {
            Self::parse_mosquittos(name, text)
        }?;
        let found = lint::findings(&file);
        file.warnings.extend(found);
        Ok(file)
    }

    fn parse_mosquittos(name: &str, text: &str) -> Result<Self, Vec<AclError>> {
        let mut parser = Parser {
            file: Self::empty(name, Order::Mosquitto),
            user: None,
            errors: Vec::new(),
        };
        for (index, line) in text.split('\n').enumerate() {
            let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            parser.line(number, line);
        }
        if parser.errors.is_empty() {
            Ok(parser.file)
        } else {
            Err(parser.errors)
        }
    }

    /// What is legal and seldom meant.
    pub fn warnings(&self) -> &[AclWarning] {
        &self.warnings
    }

    /// The name rules of this file are shown with.
    pub fn name(&self) -> &str {
        self.files.first().map_or("", |name| name)
    }

    /// The path of the included file that something stands in.
    pub(super) fn path(&self, place: Place) -> Option<Arc<str>> {
        let index = usize::from(place.file).checked_sub(1)?;
        self.paths.get(index).cloned()
    }

    /// Where the files are that it includes.
    pub fn included(&self) -> &[Arc<str>] {
        &self.included
    }

    /// The users that have rules of their own, in no order.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(|name| &**name)
    }

    /// The groups that have rules, in no order.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(|name| &**name)
    }

    /// The Client Identifiers that have rules, those that are beginnings with a `*`.
    pub fn clients(&self) -> impl Iterator<Item = String> {
        let star = |client: &ClientRules| if client.is_prefix { "*" } else { "" };
        self.clients
            .iter()
            .map(move |client| format!("{}{}", client.id, star(client)))
    }

    /// The rules for one user, or for anonymous clients.
    pub(crate) fn own(&self, username: Option<&str>) -> &[Rule] {
        match username {
            None => &self.anonymous,
            Some(name) => self.users.get(name).map_or(&[][..], Vec::as_slice),
        }
    }

    /// Every rule that is for a client, of whatever section.
    pub(crate) fn for_client<'a>(
        &'a self,
        principal: &Principal<'_>,
        groups: &[Arc<str>],
    ) -> impl Iterator<Item = &'a Rule> {
        let of_groups = groups.iter().filter_map(|group| self.groups.get(&**group));
        let of_clients = self.clients.iter();
        let of_clients = of_clients.filter(|rules| rules.are_for(principal.client_id));
        let mut rules: Vec<&Rule> = self.own(principal.username).iter().collect();
        rules.extend(of_groups.flatten());
        rules.extend(of_clients.flat_map(|client| &client.rules));
        rules.extend(&self.everyone);
        rules.into_iter()
    }
}

struct Parser {
    file: AclFile,
    user: Option<Box<str>>,
    errors: Vec<AclError>,
}

impl Parser {
    fn line(&mut self, number: u32, line: &str) {
        if line.starts_with('#') {
            return;
        }
        let line = line.trim_end();
        if line.starts_with('\t') {
            self.error(
                number,
                1,
                "the line begins with a tab; only spaces may stand there".into(),
            );
            return;
        }
        let trimmed = line.trim_start_matches(' ');
        if trimmed.is_empty() {
            return;
        }
        let indent = line.len() - trimmed.len();
        let (keyword, rest) = trimmed.split_once(' ').unwrap_or((trimmed, ""));
        let rest_at = indent + keyword.len() + 1;
        let skipped = rest.len() - rest.trim_start_matches(' ').len();
        let place = Spot {
            number,
            column: rest_at + skipped + 1,
        };
        let rest = rest.trim_start_matches(' ');
        match keyword {
            "user" => self.user(place, rest),
            "topic" => self.rule(place, rest, false),
            "pattern" => self.rule(place, rest, true),
            _ => self.unknown(number, indent + 1, keyword),
        }
    }

    fn unknown(&mut self, number: u32, column: usize, keyword: &str) {
        let nearest = ["user", "topic", "pattern"]
            .into_iter()
            .max_by(|a, b| strsim::jaro(a, keyword).total_cmp(&strsim::jaro(b, keyword)))
            .filter(|known| strsim::jaro(known, keyword) > 0.7);
        let mut message = format!(
            "{:?} is no keyword; expected user, topic or pattern",
            shortened(keyword)
        );
        if let Some(known) = nearest {
            message.push_str(&format!(" (did you mean {known}?)"));
        } else if keyword.starts_with('#') {
            message.push_str(" (a comment begins with # as the first byte of its line)");
        }
        self.error(number, column, message);
    }

    fn user(&mut self, place: Spot, name: &str) {
        if name.is_empty() {
            self.error(
                place.number,
                place.column,
                "expected a user name after user".into(),
            );
            return;
        }
        if name.contains(" #") {
            self.warn(
                "comment-in-user-name",
                place.number,
                format!("the user name is {name:?}: a line has no trailing comment"),
            );
        }
        self.file.users.entry(name.into()).or_default();
        self.user = Some(name.into());
    }

    fn rule(&mut self, place: Spot, rest: &str, pattern: bool) {
        let keyword = if pattern { "pattern" } else { "topic" };
        if rest.is_empty() {
            self.error(
                place.number,
                place.column,
                format!("expected [read|write|readwrite|deny] and a topic after {keyword}"),
            );
            return;
        }
        let (access, filter, column) = match rest.split_once(' ') {
            None => {
                if access_word(rest).is_some() {
                    self.warn(
                        "access-word-as-topic",
                        place.number,
                        format!(
                            "grants readwrite on the topic {rest:?}: a single word is the topic"
                        ),
                    );
                }
                (Access::ReadWrite, rest, place.column)
            }
            Some((word, filter)) => {
                let Some(access) = access_word(word) else {
                    self.access_error(place, word);
                    return;
                };
                let trimmed = filter.trim_start_matches(' ');
                let column = place.column + word.len() + 1 + filter.len() - trimmed.len();
                (access, trimmed, column)
            }
        };
        if let Err(message) = check(filter) {
            self.error(place.number, column, message);
            return;
        }
        self.lint(place.number, filter, access, pattern);
        let levels = filter.split('/').map(|text| level(text, pattern));
        let rule = Rule {
            filter: filter.into(),
            levels: Levels::new(levels.collect()),
            access,
            max_qos: 2,
            addresses: None,
            place: Place {
                file: 0,
                line: place.number,
            },
        };
        if pattern {
            self.file.everyone.push(rule);
            return;
        }
        match &self.user {
            Some(user) => self.file.users.entry(user.clone()).or_default().push(rule),
            None => self.file.anonymous.push(rule),
        }
    }

    fn access_error(&mut self, place: Spot, word: &str) {
        let nearest = WORDS
            .iter()
            .map(|access| access.word())
            .find(|name| strsim::damerau_levenshtein(name, word) <= 2);
        let mut message = format!(
            "{:?} is no access; expected read, write, readwrite or deny before a topic with spaces",
            shortened(word)
        );
        if let Some(name) = nearest {
            message.push_str(&format!(" (did you mean {name}?)"));
        }
        self.error(place.number, place.column, message);
    }

    fn lint(&mut self, line: u32, filter: &str, access: Access, pattern: bool) {
        let whole = |name: &str| filter.split('/').any(|level| level == name);
        let binds = whole("%c") || whole("%u");
        let inside = filter
            .split('/')
            .any(|level| level.len() > 2 && (level.contains("%c") || level.contains("%u")));
        if inside {
            self.warn(
                "substitution-inside-level",
                line,
                "%c and %u are replaced only where they are a whole level; here they are text"
                    .into(),
            );
        }
        if filter.contains('*') {
            self.warn(
                "asterisk-is-literal",
                line,
                "* is an ordinary character and matches only itself; + stands for one level, # for the rest".into(),
            );
        }
        if pattern && !binds && access != Access::Deny {
            self.warn(
                "pattern-grants-everyone",
                line,
                format!(
                    "holds neither %c nor %u, so it grants {filter:?} to every client, anonymous ones included; to forbid it write `deny`, or leave it out"
                ),
            );
        }
        if !pattern && binds {
            self.warn(
                "topic-does-not-substitute",
                line,
                "%c and %u are replaced in pattern rules only; in a topic rule they are text"
                    .into(),
            );
        }
        if !pattern && self.user.is_none() {
            self.warn(
                "rule-for-anonymous",
                line,
                "stands before the first user line and holds for anonymous clients alone".into(),
            );
        }
    }

    fn error(&mut self, line: u32, column: usize, message: String) {
        self.errors.push(AclError {
            file: None,
            line,
            column: u32::try_from(column).unwrap_or(u32::MAX),
            message,
        });
    }

    fn warn(&mut self, name: &'static str, line: u32, message: String) {
        self.file.warnings.push(AclWarning {
            name,
            file: None,
            line,
            message,
        });
    }
}

#[derive(Clone, Copy)]
struct Spot {
    number: u32,
    column: usize,
}

/// The accesses that mosquitto knows.
const WORDS: [Access; 4] = [Access::Read, Access::Write, Access::ReadWrite, Access::Deny];

fn access_word(word: &str) -> Option<Access> {
    WORDS.into_iter().find(|access| access.word() == word)
}

/// A level as mosquitto reads it: names are put in where they are a whole level of a pattern.
fn level(text: &str, pattern: bool) -> Template {
    let name = match text {
        "%c" => Name::ClientId,
        "%u" => Name::Username,
        "+" => return Template::Fixed(Level::Plus),
        "#" => return Template::Fixed(Level::Hash),
        _ => return Template::Fixed(Level::Literal(text.into())),
    };
    if !pattern {
        return Template::Fixed(Level::Literal(text.into()));
    }
    Template::Parts {
        parts: [Part::Name(name)].into(),
        is_prefix: false,
    }
}

fn check(filter: &str) -> Result<(), String> {
    if level_count(filter) > MAX_LEVELS {
        return Err(format!("the topic has more than {MAX_LEVELS} levels"));
    }
    check_filter(filter).map_err(|error| {
        let hint = match error {
            TopicError::WildcardInsideLevel if filter.contains(" #") => {
                " (a line has no trailing comment)"
            }
            _ => "",
        };
        format!(
            "{:?} is no valid Topic Filter: {error}{hint}",
            shortened(filter)
        )
    })
}

pub(super) fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<(u32, u32)> {
        match AclFile::parse("acl", text) {
            Ok(_) => Vec::new(),
            Err(errors) => errors
                .iter()
                .map(|error| (error.line, error.column))
                .collect(),
        }
    }

    #[test]
    fn every_bad_line_is_reported_with_its_place() {
        let text = "topic read a/b\n\ttopic a\nTopic read a\ntopic raed a b\n  # indented\n\
                    user \ntopic read a+\npattern\ntopic \"a b\"\ntopic read a # x\n";
        assert_eq!(
            errors(text),
            [
                (2, 1),
                (3, 1),
                (4, 7),
                (5, 3),
                (6, 6),
                (7, 12),
                (8, 9),
                (9, 7),
                (10, 12)
            ]
        );
    }

    #[test]
    fn a_single_word_is_the_topic_even_if_it_is_an_access_word() {
        let file = AclFile::parse("acl", "topic deny\ntopic read\n").expect("valid");
        assert_eq!(file.anonymous.len(), 2);
        assert_eq!(file.anonymous[0].access, Access::ReadWrite);
        assert_eq!(&*file.anonymous[0].filter, "deny");
        assert!(
            file.warnings()
                .iter()
                .any(|warning| warning.name == "access-word-as-topic")
        );
    }

    #[test]
    fn user_lists_merge_and_names_keep_their_spaces() {
        let text = "user bob smith\ntopic a\nuser eve\ntopic b\nuser bob smith\r\ntopic read c d\n";
        let file = AclFile::parse("acl", text).expect("valid");
        assert_eq!(file.users["bob smith"].len(), 2);
        assert_eq!(&*file.users["bob smith"][1].filter, "c d");
        assert_eq!(file.users["eve"].len(), 1);
    }

    #[test]
    fn traps_have_names() {
        let text = "topic x\npattern read mcp/#\nuser u\ntopic a/*\ntopic b/x%c\ntopic c/%u\n";
        let file = AclFile::parse("acl", text).expect("valid");
        let names: Vec<&str> = file.warnings().iter().map(|warning| warning.name).collect();
        assert_eq!(
            names,
            [
                "rule-for-anonymous",
                "pattern-grants-everyone",
                "asterisk-is-literal",
                "substitution-inside-level",
                "topic-does-not-substitute",
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = AclFile::parse("acl", &text);
        }
    }
}
