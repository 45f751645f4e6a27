//! OAuth 2.0 Token Introspection (RFC 7662): the issuer is asked what a token is worth.
//!
//! Answers are remembered under a keyed hash of the token, never the token; several clients that come
//! with the same one at once are one question.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use hyper::header::HeaderValue;
use parking_lot::Mutex;
use serde_json::Value;
use sha2::Sha256;
use tokio::sync::{Semaphore, mpsc, oneshot};
use zeroize::Zeroizing;

use crate::auth::Secret;
use crate::auth::jwt::{ClaimNames, Claims, JwtProblem, JwtSettings, MAX_TOKEN_BYTES};
use crate::auth::strict_json;
use crate::policy::DenyReason;

use super::Remote;
use super::breaker::Breaker;
use super::https::{Endpoint, FetchError};

/// Longest answer, in bytes.
const MOST_BYTES: usize = 64 << 10;
/// Questions that may be open at once; more wait, and above as many again are refused as busy.
const AT_ONCE: usize = 32;
/// Answers that are remembered.
const MOST_ANSWERS: usize = 10_000;
/// How long a no is remembered, at most.
const NO_FOR: Duration = Duration::from_secs(10);
/// How long a client stays whose token names no end, where no answer is remembered.
const STAY_FOR: Duration = Duration::from_secs(300);
/// Answers that are none, because of what was asked, are told to the operator this often.
const TELL_EACH: Duration = Duration::from_secs(60);

type Fingerprint = [u8; 32];
type Answer = Result<Introspected, DenyReason>;

/// Whom to ask, and how.
pub struct IntrospectionSettings {
    /// `introspection_url` and `introspection_cafile`.
    pub endpoint: Endpoint,
    /// `introspection_client_id`.
    pub client_id: String,
    /// `introspection_client_secret_file` or `_env`.
    pub client_secret: Secret,
    /// `introspection_cache`: how long a yes is remembered, and how long a client stays whose token
    /// names no end.
    pub cache: Duration,
    /// What is asked of the answer: issuer, audience, names of claims. It has no keys.
    pub claims: JwtSettings,
}

/// Who a token is, by its issuer's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introspected {
    /// What the answer says.
    pub claims: Arc<Claims>,
    /// Who said so.
    url: Arc<str>,
    /// The fields that were read.
    names: ClaimNames,
}

struct Job {
    fingerprint: Fingerprint,
    token: Secret,
}

#[derive(Default)]
struct State {
    answers: HashMap<Fingerprint, (Answer, Instant)>,
    /// In the order in which they were made.
    order: VecDeque<Fingerprint>,
    waiting: HashMap<Fingerprint, Vec<oneshot::Sender<Answer>>>,
    breaker: Breaker,
    told: Option<Instant>,
}

/// See the module.
pub struct Introspection {
    settings: IntrospectionSettings,
    url: Arc<str>,
    authorization: HeaderValue,
    key: Zeroizing<[u8; 64]>,
    state: Mutex<State>,
    jobs: mpsc::Sender<Job>,
    /// Until somebody serves it.
    queue: Mutex<Option<mpsc::Receiver<Job>>>,
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Introspection({})", self.url)
    }
}

impl Introspection {
    /// Nobody is asked before [`Introspection::serve`] runs.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(settings: IntrospectionSettings) -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; 64]);
        getrandom::fill(&mut *key)?;
        let (jobs, queue) = mpsc::channel(AT_ONCE);
        // RFC 6749 section 2.3.1: both are encoded as in a form first.
        let mut credential = Zeroizing::new(form_encoded(settings.client_id.as_bytes()));
        credential.push(':');
        let secret = Zeroizing::new(form_encoded(settings.client_secret.expose()));
        credential.push_str(&secret);
        let basic = Zeroizing::new(format!("Basic {}", STANDARD.encode(credential.as_bytes())));
        // Base64 is always a header.
        let mut authorization =
            HeaderValue::from_str(&basic).unwrap_or(HeaderValue::from_static("Basic"));
        authorization.set_sensitive(true);
        Ok(Self {
            url: settings.endpoint.url().into(),
            settings,
            authorization,
            key,
            state: Mutex::new(State::default()),
            jobs,
            queue: Mutex::new(Some(queue)),
        })
    }

    /// Asks, or remembers, who `token` is. `now_s` is seconds since 1970.
    ///
    /// # Errors
    /// It is not active, or there is no answer.
    pub async fn verify(&self, token: Secret, now_s: u64) -> Answer {
        if !may_be_a_token(token.expose()) {
            return Err(DenyReason::TokenMalformed);
        }
        let fingerprint = self.fingerprint(token.expose());
        let answer = match self.ask(fingerprint, token)? {
            Asked::Known(answer) => answer,
            Asked::Waiting(answer) => answer.await.unwrap_or(Err(DenyReason::AuthUnavailable)),
        }?;
        // What was true when it was remembered may be over.
        answer.claims.check(&self.settings.claims, now_s)?;
        Ok(answer)
    }

    /// Whether what was said is still taken, and means the same: the same issuer is asked, the same
    /// fields are read, and they are what is wanted of them.
    pub fn still_takes(&self, known: &Introspected, now_s: u64) -> bool {
        let claims = &self.settings.claims;
        known.url == self.url
            && known.names == claims.names()
            && known.claims.check(claims, now_s).is_ok()
    }

    fn fingerprint(&self, token: &[u8]) -> Fingerprint {
        // Any length of key will do for HMAC.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&*self.key) else {
            return [0; 32];
        };
        mac.update(token);
        mac.finalize().into_bytes().into()
    }

    fn ask(&self, fingerprint: Fingerprint, token: Secret) -> Result<Asked, DenyReason> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if let Some((answer, until)) = state.answers.get(&fingerprint)
            && *until > now
        {
            return Ok(Asked::Known(answer.clone()));
        }
        let (sender, receiver) = oneshot::channel();
        if let Some(waiting) = state.waiting.get_mut(&fingerprint) {
            waiting.push(sender);
            return Ok(Asked::Waiting(receiver));
        }
        if !state.breaker.lets_through(now) {
            return Err(DenyReason::AuthUnavailable);
        }
        if self.jobs.try_send(Job { fingerprint, token }).is_err() {
            return Err(DenyReason::AuthBusy);
        }
        state.waiting.insert(fingerprint, vec![sender]);
        Ok(Asked::Waiting(receiver))
    }

    /// Answers questions until nobody holds it any more. Gives at once if somebody else does.
    pub async fn serve(self: Arc<Self>) {
        let Some(mut queue) = self.queue.lock().take() else {
            return;
        };
        let this = Arc::downgrade(&self);
        drop(self);
        let places = Arc::new(Semaphore::new(AT_ONCE));
        while let Some(job) = queue.recv().await {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let Some(this) = this.upgrade() else {
                return;
            };
            tokio::spawn(async move {
                let answer = this.question(&job.token).await;
                this.answered(job.fingerprint, answer);
                drop(place);
            });
        }
    }

    async fn question(&self, token: &Secret) -> Result<Value, FetchError> {
        let token = Zeroizing::new(form_encoded(token.expose()));
        let form = format!("token={}&token_type_hint=access_token", &*token);
        let form = Bytes::from_owner(Zeroizing::new(form.into_bytes()));
        let endpoint = &self.settings.endpoint;
        let body = endpoint
            .post(form, Some(&self.authorization), MOST_BYTES)
            .await?;
        strict_json::object(&body)
            .map(Value::Object)
            // What is wrong may hold what the answer held.
            .map_err(|_| FetchError::Answer("it is no JSON object".into()))
    }

    fn answered(&self, fingerprint: Fingerprint, answer: Result<Value, FetchError>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let (answer, keep) = match answer {
            Ok(value) => {
                state.breaker.succeeded();
                let answer = self.read(value);
                let keep = match &answer {
                    Ok(_) => Some(self.settings.cache),
                    // That is no answer.
                    Err(DenyReason::AuthUnavailable) => None,
                    Err(_) => Some(NO_FOR.min(self.settings.cache)),
                };
                (answer, keep)
            }
            Err(error) => {
                state.failed(&self.url, &error, now);
                (Err(DenyReason::AuthUnavailable), None)
            }
        };
        if let Some(keep) = keep.filter(|keep| !keep.is_zero()) {
            state.remember(fingerprint, answer.clone(), now + keep);
        }
        for waiting in state.waiting.remove(&fingerprint).into_iter().flatten() {
            // Whoever has gone needs no answer.
            let _ = waiting.send(answer.clone());
        }
    }

    fn read(&self, value: Value) -> Answer {
        let Value::Object(mut object) = value else {
            return Err(DenyReason::AuthUnavailable);
        };
        match object.get("active") {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err(DenyReason::TokenRevoked),
            _ => return Err(DenyReason::AuthUnavailable),
        }
        let now_s = super::super::authenticator::now_s();
        if !object.contains_key("exp") {
            // Who names no end is asked again as soon as the answer would be forgotten.
            let cache = self.settings.cache;
            let stay = if cache.is_zero() { STAY_FOR } else { cache };
            let end = now_s.saturating_add(stay.as_secs());
            object.insert("exp".into(), end.into());
        }
        let claims = &self.settings.claims;
        let read = Claims::read(&object, claims).and_then(|read| {
            read.check(claims, now_s)?;
            Ok(read)
        });
        match read {
            Ok(read) => Ok(Introspected {
                claims: Arc::new(read),
                url: Arc::clone(&self.url),
                names: claims.names(),
            }),
            Err(problem) => Err(JwtProblem::into(problem)),
        }
    }
}

enum Asked {
    Known(Answer),
    Waiting(oneshot::Receiver<Answer>),
}

impl State {
    fn failed(&mut self, url: &str, error: &FetchError, now: Instant) {
        if error.is_about_the_question() {
            // It has answered. Whoever sends what it does not like must not make it look down.
            self.breaker.succeeded();
            let told = self.told.replace(now);
            if told.is_some_and(|told| now.duration_since(told) < TELL_EACH) {
                self.told = told;
                return;
            }
            tracing::warn!("{url} does not say who a token is: {error}");
            return;
        }
        let was_up = self.breaker.is_closed();
        self.breaker.failed(now);
        if was_up {
            tracing::error!("{url} does not answer who a token is: {error}");
        }
    }

    fn remember(&mut self, fingerprint: Fingerprint, answer: Answer, until: Instant) {
        if self.answers.insert(fingerprint, (answer, until)).is_none() {
            self.order.push_back(fingerprint);
        }
        while self.order.len() > MOST_ANSWERS {
            if let Some(oldest) = self.order.pop_front() {
                self.answers.remove(&oldest);
            }
        }
    }
}

impl Remote for Introspection {
    fn name(&self) -> String {
        self.url.to_string()
    }

    fn is_up(&self) -> bool {
        self.state.lock().breaker.is_closed()
    }

    fn answers(&self) -> bool {
        self.is_up()
    }
}

/// Of what access tokens are made (RFC 6749, A.12). The issuer is not bothered with anything else.
fn may_be_a_token(password: &[u8]) -> bool {
    (1..=MAX_TOKEN_BYTES).contains(&password.len())
        && password.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

/// `application/x-www-form-urlencoded`.
fn form_encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push('%');
            for half in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789ABCDEF"[usize::from(half)]));
            }
        }
    }
    text
}
