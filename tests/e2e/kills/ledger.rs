//! The oracle: what was promised to whom, what came, and the difference. It knows only what clients
//! sent and what they read, in that order.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::fault::{Fault, Faults};
use super::holds::{Member, Shape};
use super::retained::Retained;
use crate::support::raw::Received;

/// Before and after: every entry of the ledger has a time of its own.
pub(super) type Tick = u64;

/// The author of all wills, whose payloads have a shorter length in CONNECT.
pub(super) const WILLS: usize = 0;

/// A message: its author and its number among that author's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Number {
    pub(super) author: usize,
    pub(super) nth: usize,
}

impl Number {
    /// What it says: its number and, more or less often, a lot more.
    pub(super) fn payload(self) -> String {
        let mixed = (self.author as u64 + 1)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add(self.nth as u64)
            .wrapping_mul(0xBF58_476D_1CE4_E5B9)
            >> 33;
        let more = match mixed {
            _ if self.author == WILLS => mixed % 400,
            // More than the store has room for in one record.
            _ if mixed.is_multiple_of(1_501) => 600_000,
            _ if mixed.is_multiple_of(97) => 20_000,
            _ => mixed % 400,
        };
        let more = "x".repeat(usize::try_from(more).expect("small"));
        format!("{}.{}.{more}", self.author, self.nth)
    }

    pub(super) fn of(payload: &str) -> Option<Self> {
        let mut parts = payload.splitn(3, '.');
        let author = parts.next()?.parse().ok()?;
        let nth = parts.next()?.parse().ok()?;
        Some(Self { author, nth })
    }
}

/// A message may be so long on its way from the broker to the client.
const SLACK_S: u32 = 4;

/// What a message is for, and so what its loss means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Ordinary,
    /// Asks whether subscriptions hold.
    Probe,
    /// A will, and whether it is to come.
    Will(Due),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Its CONNECT was not acknowledged, or the client is still there.
    Perhaps,
    Yes,
    No,
}

struct Message {
    topic: usize,
    qos: u8,
    expiry_s: Option<u32>,
    purpose: Purpose,
    sent: Tick,
    /// When the broker took it upon itself.
    promised: Option<Instant>,
    done: Option<Tick>,
    /// Its publisher's session is gone, and nothing was promised.
    abandoned: bool,
}

pub(super) struct Ledger {
    clock: Tick,
    authors: Vec<(String, Vec<Message>)>,
    topics: Vec<String>,
    topic_numbers: HashMap<String, usize>,
    members: Vec<Member>,
    /// How often members of the group were given a message.
    shared: HashMap<Number, u8>,
    /// What has not reached everybody yet.
    open: Vec<Number>,
    pub(super) retained: Retained,
    pub(super) faults: Faults,
    pub(super) counts: Counts,
    /// How many kills so far; told with each fault.
    pub(super) round: usize,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) acknowledged: [u64; 3],
    pub(super) delivered: u64,
    pub(super) repeated: u64,
    pub(super) resumed: u64,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            clock: 0,
            authors: vec![("will".to_owned(), Vec::new())],
            topics: Vec::new(),
            topic_numbers: HashMap::new(),
            members: Vec::new(),
            shared: HashMap::new(),
            open: Vec::new(),
            retained: Retained::default(),
            faults: Faults::default(),
            counts: Counts::default(),
            round: 0,
        }
    }

    fn tick(&mut self) -> Tick {
        self.clock += 1;
        self.clock
    }

    pub(super) fn fault(&mut self, fault: Fault, what: impl FnOnce() -> String) {
        let round = self.round;
        self.faults
            .add(fault, || format!("after kill {round}: {}", what()));
    }

    pub(super) fn author(&mut self, name: &str) -> usize {
        self.authors.push((name.to_owned(), Vec::new()));
        self.authors.len() - 1
    }

    pub(super) fn member(&mut self, name: &str) -> usize {
        self.members.push(Member::new(name));
        self.members.len() - 1
    }

    pub(super) fn name(&self, member: usize) -> &str {
        &self.members[member].name
    }

    // What publishers do.

    pub(super) fn sent(
        &mut self,
        author: usize,
        topic: &str,
        qos: u8,
        expiry_s: Option<u32>,
        purpose: Purpose,
    ) -> Number {
        let sent = self.tick();
        let topic = self.topic(topic);
        let messages = &mut self.authors[author].1;
        let number = Number {
            author,
            nth: messages.len(),
        };
        messages.push(Message {
            topic,
            qos,
            expiry_s,
            purpose,
            sent,
            promised: None,
            done: None,
            abandoned: false,
        });
        self.counts.sent += 1;
        self.open.push(number);
        number
    }

    fn topic(&mut self, topic: &str) -> usize {
        if let Some(&known) = self.topic_numbers.get(topic) {
            return known;
        }
        self.topics.push(topic.to_owned());
        let number = self.topics.len() - 1;
        self.topic_numbers.insert(topic.to_owned(), number);
        number
    }

    fn message(&mut self, number: Number) -> &mut Message {
        &mut self.authors[number.author].1[number.nth]
    }

    pub(super) fn topic_of(&self, number: Number) -> (&str, u8, Option<u32>) {
        let message = &self.authors[number.author].1[number.nth];
        (&self.topics[message.topic], message.qos, message.expiry_s)
    }

    /// PUBACK, or the first PUBREC.
    pub(super) fn promised(&mut self, number: Number) {
        let message = self.message(number);
        let qos = usize::from(message.qos);
        if message.promised.is_none() {
            message.promised = Some(Instant::now());
            self.counts.acknowledged[qos] += 1;
            self.retained.acknowledged(number);
        }
    }

    /// PUBACK or PUBCOMP.
    pub(super) fn done(&mut self, number: Number) {
        let now = self.tick();
        self.message(number).done = Some(now);
    }

    /// The publisher's session is gone, and it must not send this again.
    pub(super) fn abandoned(&mut self, number: Number) {
        let now = self.tick();
        let message = self.message(number);
        if message.promised.is_some() {
            message.done = Some(now);
        } else {
            message.abandoned = true;
        }
    }

    pub(super) fn will_is_due(&mut self, number: Number, due: Due) {
        let now = self.tick();
        let message = self.message(number);
        message.purpose = Purpose::Will(due);
        message.done = Some(now);
    }

    // What sessions do.

    /// A SUBSCRIBE goes out.
    pub(super) fn asked(&mut self, member: usize, filter: &str, qos: u8, id: Option<u8>) {
        let now = self.tick();
        self.members[member].asked(filter, qos, id, now);
    }

    pub(super) fn subscribed(&mut self, member: usize, filter: &str) {
        let now = self.tick();
        self.members[member].subscribed(filter, now);
    }

    pub(super) fn leaving(&mut self, member: usize, filter: &str) {
        self.members[member].leaving(filter);
    }

    pub(super) fn left(&mut self, member: usize, filter: &str) {
        let now = self.tick();
        self.members[member].left(filter, now);
    }

    /// Clean Start: the session of before and everything in it is gone, as the client wanted.
    pub(super) fn ended(&mut self, member: usize) {
        self.members[member].ended(None);
    }

    /// The broker has forgotten the session.
    pub(super) fn forgotten(&mut self, member: usize) {
        let now = self.tick();
        self.members[member].ended(Some(now));
        let name = self.members[member].name.clone();
        self.fault(Fault::SessionLost, || name);
    }

    /// What a client is given by its MQTT library: after that has sorted out what it had before.
    pub(super) fn delivered(&mut self, member: usize, received: &Received) {
        self.counts.delivered += 1;
        let whole = Number::of(&received.payload)
            .filter(|number| number.payload() == received.payload)
            .filter(|number| {
                let messages = self.authors.get(number.author);
                messages.is_some_and(|(_, messages)| number.nth < messages.len())
            });
        let Some(number) = whole else {
            let start: String = received.payload.chars().take(40).collect();
            return self.fault(Fault::Altered, || {
                format!("{start:?} on {:?} was never published", received.topic)
            });
        };
        let message = &self.authors[number.author].1[number.nth];
        if self.topics[message.topic] != received.topic {
            return self.fault(Fault::Altered, || {
                format!("{number:?} came on {:?}", received.topic)
            });
        }
        // A will may come whenever its client is gone.
        let done = message
            .done
            .filter(|_| !matches!(message.purpose, Purpose::Will(_)));
        let at = (message.sent, done);
        let topic = message.topic;
        let shape = self.members[member].allowed(&received.topic, topic, at);
        let Some(shape) = shape else {
            let told = self.told(member, number);
            return self.fault(Fault::SubscriptionReturned, || told);
        };
        self.same(member, number, received, shape);
        self.count(member, number, shape);
    }

    /// Whether it is as it was published and subscribed to.
    fn same(&mut self, member: usize, number: Number, received: &Received, shape: Shape) {
        let message = &self.authors[number.author].1[number.nth];
        let mut wrong = Vec::new();
        if received.qos != message.qos.min(shape.qos) {
            wrong.push(format!("QoS {}", received.qos));
        }
        if received.retain {
            wrong.push("RETAIN".to_owned());
        }
        let properties = properties_of(&received.properties);
        if shape.id.is_some_and(|id| properties.identifier != Some(id)) {
            wrong.push(format!("identifier {:?}", properties.identifier));
        }
        let left = properties.expiry_s;
        let passed = message
            .promised
            .map_or(0, |since| since.elapsed().as_secs());
        let passed = u32::try_from(passed).expect("not so long");
        // Kept for the rest of its time; what is under way to a slow client is not counted.
        let rest = |expiry_s: u32| expiry_s.saturating_sub(passed.saturating_sub(SLACK_S));
        let expected = message.expiry_s.filter(|_| shape.id.is_some()).map(rest);
        if left.is_some() != expected.is_some() || left > expected {
            wrong.push(format!("expiry {left:?} of {expected:?}"));
        }
        if !wrong.is_empty() {
            let told = self.told(member, number);
            self.fault(Fault::Altered, || format!("{told}: {}", wrong.join(", ")));
        }
    }

    fn count(&mut self, member: usize, number: Number, shape: Shape) {
        let message = &self.authors[number.author].1[number.nth];
        let (topic, purpose) = (message.topic, message.purpose);
        // A subscription may begin between a message and its repetition.
        let ordered = !shape.shared && shape.asked < message.sent;
        let qos = message.qos.min(shape.qos);
        let mut times = self.members[member].count(number);
        if ordered && times == 1 && !self.members[member].in_order(number, topic) {
            let told = self.told(member, number);
            self.fault(Fault::Order, || told);
        }
        if shape.shared {
            let of_group = self.shared.entry(number).or_default();
            *of_group = of_group.saturating_add(1);
            times = *of_group;
        }
        let fault = match (purpose, qos, times) {
            (Purpose::Will(Due::No), ..) => Fault::WillUnwarranted,
            (.., 1) => return,
            (Purpose::Will(_), 2, _) => Fault::WillTwice,
            (_, 2, _) => Fault::Twice,
            _ => return self.counts.repeated += 1,
        };
        let told = self.told(member, number);
        self.fault(fault, || told);
    }

    fn told(&self, member: usize, number: Number) -> String {
        let (author, messages) = &self.authors[number.author];
        let message = &messages[number.nth];
        let all = self.members.iter().filter(|member| member.has(number));
        let all: Vec<_> = all.map(|member| member.name.as_str()).collect();
        format!(
            "{author} number {} (QoS {}, {}, {:?}) to {}; it came to {all:?}",
            number.nth,
            message.qos,
            self.topics[message.topic],
            message.purpose,
            self.members[member].name
        )
    }

    // The difference.

    /// Asked between rounds: how many messages have not reached everybody who is owed them. What can
    /// reach them no more is a fault, and no longer waited for.
    pub(super) fn waiting(&mut self) -> usize {
        self.sift(false)
    }

    /// What is waited for: an example of each session that does.
    pub(super) fn awaited(&mut self) -> String {
        let mut by_member = BTreeMap::new();
        for number in self.open.clone() {
            for member in self.missing(number).0 {
                let (_, count) = by_member.entry(member).or_insert((number, 0));
                *count += 1;
            }
        }
        let told = by_member.into_iter();
        let told = told
            .map(|(member, (first, count))| format!("{count} from {}", self.told(member, first)));
        told.collect::<Vec<_>>().join("; ")
    }

    /// Nothing more will come.
    pub(super) fn close(&mut self) {
        self.sift(true);
    }

    fn sift(&mut self, last: bool) -> usize {
        let mut kept = Vec::new();
        for number in std::mem::take(&mut self.open) {
            let message = &self.authors[number.author].1[number.nth];
            let (purpose, at) = (message.purpose, (message.sent, message.done));
            let qos = message.qos;
            let never = matches!(purpose, Purpose::Will(Due::No | Due::Perhaps));
            if message.abandoned || never {
                continue;
            }
            if at.1.is_none() {
                if last {
                    self.fault(Fault::Unfinished, || format!("{number:?}, QoS {qos}"));
                } else {
                    kept.push(number);
                }
                continue;
            }
            let (missing, hopeless) = self.missing(number);
            if missing.len() > hopeless && !last {
                kept.push(number);
            } else if let Some(&first) = missing.first() {
                let fault = match purpose {
                    Purpose::Probe => Fault::SubscriptionLost,
                    Purpose::Will(_) => Fault::WillLost,
                    Purpose::Ordinary if qos == 1 => Fault::Lost1,
                    Purpose::Ordinary => Fault::Lost2,
                };
                let told = self.told(first, number);
                self.fault(fault, || format!("{told} and {} more", missing.len() - 1));
            }
        }
        self.open = kept;
        self.open.len()
    }

    /// Who is owed the message and has not got it, and for how many of them there is no hope.
    fn missing(&mut self, number: Number) -> (Vec<usize>, usize) {
        let message = &self.authors[number.author].1[number.nth];
        let (topic, at) = (message.topic, (message.sent, message.done));
        let text = &self.topics[topic];
        let of_group = self.shared.contains_key(&number);
        let (mut missing, mut hopeless) = (Vec::new(), 0);
        for (index, member) in self.members.iter_mut().enumerate() {
            if member.has(number) {
                continue;
            }
            let Some(owed) = member.owed(text, topic, at) else {
                continue;
            };
            if owed.shared && (of_group || !missing.is_empty()) {
                // One of them is enough, and one that is still there.
                hopeless = hopeless.min(usize::from(owed.hopeless));
                continue;
            }
            missing.push(index);
            hopeless += usize::from(owed.hopeless);
        }
        (missing, hopeless)
    }
}

#[derive(Default)]
struct Properties {
    identifier: Option<u8>,
    expiry_s: Option<u32>,
}

/// Those that these messages may have.
fn properties_of(mut rest: &[u8]) -> Properties {
    let mut found = Properties::default();
    loop {
        rest = match *rest {
            [0x0B, id, ..] => {
                found.identifier = Some(id);
                &rest[2..]
            }
            [0x02, a, b, c, d, ..] => {
                found.expiry_s = Some(u32::from_be_bytes([a, b, c, d]));
                &rest[5..]
            }
            _ => return found,
        };
    }
}
