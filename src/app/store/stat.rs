//! `portcullis store stat`.

use clap::Args;
use serde_json::json;

use crate::app::cli::{Environment, Stop};
use crate::app::out;
use crate::store::Stage;

use super::Which;

/// `store stat`.
#[derive(Clone, Debug, Args)]
pub struct Stat {
    #[command(flatten)]
    which: Which,
    /// One JSON object for a program to read.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(super) fn run(arguments: &Stat, environment: Environment) -> Result<(), Stop> {
    let mut store = super::inspect(&arguments.which, environment)?;
    let totals = store.totals();
    let found = store.take();
    let subscriptions: usize = found
        .sessions
        .iter()
        .map(|session| session.subscriptions.len())
        .sum();
    let on_their_way = found
        .sessions
        .iter()
        .flat_map(|session| &session.queue)
        .filter(|queued| queued.stage != Stage::Queued)
        .count();
    let retained_bytes: usize = found
        .retained
        .iter()
        .map(|message| message.size_bytes())
        .sum();
    let counts = totals.counts;
    let rows = [
        ("sessions", found.sessions.len() as u64),
        ("subscriptions", subscriptions as u64),
        ("messages_queued", counts.queued),
        ("messages_queued_bytes", counts.queued_bytes),
        ("messages_on_their_way", on_their_way as u64),
        ("retained", found.retained.len() as u64),
        ("retained_bytes", retained_bytes as u64),
        ("wills", found.wills.len() as u64),
        ("segments", totals.segments as u64),
        ("used_bytes", totals.used_bytes),
        ("live_bytes", counts.live_bytes),
        ("last_batch", totals.last_batch),
        ("last_time_ms", totals.last_time_ms),
        ("damaged_places", store.damages().len() as u64),
    ];
    if arguments.json {
        let object: serde_json::Map<_, _> = rows
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        out(&format!("{:#}\n", serde_json::Value::Object(object)));
        return Ok(());
    }
    for (name, value) in rows {
        out(&format!("{:<24}{value}\n", name.replace('_', " ")));
    }
    Ok(())
}
