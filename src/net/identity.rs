//! Who a client is, from CONNECT to the end of its connection: what that rests on, and what its session
//! is called.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::auth::{CertificateIdentity, Verdict};
use crate::message::{ClientId, Grants, Groups};
use crate::policy::{Client, DenyReason};
use crate::session::Opening;

use super::listener::{ClientIdSource, ListenerState};

/// A clock that was set is noticed after this long.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);

/// What a client's right to be connected rests on; asked again when users have changed.
pub(crate) struct Proof {
    pub(super) verdict: crate::auth::Proof,
}

impl Proof {
    pub(crate) fn certificate(&self) -> Option<CertificateIdentity> {
        self.verdict.certificate().cloned()
    }

    /// Ends an authentication in session: the client must be who it was. What groups it is in and
    /// what rules it brings along may have changed.
    pub(crate) fn again(verdict: Verdict, client: &Client) -> Result<Self, DenyReason> {
        match verdict {
            Verdict::Accept {
                username, proof, ..
            } if username == client.who().username => Ok(Self { verdict: proof }),
            Verdict::Accept { .. } => Err(DenyReason::BadCredentials),
            Verdict::Reject(reason) => Err(reason),
        }
    }

    /// What is left until it is over by itself, by the clock of now: the end of a token or of a
    /// certificate. `None` if it has no end.
    pub(crate) fn time_left(&self, listener: &ListenerState) -> Option<Duration> {
        let ends_at_s = listener.authenticator.ends_at_s(&self.verdict)?;
        let ends_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(ends_at_s))?;
        let left = ends_at.duration_since(SystemTime::now());
        Some(left.unwrap_or_default())
    }

    /// When to look again: at its end, but not much later than now, since the clock that it ends by
    /// may be set, and stands still for a machine that sleeps.
    pub(crate) fn look_again_at(&self, listener: &ListenerState, now: Instant) -> Option<Instant> {
        let left = self.time_left(listener)?;
        now.checked_add(left.min(LOOK_AT_CLOCK))
    }

    pub(crate) fn groups(&self, listener: &ListenerState) -> Groups {
        listener.authenticator.groups(&self.verdict)
    }

    pub(crate) fn grants(&self) -> Option<Arc<Grants>> {
        self.verdict.grants().cloned()
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
