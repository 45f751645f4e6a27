//! A broker with its clock, and connections that do without sockets what the network's floor does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use portcullis::broker::{
    Broker, Claimed, Effects, LastTopic, MatchCache, Owner, QueueLimits, RetainLimits, Session,
};
use portcullis::codec::{
    self, Connack, Limits, QoS, ReasonCode, Subscribe, SubscribeFilter, Unsubscribe, Version,
};
use portcullis::message::{
    Author, ClientId, Delivery, Message, RetainHandling, Submitted, Subscription,
};
use portcullis::policy::{
    BudgetSettings, Client, Decision, Denial, Gate, Observer, Policy, Request, SubscribeGuard, Who,
};
use portcullis::session::{
    self, Connection, Goodbye, Incoming, Opening, ProtocolError, SessionState, Settings, Step, Will,
};
use portcullis::topic::{SubscriptionFilter, TopicName};

/// What clients may send here.
pub(super) const LIMITS: Limits = Limits {
    max_packet_bytes: 4_096,
    max_user_properties: 8,
};

struct Silent;

impl Observer for Silent {
    fn denied(&self, _: &Request<'_>, _: &Denial) {}
    fn would_deny(&self, _: &Request<'_>, _: &Denial) {}
}

/// See the module.
pub(super) struct World {
    pub(super) broker: Broker,
    pub(super) settings: Settings,
    pub(super) max_subscriptions: usize,
    pub(super) now: Instant,
    cache: MatchCache,
    effects: Effects,
}

/// An accepted connection.
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) session: Arc<Session>,
    client: Box<Client>,
    author: Arc<Author>,
    last: LastTopic,
    /// Subscriptions whose retained messages are owed, and those of one of them.
    replay: VecDeque<Box<str>>,
    due: VecDeque<Delivery>,
    queue: VecDeque<Delivery>,
    partial: Vec<u8>,
    /// Packets of what the client wrote last that were taken.
    pub(super) taken: usize,
    /// What was sent and not looked at.
    out: Vec<u8>,
}

/// How a connection ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client has said goodbye.
    Left,
    /// It has broken the protocol.
    Broke(ReasonCode),
}

impl From<ProtocolError> for End {
    fn from(error: ProtocolError) -> Self {
        Self::Broke(error.reason)
    }
}

impl World {
    pub(super) fn new(queue: QueueLimits, retain: RetainLimits, settings: Settings) -> Self {
        let policy = Policy::new(vec![None], SubscribeGuard::Strict, 200);
        let gate = Arc::new(Gate::new(policy, Arc::new(Silent)));
        let bounds = portcullis::broker::Settings {
            queue,
            retain,
            ..Default::default()
        };
        Self {
            broker: Broker::new(&bounds, gate),
            settings,
            max_subscriptions: 16,
            now: Instant::now(),
            cache: MatchCache::default(),
            effects: Effects::default(),
        }
    }

    /// Time passes, and what is due is done.
    pub(super) fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.broker.tick(self.now, &mut self.effects);
        self.broker.expire_retained(self.now, &mut self.effects);
        self.effects.drain().for_each(drop);
    }

    /// Takes the CONNECT that `bytes` are.
    ///
    /// # Errors
    /// What a client that is refused is sent.
    pub(super) fn connect(&mut self, bytes: &[u8]) -> Result<Link, Vec<u8>> {
        self.connect_over(bytes, None).0
    }

    /// The same, while the client has a connection: that ends, and gives what it was sent last.
    pub(super) fn connect_over(
        &mut self,
        bytes: &[u8],
        old: Option<Link>,
    ) -> (Result<Link, Vec<u8>>, Vec<u8>) {
        let mut left = Vec::new();
        let link = self.greet(bytes, old, &mut left);
        (link, left)
    }

    fn greet(
        &mut self,
        bytes: &[u8],
        old: Option<Link>,
        left: &mut Vec<u8>,
    ) -> Result<Link, Vec<u8>> {
        let mut out = Vec::new();
        let connect = match codec::decode_connect(bytes, &LIMITS) {
            Ok(connect) => connect,
            Err(error) => {
                codec::encode_connect_refusal(&mut out, &error);
                return Err(out);
            }
        };
        let version = connect.version;
        let mut refuse = |reason| {
            let mut out = std::mem::take(&mut out);
            codec::encode_connack(&mut out, version, &Connack::new(reason));
            if u32::try_from(out.len()).unwrap() > connect.maximum_packet_size {
                out.clear(); // [MQTT-3.1.2-24]
            }
            out
        };
        let opening = session::open(&connect, &self.settings, [7; 16])
            .map_err(|reason| refuse(reason.reason_code()))?;
        if !opening.can_be_answered(&self.settings) {
            return Err(refuse(ReasonCode::PACKET_TOO_LARGE));
        }
        match self.claim(&opening, old, left) {
            Claimed::Granted {
                session,
                state,
                present,
            } => Ok(self.start(opening, session, *state, present)),
            Claimed::Refused(reason) => Err(refuse(reason.reason_code())),
            Claimed::Wait { .. } => panic!("nobody else has it"),
        }
    }

    fn claim(&mut self, opening: &Opening, old: Option<Link>, left: &mut Vec<u8>) -> Claimed {
        let claimed = self.broker.claim(
            &opening.client_id,
            &Owner { username: None },
            opening.clean_start,
            self.now,
            &mut self.effects,
        );
        let Claimed::Wait {
            session,
            mut handover,
        } = claimed
        else {
            return claimed;
        };
        let old = old.expect("a connection that is told so");
        *left = self.end(old, &End::Broke(ReasonCode::SESSION_TAKEN_OVER));
        Broker::handed_over(session, handover.try_recv().expect("handed over"))
    }

    fn start(
        &mut self,
        opening: Opening,
        session: Arc<Session>,
        state: SessionState,
        present: bool,
    ) -> Link {
        let who = Who {
            groups: Arc::default(),
            tokens: Arc::default(),
            grants: None,
            client_id: opening.client_id.clone(),
            username: None,
            address: None,
            listener: 0,
            listener_name: "fuzz".into(),
            protocol: opening.version,
            method: "anonymous",
        };
        let author = Arc::new(Author {
            groups: Arc::default(),
            tokens: Arc::default(),
            grants: None,
            address: None,
            client_id: opening.client_id.clone(),
            username: None,
            listener: Some(0),
        });
        let client = self.broker.gate().client(who, BudgetSettings::default());
        self.broker.connected(&session);
        session.mailbox.attach(Waker::noop().clone());
        let mut out = Vec::new();
        let connection = Connection::accept(
            opening,
            state,
            present,
            &self.settings,
            "",
            self.now,
            &mut out,
        );
        let mut link = Link {
            connection,
            session,
            client: Box::new(client),
            author,
            last: LastTopic::default(),
            replay: VecDeque::new(),
            due: VecDeque::new(),
            queue: VecDeque::new(),
            partial: Vec::new(),
            taken: 0,
            out,
        };
        let (state, client) = (link.connection.session_mut(), &mut link.client);
        self.broker.recheck(
            &link.session,
            state,
            client,
            "",
            self.now,
            &mut self.effects,
        );
        link
    }

    /// The client writes `bytes`, and the connection has a turn.
    ///
    /// # Errors
    /// The connection is over: [`World::end`] is to be called.
    pub(super) fn feed(&mut self, link: &mut Link, bytes: &[u8]) -> Result<(), End> {
        let mut input = std::mem::take(&mut link.partial);
        input.extend_from_slice(bytes);
        let version = link.connection.version();
        let mut at = 0;
        link.taken = 0;
        while let Some(length) = codec::frame_length(&input[at..], LIMITS.max_packet_bytes)
            .map_err(ProtocolError::from)?
            && let Some(frame) = input[at..].get(..length)
        {
            at += length;
            let packet = codec::decode(frame, version, &LIMITS).map_err(ProtocolError::from)?;
            let before = link.out.len();
            match link.connection.handle(packet, self.now, &mut link.out) {
                Ok(step) => self.step(link, step)?,
                Err(error) => {
                    // Half an answer to a packet that ends the connection helps nobody.
                    assert_eq!(link.out.len(), before, "{error}");
                    return Err(error.into());
                }
            }
            link.taken += 1;
        }
        link.partial = input.split_off(at);
        self.turn(link);
        Ok(())
    }

    fn step(&mut self, link: &mut Link, step: Step<'_>) -> Result<(), End> {
        match step {
            Step::Continue | Step::WindowOpened => Ok(()),
            Step::Publish(incoming) => {
                self.publish(link, &incoming);
                Ok(())
            }
            Step::Subscribe(subscribe) => self.subscribe(link, &subscribe),
            Step::Unsubscribe(unsubscribe) => self.unsubscribe(link, &unsubscribe),
            // Done at the second message, as SCRAM is.
            Step::Authenticate { begins, data } => {
                let answer = data.unwrap_or_default().to_vec();
                let connection = &mut link.connection;
                connection.authenticated(!begins, &answer, &mut link.out)?;
                Ok(())
            }
            Step::Disconnect { .. } => Err(End::Left),
        }
    }

    fn publish(&mut self, link: &mut Link, incoming: &Incoming<'_>) {
        let publish = &incoming.publish;
        let mut properties = Vec::new();
        publish.properties.copy_forwardable(&mut properties);
        let message = Message {
            topic: TopicName::parse(incoming.topic.as_str()).expect("the decoder has checked it"),
            payload: Bytes::copy_from_slice(publish.payload),
            properties: properties.into_boxed_slice(),
            qos: publish.qos,
            retain: publish.retain,
            expires_at: publish
                .expiry_interval_s
                .and_then(|seconds| Message::expiry(seconds, self.now)),
            author: Arc::clone(&link.author),
            submitted: Submitted::default(),
        };
        let gate = Arc::clone(self.broker.gate());
        let (reason, text) = match gate.publish(&mut link.client, message, self.now) {
            Decision::Admit(message) => {
                let (last, cache) = (&mut link.last, &mut self.cache);
                let done = self
                    .broker
                    .publish(message, last, cache, self.now, &mut self.effects);
                self.effects.drain().for_each(drop);
                if done.retain_full {
                    (ReasonCode::QUOTA_EXCEEDED, Some("no room"))
                } else {
                    (ReasonCode::SUCCESS, None)
                }
            }
            _ => (ReasonCode::NOT_AUTHORIZED, Some("refused")),
        };
        let (qos, id) = (publish.qos, publish.packet_id);
        link.connection
            .published(qos, id, reason, text, &mut link.out);
    }

    fn subscribe(&mut self, link: &mut Link, packet: &Subscribe<'_>) -> Result<(), End> {
        let mut codes = Vec::new();
        for wanted in packet.filters() {
            let code = self.subscribe_one(link, &wanted, packet.identifier);
            let untold = code.is_error() && link.connection.version() == Version::V31;
            // A client of 3.1 cannot be told.
            codes.push(if untold {
                ReasonCode::granted(wanted.qos)
            } else {
                code
            });
        }
        let text = codes
            .iter()
            .any(|code| code.is_error())
            .then_some("refused");
        let connection = &link.connection;
        connection.subscribed(packet.packet_id, &codes, text, &mut link.out)?;
        Ok(())
    }

    fn subscribe_one(
        &mut self,
        link: &mut Link,
        wanted: &SubscribeFilter<'_>,
        identifier: Option<u32>,
    ) -> ReasonCode {
        let Ok(filter) = SubscriptionFilter::parse(wanted.filter) else {
            return ReasonCode::TOPIC_FILTER_INVALID;
        };
        let text: Box<str> = filter.to_string().into();
        let state = link.connection.session_mut();
        if state.subscriptions.len() >= self.max_subscriptions
            && !state.subscriptions.contains_key(&text)
        {
            return ReasonCode::QUOTA_EXCEEDED;
        }
        let subscription = Subscription {
            filter,
            qos: wanted.qos,
            no_local: wanted.no_local,
            retain_as_published: wanted.retain_as_published,
            retain_handling: match wanted.retain_handling {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                _ => RetainHandling::DoNotSend,
            },
            identifier,
        };
        let gate = self.broker.gate();
        let Decision::Admit(admitted) = gate.subscribe(&mut link.client, subscription, self.now)
        else {
            // The steps of proofs are used up, which virtual time does not give back.
            return ReasonCode::NOT_AUTHORIZED;
        };
        let done = self
            .broker
            .subscribe(&link.session, state, admitted, &mut self.effects);
        if done.wants_retained && !link.replay.contains(&text) {
            link.replay.push_back(text);
        }
        ReasonCode::granted(wanted.qos)
    }

    fn unsubscribe(&mut self, link: &mut Link, packet: &Unsubscribe<'_>) -> Result<(), End> {
        let mut codes = Vec::new();
        for text in packet.filters() {
            let code = match SubscriptionFilter::parse(text) {
                Err(_) => ReasonCode::TOPIC_FILTER_INVALID,
                Ok(filter) => {
                    let state = link.connection.session_mut();
                    let existed = self.broker.unsubscribe(
                        &link.session,
                        state,
                        &filter.to_string(),
                        &mut self.effects,
                    );
                    if existed {
                        ReasonCode::SUCCESS
                    } else {
                        ReasonCode::NO_SUBSCRIPTION_EXISTED
                    }
                }
            };
            codes.push(code);
        }
        let connection = &link.connection;
        connection.unsubscribed(packet.packet_id, &codes, None, &mut link.out)?;
        Ok(())
    }

    /// Sends what waits: what a resumed session owes, retained messages, what came since.
    pub(super) fn turn(&self, link: &mut Link) {
        let (gate, now) = (self.broker.gate(), self.now);
        let client = &mut link.client;
        if link.connection.can_pump() {
            let admit = |delivery| gate.deliver(client, delivery);
            link.connection.pump(now, &mut link.out, usize::MAX, admit);
        }
        while !link.connection.is_window_shut()
            && let Some(delivery) = self.next_retained(link)
        {
            self.deliver(link, delivery);
        }
        if !link.due.is_empty() || !link.replay.is_empty() {
            // Only the client can open its window: until then what comes counts as waiting.
            let held = link.connection.held();
            link.session.mailbox.give_back(&mut link.queue, held);
            return;
        }
        let mut queue = std::mem::take(&mut link.queue);
        link.session
            .mailbox
            .take(&mut queue, link.connection.held());
        for delivery in queue.drain(..) {
            self.deliver(link, delivery);
        }
        link.queue = queue;
        link.session.mailbox.set_held(link.connection.held());
    }

    fn deliver(&self, link: &mut Link, delivery: Delivery) {
        if let Some(delivery) = self.broker.gate().deliver(&mut link.client, delivery) {
            link.connection.deliver(delivery, self.now, &mut link.out);
        }
    }

    fn next_retained(&self, link: &mut Link) -> Option<Delivery> {
        loop {
            if let Some(delivery) = link.due.pop_front() {
                return Some(delivery);
            }
            let text = link.replay.pop_front()?;
            if let Some(made) = link.connection.session().subscriptions.get(&text) {
                link.due = self
                    .broker
                    .retained_for(made, &link.session, self.now)
                    .into();
            }
        }
    }

    /// Ends a connection: the client is told why, if there is something to tell, and nothing after it.
    /// Gives what was sent last.
    pub(super) fn end(&mut self, mut link: Link, end: &End) -> Vec<u8> {
        if let End::Broke(reason) = end {
            let goodbye = Goodbye {
                text: Some("broken"),
                ..Goodbye::new(*reason)
            };
            link.connection.goodbye(&goodbye, &mut link.out);
        }
        let (mut state, will) = link.connection.into_session();
        if state.outlives_connection() {
            for delivery in link.due {
                self.broker
                    .keep_unsent(&link.session, &mut state, delivery, &mut self.effects);
            }
        }
        let will = will.and_then(|will| self.will(&will, link.client, &link.author));
        self.broker.release(
            &link.session,
            state,
            will,
            true,
            self.now,
            &mut self.effects,
        );
        self.effects.drain().for_each(drop);
        link.out
    }

    fn will(
        &self,
        will: &Will,
        client: Box<Client>,
        author: &Arc<Author>,
    ) -> Option<(Message, Box<Client>, Duration)> {
        let message = Message {
            topic: TopicName::parse(&will.topic).ok()?,
            payload: Bytes::copy_from_slice(&will.payload),
            properties: will.properties.clone(),
            qos: will.qos,
            retain: will.retain,
            expires_at: will.expiry_interval_s.and_then(|seconds| {
                Message::expiry(seconds.saturating_add(will.delay_s), self.now)
            }),
            author: Arc::clone(author),
            submitted: Submitted::default(),
        };
        Some((
            message,
            client,
            Duration::from_secs(u64::from(will.delay_s)),
        ))
    }

    /// A message of another client.
    pub(super) fn publish_from_elsewhere(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
    ) {
        let author = Arc::new(Author {
            groups: Arc::default(),
            tokens: Arc::default(),
            grants: None,
            address: None,
            client_id: ClientId::new("elsewhere"),
            username: None,
            listener: Some(0),
        });
        let message = Message {
            topic: TopicName::parse(topic).expect("a valid topic"),
            payload: Bytes::copy_from_slice(payload),
            properties: Box::default(),
            qos,
            retain,
            expires_at: None,
            author,
            submitted: Submitted::default(),
        };
        let admitted = self.broker.gate().own(message);
        let mut last = LastTopic::default();
        self.broker.publish(
            admitted,
            &mut last,
            &mut self.cache,
            self.now,
            &mut self.effects,
        );
        self.effects.drain().for_each(drop);
    }
}

impl Link {
    /// What was sent since this was asked last.
    pub(super) fn sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}
