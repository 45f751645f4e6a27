//! What a client does of its own: connects, publishes, subscribes, leaves.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::{Link, World};
use crate::client::ToSend;
use crate::line::Line;
use crate::oracle::{Message, Up, Wanted};
use crate::packets::Reader;
use crate::rules;

impl World {
    /// The client does something of its own.
    pub(super) fn act(&mut self, client: usize) {
        if self.clients[client].link.is_none() {
            let clean = self.rng.once_in(5);
            self.connect(client, clean);
            return;
        }
        if !self.clients[client].connected {
            return;
        }
        match self.rng.below(20) {
            0..10 => {
                for _ in 0..=self.rng.below(4) {
                    self.publish(client);
                }
            }
            10..15 => self.subscribe(client),
            15..17 => self.unsubscribe(client),
            17 => {
                let ping = (vec![0xC0, 0], Up::Pingreq);
                self.send(client, ping);
            }
            18 => self.disconnect(client),
            _ => {
                // Its other half still believes to be connected.
                let clean = self.rng.once_in(4);
                self.connect(client, clean);
            }
        }
    }

    pub(crate) fn connect(&mut self, client: usize, clean: bool) {
        let profile = &self.clients[client].profile;
        let clean = match profile.version {
            3 => profile.expiry_s == 0,
            _ => clean || self.clients[client].begins_anew,
        };
        let will = if !self.calm && self.rng.once_in(3) {
            self.will(client)
        } else {
            None
        };
        let now = self.host.elapsed;
        let number = self.oracle.open(client, clean, will, now);
        let name = self.clients[client].profile.name.clone();
        self.note(|| format!("open {number} for {name} clean={clean} will={will:?}"));
        let line = Line::default();
        self.host.accept(number, &line);
        self.links.push(Link {
            client,
            line,
            out: Vec::new(),
            sent: VecDeque::new(),
            reader: Reader::default(),
            read: 0,
            said: VecDeque::new(),
            heard: 0,
            left: false,
            cut: false,
        });
        if let Some(old) = self.clients[client].link.replace(number) {
            self.links[old].left = true;
        }
        let will = will.map(|(message, delay_s)| (&self.oracle.messages[message], delay_s));
        let packet = self.clients[client].connect(clean, will);
        self.send(client, packet);
    }

    pub(super) fn will(&mut self, client: usize) -> Option<(usize, u32)> {
        let profile = &self.clients[client].profile;
        if profile.user == "silent" {
            return None;
        }
        let v5 = profile.version == 5;
        let delay_s = if v5 {
            *self.rng.pick(&[0, 0, 5, 60])
        } else {
            0
        };
        let message = Message {
            is_will: true,
            ..self.message(client, "w/x".into())
        };
        let message = Message {
            retain: false,
            expiry_s: None,
            ..message
        };
        Some((self.oracle.message(message, 3), delay_s))
    }

    pub(super) fn message(&mut self, client: usize, topic: String) -> Message {
        let v5 = self.clients[client].profile.version == 5;
        Message {
            publisher: client,
            topic,
            qos: *self.rng.pick(&[0, 1, 1, 2, 2]),
            retain: self.rng.once_in(6),
            expiry_s: (v5 && self.rng.once_in(10)).then(|| *self.rng.pick(&[1, 20, 100])),
            payload: String::new(),
            is_will: false,
            granted: false,
            may_from: None,
            must_by: None,
            may_to: None,
            at: Duration::ZERO,
            by: None,
            last: Duration::ZERO,
            sends: 0,
            sent_in: BTreeSet::new(),
        }
    }

    pub(super) fn publish(&mut self, client: usize) {
        if self.clients[client].room(self.receive_maximum) == 0 {
            return;
        }
        // Half of it goes to few topics, so that there is an order to keep.
        let topics = match self.rng.below(2) {
            0 => &rules::TOPICS[..],
            _ => &rules::TOPICS[..3],
        };
        let topic = (*self.rng.pick(topics)).to_owned();
        let message = self.message(client, topic);
        let filler = match self.rng.below(20) {
            0 if message.retain => 0,
            1 => 300,
            // More than one write takes.
            2..14 if self.heavy => 30_000,
            filler => filler + 1,
        };
        let number = self.oracle.message(message, filler);
        let packet = self.clients[client].publish(number, &self.oracle.messages[number]);
        self.send(client, packet);
    }

    pub(super) fn subscribe(&mut self, client: usize) {
        let v5 = self.clients[client].profile.version == 5;
        let identifier = (v5 && self.rng.once_in(2)).then(|| 1 + self.rng.below(9));
        let identifier = identifier.map(|identifier| u32::try_from(identifier).expect("small"));
        let mut wanted: Vec<Wanted> = Vec::new();
        for _ in 0..=self.rng.below(2) {
            let filter = *self.rng.pick(&rules::FILTERS);
            if wanted.iter().any(|other| other.filter == filter) {
                continue;
            }
            let shared = rules::shared(filter).0.is_some();
            wanted.push(Wanted {
                filter,
                qos: *self.rng.pick(&[0, 1, 2, 2]),
                no_local: v5 && !shared && self.rng.once_in(4),
                as_published: v5 && self.rng.once_in(4),
                handling: if v5 { *self.rng.pick(&[0, 0, 1, 2]) } else { 0 },
                identifier,
            });
        }
        let packet = self.clients[client].subscribe(wanted);
        self.send(client, packet);
    }

    pub(super) fn unsubscribe(&mut self, client: usize) {
        let known: Vec<&'static str> = self.clients[client].filters.iter().copied().collect();
        let filter = if known.is_empty() || self.rng.once_in(5) {
            *self.rng.pick(&rules::FILTERS)
        } else {
            *self.rng.pick(&known)
        };
        let packet = self.clients[client].unsubscribe(vec![filter]);
        self.send(client, packet);
    }

    pub(crate) fn disconnect(&mut self, client: usize) {
        let profile = &self.clients[client].profile;
        let v5 = profile.version == 5;
        let code = if v5 && !self.calm {
            *self.rng.pick(&[0, 0, 4])
        } else {
            0
        };
        let changes = v5 && profile.expiry_s != 0 && !self.calm && self.rng.once_in(3);
        let expiry_s = changes.then(|| *self.rng.pick(&[0, 20, 7_200]));
        let packet = self.clients[client].disconnect(code, expiry_s);
        self.send(client, packet);
        self.leave(client);
    }

    /// The client has no connection any more; the broker may think that it has.
    pub(super) fn leave(&mut self, client: usize) {
        let known = &mut self.clients[client];
        known.connected = false;
        known.replies.clear();
        if let Some(link) = known.link.take() {
            self.links[link].left = true;
        }
    }

    pub(crate) fn send(&mut self, client: usize, (bytes, up): ToSend) {
        let Some(number) = self.clients[client].link else {
            return;
        };
        self.note(|| format!("send {number} {up:?}"));
        let link = &mut self.links[number];
        link.out.extend(bytes);
        let end = link.out.len();
        link.sent.push_back((end, up));
    }
}
