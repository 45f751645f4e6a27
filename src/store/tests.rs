//! The journal on a real disk and on one that fails, and the store in memory.

mod basics;
mod clock;
mod crash;
mod damage;
mod failure;
mod faults;
mod fixtures;
mod long;
mod memory;
mod model;
mod suite;
mod world;
