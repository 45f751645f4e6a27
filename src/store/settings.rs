//! What the operator chose about the store.

use std::path::PathBuf;
use std::time::Duration;

/// When a commit counts as done (`store_sync`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// When the disk has it: nothing acknowledged is lost, also when the power fails.
    #[default]
    Always,
    /// When the operating system has it; the disk is told at this interval. A killed broker loses nothing, a
    /// power cut what was acknowledged since the last time.
    Interval(Duration),
}

/// What to do about a store that is damaged (`store_on_damage`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// Do not start; say what is damaged and where.
    #[default]
    Refuse,
    /// Set the damaged files aside, go on with what can be read, and say so until the operator has looked.
    Quarantine,
}

/// Where the store is, and its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// The directory that holds it: `persistence_location` and in it `persistence_file`.
    pub directory: PathBuf,
    /// `store_max_bytes`: most bytes on disk; 0 is no limit.
    pub max_bytes: u64,
    /// `store_max_messages`: most messages that wait in it for all clients together; 0 is no limit.
    pub max_messages: u64,
    /// `store_sync`.
    pub sync: SyncPolicy,
    /// `commit_linger_us`: how long a commit waits for others to share its sync. At most 5 ms.
    pub linger: Duration,
    /// `store_on_damage`.
    pub on_damage: OnDamage,
    /// Size of a segment file in bytes. 64 MiB but in tests.
    pub segment_bytes: u32,
}

impl StoreSettings {
    /// As the configuration has it when it says nothing, in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            max_bytes: 8 << 30,
            max_messages: 0,
            sync: SyncPolicy::Always,
            linger: Duration::ZERO,
            on_damage: OnDamage::Refuse,
            segment_bytes: 64 << 20,
        }
    }
}
