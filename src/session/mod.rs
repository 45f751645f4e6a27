//! What MQTT says happens next: the state machine of one Network Connection and the Session State
//! that outlives it.
//!
//! Pure code: packets and deliveries go in, bytes for the peer and one [`Step`] for the caller
//! come out. It knows no socket, no clock, no other client and no rule about who may do what.
//! Start with `connection`.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod alias;
mod answers;
mod authentication;
mod available;
mod connection;
mod error;
mod inbound;
mod keep_alive;
mod opening;
mod outbound;
mod progress;
mod response_information;
mod state;
mod step;
mod topic_tokens;
mod will;

#[cfg(test)]
pub(crate) mod tests;

pub use answers::Goodbye;
pub use available::Available;
pub use connection::Connection;
pub use error::{LABELS, ProtocolError};
pub use opening::{Opening, Settings, open};
pub use outbound::Sent;
pub use progress::{Progress, Unfinished};
pub use response_information::ResponseInformation;
pub use state::SessionState;
pub use step::{Delivered, Incoming, IncomingTopic, Step, Tally};
pub use topic_tokens::{TOKEN_TOPIC, TopicTokenSettings, TopicTokens, Turned};
pub use will::Will;
