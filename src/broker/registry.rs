//! Client Identifier to session: who holds it, who waits for it, and what is parked.
//!
//! A newcomer for a Client Identifier in use leaves a request in the session's slot and wakes the
//! connection that holds it; that connection ends and hands the Session State over. No lock is held
//! while anyone waits. If several newcomers come, the latest wins and the others are told.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};
use std::time::Instant;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::message::{ClientId, Message};
use crate::policy::Client;
use crate::session::SessionState;

use super::bounds::LiveQueue;
use super::mailbox::Mailbox;

/// Whose session it is: a session belongs to the identity that made it, whatever its Client
/// Identifier (attack list, point 8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The authenticated user name; `None` for anonymous clients.
    pub username: Option<Arc<str>>,
}

/// A reason for a connection's task to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Another connection claims the session.
    Takeover,
    /// The policy or the users have changed.
    Recheck,
    /// The broker stops.
    Shutdown,
    /// The operator drains the broker.
    Drain,
    /// Somebody was banned who may be connected.
    Expel,
}

impl Signal {
    fn bit(self) -> u8 {
        match self {
            Self::Takeover => 1,
            Self::Recheck => 2,
            Self::Shutdown => 4,
            Self::Drain => 8,
            Self::Expel => 16,
        }
    }
}

/// Signals that were raised since the task last looked.
#[derive(Clone, Copy, Debug)]
pub struct Signals(u8);

impl Signals {
    /// Whether `signal` was raised.
    pub fn has(self, signal: Signal) -> bool {
        self.0 & signal.bit() != 0
    }
}

/// A will that waits for its delay.
#[derive(Debug)]
pub struct PendingWill {
    /// When it is due, unless the session ends before.
    pub due: Instant,
    /// What is published.
    pub message: Message,
    /// Whose rights it is judged by when it is sent.
    /// `None` after a restart: then by the rights of its author.
    pub client: Option<Box<Client>>,
    /// Its number in the store.
    pub number: Option<NonZeroU32>,
}

/// A session without a connection.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) state: SessionState,
    /// When it ends; `None` is never.
    pub(crate) until: Option<Instant>,
    pub(crate) will: Option<PendingWill>,
}

/// What the previous connection leaves to the next.
#[derive(Debug)]
pub struct Handover {
    /// The Session State, or `None` if the session ended with its connection.
    pub(crate) state: Option<SessionState>,
}

#[derive(Debug)]
struct Waiting {
    to: oneshot::Sender<Handover>,
    clean_start: bool,
}

#[derive(Debug)]
enum Slot {
    /// A connection has it; perhaps another waits for it.
    Claimed(Option<Waiting>),
    /// Nobody is connected.
    Parked(Box<Parked>),
    /// The session has ended and this entry is no longer in the registry.
    Gone,
}

/// The part of a session that other tasks may touch.
#[derive(Debug)]
pub struct Session {
    /// Its Client Identifier.
    pub client_id: ClientId,
    /// Whose it is.
    pub owner: Owner,
    /// What waits for the client.
    pub mailbox: Mailbox,
    /// Bounds of the mailbox.
    pub bounds: Arc<LiveQueue>,
    live: AtomicBool,
    signals: AtomicU8,
    core: AtomicU16,
    slot: Mutex<Slot>,
}

impl Session {
    fn new(client_id: ClientId, owner: Owner, bounds: Arc<LiveQueue>) -> Self {
        Self {
            client_id,
            owner,
            mailbox: Mailbox::default(),
            bounds,
            live: AtomicBool::new(false),
            signals: AtomicU8::new(0),
            core: AtomicU16::new(0),
            slot: Mutex::new(Slot::Claimed(None)),
        }
    }

    /// Whether a connection is serving it.
    #[inline]
    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    pub(crate) fn set_live(&self, live: bool) {
        self.live.store(live, Ordering::Relaxed);
    }

    /// The core its connection runs on. A stale value is harmless: the wake takes a detour.
    #[inline]
    pub fn core(&self) -> u16 {
        self.core.load(Ordering::Relaxed)
    }

    /// A connection's task on `core` serves the session from now on.
    pub fn set_core(&self, core: u16) {
        self.core.store(core, Ordering::Relaxed);
    }

    /// Raises a signal and wakes the connection.
    pub fn signal(&self, signal: Signal) {
        self.raise(signal);
        self.mailbox.wake();
    }

    fn raise(&self, signal: Signal) {
        self.signals.fetch_or(signal.bit(), Ordering::Release);
    }

    fn lower(&self, signal: Signal) {
        self.signals.fetch_and(!signal.bit(), Ordering::Relaxed);
    }

    /// Takes the signals raised so far.
    #[inline]
    pub fn take_signals(&self) -> Option<Signals> {
        // A plain load first: the swap would write a shared cache line at every turn.
        if self.signals.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(Signals(self.signals.swap(0, Ordering::Acquire)))
    }
}

/// The answer to a claim.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Nobody had it: a new session.
    New(Arc<Session>),
    /// It was parked.
    Parked(Arc<Session>, Box<Parked>),
    /// A connection has it and was told to hand it over.
    Wait(Arc<Session>, oneshot::Receiver<Handover>),
    /// It belongs to somebody else.
    NotOwner,
    /// There are as many sessions as there may be.
    Full,
}

/// What to do with a session whose connection has ended.
#[derive(Debug)]
pub(crate) enum Release {
    /// A newcomer waits for it. `continues` is false if the session ends here, by its own expiry
    /// or by the newcomer's Clean Start.
    HandOver {
        to: oneshot::Sender<Handover>,
        continues: bool,
    },
    /// Nobody waits.
    Idle,
}

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    sessions: DashMap<ClientId, Arc<Session>>,
}

impl Registry {
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Arc<Session>)) {
        for entry in &self.sessions {
            visit(entry.value());
        }
    }

    pub(crate) fn find(&self, client_id: &ClientId) -> Option<Arc<Session>> {
        self.sessions
            .get(client_id)
            .map(|entry| Arc::clone(entry.value()))
    }

    pub(crate) fn claim(
        &self,
        client_id: &ClientId,
        owner: &Owner,
        clean_start: bool,
        bounds: &Arc<LiveQueue>,
        max_sessions: Option<usize>,
    ) -> Claim {
        loop {
            // The length is read before an entry is locked: reading it locks every shard.
            let full = max_sessions.is_some_and(|maximum| self.sessions.len() >= maximum);
            let session = match self.sessions.entry(client_id.clone()) {
                Entry::Vacant(_) if full => return Claim::Full,
                Entry::Vacant(vacant) => {
                    let session = Arc::new(Session::new(
                        client_id.clone(),
                        owner.clone(),
                        Arc::clone(bounds),
                    ));
                    vacant.insert(Arc::clone(&session));
                    return Claim::New(session);
                }
                Entry::Occupied(occupied) => Arc::clone(occupied.get()),
            };
            let mut slot = session.slot.lock();
            if matches!(*slot, Slot::Gone) {
                // Ended between the two locks; whoever ended it removes the entry as well.
                drop(slot);
                self.forget(&session);
                continue;
            }
            if session.owner != *owner {
                return Claim::NotOwner;
            }
            match std::mem::replace(&mut *slot, Slot::Claimed(None)) {
                Slot::Parked(parked) => {
                    drop(slot);
                    return Claim::Parked(session, parked);
                }
                Slot::Claimed(_) | Slot::Gone => {
                    // An earlier newcomer that still waits loses: its sender is dropped here.
                    let (to, from) = oneshot::channel();
                    *slot = Slot::Claimed(Some(Waiting { to, clean_start }));
                    // Under the lock: who serves the request takes the signal back with it.
                    session.raise(Signal::Takeover);
                    drop(slot);
                    session.mailbox.wake();
                    return Claim::Wait(session, from);
                }
            }
        }
    }

    /// Makes a session that was found in the store, for the caller to park. `None` if there is one.
    pub(crate) fn restore(
        &self,
        client_id: &ClientId,
        owner: Owner,
        bounds: &Arc<LiveQueue>,
    ) -> Option<Arc<Session>> {
        match self.sessions.entry(client_id.clone()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(vacant) => {
                let session = Session::new(client_id.clone(), owner, Arc::clone(bounds));
                let session = Arc::new(session);
                vacant.insert(Arc::clone(&session));
                Some(session)
            }
        }
    }

    /// The connection of `session` has ended.
    pub(crate) fn release(session: &Session, outlives: bool) -> Release {
        let mut slot = session.slot.lock();
        if let Slot::Claimed(waiting) = &mut *slot
            && let Some(waiting) = waiting.take()
        {
            // The connection may have ended without looking; the newcomer must not find what was
            // raised for its own sake, and leave.
            session.lower(Signal::Takeover);
            return Release::HandOver {
                to: waiting.to,
                continues: outlives && !waiting.clean_start,
            };
        }
        Release::Idle
    }

    /// Parks a session nobody waits for. Gives the parked data back if somebody came meanwhile:
    /// the caller releases once more.
    pub(crate) fn park(session: &Session, parked: Box<Parked>) -> Result<(), Box<Parked>> {
        let mut slot = session.slot.lock();
        match &*slot {
            Slot::Claimed(None) => {
                *slot = Slot::Parked(parked);
                Ok(())
            }
            _ => Err(parked),
        }
    }

    /// Ends a session nobody waits for; false if somebody came meanwhile.
    pub(crate) fn end(&self, session: &Arc<Session>) -> bool {
        {
            let mut slot = session.slot.lock();
            if !matches!(&*slot, Slot::Claimed(None)) {
                return false;
            }
            *slot = Slot::Gone;
        }
        self.forget(session);
        true
    }

    /// Takes what is due of a parked session: the whole of it if it has expired, else its will.
    pub(crate) fn due(&self, session: &Arc<Session>, now: Instant) -> Due {
        let mut slot = session.slot.lock();
        let Slot::Parked(parked) = &mut *slot else {
            return Due::Nothing;
        };
        if parked.until.is_some_and(|until| until <= now) {
            let taken = std::mem::replace(&mut *slot, Slot::Gone);
            drop(slot);
            self.forget(session);
            return match taken {
                Slot::Parked(parked) => Due::Expired(parked),
                Slot::Claimed(_) | Slot::Gone => Due::Nothing,
            };
        }
        if parked.will.as_ref().is_some_and(|will| will.due <= now)
            && let Some(will) = parked.will.take()
        {
            return Due::Will(Box::new(will));
        }
        Due::Nothing
    }

    /// When a parked session ends and when its will is due.
    pub(crate) fn times(session: &Session) -> [Option<Instant>; 2] {
        match &*session.slot.lock() {
            Slot::Parked(parked) => [parked.until, parked.will.as_ref().map(|will| will.due)],
            // Who parks it makes entries of its own.
            Slot::Claimed(_) | Slot::Gone => [None; 2],
        }
    }

    fn forget(&self, session: &Arc<Session>) {
        self.sessions
            .remove_if(&session.client_id, |_, kept| Arc::ptr_eq(kept, session));
    }
}

/// See [`Registry::due`].
#[derive(Debug)]
pub(crate) enum Due {
    Nothing,
    Will(Box<PendingWill>),
    Expired(Box<Parked>),
}
