//! `portcullis store salvage`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use crate::app::cli::{Environment, Stop};
use crate::app::keeping::wall_ms;
use crate::app::out;
use crate::store::StoreSettings;

use super::{Which, stop};

/// `store salvage`.
#[derive(Clone, Debug, Args)]
pub struct Salvage {
    #[command(flatten)]
    which: Which,
    /// Where the new store is made.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// Runs it.
pub(super) fn run(arguments: &Salvage, environment: Environment) -> Result<(), Stop> {
    let from = arguments.which.directory(environment)?;
    let to = StoreSettings::new(&arguments.to);
    let lost = crate::store::salvage(super::disk(), &from, &to, Instant::now(), wall_ms())
        .map_err(stop)?;
    for damage in &lost {
        out(&format!("lost: {damage}\n"));
    }
    out(&format!(
        "{} holds what can be read of {}: {} places could not be\n",
        arguments.to.display(),
        from.display(),
        lost.len()
    ));
    Ok(())
}
