//! Who receives a message: the registry of sessions, the subscription trees, retained messages,
//! and the one function that routes.
//!
//! There is no router task: the task of whoever publishes walks (or remembers) the receivers and
//! pushes into their mailboxes. Only what the gate has admitted comes in.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod backlog;
mod bounds;
mod effects;
mod expiry;
mod fanout;
mod keeping;
mod leaving;
mod mailbox;
mod registry;
mod retained;
mod rights;
mod router;
mod shared;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::codec::QoS;
use crate::message::{Author, ClientId, Delivery, Message, RetainHandling, Subscription};
use crate::policy::{Admitted, DenyReason, Gate, Rights};
use crate::session::SessionState;
use crate::store::{Record, SessionKey, Store};

pub use bounds::LiveQueue;
pub use effects::Effects;
pub use fanout::Fanout;
pub use keeping::Keep;
pub use mailbox::{Dropped, Mailbox, Push, Pushed, QueueBounds, QueueLimits, QueueOverflow};
pub use registry::{Handover, Owner, PendingWill, Session, Signal, Signals};
pub use retained::{Retain, RetainLimits, Retained};
pub use rights::Rechecked;
pub use router::{LastTopic, MatchCache, Routes, Target};

use bounds::Live;
use expiry::Agenda;
use registry::{Claim, Due, Registry};
use retained::is_of_a_client;
use router::Router;

/// What the whole broker is bounded by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Queue bounds of each session.
    pub queue: QueueLimits,
    /// Bounds of the retained store.
    pub retain: RetainLimits,
    /// `global_max_clients`: sessions, absent ones included.
    pub max_sessions: Option<usize>,
    /// `allow_duplicate_messages`.
    pub duplicates: bool,
    /// `upgrade_outgoing_qos`.
    pub upgrade_outgoing_qos: bool,
    /// `check_retain_source`: a retained message is withheld once its author may no longer write
    /// the topic.
    pub check_retain_source: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue: QueueLimits::default(),
            retain: RetainLimits::default(),
            max_sessions: None,
            duplicates: false,
            upgrade_outgoing_qos: false,
            check_retain_source: true,
        }
    }
}

/// Numbers for the metrics and for `$SYS`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Sessions, connected or parked.
    pub sessions: usize,
    /// Sessions with a connection.
    pub connected: usize,
    /// The most connections there were at one time.
    pub connected_maximum: usize,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Those of them that are shared.
    pub shared_subscriptions: usize,
    /// Retained messages.
    pub retained_messages: usize,
    /// Their bytes.
    pub retained_bytes: usize,
    /// Sessions that ended by their Session Expiry Interval.
    pub expired_sessions: u64,
    /// Deliveries dropped because a queue was full.
    pub dropped_queue_full: u64,
}

/// A claim on a Client Identifier.
#[derive(Debug)]
pub enum Claimed {
    /// The caller has the session.
    Granted {
        /// Its shared part.
        session: Arc<Session>,
        /// Its state: parked, handed over, or fresh.
        state: Box<SessionState>,
        /// Session Present of CONNACK.
        present: bool,
    },
    /// A connection still has it and was told to hand it over.
    Wait {
        /// The session's shared part.
        session: Arc<Session>,
        /// Where the state comes from.
        handover: oneshot::Receiver<Handover>,
    },
    /// Refused: it belongs to somebody else, or there are too many sessions.
    Refused(DenyReason),
}

/// What a subscription did.
#[derive(Debug)]
pub struct Subscribed {
    /// Whether there was none with this filter before.
    pub is_new: bool,
    /// Whether it asks for retained messages: [`Broker::retained_for`] finds them.
    pub wants_retained: bool,
}

/// The broker.
#[derive(Debug)]
pub struct Broker {
    live: Live,
    gate: Arc<Gate>,
    store: Option<Arc<dyn Store>>,
    registry: Registry,
    router: Router,
    retained: Retained,
    agenda: Agenda,
    connected: AtomicUsize,
    connected_maximum: AtomicUsize,
    accepted: AtomicU64,
    expired_sessions: AtomicU64,
    dropped_queue_full: AtomicU64,
}

impl Broker {
    /// An empty broker that asks `gate`.
    pub fn new(settings: &Settings, gate: Arc<Gate>) -> Self {
        Self {
            router: Router::new(settings.duplicates),
            live: Live::new(settings),
            gate,
            store: None,
            registry: Registry::default(),
            retained: Retained::default(),
            agenda: Agenda::default(),
            connected: AtomicUsize::new(0),
            connected_maximum: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            expired_sessions: AtomicU64::new(0),
            dropped_queue_full: AtomicU64::new(0),
        }
    }

    /// The same, with a store that keeps its state.
    #[must_use]
    pub fn with_store(mut self, store: Option<Arc<dyn Store>>) -> Self {
        self.store = store;
        self
    }

    /// Takes new settings; all but `duplicates` count from now on.
    pub fn set(&self, settings: &Settings) {
        self.live.set(settings);
    }

    /// Measures what is kept for clients that do not take it, and retained messages, against
    /// `memory_limit`; `None` is no limit. Gives the bytes if the limit was reached or left since the
    /// last time. Visits every session.
    pub fn weigh(&self, limit_bytes: Option<usize>) -> Option<(bool, usize)> {
        let Some(limit) = limit_bytes else {
            return self.live.press(false).then_some((false, 0));
        };
        let kept = self.memory_bytes() + self.retained.counts().1;
        // Some way below before more is kept, so that it does not flutter.
        let enough = if self.live.is_pressed() {
            limit - limit / 10
        } else {
            limit
        };
        let pressed = kept >= enough;
        self.live.press(pressed).then_some((pressed, kept))
    }

    /// Whether `memory_limit` is reached.
    pub fn is_pressed(&self) -> bool {
        self.live.is_pressed()
    }

    /// The gate everything passes.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Numbers as of now.
    pub fn counts(&self) -> Counts {
        let (subscriptions, shared_subscriptions) = self.router.counts();
        let (retained_messages, retained_bytes) = self.retained.counts();
        Counts {
            sessions: self.registry.len(),
            connected: self.connected.load(Ordering::Relaxed),
            connected_maximum: self.connected_maximum.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            subscriptions,
            shared_subscriptions,
            retained_messages,
            retained_bytes,
            expired_sessions: self.expired_sessions.load(Ordering::Relaxed),
            dropped_queue_full: self.dropped_queue_full.load(Ordering::Relaxed),
        }
    }

    /// Messages and bytes queued in all mailboxes. Visits every session: for a scrape.
    pub fn queued(&self) -> (usize, usize) {
        let mut total = (0, 0);
        self.registry.for_each(|session| {
            let (messages, bytes) = session.mailbox.queued();
            total.0 += messages;
            total.1 += bytes;
        });
        total
    }

    fn memory_bytes(&self) -> usize {
        let mut total = 0;
        self.registry
            .for_each(|session| total += session.mailbox.memory_bytes());
        total
    }

    /// Raises `signal` at every connection.
    pub fn signal_all(&self, signal: Signal) {
        self.signal_some(signal, usize::MAX);
    }

    /// Raises `signal` at as many connections, whichever they are.
    pub fn signal_some(&self, signal: Signal, most: usize) {
        // Collected first: a woken task may come back for the registry's lock.
        let mut live = Vec::new();
        self.registry.for_each(|session| {
            if live.len() < most && session.is_live() {
                live.push(Arc::clone(session));
            }
        });
        for session in live {
            session.signal(signal);
        }
    }

    /// Asks for the session of `client_id`.
    pub fn claim(
        &self,
        client_id: &ClientId,
        owner: &Owner,
        clean_start: bool,
        now: Instant,
        effects: &mut Effects,
    ) -> Claimed {
        let bounds = &self.live.queue;
        let maximum = self.live.max_sessions();
        match self
            .registry
            .claim(client_id, owner, clean_start, bounds, maximum)
        {
            Claim::New(session) => fresh(session),
            Claim::Parked(session, parked) => {
                let expired = parked.until.is_some_and(|until| until <= now);
                if clean_start || expired {
                    self.end_parked(&session, *parked, now, effects);
                    fresh(session)
                } else {
                    // The will, if one waits, is cancelled by the resume [MQTT-3.1.3-9].
                    Self::keep_will_done(parked.will.and_then(|will| will.number), effects);
                    Claimed::Granted {
                        session,
                        state: Box::new(parked.state),
                        present: true,
                    }
                }
            }
            Claim::Wait(session, handover) => Claimed::Wait { session, handover },
            // One that is over belongs to nobody, though it was not cleared away yet.
            Claim::NotOwner if self.end_if_over(client_id, now, effects) => {
                self.claim(client_id, owner, clean_start, now, effects)
            }
            Claim::NotOwner => Claimed::Refused(DenyReason::SessionOwner),
            Claim::Full => Claimed::Refused(DenyReason::MaxClients),
        }
    }

    /// The previous connection has handed over.
    pub fn handed_over(session: Arc<Session>, handover: Handover) -> Claimed {
        match handover.state {
            Some(state) => Claimed::Granted {
                session,
                state: Box::new(state),
                present: true,
            },
            None => fresh(session),
        }
    }

    /// A connection serves `session` from now on.
    pub fn connected(&self, session: &Session) {
        session.set_live(true);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let now = self.connected.fetch_add(1, Ordering::Relaxed) + 1;
        self.connected_maximum.fetch_max(now, Ordering::Relaxed);
    }

    /// Makes a subscription.
    pub fn subscribe(
        &self,
        session: &Arc<Session>,
        state: &mut SessionState,
        subscription: Admitted<Subscription>,
        effects: &mut Effects,
    ) -> Subscribed {
        let subscription = subscription.into_inner();
        if let Some(number) = state.number {
            effects.promise(Record::Subscribe {
                session: SessionKey(number),
                subscription: Box::new(subscription.clone()),
            });
        }
        let key: Box<str> = subscription.filter.to_string().into();
        let target = Target::new(session, session.mailbox.epoch(), &subscription);
        self.router.subscribe(&subscription, target);
        let is_new = !state.subscriptions.contains_key(&key);
        let wanted = match subscription.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new, // [MQTT-3.3.1-10]
            RetainHandling::DoNotSend => false,
        };
        // Shared subscriptions get no retained messages (section 4.8.2).
        let wants_retained = wanted && subscription.filter.share.is_none();
        state.subscriptions.insert(key, subscription);
        Subscribed {
            is_new,
            wants_retained,
        }
    }

    /// The retained messages for a subscription, not judged yet.
    pub fn retained_for(
        &self,
        subscription: &Subscription,
        session: &Session,
        now: Instant,
    ) -> Vec<Delivery> {
        let check = self.live.check_retain_source();
        // Neighbours in the tree often have one author: its rights are bound once.
        let mut known: Option<(Arc<Author>, Option<Rights>)> = None;
        let mut source_may_write = |message: &Message| {
            let hit = matches!(&known, Some((author, _)) if Arc::ptr_eq(author, &message.author));
            if !hit {
                let rights = self.gate.author_rights(&message.author);
                known = Some((Arc::clone(&message.author), rights));
            }
            match &known {
                Some((_, Some(rights))) => {
                    rights.publish(message.topic.as_str(), message.qos).is_ok()
                }
                // The broker's own messages.
                _ => true,
            }
        };
        self.retained
            .matching(&subscription.filter.filter, now)
            .into_iter()
            .filter(|message| {
                !(subscription.no_local && message.author.client_id == session.client_id)
            })
            .filter(|message| !check || source_may_write(message))
            .map(|message| Delivery {
                qos: self.outgoing_qos(message.qos, subscription.qos),
                retain: true,
                identifiers: subscription.identifier.into_iter().collect(),
                message,
                seq: 0,
            })
            .collect()
    }

    /// Removes a subscription; true if there was one [MQTT-3.10.4-1].
    pub fn unsubscribe(
        &self,
        session: &Arc<Session>,
        state: &mut SessionState,
        filter: &str,
        effects: &mut Effects,
    ) -> bool {
        let Some(subscription) = state.subscriptions.remove(filter) else {
            return false;
        };
        if let Some(number) = state.number {
            effects.promise(Record::Unsubscribe {
                session: SessionKey(number),
                filter: filter.into(),
            });
        }
        let target = Target::new(session, session.mailbox.epoch(), &subscription);
        self.router.unsubscribe(&subscription, &target);
        true
    }

    /// So many messages were dropped because a queue was full.
    pub fn count_dropped(&self, messages: usize) {
        self.dropped_queue_full
            .fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// Keeps a retained message that was not sent yet for a session that goes on; QoS 0 promises
    /// nothing. False if the session's queue has no room for more.
    pub fn keep_unsent(
        &self,
        session: &Session,
        state: &mut SessionState,
        mut delivery: Delivery,
        effects: &mut Effects,
    ) -> bool {
        let QueueBounds { limits, pressed } = self.live.queue.now();
        if pressed
            || (limits.messages != 0 && state.waiting() >= limits.messages)
            || (limits.bytes != 0 && state.waiting_bytes() >= limits.bytes)
        {
            return false;
        }
        if delivery.qos != QoS::AtMostOnce {
            self.keep_delivery(session, &mut delivery, effects);
            state.keep_unsent(delivery);
        }
        true
    }

    /// Stores a retained message and routes it to everybody who subscribed. The publisher never
    /// waits for a subscriber. `effects` collects whom to wake at the end of the batch.
    #[inline]
    pub fn publish(
        &self,
        message: Admitted<Message>,
        last: &mut LastTopic,
        cache: &mut MatchCache,
        now: Instant,
        effects: &mut Effects,
    ) -> Fanout {
        let message = Arc::new(message.into_inner());
        let mut fanout = Fanout::default();
        if self.is_store_short() && self.would_be_kept(&message, last, cache) {
            fanout.store_full = true;
            return fanout;
        }
        let mut retained = false;
        if message.retain {
            match self
                .retained
                .store(&message, &self.live.retain(), self.live.is_pressed())
            {
                Retain::Done => retained = self.store.is_some() && is_of_a_client(&message),
                Retain::Full => {
                    fanout.retain_full = true;
                    return fanout;
                }
            }
        }
        if message.is_expired(now) {
            Self::record(&message, retained, Vec::new(), effects);
            return fanout;
        }
        let routes = last.routes(&self.router, cache, &message.topic);
        fanout::route(
            &message,
            &routes.list,
            self.live.upgrade_outgoing_qos(),
            effects,
            &mut fanout,
        );
        if retained || !fanout.receivers.is_empty() {
            let receivers = std::mem::take(&mut fanout.receivers);
            Self::record(&message, retained, receivers, effects);
        }
        if fanout.dropped_full > 0 {
            self.dropped_queue_full
                .fetch_add(fanout.dropped_full, Ordering::Relaxed);
        }
        fanout
    }

    fn end_if_over(&self, client_id: &ClientId, now: Instant, effects: &mut Effects) -> bool {
        let Some(session) = self.registry.find(client_id) else {
            return false;
        };
        if Registry::times(&session)[0].is_none_or(|until| until > now) {
            return false;
        }
        let Due::Expired(parked) = self.registry.due(&session, now) else {
            return false;
        };
        self.end_parked(&session, *parked, now, effects);
        self.expired_sessions.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Does what is due at `now`: parked sessions that expire, wills whose delay is over. Returns
    /// the number of sessions that ended.
    pub fn tick(&self, now: Instant, effects: &mut Effects) -> usize {
        let mut ended = 0;
        while let Some(client_id) = self.agenda.pop(now) {
            let Some(session) = self.registry.find(&client_id) else {
                continue;
            };
            match self.registry.due(&session, now) {
                // Whatever is due later has an entry of its own, made when the session was parked.
                Due::Nothing => {}
                Due::Will(will) => self.publish_will(*will, now, effects),
                Due::Expired(parked) => {
                    self.end_parked(&session, *parked, now, effects);
                    ended += 1;
                }
            }
        }
        self.expired_sessions.fetch_add(ended, Ordering::Relaxed);
        if self.agenda.len() > 2 * self.registry.len() + 1_024 {
            self.agenda.sweep(|client_id| {
                self.registry
                    .find(client_id)
                    .map_or([None; 2], |session| Registry::times(&session))
            });
        }
        usize::try_from(ended).unwrap_or(usize::MAX)
    }

    /// Removes expired retained messages (`retain_expiry_interval`).
    pub fn expire_retained(&self, now: Instant, effects: &mut Effects) -> usize {
        let expired = self.retained.expire(now);
        let count = expired.len();
        if self.store.is_some() {
            for topic in expired {
                effects.record(Record::Unretain { topic });
            }
        }
        count
    }

    /// Whether QoS 0 messages wait for absent clients, for those who ask before they publish.
    pub fn queues_qos0(&self) -> bool {
        self.live.queue.now().limits.queue_qos0
    }

    /// The highest QoS this broker would deliver a message of `published` QoS with.
    pub fn outgoing_qos(&self, published: QoS, granted: QoS) -> QoS {
        fanout::outgoing_qos(published, granted, self.live.upgrade_outgoing_qos())
    }
}

fn fresh(session: Arc<Session>) -> Claimed {
    Claimed::Granted {
        session,
        state: Box::default(),
        present: false,
    }
}
