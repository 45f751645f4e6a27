//! The password file: mosquitto's line rules, every problem at once.
//!
//! `user:hash`, one a line. Nothing of a line's second half is ever shown: it may be a password
//! in clear.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::hash::{HashAlgorithm, HashProblem, StoredHash, Weakness};
use super::limits::ParseOptions;

/// Longest user name: MQTT gives it a length of two bytes.
const USERNAME_BYTES: usize = 65_535;

/// Users and the hashes of their passwords.
#[derive(Debug)]
pub struct PasswordFile {
    name: Arc<str>,
    users: HashMap<Box<str>, User>,
    decoy: Arc<StoredHash>,
    warnings: Vec<PasswordWarning>,
}

#[derive(Debug)]
struct User {
    line: u32,
    hash: Arc<StoredHash>,
}

/// One thing that is wrong with a password file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordError {
    /// The file's name as the operator wrote it.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub problem: PasswordProblem,
}

impl fmt::Display for PasswordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.problem
        )
    }
}

impl std::error::Error for PasswordError {}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PasswordProblem {
    /// Nothing before the colon.
    #[error("the user name is empty")]
    EmptyUsername,
    /// Longer than MQTT can carry.
    #[error("the user name is longer than 65535 bytes")]
    LongUsername,
    /// MQTT user names are UTF-8.
    #[error("the user name is not UTF-8")]
    UsernameNotUtf8,
    /// Such a name could forge lines of logs and of this file.
    #[error("the user name holds a control character")]
    UsernameControl,
    /// A name is there twice.
    #[error("the user was already defined in line {first}")]
    Duplicate {
        /// Where.
        first: u32,
    },
    /// The hash is not one.
    #[error(transparent)]
    Hash(#[from] HashProblem),
    /// The system gives no random numbers, so there is no decoy hash.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

impl PasswordProblem {
    /// What to do about it, if there is more to say.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Hash(HashProblem::NotAHash) => {
                Some("`portcullis passwd -U FILE` hashes a file of passwords in clear")
            }
            Self::Hash(HashProblem::UnknownForm) => {
                Some("`$6$`, `$7$`, `$argon2id$`, `$2a$`, `$2b$` and `$2y$` are known")
            }
            Self::Hash(HashProblem::Empty) => Some("`portcullis passwd FILE USER` sets a password"),
            _ => None,
        }
    }
}

/// Hashes of a file that are weaker than they should be, one warning for each way to be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordWarning {
    /// The file's name as the operator wrote it.
    pub file: Arc<str>,
    /// The first line concerned, from 1.
    pub line: u32,
    /// How many users are.
    pub users: u32,
    /// In what way.
    pub weakness: Weakness,
}

impl fmt::Display for PasswordWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users = if self.users == 1 { "user" } else { "users" };
        write!(
            f,
            "{}:{}: {} ({} {users}); `portcullis passwd` sets a stronger hash",
            self.file,
            self.line,
            self.weakness.sentence(),
            self.users,
        )
    }
}

impl PasswordFile {
    /// Reads a whole file. `name` is what errors and warnings call it.
    ///
    /// # Errors
    /// Every problem of every line.
    pub fn parse(
        name: &str,
        text: impl AsRef<[u8]>,
        options: &ParseOptions,
    ) -> Result<Self, Vec<PasswordError>> {
        let text = text.as_ref();
        let mut reading = Reading {
            name: name.into(),
            options,
            users: HashMap::new(),
            errors: Vec::new(),
        };
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            reading.line(number, line);
        }
        reading.finish()
    }

    /// The file's name as the operator wrote it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Weak hashes.
    pub fn warnings(&self) -> &[PasswordWarning] {
        &self.warnings
    }

    /// The hash of a user's password.
    pub fn hash_of(&self, username: &str) -> Option<&Arc<StoredHash>> {
        self.users.get(username).map(|user| &user.hash)
    }

    /// A hash for users that do not exist: of the algorithm and costs that most users here have,
    /// so that to ask for a user takes as long whether there is one or not. Users with other
    /// costs can still be told apart; hashing all passwords alike is the remedy.
    pub fn decoy(&self) -> &Arc<StoredHash> {
        &self.decoy
    }
}

struct Reading<'a> {
    name: Arc<str>,
    options: &'a ParseOptions,
    users: HashMap<Box<str>, User>,
    errors: Vec<PasswordError>,
}

impl Reading<'_> {
    fn line(&mut self, number: u32, line: &[u8]) {
        if line.starts_with(b"#") {
            return;
        }
        let mut fields = line.split(|byte| *byte == b':');
        let (Some(name), Some(hash)) = (fields.next(), fields.next()) else {
            return;
        };
        // Taken apart separately, so that a bad name does not hide a bad hash.
        let username = self.username(number, line, name);
        let stored = self.hash(number, line, name.len() + 1, hash);
        let (Some(username), Some(hash)) = (username, stored) else {
            return;
        };
        match self.users.entry(username.into()) {
            Entry::Vacant(entry) => {
                let hash = Arc::new(hash);
                entry.insert(User { line: number, hash });
            }
            Entry::Occupied(entry) => {
                let first = entry.get().line;
                let offset = leading_blanks(name);
                self.error(number, line, offset, PasswordProblem::Duplicate { first });
            }
        }
    }

    fn username<'b>(&mut self, number: u32, line: &[u8], name: &'b [u8]) -> Option<&'b str> {
        let offset = leading_blanks(name);
        let trimmed = name.trim_ascii();
        let problem = match std::str::from_utf8(trimmed) {
            Ok("") => PasswordProblem::EmptyUsername,
            Ok(name) if name.len() > USERNAME_BYTES => PasswordProblem::LongUsername,
            Ok(name) if name.chars().any(char::is_control) => PasswordProblem::UsernameControl,
            Ok(name) => return Some(name),
            Err(_) => PasswordProblem::UsernameNotUtf8,
        };
        let offset = if trimmed.is_empty() { 0 } else { offset };
        self.error(number, line, offset, problem);
        None
    }

    fn hash(&mut self, number: u32, line: &[u8], start: usize, field: &[u8]) -> Option<StoredHash> {
        let trimmed = field.trim_ascii();
        let start = if trimmed.is_empty() {
            start
        } else {
            start + leading_blanks(field)
        };
        let Ok(text) = std::str::from_utf8(trimmed) else {
            let problem = HashProblem::NotAHash;
            self.error(number, line, start, problem.into());
            return None;
        };
        match StoredHash::parse(text, self.options) {
            Ok(hash) => Some(hash),
            Err(error) => {
                self.error(number, line, start + error.offset, error.problem.into());
                None
            }
        }
    }

    fn error(&mut self, number: u32, line: &[u8], offset: usize, problem: PasswordProblem) {
        let before = line.get(..offset).unwrap_or(line);
        let column = String::from_utf8_lossy(before).chars().count() + 1;
        self.errors.push(PasswordError {
            file: Arc::clone(&self.name),
            line: number,
            column: u32::try_from(column).unwrap_or(u32::MAX),
            problem,
        });
    }

    fn finish(mut self) -> Result<PasswordFile, Vec<PasswordError>> {
        let decoy = StoredHash::decoy(most_common(&self.users));
        if decoy.is_err() {
            self.error(1, b"", 0, PasswordProblem::NoRandomness);
        }
        match decoy {
            Ok(decoy) if self.errors.is_empty() => Ok(PasswordFile {
                warnings: warnings(&self.name, &self.users),
                name: self.name,
                users: self.users,
                decoy: Arc::new(decoy),
            }),
            _ => Err(self.errors),
        }
    }
}

fn leading_blanks(field: &[u8]) -> usize {
    field.len() - field.trim_ascii_start().len()
}

fn most_common(users: &HashMap<Box<str>, User>) -> HashAlgorithm {
    let mut counts: HashMap<HashAlgorithm, (usize, u32)> = HashMap::new();
    for user in users.values() {
        let entry = counts
            .entry(user.hash.algorithm())
            .or_insert((0, user.line));
        entry.0 += 1;
        entry.1 = entry.1.min(user.line);
    }
    counts
        .into_iter()
        // The first in the file wins among equals, so that two starts decide alike.
        .max_by_key(|(_, (count, line))| (*count, std::cmp::Reverse(*line)))
        .map_or_else(HashAlgorithm::default, |(algorithm, _)| algorithm)
}

fn warnings(name: &Arc<str>, users: &HashMap<Box<str>, User>) -> Vec<PasswordWarning> {
    let mut found: Vec<PasswordWarning> = Vec::new();
    for user in users.values() {
        let Some(weakness) = user.hash.weakness() else {
            continue;
        };
        match found.iter_mut().find(|known| known.weakness == weakness) {
            Some(known) => {
                known.users += 1;
                known.line = known.line.min(user.line);
            }
            None => found.push(PasswordWarning {
                file: Arc::clone(name),
                line: user.line,
                users: 1,
                weakness,
            }),
        }
    }
    found.sort_by_key(|warning| warning.line);
    found
}
