//! The broker against a slow, obvious twin: any sequence of what clients do gives each of them the
//! same packets in the same order.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use proptest::prelude::*;

use crate::broker::tests::world::{Hello, Peer, World, message, to};
use crate::codec::QoS;
use crate::message::{Message, RetainHandling, Subscription};
use crate::session::tests::wire::{PUBACK, PUBCOMP, PUBREC};
use crate::topic::matches;

/// Two clients whose sessions are kept, and two whose are not.
const CLIENTS: [&str; 4] = ["kept/1", "kept/2", "clean/1", "clean/2"];
const FILTERS: [&str; 10] = [
    "a/b", "a/+", "a/#", "+/b", "#", "a", "$x/#", "+", "a/b/#", "+/+/c",
];
const TOPICS: [&str; 7] = ["a/b", "a", "a/c", "b", "b/b", "$x/y", "a/b/c"];

#[derive(Clone, Debug)]
enum Op {
    /// Connects, taking over where somebody is connected.
    Connect {
        who: usize,
        clean: bool,
    },
    Disconnect(usize),
    Subscribe(usize, usize, Options),
    Unsubscribe(usize, usize),
    Publish(usize, Published),
    /// Takes what there is, and acknowledges nothing.
    Take(usize),
    /// Acknowledges everything that was taken.
    Acknowledge(usize),
}

#[derive(Clone, Debug)]
struct Published {
    topic: usize,
    qos: u8,
    retain: bool,
    empty: bool,
}

#[derive(Clone, Debug)]
struct Options {
    qos: u8,
    no_local: bool,
    as_published: bool,
    handling: u8,
    identifier: Option<u32>,
}

fn any_op() -> impl Strategy<Value = Op> {
    let who = || 0..CLIENTS.len();
    let options = (
        0..3_u8,
        any::<bool>(),
        any::<bool>(),
        0..3_u8,
        proptest::option::of(1..4_u32),
    )
        .prop_map(
            |(qos, no_local, as_published, handling, identifier)| Options {
                qos,
                no_local,
                as_published,
                handling,
                identifier,
            },
        );
    let published =
        (0..TOPICS.len(), 0..3_u8, 0..4_u8, 0..4_u8).prop_map(|(topic, qos, retain, empty)| {
            Published {
                topic,
                qos,
                retain: retain == 0,
                empty: empty == 0,
            }
        });
    prop_oneof![
        2 => (who(), 0..4_u8).prop_map(|(who, clean)| Op::Connect { who, clean: clean == 0 }),
        1 => who().prop_map(Op::Disconnect),
        4 => (who(), 0..FILTERS.len(), options)
            .prop_map(|(who, filter, options)| Op::Subscribe(who, filter, options)),
        1 => (who(), 0..FILTERS.len()).prop_map(|(who, filter)| Op::Unsubscribe(who, filter)),
        8 => (who(), published).prop_map(|(who, published)| Op::Publish(who, published)),
        2 => who().prop_map(Op::Take),
        2 => who().prop_map(Op::Acknowledge),
    ]
}

/// A message as one client is to see it.
#[derive(Clone, Debug)]
struct Copy {
    qos: u8,
    retain: bool,
    topic: &'static str,
    identifiers: Vec<u32>,
    payload: String,
}

impl Copy {
    fn line(&self, dup: bool) -> String {
        let dup = if dup { " dup" } else { "" };
        let retain = if self.retain { " retain" } else { "" };
        let mut identifiers = self.identifiers.clone();
        identifiers.sort_unstable();
        let identifiers: Vec<String> = identifiers.iter().map(|id| format!(" id={id}")).collect();
        format!(
            "PUBLISH{dup}{retain} q{} {:?}{identifiers} {}",
            self.qos,
            self.topic,
            self.payload,
            identifiers = identifiers.concat(),
        )
    }
}

#[derive(Default)]
struct Twin {
    subscriptions: BTreeMap<usize, Options>,
    /// Sent and not acknowledged.
    inflight: Vec<Copy>,
    waiting: Vec<Copy>,
    /// The connection is new: what is in flight is to be sent again.
    resumed: bool,
}

/// One client: what the broker has of it, and what it ought to have.
struct Subject {
    peer: Option<Peer>,
    twin: Option<Twin>,
    /// Identifier and QoS of what was taken and not acknowledged.
    open: Vec<(u16, u8)>,
}

struct Test {
    world: World,
    subjects: Vec<Subject>,
    retained: BTreeMap<usize, (u8, String, usize)>,
    count: u32,
}

fn is_kept(who: usize) -> bool {
    CLIENTS[who].starts_with("kept")
}

fn hello(who: usize, clean: bool) -> Hello {
    let mut hello = if is_kept(who) {
        Hello::kept(CLIENTS[who])
    } else {
        Hello::clean(CLIENTS[who])
    };
    hello.connect.clean = clean || !is_kept(who);
    hello.session.max_inflight_messages = 1_000;
    hello
}

impl Test {
    fn new() -> Self {
        let subject = || Subject {
            peer: None,
            twin: None,
            open: Vec::new(),
        };
        Self {
            world: World::open(),
            subjects: CLIENTS.iter().map(|_| subject()).collect(),
            retained: BTreeMap::new(),
            count: 0,
        }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Connect { who, clean } => self.connect(who, clean),
            Op::Disconnect(who) => self.disconnect(who),
            Op::Subscribe(who, filter, ref options) => self.subscribe(who, filter, options),
            Op::Unsubscribe(who, filter) => {
                if let Some(peer) = &mut self.subjects[who].peer {
                    let removed = self.world.unsubscribe(peer, FILTERS[filter]);
                    let twin = self.subjects[who].twin.as_mut().expect("connected");
                    assert_eq!(removed, twin.subscriptions.remove(&filter).is_some());
                }
            }
            Op::Publish(who, ref published) => self.publish(who, published),
            Op::Take(who) => self.take(who),
            Op::Acknowledge(who) => self.acknowledge(who),
        }
    }

    fn connect(&mut self, who: usize, clean: bool) {
        let hello = hello(who, clean);
        let peer = match self.subjects[who].peer.take() {
            Some(old) => self.world.take_over(&hello, old),
            None => self.world.connect(&hello),
        };
        let subject = &mut self.subjects[who];
        if hello.connect.clean {
            subject.twin = None;
        }
        assert_eq!(peer.present, subject.twin.is_some());
        subject.peer = Some(peer);
        subject.twin.get_or_insert_default().resumed = true;
        subject.open.clear();
    }

    fn disconnect(&mut self, who: usize) {
        let Some(peer) = self.subjects[who].peer.take() else {
            return;
        };
        self.world.disconnect(peer);
        let twin = &mut self.subjects[who].twin;
        if !is_kept(who) {
            *twin = None;
        } else if let Some(twin) = twin {
            // QoS 0 that was not on its way yet is not kept for who is away.
            twin.waiting.retain(|copy| copy.qos > 0);
        }
    }

    fn subscribe(&mut self, who: usize, filter: usize, options: &Options) {
        if self.subjects[who].peer.is_none() {
            return;
        }
        // Retained messages come first of all; so nothing else is to be there.
        self.take(who);
        let subject = &mut self.subjects[who];
        let subscription = Subscription {
            no_local: options.no_local,
            retain_as_published: options.as_published,
            retain_handling: [
                RetainHandling::Send,
                RetainHandling::SendIfNew,
                RetainHandling::DoNotSend,
            ][usize::from(options.handling)],
            identifier: options.identifier,
            ..to(FILTERS[filter], qos(options.qos))
        };
        let peer = subject.peer.as_mut().expect("connected");
        assert!(self.world.subscribe(peer, subscription));
        let twin = subject.twin.as_mut().expect("connected");
        let is_new = match twin.subscriptions.entry(filter) {
            Entry::Vacant(vacant) => {
                vacant.insert(options.clone());
                true
            }
            Entry::Occupied(mut occupied) => {
                occupied.insert(options.clone());
                false
            }
        };
        if options.handling == 0 || (options.handling == 1 && is_new) {
            // In the order of the names, level by level.
            let mut found: Vec<_> = self
                .retained
                .iter()
                .map(|(topic, kept)| (TOPICS[*topic], kept))
                .filter(|(topic, _)| matches(FILTERS[filter], topic))
                .filter(|(_, (_, _, author))| !(options.no_local && *author == who))
                .collect();
            found.sort_by_key(|(topic, _)| topic.split('/').collect::<Vec<_>>());
            twin.waiting
                .extend(found.into_iter().map(|(topic, kept)| Copy {
                    qos: kept.0.min(options.qos),
                    retain: true,
                    topic,
                    identifiers: options.identifier.into_iter().collect(),
                    payload: kept.1.clone(),
                }));
        }
        self.take(who);
    }

    fn publish(&mut self, who: usize, published: &Published) {
        let Some(peer) = &mut self.subjects[who].peer else {
            return;
        };
        self.count += 1;
        let empty = published.empty && published.retain;
        let payload = if empty {
            String::new()
        } else {
            self.count.to_string()
        };
        let sent = Message {
            qos: qos(published.qos),
            retain: published.retain,
            ..message(TOPICS[published.topic], &payload)
        };
        self.world.publish(peer, sent);
        if empty {
            self.retained.remove(&published.topic);
        } else if published.retain {
            let kept = (published.qos, payload.clone(), who);
            self.retained.insert(published.topic, kept);
        }
        for (index, subject) in self.subjects.iter_mut().enumerate() {
            let Some(twin) = &mut subject.twin else {
                continue;
            };
            let matching: Vec<&Options> = twin
                .subscriptions
                .iter()
                .filter(|(filter, _)| matches(FILTERS[**filter], TOPICS[published.topic]))
                .filter(|(_, options)| !(options.no_local && index == who))
                .map(|(_, options)| options)
                .collect();
            let Some(granted) = matching.iter().map(|options| options.qos).max() else {
                continue;
            };
            let qos = granted.min(published.qos);
            if qos == 0 && subject.peer.is_none() {
                continue;
            }
            twin.waiting.push(Copy {
                qos,
                retain: published.retain && matching.iter().any(|options| options.as_published),
                topic: TOPICS[published.topic],
                identifiers: matching
                    .iter()
                    .filter_map(|options| options.identifier)
                    .collect(),
                payload: payload.clone(),
            });
        }
    }

    /// What the client is sent is what its twin says.
    fn take(&mut self, who: usize) {
        let subject = &mut self.subjects[who];
        let (Some(peer), Some(twin)) = (&mut subject.peer, &mut subject.twin) else {
            return;
        };
        let mut expected = Vec::new();
        if std::mem::take(&mut twin.resumed) {
            expected.extend(twin.inflight.iter().map(|copy| copy.line(true)));
        }
        for copy in twin.waiting.drain(..) {
            expected.push(copy.line(false));
            if copy.qos > 0 {
                twin.inflight.push(copy);
            }
        }
        let lines = self.world.received(peer);
        let taken: Vec<String> = lines
            .iter()
            .map(|line| normal(line, &mut subject.open))
            .collect();
        assert_eq!(taken, expected, "{}", CLIENTS[who]);
    }

    fn acknowledge(&mut self, who: usize) {
        let subject = &mut self.subjects[who];
        let (Some(peer), Some(twin)) = (&mut subject.peer, &mut subject.twin) else {
            return;
        };
        if twin.resumed {
            return;
        }
        for (id, qos) in subject.open.drain(..) {
            if qos == 1 {
                self.world.acknowledge(peer, PUBACK, id);
            } else {
                self.world.acknowledge(peer, PUBREC, id);
                self.world.acknowledge(peer, PUBCOMP, id);
            }
        }
        twin.inflight.clear();
        assert_eq!(peer.connection.session().inflight(), 0);
    }

    /// When all have come back and taken what is theirs, the books are right.
    fn settle(&mut self) {
        for who in 0..CLIENTS.len() {
            self.connect(who, false);
            self.take(who);
            self.acknowledge(who);
        }
        let twins = self
            .subjects
            .iter()
            .filter_map(|subject| subject.twin.as_ref());
        let subscriptions = twins.map(|twin| twin.subscriptions.len()).sum::<usize>();
        let counts = self.world.broker.counts();
        assert_eq!(counts.subscriptions, subscriptions);
        assert_eq!(counts.sessions, CLIENTS.len());
        assert_eq!(counts.retained_messages, self.retained.len());
        assert_eq!(self.world.broker.queued(), (0, 0));
    }
}

fn qos(bits: u8) -> QoS {
    QoS::from_bits(bits).expect("0 to 2")
}

/// A line without the Packet Identifier, which is noted, and with its other identifiers in order.
fn normal(line: &str, open: &mut Vec<(u16, u8)>) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    let payload = words.pop().expect("a payload");
    let qos = words
        .iter()
        .position(|word| matches!(*word, "q0" | "q1" | "q2"));
    let qos = qos.expect("a PUBLISH");
    if let Some(id) = words.get(qos + 1).and_then(|word| word.strip_prefix('#')) {
        let id = id.parse().expect("a number");
        open.push((id, words[qos].as_bytes()[1] - b'0'));
        words.remove(qos + 1);
    }
    words[qos + 2..].sort_unstable();
    words.push(payload);
    words.join(" ")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn whatever_clients_do_each_is_sent_what_the_standard_says(
        ops in prop::collection::vec(any_op(), 1..120)
    ) {
        let mut test = Test::new();
        for who in 0..CLIENTS.len() {
            test.connect(who, true);
        }
        for op in &ops {
            test.run(op);
        }
        test.settle();
    }
}
