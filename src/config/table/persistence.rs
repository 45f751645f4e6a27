//! What survives a restart.

use std::time::Duration;

use crate::config::directive::{Directive, Reload, Repeat, Scope, Section};
use crate::config::lexer::{Line, Word};
use crate::config::settings::Settings;
use crate::config::table::limits::INT;
use crate::config::value::{Value, ValueError, choice, first, int, positive, text};
use crate::store::{OnDamage, SyncPolicy};

const AT_ONCE: &str = "everything is on the disk before it is acknowledged; there is nothing left to save now \
                       and then";

pub(super) static DIRECTIVES: &[Directive] = &[
    Directive::global("persistence", "BOOL", Value::Bool(|settings, value| {
        settings.persistence.enabled = value;
    }))
    .aliases(&["retained_persistence"])
    .section(Section::Persistence)
    .reload(Reload::NeedsRestart)
    .default("false")
    .meaning(
        "Whether sessions, what waits for them, retained messages and wills survive a restart, a kill and a \
         power cut. What is acknowledged was written before.",
    ),
    Directive::global("persistence_location", "DIRECTORY", Value::Path(|settings, path| {
        settings.persistence.location = Some(path);
    }))
    .section(Section::Persistence)
    .repeat(Repeat::Error)
    .reload(Reload::NeedsRestart)
    .unset("the current directory")
    .example("/var/lib/portcullis")
    .meaning(
        "Where the store's directory is made. The environment variable MOSQUITTO_PERSISTENCE_LOCATION beats this \
         line, as with mosquitto. The store itself is for the broker's account alone: it is made with mode 0700, \
         and hardened refuses one that group or world can look into.",
    ),
    Directive::global("persistence_file", "NAME", Value::Parsed(file))
    .section(Section::Persistence)
    .repeat(Repeat::Error)
    .reload(Reload::NeedsRestart)
    .default("store")
    .meaning(
        "Name of the store's directory. mosquitto's database is a file: `portcullis store import-mosquitto` \
         reads it.",
    ),
    Directive::ignored("autosave_interval", Scope::Global, "SECONDS", AT_ONCE)
        .section(Section::Persistence)
        .meaning("How often mosquitto's database is written."),
    Directive::ignored("autosave_on_changes", Scope::Global, "BOOL", AT_ONCE)
        .section(Section::Persistence)
        .meaning("Whether autosave_interval counts changes."),
    Directive::global("store_max_bytes", "N", Value::Int(0..=i64::MAX, |settings, value| {
        settings.persistence.max_bytes = positive(value);
    }))
    .own()
    .section(Section::Persistence)
    .unit("bytes")
    .reload(Reload::NeedsRestart)
    .default("8589934592")
    .meaning(
        "Most bytes of disk for the store; 0 is no limit. A little below it, what would be kept is refused (0x97) \
         until clients have taken what waits for them.",
    ),
    Directive::global("store_max_messages", "N", Value::Int(0..=INT, |settings, value| {
        settings.persistence.max_messages = positive(value);
    }))
    .own()
    .section(Section::Persistence)
    .unit("messages")
    .reload(Reload::NeedsRestart)
    .default("0")
    .meaning("Most messages that wait in the store, of all clients together; 0 is no limit."),
    Directive::global("store_sync", "always|interval MS", Value::Parsed(sync))
        .own()
        .section(Section::Persistence)
        .reload(Reload::NeedsRestart)
        .default("always")
    .meaning(
        "When something counts as kept: when the disk has it, or when the operating system has it and the disk is \
         told at this interval (10 to 60000 ms). With the latter a power cut takes what was acknowledged since.",
    ),
    Directive::global("commit_linger_us", "N", Value::Int(0..=5_000, |settings, value| {
        settings.persistence.linger = Duration::from_micros(positive(value));
    }))
    .own()
    .section(Section::Persistence)
    .unit("microseconds")
    .reload(Reload::NeedsRestart)
    .default("0")
    .meaning("How long a commit waits for others to share its sync: for disks whose sync takes long."),
    Directive::global("store_on_damage", "refuse|quarantine", Value::Choice(
        &["refuse", "quarantine"],
        |settings, index| {
            settings.persistence.on_damage = [OnDamage::Refuse, OnDamage::Quarantine][index];
        },
    ))
    .own()
    .section(Section::Persistence)
    .reload(Reload::NeedsRestart)
    .default("refuse")
    .meaning(
        "What is done at the start about a store that is damaged: do not start and say where, or set the log aside \
         and go on with what can be read of it.",
    ),
];

fn sync(settings: &mut Settings, line: &Line) -> Result<String, ValueError> {
    let word = first(line)?;
    let index = choice(word, &["always", "interval"])?;
    let words = line.words_before_comment();
    if index == 0 {
        ends_after(&words, 1)?;
        settings.persistence.sync = SyncPolicy::Always;
        return Ok(word.text.to_owned());
    }
    let Some(&number) = words.get(1) else {
        let error = ValueError::new(word.at, "`interval` has no length");
        return Err(error.help("write the milliseconds, for example `store_sync interval 1000`"));
    };
    let interval_ms = positive(int(number, &(10..=60_000))?);
    ends_after(&words, 2)?;
    settings.persistence.sync = SyncPolicy::Interval(Duration::from_millis(interval_ms));
    Ok(format!("interval {interval_ms}"))
}

/// Whoever writes more than is read means something by it, and about what is kept nobody should guess.
fn ends_after(words: &[Word<'_>], read: usize) -> Result<(), ValueError> {
    let Some((known, [surplus, ..])) = words.split_at_checked(read) else {
        return Ok(());
    };
    let known: Vec<&str> = known.iter().map(|word| word.text).collect();
    let message = format!(
        "`{}` has no place behind `{}`",
        surplus.text,
        known.join(" ")
    );
    Err(ValueError::new(surplus.at, message)
        .help("write `always` alone, or `interval` with milliseconds; a comment begins with `#`"))
}

/// The name of a directory, not a path.
fn file(settings: &mut Settings, line: &Line) -> Result<String, ValueError> {
    let name = text(line)?;
    if name.contains('/') || matches!(name, "." | "..") {
        let error = ValueError::new(line.value_at(), format!("`{name}` is not a name"));
        return Err(error.help("write the directory in front of it as `persistence_location`"));
    }
    name.clone_into(&mut settings.persistence.name);
    Ok(name.to_owned())
}
