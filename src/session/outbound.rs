//! Server to client: Packet Identifiers, the inflight window, redelivery.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use crate::codec::{PacketId, QoS};
use crate::message::Delivery;

use super::progress::{Progress, Unfinished};

/// Identifiers are given out by us, one after the other, so no peer can choose colliding keys.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u16(u16::from(byte));
        }
    }
    fn write_u16(&mut self, value: u16) {
        self.0 = (self.0 ^ u64::from(value)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// How far a message of QoS 1 or 2 has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// PUBLISH sent, PUBACK or PUBREC awaited.
    Published,
    /// PUBREC received and PUBREL sent, PUBCOMP awaited.
    Released,
}

#[derive(Debug)]
struct Inflight {
    /// What to send again; `None` once PUBREC has come: from then on only PUBREL is repeated. And `None`
    /// while it is in the store only, before a client resumes the session.
    delivery: Option<Delivery>,
    stage: Stage,
    qos: QoS,
    /// Its place in the store's queue; 0 if it is not kept there.
    seq: u64,
    bytes: usize,
    /// Order of first sending, which a resumed session repeats [MQTT-4.6.0-1].
    order: u64,
    /// Whether it was sent on this connection, and so has a place in its window.
    in_window: bool,
}

impl Inflight {
    /// From here on only PUBREL is repeated.
    fn release(&mut self) {
        self.stage = Stage::Released;
        self.delivery = None;
    }

    fn is_missing(&self) -> bool {
        self.stage == Stage::Published && self.delivery.is_none()
    }
}

/// What an acknowledgement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The message is complete and its identifier free.
    Completed,
    /// PUBREC: answer with PUBREL.
    Release,
    /// PUBREC for a message already released: repeat PUBREL.
    ReleaseAgain,
    /// No message has this identifier.
    Unknown,
    /// There is one, but it is not at the stage or QoS this acknowledgement belongs to.
    OutOfState,
}

/// Messages of QoS 1 and 2 on their way to the client.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    inflight: HashMap<PacketId, Inflight, BuildHasherDefault<IdHasher>>,
    /// Taken from the mailbox, waiting for the window.
    waiting: VecDeque<Delivery>,
    waiting_bytes: usize,
    /// After a resume: identifiers to send again, in order, as the window allows.
    resend: VecDeque<PacketId>,
    /// Messages that count against the peer's Receive Maximum on this connection.
    in_window: usize,
    inflight_bytes: usize,
    last_id: u16,
    order: u64,
    /// Steps that the store was not told of yet.
    pub(super) progress: Vec<Progress>,
}

/// Limits of one connection's window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The lower of the client's Receive Maximum and our `max_inflight_messages`.
    pub(crate) messages: usize,
    /// `max_inflight_bytes`; 0 is no limit. One message may always pass.
    pub(crate) bytes: usize,
}

impl Outbound {
    pub(crate) fn len(&self) -> usize {
        self.inflight.len()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub(crate) fn has_room(&self, window: Window) -> bool {
        let bytes_left =
            window.bytes == 0 || self.in_window == 0 || self.inflight_bytes < window.bytes;
        self.in_window < window.messages && bytes_left
    }

    /// Puts a delivery behind those that wait for the window.
    pub(crate) fn wait(&mut self, delivery: Delivery) {
        self.waiting_bytes += delivery.message.size_bytes();
        self.waiting.push_back(delivery);
    }

    pub(crate) fn next_waiting(&mut self) -> Option<Delivery> {
        let delivery = self.waiting.pop_front()?;
        self.waiting_bytes -= delivery.message.size_bytes();
        if self.waiting.is_empty() && self.waiting.capacity() > 64 {
            self.waiting = VecDeque::new();
        }
        Some(delivery)
    }

    /// `delivery` was sent with `id`, which [`Outbound::reserve_id`] gave: counts it in.
    pub(crate) fn start(&mut self, id: PacketId, delivery: Delivery) {
        let bytes = delivery.message.size_bytes();
        self.order += 1;
        self.in_window += 1;
        self.inflight_bytes += bytes;
        let (seq, qos) = (delivery.seq, delivery.qos);
        if seq != 0 {
            self.progress.push(Progress::Sent { seq, id, qos });
        }
        self.inflight.insert(
            id,
            Inflight {
                qos,
                seq,
                delivery: Some(delivery),
                stage: Stage::Published,
                bytes,
                order: self.order,
                in_window: true,
            },
        );
    }

    /// A free Packet Identifier: never 0, never one in use, also after the counter has wrapped
    /// [MQTT-2.2.1-4]. `None` when all are in use, which a window of 65,535 allows.
    pub(crate) fn reserve_id(&mut self) -> Option<PacketId> {
        for _ in 0..=u16::MAX {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last_id)
                && !self.inflight.contains_key(&id)
            {
                return Some(id);
            }
        }
        None
    }

    /// PUBACK.
    pub(crate) fn acked(&mut self, id: PacketId) -> Sent {
        match self.inflight.get(&id) {
            None => Sent::Unknown,
            Some(entry) if entry.qos == QoS::AtLeastOnce => {
                self.finish(id);
                Sent::Completed
            }
            Some(_) => Sent::OutOfState,
        }
    }

    /// PUBREC; `refused` when its Reason Code is 0x80 or above.
    pub(crate) fn received(&mut self, id: PacketId, refused: bool) -> Sent {
        let Some(entry) = self.inflight.get_mut(&id) else {
            return Sent::Unknown;
        };
        if entry.stage == Stage::Released {
            return Sent::ReleaseAgain;
        }
        if entry.qos != QoS::ExactlyOnce {
            return Sent::OutOfState;
        }
        if refused {
            // The exchange is over and the slot free (section 4.9).
            self.finish(id);
            return Sent::Completed;
        }
        entry.release();
        let seq = entry.seq;
        self.released(id, seq);
        Sent::Release
    }

    fn released(&mut self, id: PacketId, seq: u64) {
        if seq != 0 {
            self.progress.push(Progress::Released { seq, id });
        }
    }

    /// A message that was not sent is not to be either.
    pub(crate) fn dropped(&mut self, seq: u64) {
        if seq != 0 {
            self.progress.push(Progress::Done { seq });
        }
    }

    /// PUBCOMP.
    pub(crate) fn completed(&mut self, id: PacketId) -> Sent {
        match self.inflight.get(&id) {
            None => Sent::Unknown,
            Some(entry) if entry.stage == Stage::Released => {
                self.finish(id);
                Sent::Completed
            }
            Some(_) => Sent::OutOfState,
        }
    }

    /// A message that an earlier connection has sent is not to be sent again. At QoS 1 its identifier
    /// is free. At QoS 2 the client may hold the identifier, and would take the next message with it
    /// for a repetition: the exchange goes on with PUBREL. True if that is to be sent.
    pub(crate) fn give_up(&mut self, id: PacketId) -> bool {
        match self.inflight.get_mut(&id) {
            Some(entry) if entry.qos == QoS::ExactlyOnce => {
                entry.release();
                let seq = entry.seq;
                self.released(id, seq);
                true
            }
            _ => {
                self.finish(id);
                false
            }
        }
    }

    fn finish(&mut self, id: PacketId) {
        if let Some(entry) = self.inflight.remove(&id) {
            self.dropped(entry.seq);
            if entry.in_window {
                self.in_window = self.in_window.saturating_sub(1);
                self.inflight_bytes = self.inflight_bytes.saturating_sub(entry.bytes);
            }
        }
        if self.inflight.is_empty() && self.inflight.capacity() > 64 {
            self.inflight = HashMap::default();
        }
    }

    /// A new connection resumes the session: nothing is in its window yet, and everything
    /// unfinished is sent again in the original order [MQTT-4.4.0-1].
    pub(crate) fn resume(&mut self) {
        let mut ids: Vec<(u64, PacketId)> = self
            .inflight
            .iter_mut()
            .map(|(&id, entry)| {
                entry.in_window = false;
                (entry.order, id)
            })
            .collect();
        ids.sort_unstable();
        self.resend = ids.into_iter().map(|(_, id)| id).collect();
        self.in_window = 0;
        self.inflight_bytes = 0;
    }

    /// The next message to send again, counted into the window: its identifier, and the delivery,
    /// or `None` if it is PUBREL that must be repeated.
    pub(crate) fn next_resend(&mut self, window: Window) -> Option<(PacketId, Option<Delivery>)> {
        loop {
            if self.resend.is_empty() || !self.has_room(window) {
                return None;
            }
            let id = self.resend.pop_front()?;
            // Acknowledged meanwhile: possible for a peer that answers from before the resume.
            if let Some(entry) = self.inflight.get_mut(&id) {
                entry.in_window = true;
                self.in_window += 1;
                self.inflight_bytes += entry.bytes;
                return Some((id, entry.delivery.clone()));
            }
        }
    }

    pub(crate) fn is_resending(&self) -> bool {
        !self.resend.is_empty()
    }

    /// Forgets messages the client may no longer receive: those that wait, and those an earlier
    /// connection sent and this one has not. What this one has sent stays until it is acknowledged,
    /// for the client counts it against its Receive Maximum [MQTT-3.3.4-9]; so do released ones, of
    /// which only PUBREL is still to be sent, and those of QoS 2 become released ones.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Delivery) -> bool) -> usize {
        let mut dropped = 0;
        let told = &mut self.progress;
        let mut drop = |progress: Progress, seq| {
            dropped += 1;
            if seq != 0 {
                told.push(progress);
            }
        };
        self.waiting.retain(|delivery| {
            let seq = delivery.seq;
            let kept = keep(delivery);
            if !kept {
                drop(Progress::Done { seq }, seq);
            }
            kept
        });
        self.waiting_bytes = self
            .waiting
            .iter()
            .map(|delivery| delivery.message.size_bytes())
            .sum();
        self.inflight.retain(|&id, entry| {
            if entry.in_window || entry.delivery.as_ref().is_none_or(&mut keep) {
                return true;
            }
            let seq = entry.seq;
            let goes_on = entry.qos == QoS::ExactlyOnce;
            if goes_on {
                entry.release();
                drop(Progress::Released { seq, id }, seq);
            } else {
                drop(Progress::Done { seq }, seq);
            }
            goes_on
        });
        dropped
    }

    /// The session is parked, and the store has what it owes: gives what waits, as places and sizes, and
    /// keeps of what is on its way all but the messages.
    pub(crate) fn strip(&mut self) -> Vec<(u64, usize)> {
        let mut unsent = Vec::new();
        self.waiting.retain(|delivery| {
            if delivery.seq != 0 {
                unsent.push((delivery.seq, delivery.message.size_bytes()));
            }
            delivery.seq == 0
        });
        let sizes = self.waiting.iter();
        self.waiting_bytes = sizes.map(|delivery| delivery.message.size_bytes()).sum();
        for entry in self.inflight.values_mut() {
            if entry.seq != 0 {
                entry.delivery = None;
            }
        }
        unsent
    }

    /// Places in the store of the first and the last message on its way that must be read back.
    pub(crate) fn missing(&self) -> Option<(u64, u64)> {
        let missing = || self.inflight.values().filter(|entry| entry.is_missing());
        let first = missing().map(|entry| entry.seq).min()?;
        let last = missing().map(|entry| entry.seq).max()?;
        Some((first, last))
    }

    /// A message on its way was read back.
    pub(crate) fn found(&mut self, id: PacketId, delivery: Delivery) {
        if let Some(entry) = self.inflight.get_mut(&id)
            && entry.is_missing()
            && entry.seq == delivery.seq
        {
            entry.bytes = delivery.message.size_bytes();
            entry.delivery = Some(delivery);
        }
    }

    /// What is still missing cannot be read: it is not sent again. Gives the number of messages.
    pub(crate) fn give_up_missing(&mut self) -> usize {
        let missing = self.inflight.iter().filter(|(_, entry)| entry.is_missing());
        let ids: Vec<PacketId> = missing.map(|(id, _)| *id).collect();
        for id in &ids {
            self.give_up(*id);
        }
        ids.len()
    }

    /// A session that was found in the store goes on with what it had sent, in the order of sending.
    pub(crate) fn restore(&mut self, unfinished: impl Iterator<Item = Unfinished>) {
        for one in unfinished {
            self.order += 1;
            self.last_id = one.id.get();
            let stage = if one.released {
                Stage::Released
            } else {
                Stage::Published
            };
            let entry = Inflight {
                delivery: None,
                stage,
                qos: one.qos,
                seq: one.seq,
                bytes: one.bytes,
                order: self.order,
                in_window: false,
            };
            self.inflight.insert(one.id, entry);
        }
    }
}
