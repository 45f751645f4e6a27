//! What a client knows of its connection: what it may be sent, and what it waits for. Made from the
//! bytes that went to and fro alone.

use std::collections::HashMap;

use portcullis::codec::{Limits, Version};

use super::reading::Properties;
use super::server::{self, Sent};
use super::standard::{self, Connect, Publish, Read};

/// How far a message of QoS 1 or 2 from the server has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Published(u8),
    Released,
}

/// An answer that is owed to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owed {
    kind: u8,
    id: u16,
    /// Codes it has.
    codes: usize,
    /// The server may leave it out.
    optional: bool,
}

/// How far the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// CONNACK is to come, and nothing else.
    Greeting,
    Serving,
    /// DISCONNECT has come, or a CONNACK that refuses: nothing may follow.
    Over,
}

/// See the module.
pub(super) struct View {
    version: Version,
    limits: Limits,
    maximum_packet: usize,
    receive_maximum: usize,
    alias_maximum: u32,
    problem_information: bool,
    /// The bytes of a packet that is not complete.
    partial: Vec<u8>,
    aliases: HashMap<u32, String>,
    /// Messages that the client has not acknowledged, in the order they came.
    pub(super) inflight: Vec<(u16, Stage)>,
    /// Those that an earlier connection left, and this one has not sent yet.
    pub(super) earlier: Vec<(u16, Stage)>,
    /// Those of them that it has not sent and will not send.
    pub(super) given_up: Vec<u16>,
    owed: Vec<Owed>,
    phase: Phase,
    /// The client has sent something that no client may send.
    pub(super) broken: bool,
}

impl View {
    pub(super) fn new(connect: &Connect, limits: Limits) -> Self {
        let number = |id, absent| connect.properties.number(id).unwrap_or(absent);
        Self {
            version: connect.version,
            limits,
            maximum_packet: usize::try_from(number(0x27, u32::MAX)).unwrap(),
            receive_maximum: usize::try_from(number(0x21, 65_535)).unwrap(),
            alias_maximum: number(0x22, 0),
            problem_information: number(0x17, 1) == 1,
            partial: Vec::new(),
            aliases: HashMap::new(),
            inflight: Vec::new(),
            earlier: Vec::new(),
            given_up: Vec::new(),
            owed: Vec::new(),
            phase: Phase::Greeting,
            broken: false,
        }
    }

    /// The session goes on on another connection: what was not acknowledged may come again.
    pub(super) fn resumes(&mut self, before: &Self) {
        // Those come first that were sent first: new ones had to wait for all the earlier ones.
        self.earlier = [&before.inflight[..], &before.earlier].concat();
    }

    /// A message of an earlier connection is sent again, or released again. Those before it were not,
    /// and have had their turn [MQTT-4.6.0-1].
    fn again(&mut self, id: u16) -> Option<Stage> {
        let at = self.earlier.iter().position(|entry| entry.0 == id)?;
        for (id, stage) in self.earlier.drain(..at) {
            assert_eq!(stage, Stage::Published(1), "{id} was passed over");
            self.given_up.push(id);
        }
        Some(self.earlier.remove(0).1)
    }

    /// The client writes `bytes`; gives the packets that are whole now. What the server takes of them
    /// is told with [`View::taken`].
    pub(super) fn wrote(&mut self, bytes: &[u8]) -> Vec<Read> {
        self.partial.extend_from_slice(bytes);
        let mut packets = Vec::new();
        while !self.broken
            && let Some(length) = self.frame()
        {
            let frame: Vec<u8> = self.partial.drain(..length).collect();
            match standard::read(&frame, Some(self.version), &self.limits) {
                Some(read) => packets.push(read),
                None => self.broken = true,
            }
        }
        packets
    }

    /// The length of the packet that is whole.
    fn frame(&mut self) -> Option<usize> {
        let header = self.partial.get(1..)?;
        let end = header.iter().take(4).position(|byte| byte & 0x80 == 0);
        let Some(end) = end else {
            self.broken = header.len() >= 4;
            return None;
        };
        let length = header[..=end]
            .iter()
            .rev()
            .fold(0, |sum, byte| sum * 128 + usize::from(byte % 128));
        let whole = 2 + end + length;
        if (end > 0 && header[end] == 0) || whole > self.limits.max_packet_bytes {
            self.broken = true;
            return None;
        }
        (whole <= self.partial.len()).then_some(whole)
    }

    fn owes(&mut self, kind: u8, id: u16, codes: usize) {
        self.owed.push(Owed {
            kind,
            id,
            codes,
            optional: false,
        });
    }

    fn stage(&self, id: u16) -> Option<Stage> {
        let all = self.inflight.iter().chain(&self.earlier);
        all.copied()
            .find(|entry| entry.0 == id)
            .map(|entry| entry.1)
    }

    fn forget(&mut self, id: u16) {
        self.inflight.retain(|entry| entry.0 != id);
        self.earlier.retain(|entry| entry.0 != id);
    }

    /// The server has taken a packet without ending the connection for it.
    pub(super) fn taken(&mut self, read: &Read) {
        match read {
            Read::Publish(publish) => {
                if let Some(id) = publish.id {
                    self.owes(3 + publish.qos, id, 0);
                }
            }
            Read::Ack(5, id, code, _) => {
                let released = self.stage(*id) == Some(Stage::Released);
                if *code < 0x80 {
                    self.owes(6, *id, 0);
                    let all = self.inflight.iter_mut().chain(&mut self.earlier);
                    for entry in all.filter(|entry| entry.0 == *id) {
                        entry.1 = Stage::Released;
                    }
                } else if released {
                    self.owes(6, *id, 0);
                    self.owed.last_mut().unwrap().optional = true;
                } else {
                    self.forget(*id);
                }
            }
            Read::Ack(6, id, ..) => self.owes(7, *id, 0),
            // PUBACK and PUBCOMP.
            Read::Ack(_, id, ..) => self.forget(*id),
            Read::Subscribe(id, _, filters) => self.owes(9, *id, filters.len()),
            Read::Unsubscribe(id, filters) => {
                let codes = if self.version == Version::V5 {
                    filters.len()
                } else {
                    0
                };
                self.owes(11, *id, codes);
            }
            Read::Pingreq => self.owes(13, 0, 0),
            Read::Auth(..) => self.owes(15, 0, 0),
            Read::Disconnect(..) | Read::Connect(_) => {}
        }
    }

    /// The client is sent `bytes`: every packet is one that it may be sent now. Gives the messages,
    /// their aliases resolved.
    pub(super) fn received(&mut self, mut bytes: &[u8]) -> Vec<Publish> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let (packet, length) = server::next(&mut bytes, self.version);
            assert!(length <= self.maximum_packet, "{packet:?} is too large"); // [MQTT-3.1.2-24]
            // [MQTT-3.2.0-1]
            let greets = matches!(packet, Sent::Connack(..));
            let phase = if greets {
                Phase::Greeting
            } else {
                Phase::Serving
            };
            assert_eq!(self.phase, phase, "{packet:?}");
            match packet {
                Sent::Connack(_, code, properties) => {
                    self.phase = if code == 0 {
                        Phase::Serving
                    } else {
                        Phase::Over
                    };
                    self.told(&properties, true);
                }
                Sent::Publish(publish) => messages.push(self.message(publish)),
                Sent::Ack(kind, id, _, properties) => {
                    self.told(&properties, false);
                    self.acknowledged(kind, id);
                }
                Sent::Answer(kind, id, properties, codes) => {
                    self.told(&properties, false);
                    self.answered(kind, id, codes.len());
                }
                Sent::Pingresp => self.answered(13, 0, 0),
                Sent::Auth(_, properties) => {
                    self.told(&properties, false);
                    self.answered(15, 0, 0);
                }
                Sent::Disconnect(_, properties) => {
                    self.told(&properties, true);
                    self.phase = Phase::Over;
                }
            }
        }
        messages
    }

    /// Reason Strings stand only where the client takes them [MQTT-3.1.2-29].
    fn told(&self, properties: &Properties, always: bool) {
        let says = properties.has(0x1F) || properties.has(0x26);
        assert!(
            always || self.problem_information || !says,
            "{properties:?}"
        );
    }

    fn answered(&mut self, kind: u8, id: u16, codes: usize) {
        let is_it = |owed: &Owed| owed.kind == kind && owed.id == id && owed.codes == codes;
        let Some(at) = self.owed.iter().position(is_it) else {
            panic!(
                "{kind} #{id} with {codes} codes answers none of {:?}",
                self.owed
            );
        };
        self.owed.remove(at);
    }

    fn acknowledged(&mut self, kind: u8, id: u16) {
        // A released message is released again on the next connection [MQTT-4.4.0-1], and so is one
        // that is not to be sent again.
        let earlier = self.earlier.iter().position(|entry| entry.0 == id);
        let owed = self
            .owed
            .iter()
            .any(|owed| owed.kind == kind && owed.id == id);
        match earlier {
            Some(at) if kind == 6 && !owed => {
                self.earlier.remove(at);
                self.inflight.push((id, Stage::Released));
            }
            _ => self.answered(kind, id, 0),
        }
    }

    fn message(&mut self, mut publish: Publish) -> Publish {
        if let Some(alias) = publish.properties.number(0x23) {
            assert!(alias <= self.alias_maximum, "{publish:?}"); // [MQTT-3.1.2-26]
            if publish.topic.is_empty() {
                let known = self.aliases.get(&alias);
                publish
                    .topic
                    .clone_from(known.expect("an alias that was set"));
            } else {
                self.aliases.insert(alias, publish.topic.clone());
            }
        }
        let Some(id) = publish.id else {
            return publish;
        };
        if publish.dup {
            // Only on another connection than the first [MQTT-4.4.0-2].
            let stage = self.again(id).expect("one of an earlier connection");
            assert_eq!(stage, Stage::Published(publish.qos), "{publish:?}");
        }
        // One that was given up, for it is too large now, leaves a free identifier at QoS 1.
        self.earlier
            .retain(|entry| *entry != (id, Stage::Published(1)));
        assert_eq!(self.stage(id), None, "{publish:?} has an identifier in use"); // [MQTT-2.2.1-4]
        self.inflight.push((id, Stage::Published(publish.qos)));
        let count = self.inflight.len();
        assert!(count <= self.receive_maximum, "{count} messages"); // [MQTT-3.3.4-9]
        publish
    }

    /// The server has had its turn: everything is answered, once.
    pub(super) fn is_answered(&self) {
        assert!(
            self.owed.iter().all(|owed| owed.optional),
            "{:?}",
            self.owed
        );
    }

    /// Whether DISCONNECT has come, or a CONNACK that refuses.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }
}
