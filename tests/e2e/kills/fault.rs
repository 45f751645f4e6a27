//! What a broker can do wrong, counted by kind.

use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// PUBACK came, and some session that was owed the message never got it.
    Lost1,
    /// The same with PUBREC.
    Lost2,
    /// A QoS 2 message was given to a session twice, or to two members of a group.
    Twice,
    /// A first delivery stood before an older message of its publisher and topic.
    Order,
    /// Session Present was 0 for a session whose CONNACK had come.
    SessionLost,
    /// A session was there long after its Session Expiry Interval.
    SessionOutlived,
    /// A message that only asks whether a subscription holds did not come.
    SubscriptionLost,
    /// Something came that no subscription asked for, after UNSUBACK or Clean Start.
    SubscriptionReturned,
    RetainedLost,
    /// Older than what was acknowledged for its topic.
    RetainedOld,
    /// There again after its removal was acknowledged.
    RetainedReturned,
    WillLost,
    WillTwice,
    /// The client came back in time.
    WillUnwarranted,
    /// Another topic, payload, QoS, Subscription Identifier, or a longer expiry than was published.
    Altered,
    /// What was there did not come before its client came again.
    Stalled,
    /// An exchange did not end although everybody was there.
    Unfinished,
    /// Refused, although nothing forbids it.
    Refused,
    /// What MQTT does not allow a server.
    Protocol,
}

/// In the order in which they are told.
const ALL: [(Fault, &str); 19] = [
    (Fault::Lost1, "lost at QoS 1"),
    (Fault::Lost2, "lost at QoS 2"),
    (Fault::Twice, "twice at QoS 2"),
    (Fault::Order, "out of order"),
    (Fault::SessionLost, "sessions lost"),
    (Fault::SessionOutlived, "sessions outlived"),
    (Fault::SubscriptionLost, "subscriptions lost"),
    (Fault::SubscriptionReturned, "subscriptions returned"),
    (Fault::RetainedLost, "retained lost"),
    (Fault::RetainedOld, "retained old"),
    (Fault::RetainedReturned, "retained returned"),
    (Fault::WillLost, "wills lost"),
    (Fault::WillTwice, "wills twice"),
    (Fault::WillUnwarranted, "wills unwarranted"),
    (Fault::Altered, "altered"),
    (Fault::Stalled, "stalled"),
    (Fault::Unfinished, "unfinished"),
    (Fault::Refused, "refused"),
    (Fault::Protocol, "against the protocol"),
];

/// So many of a kind are told in words.
const EXAMPLES: usize = 6;

#[derive(Default)]
pub(super) struct Faults(BTreeMap<Fault, (u64, Vec<String>)>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault, what: impl FnOnce() -> String) {
        let (number, examples) = self.0.entry(fault).or_default();
        *number += 1;
        if examples.len() < EXAMPLES {
            let what = what();
            // At once: if something else goes wrong later, this may say why.
            eprintln!("{fault:?}: {what}");
            examples.push(what);
        }
    }

    pub(super) fn number(&self, fault: Fault) -> u64 {
        self.0.get(&fault).map_or(0, |(number, _)| *number)
    }

    pub(super) fn total(&self) -> u64 {
        self.0.values().map(|(number, _)| number).sum()
    }

    /// Each kind with its number, on one line.
    pub(super) fn line(&self) -> String {
        let told = ALL.map(|(fault, words)| format!("{words} {}", self.number(fault)));
        told.join(", ")
    }

    pub(super) fn examples(&self) -> String {
        let mut text = String::new();
        for (fault, words) in ALL {
            for example in self.0.get(&fault).iter().flat_map(|(_, all)| all) {
                writeln!(text, "{words}: {example}").expect("a String takes it");
            }
        }
        text
    }
}
