//! What connections tell: short names for the audit events they make.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::audit::{Cause, Event};
use crate::codec::{QoS, Version};
use crate::message::ClientId;
use crate::policy::{Denial, DenyReason, Who};
use crate::session::Opening;

use super::Shared;
use super::driver::End;
use super::listener::ListenerState;
use super::tls::HandshakeFailure;

pub(super) fn connected(shared: &Shared, who: &Who, opening: &Opening, session_present: bool) {
    shared.audit.record(&Event::Connected {
        who,
        clean_start: opening.clean_start,
        keep_alive_s: opening.keep_alive_s,
        session_present,
    });
}

pub(super) fn refused(shared: &Shared, who: &Who, denial: &Denial) {
    shared.audit.record(&Event::ConnectRefused { who, denial });
}

pub(super) fn refused_connect(
    shared: &Shared,
    listener: &ListenerState,
    address: SocketAddr,
    version: Version,
    reason: DenyReason,
) {
    shared.audit.record(&Event::RefusedEarly {
        address,
        listener: &listener.name,
        version: Some(version),
        reason,
    });
}

pub(super) fn refused_early(
    shared: &Shared,
    listener: &ListenerState,
    address: SocketAddr,
    reason: DenyReason,
) {
    shared.audit.record(&Event::RefusedEarly {
        address,
        listener: &listener.name,
        version: None,
        reason,
    });
}

pub(super) fn tls_failed(
    shared: &Shared,
    listener: &ListenerState,
    address: SocketAddr,
    failure: &HandshakeFailure,
) {
    shared.audit.record(&Event::TlsFailed {
        address,
        listener: &listener.name,
        label: failure.label(),
        detail: &failure.to_string(),
    });
}

pub(super) fn greet_timeout(
    shared: &Shared,
    listener: &ListenerState,
    address: SocketAddr,
    stage: &'static str,
) {
    shared.audit.record(&Event::GreetTimeout {
        address,
        listener: &listener.name,
        stage,
    });
}

pub(super) fn malformed_connect(
    shared: &Shared,
    listener: &ListenerState,
    address: SocketAddr,
    label: &'static str,
    statement: &'static str,
) {
    shared.audit.record(&Event::MalformedConnect {
        address,
        listener: &listener.name,
        label,
        statement,
    });
}

pub(super) fn subscribed(shared: &Shared, who: &Who, filter: &str, qos: QoS) {
    shared.audit.record(&Event::Subscribed { who, filter, qos });
}

pub(super) fn unsubscribed(shared: &Shared, who: &Who, filter: &str) {
    shared.audit.record(&Event::Unsubscribed { who, filter });
}

pub(super) fn subscription_lost(shared: &Shared, who: &Who, filter: &str, denial: &Denial) {
    shared.audit.record(&Event::SubscriptionLost {
        who,
        filter,
        denial,
    });
}

pub(super) fn taken_over(shared: &Shared, client_id: &ClientId) {
    shared.audit.record(&Event::TakenOver {
        client_id: client_id.as_str(),
    });
}

pub(super) fn accept_failed(shared: &Shared, listener: &str, error: &io::Error) {
    shared.audit.record(&Event::AcceptFailed {
        listener,
        detail: &error.to_string(),
    });
}

pub(super) fn ended(shared: &Shared, who: &Who, end: &End, lasted: Duration) {
    if let End::Socket(error) = end {
        tracing::debug!(
            "connection of {}: {error}",
            who.client_id.as_str().escape_debug()
        );
    }
    if let End::Protocol(error) = end {
        shared.audit.record(&Event::ProtocolError {
            who,
            label: error.label,
            statement: error.statement,
        });
    }
    let (cause, code) = match end {
        End::Client { reason } => (Cause::Client, Some(*reason)),
        End::Closed => (Cause::Closed, None),
        End::Socket(_) => (Cause::Socket, None),
        End::KeepAlive => (Cause::KeepAlive, end.reason_code()),
        End::Protocol(_) => (Cause::Protocol, end.reason_code()),
        End::TakenOver => (Cause::TakenOver, end.reason_code()),
        End::Shutdown => (Cause::Shutdown, end.reason_code()),
        End::Rate => (Cause::Rate, end.reason_code()),
        End::Revoked => (Cause::Revoked, end.reason_code()),
        End::Denied(_) => (Cause::Denied, end.reason_code()),
        End::PacketTimeout => (Cause::PacketTimeout, end.reason_code()),
        End::ProofOver => (Cause::ProofOver, end.reason_code()),
        End::Drained(_) => (Cause::Drained, end.reason_code()),
    };
    shared.audit.record(&Event::Disconnected {
        who,
        cause,
        code,
        lasted,
    });
}
