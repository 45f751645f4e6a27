//! May this client do this?

mod denial;

pub use denial::{Denial, DenyReason, RuleId};
