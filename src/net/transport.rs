//! A byte stream with or without TLS, read into and written from buffers that belong to the core.

use std::io::{self, BufRead, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::websocket::WebSocket;

/// A byte stream that is no socket of ours.
pub trait Stream: AsyncRead + AsyncWrite + std::fmt::Debug + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + std::fmt::Debug + Send + Unpin> Stream for T {}

/// The socket under a connection.
#[derive(Debug)]
pub(crate) enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix-domain socket.
    Unix(UnixStream),
    /// Anything else that carries bytes.
    Other(Box<dyn Stream>),
}

/// A socket that no runtime knows.
#[derive(Debug)]
pub(crate) enum Unregistered {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
    Other(Box<dyn Stream>),
}

impl Unregistered {
    /// Makes it known to the runtime of this thread.
    pub(crate) fn register(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(stream) => Socket::Tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Socket::Unix(UnixStream::from_std(stream)?),
            Self::Other(stream) => Socket::Other(stream),
        })
    }
}

impl Socket {
    /// Takes the socket off its runtime.
    pub(crate) fn into_unregistered(self) -> io::Result<Unregistered> {
        Ok(match self {
            Self::Tcp(stream) => Unregistered::Tcp(stream.into_std()?),
            Self::Unix(stream) => Unregistered::Unix(stream.into_std()?),
            Self::Other(stream) => Unregistered::Other(stream),
        })
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
            // It cannot be asked: the next read tells, and has the task woken.
            Self::Other(_) => Poll::Ready(Ok(())),
        }
    }

    /// `TCP_NODELAY`, where there is such a thing.
    pub(crate) fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nodelay(true),
            Self::Unix(_) | Self::Other(_) => Ok(()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Other(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Other(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Other(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Other(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// What one read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Bytes were appended; `more` if the socket may hold more right now.
    Bytes { more: bool },
    /// The peer has closed its side.
    Closed,
}

/// A connection's stream.
#[derive(Debug)]
pub(crate) struct Transport {
    socket: Socket,
    tls: Option<Box<ServerConnection>>,
    websocket: Option<Box<WebSocket>>,
    /// What the socket would not take; only used without TLS, which has a queue of its own.
    unsent: Vec<u8>,
    blocked: bool,
    /// TLS was ended by the peer, whose socket may stay open.
    tls_closed: bool,
    /// Bytes received behind TLS that nobody has counted.
    received: u64,
}

impl Transport {
    pub(crate) fn plain(socket: Socket) -> Self {
        Self {
            socket,
            tls: None,
            websocket: None,
            unsent: Vec::new(),
            blocked: false,
            tls_closed: false,
            received: 0,
        }
    }

    /// Takes over a TLS connection whose handshake is complete.
    pub(crate) fn tls(socket: Socket, mut tls: ServerConnection) -> Self {
        // Our own bound is the size of a write batch; with a limit here `write_all` would fail.
        tls.set_buffer_limit(None);
        Self {
            socket,
            tls: Some(Box::new(tls)),
            websocket: None,
            unsent: Vec::new(),
            blocked: false,
            tls_closed: false,
            received: 0,
        }
    }

    /// Takes the socket off this thread's runtime, so that [`Transport::attach`] can make it known to
    /// another's. Until then there is nothing to read and nothing to write to.
    pub(crate) fn detach(&mut self) -> io::Result<Unregistered> {
        let nothing = Socket::Other(Box::new(tokio::io::empty()));
        std::mem::replace(&mut self.socket, nothing).into_unregistered()
    }

    /// Gives it back its socket.
    pub(crate) fn attach(&mut self, socket: Unregistered) -> io::Result<()> {
        self.socket = socket.register()?;
        Ok(())
    }

    /// From here on MQTT comes and goes in WebSocket frames.
    pub(crate) fn with_websocket(mut self, websocket: WebSocket) -> Self {
        self.websocket = Some(Box::new(websocket));
        self
    }

    /// Whether a WebSocket message has begun and is not complete.
    pub(crate) fn is_inside_message(&self) -> bool {
        self.websocket
            .as_ref()
            .is_some_and(|websocket| websocket.is_inside_message())
    }

    /// The largest WebSocket message that is taken, if there are any.
    pub(crate) fn set_message_limit(&mut self, bytes: usize) {
        if let Some(websocket) = &mut self.websocket {
            websocket.set_limit(bytes);
        }
    }

    /// Whether output waits for the socket.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Bytes received since this was asked, those of frames included.
    pub(crate) fn take_received(&mut self) -> u64 {
        std::mem::take(&mut self.received)
    }

    /// Reads once into `scratch`, and appends the MQTT in it to `into`.
    pub(crate) fn poll_input(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        into: &mut Vec<u8>,
    ) -> Poll<io::Result<Input>> {
        if self.websocket.is_none() {
            return self.poll_counted(cx, scratch, into);
        }
        // Whoever sends pings and does not read the answers is not read either.
        if self.blocked {
            self.send_bytes(cx, &[])?;
            if self.blocked {
                return Poll::Pending;
            }
        }
        let Some(mut websocket) = self.websocket.take() else {
            return Poll::Pending;
        };
        let mut replies = Vec::new();
        let input = websocket.poll_input(cx, into, &mut replies, |cx, received| {
            self.poll_counted(cx, scratch, received)
        });
        self.websocket = Some(websocket);
        if !replies.is_empty() {
            self.send_bytes(cx, &replies)?;
        }
        input
    }

    fn poll_counted(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        into: &mut Vec<u8>,
    ) -> Poll<io::Result<Input>> {
        let before = into.len();
        let input = self.poll_bytes(cx, scratch, into);
        self.received += (into.len() - before) as u64;
        input
    }

    /// Reads once into `scratch`, and appends what is behind TLS to `into`. A read that fills less
    /// than the scratch leaves the socket's readiness cleared: no second call is spent to see that
    /// nothing is left.
    fn poll_bytes(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        into: &mut Vec<u8>,
    ) -> Poll<io::Result<Input>> {
        // Plaintext that came with the end of the handshake is there before anything is read.
        if self.tls.is_some() && self.take_plaintext(into)? {
            return Poll::Ready(Ok(Input::Bytes { more: true }));
        }
        if self.tls_closed {
            return Poll::Ready(Ok(Input::Closed));
        }
        let mut buf = ReadBuf::new(scratch);
        match Pin::new(&mut self.socket).poll_read(cx, &mut buf) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(result) => result?,
        }
        let full = buf.remaining() == 0;
        let received = buf.filled();
        if received.is_empty() {
            return Poll::Ready(Ok(Input::Closed));
        }
        // A read that gave something has not registered the task to be woken for the next bytes;
        // asking for readiness does, without a system call.
        let more = full || self.socket.poll_read_ready(cx).is_ready();
        let Some(tls) = &mut self.tls else {
            into.extend_from_slice(received);
            return Poll::Ready(Ok(Input::Bytes { more }));
        };
        let mut rest = received;
        let before = into.len();
        while !rest.is_empty() {
            let taken = tls.read_tls(&mut rest)?;
            let state = tls
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.tls_closed |= state.peer_has_closed();
            drain(tls, into)?;
            if taken == 0 {
                break;
            }
        }
        Poll::Ready(Ok(match self.tls_closed {
            true if into.len() > before => Input::Bytes { more: true },
            true => Input::Closed,
            false => Input::Bytes { more },
        }))
    }

    fn take_plaintext(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        let before = into.len();
        if let Some(tls) = &mut self.tls {
            drain(tls, into)?;
        }
        Ok(into.len() > before)
    }

    /// Sends `output` after what is still unsent. What the socket will not take is kept, and
    /// `is_blocked` says so; the task is woken when the socket takes more.
    pub(crate) fn send(&mut self, cx: &mut Context<'_>, output: &[u8]) -> io::Result<()> {
        let Some(websocket) = &mut self.websocket else {
            return self.send_bytes(cx, output);
        };
        let mut wire = Vec::with_capacity(output.len() + 16);
        websocket.wrap(output, &mut wire)?;
        self.send_bytes(cx, &wire)
    }

    fn send_bytes(&mut self, cx: &mut Context<'_>, output: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.send_plain(cx, output),
            Some(tls) => {
                if !output.is_empty() {
                    tls.writer().write_all(output)?;
                }
                let mut socket = Nonblocking {
                    socket: &mut self.socket,
                    cx,
                };
                while tls.wants_write() {
                    match tls.write_tls(&mut socket) {
                        Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            self.blocked = true;
                            return Ok(());
                        }
                        Err(error) => return Err(error),
                    }
                }
                self.blocked = false;
                Ok(())
            }
        }
    }

    fn send_plain(&mut self, cx: &mut Context<'_>, output: &[u8]) -> io::Result<()> {
        if !self.unsent.is_empty() {
            let sent = write_some(&mut self.socket, cx, &self.unsent)?;
            self.unsent.drain(..sent);
            if !self.unsent.is_empty() {
                self.unsent.extend_from_slice(output);
                self.blocked = true;
                return Ok(());
            }
            self.unsent = Vec::new();
        }
        let sent = write_some(&mut self.socket, cx, output)?;
        if let Some(rest) = output.get(sent..)
            && !rest.is_empty()
        {
            self.unsent.extend_from_slice(rest);
        }
        self.blocked = !self.unsent.is_empty();
        Ok(())
    }

    /// Says goodbye in the WebSocket and in TLS, where there are any. What the socket does not take is
    /// sent by the next [`Transport::send`].
    pub(crate) fn close_notify(&mut self, cx: &mut Context<'_>) {
        if let Some(websocket) = &mut self.websocket {
            let mut wire = Vec::new();
            websocket.goodbye(&mut wire);
            // What fails here fails a connection that is over.
            drop(self.send_bytes(cx, &wire));
        }
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
    }

    /// Closes our side for writing, so that what was sent arrives before the end does.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

fn drain(tls: &mut ServerConnection, into: &mut Vec<u8>) -> io::Result<()> {
    let mut reader = tls.reader();
    loop {
        match reader.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(chunk) => {
                into.extend_from_slice(chunk);
                let taken = chunk.len();
                reader.consume(taken);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // The peer ended TCP without close_notify: the length of every MQTT packet is known,
            // so nothing can be cut off unseen. Treated as the end by the next read.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Writes until the socket takes no more; gives the number of bytes taken.
fn write_some(socket: &mut Socket, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while let Some(rest) = bytes.get(sent..)
        && !rest.is_empty()
    {
        match Pin::new(&mut *socket).poll_write(cx, rest) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(count)) => sent += count,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => break,
        }
    }
    Ok(sent)
}

/// Lets rustls write to a tokio socket: not ready becomes `WouldBlock`.
struct Nonblocking<'a, 'b> {
    socket: &'a mut Socket,
    cx: &'a mut Context<'b>,
}

impl Write for Nonblocking<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match Pin::new(&mut *self.socket).poll_write(self.cx, buf) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.socket).poll_write_vectored(self.cx, bufs) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
