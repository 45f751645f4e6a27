//! Why something was refused: one table for Reason Code, metric label and sentence.

use std::fmt;
use std::sync::Arc;

use crate::codec::ReasonCode;

/// Where a rule stands: shown as `acl.conf:12` in logs, audit events and explanations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleId {
    /// The file's name as the operator wrote it in the configuration.
    pub file: Arc<str>,
    /// Line number, from 1.
    pub line: u32,
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

macro_rules! deny_reasons {
    ($($name:ident, $label:literal, $code:ident, $sentence:literal;)*) => {
        /// Why a request was refused. Labels are a closed set: they are metric label values.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DenyReason {
            $(#[doc = concat!("Label `", $label, "`.")] $name,)*
        }

        impl DenyReason {
            /// Every reason, for metrics that start at zero and for the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The metric label value and the `reason` field of the audit log.
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// The Reason Code that MQTT 5.0 clients are told.
            pub fn reason_code(self) -> ReasonCode {
                match self { $(Self::$name => ReasonCode::$code,)* }
            }

            /// What a client may be told of it as a Reason String. Why something is not authorized
            /// is the operator's to know: it would let a client read the rules by trying.
            pub fn told(self) -> &'static str {
                match self.reason_code() {
                    ReasonCode::NOT_AUTHORIZED => {
                        "not authorized; the broker's audit log says by which rule"
                    }
                    ReasonCode::BAD_USER_NAME_OR_PASSWORD => "unknown user or wrong password",
                    _ => self.sentence(),
                }
            }

            /// What happened, for an operator.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

deny_reasons! {
    NoRule, "no_rule", NOT_AUTHORIZED, "no rule grants this topic";
    DenyRule, "deny_rule", NOT_AUTHORIZED, "a deny rule covers this topic";
    ReadOnly, "read_only", NOT_AUTHORIZED, "the matching rules grant read but not write";
    WriteOnly, "write_only", NOT_AUTHORIZED, "the matching rules grant write but not read";
    SubscribeOnly, "subscribe_only", NOT_AUTHORIZED, "the matching rules grant to subscribe but not to read";
    RuleQos, "rule_qos", NOT_AUTHORIZED, "the matching rules grant a lower QoS";
    ResponseTopic, "response_topic", NOT_AUTHORIZED, "the client may not read the Response Topic it names";
    Wildcard, "wildcard", NOT_AUTHORIZED, "the filter also matches topics that are not granted";
    GuardBudget, "guard_budget", NOT_AUTHORIZED, "the proof for this filter took too many steps";
    Reserved, "reserved", NOT_AUTHORIZED, "topics that begin with $SYS or $CONTROL are closed unless granted";
    IdentityCharacters, "identity_characters", NOT_AUTHORIZED, "the user name or client id holds a character that patterns may not bind";
    BadCredentials, "bad_credentials", BAD_USER_NAME_OR_PASSWORD, "unknown user or wrong password";
    AnonymousForbidden, "anonymous", NOT_AUTHORIZED, "the listener does not allow anonymous clients";
    NoCertificate, "no_certificate", BAD_USER_NAME_OR_PASSWORD, "the listener takes the identity from a client certificate and none was presented";
    BadCertificateIdentity, "certificate_identity", NOT_AUTHORIZED, "the certificate holds no identity that can be used";
    UserDisabled, "user_disabled", BAD_USER_NAME_OR_PASSWORD, "the user is disabled";
    CertificatePin, "certificate_pin", BAD_USER_NAME_OR_PASSWORD, "the user is bound to the key of another certificate";
    AuthUnavailable, "auth_unavailable", SERVER_UNAVAILABLE, "the authentication could not be completed";
    AuthBusy, "auth_busy", SERVER_BUSY, "too many authentications are waiting";
    TokenMalformed, "token_malformed", BAD_USER_NAME_OR_PASSWORD, "the token is none that can be read";
    TokenSignature, "token_signature", BAD_USER_NAME_OR_PASSWORD, "no key of the listener has signed the token with an algorithm it allows";
    TokenClaims, "token_claims", BAD_USER_NAME_OR_PASSWORD, "a claim of the token is missing or not what is asked for";
    TokenExpired, "token_expired", BAD_USER_NAME_OR_PASSWORD, "the token is not valid any more, or not yet";
    TokenRevoked, "token_revoked", BAD_USER_NAME_OR_PASSWORD, "the token or its subject was revoked";
    TokenReplayed, "token_replayed", BAD_USER_NAME_OR_PASSWORD, "the token is in use, or was used, elsewhere";
    BadAuthMethod, "auth_method", BAD_AUTHENTICATION_METHOD, "the authentication method is not offered";
    ClientIdRefused, "client_id", CLIENT_IDENTIFIER_NOT_VALID, "the client id is not accepted";
    ClientIdPrefix, "client_id_prefix", NOT_AUTHORIZED, "the client id does not begin with the configured prefix";
    SessionOwner, "session_owner", NOT_AUTHORIZED, "the session belongs to another identity";
    ProtocolVersion, "protocol_version", UNSUPPORTED_PROTOCOL_VERSION, "the listener does not accept this protocol version";
    KeepAlive, "keep_alive", CLIENT_IDENTIFIER_NOT_VALID, "the keep alive is above max_keepalive";
    MountPoint, "mount_point", NOT_AUTHORIZED, "the session's subscription lies outside the listener's mount point";
    Banned, "banned", BANNED, "the address, or the user from this address, is banned for a time";
    AddressRefused, "address", BANNED, "the listener takes no connections from this address";
    ConnectRate, "connect_rate", CONNECTION_RATE_EXCEEDED, "too many connections a second from this address";
    ConnectionsPerAddress, "connections_per_address", QUOTA_EXCEEDED, "too many connections from this address";
    MaxConnections, "max_connections", SERVER_BUSY, "the limit of connections is reached";
    MaxClients, "max_clients", QUOTA_EXCEEDED, "the limit of sessions is reached";
    MessageRate, "message_rate", MESSAGE_RATE_TOO_HIGH, "the client sends more messages than its rate allows";
    ByteRate, "byte_rate", MESSAGE_RATE_TOO_HIGH, "the client sends more bytes than its rate allows";
    MaxSubscriptions, "max_subscriptions", QUOTA_EXCEEDED, "the client has as many subscriptions as it may have";
    TopicLevels, "topic_levels", TOPIC_NAME_INVALID, "the topic has more levels than max_topic_levels";
    MessageSize, "message_size", PACKET_TOO_LARGE, "the payload is larger than message_size_limit";
    AnswerTooLarge, "answer_too_large", PACKET_TOO_LARGE, "the client takes no packet as large as the answer to its CONNECT";
    RetainQuota, "retain_quota", QUOTA_EXCEEDED, "the retained store is full";
    StoreFull, "store_full", QUOTA_EXCEEDED, "the store on disk has no room";
    WillRefused, "will", NOT_AUTHORIZED, "the will could never be published";
    QosNotSupported, "qos_not_supported", QOS_NOT_SUPPORTED, "the QoS is above max_qos";
    RetainNotSupported, "retain_not_supported", RETAIN_NOT_SUPPORTED, "retained messages are switched off";
    WildcardsOff, "wildcard_subscriptions_off", WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED, "filters with wildcards are switched off";
    SharedOff, "shared_subscriptions_off", SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, "shared subscriptions are switched off";
    UseAnotherServer, "use_another_server", USE_ANOTHER_SERVER, "the broker is being drained: use another server";
    ServerMoved, "server_moved", SERVER_MOVED, "the broker is being drained: it has moved";
    RetainSource, "retain_source", NOT_AUTHORIZED, "the author of the retained message may no longer write its topic";
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

/// One refusal: why, and by which rule if one decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub reason: DenyReason,
    /// The rule that decided, if one did; `None` means that nothing granted it.
    pub rule: Option<RuleId>,
}

impl Denial {
    /// A refusal that no single rule decided.
    pub fn new(reason: DenyReason) -> Self {
        Self { reason, rule: None }
    }
}
