//! `portcullis store`: what is done with a store while no broker runs on it.

#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the command that imports with it follows")
)]
mod mosquitto_db;
