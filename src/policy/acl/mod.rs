//! ACL files: mosquitto's and our own version 2, their meaning, and the rules bound to one client.

mod bound;
mod convert;
mod file;
mod level;
mod lint;
mod listing;
mod rule;
mod version2;

pub use bound::{Decided, Rules};
pub use convert::{ConvertError, Converted, convert, literal};
pub use file::{AclError, AclFile, AclWarning};
pub use listing::Listed;
pub use rule::Place;
pub use version2::{Include, Included};

pub(crate) use bound::BoundRule;
pub(crate) use level::Level;
pub(crate) use rule::{Access, Wanted};
