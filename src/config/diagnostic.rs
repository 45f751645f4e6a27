//! What is wrong with a file, in the form every file the operator writes is reported in.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::config::Origin;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The broker does not start, or the reload is refused.
    Error,
    /// The broker runs, but not in every point as the file may be read.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One thing to say about a file. `Display` renders it whole: `file:line:column: severity:
/// message`, the line with a caret, and `help:`.
///
/// The source line of a password file must never be attached; [`Diagnostic::at_line`] takes the
/// text only where the caller knows that it holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file as the operator named it; `None` when no file is to blame.
    pub file: Option<Arc<Path>>,
    /// Line, from 1; `None` for the file as a whole.
    pub line: Option<u32>,
    /// Column in characters, from 1; `None` for the whole line.
    pub column: Option<u32>,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, beginning in lower case and without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The line itself, shown below the message.
    pub source: Option<Arc<str>>,
}

impl Diagnostic {
    /// An error about no particular file.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            file: None,
            line: None,
            column: None,
            severity: Severity::Error,
            message: message.into(),
            help: None,
            source: None,
        }
    }

    /// A warning about no particular file.
    pub fn warning(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message)
        }
    }

    /// Blames the line at `origin`.
    #[must_use]
    pub fn at(mut self, origin: &Origin) -> Self {
        self.file.clone_from(&origin.file);
        self.line = (origin.line > 0).then_some(origin.line);
        self.column = (origin.column > 0).then_some(origin.column);
        self.source = origin.file.is_some().then(|| Arc::clone(&origin.text));
        self
    }

    /// Blames `file` as a whole.
    #[must_use]
    pub fn in_file(mut self, file: &Path) -> Self {
        self.file = Some(Arc::from(file));
        self
    }

    /// Blames a line of `file`; `source` is shown, so it must hold no secret.
    #[must_use]
    pub fn at_line(
        mut self,
        file: &Path,
        line: u32,
        column: Option<u32>,
        source: Option<&str>,
    ) -> Self {
        self.file = Some(Arc::from(file));
        self.line = Some(line);
        self.column = column;
        self.source = source.map(Arc::from);
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether it prevents the start or the reload.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The first line alone, for a log: `portcullis.conf:12:1: error: …`.
    pub fn headline(&self) -> String {
        let place = match (&self.file, self.line, self.column) {
            (None, ..) => "portcullis".to_owned(),
            (Some(file), None, _) => file.display().to_string(),
            (Some(file), Some(line), None) => format!("{}:{line}", file.display()),
            (Some(file), Some(line), Some(column)) => format!("{}:{line}:{column}", file.display()),
        };
        format!(
            "{}: {}: {}",
            printable(&place),
            self.severity,
            printable(&shortened(&self.message, MESSAGE_CHARS))
        )
    }
}

impl Diagnostic {
    /// Everything but the source line, in one line for a log.
    pub fn in_one_line(&self) -> String {
        let mut text = self.headline();
        if let Some(help) = &self.help {
            text.push_str("; ");
            text.push_str(&printable(help));
        }
        text
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        if let (Some(source), Some(line)) = (&self.source, self.line) {
            let number = line.to_string();
            write!(
                f,
                "\n{number} | {}",
                printable(&shortened(source, SHOWN_CHARS))
            )?;
            if let Some(column) = self.column {
                let before: String = source
                    .chars()
                    .take(column.saturating_sub(1) as usize)
                    .collect();
                if before.chars().count() < SHOWN_CHARS {
                    let indent = printable(&before).chars().count();
                    write!(f, "\n{:1$} | {2:3$}^", "", number.len(), "", indent)?;
                }
            }
        }
        if let Some(help) = &self.help {
            write!(f, "\nhelp: {}", printable(help))?;
        }
        Ok(())
    }
}

/// Longest part of a source line that is shown; a line of a megabyte helps nobody.
const SHOWN_CHARS: usize = 160;

/// Longest message; values from a file stand in it.
const MESSAGE_CHARS: usize = 400;

fn shortened(text: &str, most: usize) -> String {
    let mut shown: String = text.chars().take(most).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// `text` with control characters escaped, so that a file cannot move the reader's cursor.
pub(crate) fn printable(text: &str) -> String {
    if text.chars().any(char::is_control) {
        text.chars()
            .flat_map(|c| {
                if c.is_control() {
                    Shown::Escaped(c.escape_default())
                } else {
                    Shown::Plain(Some(c))
                }
            })
            .collect()
    } else {
        text.to_owned()
    }
}

enum Shown {
    Plain(Option<char>),
    Escaped(std::char::EscapeDefault),
}

impl Iterator for Shown {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self {
            Self::Plain(c) => c.take(),
            Self::Escaped(escape) => escape.next(),
        }
    }
}
