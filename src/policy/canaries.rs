//! Topics and users that nobody has any business with: whoever touches one gives himself away.

use std::collections::HashSet;

use crate::topic::{TopicFilter, matches, overlap, split_share};

use super::Action;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Canaries {
    /// `canary_topic`.
    pub topics: Vec<TopicFilter>,
    /// `canary_user`.
    pub users: HashSet<Box<str>>,
}

impl Canaries {
    /// Whether it is about a canary topic: a Topic Name that is one, or a Topic Filter that could match
    /// one.
    pub fn are_touched(&self, action: Action, topic: &str) -> bool {
        let touches: fn(&str, &str) -> bool = match action {
            Action::Publish | Action::Will => matches,
            Action::Subscribe => |canary, filter| {
                let shared = split_share(filter).map_or(filter, |(_, filter)| filter);
                overlap(canary, shared)
            },
            // What is sent to a client it has subscribed to.
            Action::Deliver => return false,
        };
        self.topics
            .iter()
            .any(|canary| touches(canary.as_str(), topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_and_filters_overlap() {
        let filter = |text| TopicFilter::parse(text).expect("valid");
        let canaries = Canaries {
            topics: vec![filter("plant/admin/#"), filter("trap")],
            users: HashSet::new(),
        };
        for (action, topic, expected) in [
            (Action::Publish, "plant/admin", true),
            (Action::Will, "plant/admin/stop", true),
            (Action::Publish, "plant/1", false),
            (Action::Subscribe, "#", true),
            (Action::Subscribe, "+/admin/x", true),
            (Action::Subscribe, "$share/g/trap", true),
            (Action::Subscribe, "$share/g/other", false),
            (Action::Subscribe, "plant/1/#", false),
            (Action::Deliver, "trap", false),
        ] {
            assert_eq!(
                canaries.are_touched(action, topic),
                expected,
                "{action:?} {topic}"
            );
        }
        assert!(!Canaries::default().are_touched(Action::Subscribe, "#"));
    }
}
