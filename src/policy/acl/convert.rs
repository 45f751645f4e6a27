//! A file of mosquitto's, written as version 2.
//!
//! Line by line, so that comments stay where they are: patterns go into a section `all`, rules before
//! the first `user` into `anonymous`. Version 2 asks every deny before any grant, so a client's grant
//! that beats the deny of a pattern cannot be written; such lines are told.

use std::collections::HashMap;

use super::file::{AclError, AclFile};
use super::level::{Level, Levels, Name, Part, Template};
use super::lint;
use super::rule::{Access, Rule};
use super::version2::{self, HEADER};

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The file of version 2.
    pub text: String,
    /// Lines of the old file that mean something else now, and why.
    pub conflicts: Vec<(u32, String)>,
    /// What changes for clients with strange names, which no rule can say.
    pub notes: Vec<&'static str>,
}

/// Why a file is not converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConvertError {
    /// It is of version 2 already.
    IsVersion2,
    /// It is not valid.
    Invalid(Vec<AclError>),
}

/// Converts `text`.
///
/// # Errors
/// It is no valid file of mosquitto's.
pub fn convert(text: &str) -> Result<Converted, ConvertError> {
    if version2::is_for(text) {
        return Err(ConvertError::IsVersion2);
    }
    let old = AclFile::parse("", text).map_err(ConvertError::Invalid)?;
    let rules = by_line(&old);
    let mut writer = Writer {
        text: format!("{HEADER}\n"),
        lines: 1,
        // Where each line of the old file has gone.
        moved: HashMap::new(),
        open: None,
    };
    let lines = text.strip_suffix('\n').unwrap_or(text);
    let mut users = Vec::new();
    for (number, line) in (1..).zip(lines.split('\n')) {
        if let Some((section, rule)) = rules.get(&number) {
            writer.rule(number, *section, rule);
        } else if let Some(name) = user(line) {
            users.push((number, name));
            writer.open(Section::Own(Some(name)));
        } else {
            // A comment, or nothing.
            writer.line(line.trim_end());
        }
    }
    let mut conflicts: Vec<(u32, String)> = lint::grants_that_beat_denies(&old)
        .into_iter()
        .map(|warning| (warning.line, warning.message))
        .collect();
    conflicts.extend(
        users
            .iter()
            .filter_map(|(line, name)| unlike(&old, *line, name)),
    );
    conflicts.extend(writer.lost(&rules));
    conflicts.sort();
    conflicts.dedup_by_key(|(line, _)| *line);
    Ok(Converted {
        text: writer.text,
        conflicts,
        notes: notes(&old),
    })
}

fn notes(old: &AclFile) -> Vec<&'static str> {
    let has_names = |rule: &Rule| matches!(rule.levels, Levels::Templates(_));
    let is_deny = |rule: &Rule| rule.access == Access::Deny;
    let mut notes = Vec::new();
    if old.everyone.iter().any(|rule| !has_names(rule)) {
        notes.push(
            "a client with + or # in its user name or client id had no right by patterns; in version 2 rules \
             without %c and %u hold for it too",
        );
    }
    if old
        .everyone
        .iter()
        .any(|rule| has_names(rule) && is_deny(rule))
    {
        notes.push(
            "a client whose user name or client id cannot stand in a deny (/, +, #, control characters, $ at \
             the start of a topic) loses all rights, no longer only those by patterns",
        );
    }
    notes
}

/// A level that is `text`, as version 2 writes it.
pub fn literal(text: &str) -> String {
    text.replace('%', "%%").replace('*', "%*")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section<'a> {
    /// Of one user, or of anonymous clients.
    Own(Option<&'a str>),
    All,
}

/// Rules by the line they stand in; none is included in files of mosquitto's, nor in what becomes of them.
fn by_line(file: &AclFile) -> HashMap<u32, (Section<'_>, &Rule)> {
    let users = file.users.iter().flat_map(|(name, rules)| {
        let section = Section::Own(Some(name));
        rules.iter().map(move |rule| (section, rule))
    });
    let anonymous = file.anonymous.iter();
    let anonymous = anonymous.map(|rule| (Section::Own(None), rule));
    let everyone = file.everyone.iter().map(|rule| (Section::All, rule));
    let all = users.chain(anonymous).chain(everyone);
    all.map(|(section, rule)| (rule.place.line, (section, rule)))
        .collect()
}

/// The name in a valid `user` line.
fn user(line: &str) -> Option<&str> {
    if line.starts_with('#') {
        return None;
    }
    let line = line.trim_end().trim_start_matches(' ');
    let (keyword, name) = line.split_once(' ')?;
    (keyword == "user").then(|| name.trim_start_matches(' '))
}

/// A user whose name keeps patterns from it in mosquitto, and not in version 2.
fn unlike(old: &AclFile, line: u32, name: &str) -> Option<(u32, String)> {
    let is_wild = name.contains(['+', '#']) && !old.everyone.is_empty();
    let mut patterns = old.everyone.iter();
    let is_unusable = |character: char| character == '/' || character.is_control();
    let is_split = (name.contains(is_unusable) || name.starts_with('$'))
        && patterns.any(|rule| rule.access == Access::Deny && rule.levels.names(Name::Username));
    (is_wild || is_split).then(|| {
        let message = format!("patterns mean something else for a user called {name:?}");
        (line, message)
    })
}

struct Writer<'a> {
    text: String,
    lines: u32,
    moved: HashMap<u32, u32>,
    open: Option<Section<'a>>,
}

impl<'a> Writer<'a> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
        self.lines += 1;
    }

    fn open(&mut self, section: Section<'a>) {
        if self.open == Some(section) {
            return;
        }
        self.open = Some(section);
        match section {
            Section::All => self.line("all"),
            Section::Own(None) => self.line("anonymous"),
            Section::Own(Some(name)) => self.line(&format!("user {name}")),
        }
    }

    fn rule(&mut self, number: u32, section: Section<'a>, rule: &Rule) {
        self.open(section);
        let levels: Vec<String> = templates(&rule.levels).iter().map(level).collect();
        self.line(&format!(
            "topic {} {}",
            rule.access.word(),
            levels.join("/")
        ));
        self.moved.insert(number, self.lines);
    }

    /// Rules that are not read from the new file as they were from the old.
    fn lost(&self, rules: &HashMap<u32, (Section<'_>, &Rule)>) -> Vec<(u32, String)> {
        let new = AclFile::parse("", &self.text);
        let found = new.as_ref().map(by_line).unwrap_or_default();
        let bad = |number: &u32| match &new {
            Ok(_) => true,
            Err(errors) => errors.iter().any(|error| error.line == *number),
        };
        let is_there = |line: &u32, (section, rule): &(Section<'_>, &Rule)| {
            let new = self.moved.get(line).and_then(|line| found.get(line));
            new.is_some_and(|(new_section, new)| {
                section == new_section
                    && rule.access == new.access
                    && templates(&rule.levels) == templates(&new.levels)
            })
        };
        let lost = rules.iter().filter(|(line, rule)| !is_there(line, rule));
        lost.map(|(line, _)| *line)
            .filter(|line| self.moved.get(line).is_none_or(bad))
            .map(|line| (line, "cannot be written in version 2".to_owned()))
            .collect()
    }
}

fn templates(levels: &Levels) -> Vec<Template> {
    match levels {
        Levels::Fixed(levels) => levels.iter().cloned().map(Template::Fixed).collect(),
        Levels::Templates(templates) => templates.to_vec(),
    }
}

fn level(template: &Template) -> String {
    match template {
        Template::Fixed(Level::Plus) => "+".into(),
        Template::Fixed(Level::Hash) => "#".into(),
        Template::Fixed(Level::Literal(text)) => literal(text),
        Template::Fixed(Level::Prefix(text)) => literal(text) + "*",
        Template::Parts { parts, is_prefix } => {
            let mut text: String = parts.iter().map(part).collect();
            if *is_prefix {
                text.push('*');
            }
            text
        }
    }
}

fn part(part: &Part) -> String {
    match part {
        Part::Text(text) => literal(text),
        Part::Name(Name::ClientId) => "%c".into(),
        Part::Name(Name::Username) => "%u".into(),
        Part::Name(Name::Group) => "%g".into(),
        Part::Name(Name::Token) => "%t".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_comments_and_blank_lines_where_they_stand() {
        let old = "# first\ntopic news\n\npattern read a/%u/%c\n# of bob\nuser bob smith\ntopic read c/d e\r\n\
                   pattern deny x\ntopic read 100%/%c*\nuser eve";
        let converted = convert(old).expect("valid");
        assert_eq!(
            converted.text,
            "#!acl 2\n# first\nanonymous\ntopic readwrite news\n\nall\ntopic read a/%u/%c\n# of bob\n\
             user bob smith\ntopic read c/d e\nall\ntopic deny x\nuser bob smith\ntopic read 100%%/%%c%*\n\
             user eve\n"
        );
        assert_eq!(converted.conflicts, []);
        assert_eq!(converted.notes.len(), 1);
        assert_eq!(convert(&converted.text), Err(ConvertError::IsVersion2));
    }

    #[test]
    fn what_version_2_cannot_say_is_told_with_its_line() {
        let lines = |old: &str| -> Vec<u32> {
            let conflicts = convert(old).expect("valid").conflicts;
            conflicts.iter().map(|(line, _)| *line).collect()
        };
        assert_eq!(lines("pattern deny a/#\nuser u\ntopic read a/b\n"), [3]);
        assert_eq!(lines("user u\ntopic deny a/b\npattern read a/#\n"), [0; 0]);
        assert_eq!(lines("user u+\ntopic a\npattern read b\n"), [1]);
        assert_eq!(lines("user u/v\ntopic a\npattern read b/%u\n"), [0; 0]);
        assert_eq!(lines("user u/v\ntopic a\npattern deny b/%u\n"), [1]);
        // However many rules there are.
        let mut long = String::new();
        for topic in 0..2_000 {
            long.push_str(&format!("pattern deny {topic}\n"));
        }
        for user in 0..1_001 {
            long.push_str(&format!("user {user}\ntopic read x\n"));
        }
        long.push_str("topic read 7\n");
        assert_eq!(lines(&long), [2_000 + 2 * 1_001 + 1]);
        // Blanks that version 2 would leave out.
        assert_eq!(lines("topic read \ta\n"), [1]);
        assert_eq!(lines("user \tbob\ntopic read a\n"), [2]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([a-z#]{0,3}(user|topic|pattern) [ -~\t]{0,20}\n){0,5}") {
            let _ = convert(&text);
        }
    }
}
