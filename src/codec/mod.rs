//! How packets look on the wire.

mod types;

pub use types::{PacketId, QoS, ReasonCode, Version};
