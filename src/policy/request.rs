//! Who asks, and for what.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::codec::Version;
use crate::message::{ClientId, Grants, Groups, Tokens};

use super::Denial;

/// A client as the gate, the audit log and the operator's log know it.
#[derive(Clone, Debug)]
pub struct Who {
    /// Client Identifier.
    pub client_id: ClientId,
    /// Authenticated user name; `None` for an anonymous client.
    pub username: Option<Arc<str>>,
    /// The groups that its proof of identity named; the group file may know more.
    pub groups: Groups,
    /// The rules that its proof of identity brought along.
    pub grants: Option<Arc<Grants>>,
    /// The topic tokens of its session; none before it has one.
    pub tokens: Tokens,
    /// Where it comes from; `None` for the broker itself.
    pub address: Option<SocketAddr>,
    /// Index of the listener.
    pub listener: u16,
    /// Name of the listener.
    pub listener_name: Arc<str>,
    /// Protocol version.
    pub protocol: Version,
    /// How it proved who it is: `password`, `certificate`, `anonymous`, `none`.
    pub method: &'static str,
}

impl Who {
    /// The address, unless it came through a local socket, which has none.
    pub fn remote_ip(&self) -> Option<IpAddr> {
        self.address
            .filter(|address| address.port() != 0)
            .map(|address| address.ip())
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// To publish a message.
    Publish,
    /// To subscribe.
    Subscribe,
    /// To be sent a message.
    Deliver,
    /// To have a will published.
    Will,
}

impl Action {
    /// Every action, for metrics that start at zero.
    pub const ALL: &'static [Self] = &[Self::Publish, Self::Subscribe, Self::Deliver, Self::Will];

    /// The metric label value and the `action` field of the audit log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Deliver => "deliver",
            Self::Will => "will",
        }
    }
}

/// One request that was judged.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub who: &'a Who,
    /// For what.
    pub action: Action,
    /// Topic Name or Topic Filter, mount point included.
    pub topic: &'a str,
}

/// Is told of every refusal, whatever caused it: counting, logging and explaining a denial happen
/// in one place.
pub trait Observer: Send + Sync {
    /// A request was refused.
    fn denied(&self, request: &Request<'_>, denial: &Denial);
    /// A subscription that was made is not granted any more.
    fn lost(&self, request: &Request<'_>, denial: &Denial) {
        self.denied(request, denial);
    }
    /// A subscription, a will, or a publish to another topic than the client's last was admitted. Not
    /// for every message: it is asked where the verdict is made anew.
    fn admitted(&self, _request: &Request<'_>) {}
    /// Under `subscribe_guard report`: a publish to another topic than the client's last was admitted.
    fn used(&self, _request: &Request<'_>) {}
    /// A request was admitted that `subscribe_guard strict` would have refused.
    fn would_deny(&self, request: &Request<'_>, denial: &Denial);
}
