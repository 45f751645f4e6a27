//! Listening sockets: accept, refuse early, and place what is left on a core.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::auth::Authenticator;
use crate::codec;
use crate::policy::{AddressList, AddressPermit, DenyReason};
use crate::session;

use super::Shared;
use super::driver::Task;
use super::greet::{self, Arrival};
use super::report;
use super::transport::{Socket, Stream};
use super::websocket::WebSocketSettings;

/// Connections taken from the kernel's queue before others have a turn.
const ACCEPT_BATCH: usize = 64;
/// The core that accepts.
pub const ACCEPT_CORE: usize = 0;
/// How long to leave the kernel's queue alone when the process is out of descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// A listener's settings as of one generation of the configuration. New connections take the
/// newest; those that exist look at it when they are told that something changed.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a directive of the listener"
)]
pub struct ListenerState {
    /// Index of the listener, as rules and sessions know it.
    pub id: u16,
    /// `address:port` or path, for logs and metrics.
    pub name: Arc<str>,
    /// What MQTT offers here.
    pub session: session::Settings,
    /// Bounds of packets after CONNECT was accepted.
    pub codec_limits: codec::Limits,
    /// Bounds of the CONNECT packet.
    pub greet_limits: codec::Limits,
    /// What `protocol websockets` asks of clients, if the listener speaks it.
    pub websocket: Option<WebSocketSettings>,
    /// TLS, if the listener has it.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Who clients are.
    pub authenticator: Arc<Authenticator>,
    /// `mount_point`.
    pub mount_point: Box<str>,
    /// `max_connections`.
    pub max_connections: Option<usize>,
    /// `max_subscriptions_per_client`.
    pub max_subscriptions: usize,
    /// `message_size_limit` in bytes of payload; 0 is no limit.
    pub message_size_limit: usize,
    /// Disconnect 3.x clients whose PUBLISH is refused, instead of acknowledging and dropping.
    pub disconnect_denied_mqtt3: bool,
    /// `mqtt31_denied_subscribe disconnect`: its SUBACK has no code for a refusal.
    pub disconnect_denied_mqtt31_subscribe: bool,
    /// `use_username_as_clientid`.
    pub use_username_as_client_id: bool,
    /// `allow_addresses_file`: nobody else may connect.
    pub allowed_addresses: Option<Arc<AddressList>>,
    /// `deny_addresses_file`: these may not.
    pub denied_addresses: Option<Arc<AddressList>>,
    /// `clientid_from`.
    pub client_id_from: Option<ClientIdSource>,
    /// `connect_timeout`: from accept to CONNECT, TLS included.
    pub connect_timeout: Duration,
    /// `packet_timeout`: from the first byte of a packet to its last.
    pub packet_timeout: Option<Duration>,
    /// `set_tcp_nodelay`.
    pub nodelay: bool,
    /// `queue_overflow`: what is done when the queue of a client is full.
    pub queue_overflow: crate::broker::QueueOverflow,
}

impl ListenerState {
    /// A listener that asks nobody for anything, without limits: for those who build a broker from its
    /// parts ([`connection`]).
    #[doc(hidden)]
    pub fn bare() -> Self {
        Self {
            id: 0,
            name: "bare".into(),
            session: session::Settings::default(),
            codec_limits: codec::Limits::default(),
            greet_limits: codec::Limits::default(),
            websocket: None,
            tls: None,
            authenticator: Arc::new(Authenticator::open()),
            mount_point: "".into(),
            max_connections: None,
            max_subscriptions: 1_000,
            message_size_limit: 0,
            disconnect_denied_mqtt3: false,
            disconnect_denied_mqtt31_subscribe: false,
            use_username_as_client_id: false,
            allowed_addresses: None,
            denied_addresses: None,
            client_id_from: None,
            connect_timeout: Duration::from_secs(30),
            packet_timeout: None,
            nodelay: true,
            queue_overflow: crate::broker::QueueOverflow::RejectNew,
        }
    }

    /// Whether the address may connect here, by the lists of addresses.
    pub(crate) fn takes_address(&self, address: IpAddr) -> bool {
        let holds =
            |list: &Option<Arc<AddressList>>| list.as_ref().map(|list| list.contains(address));
        holds(&self.allowed_addresses) != Some(false) && holds(&self.denied_addresses) != Some(true)
    }
}

/// What a Client Identifier must be equal to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientIdSource {
    /// The user name.
    User,
    /// The Common Name of the client certificate.
    Certificate,
    /// A claim of the token, which the authenticator has looked at: there must be a token.
    Token,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An address and port.
    Tcp(SocketAddr),
    /// A Unix-domain socket.
    Unix(PathBuf),
}

/// A bound socket.
#[derive(Debug)]
pub enum Bound {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A Unix-domain socket; its file is removed when it is dropped.
    Unix(std::os::unix::net::UnixListener, PathBuf),
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Nothing can be done about a socket file somebody else has taken away.
            drop(std::fs::remove_file(path));
        }
    }
}

impl Bound {
    /// Binds and listens.
    ///
    /// # Errors
    /// The address is in use, not ours, or not allowed.
    pub fn bind(endpoint: &Endpoint, interface: Option<&str>) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp(address) => {
                let domain = socket2::Domain::for_address(*address);
                let socket = socket2::Socket::new(
                    domain,
                    socket2::Type::STREAM,
                    Some(socket2::Protocol::TCP),
                )?;
                if address.is_ipv6() {
                    // The IPv4 listener of the same port is a socket of its own.
                    socket.set_only_v6(true)?;
                }
                socket.set_reuse_address(true)?;
                if let Some(interface) = interface {
                    socket.bind_device(Some(interface.as_bytes()))?;
                }
                socket.bind(&(*address).into())?;
                socket.listen(1_024)?;
                socket.set_nonblocking(true)?;
                Ok(Self::Tcp(socket.into()))
            }
            Endpoint::Unix(path) => {
                remove_stale(path)?;
                let listener = std::os::unix::net::UnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Unix(listener, path.clone()))
            }
        }
    }

    /// Registers the socket with this thread's runtime.
    fn registered(&self) -> io::Result<Registered> {
        match self {
            Self::Tcp(listener) => {
                let listener = listener.try_clone()?;
                Ok(Registered::Tcp(tokio::net::TcpListener::from_std(
                    listener,
                )?))
            }
            Self::Unix(listener, _) => {
                let listener = listener.try_clone()?;
                Ok(Registered::Unix(tokio::net::UnixListener::from_std(
                    listener,
                )?))
            }
        }
    }
}

enum Registered {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Registered {
    async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Socket::Tcp(stream), peer))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                // Peers of a socket file are on this machine.
                let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
                Ok((Socket::Unix(stream), peer))
            }
        }
    }
}

/// A socket file left by a broker that was killed may be replaced; one that answers may not.
fn remove_stale(path: &std::path::Path) -> io::Result<()> {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(_) => Ok(()),
    }
}

/// One listener: its socket's settings and what it counts.
#[derive(Debug)]
pub struct Listener {
    state: ArcSwap<ListenerState>,
    connections: AtomicUsize,
}

impl Listener {
    /// A listener with these settings.
    pub fn new(state: ListenerState) -> Arc<Self> {
        Arc::new(Self {
            state: ArcSwap::from_pointee(state),
            connections: AtomicUsize::new(0),
        })
    }

    /// The newest settings.
    pub fn state(&self) -> Arc<ListenerState> {
        self.state.load_full()
    }

    /// Replaces the settings.
    pub fn set_state(&self, state: ListenerState) {
        self.state.store(Arc::new(state));
    }
}

/// What a connection holds until it ends: its places in the limits.
#[derive(Debug)]
pub struct Permit {
    listener: Arc<Listener>,
    _address: Option<AddressPermit>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.listener.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until told to stop. Runs on the first core, where most connections are placed.
///
/// # Errors
/// The socket cannot be registered with the runtime.
pub async fn serve(
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    bound: Bound,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let socket = bound.registered()?;
    let mut in_a_row = 0;
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        match accepted {
            Ok((socket, peer)) => admit(&shared, &listener, socket, peer),
            Err(error) if is_out_of_descriptors(&error) => {
                report::accept_failed(&shared, &listener.state().name, &error);
                tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
            }
            // The peer gave up between SYN and accept.
            Err(_) => {}
        }
        in_a_row += 1;
        if in_a_row >= ACCEPT_BATCH {
            in_a_row = 0;
            tokio::task::yield_now().await;
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    use nix::errno::Errno;
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
    )
}

/// Judges a connection by what is known before a byte was read, and hands it to a core.
fn admit(shared: &Arc<Shared>, listener: &Arc<Listener>, socket: Socket, peer: SocketAddr) {
    let Some((arrival, socket)) = judge(shared, listener, socket, peer) else {
        return;
    };
    let handle = arrival.placed.handle().clone();
    if arrival.placed.index == ACCEPT_CORE {
        handle.spawn(live(arrival, socket));
        return;
    }
    // The socket changes from this core's runtime to the other's.
    let Ok(socket) = socket.into_unregistered() else {
        return;
    };
    handle.spawn(async move {
        if let Ok(socket) = socket.register() {
            live(arrival, socket).await;
        }
    });
}

/// A connection's first task, and the one it becomes: what the greeting needed is freed with it.
async fn live(arrival: Arrival, socket: Socket) {
    if let Some(driver) = greet::greet(arrival, socket).await {
        tokio::spawn(Task::new(driver));
    }
}

/// A connection over a stream that no socket of ours has accepted, as one future for the caller to
/// drive on a thread that is a core ([`super::Cores::here`]). `None` if it is refused.
#[doc(hidden)]
pub fn connection(
    shared: &Arc<Shared>,
    listener: &Arc<Listener>,
    stream: Box<dyn Stream>,
    peer: SocketAddr,
) -> Option<impl Future<Output = ()> + Send + use<>> {
    let (arrival, socket) = judge(shared, listener, Socket::Other(stream), peer)?;
    Some(async move {
        if let Some(driver) = greet::greet(arrival, socket).await {
            Task::new(driver).await;
        }
    })
}

fn judge(
    shared: &Arc<Shared>,
    listener: &Arc<Listener>,
    socket: Socket,
    peer: SocketAddr,
) -> Option<(Arrival, Socket)> {
    let now = super::now();
    let state = listener.state();
    let permit = match permit(shared, listener, &state, &socket, peer, now) {
        Ok(permit) => permit,
        // Closed without a byte: whoever is over a limit costs us no TLS and no packet.
        Err(reason) => {
            report::refused_early(shared, &state, peer, reason);
            return None;
        }
    };
    let Some(greeting) = shared.greet_place() else {
        report::refused_early(shared, &state, peer, DenyReason::MaxConnections);
        return None;
    };
    if state.nodelay && socket.set_nodelay().is_err() {
        return None;
    }
    let placed = shared.cores.place();
    let arrival = Arrival {
        shared: Arc::clone(shared),
        listener: state,
        peer,
        permit,
        placed,
        greeting,
        accepted_at: now,
    };
    Some((arrival, socket))
}

fn permit(
    shared: &Shared,
    listener: &Arc<Listener>,
    state: &ListenerState,
    socket: &Socket,
    peer: SocketAddr,
    now: Instant,
) -> Result<Permit, DenyReason> {
    let address = match socket {
        Socket::Unix(_) => None,
        Socket::Tcp(_) | Socket::Other(_) => {
            if !state.takes_address(peer.ip()) {
                return Err(DenyReason::AddressRefused);
            }
            if shared.sentry.bans.is_banned(peer.ip(), now) {
                return Err(DenyReason::Banned);
            }
            Some(shared.admission.admit(peer.ip(), now)?)
        }
    };
    if shared
        .max_connections()
        .is_some_and(|maximum| shared.cores.connections() >= maximum)
    {
        return Err(DenyReason::MaxConnections);
    }
    let count = listener.connections.fetch_add(1, Ordering::Relaxed) + 1;
    let permit = Permit {
        listener: Arc::clone(listener),
        _address: address,
    };
    if state.max_connections.is_some_and(|maximum| count > maximum) {
        return Err(DenyReason::MaxConnections);
    }
    Ok(permit)
}
