//! The directive table.
//!
//! One entry per directive, in the files below by chapter. An entry says everything there is to
//! say: see [`Directive`]. Defaults are written as a line would write them and are read by the
//! same code, so the documentation cannot tell another default than the one that holds.

mod abuse;
mod access;
mod bridges;
mod limits;
mod listeners;
mod observability;
mod persistence;
mod plugins;
mod process;
mod protocol;
mod tokens;

pub(super) use bridges::{ALTERNATIVE as INSTEAD_OF_BRIDGES, REASON as NO_BRIDGES};

use crate::config::directive::Directive;

static TABLE: [&[Directive]; 11] = [
    access::DIRECTIVES,
    abuse::DIRECTIVES,
    tokens::DIRECTIVES,
    listeners::DIRECTIVES,
    limits::DIRECTIVES,
    protocol::DIRECTIVES,
    persistence::DIRECTIVES,
    observability::DIRECTIVES,
    process::DIRECTIVES,
    plugins::DIRECTIVES,
    bridges::DIRECTIVES,
];

/// Every directive.
pub fn directives() -> impl Iterator<Item = &'static Directive> {
    TABLE.iter().copied().flatten()
}

/// The directive called `name`.
pub fn directive(name: &str) -> Option<&'static Directive> {
    directives().find(|directive| directive.is_named(name))
}

/// The known name nearest to `name`, if one is near enough to be meant.
pub fn nearest(name: &str) -> Option<&'static str> {
    // The distance costs the product of the lengths, and no known name is this long.
    if name.len() > 64 {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    directives()
        .flat_map(Directive::names)
        .filter(|known| !known.ends_with('*'))
        .map(|known| (strsim::damerau_levenshtein(known, &lower), known))
        .filter(|&(distance, known)| distance <= 1 + known.len() / 5)
        .min()
        .map(|(_, known)| known)
}
