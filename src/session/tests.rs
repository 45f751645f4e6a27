//! What MQTT says happens next, one sentence a test: packets in, packets out, no socket.

mod aliases;
mod connack;
mod delivering;
mod ending;
mod exchanges;
mod offering;
mod opening;
mod peer;
mod receiving;
mod resuming;

pub(crate) mod wire;
