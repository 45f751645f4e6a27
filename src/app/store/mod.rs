//! `portcullis store`: what is done with the store of a broker that does not run.

mod check;
mod dump;
mod import;
mod mosquitto;
mod salvage;
mod stat;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, Subcommand};

use super::cli::{Environment, INVALID, ProfileOption, STORAGE, Stop};
use super::keeping::wall_ms;
use crate::store::disk::{Disk, FileSystem};
use crate::store::{Inspected, OpenError};

/// What to do with a store.
#[derive(Clone, Debug, Subcommand)]
pub enum Store {
    /// Read all of a store and say what is damaged; nothing is changed.
    Check(check::Check),
    /// Say what is in it and how large it is.
    Stat(stat::Stat),
    /// Write out what is in it, as lines of JSON.
    Dump(dump::Dump),
    /// Make a new store of what can be read of a damaged one, which stays as it is.
    Salvage(salvage::Salvage),
    /// Make a new store of what mosquitto has kept (`mosquitto.db`, versions 4 to 6), before the first start. Run
    /// as root, `chown -R` it to the account of the broker afterwards.
    ImportMosquitto(import::Import),
}

/// Which store.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The directory of the store: `persistence_location` and in it `persistence_file`.
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The configuration that names it.
    #[arg(short, long, value_name = "FILE")]
    config_file: Option<PathBuf>,
}

impl Which {
    fn directory(&self, environment: Environment) -> Result<PathBuf, Stop> {
        match (&self.dir, &self.config_file) {
            (Some(dir), _) => Ok(dir.clone()),
            (None, Some(file)) => configured(file, environment),
            // clap asks for one of them.
            (None, None) => Err(stop("no store was named")),
        }
    }
}

/// The store that a configuration names.
fn configured(file: &Path, environment: Environment) -> Result<PathBuf, Stop> {
    let options = ProfileOption::default().load_options(environment)?;
    let loaded = crate::config::read(Some(file), &options);
    let errors: Vec<String> = loaded
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.is_error())
        .map(|diagnostic| format!("{diagnostic}\n"))
        .collect();
    if errors.is_empty() {
        return Ok(loaded.settings.persistence.directory());
    }
    Err(Stop {
        code: INVALID,
        text: errors.concat(),
    })
}

fn stop(text: impl std::fmt::Display) -> Stop {
    Stop {
        code: STORAGE,
        text: format!("error: {text}\n"),
    }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(FileSystem)
}

fn inspect(which: &Which, environment: Environment) -> Result<Inspected, Stop> {
    let directory = which.directory(environment)?;
    Inspected::read(&disk(), &directory, Instant::now(), wall_ms()).map_err(|error| match error {
        OpenError::Locked(_) => stop(format!(
            "{error}: stop the broker first, or copy the directory and look at the copy"
        )),
        error => stop(error),
    })
}

/// Runs it.
pub(super) fn run(command: &Store, environment: Environment) -> Result<(), Stop> {
    match command {
        Store::Check(arguments) => check::run(arguments, environment),
        Store::Stat(arguments) => stat::run(arguments, environment),
        Store::Dump(arguments) => dump::run(arguments, environment),
        Store::Salvage(arguments) => salvage::run(arguments, environment),
        Store::ImportMosquitto(arguments) => import::run(arguments, environment),
    }
}
