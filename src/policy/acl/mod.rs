//! mosquitto's ACL files: their grammar, their meaning, and the rules bound to one client.

mod bound;
mod file;

pub use bound::{Decided, Rules};
pub use file::{AclError, AclFile, AclWarning};

pub(crate) use bound::{BoundRule, Level};
