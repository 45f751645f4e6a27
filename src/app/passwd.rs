//! `portcullis passwd`: `mosquitto_passwd`'s options, argon2id by default.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::auth::{hash_argon2id, hash_pbkdf2, hash_sha512};

use super::cli::{CANNOT_LISTEN, Passwd, Stop};
use super::{err, out};

/// Rounds of `$7$` when none are named: what OWASP asks of PBKDF2-HMAC-SHA512.
const PBKDF2_ROUNDS: u32 = 210_000;

fn failed(text: impl std::fmt::Display) -> Stop {
    Stop {
        // mosquitto_passwd knows 0 and 1.
        code: CANNOT_LISTEN,
        text: format!("error: {text}\n"),
    }
}

/// Runs it.
pub(super) fn run(arguments: &Passwd) -> Result<(), Stop> {
    if arguments.upgrade {
        return upgrade(arguments);
    }
    let Some(user) = arguments.user.as_deref() else {
        return Err(failed("name a user"));
    };
    check_name(user)?;
    if arguments.delete {
        return delete(&arguments.file, user);
    }
    let password = match &arguments.password {
        Some(password) => {
            err("warning: a password on the command line can be seen by other users of this host\n");
            password.0.clone()
        }
        None => ask()?,
    };
    let line = format!("{user}:{}\n", hash(arguments, password.as_bytes())?);
    if arguments.create && arguments.file == Path::new("-") {
        out(&line);
        return Ok(());
    }
    let old = if arguments.create {
        Zeroizing::new(String::new())
    } else {
        read(&arguments.file)?
    };
    let mut new = Zeroizing::new(String::with_capacity(old.len() + line.len()));
    let mut replaced = false;
    for existing in old.lines() {
        if is_user(existing, user) {
            new.push_str(line.trim_end());
            replaced = true;
        } else {
            new.push_str(existing);
        }
        new.push('\n');
    }
    if !replaced {
        new.push_str(&line);
    }
    write(&arguments.file, &new)?;
    err(&format!(
        "{} password for user {user}\n",
        if replaced { "Updating" } else { "Adding" }
    ));
    Ok(())
}

fn check_name(user: &str) -> Result<(), Stop> {
    if user.is_empty() || user.len() > 65_535 {
        return Err(failed("a user name has 1 to 65,535 bytes"));
    }
    if user.contains(|character: char| character == ':' || character.is_control()) {
        return Err(failed("a user name holds no colon and no control character"));
    }
    Ok(())
}

fn is_user(line: &str, user: &str) -> bool {
    !line.starts_with('#') && line.split_once(':').is_some_and(|(name, _)| name.trim() == user)
}

fn ask() -> Result<Zeroizing<String>, Stop> {
    let prompt = |text: &str| {
        rpassword::prompt_password(text)
            .map(Zeroizing::new)
            .map_err(|error| failed(format!("the password cannot be read: {error}")))
    };
    let first = prompt("Password: ")?;
    if first.is_empty() {
        return Err(failed("an empty password is not accepted"));
    }
    if *prompt("Reenter password: ")? != *first {
        return Err(failed("the passwords do not match"));
    }
    Ok(first)
}

fn hash(arguments: &Passwd, password: &[u8]) -> Result<String, Stop> {
    if password.contains(&0) {
        return Err(failed("a password holds no NUL"));
    }
    let hashed = match arguments.hash.as_str() {
        "sha512-pbkdf2" => hash_pbkdf2(password, arguments.iterations.unwrap_or(PBKDF2_ROUNDS)),
        "sha512" => hash_sha512(password),
        _ => hash_argon2id(password),
    };
    hashed.map_err(|error| failed(format!("the password cannot be hashed: {error}")))
}

fn read(file: &Path) -> Result<Zeroizing<String>, Stop> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(failed(format!(
            "{} does not exist; make it with -c",
            file.display()
        ))),
        Err(error) => Err(failed(format!("{}: {error}", file.display()))),
    }
}

/// Replaces the file whole: whoever reads it sees the old or the new one. Owner and group stay, and
/// only the owner may read.
fn write(file: &Path, text: &str) -> Result<(), Stop> {
    let told = |error: io::Error| failed(format!("{}: {error}", file.display()));
    // Through a link, so that the link stays one.
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = target.with_file_name(name);
    let result = (|| {
        let mut new = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        if let Ok(old) = fs::metadata(&target) {
            // Only root can give a file away; anybody else keeps their own.
            drop(std::os::unix::fs::fchown(&new, Some(old.uid()), Some(old.gid())));
        }
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        fs::rename(&temporary, &target)
    })();
    if result.is_err() {
        drop(fs::remove_file(&temporary));
    }
    result.map_err(told)
}

fn delete(file: &Path, user: &str) -> Result<(), Stop> {
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

/// Hashes every password that stands in clear; what is hashed already stays.
fn upgrade(arguments: &Passwd) -> Result<(), Stop> {
    let old = read(&arguments.file)?;
    let mut new = Zeroizing::new(String::with_capacity(old.len() * 4));
    let mut count = 0;
    for line in old.lines() {
        match line.split_once(':') {
            Some((user, password)) if !line.starts_with('#') && !password.trim().starts_with('$') => {
                new.push_str(&format!("{user}:{}", hash(arguments, password.as_bytes())?));
                count += 1;
            }
            _ => new.push_str(line),
        }
        new.push('\n');
    }
    write(&arguments.file, &new)?;
    err(&format!("Hashed {count} password(s)\n"));
    Ok(())
}
