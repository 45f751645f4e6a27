//! What a connected client's turn does: read and handle packets, deliver, write.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::audit::TrafficDelta;
use crate::auth::{Begun, Exchange, Verdict};
use crate::broker::{LastTopic, Session, Signal};
use crate::codec;
use crate::message::Author;
use crate::policy::{Client, Denial, DenyReason, Who};
use crate::session::{Connection, Goodbye, Step};

use super::Shared;
use super::cores::{Core, WRITE_BYTES};
use super::driver::{End, Turn};
use super::identity::Proof;
use super::keeping::{Held, Reading};
use super::listener::{ListenerState, Permit};
use super::publishing::{Throttled, will_message};
use super::replay::Replay;
use super::report;
use super::transport::{Input, Transport};

/// Write batches one turn fills at most before the neighbours come.
const BATCHES: usize = 4;
/// How long a publisher steps aside for a receiver that has a long queue and takes from it.
const STEP_ASIDE: Duration = Duration::from_millis(50);

/// A connected client.
pub(crate) struct Serving {
    pub(crate) shared: Arc<Shared>,
    pub(crate) listener: Arc<ListenerState>,
    pub(crate) connection: Connection,
    pub(crate) client: Box<Client>,
    pub(crate) author: Arc<Author>,
    pub(super) last: LastTopic,
    /// Bytes that are no whole packet yet, or that wait for the budget or the socket.
    partial: Vec<u8>,
    /// `partial` may hold a whole packet.
    pub(super) unparsed: bool,
    /// Retained messages for new subscriptions: sent before anything newer.
    replay: Replay,
    pub(super) throttled: Option<Throttled>,
    pub(super) crowded: Option<(Arc<Session>, Instant)>,
    pub(super) delta: TrafficDelta,
    units: u32,
    codec_limits: codec::Limits,
    /// Since when the packet at the front of `partial` is not complete although it could be.
    incomplete_since: Option<Instant>,
    connected_at: Instant,
    proof: Proof,
    /// When the proof is over by itself.
    proof_looked_at: Option<Instant>,
    /// An authentication in session that waits for the client.
    exchange: Option<Box<Exchange>>,
    /// CONNACK, until the first turn sends it.
    first: Vec<u8>,
    /// Answers that wait for the store.
    pub(super) held: Held,
    /// What is read back from it.
    pub(super) reading: Reading,
    _permit: Permit,
}

/// What a connection starts with.
pub(crate) struct Start {
    pub(crate) shared: Arc<Shared>,
    pub(crate) listener: Arc<ListenerState>,
    pub(crate) connection: Connection,
    pub(crate) client: Box<Client>,
    /// What came behind CONNECT.
    pub(crate) partial: Vec<u8>,
    /// CONNACK.
    pub(crate) first: Vec<u8>,
    pub(crate) proof: Proof,
    pub(crate) permit: Permit,
}

impl Serving {
    pub(crate) fn new(start: Start, now: Instant) -> Self {
        let who = start.client.who();
        let author = Arc::new(author(who));
        let proof_looked_at = start.proof.look_again_at(&start.listener, now);
        Self {
            codec_limits: start.listener.codec_limits,
            shared: start.shared,
            listener: start.listener,
            connection: start.connection,
            client: start.client,
            author,
            last: LastTopic::default(),
            unparsed: !start.partial.is_empty(),
            partial: start.partial,
            replay: Replay::default(),
            throttled: None,
            crowded: None,
            delta: TrafficDelta::default(),
            units: 0,
            incomplete_since: None,
            connected_at: now,
            proof_looked_at,
            proof: start.proof,
            exchange: None,
            first: start.first,
            held: Held::default(),
            reading: Reading::default(),
            _permit: start.permit,
        }
    }

    /// When something is due even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let throttled = self.throttled.as_ref().map(|waiting| waiting.until);
        [
            self.connection.deadline(),
            throttled,
            self.packet_due(),
            self.proof_looked_at,
            self.tokens_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// When the packet that has begun must be complete (`packet_timeout`).
    fn packet_due(&self) -> Option<Instant> {
        Some(self.incomplete_since? + self.listener.packet_timeout?)
    }

    pub(crate) fn turn(
        &mut self,
        cx: &mut Context<'_>,
        core: &mut Core,
        transport: &mut Transport,
        session: &Arc<Session>,
        now: Instant,
    ) -> Result<Turn, End> {
        // Before anything that may end the connection: nothing is sent before CONNACK [MQTT-3.2.0-1].
        if !self.first.is_empty() {
            core.output.append(&mut self.first);
            self.first = Vec::new();
        }
        if let Some(signals) = session.take_signals() {
            if signals.has(Signal::Takeover) {
                return Err(End::TakenOver);
            }
            if signals.has(Signal::Shutdown) {
                return Err(End::Shutdown);
            }
            if signals.has(Signal::Drain)
                && let Some(drain) = self.shared.drain()
            {
                return Err(End::Drained(drain.reason.reason_code()));
            }
            if signals.has(Signal::Expel) && self.is_expelled(now) {
                return Err(End::Revoked);
            }
            if signals.has(Signal::Recheck) {
                self.recheck(session, now, core)?;
            }
        }
        self.release_held(core);
        if transport.is_blocked() {
            transport.send(cx, &[])?;
        }
        let mut again = self.receive(cx, core, transport, session, now)?;
        again |= self.send(cx, core, transport, session, now)?;
        // Last, so that a packet that has just come counts.
        if self.throttled.is_none() && self.connection.is_silent(now) {
            return Err(End::KeepAlive);
        }
        if self.packet_due().is_some_and(|due| due <= now) {
            return Err(End::PacketTimeout);
        }
        if self.proof_looked_at.is_some_and(|at| at <= now) {
            if self
                .proof
                .time_left(&self.listener)
                .is_some_and(|left| left.is_zero())
            {
                return Err(End::ProofOver);
            }
            self.proof_looked_at = self.proof.look_again_at(&self.listener, now);
        }
        if self.tokens_due().is_some_and(|due| due <= now) {
            self.turn_tokens(session, now, core);
            again = true;
        }
        self.commit(core, session);
        if !core.output.is_empty() {
            // Nothing had to be waited for after all.
            self.delta.bytes_sent += core.output.len() as u64;
            transport.send(cx, &core.output)?;
            core.output.clear();
        }
        self.flush_counters(core);
        Ok(if again { Turn::Again } else { Turn::Wait })
    }

    /// Reads once and handles what is whole. True if there may be more.
    fn receive(
        &mut self,
        cx: &mut Context<'_>,
        core: &mut Core,
        transport: &mut Transport,
        session: &Arc<Session>,
        now: Instant,
    ) -> Result<bool, End> {
        if self.is_held_up() || !self.resume_throttled(core, now)? || transport.is_blocked() {
            self.not_reading(now);
            return Ok(false);
        }
        if let Some((receiver, since)) = &self.crowded {
            if receiver.mailbox.is_crowded() && now.duration_since(*since) < STEP_ASIDE {
                self.not_reading(now);
                return Ok(true);
            }
            self.crowded = None;
        }
        let mut input = std::mem::take(&mut core.plain);
        input.clear();
        if !self.partial.is_empty() {
            std::mem::swap(&mut input, &mut self.partial);
        }
        let before = input.len();
        // What is there comes first: the next read may give the end, and nothing is handled after that.
        let outcome = if self.unparsed {
            Poll::Ready(Ok(Input::Bytes { more: true }))
        } else {
            transport.poll_input(cx, &mut core.input, &mut input)
        };
        self.delta.bytes_received += transport.take_received();
        let more = match outcome {
            Poll::Pending => false,
            Poll::Ready(Ok(Input::Bytes { more })) => more,
            Poll::Ready(Ok(Input::Closed)) => return Err(End::Closed),
            Poll::Ready(Err(error)) => return Err(error.into()),
        };
        let consumed = if input.len() > before || self.unparsed {
            self.unparsed = false;
            self.consume(&input, cx, core, transport, session, now)?
        } else {
            0
        };
        let inside_message = transport.is_inside_message();
        self.keep_rest(input, consumed, inside_message, core, now);
        Ok((more || self.unparsed) && self.throttled.is_none() && !transport.is_blocked())
    }

    /// While we do not read, a packet cannot become complete.
    fn not_reading(&mut self, now: Instant) {
        self.incomplete_since = self.incomplete_since.map(|_| now);
    }

    /// Keeps what was not consumed and gives the core its buffer back.
    fn keep_rest(
        &mut self,
        mut input: Vec<u8>,
        consumed: usize,
        inside_message: bool,
        core: &mut Core,
        now: Instant,
    ) {
        let rest = input.len() - consumed;
        self.incomplete_since = match self.incomplete_since {
            _ if (rest == 0 && !inside_message) || self.unparsed => None,
            Some(since) if consumed == 0 => Some(since),
            _ => Some(now),
        };
        if rest == 0 {
            self.partial = Vec::new();
            if core.plain.capacity() < input.capacity() {
                core.plain = input;
            }
            return;
        }
        if consumed == 0 {
            // A large packet on its way: it goes on growing where it is.
            self.partial = input;
            return;
        }
        self.partial = input.split_off(consumed);
        core.plain = input;
    }

    fn consume(
        &mut self,
        input: &[u8],
        cx: &mut Context<'_>,
        core: &mut Core,
        transport: &mut Transport,
        session: &Arc<Session>,
        now: Instant,
    ) -> Result<usize, End> {
        let maximum = self.codec_limits.max_packet_bytes;
        let version = self.connection.version();
        let mut at = 0;
        while let Some(rest) = input.get(at..)
            && let Some(length) = codec::frame_length(rest, maximum).map_err(malformed)?
            && let Some(frame) = rest.get(..length)
        {
            let packet = codec::decode(frame, version, &self.codec_limits).map_err(malformed)?;
            at += length;
            let step = self.connection.handle(packet, now, &mut core.output)?;
            self.step(step, core, session, now)?;
            if core.output.len() >= WRITE_BYTES {
                self.delta.bytes_sent += core.output.len() as u64;
                transport.send(cx, &core.output)?;
                core.output.clear();
            }
            if self.throttled.is_some() || transport.is_blocked() {
                self.unparsed = true;
                break;
            }
        }
        Ok(at)
    }

    fn step(
        &mut self,
        step: Step<'_>,
        core: &mut Core,
        session: &Arc<Session>,
        now: Instant,
    ) -> Result<(), End> {
        match step {
            // After an acknowledgement, what waited for the window is sent with the rest of the turn.
            Step::Continue | Step::WindowOpened => Ok(()),
            Step::Publish(incoming) => self.publish(&incoming, core, now),
            Step::Subscribe(subscribe) => {
                let start = super::subscribing::Subscribing {
                    shared: &self.shared,
                    listener: &self.listener,
                    client: &mut self.client,
                    session,
                    effects: &mut core.effects,
                };
                let replay = &mut self.replay;
                // Answered when the subscriptions are kept.
                let waits = self.connection.is_kept() || !self.held.is_empty();
                let out = if waits {
                    &mut core.held
                } else {
                    &mut core.output
                };
                start.subscribe(&subscribe, &mut self.connection, now, replay, out)
            }
            Step::Unsubscribe(unsubscribe) => {
                let start = super::subscribing::Subscribing {
                    shared: &self.shared,
                    listener: &self.listener,
                    client: &mut self.client,
                    session,
                    effects: &mut core.effects,
                };
                let waits = self.connection.is_kept() || !self.held.is_empty();
                let out = if waits {
                    &mut core.held
                } else {
                    &mut core.output
                };
                start.unsubscribe(&unsubscribe, &mut self.connection, out)
            }
            Step::Authenticate { begins, data } => {
                self.authenticate(begins, data, core)?;
                // The new proof may name other groups.
                if self.take_identity() {
                    self.recheck_rights(session, now, core);
                }
                Ok(())
            }
            Step::Disconnect { reason, .. } => Err(End::Client { reason }),
        }
    }

    /// A client proves again who it is, while it goes on with its work.
    #[cold]
    fn authenticate(
        &mut self,
        begins: bool,
        data: Option<&[u8]>,
        core: &mut Core,
    ) -> Result<(), End> {
        match self.prove_again(begins, data) {
            Ok((exchange, answer)) => {
                self.connection
                    .authenticated(exchange.is_none(), &answer, &mut core.output)?;
                self.exchange = exchange;
                Ok(())
            }
            Err(reason) => {
                let who = self.client.who();
                if let Some(address) = who.address {
                    let user = who.username.as_deref();
                    // The connection ends by it: there is no answer to hold back.
                    self.shared
                        .sentry
                        .authentication_failed(address.ip(), user, reason);
                }
                report::refused(&self.shared, who, &Denial::new(reason));
                Err(End::Revoked)
            }
        }
    }

    /// Takes a message of the exchange. Gives what the exchange waits with, if it is not over, and the
    /// answer.
    fn prove_again(
        &mut self,
        begins: bool,
        data: Option<&[u8]>,
    ) -> Result<(Option<Box<Exchange>>, Vec<u8>), DenyReason> {
        let (verdict, answer) = if begins {
            let method = self.connection.authentication_method().unwrap_or_default();
            let client_id = Some(self.author.client_id.as_str());
            let certificate = self.proof.certificate();
            let authenticator = &self.listener.authenticator;
            match authenticator.begin(method, client_id, data, certificate)? {
                Begun::Challenge(exchange, answer) => {
                    self.called(exchange.username());
                    return Ok((Some(exchange), answer));
                }
                Begun::Done(verdict) => (verdict, Vec::new()),
            }
        } else {
            let exchange = self.exchange.take().ok_or(DenyReason::BadCredentials)?;
            self.listener.authenticator.finish(*exchange, data)?
        };
        if let Verdict::Accept {
            username: Some(username),
            ..
        } = &verdict
        {
            self.called(username);
        }
        self.proof = Proof::again(verdict, &self.client)?;
        self.proof_looked_at = self.proof.look_again_at(&self.listener, super::now());
        Ok((None, answer))
    }

    /// Gives the client the groups and rules that its proof names now. True if they are others.
    fn take_identity(&mut self) -> bool {
        let groups = self.proof.groups(&self.listener);
        let grants = self.proof.grants();
        if !self.client.set_identity(groups, grants) {
            return false;
        }
        self.author = Arc::new(author(self.client.who()));
        true
    }

    /// A canary is one in session too.
    fn called(&self, username: &Arc<str>) {
        self.shared.sentry.called(username, || Who {
            username: Some(Arc::clone(username)),
            ..Who::clone(self.client.who())
        });
    }

    /// Sends what waits for this client, and the answers in `core.output`. True if more is to be
    /// sent at once.
    fn send(
        &mut self,
        cx: &mut Context<'_>,
        core: &mut Core,
        transport: &mut Transport,
        session: &Arc<Session>,
        now: Instant,
    ) -> Result<bool, End> {
        for _ in 0..BATCHES {
            if transport.is_blocked() {
                break;
            }
            let is_blocked_by_publisher = self.fill(core, session, now);
            if is_blocked_by_publisher {
                break;
            }
            if core.output.is_empty() {
                return Ok(false);
            }
            self.delta.bytes_sent += core.output.len() as u64;
            transport.send(cx, &core.output)?;
            core.output.clear();
            let is_all = core.deliveries.is_empty()
                && self.replay.is_empty()
                && !self.reading.has_more()
                && !self.connection.can_pump();
            if is_all {
                return Ok(false);
            }
        }
        if transport.is_blocked() {
            if !core.output.is_empty() {
                // Answers to what was read before the socket filled up: never more than one batch.
                self.delta.bytes_sent += core.output.len() as u64;
                transport.send(cx, &core.output)?;
                core.output.clear();
            }
            session
                .mailbox
                .give_back(&mut core.deliveries, self.connection.held());
            return Ok(false);
        }
        if !core.output.is_empty() {
            self.delta.bytes_sent += core.output.len() as u64;
            transport.send(cx, &core.output)?;
            core.output.clear();
        }
        if !core.deliveries.is_empty() {
            session
                .mailbox
                .give_back(&mut core.deliveries, self.connection.held());
        }
        Ok(true)
    }

    /// Fills the output buffer: first what a resumed session owes and what waited for the window,
    /// then what waits in the store, then retained messages for new subscriptions, then what came since.
    /// True if the next message is one that its publisher has not handed to the store yet: it will have
    /// when its turn is over.
    fn fill(&mut self, core: &mut Core, session: &Arc<Session>, now: Instant) -> bool {
        let gate = self.shared.broker.gate();
        let client = &mut self.client;
        if self.connection.can_pump() {
            self.connection
                .pump(now, &mut core.output, WRITE_BYTES, |delivery| {
                    gate.deliver(client, delivery)
                });
        }
        if self.connection.is_kept() && !self.send_backlog(core, session, now) {
            return false;
        }
        // Not while the window is shut: what is looked up must not pile up behind it.
        while core.output.len() < WRITE_BYTES
            && !self.connection.is_window_shut()
            && let Some(mut delivery) =
                self.replay
                    .next(&self.shared.broker, session, self.connection.session(), now)
        {
            let broker = &self.shared.broker;
            broker.keep_delivery(session, &mut delivery, &mut core.effects);
            self.deliver_kept(delivery, core, now);
        }
        if !self.replay.is_empty() {
            if self.connection.is_window_shut() {
                // Only the client can open it: until then what comes counts as waiting.
                let held = self.connection.held();
                session.mailbox.give_back(&mut core.deliveries, held);
            }
            return false;
        }
        let held = self.connection.held();
        if core.deliveries.is_empty() && !session.mailbox.take(&mut core.deliveries, held) {
            return false;
        }
        // A subscription made in 5.0 may ask for what 3.x has not: there a message is retained only if it
        // was kept before the client subscribed [MQTT-3.3.1-9 in 3.1.1].
        let takes_retain = self.connection.version().is_v5();
        let mut waits_for_publisher = false;
        while core.output.len() < WRITE_BYTES
            && let Some(mut delivery) = core.deliveries.pop_front()
        {
            if delivery.seq != 0 && !delivery.message.submitted.is_set() {
                core.deliveries.push_front(delivery);
                waits_for_publisher = true;
                break;
            }
            delivery.retain &= takes_retain;
            self.deliver_kept(delivery, core, now);
        }
        // What now waits for the window counts against the queue from the next message on. Nothing
        // waits for a client that keeps up, and then this costs nothing.
        let waits = self.connection.held();
        if waits != held {
            session.mailbox.set_held(waits);
        }
        waits_for_publisher
    }

    /// Somebody was banned: it may be this client.
    fn is_expelled(&self, now: Instant) -> bool {
        let who = self.client.who();
        let bans = &self.shared.sentry.bans;
        who.remote_ip()
            .is_some_and(|address| bans.expels(address, who.username.as_deref(), now))
    }

    /// The policy or the users have changed: what is no longer allowed ends now.
    fn recheck(
        &mut self,
        session: &Arc<Session>,
        now: Instant,
        core: &mut Core,
    ) -> Result<(), End> {
        let shared = Arc::clone(&self.shared);
        self.listener = shared.listener_state(&self.listener);
        let address = self.client.who().address;
        let may_come_from = address.is_none_or(|peer| self.listener.takes_address(peer.ip()));
        if !may_come_from || self.is_expelled(now) || !self.proof.still_holds(&self.listener) {
            return Err(End::Revoked);
        }
        self.proof_looked_at = self.proof.look_again_at(&self.listener, now);
        self.take_identity();
        self.turn_tokens(session, now, core);
        self.client.set_budget(shared.budget());
        self.recheck_rights(session, now, core);
        Ok(())
    }

    /// Judges again what the client has subscribed to and what waits for it.
    pub(super) fn recheck_rights(&mut self, session: &Arc<Session>, now: Instant, core: &mut Core) {
        let shared = Arc::clone(&self.shared);
        let state = self.connection.session_mut();
        let mount_point = &self.listener.mount_point;
        let rechecked = shared.broker.recheck(
            session,
            state,
            &mut self.client,
            mount_point,
            now,
            &mut core.effects,
        );
        for (subscription, denial) in &rechecked.lost {
            let filter = subscription.filter.to_string();
            report::subscription_lost(&shared, self.client.who(), &filter, denial);
        }
        let client = &self.client;
        let dropped = rechecked.dropped
            + self
                .replay
                .retain(|delivery| client.may_receive(delivery.message.topic.as_str()));
        self.delta.dropped_denied += dropped as u64;
    }

    /// What the last turn came to: itself and its messages.
    pub(super) fn take_units(&mut self) -> u32 {
        std::mem::take(&mut self.units)
    }

    fn flush_counters(&mut self, core: &Core) {
        let tally = self.connection.take_tally();
        for (total, sent) in self.delta.sent.iter_mut().zip(tally.sent) {
            *total += sent;
        }
        self.delta.dropped_expired += tally.expired;
        self.delta.dropped_too_large += tally.too_large;
        let messages: u64 = self.delta.sent.iter().chain(&self.delta.received).sum();
        self.units = u32::try_from(messages + 1).unwrap_or(u32::MAX);
        self.shared
            .traffic
            .add(usize::from(core.index), &std::mem::take(&mut self.delta));
    }

    /// The connection is over: tells the peer if it can be told, gives the session back, and tells
    /// the operator.
    pub(crate) fn end(
        mut self: Box<Self>,
        end: &End,
        core: &mut Core,
        session: &Arc<Session>,
        now: Instant,
    ) {
        if let Some(reason) = end.reason_code() {
            let drain = match end {
                End::Drained(_) => self.shared.drain(),
                _ => None,
            };
            let told = end.told();
            let goodbye = Goodbye {
                reason,
                text: told.as_deref(),
                reference: drain.as_ref().and_then(|drain| drain.reference.as_deref()),
            };
            self.connection.goodbye(&goodbye, &mut core.output);
        }
        if !core.deliveries.is_empty() {
            session
                .mailbox
                .give_back(&mut core.deliveries, self.connection.held());
        }
        self.flush_counters(core);
        report::ended(
            &self.shared,
            self.client.who(),
            end,
            now.duration_since(self.connected_at),
        );
        self.release(session, now, &mut core.effects);
    }

    /// As [`Serving::end`], when the runtime stops and there is no core to work with.
    pub(crate) fn abandon(self: Box<Self>, shared: &Arc<Shared>, session: &Arc<Session>) {
        let mut effects = crate::broker::Effects::default();
        self.release(session, super::now(), &mut effects);
        shared.broker.submit(&mut effects, false);
    }

    fn release(
        self: Box<Self>,
        session: &Arc<Session>,
        now: Instant,
        effects: &mut crate::broker::Effects,
    ) {
        let this = *self;
        let (mut state, will) = this.connection.into_session();
        if state.outlives_connection() {
            // Retained messages that were not sent yet are still owed to a session that goes on.
            this.replay
                .keep(&this.shared.broker, session, &mut state, now, effects);
        }
        let will = will.and_then(|will| {
            let delay = Duration::from_secs(u64::from(will.delay_s));
            let message = will_message(&will, &this.listener.mount_point, &this.author, now)?;
            Some((message, this.client, delay))
        });
        this.shared
            .broker
            .release(session, state, will, true, now, effects);
    }
}

/// The client as the author of what it publishes.
pub(super) fn author(who: &Who) -> Author {
    Author {
        client_id: who.client_id.clone(),
        username: who.username.clone(),
        groups: Arc::clone(&who.groups),
        grants: who.grants.clone(),
        tokens: Arc::clone(&who.tokens),
        address: who.address.map(|peer| peer.ip()),
        listener: Some(who.listener),
    }
}

fn malformed(error: codec::DecodeError) -> End {
    End::Protocol(error.into())
}
