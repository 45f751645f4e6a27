//! Build it, run it, reload it, stop it.

pub mod cli;
mod process;
