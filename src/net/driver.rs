//! One connection after CONNACK: its socket, its protocol machine, its session, its budget.
//!
//! One hand-written poll does everything a turn needs, in an order that matters: takeover and
//! shutdown come first, so that a peer which stops reading cannot hold its session hostage; then
//! what the peer sent; then what others sent to it; and one write for all of it.

use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::broker::Session;
use crate::codec::ReasonCode;
use crate::session::ProtocolError;

use super::Shared;
use super::balance::Weight;
use super::cores::{Core, Placed, with_core};
use super::serving::Serving;
use super::transport::{Transport, Unregistered};
use super::websocket::Violation;

/// How long a closing connection may take to accept its last bytes.
const LINGER: Duration = Duration::from_secs(2);

/// Why a connection ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The client sent DISCONNECT.
    Client {
        /// The client's Reason Code.
        reason: ReasonCode,
    },
    /// The peer closed the connection without DISCONNECT.
    Closed,
    /// The socket or TLS failed; what it said goes to the log.
    Socket(io::Error),
    /// Silence for one and a half times the Keep Alive.
    KeepAlive,
    /// The peer broke the protocol.
    Protocol(ProtocolError),
    /// Another connection took the session.
    TakenOver,
    /// The broker stops.
    Shutdown,
    /// The client went over a rate and the operator asked for disconnection.
    Rate,
    /// The client may no longer be connected.
    Revoked,
    /// The operator chose to disconnect 3.x clients whose PUBLISH is refused.
    Denied(ReasonCode),
    /// A packet was not complete within `packet_timeout`.
    PacketTimeout,
    /// The token that the client came in by is over.
    ProofOver,
    /// The operator drains the broker: 0x9C or 0x9D.
    Drained(ReasonCode),
}

impl End {
    /// What a 5.0 client is told; `None` where nothing is to be said.
    pub(crate) fn reason_code(&self) -> Option<ReasonCode> {
        match self {
            Self::Client { .. } | Self::Closed | Self::Socket(_) => None,
            Self::KeepAlive => Some(ReasonCode::KEEP_ALIVE_TIMEOUT),
            Self::Protocol(error) => Some(error.reason),
            Self::TakenOver => Some(ReasonCode::SESSION_TAKEN_OVER),
            Self::Shutdown => Some(ReasonCode::SERVER_SHUTTING_DOWN),
            Self::Rate => Some(ReasonCode::MESSAGE_RATE_TOO_HIGH),
            Self::Revoked => Some(ReasonCode::NOT_AUTHORIZED),
            Self::Denied(reason) | Self::Drained(reason) => Some(*reason),
            Self::PacketTimeout => Some(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR),
            Self::ProofOver => Some(ReasonCode::MAXIMUM_CONNECT_TIME),
        }
    }

    /// What a 5.0 client is told beside the code, if Reason Strings are sent.
    pub(crate) fn told(&self) -> Option<Cow<'static, str>> {
        let text = match self {
            Self::Protocol(error) => {
                return Some(format!("{} [{}]", error.label, error.statement).into());
            }
            Self::KeepAlive => "no packet for one and a half times the Keep Alive",
            Self::TakenOver => "another connection uses this client id",
            Self::Rate => "the client is above its message or byte rate",
            Self::Revoked => "the client may no longer be connected",
            Self::PacketTimeout => "a packet was not complete in time",
            Self::ProofOver => "the token or the certificate is over",
            Self::Client { .. }
            | Self::Closed
            | Self::Socket(_)
            | Self::Shutdown
            | Self::Denied(_)
            | Self::Drained(_) => return None,
        };
        Some(text.into())
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        if let Some(violation) = Violation::of(&error) {
            return Self::Protocol(violation.error());
        }
        Self::Socket(error)
    }
}

impl From<ProtocolError> for End {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

/// What a turn leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing until something happens.
    Wait,
    /// More right now; the neighbours come first.
    Again,
}

/// One connection.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    transport: Transport,
    session: Arc<Session>,
    serving: Option<Box<Serving>>,
    timer: Timer,
    closing: bool,
    attached: bool,
    placed: Placed,
    weight: Weight,
    /// The socket, while it is on its way to another core's runtime.
    on_its_way: Option<Unregistered>,
}

/// What one poll of a connection comes to.
enum Polled {
    Pending,
    /// It is over.
    Over,
    /// It goes on on this core.
    Elsewhere(usize),
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        transport: Transport,
        session: Arc<Session>,
        serving: Box<Serving>,
        placed: Placed,
    ) -> Self {
        Self {
            shared,
            transport,
            session,
            serving: Some(serving),
            timer: Timer::default(),
            closing: false,
            attached: false,
            placed,
            weight: Weight::default(),
            on_its_way: None,
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>, core: &mut Core) -> Polled {
        let now = super::now();
        if let Some(socket) = self.on_its_way.take()
            && let Err(error) = self.transport.attach(socket)
        {
            self.end(&error.into(), cx, core, now);
            core.flush_effects(&self.shared.broker);
            core.reset_output();
            return Polled::Over;
        }
        if !self.attached {
            self.session.set_core(core.index);
            self.session.mailbox.attach(cx.waker().clone());
            self.attached = true;
        }
        let Some(serving) = &mut self.serving else {
            return self.close(cx, now);
        };
        let polled = match serving.turn(cx, core, &mut self.transport, &self.session, now) {
            Ok(turn) => match core.worked(&mut self.weight, serving.take_units()) {
                Some(index) => Polled::Elsewhere(index),
                None => self.wait(turn, cx, now),
            },
            Err(end) => {
                self.end(&end, cx, core, now);
                self.close(cx, now)
            }
        };
        core.flush_effects(&self.shared.broker);
        core.reset_output();
        polled
    }

    /// Has the task woken when there is something to do.
    fn wait(&mut self, turn: Turn, cx: &mut Context<'_>, now: Instant) -> Polled {
        let is_due = match turn {
            Turn::Again => true,
            Turn::Wait => {
                let deadline = self.serving.as_ref().and_then(|serving| serving.deadline());
                self.timer.wait_until(deadline, now, cx)
            }
        };
        if is_due {
            cx.waker().wake_by_ref();
        }
        Polled::Pending
    }

    /// Ends the task here; the connection goes on as a task of core `index`. Nothing is lost on the way:
    /// whoever wakes the session meanwhile has put something into it, and the first turn there looks at
    /// everything.
    fn move_to(mut self, index: usize) {
        let socket = match self.transport.detach() {
            Ok(socket) => socket,
            // The runtime would not let go of it, and nothing can be read any more.
            Err(error) => return self.fail(error),
        };
        self.on_its_way = Some(socket);
        self.timer = Timer::default();
        self.attached = false;
        self.weight.moved();
        self.placed.move_to(index);
        let handle = self.placed.handle().clone();
        handle.spawn(Task(Some(self)));
    }

    #[cold]
    fn fail(mut self, error: io::Error) {
        with_core(|core| {
            let now = super::now();
            if let Some(serving) = self.serving.take() {
                serving.end(&End::Socket(error), core, &self.session, now);
            }
            core.flush_effects(&self.shared.broker);
            core.reset_output();
        });
    }

    /// Ends the service: the session goes back to the broker before the last bytes are out,
    /// because a newcomer may be waiting for it.
    fn end(&mut self, end: &End, cx: &mut Context<'_>, core: &mut Core, now: Instant) {
        let Some(serving) = self.serving.take() else {
            return;
        };
        serving.end(end, core, &self.session, now);
        if !matches!(end, End::Socket(_)) {
            // What fails here fails a connection that is over.
            drop(self.transport.send(cx, &core.output));
            self.transport.close_notify(cx);
        }
        self.closing = true;
    }

    fn close(&mut self, cx: &mut Context<'_>, now: Instant) -> Polled {
        if !self.closing {
            return Polled::Over;
        }
        if self.transport.send(cx, &[]).is_err() {
            return Polled::Over;
        }
        if !self.transport.is_blocked() && self.transport.poll_shutdown(cx).is_ready() {
            return Polled::Over;
        }
        if self.timer.is_over(now) {
            return Polled::Over;
        }
        if self.timer.at.is_none_or(|at| at > now + LINGER) {
            self.timer.start(now + LINGER);
        }
        if self.timer.wait_until(self.timer.at, now, cx) {
            return Polled::Over;
        }
        Polled::Pending
    }
}

/// The task of one connection on one core.
pub(crate) struct Task(Option<Driver>);

impl Task {
    pub(crate) fn new(driver: Driver) -> Self {
        Self(Some(driver))
    }
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let driver = &mut self.get_mut().0;
        // A task is only ever spawned on a core; elsewhere there is nothing to serve it with.
        let polled = driver
            .as_mut()
            .and_then(|driver| with_core(|core| driver.turn(cx, core)));
        match polled {
            Some(Polled::Pending) => return Poll::Pending,
            Some(Polled::Elsewhere(index)) => {
                if let Some(driver) = driver.take() {
                    driver.move_to(index);
                }
            }
            Some(Polled::Over) | None => {}
        }
        Poll::Ready(())
    }
}

impl Drop for Driver {
    /// The runtime drops tasks that are left when it stops: their sessions are released all the
    /// same, so that counters and wills are right.
    fn drop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abandon(&self.shared, &self.session);
        }
    }
}

/// One timer, moved lazily: a deadline that is put off costs nothing until the old one fires.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    at: Option<Instant>,
}

impl Timer {
    fn is_over(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| at <= now)
    }

    fn start(&mut self, at: Instant) {
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at.into()),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(at.into()))),
        }
        self.at = Some(at);
    }

    /// Has the task woken at `deadline` or before. True if it is over already.
    fn wait_until(
        &mut self,
        deadline: Option<Instant>,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(deadline) = deadline else {
            return false;
        };
        if deadline <= now {
            return true;
        }
        // Set, not yet fired, and early enough: the waker registered then is still the task's.
        if self.at.is_some_and(|at| at > now && at <= deadline) {
            return false;
        }
        self.start(deadline);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx).is_ready(),
            None => false,
        }
    }
}
