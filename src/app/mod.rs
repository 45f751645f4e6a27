//! Builds, runs, reloads and stops everything.

pub mod cli;
