//! Enhanced authentication: a method that CONNECT names, and messages in AUTH until both sides know
//! whom they talk to (section 4.12).

use std::fmt;
use std::sync::Arc;

use crate::policy::DenyReason;

use super::authenticator::{Authenticator, Basis, Verdict};
use super::certificate::CertificateIdentity;
use super::hash::StoredHash;
use super::provider::Provider;
use super::scram::{self, METHOD, ScramProblem};

/// An exchange that waits for the client's next message.
pub struct Exchange {
    scram: scram::Exchange,
    username: Arc<str>,
    /// `None` for a user that does not exist.
    hash: Option<Arc<StoredHash>>,
    certificate: Option<CertificateIdentity>,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exchange(of {:?})", self.username)
    }
}

impl Exchange {
    /// Who the client says it is.
    pub fn username(&self) -> &Arc<str> {
        &self.username
    }
}

/// The method of tokens: the token is the first message, and there is no other.
pub const JWT_METHOD: &str = "JWT";

/// What the first message came to.
#[derive(Debug)]
pub enum Begun {
    /// The client is to answer this.
    Challenge(Box<Exchange>, Vec<u8>),
    /// It has said all there is to say.
    Done(Verdict),
}

impl Authenticator {
    /// Whether a client of this listener may name `method`: SCRAM-SHA-256, where a user of the
    /// password file has a verifier for it, and JWT, where tokens are taken.
    pub fn offers(&self, method: &str) -> bool {
        match method {
            METHOD => {
                let file = self.settings().passwords.as_ref();
                self.asks(Provider::Scram)
                    && file.is_some_and(|file| file.scram_iterations().is_some())
            }
            JWT_METHOD => self.asks(Provider::Jwt) && self.settings().tokens.is_some(),
            _ => false,
        }
    }

    /// Takes the first message by `method` of the client that calls itself `client_id`.
    ///
    /// # Errors
    /// The message is none of the method, the certificate is not what the listener wants, or the
    /// method is not offered.
    pub fn begin(
        &self,
        method: &str,
        client_id: Option<&str>,
        data: Option<&[u8]>,
        certificate: Option<CertificateIdentity>,
    ) -> Result<Begun, DenyReason> {
        if !self.offers(method) {
            return Err(DenyReason::BadAuthMethod);
        }
        self.check_certificate(certificate.as_ref())?;
        if method == JWT_METHOD {
            let token = data.unwrap_or_default();
            return self.token(token, client_id, certificate).map(Begun::Done);
        }
        let file = self.settings().passwords.as_ref();
        let offered = file.and_then(|file| Some((file, file.scram_iterations()?)));
        let (file, iterations) = offered.ok_or(DenyReason::BadAuthMethod)?;
        let first = scram::first(data.unwrap_or_default()).map_err(denied)?;
        let hash = file.hash_of(&first.username);
        let verifier = hash.and_then(|hash| hash.scram());
        let (scram, answer) =
            scram::Exchange::begin(&first, verifier, iterations).map_err(denied)?;
        let exchange = Exchange {
            scram,
            username: first.username.into(),
            hash: hash.map(Arc::clone),
            certificate,
        };
        Ok(Begun::Challenge(Box::new(exchange), answer.into_bytes()))
    }

    /// Takes the client's last message: who it is, and what proves to it that we knew.
    ///
    /// # Errors
    /// It did not prove what it said.
    pub fn finish(
        &self,
        exchange: Exchange,
        data: Option<&[u8]>,
    ) -> Result<(Verdict, Vec<u8>), DenyReason> {
        let answer = exchange
            .scram
            .finish(data.unwrap_or_default())
            .map_err(denied)?;
        let hash = exchange.hash.ok_or(DenyReason::BadCredentials)?;
        let basis = Basis::Scram(hash);
        let username = Some(exchange.username);
        let verdict = self.accept(username, "scram", basis, exchange.certificate)?;
        Ok((verdict, answer.into_bytes()))
    }
}

fn denied(problem: ScramProblem) -> DenyReason {
    match problem {
        // What was wrong is not told: all of it is a client that did not prove who it is.
        ScramProblem::Malformed | ScramProblem::ChannelBinding | ScramProblem::Proof => {
            DenyReason::BadCredentials
        }
        ScramProblem::NoRandomness => DenyReason::AuthUnavailable,
    }
}
