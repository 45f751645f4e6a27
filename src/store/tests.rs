//! The journal on a real disk and on one that fails, and the store in memory.

mod basics;
mod crash;
mod damage;
mod faults;
mod model;
mod world;
