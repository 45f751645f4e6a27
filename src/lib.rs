//! Portcullis: a secure MQTT broker that stands between outside clients and inside servers.
//!
//! The code is built in floors; a module imports only from floors below its own, and
//! `tests/floors.rs` holds the table. Read from the bottom: [`topic`] knows Topic Names and
//! Topic Filters, [`codec`] knows packets, [`message`] what is routed, [`policy`] who may do what,
//! [`session`] what MQTT says happens next, [`auth`] who somebody is, [`audit`] who is told,
//! [`broker`] who receives, [`net`] moves bytes, [`config`] reads what the operator wrote, and
//! [`app`] builds, runs, reloads and stops it all. `docs/architecture.md` tells the path of one
//! message through them.

pub mod app;
pub mod audit;
pub mod auth;
pub mod broker;
pub mod codec;
pub mod config;
pub mod message;
pub mod net;
pub mod policy;
pub mod session;
pub mod store;
pub mod topic;
