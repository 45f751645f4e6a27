//! Bytes in, bytes out: sockets, TLS, the task of each connection, and the metrics endpoint.
//!
//! [`listener`] accepts and places; `greet` goes from the first byte to CONNACK; `driver` and
//! `serving` run a connection from there on; `cores` has the threads.

pub mod exporter;
pub mod listener;
pub mod tls;

mod balance;
mod claim;
mod cores;
mod driver;
mod greet;
mod identity;
mod keeping;
mod packets;
mod publishing;
mod refusal;
mod replay;
mod report;
mod sentry;
mod serving;
mod subscribing;
mod token;
mod transport;
pub mod websocket;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::RwLock;

use crate::audit::{Auditor, Traffic};
use crate::broker::{Broker, Effects, Signal};
use crate::policy::{Admission, BudgetSettings, DenyReason};

pub use balance::Placement;
pub use cores::Cores;
pub use sentry::{Sentry, SentrySettings};
pub use transport::Stream;

use listener::{Listener, ListenerState};

/// Refused connections whose answer waits, at most.
const MAX_HELD_BACK: usize = 256;

/// The runtime's clock: in a test it may stand still.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    /// Who receives what.
    pub broker: Broker,
    /// Who is told.
    pub audit: Arc<Auditor>,
    /// Message and byte counters of the cores.
    pub traffic: Arc<Traffic>,
    /// Connections by address.
    pub admission: Admission,
    /// Who watches for clients that guess, and bans them.
    pub sentry: Arc<Sentry>,
    /// The threads.
    pub cores: Arc<Cores>,
    listeners: RwLock<Vec<Arc<Listener>>>,
    budget: ArcSwap<BudgetSettings>,
    max_connections: AtomicUsize,
    max_greeting: AtomicUsize,
    greeting: Arc<AtomicUsize>,
    held_back: Arc<AtomicUsize>,
    drain: ArcSwapOption<Drain>,
}

/// The operator wants clients to go elsewhere (`drain`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// [`DenyReason::UseAnotherServer`] or [`DenyReason::ServerMoved`].
    pub reason: DenyReason,
    /// Server Reference: where to go.
    pub reference: Option<Box<str>>,
    /// Clients that are disconnected in a second.
    pub per_second: usize,
}

/// A place among the connections that have not been greeted yet; given back when dropped.
#[derive(Debug)]
struct GreetPlace(Arc<AtomicUsize>);

impl Drop for GreetPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// Puts the parts together.
    pub fn new(
        broker: Broker,
        audit: Arc<Auditor>,
        traffic: Arc<Traffic>,
        admission: Admission,
        sentry: Arc<Sentry>,
        cores: Arc<Cores>,
    ) -> Arc<Self> {
        Arc::new(Self {
            broker,
            audit,
            traffic,
            admission,
            sentry,
            cores,
            listeners: RwLock::new(Vec::new()),
            budget: ArcSwap::from_pointee(BudgetSettings::default()),
            max_connections: AtomicUsize::new(usize::MAX),
            max_greeting: AtomicUsize::new(usize::MAX),
            greeting: Arc::new(AtomicUsize::new(0)),
            held_back: Arc::new(AtomicUsize::new(0)),
            drain: ArcSwapOption::empty(),
        })
    }

    /// Adds a listener; its identifier must be its index.
    pub fn add_listener(&self, listener: Arc<Listener>) {
        self.listeners.write().push(listener);
    }

    /// The listeners in the order of their identifiers.
    pub fn listeners(&self) -> Vec<Arc<Listener>> {
        self.listeners.read().clone()
    }

    /// Replaces what each client may spend, `global_max_connections` and `max_handshakes`.
    pub fn set_limits(
        &self,
        budget: BudgetSettings,
        max_connections: Option<usize>,
        max_greeting: Option<usize>,
    ) {
        self.max_greeting
            .store(max_greeting.unwrap_or(usize::MAX), Ordering::Relaxed);
        self.budget.store(Arc::new(budget));
        self.max_connections
            .store(max_connections.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Begins to drain the broker, or takes clients again.
    pub fn set_drain(&self, drain: Option<Drain>) {
        self.drain.store(drain.map(Arc::new));
    }

    fn drain(&self) -> Option<Arc<Drain>> {
        self.drain.load_full()
    }

    /// Sends the next clients away if the broker is drained. To be called each second.
    pub fn tick_drain(&self) {
        if let Some(drain) = self.drain() {
            self.broker.signal_some(Signal::Drain, drain.per_second);
        }
    }

    fn budget(&self) -> BudgetSettings {
        **self.budget.load()
    }

    /// A place among those that are greeted, unless there are as many as there may be.
    fn greet_place(&self) -> Option<GreetPlace> {
        let place = GreetPlace(Arc::clone(&self.greeting));
        let count = self.greeting.fetch_add(1, Ordering::Relaxed) + 1;
        (count <= self.max_greeting.load(Ordering::Relaxed)).then_some(place)
    }

    /// A place among those whose answer is held back. They hold a place among those that are greeted
    /// as well, and must not take it from everybody else.
    fn hold_back_place(&self) -> Option<GreetPlace> {
        let maximum = self.max_greeting.load(Ordering::Relaxed) / 4;
        let place = GreetPlace(Arc::clone(&self.held_back));
        let count = self.held_back.fetch_add(1, Ordering::Relaxed) + 1;
        (count <= maximum.min(MAX_HELD_BACK)).then_some(place)
    }

    /// Connections whose answer is held back now.
    pub fn held_back(&self) -> usize {
        self.held_back.load(Ordering::Relaxed)
    }

    fn max_connections(&self) -> Option<usize> {
        match self.max_connections.load(Ordering::Relaxed) {
            usize::MAX => None,
            maximum => Some(maximum),
        }
    }

    /// The newest settings of the listener a connection came by.
    fn listener_state(&self, known: &Arc<ListenerState>) -> Arc<ListenerState> {
        self.listeners
            .read()
            .get(usize::from(known.id))
            .map_or_else(|| Arc::clone(known), |listener| listener.state())
    }

    /// What work outside a connection's turn has left to do: tells the store, and wakes sessions.
    pub fn finish(&self, effects: &mut Effects) {
        self.broker.submit(effects, false);
        for session in effects.drain() {
            session.mailbox.wake();
        }
    }
}

pub(crate) fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    // The system's generator fails only where there is none, which start-up has excluded.
    if getrandom::fill(&mut bytes).is_err() {
        tracing::error!("the system gives no random numbers");
    }
    bytes
}
