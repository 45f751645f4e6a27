//! ACL files of version 2: those whose first line is `#!acl 2`.
//!
//! ```text
//! #!acl 2
//! all
//! topic deny $SYS/#
//!
//! group operators
//! address 10.0.0.0/8
//! topic readwrite plant/#
//!
//! user alice
//! max_qos 1
//! topic read sensors/line-*/#
//! topic write replies/%u-%t
//! ```
//!
//! A line opens a section (`user`, `group`, `client`, `anonymous`, `all`), narrows the rules that
//! follow in its section (`address`, `max_qos`), or is a rule. A client has the rules of every
//! section that is for it; a deny beats every grant, wherever they stand.

use std::sync::Arc;

use crate::message::is_group_name;
use crate::policy::AddressList;
use crate::topic::{MAX_BYTES, level_count};

use super::file::{AclError, AclFile, AclWarning, ClientRules, MAX_LEVELS, Order, shortened};
use super::level::{Level, Levels, Name, Part, Template};
use super::rule::{Access, Place, Rule};

/// The first line.
pub(super) const HEADER: &str = "#!acl 2";
/// Files included by files included by the file.
const MAX_DEPTH: usize = 8;
/// Most files of one ACL.
const MAX_FILES: usize = 1_000;

const ACCESSES: [Access; 7] = [
    Access::Read,
    Access::Write,
    Access::ReadWrite,
    Access::Subscribe,
    Access::Deny,
    Access::ReadDeny,
    Access::WriteDeny,
];

const KEYWORDS: [&str; 10] = [
    "user",
    "group",
    "client",
    "anonymous",
    "all",
    "topic",
    "address",
    "max_qos",
    "default",
    "include",
];

/// A file that another one includes.
#[derive(Clone, Debug)]
pub struct Included {
    /// Where it is: what tells two files apart, and where errors are reported.
    pub path: Arc<str>,
    /// How its rules are shown.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Reads a file that is included: the path of the file that includes it (`None` for the first) and
/// the path as it is written there. The error is shown behind the line.
pub type Include<'a> = dyn FnMut(Option<&str>, &str) -> Result<Included, String> + 'a;

/// Whether a text is of this version.
pub(super) fn is_for(text: &str) -> bool {
    let first = text.split('\n').next().unwrap_or_default();
    first.strip_prefix('\u{feff}').unwrap_or(first).trim_end() == HEADER
}

pub(super) fn parse(
    name: &str,
    text: &str,
    include: &mut Include<'_>,
) -> Result<AclFile, Vec<AclError>> {
    let mut parser = Parser {
        acl: AclFile::empty(name, Order::DenyFirst),
        names: vec![Arc::from(name)],
        open: Vec::new(),
        file: 0,
        section: None,
        addresses: None,
        max_qos: 2,
        default: None,
        errors: Vec::new(),
        include,
    };
    parser.lines(text);
    if !parser.errors.is_empty() {
        return Err(parser.errors);
    }
    parser.acl.files = parser.names.into();
    Ok(parser.acl)
}

/// Whom the rules that follow are for.
#[derive(Clone)]
enum Section {
    User(Box<str>),
    Group(Box<str>),
    /// Index of the list.
    Client(usize),
    Anonymous,
    All,
}

struct Parser<'a, 'b> {
    acl: AclFile,
    names: Vec<Arc<str>>,
    /// The paths of the included files that are being read, outermost first.
    open: Vec<Arc<str>>,
    file: u16,
    section: Option<Section>,
    addresses: Option<Arc<AddressList>>,
    max_qos: u8,
    default: Option<Place>,
    errors: Vec<AclError>,
    include: &'a mut Include<'b>,
}

/// Words of a line with the column at which each begins, from 1.
struct Line<'a> {
    number: u32,
    keyword: &'a str,
    keyword_at: usize,
    rest: &'a str,
    rest_at: usize,
}

impl<'a> Line<'a> {
    fn new(number: u32, line: &'a str) -> Option<Self> {
        let is_blank = |character| matches!(character, ' ' | '\t');
        let line = line.trim_end();
        let start = line.trim_start_matches(is_blank);
        if start.is_empty() || start.starts_with('#') {
            return None;
        }
        let keyword_at = line.len() - start.len();
        let end = start.find(is_blank).unwrap_or(start.len());
        let (keyword, behind) = start.split_at(end);
        let rest = behind.trim_start_matches(is_blank);
        Some(Self {
            number,
            keyword,
            keyword_at: column(line, keyword_at),
            rest,
            rest_at: column(line, line.len() - rest.len()),
        })
    }
}

fn column(line: &str, at: usize) -> usize {
    line.get(..at).unwrap_or(line).chars().count() + 1
}

impl Parser<'_, '_> {
    fn lines(&mut self, text: &str) {
        for (number, line) in (1..).zip(text.split('\n')) {
            if let Some(line) = Line::new(number, line) {
                self.line(&line);
            }
        }
    }

    fn line(&mut self, line: &Line<'_>) {
        match line.keyword {
            "user" if !line.rest.is_empty() => {
                let name = line.rest;
                self.acl.users.entry(name.into()).or_default();
                self.open_section(Section::User(name.into()));
            }
            "user" => self.error(line, line.rest_at, "expected a user name after user".into()),
            "group" if is_group_name(line.rest) => {
                self.acl.groups.entry(line.rest.into()).or_default();
                self.open_section(Section::Group(line.rest.into()));
            }
            "group" => {
                let message = "expected the name of a group, of at most 256 bytes, after group";
                self.error(line, line.rest_at, message.into());
            }
            "client" => self.client(line),
            "anonymous" | "all" => self.section_without_name(line),
            "topic" => self.topic(line),
            "address" => self.address(line),
            "max_qos" => self.limit_qos(line),
            "default" => self.default_action(line),
            "include" => self.include(line),
            _ => self.unknown(line),
        }
    }

    fn open_section(&mut self, section: Section) {
        self.section = Some(section);
        self.addresses = None;
        self.max_qos = 2;
    }

    fn section_without_name(&mut self, line: &Line<'_>) {
        if !line.rest.is_empty() {
            let message = format!("nothing may stand behind {}", line.keyword);
            self.error(line, line.rest_at, message);
            return;
        }
        self.open_section(match line.keyword {
            "all" => Section::All,
            _ => Section::Anonymous,
        });
    }

    fn client(&mut self, line: &Line<'_>) {
        let (id, is_prefix) = match line.rest.strip_suffix('*') {
            Some(id) => (id, true),
            None => (line.rest, false),
        };
        if id.is_empty() {
            let message = "expected a client id, or its beginning and *, after client";
            self.error(line, line.rest_at, message.into());
            return;
        }
        let clients = &mut self.acl.clients;
        let known = clients
            .iter()
            .position(|client| *client.id == *id && client.is_prefix == is_prefix);
        let index = known.unwrap_or_else(|| {
            clients.push(ClientRules {
                id: id.into(),
                is_prefix,
                rules: Vec::new(),
            });
            clients.len() - 1
        });
        self.open_section(Section::Client(index));
    }

    fn address(&mut self, line: &Line<'_>) {
        if self.section.is_none() {
            self.no_section(line);
            return;
        }
        if line.rest == "any" {
            self.addresses = None;
            return;
        }
        let words: Vec<&str> = line.rest.split_whitespace().collect();
        if words.is_empty() {
            let message = "expected addresses, networks, or any after address";
            self.error(line, line.rest_at, message.into());
            return;
        }
        match AddressList::parse(&words.join("\n")) {
            Ok(list) => self.addresses = Some(Arc::new(list)),
            Err(errors) => {
                for error in errors {
                    self.error(line, line.rest_at, error.message);
                }
            }
        }
    }

    fn limit_qos(&mut self, line: &Line<'_>) {
        if self.section.is_none() {
            self.no_section(line);
            return;
        }
        match line.rest {
            "0" => self.max_qos = 0,
            "1" => self.max_qos = 1,
            "2" => self.max_qos = 2,
            _ => self.error(
                line,
                line.rest_at,
                "expected 0, 1 or 2 after max_qos".into(),
            ),
        }
    }

    fn default_action(&mut self, line: &Line<'_>) {
        let place = self.place(line);
        if let Some(known) = self.default {
            let message = format!("the default stands in line {} already", known.line);
            self.error(line, line.keyword_at, message);
            return;
        }
        if self.file != 0 {
            let message = "the default belongs into the file that includes this one";
            self.error(line, line.keyword_at, message.into());
            return;
        }
        self.default = Some(place);
        match line.rest {
            "deny" => {}
            "allow" => {
                self.acl.default_allow = Some(place);
                self.warn(
                    line,
                    "default-allow",
                    "what no rule mentions is open to every client",
                );
            }
            _ => self.error(
                line,
                line.rest_at,
                "expected deny or allow after default".into(),
            ),
        }
    }

    fn include(&mut self, line: &Line<'_>) {
        if line.rest.is_empty() {
            self.error(line, line.rest_at, "expected a path after include".into());
            return;
        }
        let from = self.open.last().cloned();
        let included = match (self.include)(from.as_deref(), line.rest) {
            Ok(included) => included,
            Err(message) => {
                self.error(line, line.rest_at, message);
                return;
            }
        };
        let problem = if self.open.contains(&included.path) {
            Some("the file includes itself")
        } else if self.open.len() >= MAX_DEPTH {
            Some("files are included more than 8 deep")
        } else if self.names.len() >= MAX_FILES {
            Some("more than 1000 files are included")
        } else if !is_for(&included.text) {
            Some("an included file begins with `#!acl 2` too")
        } else {
            None
        };
        if let Some(problem) = problem {
            self.error(line, line.rest_at, problem.to_owned());
            return;
        }
        if !self.acl.included.contains(&included.path) {
            self.acl.included.push(Arc::clone(&included.path));
        }
        // What is open here is open again behind it, and its sections are its own.
        let section = self.section.take();
        let addresses = self.addresses.take();
        let max_qos = std::mem::replace(&mut self.max_qos, 2);
        let file = self.file;
        self.file = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        self.names.push(included.name.into());
        self.acl.paths.push(Arc::clone(&included.path));
        self.open.push(included.path);
        self.lines(&included.text);
        self.open.pop();
        (self.section, self.addresses) = (section, addresses);
        (self.max_qos, self.file) = (max_qos, file);
    }

    fn topic(&mut self, line: &Line<'_>) {
        let is_blank = |character| matches!(character, ' ' | '\t');
        let (word, behind) = line.rest.split_once(is_blank).unwrap_or((line.rest, ""));
        let Some(access) = ACCESSES.into_iter().find(|access| access.word() == word) else {
            self.no_access(line, word);
            return;
        };
        let filter = behind.trim_start_matches(is_blank);
        let at = line.rest_at + column(line.rest, line.rest.len() - filter.len()) - 1;
        if filter.is_empty() {
            self.error(line, at, format!("expected a topic after {word}"));
            return;
        }
        let templates = match templates(filter) {
            Ok(templates) => templates,
            Err((offset, message)) => {
                self.error(line, at + column(filter, offset) - 1, message);
                return;
            }
        };
        let Some(section) = self.section.clone() else {
            self.no_section(line);
            return;
        };
        self.lint(line, &section, access, &templates);
        let rule = Rule {
            filter: filter.into(),
            levels: Levels::new(templates),
            access,
            max_qos: self.max_qos,
            addresses: self.addresses.clone(),
            place: self.place(line),
        };
        let acl = &mut self.acl;
        match section {
            Section::User(name) => acl.users.entry(name).or_default().push(rule),
            Section::Group(name) => acl.groups.entry(name).or_default().push(rule),
            Section::Client(index) => {
                if let Some(client) = acl.clients.get_mut(index) {
                    client.rules.push(rule);
                }
            }
            Section::Anonymous => acl.anonymous.push(rule),
            Section::All => acl.everyone.push(rule),
        }
    }

    fn lint(&mut self, line: &Line<'_>, section: &Section, access: Access, levels: &[Template]) {
        for level in levels {
            let Template::Parts { parts, is_prefix } = level else {
                continue;
            };
            let names: Vec<Name> = parts
                .iter()
                .filter_map(|part| match part {
                    Part::Name(name) => Some(*name),
                    Part::Text(_) => None,
                })
                .collect();
            // A token is as long as any other, and nobody chooses it.
            let chosen = names.iter().filter(|name| **name != Name::Token).count();
            if chosen > 1 {
                self.warn(
                    line,
                    "names-run-together",
                    "two names in one level can be cut in two ways: user `a-b` with client `c` and user `a` \
                     with client `b-c` meet in `%u-%c`; put a / between them",
                );
            } else if *is_prefix && chosen == 1 && matches!(parts.last(), Some(Part::Name(_))) {
                self.warn(
                    line,
                    "prefix-of-a-name",
                    "a name before * also stands for every longer name: `%u*` of user `al` takes `alice`; \
                     put a / between them",
                );
            }
        }
        let is_everything = matches!(levels, [Template::Fixed(Level::Hash)]);
        if is_everything
            && !access.is_deny()
            && matches!(section, Section::All | Section::Anonymous)
        {
            self.warn(
                line,
                "grants-everything",
                "opens every topic that does not begin with $ to everybody",
            );
        }
    }

    fn no_section(&mut self, line: &Line<'_>) {
        let message = format!(
            "{} stands before any section; write whom it is for: user NAME, group NAME, client ID, \
             anonymous, or all",
            line.keyword
        );
        self.error(line, line.keyword_at, message);
    }

    fn no_access(&mut self, line: &Line<'_>, word: &str) {
        let words = ACCESSES.map(Access::word);
        let expected = "read, write, readwrite, subscribe, deny, readdeny or writedeny";
        let mut message = format!("expected {expected} after topic, not {:?}", shortened(word));
        if let Some(near) = nearest(word, &words) {
            message.push_str(&format!(" (did you mean {near}?)"));
        }
        self.error(line, line.rest_at, message);
    }

    fn unknown(&mut self, line: &Line<'_>) {
        let mut message = format!("{:?} is no keyword", shortened(line.keyword));
        if line.keyword == "pattern" {
            message.push_str(
                ": in version 2 names are bound in every rule; write it as `topic` in a section `all`",
            );
        } else {
            message.push_str(&format!("; expected one of {}", KEYWORDS.join(", ")));
            if let Some(near) = nearest(line.keyword, &KEYWORDS) {
                message.push_str(&format!(" (did you mean {near}?)"));
            }
        }
        self.error(line, line.keyword_at, message);
    }

    fn place(&self, line: &Line<'_>) -> Place {
        Place {
            file: self.file,
            line: line.number,
        }
    }

    fn error(&mut self, line: &Line<'_>, column: usize, message: String) {
        self.errors.push(AclError {
            file: self.open.last().cloned(),
            line: line.number,
            column: u32::try_from(column).unwrap_or(u32::MAX),
            message,
        });
    }

    fn warn(&mut self, line: &Line<'_>, name: &'static str, message: &str) {
        self.acl.warnings.push(AclWarning {
            name,
            file: self.open.last().cloned(),
            line: line.number,
            message: message.to_owned(),
        });
    }
}

fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known
        .iter()
        .map(|name| (strsim::jaro(name, word), *name))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (near.0 > 0.7).then_some(near.1)
}

/// The levels of a filter, or where it is wrong, as a byte offset, and why.
fn templates(filter: &str) -> Result<Vec<Template>, (usize, String)> {
    if filter.len() > MAX_BYTES {
        return Err((0, "the topic is longer than 65535 bytes".into()));
    }
    if level_count(filter) > MAX_LEVELS {
        return Err((0, format!("the topic has more than {MAX_LEVELS} levels")));
    }
    let mut levels = Vec::new();
    let mut offset = 0;
    let last = filter.len();
    for text in filter.split('/') {
        let end = offset + text.len();
        let level = template(text).map_err(|(at, message)| (offset + at, message))?;
        if level == Template::Fixed(Level::Hash) && end != last {
            return Err((
                offset,
                "`#` stands for the rest, so nothing comes behind it".into(),
            ));
        }
        levels.push(level);
        offset = end + 1;
    }
    Ok(levels)
}

fn template(text: &str) -> Result<Template, (usize, String)> {
    match text {
        "+" => return Ok(Template::Fixed(Level::Plus)),
        "#" => return Ok(Template::Fixed(Level::Hash)),
        _ => {}
    }
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut is_prefix = false;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '%' => match characters.next().map(|(_, letter)| letter) {
                Some(letter @ ('%' | '*')) => literal.push(letter),
                Some(letter) if Name::from_letter(letter).is_some() => {
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal).into()));
                    }
                    parts.extend(Name::from_letter(letter).map(Part::Name));
                }
                _ => {
                    let message = "% stands before c (client id), u (user), g (group), t (topic token), \
                                   or before % and * that are meant as text";
                    return Err((at, message.into()));
                }
            },
            '*' if at + 1 == text.len() && at > 0 => is_prefix = true,
            '*' if text.len() == 1 => {
                return Err((at, "`*` ends a word; write + for one whole level".into()));
            }
            '*' => {
                let message = "`*` stands at the end of a level and means any rest of it; write %* for the \
                               character";
                return Err((at, message.into()));
            }
            '+' | '#' => {
                let message = format!("`{character}` must fill its level");
                return Err((at, message));
            }
            '\0' => return Err((at, "a topic holds no NUL".into())),
            other => literal.push(other),
        }
    }
    if parts.is_empty() {
        return Ok(Template::Fixed(if is_prefix {
            Level::Prefix(literal.into())
        } else {
            Level::Literal(literal.into())
        }));
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal.into()));
    }
    Ok(Template::Parts {
        parts: parts.into(),
        is_prefix,
    })
}
