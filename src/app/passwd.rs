//! `portcullis passwd`: `mosquitto_passwd`'s options, argon2id by default.
//!
//! A password file is replaced whole, so that a broker which reads it meanwhile sees the old or
//! the new one, and is readable by its owner only. Nothing of it is changed where anything is
//! wrong.

use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use zeroize::Zeroizing;

use crate::auth::{
    HashAlgorithm, HashLimits, HashProblem, PasswordFile, SCRAM_ITERATIONS, StoredHash,
};

use super::cli::{CANNOT_LISTEN, Passwd, Stop};
use super::password_rules::PasswordRules;
use super::replace::{lock, replace};
use super::{err, out};

/// Rounds of `$7$` when none are named: what OWASP asks of PBKDF2-HMAC-SHA512.
const PBKDF2_ROUNDS: u32 = 210_000;
/// MQTT gives a user name a length of two bytes.
const USERNAME_BYTES: usize = 65_535;

fn failed(text: impl std::fmt::Display) -> Stop {
    Stop {
        // mosquitto_passwd knows 0 and 1.
        code: CANNOT_LISTEN,
        text: format!("error: {text}\n"),
    }
}

/// Runs it.
pub(super) fn run(arguments: &Passwd) -> Result<(), Stop> {
    let algorithm = algorithm(arguments)?;
    let rules = PasswordRules {
        min_length: arguments.min_length.into(),
        breached: arguments.breached.clone(),
    };
    if arguments.upgrade {
        return upgrade(&arguments.file, algorithm, &rules);
    }
    if let Some(json) = &arguments.import {
        return import(json, arguments);
    }
    let Some(user) = arguments.user.as_deref() else {
        return Err(failed("name a user"));
    };
    check_name(user)?;
    if arguments.disable || arguments.enable {
        return switch(&arguments.file, user, arguments.enable);
    }
    if arguments.delete {
        return delete(&arguments.file, user);
    }
    // Read first: to type a password twice and then hear that there is no file is no pleasure.
    let to_output = arguments.create && arguments.file == Path::new("-");
    let old = if arguments.create {
        Zeroizing::new(String::new())
    } else {
        read(&arguments.file)?
    };
    let password = if let Some(password) = &arguments.password {
        err("warning: a password on the command line can be seen by other users of this host\n");
        password.0.clone()
    } else {
        ask()?
    };
    rules.check(&password).map_err(failed)?;
    let hash = hash(&password, algorithm)?;
    if to_output {
        out(&format!("{user}:{hash}\n"));
        return Ok(());
    }
    let _locked = locked(&arguments.file);
    let old = if arguments.create {
        old
    } else {
        // It may have changed while the password was typed.
        read(&arguments.file)?
    };
    // A user that is switched off stays so.
    let mark = old
        .lines()
        .find(|line| is_user(line, user))
        .map_or("", mark);
    let line = format!("{user}:{mark}{hash}");
    let (new, replaced) = with_line(&old, user, &line);
    write(&arguments.file, &new)?;
    let did = if replaced { "Updated" } else { "Added" };
    err(&format!("{did} the password of user {user}\n"));
    Ok(())
}

fn algorithm(arguments: &Passwd) -> Result<HashAlgorithm, Stop> {
    let algorithm = match arguments.hash.as_str() {
        "sha512-pbkdf2" => HashAlgorithm::Pbkdf2 {
            rounds: arguments.iterations.unwrap_or(PBKDF2_ROUNDS),
        },
        "sha512" => HashAlgorithm::Sha512,
        "scram-sha-256" => HashAlgorithm::ScramSha256 {
            iterations: arguments.iterations.unwrap_or(SCRAM_ITERATIONS),
        },
        _ => HashAlgorithm::default(),
    };
    let most = HashLimits::default().pbkdf2_rounds;
    match (algorithm, arguments.iterations) {
        (
            HashAlgorithm::Pbkdf2 { rounds } | HashAlgorithm::ScramSha256 { iterations: rounds },
            _,
        ) if rounds > most => Err(failed(format!(
            "-I can be at most {most}: the broker refuses more"
        ))),
        (HashAlgorithm::Pbkdf2 { .. } | HashAlgorithm::ScramSha256 { .. }, _) | (_, None) => {
            Ok(algorithm)
        }
        (_, Some(_)) => Err(failed(
            "-I is for -H sha512-pbkdf2 and -H scram-sha-256 only",
        )),
    }
}

fn check_name(user: &str) -> Result<(), Stop> {
    if user.trim().is_empty() || user.len() > USERNAME_BYTES {
        return Err(failed(
            "a user name has 1 to 65535 bytes, and not blanks only",
        ));
    }
    if user.contains(|character: char| character == ':' || character.is_control()) {
        return Err(failed(
            "a user name holds no colon and no control character",
        ));
    }
    if user.trim() != user || user.starts_with('#') {
        return Err(failed(
            "a user name begins with neither a blank nor `#` and ends with no blank: the file \
             could not hold it",
        ));
    }
    Ok(())
}

fn is_user(line: &str, user: &str) -> bool {
    !line.starts_with('#')
        && line
            .split_once(':')
            .is_some_and(|(name, _)| name.trim() == user)
}

/// The file with `line` in the place of the user's old one, or at the end. A name that stood there
/// twice, which the broker refuses, stands there once.
fn with_line(old: &str, user: &str, line: &str) -> (Zeroizing<String>, bool) {
    let mut new = Zeroizing::new(String::with_capacity(old.len() + line.len() + 1));
    let mut replaced = false;
    for existing in old.lines() {
        let theirs = is_user(existing, user);
        if theirs && replaced {
            continue;
        }
        replaced |= theirs;
        new.push_str(if theirs { line } else { existing });
        new.push('\n');
    }
    if !replaced {
        new.push_str(line);
        new.push('\n');
    }
    (new, replaced)
}

fn ask() -> Result<Zeroizing<String>, Stop> {
    let told = |error: io::Error| failed(format!("the password cannot be read: {error}"));
    let (first, second) = if io::stdin().is_terminal() {
        let prompt = |text: &str| rpassword::prompt_password(text).map(Zeroizing::new);
        (
            prompt("Password: ").map_err(told)?,
            prompt("Reenter password: ").map_err(told)?,
        )
    } else {
        // From a script, twice as well, as mosquitto_passwd reads it.
        let mut input = io::stdin().lock();
        (
            line(&mut input).map_err(told)?,
            line(&mut input).map_err(told)?,
        )
    };
    if *first != *second {
        return Err(failed("the passwords do not match"));
    }
    Ok(first)
}

fn line(input: &mut impl BufRead) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    input.read_line(&mut text)?;
    let length = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(length);
    Ok(text)
}

fn hash(password: &str, algorithm: HashAlgorithm) -> Result<String, Stop> {
    if password.is_empty() {
        return Err(failed("an empty password is not accepted"));
    }
    if password.contains('\0') {
        return Err(failed("a password holds no NUL"));
    }
    StoredHash::create(password.as_bytes(), algorithm)
        .map(|hash| hash.as_str().to_owned())
        .map_err(|error| failed(format!("the password cannot be hashed: {error}")))
}

fn read(file: &Path) -> Result<Zeroizing<String>, Stop> {
    match fs::read_to_string(file) {
        Ok(text) if text.trim_start().starts_with('{') => Err(failed(format!(
            "{} has its users in JSON; edit it there, or take them over with --import",
            file.display()
        ))),
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(failed(format!(
            "{} does not exist; make it with -c",
            file.display()
        ))),
        Err(error) => Err(failed(format!("{}: {error}", file.display()))),
    }
}

/// Replaces the file whole. Owner and group stay, and only the owner may read.
fn write(file: &Path, text: &str) -> Result<(), Stop> {
    replace(file, text, |target, owner| {
        err(&format!(
            "warning: {} belongs to you now; give it back to account {owner}\n",
            target.display(),
        ));
    })
    .map_err(|error| failed(format!("{}: {error}", file.display())))
}

/// What stands before the hash of a line: `!` for a user that is switched off.
fn mark(line: &str) -> &'static str {
    let stored = line.split_once(':').map_or("", |(_, stored)| stored.trim());
    if stored.starts_with('!') { "!" } else { "" }
}

fn switch(file: &Path, user: &str, on: bool) -> Result<(), Stop> {
    let _locked = locked(file);
    let old = read(file)?;
    let mut new = Zeroizing::new(String::with_capacity(old.len() + 1));
    let mut found = false;
    for line in old.lines() {
        match line.split_once(':') {
            Some((name, stored)) if is_user(line, user) => {
                found = true;
                let stored = stored.trim_start();
                let stored = stored.strip_prefix('!').unwrap_or(stored);
                let mark = if on { "" } else { "!" };
                new.push_str(&format!("{name}:{mark}{stored}"));
            }
            _ => new.push_str(line),
        }
        new.push('\n');
    }
    if !found {
        return Err(failed(format!("user {user} is not in {}", file.display())));
    }
    write(file, &new)?;
    let did = if on { "Enabled" } else { "Disabled" };
    err(&format!("{did} user {user}\n"));
    Ok(())
}

/// Takes over the users of a file in JSON (requirement C15), each in the place of one of its name.
fn import(json: &Path, arguments: &Passwd) -> Result<(), Stop> {
    let text = fs::read(json).map(Zeroizing::new);
    let text = text.map_err(|error| failed(format!("{}: {error}", json.display())))?;
    if !text.trim_ascii_start().starts_with(b"{") {
        return Err(failed(format!("{} is not JSON", json.display())));
    }
    let (users, _) = PasswordFile::parse(&*text).map_err(|errors| {
        let lines = errors.iter().map(|error| {
            let place = format!("{}:{}:{}", json.display(), error.line, error.column);
            format!("\n  {place}: {}", error.message)
        });
        failed(format!("nothing was changed:{}", lines.collect::<String>()))
    })?;
    let _locked = locked(&arguments.file);
    let mut new = if arguments.create {
        Zeroizing::new(String::new())
    } else {
        read(&arguments.file)?
    };
    let mut names: Vec<&str> = users.names().collect();
    names.sort_unstable();
    for name in &names {
        check_name(name)?;
        if let Some(hash) = users.hash_of(name) {
            let mark = if users.is_disabled(name) { "!" } else { "" };
            new = with_line(&new, name, &format!("{name}:{mark}{}", hash.as_str())).0;
        }
    }
    write(&arguments.file, &new)?;
    err(&format!("Imported {} user(s)\n", names.len()));
    let grouped = users.groups().count();
    if grouped > 0 {
        err(&format!(
            "note: {grouped} of them are in groups, which a group_file is for\n"
        ));
    }
    Ok(())
}

/// Keeps a broker with `rehash_on_login` from writing meanwhile, where the file system can.
fn locked(file: &Path) -> Option<fs::File> {
    lock(file).ok()
}

fn delete(file: &Path, user: &str) -> Result<(), Stop> {
    let _locked = locked(file);
    let old = read(file)?;
    if !old.lines().any(|line| is_user(line, user)) {
        return Err(failed(format!("user {user} is not in {}", file.display())));
    }
    let mut new = Zeroizing::new(String::with_capacity(old.len()));
    for line in old.lines().filter(|line| !is_user(line, user)) {
        new.push_str(line);
        new.push('\n');
    }
    write(file, &new)?;
    err(&format!("Deleted user {user}\n"));
    Ok(())
}

/// Hashes every password that stands in clear. What is hashed already stays, so that a second run
/// changes nothing; `mosquitto_passwd` would hash the hashes.
fn upgrade(file: &Path, algorithm: HashAlgorithm, rules: &PasswordRules) -> Result<(), Stop> {
    let _locked = locked(file);
    let old = read(file)?;
    let mut new = Zeroizing::new(String::with_capacity(old.len() * 4));
    let mut problems = String::new();
    let mut count = 0;
    for (number, line) in (1..).zip(old.lines()) {
        match clear_password(line) {
            Ok(Some((_, password))) if let Err(problem) = rules.check(password) => {
                problems.push_str(&format!("\n  {}:{number}: {problem}", file.display()));
            }
            Ok(Some((user, password))) if problems.is_empty() => {
                new.push_str(&format!("{user}:{}", hash(password, algorithm)?));
                count += 1;
            }
            Ok(_) => new.push_str(line),
            Err(problem) => {
                problems.push_str(&format!("\n  {}:{number}: {problem}", file.display()));
            }
        }
        new.push('\n');
    }
    if !problems.is_empty() {
        return Err(failed(format!("nothing was changed:{problems}")));
    }
    write(file, &new)?;
    let passwords = if count == 1 { "password" } else { "passwords" };
    err(&format!("Hashed {count} {passwords}\n"));
    Ok(())
}

/// User and password of a line with a password in clear; `None` for one without.
fn clear_password(line: &str) -> Result<Option<(&str, &str)>, &'static str> {
    if line.starts_with('#') {
        return Ok(None);
    }
    let Some((user, password)) = line.split_once(':') else {
        return Ok(None);
    };
    let password = password.trim();
    let stored = password.split(':').next().unwrap_or_default().trim();
    // Switched off, and hashed already; else the `!` is part of the password.
    if let Some(rest) = stored.strip_prefix('!')
        && StoredHash::parse(rest, &HashLimits::default()).is_ok()
    {
        return Ok(None);
    }
    let parsed = StoredHash::parse(stored, &HashLimits::default());
    match parsed.map_err(|error| error.problem) {
        Ok(_) => Ok(None),
        Err(HashProblem::Empty) => Err("the password is empty"),
        // mosquitto_passwd would hash what stands before the colon, without a word.
        Err(_) if password.contains(':') => {
            Err("the password holds a colon, which ends it for mosquitto; set it by itself")
        }
        Err(HashProblem::NotAHash) => Ok(Some((user, password))),
        Err(_) => Err("this looks like a hash and is none; set the password by itself"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_the_place_of_the_users_old_ones() {
        let old = "# users\nalice:x\nbob:y\n alice :z\n";
        let (new, replaced) = with_line(old, "alice", "alice:new");
        assert_eq!(*new, "# users\nalice:new\nbob:y\n");
        assert!(replaced);
        let (new, replaced) = with_line("bob:y", "alice", "alice:new");
        assert_eq!(*new, "bob:y\nalice:new\n");
        assert!(!replaced);
    }

    #[test]
    fn names_that_the_file_cannot_hold_are_refused() {
        for name in ["", " ", "a:b", "a\n", "a\u{7f}", " a", "a ", "#a"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["a", "a b", "ä", "a#", "+/#"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn only_passwords_in_clear_are_upgraded() {
        assert_eq!(clear_password("a: pw \r"), Ok(Some(("a", "pw"))));
        assert_eq!(clear_password("a:$money"), Ok(Some(("a", "$money"))));
        assert_eq!(clear_password("# a:pw"), Ok(None));
        assert_eq!(clear_password("no colon"), Ok(None));
        let hashed = StoredHash::create(b"pw", HashAlgorithm::Sha512).unwrap();
        assert_eq!(clear_password(&format!("a:{}", hashed.as_str())), Ok(None));
        assert!(clear_password("a:").is_err());
        assert!(clear_password("a:pass:word").is_err());
        assert!(clear_password("a:$7$x$y$z").is_err());
    }
}
