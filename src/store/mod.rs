//! What survives a restart: sessions, what waits for them, retained messages, wills.
//!
//! The broker hands over batches of [`Record`]s and is told when they would survive a crash; until then
//! nothing is acknowledged that rests on them.

mod clock;
mod committer;
mod compaction;
mod decoding;
pub mod disk;
mod encoding;
mod error;
mod frame;
mod index;
mod inspect;
mod journal;
mod layout;
mod log;
mod memory;
#[doc(hidden)]
pub mod probe;
mod reader;
mod record;
mod recovery;
mod salvage;
mod scan;
mod settings;
mod sidecar;
mod wire;
mod writer;

#[cfg(test)]
mod tests;

pub use clock::Clock;
pub use error::{Damage, OpenError};
pub use index::IndexCounts;
pub use inspect::{Inspected, Totals};
pub use journal::{Journal, Wake};
pub use memory::Memory;
pub use record::{
    QueuedMessage, Receiver, Record, Recovered, RecoveredSession, Seq, SessionFacts, SessionKey,
    Stage, StoredMessage, StoredWill,
};
pub use salvage::salvage;
pub use settings::{OnDamage, StoreSettings, SyncPolicy};

use std::fmt::Debug;
use std::time::Duration;

/// Which commit: everything handed over up to it is done when it is.
pub type Ticket = u64;

/// Changes that are made together.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order in which they came about.
    pub records: Vec<Record>,
    /// Somebody waits for it; else it may ride along with the next one.
    pub urgent: bool,
}

/// How the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes what comes.
    Good = 0,
    /// It has no room: new messages, sessions and subscriptions are refused; what makes room is taken.
    Full = 1,
    /// The disk failed. What was handed over and is not committed never will be.
    Failed = 2,
}

/// What to read back.
#[derive(Clone, Debug)]
pub struct Query {
    /// Of which session.
    pub session: SessionKey,
    /// From this place,
    pub from: Seq,
    /// to this one.
    pub to: Seq,
    /// At most so many messages.
    pub most_messages: usize,
    /// At most so many bytes, but one message always.
    pub most_bytes: usize,
}

/// A part of a queue, read back.
#[derive(Debug, Default)]
pub struct Page {
    /// In order. What is not here and lies before `to` does not wait any more.
    pub messages: Vec<StoredMessage>,
    /// Up to where it was read.
    pub to: Seq,
    /// Messages that cannot be read, and why.
    pub unreadable: Vec<(Seq, String)>,
}

/// Called with what was read, on the store's own thread.
pub type Reply = Box<dyn FnOnce(Page) + Send>;

/// Numbers for metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    /// Batches written; each is one frame of many.
    pub commits: u64,
    /// Syncs of the disk, and the time they took.
    pub syncs: u64,
    /// Time they took.
    pub sync_time: Duration,
    /// Bytes written to the log.
    pub bytes_written: u64,
    /// Those of them that were written before.
    pub bytes_compacted: u64,
    /// Bytes that the log occupies.
    pub disk_bytes: u64,
    /// Its segments.
    pub segments: u64,
    /// Messages that could not be read back.
    pub unreadable: u64,
    /// Places that were set aside when the store was opened.
    pub quarantined: usize,
    /// Bytes of the log that are alive.
    pub live_bytes: u64,
    /// Messages in all queues.
    pub queued: u64,
    /// Bytes they are counted for.
    pub queued_bytes: u64,
    /// Sessions.
    pub sessions: usize,
    /// Retained messages.
    pub retained: usize,
}

/// What keeps the state of a broker.
pub trait Store: Send + Sync + Debug {
    /// Takes a batch. Batches are committed in the order of the calls, each whole or not at all.
    fn commit(&self, batch: Batch) -> Ticket;

    /// Everything up to this ticket would survive a crash.
    fn committed(&self) -> Ticket;

    /// How it is.
    fn standing(&self) -> Standing;

    /// Why it has failed.
    fn failure(&self) -> Option<String>;

    /// Whether more waits than one commit takes: who brings more does well to wait.
    fn is_crowded(&self) -> bool;

    /// A number for a new session; `None` if all were given out.
    fn new_session(&self) -> Option<SessionKey>;

    /// Reads back a part of a queue. What was handed over before is found.
    fn read(&self, query: Query, reply: Reply);

    /// Writes what makes the next start fast.
    fn checkpoint(&self);

    /// Writes what is left, and ends.
    fn close(&self);

    /// Numbers as of now.
    fn numbers(&self) -> Numbers;
}
