//! What survives a restart: sessions, what waits for them, retained messages, wills.
//!
//! The broker hands over batches of [`Record`]s and is told when they would survive a crash; until then
//! nothing is acknowledged that rests on them.

mod settings;

pub use settings::{OnDamage, StoreSettings, SyncPolicy};
