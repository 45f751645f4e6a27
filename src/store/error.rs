//! Why a store cannot be opened, or does not work any more.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A place in the store that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// Number of the batch that should stand there, if it is known.
    pub pos: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.file.display(), self.offset)?;
        if let Some(pos) = self.pos {
            write!(f, " (batch {pos})")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{}: another process uses this store", .0.display())]
    Locked(PathBuf),
    /// It was written by a later version.
    #[error(
        "{}: the store has format {found}, this version reads up to {known}: it was written by a newer Portcullis",
        file.display()
    )]
    Newer {
        /// The file that says so.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The highest that is known.
        known: u32,
    },
    /// Something cannot be read that was acknowledged.
    #[error("{}", told(.0))]
    Damaged(Vec<Damage>),
    /// The file system refuses.
    #[error("{}: {error}", path.display())]
    Io {
        /// What was tried with.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

fn told(damages: &[Damage]) -> String {
    let mut text = String::from("the store is damaged; nothing was changed:");
    for damage in damages {
        text.push_str(&format!("\n  {damage}"));
    }
    text.push_str(
        "\n`portcullis store check` tells all of it; `portcullis store salvage` makes a new store of what can be \
         read; `store_on_damage quarantine` does so at the start",
    );
    text
}

impl OpenError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }
}
