//! Where a setting was written, kept so that a later check can name the line.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The file, line and column of a value, with the text of its line for diagnostics.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file as the operator named it; `None` for a default or a command line option.
    pub file: Option<Arc<Path>>,
    /// Line number, from 1; 0 when there is no file.
    pub line: u32,
    /// Column of the value in characters, from 1; 0 when unknown.
    pub column: u32,
    /// The line as it may be shown: values of directives that hold secrets are left out.
    pub text: Arc<str>,
}

impl Origin {
    /// The origin of a value that no file holds; `what` says where it comes from.
    pub fn built_in(what: &str) -> Self {
        Self {
            file: None,
            line: 0,
            column: 0,
            text: Arc::from(what),
        }
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self::built_in("default")
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}:{}", file.display(), self.line),
            None => f.write_str(&self.text),
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{self}>")
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub origin: Origin,
}

impl<T> Located<T> {
    /// A value with its origin.
    pub fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}
