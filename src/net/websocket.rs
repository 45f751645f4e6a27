//! MQTT in WebSocket frames (MQTT 5.0 section 6): the upgrade, and what goes on behind it.
//!
//! The framing is tungstenite's. It works on bytes here: TLS and the socket stay with the transport.

use std::io::{self, Read, Write};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{
    ErrorResponse, Request, Response as UpgradeResponse,
};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Role, WebSocketConfig, WebSocketContext,
};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::exporter::SECURITY_HEADERS;
use super::transport::Input;

/// Bytes that are kept for each connection to read frames into.
const READ_BUFFER_BYTES: usize = 1_024;

/// What a WebSocket listener asks of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSocketSettings {
    /// `websockets_origin`: where a page may come from; any if there is none.
    pub origins: Vec<Box<str>>,
    /// `websockets_require_origin`: whoever sends no Origin is refused too.
    pub require_origin: bool,
}

/// Why an upgrade came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UpgradeFailure {
    /// It is no request to open a WebSocket.
    NotWebSocket,
    /// It does not offer a subprotocol of MQTT [MQTT-6.0.0-3].
    Subprotocol,
    /// The page comes from elsewhere.
    Origin,
}

/// Labels of what this module refuses, for the metric of malformed packets.
pub const LABELS: &[&str] = &[
    "websocket_request",
    "websocket_subprotocol",
    "websocket_origin",
    "websocket_text",
];

impl UpgradeFailure {
    /// The label in metrics and audit log.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::NotWebSocket => "websocket_request",
            Self::Subprotocol => "websocket_subprotocol",
            Self::Origin => "websocket_origin",
        }
    }

    /// The statement that was broken.
    pub(super) fn statement(self) -> &'static str {
        match self {
            Self::NotWebSocket => "RFC 6455 section 4.2.1",
            Self::Subprotocol => "MQTT-6.0.0-3",
            Self::Origin => "RFC 6455 section 4.2.2",
        }
    }
}

/// Answers the HTTP request that opens the WebSocket, whatever path it names.
pub(super) async fn upgrade(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    settings: &WebSocketSettings,
) -> Result<(), UpgradeFailure> {
    let mut failure = UpgradeFailure::NotWebSocket;
    #[expect(
        clippy::result_large_err,
        reason = "the type of the library, made once for each upgrade that is refused"
    )]
    let answer = |request: &Request, response: UpgradeResponse| {
        judge(request.headers(), settings, response).map_err(|reason| {
            failure = reason;
            refusal(reason)
        })
    };
    // What is dropped here holds no bytes: any behind the request would have failed it.
    match accept_hdr_async(stream, answer).await {
        Ok(_) => Ok(()),
        Err(_) => Err(failure),
    }
}

fn judge(
    headers: &HeaderMap,
    settings: &WebSocketSettings,
    mut response: UpgradeResponse,
) -> Result<UpgradeResponse, UpgradeFailure> {
    check_origin(headers, settings)?;
    let offered = |name: &str| {
        headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|offer| offer.trim() == name)
    };
    // The second is what clients of MQTT 3.1 ask for.
    let chosen = ["mqtt", "mqttv3.1"]
        .into_iter()
        .find(|name| offered(name))
        .ok_or(UpgradeFailure::Subprotocol)?;
    response.headers_mut().insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(chosen),
    );
    Ok(response)
}

/// Browsers always say where a page comes from, other clients seldom do.
fn check_origin(headers: &HeaderMap, settings: &WebSocketSettings) -> Result<(), UpgradeFailure> {
    if settings.origins.is_empty() && !settings.require_origin {
        return Ok(());
    }
    let allowed = match headers.get(header::ORIGIN) {
        None => !settings.require_origin,
        Some(_) if settings.origins.is_empty() => true,
        Some(origin) => settings
            .origins
            .iter()
            .any(|allowed| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes())),
    };
    if allowed {
        Ok(())
    } else {
        Err(UpgradeFailure::Origin)
    }
}

fn refusal(reason: UpgradeFailure) -> ErrorResponse {
    let (status, text) = match reason {
        UpgradeFailure::Origin => (StatusCode::FORBIDDEN, "this origin is not allowed\n"),
        _ => (
            StatusCode::BAD_REQUEST,
            "Sec-WebSocket-Protocol must offer mqtt\n",
        ),
    };
    let mut response = Response::new(Some(text.to_owned()));
    *response.status_mut() = status;
    for (name, value) in SECURITY_HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// An open WebSocket.
pub(super) struct WebSocket {
    context: WebSocketContext,
    /// Bytes of frames, between a read and their unwrapping.
    received: Vec<u8>,
    /// What came last completed no message.
    inside_message: bool,
    /// The peer has closed it.
    closed: bool,
}

impl std::fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocket").finish_non_exhaustive()
    }
}

impl WebSocket {
    /// Takes frames and messages up to this size: several packets may come in one.
    pub(super) fn new(max_message_bytes: usize) -> Self {
        let config = limited(
            WebSocketConfig::default()
                .read_buffer_size(READ_BUFFER_BYTES)
                .write_buffer_size(0),
            max_message_bytes,
        );
        Self {
            context: WebSocketContext::new(Role::Server, Some(config)),
            received: Vec::new(),
            inside_message: false,
            closed: false,
        }
    }

    /// Whether a message has begun and is not complete. Known once something came that completed none.
    pub(super) fn is_inside_message(&self) -> bool {
        self.inside_message
    }

    /// Before CONNECT is accepted less is taken than after.
    pub(super) fn set_limit(&mut self, max_message_bytes: usize) {
        self.context
            .set_config(|config| *config = limited(*config, max_message_bytes));
    }

    /// Reads once with `read` and unwraps what came: MQTT goes to `into`, what is to be sent at once
    /// (answers to pings and to a close) to `replies`. MQTT that came before the close is given before
    /// the end is.
    pub(super) fn poll_input(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut Vec<u8>,
        replies: &mut Vec<u8>,
        read: impl FnOnce(&mut Context<'_>, &mut Vec<u8>) -> Poll<io::Result<Input>>,
    ) -> Poll<io::Result<Input>> {
        if self.closed {
            return Poll::Ready(Ok(Input::Closed));
        }
        let before = into.len();
        let mut received = std::mem::take(&mut self.received);
        let input = ready!(read(cx, &mut received))?;
        let unwrapped = self.unwrap(&received, into, replies);
        received.clear();
        if received.capacity() <= READ_BUFFER_BYTES {
            self.received = received;
        }
        unwrapped?;
        Poll::Ready(Ok(match self.closed {
            true if into.len() > before => Input::Bytes { more: true },
            true => Input::Closed,
            false => input,
        }))
    }

    fn unwrap(
        &mut self,
        received: &[u8],
        into: &mut Vec<u8>,
        replies: &mut Vec<u8>,
    ) -> io::Result<()> {
        let mut pipe = Pipe {
            input: received,
            output: replies,
        };
        // A control frame says nothing about a message that may have begun before it.
        let mut silent = !received.is_empty();
        loop {
            match self.context.read(&mut pipe) {
                Ok(Message::Binary(bytes)) => {
                    silent = false;
                    self.inside_message = false;
                    into.extend_from_slice(&bytes);
                }
                // [MQTT-6.0.0-1]
                Ok(Message::Text(_)) | Err(Error::Utf8(_)) => {
                    self.close(CloseCode::Unsupported, pipe.output);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, NotBinary));
                }
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => silent = false,
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                    self.closed = true;
                    return Ok(());
                }
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.inside_message |= silent;
                    return Ok(());
                }
                Err(error) => {
                    let code = match error {
                        Error::Capacity(_) => CloseCode::Size,
                        _ => CloseCode::Protocol,
                    };
                    self.close(code, pipe.output);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }

    /// Appends `bytes` in a frame to `wire`. Who has closed takes no more (RFC 6455 section 5.5.1).
    pub(super) fn wrap(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        if bytes.is_empty() || self.closed {
            return Ok(());
        }
        let mut pipe = Pipe {
            input: &[],
            output: wire,
        };
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        match self.context.write(&mut pipe, message) {
            Ok(()) => self.context.flush(&mut pipe).map_err(io::Error::other),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Appends a close frame, unless one was sent.
    pub(super) fn goodbye(&mut self, wire: &mut Vec<u8>) {
        self.close(CloseCode::Normal, wire);
    }

    fn close(&mut self, code: CloseCode, wire: &mut Vec<u8>) {
        let mut pipe = Pipe {
            input: &[],
            output: wire,
        };
        let frame = CloseFrame {
            code,
            reason: "".into(),
        };
        // It fails only when the peer has closed already.
        drop(self.context.close(&mut pipe, Some(frame)));
    }
}

fn limited(config: WebSocketConfig, max_message_bytes: usize) -> WebSocketConfig {
    config
        .max_message_size(Some(max_message_bytes))
        .max_frame_size(Some(max_message_bytes))
}

/// A WebSocket message that is text: MQTT goes in binary ones [MQTT-6.0.0-1].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a text frame; MQTT is sent in binary ones")]
pub(super) struct NotBinary;

impl NotBinary {
    pub(super) const LABEL: &'static str = "websocket_text";
    pub(super) const STATEMENT: &'static str = "MQTT-6.0.0-1";

    /// Whether that is what `error` means.
    pub(super) fn is_in(error: &io::Error) -> bool {
        matches!(error.get_ref(), Some(inner) if inner.is::<Self>())
    }
}

/// The bytes that are there in place of a socket.
struct Pipe<'a> {
    input: &'a [u8],
    output: &'a mut Vec<u8>,
}

impl Read for Pipe<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buf)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
