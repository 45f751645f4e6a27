//! A client as the standard wants it, which keeps its Session State while the broker is killed: what it
//! sends is complete with PUBACK or PUBCOMP and is sent again until then, and it remembers the Packet
//! Identifiers of QoS 2 that it was sent until PUBREL. What it sees it tells the ledger.

use std::collections::{BTreeSet, HashSet, VecDeque};

use mio::{Registry, Token};

use super::fault::Fault;
use super::ledger::{Due, Ledger, Number};
use super::link::Link;
use crate::support::raw::{
    Hello, Packet, ack, packet, publish, put_bytes, put_properties, subscribe,
};

/// A message under way to the broker.
struct Outgoing {
    id: u16,
    number: Number,
    retain: bool,
    empty: bool,
    /// PUBREC came: from now on only PUBREL is sent.
    released: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// SUBSCRIBE with this identifier is, or will be, on its way.
    Asking(u16),
    Held,
    /// The same with UNSUBSCRIBE.
    Leaving(u16),
    /// The place stays: it is the Subscription Identifier.
    Gone,
}

struct Wanted {
    filter: String,
    qos: u8,
    wish: Wish,
}

/// What a client owes to the broker for a packet.
struct Answer {
    bytes: Vec<u8>,
    /// The message is no longer in flight then.
    ends: Option<u16>,
}

pub(super) struct Client {
    pub(super) hello: Hello,
    pub(super) member: usize,
    link: Option<Link>,
    greeted: bool,
    /// CONNACK was received, so the session must be there the next time.
    established: bool,
    /// The next CONNECT ends the session.
    fresh: bool,
    outgoing: VecDeque<Outgoing>,
    /// QoS 2 that were taken and not released.
    taken: HashSet<u16>,
    answers: VecDeque<Answer>,
    /// In flight to this client over this connection.
    in_flight: BTreeSet<u16>,
    receive_maximum: usize,
    wanted: Vec<Wanted>,
    last_id: u16,
    /// The will of its CONNECT, and what becomes of it once that is acknowledged.
    pub(super) will: Option<(Number, Due)>,
}

/// Most messages that a publisher has under way: the broker takes 20.
const WINDOW: usize = 16;

impl Client {
    /// A client with a session that is kept. `receive_maximum` is told if the version can.
    pub(super) fn new(version: u8, name: &str, receive_maximum: u8, member: usize) -> Self {
        let mut hello = Hello::nameless(version, name).kept();
        let told = version == 5 && receive_maximum > 0;
        if told {
            hello = hello.with_property(&[0x21, 0, receive_maximum]);
        }
        Self {
            hello,
            member,
            link: None,
            greeted: false,
            established: false,
            fresh: false,
            outgoing: VecDeque::new(),
            taken: HashSet::new(),
            answers: VecDeque::new(),
            in_flight: BTreeSet::new(),
            receive_maximum: if told { receive_maximum.into() } else { 65_535 },
            wanted: Vec::new(),
            last_id: 0,
            will: None,
        }
    }

    pub(super) fn is_there(&self) -> bool {
        self.link.is_some()
    }

    /// CONNACK came on this connection.
    pub(super) fn is_up(&self) -> bool {
        self.link.is_some() && self.greeted
    }

    pub(super) fn connect(&mut self, port: u16, registry: &Registry, token: Token) {
        self.link = Link::open(port, registry, token);
        self.greeted = false;
        let hello = Hello {
            clean: self.fresh || self.hello.clean,
            ..self.hello.clone()
        };
        self.send(&hello.encode());
    }

    /// Comes back with Clean Start.
    pub(super) fn begin_anew(&mut self) {
        self.fresh = true;
        self.vanish();
    }

    /// The connection is over, whoever ended it. What was not answered will come again.
    pub(super) fn vanish(&mut self) {
        self.link = None;
        self.greeted = false;
        self.answers.clear();
        self.in_flight.clear();
    }

    /// DISCONNECT: a will is forgotten.
    pub(super) fn say_goodbye(&mut self) {
        self.send(&[0xE0, 0]);
        self.write();
    }

    fn send(&mut self, bytes: &[u8]) {
        if let Some(link) = &mut self.link {
            link.send(bytes);
        }
    }

    pub(super) fn write(&mut self) {
        if let Some(link) = &mut self.link {
            link.write();
        }
    }

    fn id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id % 65_535 + 1;
            let id = self.last_id;
            let asked = |wanted: &Wanted| matches!(wanted.wish, Wish::Asking(used) | Wish::Leaving(used) if used == id);
            let sent = |outgoing: &Outgoing| outgoing.id == id;
            if !self.outgoing.iter().any(sent) && !self.wanted.iter().any(asked) {
                return id;
            }
        }
    }

    // Subscriptions.

    /// The Subscription Identifier of a filter: its place among all that the client ever had.
    fn identifier(&self, index: usize) -> Option<u8> {
        (self.hello.version == 5).then(|| u8::try_from(index + 1).expect("few filters"))
    }

    pub(super) fn subscribe(&mut self, filter: &str, qos: u8, ledger: &mut Ledger) {
        let wish = Wish::Asking(self.id());
        let index = self
            .wanted
            .iter()
            .position(|wanted| wanted.filter == filter);
        let index = index.unwrap_or_else(|| {
            self.wanted.push(Wanted {
                filter: filter.to_owned(),
                qos,
                wish,
            });
            self.wanted.len() - 1
        });
        self.wanted[index].wish = wish;
        ledger.asked(self.member, filter, qos, self.identifier(index));
        self.request(index);
    }

    pub(super) fn unsubscribe(&mut self, filter: &str, ledger: &mut Ledger) {
        let id = self.id();
        if let Some(index) = self.position(filter) {
            self.wanted[index].wish = Wish::Leaving(id);
            ledger.leaving(self.member, filter);
            self.request(index);
        }
    }

    fn position(&self, filter: &str) -> Option<usize> {
        let mut all = self.wanted.iter();
        all.position(|wanted| wanted.filter == filter)
    }

    /// Whether a subscription is held; `None` while that is being changed.
    pub(super) fn holds(&self, filter: &str) -> Option<bool> {
        match self.position(filter).map(|index| self.wanted[index].wish) {
            None | Some(Wish::Gone) => Some(false),
            Some(Wish::Held) => Some(true),
            Some(_) => None,
        }
    }

    /// Sends the request that a subscription is waiting for.
    fn request(&mut self, index: usize) {
        let wanted = &self.wanted[index];
        let five = self.hello.version == 5;
        let bytes = match wanted.wish {
            Wish::Held | Wish::Gone => return,
            Wish::Asking(id) => {
                let identifier = self.identifier(index).map(|id| [0x0B, id]);
                let properties = identifier.as_ref().map_or(&[][..], |bytes| &bytes[..]);
                let filters = [(wanted.filter.as_str(), wanted.qos)];
                subscribe(self.hello.version, id, &filters, properties)
            }
            Wish::Leaving(id) => {
                let mut body = id.to_be_bytes().to_vec();
                if five {
                    put_properties(&mut body, &[]);
                }
                put_bytes(&mut body, wanted.filter.as_bytes());
                packet(0xA2, &body)
            }
        };
        if self.greeted {
            self.send(&bytes);
        }
    }

    // Publishing.

    pub(super) fn has_room(&self) -> bool {
        let free = self.link.as_ref().is_some_and(|link| !link.is_full());
        self.greeted && free && self.outgoing.len() < WINDOW
    }

    pub(super) fn publish(&mut self, number: Number, retain: bool, empty: bool, ledger: &Ledger) {
        let id = self.id();
        self.outgoing.push_back(Outgoing {
            id,
            number,
            retain,
            empty,
            released: false,
        });
        let last = self.outgoing.len() - 1;
        self.send_message(last, false, ledger);
    }

    fn send_message(&mut self, index: usize, again: bool, ledger: &Ledger) {
        let outgoing = &self.outgoing[index];
        if outgoing.released {
            let pubrel = ack(0x62, outgoing.id);
            return self.send(&pubrel);
        }
        let (topic, qos, expiry_s) = ledger.topic_of(outgoing.number);
        let mut properties = Vec::new();
        if let Some(expiry_s) = expiry_s {
            properties.push(0x02);
            properties.extend(expiry_s.to_be_bytes());
        }
        let payload = if outgoing.empty {
            String::new()
        } else {
            outgoing.number.payload()
        };
        let (id, retain) = (outgoing.id, outgoing.retain);
        let version = self.hello.version;
        let mut bytes = publish(
            version,
            topic,
            payload.as_bytes(),
            qos,
            id,
            retain,
            &properties,
        );
        bytes[0] |= u8::from(again) << 3;
        self.send(&bytes);
    }

    /// What has begun and is not at its end.
    pub(super) fn open(&self) -> Option<String> {
        let settled = |wanted: &Wanted| matches!(wanted.wish, Wish::Held | Wish::Gone);
        let asked = self.wanted.iter().filter(|wanted| !settled(wanted)).count();
        let sent = self.outgoing.len();
        let taken = self.taken.len();
        let open = !self.is_up() || sent + taken + asked + self.answers.len() > 0;
        open.then(|| {
            let (up, name) = (self.is_up(), &self.hello.client_id);
            format!("{name} (connected: {up}): {sent} sent, {taken} taken, {asked} subscriptions")
        })
    }

    // What comes.

    /// Reads and handles what is there; says how many packets that were.
    pub(super) fn read(&mut self, ledger: &mut Ledger) -> usize {
        let Some(link) = &mut self.link else {
            return 0;
        };
        let (packets, open) = link.read();
        for packet in &packets {
            self.handle(packet, ledger);
        }
        if !open {
            self.vanish();
        }
        packets.len()
    }

    /// Gives at most so many of the answers that are due, in their order.
    pub(super) fn answer(&mut self, most: usize) {
        for _ in 0..most.min(self.answers.len()) {
            let answer = self.answers.pop_front().expect("counted");
            if let Some(id) = answer.ends {
                self.in_flight.remove(&id);
            }
            self.send(&answer.bytes);
        }
    }

    fn handle(&mut self, packet: &Packet, ledger: &mut Ledger) {
        let id = match packet.body[..] {
            [high, low, ..] => u16::from_be_bytes([high, low]),
            _ => 0,
        };
        match packet.kind() {
            2 => self.handle_connack(packet, ledger),
            3 => self.handle_publish(packet, ledger),
            4 => self.handle_puback(id, packet, ledger),
            5 => self.handle_pubrec(id, packet, ledger),
            6 => {
                let known = self.taken.remove(&id);
                let bytes = match (known, self.hello.version) {
                    (false, 5) => vec![0x70, 3, packet.body[0], packet.body[1], 0x92],
                    _ => ack(0x70, id),
                };
                let ends = Some(id);
                self.answers.push_back(Answer { bytes, ends });
            }
            7 => {
                let at = self.outgoing.iter().position(|outgoing| outgoing.id == id);
                match at.and_then(|at| self.outgoing.remove(at)) {
                    Some(outgoing) if outgoing.released => ledger.done(outgoing.number),
                    _ => self.wrong("PUBCOMP for nothing", packet, ledger),
                }
            }
            9 | 11 => self.handle_suback(id, packet, ledger),
            13 => {}
            // It is told to stop, and says so.
            14 if packet.body.first() == Some(&0x8B) => {}
            _ => self.wrong("it", packet, ledger),
        }
    }

    fn wrong(&mut self, what: &str, packet: &Packet, ledger: &mut Ledger) {
        let name = ledger.name(self.member).to_owned();
        let start = &packet.body[..packet.body.len().min(20)];
        let first = packet.first;
        ledger.fault(Fault::Protocol, || {
            format!("{what}: {first:02x} {start:02x?} to {name}")
        });
    }

    fn handle_connack(&mut self, packet: &Packet, ledger: &mut Ledger) {
        if packet.body[1] != 0 {
            let (name, code) = (self.hello.client_id.clone(), packet.body[1]);
            ledger.fault(Fault::Refused, || format!("CONNECT of {name}: {code:#04x}"));
            return self.vanish();
        }
        self.greeted = true;
        let present = packet.body[0] & 1 == 1;
        if let Some((will, due)) = self.will {
            ledger.will_is_due(will, due);
        }
        let kept = !(self.fresh || self.hello.clean);
        if !kept && present {
            self.wrong("Session Present", packet, ledger);
        }
        if self.fresh {
            ledger.ended(self.member);
            self.forget(ledger);
            self.wanted.clear();
            self.fresh = false;
            if self.hello.version < 5 {
                // Without Session Expiry that session ends with its connection; the next one is kept.
                self.established = false;
                self.say_goodbye();
                return self.vanish();
            }
        } else if kept && self.established && !present {
            ledger.forgotten(self.member);
            self.forget(ledger);
            for index in 0..self.wanted.len() {
                self.ask_again(index, ledger);
            }
        } else {
            ledger.counts.resumed += u64::from(present);
            self.resume(ledger);
        }
        self.established = kept || self.established;
    }

    /// In the order in which they were sent first [MQTT-4.6.0-1].
    fn resume(&mut self, ledger: &Ledger) {
        for index in 0..self.outgoing.len() {
            self.send_message(index, true, ledger);
        }
        for index in 0..self.wanted.len() {
            self.request(index);
        }
    }

    /// There is no session any more that this could belong to.
    fn forget(&mut self, ledger: &mut Ledger) {
        for outgoing in self.outgoing.drain(..) {
            ledger.abandoned(outgoing.number);
        }
        self.taken.clear();
    }

    fn ask_again(&mut self, index: usize, ledger: &mut Ledger) {
        if matches!(self.wanted[index].wish, Wish::Leaving(_) | Wish::Gone) {
            self.wanted[index].wish = Wish::Gone;
            return;
        }
        let (filter, qos) = (self.wanted[index].filter.clone(), self.wanted[index].qos);
        self.subscribe(&filter, qos, ledger);
    }

    fn handle_publish(&mut self, packet: &Packet, ledger: &mut Ledger) {
        let received = packet.publish(self.hello.version);
        let Some(id) = received.id else {
            return self.wrong("QoS 0", packet, ledger);
        };
        self.in_flight.insert(id);
        if self.in_flight.len() > self.receive_maximum {
            self.wrong("more than Receive Maximum", packet, ledger);
        }
        let first = if received.qos == 2 { 0x50 } else { 0x40 };
        self.answers.push_back(Answer {
            bytes: ack(first, id),
            ends: (received.qos == 1).then_some(id),
        });
        let known = received.qos == 2 && !self.taken.insert(id);
        if known && !received.dup {
            self.wrong("an identifier in use", packet, ledger);
        }
        if !known {
            ledger.delivered(self.member, &received);
        }
    }

    fn refused(packet: &Packet) -> bool {
        packet.body.get(2).is_some_and(|&code| code >= 0x80)
    }

    fn handle_puback(&mut self, id: u16, packet: &Packet, ledger: &mut Ledger) {
        let at = self.outgoing.iter().position(|outgoing| outgoing.id == id);
        let Some(outgoing) = at.and_then(|at| self.outgoing.remove(at)) else {
            return self.wrong("PUBACK for nothing", packet, ledger);
        };
        Self::settle(&outgoing, packet, ledger);
    }

    fn handle_pubrec(&mut self, id: u16, packet: &Packet, ledger: &mut Ledger) {
        let at = self.outgoing.iter().position(|outgoing| outgoing.id == id);
        match at {
            None => self.wrong("PUBREC for nothing", packet, ledger),
            Some(at) if Self::refused(packet) => {
                let outgoing = self.outgoing.remove(at).expect("found");
                Self::settle(&outgoing, packet, ledger);
            }
            Some(at) => {
                self.outgoing[at].released = true;
                ledger.promised(self.outgoing[at].number);
                self.send(&ack(0x62, id));
            }
        }
    }

    /// The only acknowledgement there is, or one that refuses.
    fn settle(outgoing: &Outgoing, packet: &Packet, ledger: &mut Ledger) {
        if Self::refused(packet) {
            ledger.abandoned(outgoing.number);
            let code = packet.body[2];
            ledger.fault(Fault::Refused, || {
                format!("{:?}: {code:#04x}", outgoing.number)
            });
        } else {
            ledger.promised(outgoing.number);
            ledger.done(outgoing.number);
        }
    }

    fn handle_suback(&mut self, id: u16, packet: &Packet, ledger: &mut Ledger) {
        let asked = |wanted: &Wanted| matches!(wanted.wish, Wish::Asking(used) | Wish::Leaving(used) if used == id);
        let Some(index) = self.wanted.iter().position(asked) else {
            return self.wrong("an answer to nothing", packet, ledger);
        };
        let filter = self.wanted[index].filter.clone();
        // UNSUBACK of 3.1.1 has none.
        let code = packet.body[2..].last().copied().unwrap_or(0);
        let expected = packet.kind() != 9 || code == self.wanted[index].qos;
        if !expected || code >= 0x80 {
            ledger.fault(Fault::Refused, || format!("{filter}: {code:#04x}"));
        }
        if packet.kind() == 9 {
            self.wanted[index].wish = Wish::Held;
            ledger.subscribed(self.member, &filter);
        } else {
            ledger.left(self.member, &filter);
            self.wanted[index].wish = Wish::Gone;
        }
    }
}
