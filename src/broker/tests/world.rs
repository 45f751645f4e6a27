//! A broker, its clock, and clients that do what the network's floor does for them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::broker::{
    Broker, Claimed, Effects, Fanout, Handover, LastTopic, MatchCache, Owner, Rechecked, Session,
    Settings,
};
use crate::codec::{self, Limits, QoS, Version};
use crate::message::{
    Author, ClientId, Delivery, Message, RetainHandling, Submitted, Subscription,
};
use crate::policy::acl::AclFile;
use crate::policy::{
    BudgetSettings, Client, Decision, Denial, DenyReason, Gate, Observer, Policy, Request,
    SubscribeGuard, Who,
};
use crate::session::tests::wire::{self, Connect};
use crate::session::{Connection, SessionState, Step, open};
use crate::topic::{SubscriptionFilter, TopicName};

pub(super) const Q0: QoS = QoS::AtMostOnce;
pub(super) const Q1: QoS = QoS::AtLeastOnce;
pub(super) const Q2: QoS = QoS::ExactlyOnce;

/// Refusals, as `action topic reason`.
#[derive(Default)]
pub(super) struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn denied(&self, request: &Request<'_>, denial: &Denial) {
        self.0.lock().push(format!(
            "{} {} {}",
            request.action.label(),
            request.topic,
            denial.reason.label()
        ));
    }
    fn would_deny(&self, _: &Request<'_>, _: &Denial) {}
}

/// A policy for one listener, or for several with a file each; no file allows everything.
pub(super) fn policy(acls: &[Option<&str>], guard: SubscribeGuard) -> Policy {
    let acls = acls
        .iter()
        .map(|text| text.map(|text| Arc::new(AclFile::parse("acl", text).expect("valid ACL"))))
        .collect();
    Policy::new(acls, guard, 200)
}

/// How a client connects.
#[derive(Clone, Debug)]
pub(super) struct Hello {
    pub(super) connect: Connect,
    pub(super) user: Option<&'static str>,
    pub(super) listener: u16,
    pub(super) mount_point: &'static str,
    pub(super) session: crate::session::Settings,
}

impl Hello {
    /// A user called as its client, whose session is kept for an hour.
    pub(super) fn kept(id: &'static str) -> Self {
        Self::with(id, Connect::new(id).resume().expiry(3_600))
    }

    /// The same, with a session that ends with its connection.
    pub(super) fn clean(id: &'static str) -> Self {
        Self::with(id, Connect::new(id))
    }

    pub(super) fn with(user: &'static str, connect: Connect) -> Self {
        Self {
            connect,
            user: Some(user),
            listener: 0,
            mount_point: "",
            session: crate::session::Settings::default(),
        }
    }

    pub(super) fn user(mut self, user: &'static str) -> Self {
        self.user = Some(user);
        self
    }

    pub(super) fn clean_start(mut self) -> Self {
        self.connect.clean = true;
        self
    }

    pub(super) fn listener(mut self, listener: u16) -> Self {
        self.listener = listener;
        self
    }

    fn owner(&self) -> Owner {
        Owner {
            username: self.user.map(Arc::from),
        }
    }
}

/// The broker and what surrounds it.
pub(super) struct World {
    pub(super) broker: Broker,
    pub(super) now: Instant,
    told: Arc<Told>,
    cache: MatchCache,
    pub(super) effects: Effects,
}

/// A client that waits for the session to be handed over.
pub(super) struct Newcomer {
    hello: Hello,
    session: Arc<Session>,
    handover: oneshot::Receiver<Handover>,
}

impl World {
    /// Everything is allowed.
    pub(super) fn open() -> Self {
        Self::new(
            &Settings::default(),
            policy(&[None], SubscribeGuard::Strict),
        )
    }

    #[expect(clippy::needless_pass_by_value, reason = "tests write it in place")]
    pub(super) fn settings(settings: Settings) -> Self {
        Self::new(&settings, policy(&[None], SubscribeGuard::Strict))
    }

    pub(super) fn new(settings: &Settings, policy: Policy) -> Self {
        let told = Arc::new(Told::default());
        let gate = Gate::new(policy, Arc::clone(&told) as Arc<dyn Observer>);
        Self {
            broker: Broker::new(settings, Arc::new(gate)),
            now: Instant::now(),
            told,
            cache: MatchCache::default(),
            effects: Effects::default(),
        }
    }

    pub(super) fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.told.0.lock())
    }

    /// Time passes, and what is due is done.
    pub(super) fn wait(&mut self, seconds: u64) -> usize {
        self.now += Duration::from_secs(seconds);
        self.broker.tick(self.now, &mut self.effects)
    }

    fn claim(&mut self, hello: &Hello) -> Claimed {
        let id = ClientId::new(&hello.connect.id);
        let clean = hello.connect.clean;
        self.broker
            .claim(&id, &hello.owner(), clean, self.now, &mut self.effects)
    }

    pub(super) fn connect(&mut self, hello: &Hello) -> Peer {
        match self.claim(hello) {
            Claimed::Granted {
                session,
                state,
                present,
            } => self.start(hello, session, *state, present),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn refused(&mut self, hello: &Hello) -> DenyReason {
        match self.claim(hello) {
            Claimed::Refused(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    /// Claims a session that a connection has.
    pub(super) fn ask(&mut self, hello: &Hello) -> Newcomer {
        match self.claim(hello) {
            Claimed::Wait { session, handover } => Newcomer {
                hello: hello.clone(),
                session,
                handover,
            },
            other => panic!("{other:?}"),
        }
    }

    /// What the newcomer waits for has come; `None` if another was faster.
    pub(super) fn receive(&mut self, newcomer: Newcomer) -> Option<Peer> {
        let Newcomer {
            hello,
            session,
            mut handover,
        } = newcomer;
        match Broker::handed_over(session, handover.try_recv().ok()?) {
            Claimed::Granted {
                session,
                state,
                present,
            } => Some(self.start(&hello, session, *state, present)),
            other => panic!("{other:?}"),
        }
    }

    /// `hello` takes over from a connection that ends for it.
    pub(super) fn take_over(&mut self, hello: &Hello, from: Peer) -> Peer {
        let newcomer = self.ask(hello);
        self.disconnect(from);
        self.receive(newcomer).expect("handed over")
    }

    fn start(
        &mut self,
        hello: &Hello,
        session: Arc<Session>,
        state: SessionState,
        present: bool,
    ) -> Peer {
        let bytes = hello.connect.bytes();
        let packet = codec::decode_connect(&bytes, &Limits::default()).expect("a valid CONNECT");
        let opening = open(&packet, &hello.session, [7; 16]).expect("accepted");
        let who = Who {
            groups: Arc::default(),
            tokens: Arc::default(),
            grants: None,
            client_id: opening.client_id.clone(),
            username: hello.user.map(Arc::from),
            address: None,
            listener: hello.listener,
            listener_name: "test".into(),
            protocol: opening.version,
            method: "password",
        };
        let author = Arc::new(Author {
            groups: Arc::default(),
            tokens: Arc::default(),
            grants: None,
            address: None,
            client_id: opening.client_id.clone(),
            username: who.username.clone(),
            listener: Some(hello.listener),
        });
        let client = Box::new(self.broker.gate().client(who, BudgetSettings::default()));
        self.broker.connected(&session);
        session.mailbox.attach(Waker::noop().clone());
        let mut out = Vec::new();
        let connection = Connection::accept(
            opening,
            state,
            present,
            &hello.session,
            hello.mount_point,
            self.now,
            &mut out,
        );
        let v5 = connection.version() == Version::V5;
        let mut peer = Peer {
            present,
            connack: wire::lines(&out, v5).remove(0),
            mount_point: hello.mount_point,
            session,
            connection,
            client,
            author,
            rechecked: None,
            last: LastTopic::default(),
            replay: VecDeque::new(),
        };
        self.recheck(&mut peer);
        peer
    }

    /// Holds a session against the rights of its client, as each connection does when it begins
    /// and when the policy has changed.
    pub(super) fn recheck(&mut self, peer: &mut Peer) {
        let state = peer.connection.session_mut();
        let rechecked = self.broker.recheck(
            &peer.session,
            state,
            &mut peer.client,
            peer.mount_point,
            self.now,
            &mut self.effects,
        );
        peer.rechecked = Some(rechecked);
    }

    /// The connection ends without a will.
    pub(super) fn disconnect(&mut self, peer: Peer) {
        self.leave(peer, None);
    }

    /// The connection ends and leaves a will, with its delay in seconds.
    pub(super) fn leave_with(&mut self, peer: Peer, will: (Message, u64)) {
        self.leave(peer, Some(will));
    }

    fn leave(&mut self, peer: Peer, will: Option<(Message, u64)>) {
        let (mut state, _) = peer.connection.into_session();
        for delivery in peer.replay {
            self.broker
                .keep_unsent(&peer.session, &mut state, delivery, &mut self.effects);
        }
        let will = will.map(|(message, delay)| (message, peer.client, Duration::from_secs(delay)));
        self.broker.release(
            &peer.session,
            state,
            will,
            true,
            self.now,
            &mut self.effects,
        );
    }

    pub(super) fn subscribe(&mut self, peer: &mut Peer, subscription: Subscription) -> bool {
        let text = subscription.filter.to_string();
        let gate = Arc::clone(self.broker.gate());
        let Decision::Admit(admitted) = gate.subscribe(&mut peer.client, subscription, self.now)
        else {
            return false;
        };
        let state = peer.connection.session_mut();
        let done = self
            .broker
            .subscribe(&peer.session, state, admitted, &mut self.effects);
        if done.wants_retained
            && let Some(made) = state.subscriptions.get(&*text)
        {
            let retained = self.broker.retained_for(made, &peer.session, self.now);
            peer.replay.extend(retained);
        }
        true
    }

    pub(super) fn unsubscribe(&mut self, peer: &mut Peer, filter: &str) -> bool {
        let state = peer.connection.session_mut();
        self.broker
            .unsubscribe(&peer.session, state, filter, &mut self.effects)
    }

    /// Publishes as `peer`; what the gate refuses goes nowhere.
    pub(super) fn publish(&mut self, peer: &mut Peer, message: Message) -> Fanout {
        let message = Message {
            author: Arc::clone(&peer.author),
            ..message
        };
        let gate = Arc::clone(self.broker.gate());
        match gate.publish(&mut peer.client, message, self.now) {
            Decision::Admit(admitted) => self.broker.publish(
                admitted,
                &mut peer.last,
                &mut self.cache,
                self.now,
                &mut self.effects,
            ),
            _ => Fanout::default(),
        }
    }

    /// Everything the client is sent now, one line a packet; it acknowledges nothing.
    pub(super) fn received(&mut self, peer: &mut Peer) -> Vec<String> {
        let mut out = Vec::new();
        let gate = self.broker.gate();
        let (client, now) = (&mut peer.client, self.now);
        peer.connection.pump(now, &mut out, usize::MAX, |delivery| {
            gate.deliver(client, delivery)
        });
        let mut queue = std::mem::take(&mut peer.replay);
        peer.session
            .mailbox
            .take(&mut queue, peer.connection.held());
        for delivery in queue {
            if let Some(delivery) = gate.deliver(client, delivery) {
                peer.connection.deliver(delivery, now, &mut out);
            }
        }
        wire::lines(&out, peer.connection.version() == Version::V5)
    }

    /// Everything the client is sent while it acknowledges each message of QoS 1, as payloads.
    pub(super) fn payloads(&mut self, peer: &mut Peer) -> Vec<String> {
        let mut payloads = Vec::new();
        loop {
            let lines = self.received(peer);
            if lines.is_empty() {
                return payloads;
            }
            for line in lines {
                let payload = line.rsplit(' ').next().expect("a payload");
                payloads.push(payload.to_owned());
                if let Some((_, rest)) = line.split_once(" q1 #") {
                    let id = rest.split(' ').next().expect("an identifier");
                    self.acknowledge(peer, wire::PUBACK, id.parse().expect("a number"));
                }
            }
        }
    }

    pub(super) fn acknowledge(&mut self, peer: &mut Peer, kind: u8, id: u16) {
        self.acknowledge_with(peer, kind, id, None);
    }

    pub(super) fn acknowledge_with(
        &mut self,
        peer: &mut Peer,
        kind: u8,
        id: u16,
        reason: Option<u8>,
    ) {
        let bytes = wire::ack(kind, id, reason);
        let version = peer.connection.version();
        let packet = codec::decode(&bytes, version, &Limits::default()).expect("valid");
        let mut out = Vec::new();
        let step = peer.connection.handle(packet, self.now, &mut out);
        assert!(matches!(step, Ok(Step::WindowOpened | Step::Continue)));
    }
}

/// A connected client.
pub(super) struct Peer {
    pub(super) present: bool,
    pub(super) connack: String,
    mount_point: &'static str,
    pub(super) session: Arc<Session>,
    pub(super) connection: Connection,
    pub(super) client: Box<Client>,
    pub(super) author: Arc<Author>,
    /// What it lost when its session was held against its rights last.
    pub(super) rechecked: Option<Rechecked>,
    last: LastTopic,
    replay: VecDeque<Delivery>,
}

/// A message of QoS 0.
pub(super) fn message(topic: &str, payload: &str) -> Message {
    Message {
        topic: TopicName::parse(topic).expect("a valid topic"),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        properties: Box::default(),
        qos: Q0,
        retain: false,
        expires_at: None,
        author: Arc::new(Author {
            groups: Arc::default(),
            tokens: Arc::default(),
            grants: None,
            address: None,
            client_id: ClientId::new("nobody"),
            username: None,
            listener: None,
        }),
        submitted: Submitted::default(),
    }
}

pub(super) fn with_qos(qos: QoS, topic: &str, payload: &str) -> Message {
    Message {
        qos,
        ..message(topic, payload)
    }
}

pub(super) fn retained(topic: &str, payload: &str) -> Message {
    Message {
        retain: true,
        qos: Q1,
        ..message(topic, payload)
    }
}

/// A subscription with nothing but its filter and QoS.
pub(super) fn to(filter: &str, qos: QoS) -> Subscription {
    Subscription {
        filter: SubscriptionFilter::parse(filter).expect("a valid filter"),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
        identifier: None,
    }
}
