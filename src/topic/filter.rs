//! Topic Filters: what a subscription asks for, with the parts of a shared subscription.

use std::fmt;
use std::sync::Arc;

use super::TopicError;

/// A valid Topic Filter: `+` and `#` alone in their level, `#` last
/// (MQTT 5.0 section 4.7.1). Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(Arc<str>);

impl TopicFilter {
    /// Checks `text` and takes a copy of it.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_filter(text)?;
        Ok(Self(Arc::from(text)))
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it holds a `+` or a `#`.
    pub fn has_wildcard(&self) -> bool {
        self.0.bytes().any(|byte| matches!(byte, b'+' | b'#'))
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A filter as it stands in SUBSCRIBE: `filter`, or `$share/group/filter`
/// (MQTT 5.0 section 4.8.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionFilter {
    /// The ShareName of a shared subscription.
    pub share: Option<Arc<str>>,
    /// What is matched against Topic Names.
    pub filter: TopicFilter,
}

impl SubscriptionFilter {
    /// Parses `text`, taking `$share/<ShareName>/` off if it is there.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        let (share, filter) = split_share(text)?;
        Ok(Self {
            share: share.map(Arc::from),
            filter: TopicFilter::parse(filter)?,
        })
    }
}

impl fmt::Display for SubscriptionFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(share) = &self.share {
            write!(f, "$share/{share}/")?;
        }
        f.write_str(self.filter.as_str())
    }
}

/// Parts `$share/group/filter` into group and filter; a filter that is not shared comes back whole.
pub fn split_share(text: &str) -> Result<(Option<&str>, &str), TopicError> {
    if text == "$share" {
        return Err(TopicError::BadShare);
    }
    let Some(rest) = text.strip_prefix("$share/") else {
        return Ok((None, text));
    };
    let (group, filter) = rest.split_once('/').ok_or(TopicError::BadShare)?;
    // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    if group.is_empty() || group.contains(['+', '#']) || filter.is_empty() {
        return Err(TopicError::BadShare);
    }
    Ok((Some(group), filter))
}

/// Whether `text` is a valid Topic Filter (without `$share/…/`).
pub fn check_filter(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > super::MAX_BYTES {
        return Err(TopicError::TooLong);
    }
    if text.bytes().any(|byte| byte == 0) {
        return Err(TopicError::Nul);
    }
    let mut levels = text.split('/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        match level {
            "#" if last => {}
            "#" => return Err(TopicError::HashNotLast), // [MQTT-4.7.1-1]
            "+" => {}
            _ if level.contains(['+', '#']) => return Err(TopicError::WildcardInsideLevel), // [MQTT-4.7.1-2]
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt_4_7_1_1_and_2_wildcards_stand_alone_in_their_level_and_hash_is_the_last() {
        for filter in [
            "#", "+", "+/+", "a/#", "/#", "+/a/#", "$SYS/#", "a//+", "é/+",
        ] {
            assert_eq!(check_filter(filter), Ok(()), "{filter:?}");
        }
        for filter in ["a+", "a+/b", "+a/b", "a#", "a/b#"] {
            assert_eq!(
                check_filter(filter),
                Err(TopicError::WildcardInsideLevel),
                "{filter:?}"
            );
        }
        for filter in ["#/a", "a/#/b"] {
            assert_eq!(
                check_filter(filter),
                Err(TopicError::HashNotLast),
                "{filter:?}"
            );
        }
    }

    #[test]
    fn mqtt_4_8_2_1_and_2_share_names_are_taken_off_and_checked() {
        let shared = SubscriptionFilter::parse("$share/g/a/+").expect("valid");
        assert_eq!(shared.share.as_deref(), Some("g"));
        assert_eq!(shared.filter.as_str(), "a/+");
        assert_eq!(shared.to_string(), "$share/g/a/+");
        for bad in [
            "$share",
            "$share/",
            "$share/g",
            "$share//a",
            "$share/+/a",
            "$share/g#/a",
            "$share/#",
            "$share/g/",
        ] {
            assert_eq!(
                SubscriptionFilter::parse(bad),
                Err(TopicError::BadShare),
                "{bad:?}"
            );
        }
        assert_eq!(
            SubscriptionFilter::parse("$shared/a")
                .expect("ordinary")
                .share,
            None
        );
    }
}
