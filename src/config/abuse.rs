//! What is done about clients that guess.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Located;
use crate::topic::TopicFilter;

/// Limits on what looks like an attack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AbuseSettings {
    /// Failed authentications from one address before it is banned.
    pub auth_failure_limit: Option<AuthFailureLimit>,
    /// The same of one user from one address.
    pub auth_failure_limit_pair: Option<AuthFailureLimit>,
    /// Failed authentications of one user after which a wrong credential waits the longest.
    pub auth_failure_limit_user: Option<CountLimit>,
    /// Least and most time that a wrong credential waits for its answer.
    pub auth_failure_delay: Option<(Duration, Duration)>,
    /// Refused wildcards, refused topics, client ids, client ids in sequence, takeovers.
    pub misuse: [Option<MisuseLimit>; 5],
    /// Topics that nobody has any business with.
    pub canary_topics: Vec<TopicFilter>,
    /// Users that nobody is.
    pub canary_users: Vec<String>,
    /// How long who touches one is banned.
    pub canary_ban: Option<Duration>,
    /// Where bans are kept.
    pub ban_file: Option<Located<PathBuf>>,
}

/// `COUNT SECONDS BAN_SECONDS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AuthFailureLimit {
    /// Failures that lead to a ban.
    pub count: u32,
    /// The window they are counted in.
    pub window: Duration,
    /// How long the ban lasts.
    pub ban: Duration,
}

/// `COUNT SECONDS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CountLimit {
    /// How many.
    pub count: u32,
    /// The window they are counted in.
    pub window: Duration,
}

/// `COUNT SECONDS [BAN_SECONDS]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MisuseLimit {
    /// How many are misuse.
    pub count: u32,
    /// The window they are counted in.
    pub window: Duration,
    /// How long the address is banned.
    pub ban: Option<Duration>,
}
