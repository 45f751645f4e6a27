//! The journal on a real disk.

mod basics;
mod world;
