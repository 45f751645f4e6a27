//! Topic Names and Topic Filters: what they are and which match.
//!
//! This floor knows nothing of clients or packets. Everything that matches topics in the broker
//! uses it, so a rule of section 4.7 of the standard stands in one place.

mod filter;
mod matching;
mod name;
mod tree;

use thiserror::Error;

pub use filter::{SubscriptionFilter, TopicFilter, check_filter, split_share};
pub use matching::{matches, overlap};
pub use name::{TopicName, check_name, level_count};
pub use tree::{FilterTree, NameTree};

/// The longest Topic Name or Topic Filter, as the two-byte length prefix sets it.
pub const MAX_BYTES: usize = 65_535;

/// What is wrong with a Topic Name or Topic Filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TopicError {
    /// [MQTT-4.7.3-1]
    #[error("it is empty")]
    Empty,
    /// [MQTT-4.7.3-3]
    #[error("it is longer than 65,535 bytes")]
    TooLong,
    /// [MQTT-4.7.3-2]
    #[error("it holds a NUL character")]
    Nul,
    /// [MQTT-3.3.2-2]
    #[error("a Topic Name may not hold + or #")]
    WildcardInName,
    /// [MQTT-4.7.1-2]
    #[error("+ and # must fill a whole level")]
    WildcardInsideLevel,
    /// [MQTT-4.7.1-1]
    #[error("# must be the last level")]
    HashNotLast,
    /// [MQTT-4.8.2-1]
    #[error("a shared subscription is $share/<name>/<filter>, and the name holds no wildcard")]
    BadShare,
}
