//! One run: a broker, its clients, the lines between them, and a seed that says who is next.

mod acting;
mod resting;

use std::collections::VecDeque;
use std::time::Duration;

use portcullis::broker::{QueueLimits, Settings};
use portcullis::session;

use crate::client::{Client, Profile, Taken};
use crate::fault::{Fault, Tampering, Victim};
use crate::host::{Host, Operator, STORE};
use crate::line::Line;
use crate::oracle::{Bounds, Oracle, Step, Up, Verdict};
use crate::packets::{Packet, Reader};
use crate::rng::Rng;
use crate::rules;
use crate::wire;

/// `max_queued_bytes`.
const QUEUED_BYTES: usize = 1 << 20;

/// How large a run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) clients: usize,
    pub(crate) steps: usize,
}

/// A connection as the simulation holds it.
pub(crate) struct Link {
    pub(crate) client: usize,
    pub(crate) line: Line,
    /// Sent by the client and not arrived.
    out: Vec<u8>,
    /// What is in `out`: where each packet ends, and what it is.
    sent: VecDeque<(usize, Up)>,
    reader: Reader,
    read: usize,
    /// Said by the broker and not heard: where each packet ends.
    said: VecDeque<(usize, Packet)>,
    heard: usize,
    /// The client listens and sends no more.
    pub(crate) left: bool,
    pub(crate) cut: bool,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) host: Host,
    pub(crate) oracle: Oracle,
    pub(crate) clients: Vec<Client>,
    pub(crate) links: Vec<Link>,
    pub(crate) tampering: Tampering,
    receive_maximum: usize,
    queued: usize,
    step: Step,
    size: Size,
    crashes: bool,
    /// Its messages are large.
    heavy: bool,
    calm: bool,
    trace: Option<Vec<String>>,
}

fn operator(rng: &mut Rng) -> (Operator, Bounds) {
    let queued = *rng.pick(&[1_000, 1_000, 5, 20]);
    let subscriptions = *rng.pick(&[1_000, 1_000, 4]);
    let inflight: u16 = *rng.pick(&[20, 3, 100]);
    let operator = Operator {
        acl: rules::ACL,
        broker: Settings {
            queue: QueueLimits {
                messages: queued,
                bytes: QUEUED_BYTES,
                queue_qos0: rng.once_in(3),
            },
            ..Settings::default()
        },
        session: session::Settings {
            max_inflight_messages: inflight,
            ..session::Settings::default()
        },
        max_subscriptions: subscriptions,
        is_kept: rng.once_in(2),
    };
    let bounds = Bounds {
        queued,
        queued_bytes: QUEUED_BYTES,
        subscriptions,
        inflight: usize::from(inflight),
        is_kept: operator.is_kept,
    };
    (operator, bounds)
}

impl World {
    pub(crate) fn new(seed: u64, fault: Option<Fault>, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let size = match rng.below(20) {
            0 => Size {
                clients: 200 + rng.below(100),
                steps: 7_000,
            },
            1..8 => Size {
                clients: 20 + rng.below(20),
                steps: 3_500,
            },
            _ => Size {
                clients: 2 + rng.below(7),
                steps: 2_400,
            },
        };
        let (mut operator, mut bounds) = operator(&mut rng);
        match fault {
            Some(Fault::Window) => bounds.inflight -= 1,
            Some(Fault::Quota) => bounds.subscriptions -= 1,
            Some(Fault::Forget) => (operator.is_kept, bounds.is_kept) = (true, true),
            _ => {}
        }
        // SUBACK of 3.1 cannot say that there are too many: there nobody knows what was made.
        let versions: &[u8] = match operator.max_subscriptions {
            1_000 => &[5, 5, 5, 5, 4, 3],
            _ => &[5, 5, 5, 4],
        };
        let profiles: Vec<Profile> = (0..size.clients)
            .map(|index| Profile::random(index, versions, &mut rng))
            .collect();
        let crashes = rng.once_in(3) || fault == Some(Fault::Forget);
        let heavy = size.clients < 20 && rng.once_in(5);
        let mut world = Self {
            receive_maximum: usize::from(operator.session.max_inflight_messages),
            queued: bounds.queued,
            oracle: Oracle::new(bounds, &profiles),
            clients: profiles.iter().cloned().map(Client::new).collect(),
            host: Host::new(operator.clone()),
            links: Vec::new(),
            tampering: Tampering::new(fault),
            step: 0,
            size,
            crashes,
            heavy,
            calm: false,
            trace: traced.then(Vec::new),
            rng,
        };
        world.note(|| format!("{operator:?}"));
        for profile in &profiles {
            world.note(|| format!("{profile:?}"));
        }
        world
    }

    pub(crate) fn trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let (step, now) = (self.step, self.host.elapsed);
            trace.push(format!("{step:5} {now:>9.3?} {}", line()));
        }
    }

    /// Everything up to the moment at which the clients come to rest.
    pub(crate) fn run(&mut self) -> Verdict {
        for step in 0..self.size.steps {
            self.step += 1;
            if step == self.size.steps / 4 && self.tampering.forgets() {
                self.host.forget();
            }
            self.turn()?;
        }
        Ok(())
    }

    fn turn(&mut self) -> Verdict {
        let client = self.rng.below(self.clients.len());
        match self.rng.below(100) {
            0..40 => self.poll_one(),
            40..58 => {
                self.act(client);
                Ok(())
            }
            58..74 => {
                self.arrive_some(client);
                Ok(())
            }
            74..88 => self.hear_some(client),
            88..94 => {
                self.reply(client, 3);
                Ok(())
            }
            94..97 => self.trouble(client),
            _ => self.wait_some(),
        }
    }

    /// Polls until nobody has anything to do.
    fn poll_all(&mut self) -> Verdict {
        for _ in 0..100_000 {
            self.step += 1;
            let ready = self.host.ready();
            if ready.is_empty() {
                return Ok(());
            }
            let task = *self.rng.pick(&ready);
            self.poll(task)?;
        }
        Err("somebody is woken for ever".into())
    }

    fn poll_one(&mut self) -> Verdict {
        let ready = self.host.ready();
        if ready.is_empty() {
            return Ok(());
        }
        let task = *self.rng.pick(&ready);
        self.poll(task)
    }

    pub(crate) fn poll(&mut self, task: usize) -> Verdict {
        if task == STORE {
            let batches = 1 + self.rng.below(3);
            self.host.commit(batches);
            return Ok(());
        }
        self.host.poll(task);
        let (step, now) = (self.step, self.host.elapsed);
        let link = &mut self.links[task];
        let bytes = link.line.said(link.read);
        link.read += bytes.len();
        let v5 = self.clients[link.client].profile.version == 5;
        let mut packets = link.reader.read(&bytes, v5)?;
        if link.line.was_full() {
            self.oracle.full(task, step);
        }
        let mut end = link.said.back().map_or(link.heard, |(end, _)| *end);
        let victim = Victim {
            profile: &self.clients[link.client].profile,
            asked: &|topic| self.oracle.ever_asked(link.client, topic),
            messages: &self.oracle.messages,
        };
        if let Some(id) = self.tampering.tamper(&mut packets, &victim) {
            link.line.arrive(&wire::ack(wire::PUBACK, id, None));
        }
        for (length, packet) in packets {
            end += length;
            self.note(|| format!("said {task} {packet:?}"));
            self.oracle.said(task, &packet, length, step, now)?;
            self.links[task].said.push_back((end, packet));
        }
        let link = &self.links[task];
        if link.line.is_read() && !link.line.was_full() && !link.cut {
            self.oracle.taken(task);
        }
        self.closed(task);
        Ok(())
    }

    /// Tells the oracle if the broker has closed a connection.
    fn closed(&mut self, task: usize) {
        let link = &self.links[task];
        if link.line.is_closed_by_broker() {
            let read = link.line.is_read() && link.sent.is_empty();
            self.note(|| format!("over {task} read={read}"));
            let (step, now) = (self.step, self.host.elapsed);
            self.oracle.ended(task, read, step, now);
        }
    }

    /// A client's connection, or one it has given up, gets some of what it sent to the broker.
    fn arrive_some(&mut self, client: usize) {
        let number = if self.rng.once_in(4) {
            let open: Vec<usize> = (0..self.links.len())
                .rev()
                .take(40)
                .filter(|&link| self.links[link].left && !self.links[link].cut)
                .collect();
            if open.is_empty() {
                None
            } else {
                Some(*self.rng.pick(&open))
            }
        } else {
            self.clients[client].link
        };
        let Some(number) = number else {
            return;
        };
        let bytes = self.links[number].out.len();
        if bytes == 0 {
            if self.links[number].left {
                self.cut(number);
            }
            return;
        }
        let count = if self.rng.once_in(3) {
            1 + self.rng.below(bytes)
        } else {
            bytes
        };
        self.arrive(number, count);
    }

    pub(crate) fn arrive(&mut self, number: usize, count: usize) {
        if count == 0 {
            return;
        }
        let (step, now) = (self.step, self.host.elapsed);
        let link = &mut self.links[number];
        let bytes: Vec<u8> = link.out.drain(..count).collect();
        link.line.arrive(&bytes);
        let mut whole = Vec::new();
        link.sent.retain_mut(|(end, up)| {
            if *end <= count {
                whole.push(up.clone());
                return false;
            }
            *end -= count;
            true
        });
        for up in whole {
            self.note(|| format!("arrive {number} {up:?}"));
            self.oracle.arrived(number, up, step, now);
        }
    }

    fn hear_some(&mut self, client: usize) -> Verdict {
        let Some(number) = self.clients[client].link else {
            return Ok(());
        };
        let unheard = self.links[number].line.said_bytes() - self.links[number].heard;
        let count = match unheard {
            0 => 0,
            _ if self.rng.once_in(3) => 1 + self.rng.below(unheard),
            _ => unheard,
        };
        self.hear(number, count)?;
        if self.rng.once_in(8) && !self.calm && self.clients[client].connected {
            let room = self.rng.below(400);
            self.links[number].line.narrow(Some(room));
        } else {
            self.links[number].line.narrow(None);
        }
        Ok(())
    }

    /// The client hears so many bytes more.
    pub(crate) fn hear(&mut self, number: usize, count: usize) -> Verdict {
        let link = &mut self.links[number];
        link.heard += count;
        let client = link.client;
        while let Some((end, _)) = self.links[number].said.front()
            && *end <= self.links[number].heard
            && let Some((_, packet)) = self.links[number].said.pop_front()
        {
            self.note(|| format!("hear {number} {packet:?}"));
            if matches!(packet, Packet::Connack { code: 0, .. }) {
                let session = self.oracle.session_of(number);
                self.clients[client].belongs_to(session);
            }
            let refuses = !self.calm && self.rng.once_in(10);
            let messages = &self.oracle.messages;
            let (now, taken) = self.clients[client].hear(&packet, messages, refuses);
            if taken != Taken::No
                && let Packet::Publish(published) = &packet
            {
                self.oracle.heard(number, published, taken)?;
            }
            for packet in now {
                self.send(client, packet);
            }
        }
        let link = &self.links[number];
        if link.line.is_closed_by_broker() && link.heard == link.line.said_bytes() {
            self.note(|| format!("gone {number}"));
            self.leave(client);
            self.cut(number);
        }
        Ok(())
    }

    /// The client sends acknowledgements it owes.
    pub(crate) fn reply(&mut self, client: usize, most: usize) {
        if !self.clients[client].connected {
            return;
        }
        for _ in 0..most {
            let Some(reply) = self.clients[client].replies.pop_front() else {
                return;
            };
            if !self.tampering.swallow(&reply.1) {
                self.send(client, reply);
            } else if let (Some(link), up) = (self.clients[client].link, reply.1) {
                let (step, now) = (self.step, self.host.elapsed);
                self.oracle.arrived(link, up, step, now);
            }
        }
    }

    fn trouble(&mut self, client: usize) -> Verdict {
        if self.crashes && self.rng.once_in(40) {
            self.crash();
            return Ok(());
        }
        let Some(number) = self.clients[client].link else {
            return Ok(());
        };
        if self.rng.once_in(3) {
            // The last words may be half a packet.
            let unheard = self.links[number].line.said_bytes() - self.links[number].heard;
            if unheard > 0 {
                let count = self.rng.below(unheard);
                self.hear(number, count)?;
            }
            let bytes = self.links[number].out.len();
            if bytes > 0 {
                let count = self.rng.below(bytes);
                self.arrive(number, count);
            }
            self.leave(client);
            self.cut(number);
        }
        Ok(())
    }

    pub(crate) fn cut(&mut self, number: usize) {
        if std::mem::replace(&mut self.links[number].cut, true) {
            return;
        }
        let resets = self.rng.once_in(3);
        self.note(|| format!("cut {number} reset={resets}"));
        let link = &mut self.links[number];
        link.out.clear();
        if resets {
            link.line.reset();
        } else {
            link.line.end();
        }
    }

    fn crash(&mut self) {
        if self.host.is_kept() && !self.rng.once_in(4) {
            let unheard = self.rng.below(4);
            self.note(|| format!("restart, {unheard} batches unheard"));
            self.oracle.restarted(self.step, self.host.elapsed);
            let forgot = self.host.restart(unheard);
            self.tampering.done |= forgot;
        } else {
            self.note(|| "crash".into());
            self.oracle.crashed();
            self.host.crash();
        }
        for client in 0..self.clients.len() {
            if let Some(link) = self.clients[client].link {
                self.leave(client);
                self.links[link].cut = true;
            }
        }
        for link in &mut self.links {
            link.cut = true;
            link.out.clear();
        }
    }

    fn wait_some(&mut self) -> Verdict {
        let time = match self.rng.below(12) {
            // Nobody is kept waiting for so long.
            0 | 1 => {
                self.poll_all()?;
                Duration::from_secs(*self.rng.pick(&[4, 20]))
            }
            _ => Duration::from_millis(50),
        };
        self.wait(time);
        Ok(())
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.host.wait(time);
        self.oracle.waited(self.step, self.host.elapsed);
        if self.rng.once_in(10) {
            self.host.recheck();
        }
    }
}
