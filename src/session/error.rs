//! The peer broke the protocol.

use std::fmt;

use crate::codec::{DecodeError, ReasonCode};

/// A violation of MQTT by the peer: the connection ends, and its will is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolError {
    /// What a 5.0 client is told in DISCONNECT.
    pub reason: ReasonCode,
    /// Label of the closed set that the `malformed packets` metric uses.
    pub label: &'static str,
    /// The statement that was broken, such as `MQTT-3.1.0-2`, or the section that says so without
    /// a number.
    pub statement: &'static str,
}

impl ProtocolError {
    pub(crate) const fn new(
        reason: ReasonCode,
        label: &'static str,
        statement: &'static str,
    ) -> Self {
        Self {
            reason,
            label,
            statement,
        }
    }
}

/// Every label [`ProtocolError`] can carry that does not come from the decoder: the metric starts
/// each at zero.
pub const LABELS: &[&str] = &[
    "second_connect",
    "receive_maximum_exceeded",
    "topic_alias_invalid",
    "topic_alias_unknown",
    "qos_not_supported",
    "retain_not_supported",
    "session_expiry_from_zero",
    "auth_not_expected",
    "auth_method_changed",
    "shared_no_local",
    "wildcard_subscriptions_off",
    "shared_subscriptions_off",
    "subscription_identifiers_off",
    "answer_too_large",
    "ack_out_of_state",
];

impl From<DecodeError> for ProtocolError {
    fn from(error: DecodeError) -> Self {
        Self {
            reason: error.reason_code(),
            label: error.kind.label(),
            statement: error.kind.statement(),
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}], {}", self.label, self.statement, self.reason)
    }
}

impl std::error::Error for ProtocolError {}
