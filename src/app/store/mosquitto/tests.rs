//! The reader on a file of a real mosquitto, on files built by hand, and on damaged ones.

#[path = "tests/building.rs"]
mod building;
#[path = "tests/damage.rs"]
mod damage;
#[path = "tests/making.rs"]
mod making;
#[path = "tests/older.rs"]
mod older;
#[path = "tests/real.rs"]
mod real;
