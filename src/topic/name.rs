//! Topic Names: what a message is published to.

use std::fmt;
use std::sync::Arc;

use super::TopicError;

/// A valid Topic Name: not empty, no wildcard, no NUL, at most 65,535 bytes
/// (MQTT 5.0 sections 4.7.1 and 4.7.3). Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks `text` and takes a copy of it.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_name(text)?;
        Ok(Self(Arc::from(text)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// So that a map keyed by Topic Names can be asked with the text of a packet.
impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// Whether `text` is a valid Topic Name.
pub fn check_name(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > super::MAX_BYTES {
        return Err(TopicError::TooLong);
    }
    // The three bytes looked for are ASCII, so looking at bytes is looking at characters.
    for byte in text.bytes() {
        match byte {
            b'+' | b'#' => return Err(TopicError::WildcardInName), // [MQTT-3.3.2-2]
            0 => return Err(TopicError::Nul),
            _ => {}
        }
    }
    Ok(())
}

/// The number of levels: one more than there are `/`.
pub fn level_count(text: &str) -> usize {
    text.bytes().filter(|&byte| byte == b'/').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_spaces_slashes_and_dollars_but_no_wildcards() {
        for name in [
            "a",
            "/",
            "a//b",
            "$SYS/x",
            "é/x",
            " ",
            "finance",
            "/finance/",
        ] {
            assert_eq!(check_name(name), Ok(()), "{name:?}");
        }
        assert_eq!(check_name(""), Err(TopicError::Empty));
        assert_eq!(check_name("a/+"), Err(TopicError::WildcardInName));
        assert_eq!(check_name("a#"), Err(TopicError::WildcardInName));
        assert_eq!(check_name("a\0b"), Err(TopicError::Nul));
        assert_eq!(check_name(&"x".repeat(65_536)), Err(TopicError::TooLong));
    }

    #[test]
    fn levels_are_counted_with_their_empty_ones() {
        assert_eq!(level_count("a"), 1);
        assert_eq!(level_count("/"), 2);
        assert_eq!(level_count("a//b"), 3);
    }
}
