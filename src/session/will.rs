//! The Will Message as a client left it in CONNECT.

use crate::codec::{self, QoS};

/// A Will Message waiting for the connection to end (MQTT 5.0 section 3.1.2.5).
#[derive(Clone, Debug)]
pub struct Will {
    /// Will Topic, without mount point.
    pub topic: Box<str>,
    /// Will Payload.
    pub payload: Box<[u8]>,
    /// Response Topic, which is among the properties too.
    pub response_topic: Option<Box<str>>,
    /// Forwardable will properties in wire form and order [MQTT-3.1.3-10].
    pub properties: Box<[u8]>,
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will Delay Interval in seconds.
    pub delay_s: u32,
    /// Message Expiry Interval in seconds, counted from when the will is published.
    pub expiry_interval_s: Option<u32>,
}

impl Will {
    pub(crate) fn from_connect(will: &codec::Will<'_>) -> Self {
        let mut properties = Vec::new();
        will.properties.copy_forwardable(&mut properties);
        Self {
            topic: will.topic.into(),
            payload: will.payload.into(),
            response_topic: will.response_topic.map(Into::into),
            properties: properties.into(),
            qos: will.qos,
            retain: will.retain,
            delay_s: will.delay_interval_s,
            expiry_interval_s: will.expiry_interval_s,
        }
    }
}
