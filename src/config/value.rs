//! Words of a line into values, by mosquitto's rules.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::config::lexer::{Line, Word};
use crate::config::{Located, Rate};

/// Why a value cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ValueError {
    /// Byte offset in the line.
    pub(super) at: usize,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl ValueError {
    pub(super) fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A function that reads a line into `T` and returns the value as it is compared on reload.
pub(super) type Parsed<T> = fn(&mut T, &Line) -> Result<String, ValueError>;

/// How a value is written, and where it goes.
pub(super) enum Value<T> {
    /// `true`, `false`, `1` or `0`.
    Bool(fn(&mut T, bool)),
    /// A number from the first bound to the second.
    Int(RangeInclusive<i64>, fn(&mut T, i64)),
    /// One word of a list; the index is passed on.
    Choice(&'static [&'static str], fn(&mut T, usize)),
    /// The rest of the line.
    Text(fn(&mut T, Located<String>)),
    /// The rest of the line, a file or directory.
    Path(fn(&mut T, Located<PathBuf>)),
    /// `N [BURST]`; 0 is no limit.
    Rate(fn(&mut T, Option<Rate>)),
    /// Anything else.
    Parsed(Parsed<T>),
}

impl<T> Value<T> {
    /// Reads the value of `line` into `target`.
    pub(super) fn read(&self, target: &mut T, line: &Line) -> Result<String, ValueError> {
        match self {
            Self::Bool(set) => {
                let value = bool(first(line)?)?;
                set(target, value);
                Ok(value.to_string())
            }
            Self::Int(range, set) => {
                let value = int(first(line)?, range)?;
                set(target, value);
                Ok(value.to_string())
            }
            Self::Choice(words, set) => {
                let index = choice(first(line)?, words)?;
                set(target, index);
                Ok(words[index].to_owned())
            }
            Self::Text(set) => {
                let text = text(line)?;
                set(
                    target,
                    Located::new(text.to_owned(), line.origin(line.value_at(), false)),
                );
                Ok(text.to_owned())
            }
            Self::Path(set) => {
                let text = text(line)?;
                set(
                    target,
                    Located::new(PathBuf::from(text), line.origin(line.value_at(), false)),
                );
                Ok(text.to_owned())
            }
            Self::Rate(set) => {
                let rate = rate(line)?;
                set(target, rate);
                Ok(rate.map_or_else(
                    || "0".to_owned(),
                    |r| format!("{} {}", r.per_second, r.burst),
                ))
            }
            Self::Parsed(read) => read(target, line),
        }
    }

    /// Words that are read; the rest of the line is ignored, as mosquitto does. `None` where the
    /// whole line is the value.
    pub(super) fn words_read(&self) -> Option<usize> {
        match self {
            Self::Bool(_) | Self::Int(..) | Self::Choice(..) => Some(1),
            Self::Rate(_) => Some(2),
            Self::Text(_) | Self::Path(_) | Self::Parsed(_) => None,
        }
    }

    /// Whether the value is the rest of the line, `#` included.
    pub(super) fn takes_comment_text(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Path(_))
    }
}

/// The first word.
pub(super) fn first(line: &Line) -> Result<Word<'_>, ValueError> {
    line.words()
        .next()
        .ok_or_else(|| ValueError::new(line.name_at(), format!("`{}` has no value", line.name())))
}

/// The rest of the line.
pub(super) fn text(line: &Line) -> Result<&str, ValueError> {
    first(line)?;
    let value = line.value();
    if value.len() > usize::from(u16::MAX) {
        return Err(ValueError::new(
            line.value_at(),
            "the value is longer than 65535 bytes",
        ));
    }
    Ok(value)
}

pub(super) fn bool(word: Word<'_>) -> Result<bool, ValueError> {
    match word.text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(
            ValueError::new(word.at, format!("`{other}` is not a truth value"))
                .help("write `true` or `false`"),
        ),
    }
}

pub(super) fn choice(word: Word<'_>, words: &[&str]) -> Result<usize, ValueError> {
    words
        .iter()
        .position(|known| *known == word.text)
        .ok_or_else(|| {
            ValueError::new(word.at, format!("`{}` is not one of the values", word.text))
                .help(format!("write one of: {}", words.join(", ")))
        })
}

/// A whole number as C's `strtol` with base 0 reads it, which must use up the word.
pub(super) fn int(word: Word<'_>, range: &RangeInclusive<i64>) -> Result<i64, ValueError> {
    let (sign, digits) = match word.text.as_bytes() {
        [b'-', ..] => (-1, &word.text[1..]),
        [b'+', ..] => (1, &word.text[1..]),
        _ => (1, word.text),
    };
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        let error = ValueError::new(word.at, format!("`{}` is not a whole number", word.text));
        return Err(if radix == 8 {
            error.help("a leading 0 makes it octal")
        } else {
            error
        });
    }
    // All digits: only an overflow can fail.
    let value = i64::from_str_radix(digits, radix)
        .unwrap_or(i64::MAX)
        .saturating_mul(sign);
    if range.contains(&value) {
        return Ok(value);
    }
    let error = ValueError::new(word.at, format!("{} is out of range", word.text));
    Err(error.help(match (*range.start(), *range.end()) {
        (least, i64::MAX) => format!("it must be at least {least}"),
        (least, most) => format!("it must be from {least} to {most}"),
    }))
}

/// `N [BURST]`; the burst is twice the rate unless written.
fn rate(line: &Line) -> Result<Option<Rate>, ValueError> {
    let words = line.words_before_comment();
    let Some((&first, more)) = words.split_first() else {
        return Err(ValueError::new(
            line.name_at(),
            format!("`{}` has no value", line.name()),
        ));
    };
    let per_second = positive(int(first, &(0..=MOST_A_SECOND))?);
    let burst = match more.first() {
        Some(&word) => positive(int(word, &(1..=MOST_A_SECOND))?),
        None => per_second.saturating_mul(2),
    };
    Ok((per_second > 0).then_some(Rate { per_second, burst }))
}

/// A tebi a second: beyond any machine, and far from overflow in a bucket of nanoseconds.
const MOST_A_SECOND: i64 = 1 << 40;

/// A number that its range has kept from being negative.
pub(super) fn positive(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// As [`positive`], for sizes in memory.
pub(super) fn size(value: i64) -> usize {
    usize::try_from(value).unwrap_or(if value < 0 { 0 } else { usize::MAX })
}

/// A size where 0 and below mean "no limit".
pub(super) fn limit(value: i64) -> Option<usize> {
    (value > 0).then(|| size(value))
}
