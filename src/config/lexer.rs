//! Bytes of a configuration file into lines with a name, a value and their places.
//!
//! The grammar is mosquitto's, to the letter: the space is the only separator, a comment has its
//! `#` in the first byte, carriage returns at the end are stripped, and a NUL ends the file. Where
//! that grammar would drop text without a word (everything after a NUL) this is an error instead.

use std::path::Path;
use std::sync::Arc;

use crate::config::{Diagnostic, Origin};

/// One line that is neither blank nor a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) file: Arc<Path>,
    /// From 1.
    pub(super) number: u32,
    /// The whole line, without its end.
    pub(super) text: Arc<str>,
    /// Byte offset of the name.
    name_at: usize,
    /// Byte offset just after the name.
    name_end: usize,
    /// Byte offset of the value; equal to `value_end` if there is none.
    value_at: usize,
    value_end: usize,
}

/// A word of a value and its byte offset in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl Line {
    pub(super) fn name(&self) -> &str {
        &self.text[self.name_at..self.name_end]
    }

    /// The rest of the line after the name, without blanks on either side.
    pub(super) fn value(&self) -> &str {
        &self.text[self.value_at..self.value_end]
    }

    /// Byte offset of the value in the line.
    pub(super) fn value_at(&self) -> usize {
        self.value_at
    }

    /// Byte offset of the name in the line.
    pub(super) fn name_at(&self) -> usize {
        self.name_at
    }

    /// The words of the value.
    pub(super) fn words(&self) -> impl Iterator<Item = Word<'_>> {
        let value = self.value();
        value
            .split(' ')
            .scan(self.value_at, |at, text| {
                let word = Word { text, at: *at };
                *at += text.len() + 1;
                Some(word)
            })
            .filter(|word| !word.text.is_empty())
    }

    /// The words up to one that begins with `#`.
    pub(super) fn words_before_comment(&self) -> Vec<Word<'_>> {
        self.words()
            .take_while(|word| !word.text.starts_with('#'))
            .collect()
    }

    /// The place of byte `at`. A secret value is not carried along.
    pub(super) fn origin(&self, at: usize, secret: bool) -> Origin {
        let shown = if secret {
            &self.text[..self.name_end]
        } else {
            &*self.text
        };
        let text = if secret && self.name_end < self.text.len() {
            Arc::from(format!("{shown} …"))
        } else if secret {
            Arc::from(shown)
        } else {
            Arc::clone(&self.text)
        };
        let column = self
            .text
            .get(..at)
            .map_or(1, |before| before.chars().count() + 1);
        Origin {
            file: Some(Arc::clone(&self.file)),
            line: self.number,
            column: u32::try_from(column).unwrap_or(u32::MAX),
            text,
        }
    }
}

/// Cuts `bytes` into lines. Lines that cannot be read become diagnostics.
pub(super) fn lex(file: &Arc<Path>, bytes: &[u8], problems: &mut Vec<Diagnostic>) -> Vec<Line> {
    let readable = &bytes[..bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len())];
    let mut lines = Vec::new();
    let mut number = 0u32;
    for raw in readable.split(|&byte| byte == b'\n') {
        number = number.saturating_add(1);
        let raw = strip_carriage_returns(raw);
        if raw.first() == Some(&b'#') {
            continue;
        }
        match std::str::from_utf8(raw) {
            Ok(text) => lines.extend(line(file, number, text)),
            Err(error) => {
                let valid = String::from_utf8_lossy(&raw[..error.valid_up_to()]);
                let column = u32::try_from(valid.chars().count() + 1).unwrap_or(u32::MAX);
                problems.push(
                    Diagnostic::error("the line is not valid UTF-8")
                        .at_line(file, number, Some(column), None)
                        .help("save the file as UTF-8"),
                );
            }
        }
    }
    let rest = &bytes[readable.len()..];
    if rest
        .iter()
        .any(|byte| !matches!(byte, 0 | b' ' | b'\r' | b'\n'))
    {
        problems.push(
            Diagnostic::error("a NUL byte ends the file here, and there is text after it")
                .at_line(file, number, None, None)
                .help("mosquitto would ignore that text without a word; remove the NUL byte"),
        );
    }
    lines
}

fn strip_carriage_returns(mut raw: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r'] = raw {
        raw = rest;
    }
    raw
}

fn line(file: &Arc<Path>, number: u32, text: &str) -> Option<Line> {
    let name_at = text.find(|c| c != ' ')?;
    let name_end = text[name_at..]
        .find(' ')
        .map_or(text.len(), |length| name_at + length);
    let rest = &text[name_end..];
    let value = rest.trim_matches(|c: char| c.is_ascii_whitespace());
    let value_at = if value.is_empty() {
        text.len()
    } else {
        name_end + rest.len() - rest.trim_ascii_start().len()
    };
    Some(Line {
        file: Arc::clone(file),
        number,
        text: Arc::from(text),
        name_at,
        name_end,
        value_at,
        value_end: value_at + value.len(),
    })
}
