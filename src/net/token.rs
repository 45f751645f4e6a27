//! Topic tokens of connected clients: drawn at CONNECT, told under `$me/token`, renewed in time.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::broker::Session;
use crate::codec::{QoS, SubscribeFilter};
use crate::message::{Author, ClientId, Delivery, Groups, Message, Submitted, Tokens};
use crate::policy::Client;
use crate::session::{self, SessionState, TOKEN_TOPIC, TopicTokens, Turned};
use crate::topic::TopicName;

use super::cores::Core;
use super::listener::ListenerState;
use super::random;
use super::serving::Serving;

/// Gives the session its tokens, where the listener draws them, and the client the rights that go
/// with them. The one that is to be told.
pub(super) fn of(
    state: &mut SessionState,
    client: &mut Client,
    settings: &session::Settings,
    mount_point: &str,
) -> Option<Arc<str>> {
    let wanted = settings.topic_tokens.as_ref()?;
    let now = super::now();
    let tokens = state
        .tokens
        .get_or_insert_with(|| Box::new(TopicTokens::draw(wanted, random(), now)));
    if tokens.turn(wanted, now, random) == Turned::Renewed && tokens.subscribed.is_some() {
        queue(state, mount_point);
    }
    let tokens = state.tokens.as_ref()?;
    client.set_tokens(tokens.names());
    Some(Arc::clone(tokens.current()))
}

/// Lets the client be told its token, behind whatever waits for it already.
fn queue(state: &mut SessionState, mount_point: &str) {
    let Some(tokens) = &state.tokens else {
        return;
    };
    let Some((qos, identifier)) = tokens.subscribed else {
        return;
    };
    let Ok(topic) = TopicName::parse(&format!("{mount_point}{TOKEN_TOPIC}")) else {
        return;
    };
    let message = Message {
        topic,
        payload: Bytes::copy_from_slice(tokens.current().as_bytes()),
        properties: Box::default(),
        qos,
        retain: true,
        expires_at: None,
        author: Arc::new(Author {
            client_id: ClientId::new(""),
            username: None,
            groups: Groups::default(),
            grants: None,
            tokens: Tokens::default(),
            address: None,
            listener: None,
        }),
        submitted: Submitted::default(),
    };
    state.keep_unsent(Delivery {
        message: Arc::new(message),
        qos,
        retain: true,
        identifiers: identifier.into_iter().collect(),
        seq: 0,
    });
}

impl Serving {
    /// When this client's tokens change by themselves.
    pub(super) fn tokens_due(&self) -> Option<Instant> {
        let tokens = self.connection.session().tokens.as_ref()?;
        tokens.due(self.listener.session.topic_tokens.as_ref()?)
    }

    /// Does what is due about tokens: the client is told a new one, and loses what it had by one that
    /// is over.
    #[cold]
    pub(super) fn turn_tokens(&mut self, session: &Arc<Session>, now: Instant, core: &mut Core) {
        let Some(settings) = self.listener.session.topic_tokens else {
            return;
        };
        let state = self.connection.session_mut();
        let Some(tokens) = &mut state.tokens else {
            // The listener draws them since the last reload.
            let client = &mut self.client;
            let listener = &self.listener;
            of(state, client, &listener.session, &listener.mount_point);
            self.author = Arc::new(super::serving::author(self.client.who()));
            return;
        };
        let turned = tokens.turn(&settings, now, random);
        if turned == Turned::No {
            return;
        }
        let names = tokens.names();
        if turned == Turned::Renewed {
            queue(state, &self.listener.mount_point);
        }
        let state = self.connection.session();
        let broker = &self.shared.broker;
        broker.keep_facts(session, state, &mut core.effects);
        self.client.set_tokens(names);
        self.author = Arc::new(super::serving::author(self.client.who()));
        self.recheck_rights(session, now, core);
    }
}

/// A SUBSCRIBE to the topic where a client is told its token: the QoS that is granted. `None` if it is
/// for another one, or no tokens are drawn here.
pub(super) fn subscribe(
    wanted: &SubscribeFilter<'_>,
    identifier: Option<u32>,
    state: &mut SessionState,
    listener: &ListenerState,
) -> Option<QoS> {
    let settings = &listener.session;
    if wanted.filter != TOKEN_TOPIC || settings.topic_tokens.is_none() {
        return None;
    }
    let qos = wanted.qos.min(settings.max_qos);
    state.tokens.as_mut()?.subscribed = Some((qos, identifier));
    queue(state, &listener.mount_point);
    Some(qos)
}

/// As [`subscribe`], for UNSUBSCRIBE: whether there was such a subscription.
pub(super) fn unsubscribe(filter: &str, state: &mut SessionState) -> Option<bool> {
    if filter != TOKEN_TOPIC {
        return None;
    }
    Some(state.tokens.as_mut()?.subscribed.take().is_some())
}
