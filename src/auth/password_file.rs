//! The password file: mosquitto's line rules, every problem at once.
//!
//! `user:hash`, one a line; `user:!hash` for a user that is disabled. Lines that begin with `#` and lines without a colon are skipped, what
//! follows a second colon is ignored. Everything else that is not understood is an error: a
//! password that is silently not checked would be worse. Nothing of a line's second half is ever
//! shown: it may be a password in clear.
//!
//! A file that begins with `{` is one of users in JSON; see [`super::users_json`].

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use thiserror::Error;

use crate::message::Groups;

use super::hash::{HashAlgorithm, HashFailure, HashProblem, StoredHash, Weakness};
use super::limits::HashLimits;
use super::users_json;

/// Longest user name: MQTT gives it a length of two bytes.
const USERNAME_BYTES: usize = 65_535;

/// Users and the hashes of their passwords.
#[derive(Debug)]
pub struct PasswordFile {
    users: HashMap<Box<str>, Arc<StoredHash>>,
    disabled: HashSet<Box<str>>,
    groups: HashMap<Box<str>, Groups>,
    decoy: Arc<StoredHash>,
    scram_iterations: Option<u32>,
}

/// One thing that is wrong with a password file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordError {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it, if there is more to say.
    pub help: Option<&'static str>,
}

/// Hashes that are weaker than they should be: one warning for each way to be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordWarning {
    /// The first line concerned, from 1.
    pub line: u32,
    /// What is weak, and how many users have it.
    pub message: String,
}

/// What parsing a file gives.
pub type ParsedPasswords = (PasswordFile, Vec<PasswordWarning>);

#[derive(Debug, Error)]
pub(super) enum Problem {
    #[error("the user name is empty")]
    EmptyUsername,
    #[error("the user name is longer than 65535 bytes")]
    LongUsername,
    #[error("the user name is not UTF-8")]
    UsernameNotUtf8,
    #[error("the user name holds a control character")]
    UsernameControl,
    #[error("the user was already named in line {first}")]
    Duplicate { first: u32 },
    #[error("{0}")]
    Json(String),
    #[error(transparent)]
    Hash(#[from] HashProblem),
    #[error(transparent)]
    Decoy(#[from] HashFailure),
}

impl Problem {
    fn help(&self) -> Option<&'static str> {
        match self {
            Self::Hash(HashProblem::NotAHash) => {
                Some("`portcullis passwd -U FILE` hashes a file of passwords in clear")
            }
            Self::Hash(HashProblem::UnknownForm) => {
                Some("`$argon2id$`, `$7$`, `$6$`, `$2a$`, `$2b$` and `$2y$` are known")
            }
            Self::Hash(HashProblem::Empty) => Some("`portcullis passwd FILE USER` sets a password"),
            _ => None,
        }
    }
}

impl PasswordFile {
    /// Reads a whole file.
    ///
    /// # Errors
    /// Every problem of every line.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<ParsedPasswords, Vec<PasswordError>> {
        Self::parse_within(text, &HashLimits::default())
    }

    /// Reads a whole file, with other bounds for what one hash may cost.
    ///
    /// # Errors
    /// Every problem of every line.
    pub fn parse_within(
        text: impl AsRef<[u8]>,
        limits: &HashLimits,
    ) -> Result<ParsedPasswords, Vec<PasswordError>> {
        let text = text.as_ref();
        let mut reading = Reading {
            limits,
            named: HashMap::new(),
            users: Vec::new(),
            errors: Vec::new(),
        };
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        if text.trim_ascii_start().starts_with(b"{") {
            return match users_json::read(text) {
                Ok(entries) => reading.json(text, &entries).finish(),
                Err(error) => {
                    reading.errors.push(error);
                    Err(reading.errors)
                }
            };
        }
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            reading.line(number, line);
        }
        reading.finish()
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The hash of a user's password.
    pub fn hash_of(&self, username: &str) -> Option<&Arc<StoredHash>> {
        self.users.get(username)
    }

    /// Whether the operator has disabled the user.
    pub fn is_disabled(&self, username: &str) -> bool {
        self.disabled.contains(username)
    }

    /// The users, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(|name| &**name)
    }

    /// The groups of each user that the file names some for.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &Groups)> {
        self.groups.iter().map(|(user, groups)| (&**user, groups))
    }

    /// Whether a user can log in by SCRAM-SHA-256; if so, with how many iterations somebody who does
    /// not exist is asked: those of the first such user.
    pub(super) fn scram_iterations(&self) -> Option<u32> {
        self.scram_iterations
    }

    /// A hash for users that do not exist: of the algorithm and costs that most users here have,
    /// so that to ask for a user takes as long whether there is one or not. Users with other
    /// costs can still be told apart; hashing all passwords alike is the remedy.
    pub fn decoy(&self) -> &Arc<StoredHash> {
        &self.decoy
    }
}

struct User<'a> {
    name: &'a str,
    line: u32,
    hash: StoredHash,
    is_disabled: bool,
    groups: Groups,
}

struct Reading<'a> {
    limits: &'a HashLimits,
    /// Every name and its first line, of users whose hash is wrong too.
    named: HashMap<&'a str, u32>,
    users: Vec<User<'a>>,
    errors: Vec<PasswordError>,
}

impl<'a> Reading<'a> {
    fn line(&mut self, number: u32, line: &'a [u8]) {
        if line.starts_with(b"#") {
            return;
        }
        let mut fields = line.split(|byte| *byte == b':');
        let (Some(name), Some(hash)) = (fields.next(), fields.next()) else {
            return;
        };
        let start = name.len() + 1;
        let (is_disabled, start, hash) = match hash.strip_prefix(b"!") {
            Some(rest) => (true, start + 1, rest),
            None => (false, start, hash),
        };
        // Both are looked at, so that a bad name does not hide a bad hash.
        let username = self.username(number, line, name);
        let stored = self.hash(number, line, start, hash);
        if let (Some(name), Some(hash)) = (username, stored) {
            self.users.push(User {
                name,
                line: number,
                hash,
                is_disabled,
                groups: Groups::default(),
            });
        }
    }

    /// Takes the users of a file in JSON.
    fn json(mut self, text: &'a [u8], entries: &'a [users_json::Entry]) -> Self {
        for entry in entries {
            let name = entry.name.as_bytes();
            let (number, column) = users_json::place(text, &entry.name);
            let known = self.errors.len();
            let username = self.username(number, b"", name);
            match &entry.fields {
                Ok(fields) => {
                    let stored = self.hash(number, b"", 0, fields.password_hash.as_bytes());
                    if let (Some(name), Some(hash)) = (username, stored) {
                        self.users.push(User {
                            name,
                            line: number,
                            hash,
                            is_disabled: !fields.enabled,
                            groups: Arc::clone(&fields.groups),
                        });
                    }
                }
                Err(message) => {
                    self.refuse::<()>(number, b"", 0, &Problem::Json(message.clone()));
                }
            }
            for error in self.errors.iter_mut().skip(known) {
                error.column = column;
            }
        }
        self
    }

    fn username(&mut self, number: u32, line: &[u8], field: &'a [u8]) -> Option<&'a str> {
        let trimmed = field.trim_ascii();
        let problem = match std::str::from_utf8(trimmed) {
            Ok("") => return self.refuse(number, line, 0, &Problem::EmptyUsername),
            Ok(name) if name.len() > USERNAME_BYTES => Problem::LongUsername,
            Ok(name) if name.chars().any(char::is_control) => Problem::UsernameControl,
            Ok(name) => match self.named.entry(name) {
                Entry::Vacant(entry) => {
                    entry.insert(number);
                    return Some(name);
                }
                Entry::Occupied(entry) => Problem::Duplicate {
                    first: *entry.get(),
                },
            },
            Err(_) => Problem::UsernameNotUtf8,
        };
        self.refuse(number, line, leading_blanks(field), &problem)
    }

    fn hash(&mut self, number: u32, line: &[u8], start: usize, field: &[u8]) -> Option<StoredHash> {
        let trimmed = field.trim_ascii();
        let start = if trimmed.is_empty() {
            start
        } else {
            start + leading_blanks(field)
        };
        let Ok(text) = std::str::from_utf8(trimmed) else {
            return self.refuse(number, line, start, &HashProblem::NotAHash.into());
        };
        match StoredHash::parse(text, self.limits) {
            Ok(hash) => Some(hash),
            Err(error) => self.refuse(number, line, start + error.offset, &error.problem.into()),
        }
    }

    fn refuse<T>(&mut self, line: u32, text: &[u8], offset: usize, problem: &Problem) -> Option<T> {
        let before = text.get(..offset).unwrap_or(text);
        let column = String::from_utf8_lossy(before).chars().count() + 1;
        self.errors.push(PasswordError {
            line,
            column: u32::try_from(column).unwrap_or(u32::MAX),
            message: problem.to_string(),
            help: problem.help(),
        });
        None
    }

    fn finish(mut self) -> Result<ParsedPasswords, Vec<PasswordError>> {
        let decoy = match StoredHash::decoy(most_common(&self.users)) {
            Ok(decoy) => Some(decoy),
            Err(failure) => self.refuse(1, b"", 0, &failure.into()),
        };
        let Some(decoy) = decoy.filter(|_| self.errors.is_empty()) else {
            return Err(self.errors);
        };
        let warnings = warnings(&self.users);
        let scram_iterations = self.users.iter().find_map(|user| {
            let verifier = user.hash.scram()?;
            Some(verifier.iterations)
        });
        let disabled = self.users.iter().filter(|user| user.is_disabled);
        let disabled = disabled.map(|user| user.name.into()).collect();
        let groups = self.users.iter().filter(|user| !user.groups.is_empty());
        let groups = groups
            .map(|user| (user.name.into(), Arc::clone(&user.groups)))
            .collect();
        let users = self
            .users
            .into_iter()
            .map(|user| (user.name.into(), Arc::new(user.hash)))
            .collect();
        let decoy = Arc::new(decoy);
        let file = PasswordFile {
            users,
            disabled,
            groups,
            decoy,
            scram_iterations,
        };
        Ok((file, warnings))
    }
}

fn leading_blanks(field: &[u8]) -> usize {
    field.len() - field.trim_ascii_start().len()
}

fn most_common(users: &[User<'_>]) -> HashAlgorithm {
    let mut counts: HashMap<HashAlgorithm, (usize, u32)> = HashMap::new();
    for user in users {
        let entry = counts
            .entry(user.hash.algorithm())
            .or_insert((0, user.line));
        entry.0 += 1;
    }
    counts
        .into_iter()
        // The first in the file wins among equals, so that two starts decide alike.
        .max_by_key(|(_, (count, line))| (*count, std::cmp::Reverse(*line)))
        .map_or_else(HashAlgorithm::default, |(algorithm, _)| algorithm)
}

/// Thousands of users with mosquitto's default would be thousands of warnings.
fn warnings(users: &[User<'_>]) -> Vec<PasswordWarning> {
    let mut found: Vec<(Weakness, u32, usize)> = Vec::new();
    for user in users {
        let Some(weakness) = user.hash.weakness() else {
            continue;
        };
        match found.iter_mut().find(|(known, ..)| *known == weakness) {
            Some((_, _, count)) => *count += 1,
            None => found.push((weakness, user.line, 1)),
        }
    }
    found
        .into_iter()
        .map(|(weakness, line, count)| PasswordWarning {
            line,
            message: format!(
                "{} ({count} of {} users); `portcullis passwd` makes stronger ones",
                weakness.sentence(),
                users.len()
            ),
        })
        .collect()
}
