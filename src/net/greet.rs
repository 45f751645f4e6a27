//! From an accepted socket to CONNACK: TLS, the CONNECT packet, authentication, the session.
//!
//! All of it under one absolute deadline, so that trickled bytes buy no time. When it is done the
//! connection becomes a task of its own, and what this one needed is freed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::auth::{Begun, CertificateIdentity, Credentials, Provider, Secret, Verdict};
use crate::broker::{Claimed, Effects, Keep, Owner, Session, Signal};
use crate::codec::{self, DecodeError, Packet, ReasonCode};
use crate::message::{Groups, Tokens};
use crate::policy::{Client, Denial, DenyReason, Who};
use crate::session::{self, Connection, Opening, SessionState};

use super::claim::Claim;
use super::cores::Placed;
use super::driver::Driver;
use super::identity::{Proof, sent_client_id, settle_client_id};
use super::listener::{ListenerState, Permit};
use super::packets;
use super::publishing::{stored_will, will_message};
use super::random;
use super::refusal::{Addressee, Failure};
use super::report;
use super::serving::{Serving, Start};
use super::tls::{HandshakeFailure, client_identity};
use super::token;
use super::transport::{Socket, Transport};
use super::websocket::{self, UpgradeFailure, WebSocket};
use super::{GreetPlace, Shared};

/// How long a newcomer waits for the connection it takes over from.
const HANDOVER: Duration = Duration::from_secs(5);

/// A connection that was let in by address and numbers.
pub(crate) struct Arrival {
    pub(crate) shared: Arc<Shared>,
    pub(crate) listener: Arc<ListenerState>,
    pub(crate) peer: SocketAddr,
    pub(crate) permit: Permit,
    pub(crate) placed: Placed,
    pub(crate) greeting: GreetPlace,
    pub(crate) accepted_at: Instant,
}

/// Why there is nothing MQTT could go over.
enum NoTransport {
    Tls(HandshakeFailure),
    WebSocket(UpgradeFailure),
}

/// Greets; on success the connection goes on as the [`Driver`] it gives, as a task of its own.
pub(crate) async fn greet(arrival: Arrival, socket: Socket) -> Option<Driver> {
    let deadline = arrival.accepted_at + arrival.listener.connect_timeout;
    let shared = Arc::clone(&arrival.shared);
    let listener = Arc::clone(&arrival.listener);
    let peer = arrival.peer;
    let mut stage = Stage::Tls;
    let work = Greeting { arrival }.run(socket, &mut stage);
    match tokio::time::timeout_at(deadline.into(), work).await {
        Ok(driver) => driver,
        Err(_) => {
            report::greet_timeout(&shared, &listener, peer, stage.label());
            None
        }
    }
}

/// How far a greeting has come, for the report of one that took too long.
#[derive(Clone, Copy)]
pub(crate) enum Stage {
    Tls,
    WebSocket,
    Connect,
    Authentication,
}

impl Stage {
    fn label(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::WebSocket => "websocket",
            Self::Connect => "connect",
            Self::Authentication => "authentication",
        }
    }
}

pub(super) struct Greeting {
    pub(super) arrival: Arrival,
}

impl Greeting {
    async fn run(self, socket: Socket, stage: &mut Stage) -> Option<Driver> {
        let (mut transport, certificate) = match self.transport(socket, stage).await {
            Ok(ready) => ready,
            Err(failure) => {
                let Arrival {
                    shared,
                    listener,
                    peer,
                    ..
                } = &self.arrival;
                match failure {
                    NoTransport::Tls(failure) => {
                        report::tls_failed(shared, listener, *peer, &failure);
                    }
                    NoTransport::WebSocket(failure) => {
                        let (label, statement) = (failure.label(), failure.statement());
                        report::malformed_connect(shared, listener, *peer, label, statement);
                    }
                }
                return None;
            }
        };
        *stage = Stage::Connect;
        let failure = match self.connect(&mut transport, certificate, stage).await {
            Ok(ready) => return self.start(transport, ready),
            Err(failure) => failure,
        };
        self.fail(failure, &mut transport).await;
        None
    }

    async fn transport(
        &self,
        mut socket: Socket,
        stage: &mut Stage,
    ) -> Result<(Transport, Option<CertificateIdentity>), NoTransport> {
        let listener = &self.arrival.listener;
        let Some(config) = &listener.tls else {
            self.upgrade(&mut socket, stage).await?;
            return Ok((self.framed(Transport::plain(socket)), None));
        };
        let mut stream = TlsAcceptor::from(Arc::clone(config))
            .accept(socket)
            .await
            .map_err(|error| NoTransport::Tls(HandshakeFailure::from_io(&error)))?;
        self.upgrade(&mut stream, stage).await?;
        let (socket, tls) = stream.into_inner();
        let certificate = client_identity(&tls);
        Ok((self.framed(Transport::tls(socket, tls)), certificate))
    }

    /// Opens the WebSocket, where the listener has them.
    async fn upgrade(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        stage: &mut Stage,
    ) -> Result<(), NoTransport> {
        let Some(settings) = &self.arrival.listener.websocket else {
            return Ok(());
        };
        *stage = Stage::WebSocket;
        websocket::upgrade(stream, settings)
            .await
            .map_err(NoTransport::WebSocket)
    }

    fn framed(&self, transport: Transport) -> Transport {
        let listener = &self.arrival.listener;
        if listener.websocket.is_none() {
            return transport;
        }
        transport.with_websocket(WebSocket::new(listener.greet_limits.max_packet_bytes))
    }

    async fn connect(
        &self,
        transport: &mut Transport,
        certificate: Option<CertificateIdentity>,
        stage: &mut Stage,
    ) -> Result<Ready, Failure> {
        let listener = &self.arrival.listener;
        let mut buffer = Vec::new();
        let length = packets::read_first(transport, &mut buffer, &listener.greet_limits).await?;
        let rest = buffer.split_off(length);
        let connect =
            codec::decode_connect(&buffer, &listener.greet_limits).map_err(Failure::Malformed)?;
        let to = Addressee {
            version: connect.version,
            maximum_packet_bytes: connect.maximum_packet_size,
        };
        let opening = session::open(&connect, &listener.session, random())
            .map_err(|reason| Failure::RefusedEarly(to, reason))?;
        if let Some(method) = connect.authentication_method {
            if !listener.authenticator.offers(method) {
                return Err(Failure::RefusedEarly(to, DenyReason::BadAuthMethod));
            }
            *stage = Stage::Authentication;
            let data = connect.authentication_data.map(Vec::from);
            return self
                .exchange(transport, opening, data.as_deref(), certificate, rest)
                .await;
        }
        let credentials = Credentials {
            client_id: sent_client_id(&opening).map(str::to_owned),
            username: connect.username.map(str::to_owned),
            password: connect.password.map(Secret::from),
            certificate,
            address: self.arrival.peer.ip(),
        };
        // The packet held the password; nothing of it is needed any more.
        zeroize::Zeroize::zeroize(&mut buffer);
        *stage = Stage::Authentication;
        self.identify(opening, credentials, rest).await
    }

    /// Enhanced authentication: AUTH goes to and fro until the client has proved who it is.
    async fn exchange(
        &self,
        transport: &mut Transport,
        mut opening: Opening,
        data: Option<&[u8]>,
        certificate: Option<CertificateIdentity>,
        rest: Vec<u8>,
    ) -> Result<Ready, Failure> {
        let listener = &self.arrival.listener;
        let version = opening.version;
        let to = Addressee::from(&opening);
        let Some((method, _)) = &opening.authentication else {
            return Err(Failure::RefusedEarly(to, DenyReason::BadAuthMethod));
        };
        let client_id = sent_client_id(&opening);
        let begun = listener
            .authenticator
            .begin(method, client_id, data, certificate)
            .map_err(|reason| {
                let delay = self.authentication_failed(None, reason);
                Failure::Guessed(Box::new(Failure::RefusedEarly(to, reason)), delay)
            })?;
        let (exchange, answer) = match begun {
            Begun::Challenge(exchange, answer) => {
                self.called(exchange.username(), &opening, "none");
                self.check_user(&opening, exchange.username())?;
                (*exchange, answer)
            }
            Begun::Done(verdict) => return self.judged(opening, None, verdict, rest).await,
        };
        let mut out = Vec::new();
        let reason = ReasonCode::CONTINUE_AUTHENTICATION;
        codec::encode_auth(&mut out, reason, method, Some(&answer));
        if !to.takes(out.len()) {
            return Err(Failure::RefusedEarly(to, DenyReason::AnswerTooLarge));
        }
        packets::send(transport, &out)
            .await
            .map_err(|_| Failure::Gone)?;
        let mut buffer = rest;
        let length = packets::read_packet(transport, &mut buffer, &listener.greet_limits).await?;
        let rest = buffer.split_off(length);
        let packet = codec::decode(&buffer, version, &listener.greet_limits);
        // Until CONNACK a client may send AUTH and DISCONNECT [MQTT-3.1.2-30].
        let auth = match packet.map_err(Failure::Malformed)? {
            Packet::Auth(auth) if auth.method == &**method && auth.reason == reason => auth,
            Packet::Disconnect(_) => return Err(Failure::Gone),
            _ => {
                let error = DecodeError::unexpected(version);
                return Err(Failure::Malformed(error));
            }
        };
        let claimed = Some(Arc::clone(exchange.username()));
        let verdict = match listener.authenticator.finish(exchange, auth.data) {
            Ok((verdict, answer)) => {
                opening.authentication = Some((method.clone(), answer));
                verdict
            }
            Err(reason) => Verdict::Reject(reason),
        };
        self.judged(opening, claimed, verdict, rest).await
    }

    async fn identify(
        &self,
        opening: Opening,
        credentials: Credentials,
        rest: Vec<u8>,
    ) -> Result<Ready, Failure> {
        let claimed: Option<Arc<str>> = credentials.username.as_deref().map(Arc::from);
        let authenticator = &self.arrival.listener.authenticator;
        if let Some(username) = &claimed {
            self.called(username, &opening, "none");
        }
        // Before a password is looked at. Where the certificate alone says who it is, the name says
        // nothing.
        if let Some(username) = &claimed
            && (credentials.certificate.is_none() || authenticator.asks(Provider::Password))
        {
            self.check_user(&opening, username)?;
        }
        let verdict = authenticator.authenticate(credentials).await;
        self.judged(opening, claimed, verdict, rest).await
    }

    /// What follows from the verdict.
    async fn judged(
        &self,
        mut opening: Opening,
        claimed_name: Option<Arc<str>>,
        verdict: Verdict,
        rest: Vec<u8>,
    ) -> Result<Ready, Failure> {
        let Arrival {
            shared,
            listener,
            peer,
            ..
        } = &self.arrival;
        let to = Addressee::from(&opening);
        let (username, method, proof) = match verdict {
            Verdict::Accept {
                username,
                method,
                proof,
            } => (username, method, proof),
            Verdict::Reject(reason) => {
                let delay = self.authentication_failed(claimed_name.as_deref(), reason);
                let who = self.who(claimed_name, &opening, "none");
                // Who comes too early or too late is no guesser.
                if !matches!(
                    reason,
                    DenyReason::AuthBusy | DenyReason::AuthUnavailable | DenyReason::TokenExpired
                ) {
                    self.connecting(&who, &opening, false);
                }
                let refused = Failure::Refused(to, Box::new(who), Denial::new(reason));
                return Err(Failure::Guessed(Box::new(refused), delay));
            }
        };
        let (claimed, proved) = (claimed_name.as_deref(), username.as_deref());
        if let Some(username) = &username
            && claimed != proved
        {
            self.called(username, &opening, method);
        }
        shared
            .sentry
            .authenticated(peer.ip(), claimed, proved, method);
        let sent = self.who(username.clone(), &opening, method);
        self.connecting(&sent, &opening, true);
        if let Err(reason) = settle_client_id(&mut opening, listener, username.as_deref(), &proof) {
            let who = self.who(username, &opening, method);
            return Err(Failure::Refused(to, Box::new(who), Denial::new(reason)));
        }
        opening.identified(username.as_deref(), None, &listener.session);
        let who = Who {
            groups: listener.authenticator.groups(&proof),
            grants: proof.grants().cloned(),
            ..self.who(username, &opening, method)
        };
        self.open_session(opening, who, proof, rest).await
    }

    fn who(&self, username: Option<Arc<str>>, opening: &Opening, method: &'static str) -> Who {
        let Arrival { listener, peer, .. } = &self.arrival;
        Who {
            client_id: opening.client_id.clone(),
            username,
            groups: Groups::default(),
            grants: None,
            tokens: Tokens::default(),
            address: Some(*peer),
            listener: listener.id,
            listener_name: Arc::clone(&listener.name),
            protocol: opening.version,
            method,
        }
    }

    /// Client Identifiers that we made up tell nothing.
    fn connecting(&self, who: &Who, opening: &Opening, accepted: bool) {
        if sent_client_id(opening).is_some() {
            self.arrival.shared.sentry.connecting(who, accepted);
        }
    }

    /// A canary is told before anything is known of its credential.
    fn called(&self, username: &Arc<str>, opening: &Opening, method: &'static str) {
        let who = || self.who(Some(Arc::clone(username)), opening, method);
        self.arrival.shared.sentry.called(username, who);
    }

    /// Refuses a user that is banned from this address.
    fn check_user(&self, opening: &Opening, username: &Arc<str>) -> Result<(), Failure> {
        let Arrival { shared, peer, .. } = &self.arrival;
        let bans = &shared.sentry.bans;
        if !bans.is_user_banned(peer.ip(), username, super::now()) {
            return Ok(());
        }
        let who = self.who(Some(Arc::clone(username)), opening, "none");
        let denial = Denial::new(DenyReason::Banned);
        Err(Failure::Refused(opening.into(), Box::new(who), denial))
    }

    /// Counts a failure; how long its answer is to wait.
    fn authentication_failed(&self, user: Option<&str>, reason: DenyReason) -> Duration {
        let Arrival { shared, peer, .. } = &self.arrival;
        shared.sentry.authentication_failed(peer.ip(), user, reason)
    }

    async fn open_session(
        &self,
        mut opening: Opening,
        who: Who,
        proof: crate::auth::Proof,
        rest: Vec<u8>,
    ) -> Result<Ready, Failure> {
        let shared = &self.arrival.shared;
        let listener = &self.arrival.listener;
        let to = Addressee::from(&opening);
        let gate = shared.broker.gate();
        let refused = |who: &Who, denial| Failure::Refused(to, Box::new(who.clone()), denial);
        // Only who has proved to be a client is told where the others have gone.
        if let Some(drain) = shared.drain() {
            return Err(refused(&who, Denial::new(drain.reason)));
        }
        let mut client = Box::new(gate.client(who, shared.budget()));
        if let Some(will) = &opening.will {
            let author = Arc::new(super::serving::author(client.who()));
            let now = super::now();
            let Some(message) = will_message(will, &listener.mount_point, &author, now) else {
                return Err(refused(client.who(), Denial::new(DenyReason::WillRefused)));
            };
            if let Err(denial) = gate.check_will(&mut client, message.topic.as_str(), message.qos) {
                return Err(refused(client.who(), denial));
            }
            if let Some(topic) = &will.response_topic
                && listener.session.response_topic_guard
            {
                let topic = format!("{}{topic}", listener.mount_point);
                if let Err(denial) = gate.response_topic(&mut client, &topic) {
                    return Err(refused(client.who(), denial));
                }
            }
        }
        if !opening.can_be_answered(&listener.session) {
            let denial = Denial::new(DenyReason::AnswerTooLarge);
            return Err(refused(client.who(), denial));
        }
        let owner = Owner {
            username: client.who().username.clone(),
        };
        let (session, mut state, present) = match self.claim(&opening, &owner, client.who()).await {
            Ok(claimed) => claimed,
            Err(reason) => return Err(refused(client.who(), Denial::new(reason))),
        };
        if let Some(token) = token::of(
            &mut state,
            &mut client,
            &listener.session,
            &listener.mount_point,
        ) {
            let username = client.who().username.as_deref();
            opening.identified(username, Some(&token), &listener.session);
        }
        let mut claim = Claim {
            shared: Arc::clone(shared),
            session,
            state: Some(state),
        };
        if let Err(reason) = self.keep(&opening, &client, &mut claim).await {
            return Err(refused(client.who(), Denial::new(reason)));
        }
        Ok(Ready {
            opening,
            claim,
            present,
            client,
            proof,
            rest,
        })
    }

    async fn claim(
        &self,
        opening: &Opening,
        owner: &Owner,
        who: &Who,
    ) -> Result<(Arc<Session>, Box<SessionState>, bool), DenyReason> {
        let shared = &self.arrival.shared;
        let mut effects = Effects::default();
        let claimed = shared.broker.claim(
            &opening.client_id,
            owner,
            opening.clean_start,
            super::now(),
            &mut effects,
        );
        shared.finish(&mut effects);
        let claimed = match claimed {
            Claimed::Wait { session, handover } => {
                report::taken_over(shared, &opening.client_id);
                shared.sentry.takeover(who, true);
                match tokio::time::timeout(HANDOVER, handover).await {
                    Ok(Ok(handover)) => crate::broker::Broker::handed_over(session, handover),
                    // A later newcomer was faster, or the predecessor does not answer.
                    _ => return Err(DenyReason::MaxConnections),
                }
            }
            claimed => claimed,
        };
        match claimed {
            Claimed::Granted {
                session,
                state,
                present,
            } => Ok((session, state, present)),
            Claimed::Refused(reason) => {
                if reason == DenyReason::SessionOwner {
                    shared.sentry.takeover(who, false);
                }
                Err(reason)
            }
            Claimed::Wait { .. } => Err(DenyReason::MaxConnections),
        }
    }

    /// Has the store keep the session and the will, and reads back what the session had on its way. What
    /// CONNACK says is true when this is over.
    async fn keep(
        &self,
        opening: &Opening,
        client: &Client,
        claim: &mut Claim,
    ) -> Result<(), DenyReason> {
        let Arrival {
            shared, listener, ..
        } = &self.arrival;
        let Some(state) = claim.state.as_deref_mut() else {
            return Ok(());
        };
        let author = || Arc::new(super::serving::author(client.who()));
        let will = opening.will.as_ref();
        let keep = Keep {
            expiry_interval_s: opening.session_expiry_s,
            overflow: listener.queue_overflow,
            will: will.and_then(|will| stored_will(will, &listener.mount_point, &author())),
        };
        let mut effects = Effects::default();
        let broker = &shared.broker;
        broker.keep(&claim.session, state, keep, &mut effects)?;
        if let Some(ticket) = broker.submit(&mut effects, true) {
            shared.cores.wait_for_commit(ticket).await;
        }
        super::keeping::read_inflight(shared, state).await
    }

    /// Writes CONNACK and lets the connection live.
    fn start(self, mut transport: Transport, ready: Ready) -> Option<Driver> {
        let Arrival {
            shared,
            listener,
            permit,
            placed,
            greeting,
            ..
        } = self.arrival;
        drop(greeting);
        transport.set_message_limit(listener.codec_limits.max_packet_bytes);
        let now = super::now();
        let Ready {
            opening,
            mut claim,
            present,
            client,
            proof,
            rest,
        } = ready;
        let state = claim.state.take()?;
        let session = Arc::clone(&claim.session);
        shared.broker.connected(&session);
        // Rights and users may have changed since the session was made, and while this client was
        // let in: its first turn looks before anything is delivered.
        session.signal(Signal::Recheck);
        report::connected(&shared, client.who(), &opening, present);
        let mut first = Vec::with_capacity(64);
        let connection = Connection::accept(
            opening,
            *state,
            present,
            &listener.session,
            &listener.mount_point,
            now,
            &mut first,
        );
        let serving = Box::new(Serving::new(
            Start {
                shared: Arc::clone(&shared),
                listener,
                connection,
                client,
                partial: rest,
                first,
                proof: Proof { verdict: proof },
                permit,
            },
            now,
        ));
        Some(Driver::new(shared, transport, session, serving, placed))
    }
}

/// A client that may come in.
struct Ready {
    opening: Opening,
    claim: Claim,
    present: bool,
    client: Box<Client>,
    proof: crate::auth::Proof,
    rest: Vec<u8>,
}
