//! What the configuration floor promises an operator: mosquitto's grammar, every error at once with
//! its place, defaults by profile, and refusals that name the way out.

mod abuse;
mod contexts;
mod documents;
mod grammar;
mod persistence;
mod profiles;
mod reload;
mod support;
mod tokens;
mod whole_files;
