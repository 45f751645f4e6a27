//! A model client: it keeps to the standard, remembers what a client must, and is in no hurry.

use std::collections::{BTreeSet, VecDeque};

use crate::oracle::{Message, Up, Wanted};
use crate::packets::{Packet, Published};
use crate::rng::Rng;
use crate::rules;
use crate::wire;

/// What does not change about a client.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) user: &'static str,
    pub(crate) version: u8,
    pub(crate) expiry_s: u32,
    pub(crate) receive_maximum: usize,
    pub(crate) keep_alive_s: u16,
    pub(crate) maximum_packet: Option<usize>,
    pub(crate) aliases: u16,
}

impl Profile {
    /// `versions` are those it may speak.
    pub(crate) fn random(index: usize, versions: &[u8], rng: &mut Rng) -> Self {
        let version = *rng.pick(versions);
        let v5 = version == 5;
        let small = v5 && rng.once_in(12);
        Self {
            name: format!("c{index:04}"),
            user: rules::USERS[(index + 1) % rules::USERS.len()],
            version,
            expiry_s: *rng.pick(&[0, 30, 3_600, 3_600, u32::MAX]),
            receive_maximum: if v5 {
                *rng.pick(&[1, 2, 5, 65_535])
            } else {
                65_535
            },
            keep_alive_s: *rng.pick(&[0, 0, 10, 120]),
            maximum_packet: small.then_some(60),
            aliases: if v5 { *rng.pick(&[0, 2, 10]) } else { 0 },
        }
    }

    /// What the broker understands; 3.x knows only for ever and not at all.
    pub(crate) fn session_expiry_s(&self, clean: bool) -> u32 {
        match (self.version, clean) {
            (5, _) => self.expiry_s,
            (_, true) => 0,
            (_, false) => u32::MAX,
        }
    }
}

/// One of the client's own messages of QoS 1 or 2, until it is acknowledged.
#[derive(Clone, Debug)]
struct Outgoing {
    id: u16,
    message: usize,
    released: bool,
    on_link: bool,
}

/// What a client did with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    New,
    /// It does not want it: PUBREC with an error.
    Refused,
    /// It has it already, or there was none.
    No,
}

/// A packet to be sent: its bytes and what it is.
pub(crate) type ToSend = (Vec<u8>, Up);

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) profile: Profile,
    pub(crate) link: Option<usize>,
    pub(crate) connected: bool,
    /// It has asked for a new session, and does so until it hears that it has one.
    pub(crate) begins_anew: bool,
    /// The session that what it remembers belongs to.
    session: Option<usize>,
    next_id: u16,
    outgoing: VecDeque<Outgoing>,
    /// Requests that were not answered, by identifier.
    asked: BTreeSet<u16>,
    /// Received with QoS 2 and not released.
    received: BTreeSet<u16>,
    /// Acknowledgements to be sent, in order.
    pub(crate) replies: VecDeque<ToSend>,
    /// Filters it believes it has.
    pub(crate) filters: BTreeSet<&'static str>,
}

impl Client {
    pub(crate) fn new(profile: Profile) -> Self {
        Self {
            profile,
            link: None,
            connected: false,
            begins_anew: false,
            session: None,
            next_id: 0,
            outgoing: VecDeque::new(),
            asked: BTreeSet::new(),
            received: BTreeSet::new(),
            replies: VecDeque::new(),
            filters: BTreeSet::new(),
        }
    }

    fn v5(&self) -> bool {
        self.profile.version == 5
    }

    fn block<'a>(&self, block: &'a [u8]) -> Option<&'a [u8]> {
        self.v5().then_some(block)
    }

    fn identifier(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id.wrapping_add(1);
            let taken = self.outgoing.iter().any(|out| out.id == self.next_id);
            if self.next_id != 0 && !taken && !self.asked.contains(&self.next_id) {
                return self.next_id;
            }
        }
    }

    /// CONNECT on a new connection; `will` is its message and delay.
    pub(crate) fn connect(&mut self, clean: bool, will: Option<(&Message, u32)>) -> ToSend {
        self.connected = false;
        self.replies.clear();
        self.asked.clear();
        self.begins_anew = clean;
        if clean {
            self.forget();
        }
        let profile = &self.profile;
        let mut flags = 0x80 | u8::from(clean) << 1;
        if let Some((will, _)) = will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        let mut body = wire::text(if profile.version == 3 {
            "MQIsdp"
        } else {
            "MQTT"
        });
        body.extend([profile.version, flags]);
        body.extend(profile.keep_alive_s.to_be_bytes());
        if self.v5() {
            let mut block = vec![0x11];
            block.extend(profile.expiry_s.to_be_bytes());
            let count = u16::try_from(profile.receive_maximum).expect("16 bits");
            if count < u16::MAX {
                block.push(0x21);
                block.extend(count.to_be_bytes());
            }
            if let Some(bytes) = profile.maximum_packet {
                block.push(0x27);
                block.extend(u32::try_from(bytes).expect("small").to_be_bytes());
            }
            block.push(0x22);
            block.extend(profile.aliases.to_be_bytes());
            body.extend(wire::properties(&block));
        }
        body.extend(wire::text(&profile.name));
        if let Some((will, delay_s)) = will {
            if self.v5() {
                let block = [&[0x18][..], &delay_s.to_be_bytes()].concat();
                body.extend(wire::properties(&block));
            }
            body.extend(wire::text(&will.topic));
            body.extend(wire::text(&will.payload));
        }
        body.extend(wire::text(profile.user));
        (wire::packet(0x10, &body), Up::Connect)
    }

    /// What it remembers belongs to this session from now on. Session Present of CONNACK says whether it
    /// is the one before, but not which: a client that missed the CONNACK of a new session would take
    /// its messages for repetitions of the old one's. That is a hole of the standard, and not looked
    /// into here.
    pub(crate) fn belongs_to(&mut self, session: Option<usize>) {
        if self.session != session {
            self.forget();
        }
        self.session = session;
    }

    fn forget(&mut self) {
        self.outgoing.clear();
        self.received.clear();
        self.filters.clear();
    }

    /// Messages it may have under way beside those it has.
    pub(crate) fn room(&self, receive_maximum: usize) -> usize {
        receive_maximum.saturating_sub(self.outgoing.len())
    }

    pub(crate) fn is_done(&self) -> bool {
        self.outgoing.is_empty() && self.replies.is_empty()
    }

    pub(crate) fn publish(&mut self, message: usize, known: &Message) -> ToSend {
        let id = if known.qos > 0 { self.identifier() } else { 0 };
        if known.qos > 0 {
            self.outgoing.push_back(Outgoing {
                id,
                message,
                released: false,
                on_link: true,
            });
        }
        self.publish_packet(message, known, id, false)
    }

    fn publish_packet(&self, message: usize, known: &Message, id: u16, dup: bool) -> ToSend {
        let flags = u8::from(dup) << 3 | known.qos << 1 | u8::from(known.retain);
        let mut block = Vec::new();
        if let Some(seconds) = known.expiry_s {
            block.push(0x02);
            block.extend(seconds.to_be_bytes());
        }
        let id_field = (known.qos > 0).then_some(id);
        let block = self.block(&block);
        let bytes = wire::publish(flags, &known.topic, id_field, block, &known.payload);
        (bytes, Up::Publish { message, id })
    }

    pub(crate) fn subscribe(&mut self, wanted: Vec<Wanted>) -> ToSend {
        let id = self.identifier();
        self.asked.insert(id);
        let mut body = id.to_be_bytes().to_vec();
        if self.v5() {
            let identifier = wanted[0]
                .identifier
                .map(|identifier| [0x0B, u8::try_from(identifier).expect("below 128")].to_vec());
            body.extend(wire::properties(&identifier.unwrap_or_default()));
        }
        for wanted in &wanted {
            body.extend(wire::text(wanted.filter));
            let mut options = wanted.qos;
            if self.v5() {
                options |= u8::from(wanted.no_local) << 2;
                options |= u8::from(wanted.as_published) << 3 | wanted.handling << 4;
            }
            body.push(options);
            self.filters.insert(wanted.filter);
        }
        (wire::packet(0x82, &body), Up::Subscribe { id, wanted })
    }

    pub(crate) fn unsubscribe(&mut self, filters: Vec<&'static str>) -> ToSend {
        let id = self.identifier();
        self.asked.insert(id);
        let mut body = id.to_be_bytes().to_vec();
        if self.v5() {
            body.push(0);
        }
        for filter in &filters {
            body.extend(wire::text(filter));
            self.filters.remove(filter);
        }
        (wire::packet(0xA2, &body), Up::Unsubscribe { id, filters })
    }

    pub(crate) fn disconnect(&self, code: u8, expiry_s: Option<u32>) -> ToSend {
        let mut body = Vec::new();
        if self.v5() && (code != 0 || expiry_s.is_some()) {
            body.push(code);
            let mut block = Vec::new();
            if let Some(seconds) = expiry_s {
                block.push(0x11);
                block.extend(seconds.to_be_bytes());
            }
            body.extend(wire::properties(&block));
        }
        (wire::packet(0xE0, &body), Up::Disconnect { code, expiry_s })
    }

    /// A packet of the broker has come. Gives what is to be sent at once, and the message if it is
    /// new to the client.
    pub(crate) fn hear(
        &mut self,
        packet: &Packet,
        messages: &[Message],
        refuses: bool,
    ) -> (Vec<ToSend>, Taken) {
        let mut now = Vec::new();
        let mut taken = Taken::No;
        match packet {
            Packet::Connack { code: 0, .. } => {
                self.connected = true;
                self.begins_anew = false;
                now = self.resend(messages);
            }
            Packet::Publish(published) => taken = self.take(published, refuses),
            Packet::Puback { id, .. } | Packet::Pubcomp { id } => self.done(*id),
            Packet::Pubrec { id, code } if *code >= 0x80 => self.done(*id),
            Packet::Pubrec { id, .. } => {
                for out in self.outgoing.iter_mut().filter(|out| out.id == *id) {
                    out.released = true;
                }
                let reply = self.ack(0x62, *id, 0);
                self.replies.push_back(reply);
            }
            Packet::Pubrel { id } => {
                self.received.remove(id);
                let reply = self.ack(0x70, *id, 0);
                self.replies.push_back(reply);
            }
            Packet::Suback { id, .. } | Packet::Unsuback { id, .. } => {
                self.asked.remove(id);
            }
            Packet::Connack { .. } | Packet::Pingresp | Packet::Disconnect { .. } => {}
        }
        (now, taken)
    }

    fn take(&mut self, published: &Published, refuses: bool) -> Taken {
        let id = published.id;
        let (taken, reply) = match published.qos {
            0 => return Taken::New,
            1 => (Taken::New, self.ack(0x40, id, 0)),
            _ if refuses && self.v5() && !self.received.contains(&id) => {
                (Taken::Refused, self.ack(0x50, id, 0x83))
            }
            _ if self.received.insert(id) => (Taken::New, self.ack(0x50, id, 0)),
            _ => (Taken::No, self.ack(0x50, id, 0)),
        };
        self.replies.push_back(reply);
        taken
    }

    fn ack(&self, first: u8, id: u16, code: u8) -> ToSend {
        let reason = (self.v5() && code != 0).then_some(code);
        let up = Up::Ack { first, id, code };
        (wire::ack(first, id, reason), up)
    }

    fn done(&mut self, id: u16) {
        self.outgoing.retain(|out| out.id != id);
    }

    /// What was not acknowledged, again and in the order it had [MQTT-4.4.0-1].
    fn resend(&mut self, messages: &[Message]) -> Vec<ToSend> {
        for out in &mut self.outgoing {
            out.on_link = true;
        }
        self.outgoing
            .iter()
            .map(|out| {
                if out.released {
                    self.ack(0x62, out.id, 0)
                } else {
                    self.publish_packet(out.message, &messages[out.message], out.id, true)
                }
            })
            .collect()
    }
}
