//! Who may do what: the meaning of ACL files as tables, and the broker that holds to it.

mod converted;
mod differences;
mod resume;
mod tables;
mod twin;
