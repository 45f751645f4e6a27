//! What is alive in the log, and where it stands.
//!
//! The index knows of each session, each message and each retained topic the place of the record that
//! holds now, and of each segment how many of its bytes are alive. It does not hold what the records say:
//! messages are read from the disk when somebody wants them.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

use crate::codec::{PacketId, QoS};

use super::decoding::{Item, Target};
use super::record::{QueuedMessage, Record, Seq, SessionKey, Stage};

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// A record with a message, and how many need it.
#[derive(Clone, Copy, Debug)]
struct Unit {
    place: Place,
    /// Bytes the message is counted for.
    size: u32,
    references: u32,
}

/// No unit: of a released message nothing is kept but its identifier.
const NO_UNIT: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The unit, or the segment of the record that released it.
    unit_or_segment: u32,
    packet_id: Option<PacketId>,
    released: bool,
    qos: QoS,
}

impl Entry {
    fn stage(self) -> Stage {
        match self.packet_id {
            None => Stage::Queued,
            Some(id) if self.released => Stage::Released(id),
            Some(id) => Stage::Sent(id),
        }
    }
}

/// Bytes that a small record without a place of its own is counted for.
const SMALL: u32 = 16;

#[derive(Debug, Default)]
struct Session {
    facts: Option<Place>,
    subscriptions: HashMap<u128, Place>,
    /// The segment of the record for each.
    received: BTreeMap<PacketId, u32>,
    queue: BTreeMap<Seq, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Will {
    place: Place,
    /// When it is due, and the segment that says so.
    armed: Option<(u64, u32)>,
}

/// Numbers of the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexCounts {
    /// Sessions.
    pub sessions: usize,
    /// Messages in all queues, and the bytes they are counted for.
    pub queued: u64,
    /// Bytes of those.
    pub queued_bytes: u64,
    /// Retained messages.
    pub retained: usize,
    /// Bytes of segments that are alive.
    pub live_bytes: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Index {
    sessions: HashMap<SessionKey, Session>,
    wills: HashMap<SessionKey, Will>,
    retained: HashMap<u128, u32>,
    units: Vec<Unit>,
    free: Vec<u32>,
    live: BTreeMap<u32, u64>,
    queued: u64,
    queued_bytes: u64,
    /// While the log is read again, records of a session may come before the session itself: its record
    /// was written anew since.
    pub(super) replaying: bool,
    hashers: [RandomState; 2],
}

impl Index {
    fn hash(&self, text: &str) -> u128 {
        let [high, low] = &self.hashers;
        u128::from(high.hash_one(text)) << 64 | u128::from(low.hash_one(text))
    }

    pub(super) fn counts(&self) -> IndexCounts {
        IndexCounts {
            sessions: self.sessions.len(),
            queued: self.queued,
            queued_bytes: self.queued_bytes,
            retained: self.retained.len(),
            live_bytes: self.live.values().sum(),
        }
    }

    pub(super) fn live_bytes(&self, segment: u32) -> u64 {
        self.live.get(&segment).copied().unwrap_or(0)
    }

    fn grow(&mut self, segment: u32, bytes: u32) {
        *self.live.entry(segment).or_default() += u64::from(bytes);
    }

    fn shrink(&mut self, segment: u32, bytes: u32) {
        if let Some(live) = self.live.get_mut(&segment) {
            *live = live.saturating_sub(u64::from(bytes));
        }
    }

    fn session(&mut self, key: SessionKey) -> Option<&mut Session> {
        if self.replaying {
            return Some(self.sessions.entry(key).or_default());
        }
        self.sessions.get_mut(&key)
    }

    fn add_unit(&mut self, place: Place, size: u32) -> u32 {
        self.grow(place.segment, place.length);
        let unit = Unit {
            place,
            size,
            references: 0,
        };
        if let Some(free) = self.free.pop()
            && let Some(slot) = self.units.get_mut(free as usize)
        {
            *slot = unit;
            return free;
        }
        self.units.push(unit);
        u32::try_from(self.units.len() - 1).unwrap_or(NO_UNIT)
    }

    fn unit(&self, unit: u32) -> Option<&Unit> {
        self.units.get(unit as usize)
    }

    fn refer(&mut self, unit: u32) {
        if let Some(unit) = self.units.get_mut(unit as usize) {
            unit.references += 1;
        }
    }

    /// One reference less; a unit without any is forgotten.
    fn unrefer(&mut self, unit: u32) {
        let Some(slot) = self.units.get_mut(unit as usize) else {
            return;
        };
        slot.references = slot.references.saturating_sub(1);
        if slot.references == 0 {
            let place = slot.place;
            self.free.push(unit);
            self.shrink(place.segment, place.length);
        }
    }

    /// Takes what the record at `place` says.
    pub(super) fn apply(&mut self, item: &Item, place: Place) {
        match item {
            Item::Publish {
                targets,
                retained,
                size,
            } => self.publish(targets, retained.as_deref(), *size, place),
            Item::Sent(session, seq, id) => {
                if let Some(session) = self.session(*session)
                    && let Some(entry) = session.queue.get_mut(seq)
                    && !entry.released
                {
                    entry.packet_id = Some(*id);
                }
            }
            Item::Released(session, seq, id) => self.released(*session, *seq, *id, place.segment),
            Item::Done(session, seq) => {
                if let Some(session) = self.session(*session)
                    && let Some(entry) = session.queue.remove(seq)
                {
                    self.forget_entry(entry);
                }
            }
            Item::Session(key, _) => {
                if !self.replaying {
                    self.sessions.entry(*key).or_default();
                }
                self.grow(place.segment, place.length);
                let old = self
                    .session(*key)
                    .and_then(|session| session.facts.replace(place));
                self.forget_place(old);
            }
            Item::SessionEnd(key) => {
                if let Some(session) = self.sessions.remove(key) {
                    self.forget_session(session);
                }
            }
            Item::Subscribe(..)
            | Item::Unsubscribe(..)
            | Item::Received(..)
            | Item::ReceivedDone(..) => self.apply_to_session(item, place),
            Item::Will(..) | Item::WillArmed(..) | Item::WillDone(..) => {
                self.apply_to_will(item, place);
            }
            Item::Unretain(topic) => {
                let topic = self.hash(topic);
                if let Some(unit) = self.retained.remove(&topic) {
                    self.unrefer(unit);
                }
            }
            Item::Alive => {}
        }
    }

    fn publish(&mut self, targets: &[Target], retained: Option<&str>, size: u32, place: Place) {
        let unit = self.add_unit(place, size);
        // Held while its receivers are looked at: none of them may be there any more.
        self.refer(unit);
        for target in targets {
            let entry = Entry {
                unit_or_segment: unit,
                packet_id: target.sent,
                released: false,
                qos: target.qos,
            };
            let Some(session) = self.session(target.session) else {
                continue;
            };
            let old = session.queue.insert(target.seq, entry);
            if let Some(old) = old {
                self.forget_entry(old);
            }
            self.refer(unit);
            self.queued += 1;
            self.queued_bytes += u64::from(size);
        }
        if let Some(topic) = retained {
            let topic = self.hash(topic);
            self.refer(unit);
            if let Some(old) = self.retained.insert(topic, unit) {
                self.unrefer(old);
            }
        }
        self.unrefer(unit);
    }

    fn released(&mut self, key: SessionKey, seq: Seq, id: PacketId, segment: u32) {
        // The message may not be in the queue: it is not written again once it is released, and what is read
        // again must come to what it came to the first time.
        let Some(session) = self.session(key) else {
            return;
        };
        let entry = Entry {
            unit_or_segment: segment,
            packet_id: Some(id),
            released: true,
            qos: QoS::ExactlyOnce,
        };
        let old = session.queue.insert(seq, entry);
        self.queued += 1;
        self.grow(segment, SMALL);
        if let Some(old) = old {
            self.forget_entry(old);
        }
    }

    fn forget_entry(&mut self, entry: Entry) {
        self.queued = self.queued.saturating_sub(1);
        if entry.released {
            self.shrink(entry.unit_or_segment, SMALL);
            return;
        }
        let size = self.unit(entry.unit_or_segment).map_or(0, |unit| unit.size);
        self.queued_bytes = self.queued_bytes.saturating_sub(u64::from(size));
        self.unrefer(entry.unit_or_segment);
    }

    fn forget_place(&mut self, place: Option<Place>) {
        if let Some(place) = place {
            self.shrink(place.segment, place.length);
        }
    }

    fn forget_session(&mut self, session: Session) {
        self.forget_place(session.facts);
        for place in session.subscriptions.into_values() {
            self.forget_place(Some(place));
        }
        for segment in session.received.into_values() {
            self.shrink(segment, SMALL);
        }
        for entry in session.queue.into_values() {
            self.forget_entry(entry);
        }
    }

    fn apply_to_session(&mut self, item: &Item, place: Place) {
        match item {
            Item::Subscribe(key, subscription) => {
                let filter = self.hash(&subscription.filter.to_string());
                if let Some(session) = self.session(*key) {
                    let old = session.subscriptions.insert(filter, place);
                    self.grow(place.segment, place.length);
                    self.forget_place(old);
                }
            }
            Item::Unsubscribe(key, filter) => {
                let filter = self.hash(filter);
                let old = self
                    .session(*key)
                    .and_then(|session| session.subscriptions.remove(&filter));
                self.forget_place(old);
            }
            Item::Received(key, id) => {
                if let Some(session) = self.session(*key) {
                    let old = session.received.insert(*id, place.segment);
                    self.grow(place.segment, SMALL);
                    if let Some(old) = old {
                        self.shrink(old, SMALL);
                    }
                }
            }
            Item::ReceivedDone(key, id) => {
                if let Some(session) = self.session(*key)
                    && let Some(old) = session.received.remove(id)
                {
                    self.shrink(old, SMALL);
                }
            }
            _ => {}
        }
    }

    fn apply_to_will(&mut self, item: &Item, place: Place) {
        let (key, new) = match item {
            Item::Will(key, times) => {
                self.grow(place.segment, place.length);
                let armed = times.due_ms.map(|due| (due, place.segment));
                (key, Some(Will { place, armed }))
            }
            Item::WillArmed(key, due) => {
                if let Some(will) = self.wills.get_mut(key) {
                    will.armed = Some((*due, place.segment));
                }
                return;
            }
            Item::WillDone(key) => (key, None),
            _ => return,
        };
        let old = match new {
            Some(will) => self.wills.insert(*key, will),
            None => self.wills.remove(key),
        };
        self.forget_place(old.map(|will| will.place));
    }

    /// The log was read to its end: what belongs to sessions that were never told of is nobody's.
    pub(super) fn end_replay(&mut self) {
        self.replaying = false;
        let orphans: Vec<SessionKey> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.facts.is_none())
            .map(|(key, _)| *key)
            .collect();
        for key in orphans {
            if let Some(session) = self.sessions.remove(&key) {
                self.forget_session(session);
            }
        }
    }

    /// What waits for a session, in order.
    pub(super) fn queue(&self, key: SessionKey) -> Vec<QueuedMessage> {
        let Some(session) = self.sessions.get(&key) else {
            return Vec::new();
        };
        let bytes = |entry: &Entry| {
            let unit = self.unit(entry.unit_or_segment);
            unit.filter(|_| !entry.released).map_or(0, |unit| unit.size)
        };
        session
            .queue
            .iter()
            .map(|(seq, entry)| QueuedMessage {
                seq: *seq,
                stage: entry.stage(),
                qos: entry.qos,
                bytes: bytes(entry),
            })
            .collect()
    }

    /// The next messages of a queue that can be read: at most `most`, from `from` to `to`.
    pub(super) fn page(
        &self,
        key: SessionKey,
        from: Seq,
        to: Seq,
        most: usize,
    ) -> Vec<(Seq, Stage, Place)> {
        let Some(session) = self.sessions.get(&key) else {
            return Vec::new();
        };
        if from > to {
            return Vec::new();
        }
        session
            .queue
            .range(from..=to)
            .filter(|(_, entry)| !entry.released)
            .filter_map(|(seq, entry)| {
                let unit = self.unit(entry.unit_or_segment)?;
                Some((*seq, entry.stage(), unit.place))
            })
            .take(most)
            .collect()
    }

    /// Places of all retained messages.
    pub(super) fn retained_places(&self) -> Vec<Place> {
        self.retained
            .values()
            .filter_map(|unit| self.unit(*unit).map(|unit| unit.place))
            .collect()
    }

    /// Place of each will, and when it is due.
    pub(super) fn will_places(&self) -> Vec<(SessionKey, Place, Option<u64>)> {
        let mut wills: Vec<_> = self
            .wills
            .iter()
            .map(|(key, will)| (*key, will.place, will.armed.map(|(due, _)| due)))
            .collect();
        wills.sort_unstable_by_key(|(key, ..)| *key);
        wills
    }

    /// Sessions, in the order of their numbers.
    pub(super) fn session_keys(&self) -> Vec<SessionKey> {
        let mut keys: Vec<_> = self.sessions.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    /// Whether a session is known.
    pub(super) fn has_session(&self, key: SessionKey) -> bool {
        self.sessions.contains_key(&key)
    }

    /// How far the message at `seq` has come, if `place` is where it stands.
    pub(super) fn stage_at(&self, key: SessionKey, seq: Seq, place: Place) -> Option<Stage> {
        let entry = self.sessions.get(&key)?.queue.get(&seq)?;
        if entry.released {
            return None;
        }
        let unit = self.unit(entry.unit_or_segment)?;
        (unit.place == place).then(|| entry.stage())
    }

    /// Whether the record at `place` is the retained message of `topic`.
    pub(super) fn retains_at(&self, topic: &str, place: Place) -> bool {
        self.retained
            .get(&self.hash(topic))
            .and_then(|unit| self.unit(*unit))
            .is_some_and(|unit| unit.place == place)
    }

    /// Whether the record at `place`, which carries no queued or retained message, still holds; and for a
    /// will when it is due.
    pub(super) fn holds(&self, item: &Item, place: Place) -> Held {
        let yes = |holds: bool| if holds { Held::Yes } else { Held::No };
        match item {
            Item::Session(key, _) => {
                let session = self.sessions.get(key);
                yes(session.is_some_and(|session| session.facts == Some(place)))
            }
            Item::Subscribe(key, subscription) => {
                let filter = self.hash(&subscription.filter.to_string());
                let session = self.sessions.get(key);
                let at = session.and_then(|session| session.subscriptions.get(&filter));
                yes(at == Some(&place))
            }
            Item::Received(key, id) => {
                let session = self.sessions.get(key);
                let at = session.and_then(|session| session.received.get(id));
                yes(at == Some(&place.segment))
            }
            Item::Released(key, seq, _) => {
                let session = self.sessions.get(key);
                let entry = session.and_then(|session| session.queue.get(seq));
                yes(entry
                    .is_some_and(|entry| entry.released && entry.unit_or_segment == place.segment))
            }
            Item::Will(key, _) => match self.wills.get(key) {
                Some(will) if will.place == place => Held::Will(will.armed.map(|(due, _)| due)),
                _ => Held::No,
            },
            _ => Held::No,
        }
    }

    /// Places of all records with messages, and whether it is a will.
    pub(super) fn places(&self) -> Vec<(Place, bool)> {
        let of_units = self.units.iter().filter(|unit| unit.references > 0);
        let mut places: Vec<(Place, bool)> = of_units
            .map(|unit| (unit.place, false))
            .chain(self.wills.values().map(|will| (will.place, true)))
            .collect();
        places.sort_unstable();
        places
    }

    /// What has no place of its own: identifiers that are taken, and messages that are released.
    pub(super) fn small_records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for (key, session) in &self.sessions {
            let session_key = *key;
            records.extend(session.received.keys().map(|id| Record::Received {
                session: session_key,
                packet_id: *id,
            }));
            records.extend(session.queue.iter().filter_map(|(seq, entry)| {
                let packet_id = entry.packet_id.filter(|_| entry.released)?;
                Some(Record::Released {
                    session: session_key,
                    seq: *seq,
                    packet_id,
                })
            }));
        }
        records
    }

    /// Forgets a segment that was removed.
    pub(super) fn drop_segment(&mut self, segment: u32) {
        self.live.remove(&segment);
    }
}

/// See [`Index::holds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    No,
    Yes,
    /// It is a will that holds, and this is when it is due.
    Will(Option<u64>),
}
