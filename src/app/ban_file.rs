//! `ban_file`: the bans in force as JSON lines, so that a restart frees nobody and an operator can read,
//! lift and add them.
//!
//! The broker replaces the file whenever a ban begins or ends, at most once a second. A line that somebody
//! took out lifts its ban; one that somebody put in begins one. Both sides hold a lock on the directory
//! from reading to writing. A file that is gone says nothing and is written again; one that cannot be read
//! as what it is changes nothing.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use crate::config::Diagnostic;
use crate::net::Sentry;
use crate::policy::{Ban, BanCause, Banned};

use super::replace::{lock, replace, try_lock};

/// A file of as many bans as there may be is smaller.
const MAX_BYTES: u64 = 32 << 20;
/// The longest ban a line can ask for.
const MAX_TIME: Duration = Duration::from_secs(31_536_000);

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) banned: Banned,
    pub(super) cause: BanCause,
    pub(super) until: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    until: String,
}

impl Entry {
    fn parse(line: &str) -> Result<Self, String> {
        let fields: Fields = serde_json::from_str(line).map_err(|error| {
            format!(
                "{error}; expected for example {{\"address\":\"192.0.2.7\",\"until\":\"2030-01-31T12:00:00Z\"}}"
            )
        })?;
        let address = address(&fields.address)?;
        let Some(banned) = Banned::new(address, fields.username.as_deref()) else {
            return Err("the user name is longer than 256 bytes".into());
        };
        let label = fields.reason.as_deref();
        let cause = label.unwrap_or(BanCause::Operator.label());
        let cause = BanCause::ALL
            .iter()
            .copied()
            .find(|known| known.label() == cause)
            .ok_or_else(|| {
                let known: Vec<_> = BanCause::ALL.iter().map(|cause| cause.label()).collect();
                format!("the reason is none of {}", known.join(", "))
            })?;
        let until = fields
            .until
            .parse()
            .map_err(|_| "`until` is no time such as 2030-01-31T12:00:00Z".to_owned())?;
        Ok(Self {
            banned,
            cause,
            until,
        })
    }

    fn of(ban: &Ban, now: Instant) -> Self {
        let left = ban.until.saturating_duration_since(now);
        // Whole seconds, and none too early.
        let seconds = i64::try_from(left.as_secs() + 1).unwrap_or(i64::MAX);
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        Self {
            banned: ban.banned.clone(),
            cause: ban.cause,
            until: now.saturating_add(seconds.seconds()).unwrap_or(now),
        }
    }

    /// How much of it is left.
    pub(super) fn left(&self) -> Option<Duration> {
        let left = self.until.duration_since(Timestamp::now());
        let left = Duration::try_from(left).ok()?;
        (!left.is_zero()).then(|| left.min(MAX_TIME))
    }

    fn line(&self) -> String {
        let fields = Fields {
            address: shown(self.banned.address),
            username: self.banned.user.as_deref().map(str::to_owned),
            reason: Some(self.cause.label().to_owned()),
            until: self.until.to_string(),
        };
        serde_json::to_string(&fields).unwrap_or_default()
    }
}

/// IPv6 with the length of the network that it stands for.
pub(super) fn shown(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("{address}/64"),
    }
}

/// As [`shown`], or without the length.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_suffix("/64").filter(|bare| bare.contains(':'));
    bare.unwrap_or(text)
        .parse()
        .map_err(|_| format!("{text:?} is no address such as 192.0.2.7 or 2001:db8::/64"))
}

/// Reads lines; every one that is wrong is told with its number.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, Vec<(u32, String)>> {
    let (mut entries, mut errors) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        match Entry::parse(line) {
            Ok(entry) => entries.push(entry),
            Err(message) => errors.push((number, message)),
        }
    }
    if errors.is_empty() {
        Ok(entries)
    } else {
        Err(errors)
    }
}

/// The file's text; `None` if there is no file.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is larger than 32 MiB"));
    }
    Ok(Some(text))
}

/// Gives the text that it wrote.
pub(super) fn write(path: &Path, entries: &[Entry]) -> io::Result<String> {
    let mut text = String::new();
    for entry in entries {
        let _ = writeln!(text, "{}", entry.line());
    }
    replace(path, &text, |_, _| {})?;
    Ok(text)
}

/// What is wrong with the file, for `check`, start and reload. A file that is not there is none.
pub(super) fn problems(path: &Path) -> Vec<Diagnostic> {
    let text = match read(path) {
        Ok(text) => text.unwrap_or_default(),
        Err(error) => {
            let message = format!("ban_file {} cannot be read: {error}", path.display());
            return vec![Diagnostic::error(message)];
        }
    };
    let errors = parse(&text).err().unwrap_or_default();
    errors
        .into_iter()
        .map(|(line, message)| Diagnostic::error(message).at_line(path, line, None, None))
        .collect()
}

/// How the file looks from outside.
type Look = (u64, u64, i64, i64);

fn look(path: &Path) -> Option<Look> {
    let data = fs::metadata(path).ok()?;
    let changed = data.ctime().saturating_mul(1_000_000_000) + data.ctime_nsec();
    let written = data.mtime().saturating_mul(1_000_000_000) + data.mtime_nsec();
    Some((data.ino(), data.size(), written, changed))
}

/// The file of a running broker.
#[derive(Debug)]
pub(crate) struct BanFile {
    path: PathBuf,
    looked: Option<Look>,
    /// What stood in it when it was last read or written: what is missing of this was taken out.
    known: BTreeSet<Banned>,
    version: u64,
    /// It was told that it cannot be read or written.
    told: bool,
}

impl BanFile {
    /// Puts the bans of the file in force, and writes it.
    ///
    /// # Errors
    /// It cannot be read or written, or is not what it should be.
    pub(crate) fn open(path: &Path, sentry: &Sentry) -> io::Result<Self> {
        let named = |error: &dyn std::fmt::Display| {
            io::Error::other(format!("ban_file {}: {error}", path.display()))
        };
        let _locked = lock(path).map_err(|error| named(&error))?;
        let text = read(path).map_err(|error| named(&error))?;
        let entries = parse(&text.unwrap_or_default()).map_err(|errors| {
            let (line, message) = errors.into_iter().next().unwrap_or_default();
            named(&format!("line {line}: {message}"))
        })?;
        let mut file = Self {
            path: path.to_owned(),
            looked: None,
            known: BTreeSet::new(),
            version: 0,
            told: false,
        };
        for entry in entries {
            if let Some(left) = entry.left() {
                sentry.restore(entry.banned, entry.cause, left);
            }
        }
        file.put(sentry).map_err(|error| named(&error))?;
        Ok(file)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes what somebody changed in the file, and writes what has changed here. To be called each
    /// second.
    pub(crate) fn tick(&mut self, sentry: &Sentry) {
        let edited = look(&self.path) != self.looked;
        if !edited && self.version == sentry.bans.version() {
            return;
        }
        match self.exchange(sentry) {
            Ok(()) => self.told = false,
            Err(error) if self.told => drop(error),
            Err(error) => {
                self.told = true;
                tracing::error!("ban_file {}: {error}", self.path.display());
            }
        }
    }

    fn exchange(&mut self, sentry: &Sentry) -> io::Result<()> {
        // Somebody edits it: the next second will do.
        let Some(_locked) = try_lock(&self.path)? else {
            return Ok(());
        };
        if look(&self.path) != self.looked {
            self.take(sentry)?;
        }
        self.put(sentry)
    }

    /// Lifts what was taken out and bans what was put in.
    fn take(&mut self, sentry: &Sentry) -> io::Result<()> {
        let Some(text) = read(&self.path)? else {
            return Ok(());
        };
        let entries = parse(&text).map_err(|errors| {
            // Until it is mended nothing is written either, so that the operator finds his own lines.
            let (line, message) = errors.into_iter().next().unwrap_or_default();
            io::Error::other(format!("line {line}: {message}"))
        })?;
        let now: BTreeSet<&Banned> = entries.iter().map(|entry| &entry.banned).collect();
        for gone in self.known.iter().filter(|known| !now.contains(known)) {
            sentry.lift(gone);
        }
        for entry in &entries {
            if !self.known.contains(&entry.banned)
                && let Some(left) = entry.left()
            {
                sentry.ban(&entry.banned, entry.cause, left);
            }
        }
        Ok(())
    }

    fn put(&mut self, sentry: &Sentry) -> io::Result<()> {
        // First, so that a ban that begins meanwhile is written the next time.
        let version = sentry.bans.version();
        let now = Instant::now();
        let bans = sentry.bans.list(now);
        let entries: Vec<Entry> = bans.iter().map(|ban| Entry::of(ban, now)).collect();
        let written = write(&self.path, &entries)?;
        self.version = version;
        // Somebody may have changed it since: then it looks like nothing we know.
        let looked = look(&self.path);
        let is_ours = read(&self.path)?.as_ref() == Some(&written);
        self.looked = looked.filter(|_| is_ours);
        self.known = entries.into_iter().map(|entry| entry.banned).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_as_what_it_was() {
        for (address, user) in [
            ("192.0.2.7", None),
            ("2001:db8:1:2::9", None),
            ("192.0.2.7", Some("a\"b\n\u{1b}[2J")),
        ] {
            let address = address.parse().expect("an address");
            let entry = Entry {
                banned: Banned::new(address, user).expect("short"),
                cause: BanCause::AuthFailures,
                until: "2030-01-31T12:00:00Z".parse().expect("a time"),
            };
            let line = entry.line();
            assert!(!line.contains(['\n', '\u{1b}']), "{line}");
            assert_eq!(parse(&line), Ok(vec![entry]));
        }
    }

    #[test]
    fn an_operator_may_leave_out_the_reason_and_the_length_of_a_network() {
        let text = "\n{\"address\":\"2001:db8::5\",\"until\":\"2030-01-31T12:00:00+01:00\"}\n";
        let entries = parse(text).expect("it is right");
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].cause, BanCause::Operator);
        assert_eq!(shown(entries[0].banned.address), "2001:db8::/64");
        assert_eq!(entries[0].until.to_string(), "2030-01-31T11:00:00Z");
    }

    #[test]
    fn every_wrong_line_is_told_with_its_number_and_what_was_expected() {
        let good = "{\"address\":\"192.0.2.7\",\"until\":\"2030-01-31T12:00:00Z\"}";
        let long = good.replace(
            "\"until\"",
            &format!("\"username\":\"{}\",\"until\"", "x".repeat(257)),
        );
        for (wrong, said) in [
            ("nonsense", "expected for example"),
            ("{\"address\":\"192.0.2.7\"}", "until"),
            (&good.replace("192.0.2.7", "host"), "is no address"),
            (&good.replace("192.0.2.7", "192.0.2.0/64"), "is no address"),
            (&good.replace("2030-01-31T12:00:00Z", "tomorrow"), "no time"),
            (
                &good.replace("\"until\"", "\"reason\":\"x\",\"until\""),
                "the reason is none of",
            ),
            (
                &good.replace("\"until\"", "\"more\":1,\"until\""),
                "unknown field",
            ),
            (&long, "longer than 256"),
        ] {
            let errors = parse(&format!("{good}\n{wrong}\n")).expect_err(wrong);
            assert_eq!(errors.len(), 1);
            assert_eq!(errors[0].0, 2);
            assert!(errors[0].1.contains(said), "{errors:?}");
        }
    }

    #[test]
    fn a_ban_is_written_for_no_less_than_what_is_left_of_it() {
        let now = Instant::now();
        let ban = Ban {
            banned: Banned::new([192, 0, 2, 7].into(), None).expect("short"),
            cause: BanCause::AuthFailures,
            until: now + Duration::from_secs(60),
        };
        let left = Entry::of(&ban, now).left().expect("not over");
        assert!((Duration::from_secs(59)..=Duration::from_secs(61)).contains(&left));
        let over = Entry {
            until: Timestamp::UNIX_EPOCH,
            ..Entry::of(&ban, now)
        };
        assert_eq!(over.left(), None);
        let far = Entry {
            until: Timestamp::MAX,
            ..Entry::of(&ban, now)
        };
        assert_eq!(far.left(), Some(MAX_TIME));
    }
}
