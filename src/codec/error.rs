//! What is wrong with a packet, and what the peer is told about it.

use std::fmt;

use super::types::{ReasonCode, Version};

macro_rules! kinds {
    ($($name:ident, $label:literal, $code:ident, $statement:literal;)*) => {
        /// Why a packet was refused. A closed set: labels are metric label values.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum MalformedKind {
            $(#[doc = concat!("Label `", $label, "`, [", $statement, "].")] $name,)*
        }

        impl MalformedKind {
            /// Every kind, for metrics that start at zero.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The metric label value.
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// The normative statement that was broken, in the numbers of MQTT 5.0; of 3.1.1 for a
            /// password without user name, which 5.0 allows. Rules without a number of their own
            /// have that of the rule that the connection must be closed [MQTT-4.13.1-1].
            pub fn statement(self) -> &'static str {
                match self { $(Self::$name => $statement,)* }
            }

            /// What a 5.0 client is told.
            pub fn reason_code(self) -> ReasonCode {
                match self { $(Self::$name => ReasonCode::$code,)* }
            }
        }
    };
}

kinds! {
    LengthEncoding, "length_encoding", MALFORMED_PACKET, "MQTT-1.5.5-1";
    TooLarge, "too_large", PACKET_TOO_LARGE, "MQTT-3.2.2-15";
    Truncated, "truncated", MALFORMED_PACKET, "MQTT-4.13.1-1";
    Surplus, "surplus_bytes", MALFORMED_PACKET, "MQTT-4.13.1-1";
    Flags, "reserved_flags", MALFORMED_PACKET, "MQTT-2.1.3-1";
    ReservedType, "reserved_type", MALFORMED_PACKET, "MQTT-4.13.1-1";
    PacketType, "packet_type", PROTOCOL_ERROR, "MQTT-4.13.1-1";
    NotConnect, "first_packet_not_connect", PROTOCOL_ERROR, "MQTT-3.1.0-1";
    ProtocolName, "protocol_name", UNSUPPORTED_PROTOCOL_VERSION, "MQTT-3.1.2-1";
    ProtocolLevel, "protocol_level", UNSUPPORTED_PROTOCOL_VERSION, "MQTT-3.1.2-2";
    ConnectFlags, "connect_flags", MALFORMED_PACKET, "MQTT-3.1.2-3";
    WillFlags, "will_flags", MALFORMED_PACKET, "MQTT-3.1.2-11";
    PasswordWithoutUsername, "password_without_username", MALFORMED_PACKET, "MQTT-3.1.2-22";
    Utf8, "utf8", MALFORMED_PACKET, "MQTT-1.5.4-1";
    Nul, "nul_character", MALFORMED_PACKET, "MQTT-1.5.4-2";
    TopicName, "topic_name", MALFORMED_PACKET, "MQTT-3.3.2-2";
    EmptyTopic, "empty_topic", PROTOCOL_ERROR, "MQTT-4.7.3-1";
    WillTopic, "will_topic", TOPIC_NAME_INVALID, "MQTT-3.1.3-11";
    ResponseTopic, "response_topic", PROTOCOL_ERROR, "MQTT-3.3.2-14";
    PacketId, "packet_identifier_zero", PROTOCOL_ERROR, "MQTT-2.2.1-3";
    QoS, "qos_3", MALFORMED_PACKET, "MQTT-3.3.1-4";
    DupWithQos0, "dup_with_qos_0", MALFORMED_PACKET, "MQTT-3.3.1-2";
    SubscriptionOptions, "subscription_options", MALFORMED_PACKET, "MQTT-3.8.3-5";
    SubscriptionQoS, "subscription_qos_3", PROTOCOL_ERROR, "MQTT-4.13.1-1";
    RetainHandling, "retain_handling_3", PROTOCOL_ERROR, "MQTT-4.13.1-1";
    NoFilter, "no_topic_filter", PROTOCOL_ERROR, "MQTT-3.8.3-2";
    UnknownProperty, "unknown_property", MALFORMED_PACKET, "MQTT-4.13.1-1";
    PropertyNotAllowed, "property_not_allowed", PROTOCOL_ERROR, "MQTT-4.13.1-1";
    DuplicateProperty, "duplicate_property", PROTOCOL_ERROR, "MQTT-4.13.1-1";
    PropertyValue, "property_value", PROTOCOL_ERROR, "MQTT-4.13.1-1";
    UserProperties, "too_many_user_properties", PACKET_TOO_LARGE, "MQTT-4.13.1-1";
    AuthDataWithoutMethod, "auth_data_without_method", PROTOCOL_ERROR, "MQTT-4.13.1-1";
    AuthMethodMissing, "auth_method_missing", PROTOCOL_ERROR, "MQTT-4.12.0-5";
    TopicAliasZero, "topic_alias_zero", TOPIC_ALIAS_INVALID, "MQTT-3.3.2-8";
    ReasonCode, "reason_code", MALFORMED_PACKET, "MQTT-4.13.1-1";
}

/// A packet that is not what MQTT allows. Made without allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What is wrong.
    pub kind: MalformedKind,
    /// The version the packet is of, if that is known: of a CONNECT it says how to answer.
    pub version: Option<Version>,
}

impl DecodeError {
    /// The first packet is something else than CONNECT.
    pub fn not_connect() -> Self {
        MalformedKind::NotConnect.into()
    }

    /// A packet that may not come now.
    pub fn unexpected(version: Version) -> Self {
        Self::from(MalformedKind::PacketType).with_version(version)
    }

    /// What a 5.0 client is told.
    pub fn reason_code(&self) -> ReasonCode {
        self.kind.reason_code()
    }

    pub(crate) fn with_version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }
}

impl From<MalformedKind> for DecodeError {
    fn from(kind: MalformedKind) -> Self {
        Self {
            kind,
            version: None,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.kind.label(), self.kind.statement())
    }
}

impl std::error::Error for DecodeError {}
