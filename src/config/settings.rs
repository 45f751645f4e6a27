//! What the operator asked for, as plain data.
//!
//! Nothing here is checked again further down: [`load`](crate::config::load) has turned text into
//! types that fit. `None` always means "no limit" or "not configured". Defaults are not written
//! here; they are in the directive table, for both profiles, and applied from there.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::jwt::Replay;
use crate::auth::{CertificateGroups, Pins, Provider};
use crate::broker::QueueOverflow;
use crate::codec::{QoS, Version};
use crate::config::abuse::AbuseSettings;
use crate::config::changes::Written;
use crate::config::{HardenedFinding, Located, Origin, ProfileSource, SecurityProfile};
use crate::net::Placement;
use crate::session::{Available, ResponseInformation, TopicTokenSettings};
use crate::store::{OnDamage, StoreSettings, SyncPolicy};

/// Everything that was configured. Listeners carry their own resolved [`SecurityGroup`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// The profile in force.
    pub profile: SecurityProfile,
    /// Where the profile was chosen.
    pub profile_source: ProfileSource,
    /// Every configuration file that was read, in order.
    pub files: Vec<PathBuf>,
    /// Every directory of `include_dir`.
    pub include_dirs: Vec<PathBuf>,
    /// No listener was configured: loopback only, and anonymous unless forbidden.
    pub local_only: bool,
    /// Security groups belong to listeners rather than to the broker.
    pub per_listener_settings: bool,
    /// The broker-wide security group; what a listener uses is in [`ListenerSettings::security`].
    pub security: SecurityGroup,
    /// Who may connect, and the guard.
    pub access: AccessSettings,
    /// Bounds.
    pub limits: LimitSettings,
    /// Limits on what looks like an attack.
    pub abuse: AbuseSettings,
    /// What MQTT leaves open to a server.
    pub protocol: ProtocolSettings,
    /// What survives a restart.
    pub persistence: PersistenceSettings,
    /// Password hashing.
    pub hashing: HashingSettings,
    /// The log.
    pub log: LogSettings,
    /// Where the audit log goes.
    pub audit_log: AuditLog,
    /// The HTTP listener for metrics and health; `None` when there is none.
    pub metrics_listener: Option<MetricsListener>,
    /// The process.
    pub process: ProcessSettings,
    /// In the order of the file; the index is the listener's number everywhere else.
    pub listeners: Vec<ListenerSettings>,
    /// What the hardened profile would have refused; empty in hardened unless overridden.
    pub findings: Vec<HardenedFinding>,
    /// What was written, for [`Settings::changes`].
    pub(super) written: Written,
}

/// The options that `per_listener_settings` moves from the broker to each listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityGroup {
    /// The ACL file; `None` means that everything is allowed, as in mosquitto.
    pub acl_file: Option<Located<PathBuf>>,
    /// The password file.
    pub password_file: Option<Located<PathBuf>>,
    /// Who is in which group.
    pub group_file: Option<Located<PathBuf>>,
    /// Who is asked who a client is, in this order; empty for mosquitto's order.
    pub providers: Vec<Located<Provider>>,
    /// Keys that users are bound to.
    pub pins: Pins,
    /// Tokens.
    pub tokens: TokenSettings,
    /// Whom to ask what a token is worth.
    pub introspection: IntrospectionConfig,
    /// Whether a client without a user name may connect.
    pub allow_anonymous: bool,
    /// The line that set `allow_anonymous`, if one did.
    pub allow_anonymous_origin: Option<Origin>,
    /// Whether an empty Client Identifier is given a generated one.
    pub allow_zero_length_clientid: bool,
    /// Begins every generated Client Identifier.
    pub auto_id_prefix: String,
}

/// OAuth 2.0 Token Introspection. Asked only where a URL is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntrospectionConfig {
    /// The issuer's endpoint.
    pub url: Option<Located<String>>,
    /// As whom the broker asks.
    pub client_id: String,
    /// The broker's own secret.
    pub client_secret_file: Option<Located<PathBuf>>,
    /// The environment variable that holds it.
    pub client_secret_env: Option<Located<String>>,
    /// Who may have signed the endpoint's certificate; the system's CAs if unset.
    pub cafile: Option<Located<PathBuf>>,
    /// How long an answer is remembered.
    pub cache: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// The field that is the user name.
    pub username_claim: String,
}

/// What is asked of JSON Web Tokens. Taken only where a key is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSettings {
    /// Public keys in PEM.
    pub public_keys: Vec<Located<PathBuf>>,
    /// A JSON Web Key Set.
    pub jwks_file: Option<Located<PathBuf>>,
    /// A JSON Web Key Set at a URL.
    pub jwks_url: Option<Located<String>>,
    /// Who may have signed its server's certificate; the system's CAs if unset.
    pub jwks_cafile: Option<Located<PathBuf>>,
    /// How often it is read again.
    pub jwks_refresh: Duration,
    /// How old it may be.
    pub jwks_stale: Duration,
    /// A secret.
    pub secret_file: Option<Located<PathBuf>>,
    /// The environment variable that holds a secret.
    pub secret_env: Option<Located<String>>,
    /// Algorithms; empty for those that the keys allow.
    pub algorithms: Vec<jsonwebtoken::Algorithm>,
    /// What `iss` must be.
    pub issuer: Option<String>,
    /// One of these must be in `aud`; empty if it is not looked at.
    pub audience: Vec<String>,
    /// The claim that is the user name.
    pub username_claim: String,
    /// The claim that names groups.
    pub groups_claim: Option<String>,
    /// The claim that holds rules.
    pub acl_claim: Option<String>,
    /// How far clocks may be apart.
    pub clock_skew: Duration,
    /// Longest time from `iat` to `exp`.
    pub max_lifetime: Option<Duration>,
    /// Whether `jti` must be there.
    pub require_jti: bool,
    /// How often a token may be used.
    pub replay: Replay,
    /// Tokens and subjects that were revoked.
    pub revoked_file: Option<Located<PathBuf>>,
}

impl TokenSettings {
    /// Whether tokens are taken at all.
    pub fn is_on(&self) -> bool {
        !self.public_keys.is_empty()
            || self.jwks_file.is_some()
            || self.jwks_url.is_some()
            || self.secret_file.is_some()
            || self.secret_env.is_some()
    }

    /// The line that names the first key.
    pub fn origin(&self) -> Option<&Origin> {
        let paths = self
            .public_keys
            .iter()
            .chain(&self.jwks_file)
            .chain(&self.secret_file);
        paths
            .map(|path| &path.origin)
            .chain(self.secret_env.iter().map(|name| &name.origin))
            .chain(self.jwks_url.iter().map(|url| &url.origin))
            .next()
    }
}

/// Who may connect, and the guard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessSettings {
    /// Client Identifiers must begin with this.
    pub clientid_prefix: Option<String>,
    /// Retained messages are withheld once their author may no longer write the topic.
    pub check_retain_source: bool,
    /// How a subscription outside the grants is treated.
    pub subscribe_guard: SubscribeGuard,
    /// What a 3.1 or 3.1.1 client sees when its PUBLISH is refused.
    pub mqtt3_denied_publish: DeniedPublish,
    /// `mqtt31_denied_subscribe`.
    pub mqtt31_denied_subscribe: DeniedSubscribe,
}

/// How a subscription outside the grants is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SubscribeGuard {
    /// Refuse it.
    #[default]
    Strict,
    /// Accept it and check each delivery, as mosquitto does.
    Filter,
    /// As `Filter`, and report what `Strict` would have refused.
    Report,
}

/// What a 3.1 client sees when its SUBSCRIBE is refused (`mqtt31_denied_subscribe`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeniedSubscribe {
    /// A closed connection.
    #[default]
    Disconnect,
    /// A SUBACK that grants it.
    Grant,
}

/// What a 3.1 or 3.1.1 client sees when its PUBLISH is refused; those versions have no Reason
/// Code to say it with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeniedPublish {
    /// An ordinary acknowledgement, as mosquitto does.
    #[default]
    Ack,
    /// The connection is closed.
    Disconnect,
}

/// Bounds. `None` is no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitSettings {
    /// Connections over all listeners.
    pub global_max_connections: Option<usize>,
    /// Sessions, the offline ones included.
    pub global_max_clients: Option<usize>,
    /// Connections from one address (one /64 for IPv6).
    pub max_connections_per_ip: Option<usize>,
    /// New connections a second from one address.
    pub connect_rate_per_ip: Option<Rate>,
    /// TLS handshakes under way at once.
    pub max_handshakes: Option<usize>,
    /// From accept to a complete CONNECT.
    pub connect_timeout: Duration,
    /// From the first byte of a packet to its last.
    pub packet_timeout: Option<Duration>,
    /// Bound of a packet before CONNECT is accepted.
    pub connect_packet_max_bytes: usize,
    /// Bound of a packet afterwards.
    pub max_packet_bytes: usize,
    /// Bound of a payload.
    pub message_size_limit: Option<usize>,
    /// Outgoing QoS 1 and 2 messages in flight, and the Receive Maximum told to clients; 65535 is
    /// the protocol's own bound.
    pub max_inflight_messages: u16,
    /// Bytes in flight to one client.
    pub max_inflight_bytes: Option<usize>,
    /// Messages queued for one client beyond those in flight.
    pub max_queued_messages: Option<usize>,
    /// Bytes queued for one client beyond those in flight.
    pub max_queued_bytes: Option<usize>,
    /// Whether QoS 0 messages are queued for an offline client.
    pub queue_qos0_messages: bool,
    /// Longest keep alive a client may ask for.
    pub max_keepalive: Option<u16>,
    /// Budget of queues, retained messages and buffers together.
    pub memory_limit: Option<u64>,
    /// PUBLISH packets a second from one client.
    pub client_message_rate: Option<Rate>,
    /// Bytes a second from one client.
    pub client_byte_rate: Option<Rate>,
    /// What happens above a client rate.
    pub rate_action: RateAction,
    /// Subscriptions of one session.
    pub max_subscriptions_per_client: Option<usize>,
    /// Levels of a Topic Name or Topic Filter.
    pub max_topic_levels: usize,
    /// Retained messages over all topics.
    pub max_retained_messages: Option<usize>,
    /// Bytes of all retained messages.
    pub max_retained_bytes: Option<u64>,
}

/// A token bucket: so many a second, with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Tokens added each second; at least 1.
    pub per_second: u64,
    /// Size of the bucket; at least 1. Without a BURST in the line it is twice the rate.
    pub burst: u64,
}

/// What happens to a client above its rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RateAction {
    /// Stop reading from it until there is budget again.
    #[default]
    Throttle,
    /// Refuse the message.
    Drop,
    /// Close the connection (0x96).
    Disconnect,
}

/// What MQTT leaves open to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtocolSettings {
    /// Whether retained messages are supported.
    pub retain_available: bool,
    /// Retained messages are removed this long after they were published.
    pub retain_expiry: Option<Duration>,
    /// Longest time a disconnected session is kept.
    pub persistent_client_expiration: Option<Duration>,
    /// Deliver with the subscription's QoS even when it is above the message's.
    pub upgrade_outgoing_qos: bool,
    /// Overlapping subscriptions deliver once each; otherwise once with the highest QoS.
    pub allow_duplicate_messages: bool,
    /// How often `$SYS` is published; `None` for never.
    pub sys_interval: Option<Duration>,
    /// Clients are refused and sent away.
    pub drain: Option<DrainSettings>,
    /// How many are sent away in a second.
    pub drain_rate: Option<usize>,
}

/// `drain`: the operator wants clients to go elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainSettings {
    /// For a time or for good.
    pub to: DrainTo,
    /// Server Reference of section 4.11.
    pub reference: Option<String>,
}

/// For how long clients are to go elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainTo {
    /// `use_another_server` (0x9C): they may come back.
    Another,
    /// `server_moved` (0x9D): for good.
    Moved,
}

/// Password hashing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HashingSettings {
    /// Threads that hash; at least 1.
    pub workers: usize,
    /// Passwords that may wait for a thread.
    pub queue: usize,
    /// Verified credentials that are remembered; 0 for none.
    pub credential_cache: usize,
    /// How long one is remembered.
    pub credential_cache_time: Duration,
    /// Weak hashes are replaced at a login.
    pub rehash_on_login: bool,
}

/// The log. `-v` and `-q` are already in [`LogSettings::types`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// Where it goes; empty for nowhere.
    pub destinations: Vec<LogDestination>,
    /// The syslog facility `localN`; `None` for `daemon`.
    pub facility: Option<u8>,
    /// Whether lines begin with the time.
    pub timestamp: bool,
    /// `strftime` format of the time; `None` for seconds since the epoch.
    pub timestamp_format: Option<String>,
    /// What is logged.
    pub types: BTreeSet<LogType>,
    /// Whether connects and disconnects are logged. The audit log has them in any case.
    pub connection_messages: bool,
}

/// One place the log goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogDestination {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The system log.
    Syslog,
    /// A file, appended to.
    File(Located<PathBuf>),
}

/// A class of log lines, mosquitto's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogType {
    /// `error`.
    Error,
    /// `warning`.
    Warning,
    /// `notice`.
    Notice,
    /// `information`.
    Information,
    /// `debug`.
    Debug,
    /// `subscribe`.
    Subscribe,
    /// `unsubscribe`.
    Unsubscribe,
    /// `websockets`.
    Websockets,
    /// `internal`.
    Internal,
}

impl LogType {
    /// Every class, in the order of [`LogType::NAMES`].
    pub const ALL: [Self; 9] = [
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Information,
        Self::Debug,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Websockets,
        Self::Internal,
    ];
    /// The words of `log_type`.
    pub const NAMES: [&'static str; 9] = [
        "error",
        "warning",
        "notice",
        "information",
        "debug",
        "subscribe",
        "unsubscribe",
        "websockets",
        "internal",
    ];
}

/// Where the audit log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuditLog {
    /// Nowhere.
    #[default]
    Off,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(Located<PathBuf>),
}

/// `metrics_listener PORT [ADDRESS]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsListener {
    /// Port; 0 takes any free one.
    pub port: u16,
    /// Address; loopback unless written.
    pub address: IpAddr,
    /// The line.
    pub origin: Origin,
}

/// What survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersistenceSettings {
    /// `persistence`.
    pub enabled: bool,
    /// `persistence_location`; `None` is the current directory.
    pub location: Option<Located<PathBuf>>,
    /// `persistence_file`: the name of the directory.
    pub name: String,
    /// `store_max_bytes`; 0 is no limit.
    pub max_bytes: u64,
    /// `store_max_messages`; 0 is no limit.
    pub max_messages: u64,
    /// `store_sync`.
    pub sync: SyncPolicy,
    /// `commit_linger_us`.
    pub linger: Duration,
    /// `store_on_damage`.
    pub on_damage: OnDamage,
}

impl PersistenceSettings {
    /// The store's directory.
    pub fn directory(&self) -> PathBuf {
        match &self.location {
            Some(location) => location.value.join(&self.name),
            None => PathBuf::from(&self.name),
        }
    }

    /// What the store is opened with; `None` if nothing is kept.
    pub fn store(&self) -> Option<StoreSettings> {
        self.enabled.then(|| StoreSettings {
            max_bytes: self.max_bytes,
            max_messages: self.max_messages,
            sync: self.sync,
            linger: self.linger,
            on_damage: self.on_damage,
            ..StoreSettings::new(self.directory())
        })
    }
}

/// The process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessSettings {
    /// Account to change to when started as root.
    pub user: Option<Located<String>>,
    /// Holds the process id while the broker runs.
    pub pid_file: Option<Located<PathBuf>>,
    /// Network threads; at least 1 (`threads 0` is already the number of processors).
    pub threads: usize,
    /// How many of them are used for little work.
    pub placement: Placement,
    /// How long connections are drained at SIGTERM.
    pub shutdown_timeout: Duration,
    /// `TCP_NODELAY` on client connections.
    pub tcp_nodelay: bool,
    /// A change of a file is a reload.
    pub watch_files: bool,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a directive of the listener"
)]
pub struct ListenerSettings {
    /// Where it binds.
    pub bind: Bind,
    /// The `listener` line, or what stands for it.
    pub origin: Origin,
    /// A failed bind is a warning: `::1` in local-only mode, where there may be no IPv6.
    pub optional: bool,
    /// Restrict to this family.
    pub socket_domain: Option<SocketDomain>,
    /// Bind to this network device.
    pub bind_interface: Option<Located<String>>,
    /// The security group that holds for this listener, however it was written.
    pub security: SecurityGroup,
    /// Plaintext off loopback is what the operator wants.
    pub allow_insecure: bool,
    /// TLS; `None` for plaintext.
    pub tls: Option<TlsSettings>,
    /// How a client certificate becomes a user name.
    pub certificate_identity: Option<CertificateIdentity>,
    /// Which field of a client certificate names groups.
    pub certificate_groups: Option<CertificateGroups>,
    /// As the broker's `subscribe_guard`, for this listener.
    pub subscribe_guard: Option<SubscribeGuard>,
    /// The user name replaces the Client Identifier.
    pub use_username_as_clientid: bool,
    /// Nobody else may connect.
    pub allow_addresses_file: Option<Located<PathBuf>>,
    /// These may not connect.
    pub deny_addresses_file: Option<Located<PathBuf>>,
    /// What the Client Identifier must be.
    pub clientid_from: Option<ClientIdFrom>,
    /// Shortest Client Identifier, in bytes.
    pub clientid_min_length: usize,
    /// Longest Client Identifier, in bytes.
    pub clientid_max_length: usize,
    /// What the whole Client Identifier must match.
    pub clientid_pattern: Option<Pattern>,
    /// Prepended to every topic of its clients.
    pub mount_point: Option<String>,
    /// Connections on this listener.
    pub max_connections: Option<usize>,
    /// MQTT goes in WebSocket frames (`protocol websockets`).
    pub websockets: bool,
    /// What is asked of who opens one.
    pub websocket: WebSockets,
    /// Kinds of subscription that are offered.
    pub available: Available,
    /// Reason Strings are sent.
    pub reason_strings: bool,
    /// What a client that asks for Response Information is told.
    pub response_information: Option<ResponseInformation>,
    /// Where clients have topics of their own behind a token: told to those who ask for Response
    /// Information, if that is not set by itself.
    pub topic_token_prefix: Option<String>,
    /// How tokens are renewed.
    pub topic_tokens: TopicTokenSettings,
    /// A Response Topic must be one that its client may read.
    pub response_topic_guard: bool,
    /// Highest QoS.
    pub max_qos: QoS,
    /// What is done when the queue of a client is full.
    pub queue_overflow: QueueOverflow,
    /// Topic Aliases from client to broker.
    pub max_topic_alias: u16,
    /// Topic Aliases from broker to client.
    pub max_topic_alias_broker: u16,
    /// Versions a CONNECT may name.
    pub versions: Vec<Version>,
}

impl Settings {
    /// Nothing set: limits of zero. Only for the builder, which applies the table's defaults.
    pub(super) fn blank(profile: SecurityProfile, profile_source: ProfileSource) -> Self {
        Self {
            profile,
            profile_source,
            files: Vec::new(),
            include_dirs: Vec::new(),
            local_only: false,
            per_listener_settings: false,
            security: SecurityGroup::default(),
            access: AccessSettings::default(),
            limits: LimitSettings::default(),
            abuse: AbuseSettings::default(),
            protocol: ProtocolSettings::default(),
            persistence: PersistenceSettings::default(),
            hashing: HashingSettings::default(),
            log: LogSettings::default(),
            audit_log: AuditLog::default(),
            metrics_listener: None,
            process: ProcessSettings::default(),
            listeners: Vec::new(),
            findings: Vec::new(),
            written: Written::default(),
        }
    }
}

impl ListenerSettings {
    /// Nothing set, as [`Settings::blank`].
    pub(super) fn blank(bind: Bind, origin: Origin) -> Self {
        Self {
            bind,
            origin,
            optional: false,
            socket_domain: None,
            bind_interface: None,
            security: SecurityGroup::default(),
            allow_insecure: false,
            tls: None,
            certificate_identity: None,
            certificate_groups: None,
            subscribe_guard: None,
            use_username_as_clientid: false,
            allow_addresses_file: None,
            deny_addresses_file: None,
            clientid_from: None,
            clientid_min_length: 0,
            clientid_max_length: 0,
            clientid_pattern: None,
            mount_point: None,
            max_connections: None,
            websockets: false,
            websocket: WebSockets::default(),
            available: Available::default(),
            reason_strings: false,
            response_information: None,
            topic_token_prefix: None,
            topic_tokens: TopicTokenSettings {
                rotation: None,
                overlap: Duration::ZERO,
                generation: 0,
            },
            response_topic_guard: false,
            max_qos: QoS::ExactlyOnce,
            queue_overflow: QueueOverflow::RejectNew,
            max_topic_alias: 0,
            max_topic_alias_broker: 0,
            versions: Vec::new(),
        }
    }
}

/// What a Client Identifier must be equal to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientIdFrom {
    /// The user name.
    User,
    /// The Common Name of the client certificate.
    Certificate,
    /// This claim of the token.
    Jwt(String),
}

/// A regular expression; equal if it is written alike.
#[derive(Clone, Debug)]
pub struct Pattern(pub regex::Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// What a listener with `protocol websockets` asks of its clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSockets {
    /// Where a page may come from; any if none is named.
    pub origins: Vec<String>,
    /// Whoever sends no Origin is refused too.
    pub require_origin: bool,
}

/// Where a listener binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// A TCP port; without a host on every IPv4 and IPv6 address.
    Tcp {
        /// Address or host name; resolved when it is bound.
        host: Option<String>,
        /// Port, from 1.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// Address family of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketDomain {
    /// `ipv4`.
    Ipv4,
    /// `ipv6`.
    Ipv6,
}

/// How a client certificate becomes a user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CertificateIdentity {
    /// `use_identity_as_username`: its Common Name.
    CommonName,
    /// `use_subject_as_username`: its whole subject as RFC 2253 writes it.
    Subject,
    /// Its one `dNSName`.
    Dns,
    /// Its one `rfc822Name`.
    Email,
    /// Its one `uniformResourceIdentifier`.
    Uri,
}

/// TLS of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Server certificate chain, leaf first.
    pub certfile: Located<PathBuf>,
    /// Its private key.
    pub keyfile: Located<PathBuf>,
    /// Certificates trusted to sign client certificates.
    pub cafile: Option<Located<PathBuf>>,
    /// Directory of such certificates.
    pub capath: Option<Located<PathBuf>>,
    /// Revoked client certificates.
    pub crlfile: Option<Located<PathBuf>>,
    /// OCSP response for the server certificate.
    pub ocsp_file: Option<Located<PathBuf>>,
    /// Clients must present a certificate; otherwise none is asked for.
    pub require_certificate: bool,
    /// Clients are asked for a certificate and may have none: `auth_provider certificate` beside others.
    pub request_certificate: bool,
    /// Lowest version.
    pub minimum_version: TlsVersion,
    /// TLS 1.2 suites by OpenSSL's names; `None` for every one we have.
    pub ciphers: Option<Vec<&'static str>>,
    /// TLS 1.3 suites; `None` for every one we have.
    pub ciphers_tls13: Option<Vec<&'static str>>,
}

/// A TLS version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// MQTT's registered port.
pub const DEFAULT_PORT: u16 = 1883;

impl Bind {
    /// Whether only this host can reach it. A name other than `localhost` is not resolved here
    /// and counts as reachable from outside.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host: None, .. } => false,
            Self::Tcp {
                host: Some(host), ..
            } => host == "localhost" || host.parse().is_ok_and(is_loopback),
        }
    }
}

/// Loopback, an IPv4 loopback written as IPv6 included.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

impl std::fmt::Display for Bind {
    /// `8883`, `127.0.0.1:1883`, `[::1]:1883` or the path of the socket.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host: None, port } => write!(f, "{port}"),
            Self::Tcp {
                host: Some(host),
                port,
            } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp {
                host: Some(host),
                port,
            } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}
