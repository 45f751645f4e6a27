//! ACL files: mosquitto's and our own version 2, their meaning, and the rules bound to one client.

mod bound;
mod file;
mod level;
mod rule;
mod version2;

pub use bound::{Decided, Rules};
pub use file::{AclError, AclFile, AclWarning};
pub use rule::Place;
pub use version2::{Include, Included};

pub(crate) use bound::BoundRule;
pub(crate) use level::Level;
pub(crate) use rule::{Access, Wanted};
