//! What must happen, what may, and what must not: kept from what arrived at the broker and what the
//! broker said, and from nothing that the broker thinks of itself.
//!
//! The moment at which the broker takes a packet lies between its arrival and its answer. Whatever
//! holds in the whole of that time is certain, and what is certain is demanded; whatever holds at one
//! moment of it is possible, and what is not possible is forbidden.

mod deliveries;
mod restarts;
mod sessions;
mod settling;
mod wills;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(crate) use settling::Counted;

use crate::client::Profile;
use crate::rules;

pub(crate) type Step = u64;
pub(crate) type Verdict = Result<(), String>;

/// One Application Message, known by its number.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) publisher: usize,
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) payload: String,
    pub(crate) is_will: bool,
    /// Whether the publisher may write the topic.
    pub(crate) granted: bool,
    /// The first moment at which the broker may have had it, and the one at which it surely had.
    pub(crate) may_from: Option<Step>,
    pub(crate) must_by: Option<Step>,
    /// The last moment at which the broker may have taken it, if that is known.
    pub(crate) may_to: Option<Step>,
    pub(crate) at: Duration,
    pub(crate) by: Option<Duration>,
    pub(crate) last: Duration,
    /// How often it arrived, and in which of its publisher's sessions.
    pub(crate) sends: u32,
    pub(crate) sent_in: BTreeSet<Option<usize>>,
}

impl Message {
    /// How many copies one subscription may be sent.
    fn repeats(&self) -> u32 {
        match self.qos {
            // Once, and again after each restart that did not know of it.
            _ if self.is_will => self.sends.max(1),
            2 => u32::try_from(self.sent_in.len()).expect("few"),
            _ => self.sends,
        }
    }
}

/// What one SUBSCRIBE asked for with one filter.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) filter: &'static str,
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) as_published: bool,
    pub(crate) handling: u8,
    pub(crate) identifier: Option<u32>,
}

#[derive(Clone, Debug)]
struct Sub {
    wanted: Wanted,
    link: usize,
    packet_id: u16,
    may_from: Step,
    must_from: Option<Step>,
    /// It may end from here on, and has surely ended here.
    may_to: Option<Step>,
    must_to: Option<Step>,
    /// Whether there was one with this filter before: none, surely, or perhaps.
    is_new: Option<bool>,
    /// Retained messages that it asked for are not owed any more: the broker was killed meanwhile.
    is_old: bool,
}

impl Sub {
    fn is_possible(&self, message: &Message) -> bool {
        let begun = message.may_to.is_none_or(|to| self.may_from <= to);
        let over = self.must_to.zip(message.may_from);
        begun && over.is_none_or(|(to, from)| to >= from)
    }

    fn is_certain(&self, message: &Message) -> bool {
        let (Some(from), Some(by)) = (message.may_from, message.must_by) else {
            return false;
        };
        self.must_from.is_some_and(|begun| begun <= from) && self.may_to.is_none_or(|to| to >= by)
    }

    fn is_over(&self) -> bool {
        self.must_to.is_some()
    }
}

#[derive(Clone, Debug, Default)]
struct Copies {
    /// Said without DUP, RETAIN aside, and when first.
    said: u32,
    first_said: Option<Step>,
    /// Said with QoS 2 in any way, and taken by the client as new.
    said_twice: u32,
    heard_twice: u32,
    heard: u32,
}

/// What is in flight under one Packet Identifier.
#[derive(Clone, Copy, Debug)]
struct Flight {
    message: Option<usize>,
    qos: u8,
    link: usize,
    released: bool,
    /// Counts first sendings.
    order: u64,
}

#[derive(Clone, Debug, Default)]
struct Session {
    client: usize,
    life: u32,
    /// Session Expiry Interval: at least and at most.
    expiry_s: (u32, u32),
    ended: Option<Duration>,
    /// So much later may its end be in the store, which knew of it later or not at all.
    late: Duration,
    subs: Vec<Sub>,
    copies: BTreeMap<usize, Copies>,
    newest: BTreeMap<(usize, String, u8), usize>,
    flights: BTreeMap<u16, Flight>,
    /// Acknowledged by packets that arrived; whether the broker took them is not known.
    freed: BTreeMap<u16, Flight>,
    /// The broker may have sent what was never seen: a line was full when it was cut.
    was_blind: bool,
}

/// The filters of an UNSUBSCRIBE, whether each was there, and how many subscriptions it can concern.
#[derive(Debug)]
struct Unsubscribing {
    filters: Vec<(&'static str, Option<bool>)>,
    before: usize,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) client: usize,
    pub(crate) clean: bool,
    pub(crate) expiry_s: u32,
    pub(crate) will: Option<(usize, u32)>,
    /// When CONNECT arrived, and when it was accepted.
    asked: Option<Step>,
    accepted: Option<Step>,
    session: Option<usize>,
    /// Identifiers of PUBLISH packets of this connection that were not acknowledged.
    window: BTreeSet<u16>,
    /// Acknowledged by what arrived here and was perhaps not read yet.
    freeing: Vec<u16>,
    /// Place of the last message that was sent here, among all first sendings.
    last_order: u64,
    /// Messages by the identifier the client gave them.
    publishing: BTreeMap<u16, usize>,
    unsubscribing: BTreeMap<u16, Unsubscribing>,
    /// Reason Code of DISCONNECT and Session Expiry Interval in it.
    left: Option<(u8, Option<u32>)>,
    last_arrival: Duration,
    over: Option<Step>,
    refused: bool,
    was_full: bool,
    life: u32,
}

/// A client as the oracle knows it.
#[derive(Debug)]
struct Known {
    profile: Profile,
    session: Option<usize>,
    /// The connection that has the session.
    serving: Option<usize>,
    /// When it was seen to get it.
    given: Step,
    links: Vec<usize>,
}

/// A packet of a client, arrived.
#[derive(Clone, Debug)]
pub(crate) enum Up {
    Connect,
    Publish { message: usize, id: u16 },
    Ack { first: u8, id: u16, code: u8 },
    Subscribe { id: u16, wanted: Vec<Wanted> },
    Unsubscribe { id: u16, filters: Vec<&'static str> },
    Pingreq,
    Disconnect { code: u8, expiry_s: Option<u32> },
}

/// Bounds the operator set.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) queued: usize,
    pub(crate) queued_bytes: usize,
    pub(crate) subscriptions: usize,
    pub(crate) inflight: usize,
    /// There is a store: a message may be given up on a connection that ends before its identifier is kept, and
    /// the next does not know whether it was sent.
    pub(crate) is_kept: bool,
}

pub(crate) struct Oracle {
    bounds: Bounds,
    clients: Vec<Known>,
    pub(crate) messages: Vec<Message>,
    sessions: Vec<Session>,
    links: Vec<Link>,
    /// Retained messages and their removals, by topic, as they arrived.
    retained: BTreeMap<String, Vec<usize>>,
    pending: Vec<wills::Pending>,
    life: u32,
    sendings: u64,
    /// Nothing is owed any more: what is sent now was leaked.
    pub(crate) settled: bool,
}

impl Oracle {
    pub(crate) fn new(bounds: Bounds, profiles: &[Profile]) -> Self {
        let known = |profile: &Profile| Known {
            profile: profile.clone(),
            session: None,
            serving: None,
            given: 0,
            links: Vec::new(),
        };
        Self {
            bounds,
            clients: profiles.iter().map(known).collect(),
            messages: Vec::new(),
            sessions: Vec::new(),
            links: Vec::new(),
            retained: BTreeMap::new(),
            pending: Vec::new(),
            life: 0,
            sendings: 0,
            settled: false,
        }
    }

    /// A message is written; gives its number, which its payload says.
    pub(crate) fn message(&mut self, mut message: Message, filler: usize) -> usize {
        let number = self.messages.len();
        let profile = &self.clients[message.publisher].profile;
        message.granted = rules::may_write(profile.user, &profile.name, &message.topic);
        message.payload = match filler {
            0 => String::new(),
            _ => format!("{number}:{}", "x".repeat(filler - 1)),
        };
        self.messages.push(message);
        number
    }

    /// A connection is opened; gives its number.
    pub(crate) fn open(
        &mut self,
        client: usize,
        clean: bool,
        will: Option<(usize, u32)>,
        now: Duration,
    ) -> usize {
        let number = self.links.len();
        let profile = &self.clients[client].profile;
        self.links.push(Link {
            client,
            clean,
            expiry_s: profile.session_expiry_s(clean),
            will,
            asked: None,
            accepted: None,
            session: None,
            window: BTreeSet::new(),
            freeing: Vec::new(),
            last_order: 0,
            publishing: BTreeMap::new(),
            unsubscribing: BTreeMap::new(),
            left: None,
            last_arrival: now,
            over: None,
            refused: false,
            was_full: false,
            life: self.life,
        });
        self.clients[client].links.push(number);
        number
    }

    /// A whole packet has arrived at the broker.
    pub(crate) fn arrived(&mut self, link: usize, packet: Up, step: Step, now: Duration) {
        if self.links[link].over.is_some() {
            return;
        }
        self.links[link].last_arrival = now;
        match packet {
            Up::Connect => {
                self.links[link].asked = Some(step);
                self.claimed(link, now);
            }
            Up::Pingreq => {}
            Up::Publish { message, id } => {
                self.links[link].publishing.insert(id, message);
                let session = self.links[link].session;
                let known = &mut self.messages[message];
                if known.may_from.is_none() {
                    known.may_from = Some(step);
                    known.at = now;
                }
                if known.retain && known.granted {
                    let of_topic = self.retained.entry(known.topic.clone()).or_default();
                    if !of_topic.contains(&message) {
                        of_topic.push(message);
                    }
                }
                known.last = now;
                known.may_to = None;
                known.sends += 1;
                known.sent_in.insert(session);
            }
            Up::Ack { first, id, code } => self.acknowledged(link, first, id, code),
            Up::Subscribe { id, wanted } => self.subscribing(link, id, wanted, step),
            Up::Unsubscribe { id, filters } => self.unsubscribing(link, id, &filters, step),
            Up::Disconnect { code, expiry_s } => self.leaving(link, code, expiry_s),
        }
    }

    /// The client says that it has a message.
    fn acknowledged(&mut self, link: usize, first: u8, id: u16, code: u8) {
        let Some(session) = self.links[link].session else {
            return;
        };
        let session = &mut self.sessions[session];
        let Some(flight) = session.flights.get(&id) else {
            return;
        };
        let refused = first == 0x50 && code >= 0x80;
        let done = match flight.qos {
            1 => first == 0x40,
            _ => first == 0x70 || refused,
        };
        if done {
            let flight = *flight;
            session.flights.remove(&id);
            session.freed.insert(id, flight);
            self.links[link].window.remove(&id);
            self.links[link].freeing.push(id);
        }
    }

    /// The broker has found a line full: what it says now is heard later, or never.
    pub(crate) fn full(&mut self, link: usize, step: Step) {
        self.links[link].was_full = true;
        // Its end is not seen while its last bytes wait.
        if let Some((will, _)) = self.links[link].will {
            self.messages[will].may_from.get_or_insert(step);
        }
        if let Some(session) = self.links[link].session {
            self.sessions[session].was_blind = true;
        }
    }

    /// The broker has taken everything that arrived on a connection: what was acknowledged there is
    /// complete, and its identifier free.
    pub(crate) fn taken(&mut self, link: usize) {
        if self.links[link].over.is_some() {
            return;
        }
        let freed = std::mem::take(&mut self.links[link].freeing);
        if let Some(session) = self.links[link].session {
            for id in freed {
                self.sessions[session].freed.remove(&id);
            }
        }
    }

    /// The machine is gone, and with it everything.
    pub(crate) fn crashed(&mut self) {
        self.life += 1;
        for client in &mut self.clients {
            client.session = None;
        }
        for link in &mut self.links {
            link.over.get_or_insert(0);
        }
        self.retained.clear();
        self.pending.clear();
    }
}
