//! `portcullis store check`.

use clap::Args;

use crate::app::cli::{Environment, STORAGE, Stop};
use crate::app::out;

use super::Which;

/// `store check`.
#[derive(Clone, Debug, Args)]
pub struct Check {
    #[command(flatten)]
    which: Which,
}

/// Runs it.
pub(super) fn run(arguments: &Check, environment: Environment) -> Result<(), Stop> {
    let store = super::inspect(&arguments.which, environment)?;
    let totals = store.totals();
    for damage in store.damages() {
        out(&format!("{damage}\n"));
    }
    if totals.torn_bytes > 0 {
        out(&format!(
            "{} bytes at the end were being written when the broker ended; they were not acknowledged, and the \
             next start cuts them off\n",
            totals.torn_bytes
        ));
    }
    out(&format!(
        "{} segments, {} bytes, {} batches up to number {}: {}\n",
        totals.segments,
        totals.used_bytes,
        if totals.last_batch == 0 { "no" } else { "all" },
        totals.last_batch,
        match store.damages().len() {
            0 => "sound".to_owned(),
            1 => "1 place is damaged".to_owned(),
            count => format!("{count} places are damaged"),
        }
    ));
    if store.damages().is_empty() {
        return Ok(());
    }
    // Everything is said already.
    Err(Stop {
        code: STORAGE,
        text: String::new(),
    })
}
