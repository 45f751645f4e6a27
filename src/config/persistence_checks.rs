//! What the directives of the store say together.

use std::path::Path;

use crate::config::builder::Builder;
use crate::config::changes::{Entry, Owner};
use crate::config::directive::{Repeat, Section};
use crate::config::{Diagnostic, FindingKind, LoadOptions, Located, Origin, Settings, table};
use crate::store::SyncPolicy;

/// Less leaves no room to work in: the store's reserve is two segments of 64 MiB.
const LEAST_BYTES: u64 = 256 << 20;
/// Memory that a message takes while it waits in the store.
const BYTES_OF_WAITING: usize = 130;

/// As mosquitto has it; what comes from there has no line.
const LOCATION_VARIABLE: &str = "MOSQUITTO_PERSISTENCE_LOCATION";

impl Builder {
    /// The environment beats the line.
    pub(super) fn settle_persistence(&mut self, options: &LoadOptions) {
        let persistence = &mut self.settings.persistence;
        let Some(location) = options
            .persistence_location
            .as_ref()
            .filter(|_| persistence.enabled)
        else {
            return;
        };
        let origin = Origin::built_in(LOCATION_VARIABLE);
        // A reload that changes the line changes nothing.
        let entry = Entry {
            value: location.display().to_string(),
            origin: origin.clone(),
        };
        let name = "persistence_location";
        self.settings
            .written
            .note(Owner::Global, name, Repeat::LastWins, entry);
        let written = persistence
            .location
            .replace(Located::new(location.clone(), origin));
        if let Some(written) = written
            && written.value != *location
        {
            let message = format!(
                "persistence_location is {}, by {LOCATION_VARIABLE}",
                location.display()
            );
            self.problems.push(
                Diagnostic::warning(message)
                    .at(&written.origin)
                    .help("the environment beats this line, as with mosquitto"),
            );
        }
    }

    pub(super) fn judge_persistence(&mut self) {
        let persistence = self.settings.persistence.clone();
        if !persistence.enabled {
            self.tell_unused();
            return;
        }
        if persistence.max_bytes != 0
            && persistence.max_bytes < LEAST_BYTES
            && let Some(origin) = self.line_of("store_max_bytes")
        {
            let message = format!(
                "`store_max_bytes {}` leaves the store no room to work in",
                persistence.max_bytes
            );
            let error = Diagnostic::error(message).at(&origin);
            let help = format!("write {LEAST_BYTES} (256 MiB) or more, or 0 for no limit");
            self.problems.push(error.help(help));
        }
        if let SyncPolicy::Interval(_) = persistence.sync
            && let Some(origin) = self.line_of("store_sync")
        {
            self.report(
                FindingKind::StoreNotSynced,
                &origin,
                "a power cut takes what was acknowledged since the last sync".to_owned(),
                "write `store_sync always`".to_owned(),
            );
        }
        let limits = &self.settings.limits;
        let most = limits.max_queued_messages.unwrap_or(0);
        let memory = limits.memory_limit.unwrap_or(u64::MAX);
        if most.saturating_mul(BYTES_OF_WAITING) as u64 > memory
            && let Some((origin, default)) = self.line_of_queue()
        {
            let message = format!(
                "one client that is away can take more than memory_limit: {most} messages of \
                 {BYTES_OF_WAITING} bytes each stay in memory, and the rest of them on the disk"
            );
            // 0 would be no limit at all.
            let help = match memory / BYTES_OF_WAITING as u64 {
                0 => "write a larger memory_limit".to_owned(),
                fit => format!(
                    "write at most {fit} for max_queued_messages{default}, or a larger memory_limit"
                ),
            };
            self.problems
                .push(Diagnostic::error(message).at(&origin).help(help));
        }
    }

    /// The line that makes the queue larger than the memory, and what to say if that is `memory_limit`'s.
    fn line_of_queue(&self) -> Option<(Origin, String)> {
        if let Some(origin) = self.line_of("max_queued_messages") {
            return Some((origin, String::new()));
        }
        let most = self.settings.limits.max_queued_messages?;
        let origin = self.line_of("memory_limit")?;
        Some((origin, format!(" (it is {most} by default)")))
    }

    fn line_of(&self, name: &'static str) -> Option<Origin> {
        let entry = self.settings.written.entry(Owner::Global, name)?;
        Some(entry.origin.clone())
    }

    /// Directives of the store without one.
    fn tell_unused(&mut self) {
        let names = table::directives()
            .filter(|directive| directive.section == Section::Persistence)
            .map(|directive| directive.name)
            .filter(|name| *name != "persistence");
        for name in names {
            if let Some(origin) = self.line_of(name) {
                let message = format!("`{name}` has no effect without `persistence true`");
                self.problems.push(Diagnostic::warning(message).at(&origin));
            }
        }
    }
}

impl Settings {
    /// What stands where the store would be made.
    pub fn check_store_place(&self) -> Vec<Diagnostic> {
        let Some(store) = self.persistence.store() else {
            return Vec::new();
        };
        let directory = store.directory.display();
        let line = |name| {
            let entry = self.written.entry(Owner::Global, name);
            entry.map(|entry| entry.origin.clone())
        };
        let conf = self.files.first().map(|file| file.display().to_string());
        let import = |database: &Path| {
            format!(
                "portcullis store import-mosquitto {} -c {}",
                database.display(),
                conf.as_deref().unwrap_or("FILE")
            )
        };
        if store.directory.is_file() {
            let error = Diagnostic::error(format!(
                "{directory} is a file, and the store is a directory"
            ));
            return vec![match line("persistence_file") {
                Some(origin) => error.at(&origin).help(format!(
                    "take this line out; if it is mosquitto's database, then `{}` reads it",
                    import(&store.directory)
                )),
                None => error
                    .at(&line("persistence").unwrap_or_default())
                    .help("write `persistence_file NAME` with another name"),
            }];
        }
        let database = store.directory.with_file_name("mosquitto.db");
        let is_new = matches!(store.directory.join("META").try_exists(), Ok(false));
        if !is_new || !database.is_file() {
            return Vec::new();
        }
        let message = format!(
            "{} looks like mosquitto's database, and the broker does not read it",
            database.display()
        );
        let help = format!(
            "`{}` makes a store of it, before the broker is started for the first time (if it was, stop it and move \
             {directory} away first)",
            import(&database)
        );
        let origin = line("persistence_location").or_else(|| line("persistence"));
        vec![
            Diagnostic::warning(message)
                .at(&origin.unwrap_or_default())
                .help(help),
        ]
    }
}
