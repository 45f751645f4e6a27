//! Who a client is, from CONNECT to the end of its connection: what that rests on, and what its session
//! is called.

use std::time::{Duration, Instant, SystemTime};

use crate::auth::{CertificateIdentity, Verdict};
use crate::message::ClientId;
use crate::policy::{Client, DenyReason};
use crate::session::Opening;

use super::listener::{ClientIdSource, ListenerState};

/// What a client's right to be connected rests on; asked again when users have changed.
pub(crate) struct Proof {
    pub(super) verdict: crate::auth::Proof,
}

impl Proof {
    pub(crate) fn certificate(&self) -> Option<CertificateIdentity> {
        self.verdict.certificate().cloned()
    }

    /// Ends an authentication in session: the client must be who it was.
    pub(crate) fn again(verdict: Verdict, client: &Client) -> Result<Self, DenyReason> {
        match verdict {
            Verdict::Accept {
                username, proof, ..
            } if username == client.who().username => Ok(Self { verdict: proof }),
            Verdict::Accept { .. } => Err(DenyReason::BadCredentials),
            Verdict::Reject(reason) => Err(reason),
        }
    }

    /// When it is over by itself: a token's end, clocks considered.
    pub(crate) fn ends_at(&self, now: Instant) -> Option<Instant> {
        let ends_at = SystemTime::UNIX_EPOCH + Duration::from_secs(self.verdict.ends_at_s()?);
        let left = ends_at
            .duration_since(SystemTime::now())
            .unwrap_or_default();
        now.checked_add(left)
    }

    pub(crate) fn still_holds(&self, listener: &ListenerState) -> bool {
        listener.authenticator.still_holds(&self.verdict)
    }
}

/// The Client Identifier that the client sent, if it did.
pub(super) fn sent_client_id(opening: &Opening) -> Option<&str> {
    (!opening.assigned_client_id).then(|| opening.client_id.as_str())
}

/// `use_username_as_clientid` and `clientid_from`: what the session is to be called, now that it is
/// known who the client is.
pub(super) fn settle_client_id(
    opening: &mut Opening,
    listener: &ListenerState,
    username: Option<&str>,
    proof: &crate::auth::Proof,
) -> Result<(), DenyReason> {
    let settings = &listener.session;
    if listener.use_username_as_client_id {
        let username = username.ok_or(DenyReason::ClientIdRefused)?;
        // The prefix is asked of what was sent, as in mosquitto.
        settings.check_client_id_form(username)?;
        opening.client_id = ClientId::new(username);
        opening.assigned_client_id = false;
        return Ok(());
    }
    let wanted = match listener.client_id_from {
        None => return Ok(()),
        Some(ClientIdSource::User) => username,
        Some(ClientIdSource::Certificate) => proof
            .certificate()
            .and_then(|certificate| certificate.common_name().ok())
            .map(|name| &**name),
        Some(ClientIdSource::Token) => proof.client_id(),
    };
    let wanted = wanted.ok_or(DenyReason::ClientIdRefused)?;
    match sent_client_id(opening) {
        Some(sent) if sent == wanted => Ok(()),
        Some(_) => Err(DenyReason::ClientIdRefused),
        None => {
            settings.check_client_id_prefix(wanted)?;
            settings.check_client_id_form(wanted)?;
            opening.client_id = ClientId::new(wanted);
            Ok(())
        }
    }
}
