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

use crate::codec::ReasonCode;
use crate::policy::{Rate, TokenBucket};
use crate::session::ProtocolError;

use super::exporter::SECURITY_HEADERS;
use super::transport::Input;

/// Bytes that are kept for each connection to read frames into.
const READ_BUFFER_BYTES: usize = 1_024;

/// Frames that bring no MQTT: pings and pongs, and messages without a byte. No message rate counts
/// them; a browser sends one in some seconds.
const EMPTY_FRAMES: Rate = Rate {
    per_second: 50,
    burst: 500,
};

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
    "websocket_frame",
    "websocket_too_large",
    "websocket_empty_frames",
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
    /// Nothing more is read: what the reader hears of it.
    over: Option<Over>,
    /// What our close frame says.
    close_code: CloseCode,
    empty_frames: TokenBucket,
}

/// Why nothing more is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// The peer has closed it.
    Closed,
    /// The peer has sent what it may not.
    Broken(Violation),
}

impl Over {
    fn outcome(self) -> io::Result<Input> {
        match self {
            Self::Closed => Ok(Input::Closed),
            Self::Broken(violation) => Err(io::Error::new(io::ErrorKind::InvalidData, violation)),
        }
    }
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
            over: None,
            close_code: CloseCode::Normal,
            empty_frames: TokenBucket::new(EMPTY_FRAMES),
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
    /// (answers to pings and to a close) to `replies`. MQTT that came before the end is given before
    /// it.
    pub(super) fn poll_input(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut Vec<u8>,
        replies: &mut Vec<u8>,
        read: impl FnOnce(&mut Context<'_>, &mut Vec<u8>) -> Poll<io::Result<Input>>,
    ) -> Poll<io::Result<Input>> {
        if let Some(over) = self.over {
            return Poll::Ready(over.outcome());
        }
        let before = into.len();
        let input = ready!(read(cx, &mut self.received))?;
        let mut received = std::mem::take(&mut self.received);
        self.unwrap(&received, into, replies);
        received.clear();
        if received.capacity() <= READ_BUFFER_BYTES {
            self.received = received;
        }
        Poll::Ready(match self.over {
            Some(_) if into.len() > before => Ok(Input::Bytes { more: true }),
            Some(over) => over.outcome(),
            None => Ok(input),
        })
    }

    fn unwrap(&mut self, received: &[u8], into: &mut Vec<u8>, replies: &mut Vec<u8>) {
        let mut pipe = Pipe {
            input: received,
            output: replies,
        };
        // A control frame says nothing about a message that may have begun before it.
        let mut silent = !received.is_empty();
        let mut now = None;
        let violation = loop {
            match self.context.read(&mut pipe) {
                Ok(Message::Binary(bytes)) if !bytes.is_empty() => {
                    silent = false;
                    self.inside_message = false;
                    into.extend_from_slice(&bytes);
                }
                Ok(Message::Text(_)) | Err(Error::Utf8(_)) => break Violation::Text,
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                    self.over = Some(Over::Closed);
                    return;
                }
                Ok(empty) => {
                    silent = false;
                    self.inside_message &= !empty.is_binary();
                    let now = *now.get_or_insert_with(super::now);
                    if self.empty_frames.check(1, now).is_err() {
                        break Violation::EmptyFrames;
                    }
                    self.empty_frames.take(1, now);
                }
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.inside_message |= silent;
                    return;
                }
                Err(Error::Capacity(_)) => break Violation::TooLarge,
                Err(_) => break Violation::Frame,
            }
        };
        // The close frame comes last: a client of 5.0 is told in MQTT before.
        self.close_code = violation.close_code();
        self.over = Some(Over::Broken(violation));
    }

    /// Appends `bytes` in a frame to `wire`. Who has closed takes no more (RFC 6455 section 5.5.1).
    pub(super) fn wrap(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        if bytes.is_empty() || self.over == Some(Over::Closed) {
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
        let mut pipe = Pipe {
            input: &[],
            output: wire,
        };
        let frame = CloseFrame {
            code: self.close_code,
            reason: "".into(),
        };
        // An answer to a ping may wait, and nothing goes behind a close frame (RFC 6455 section 5.5.1).
        drop(self.context.flush(&mut pipe));
        // It fails only when the peer has closed already.
        drop(self.context.close(&mut pipe, Some(frame)));
    }
}

fn limited(config: WebSocketConfig, max_message_bytes: usize) -> WebSocketConfig {
    config
        .max_message_size(Some(max_message_bytes))
        .max_frame_size(Some(max_message_bytes))
}

/// What a peer may not send in an open WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    /// MQTT goes in binary messages.
    #[error("a text frame; MQTT is sent in binary ones")]
    Text,
    /// A frame that is not masked, not in its order, or of no known kind.
    #[error("a frame that breaks the WebSocket protocol")]
    Frame,
    /// More than a packet may have.
    #[error("a message larger than a packet may be")]
    TooLarge,
    /// More frames without MQTT than anybody needs.
    #[error("too many frames without MQTT")]
    EmptyFrames,
}

impl Violation {
    /// What `error` means, if it is one of these.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }

    /// What a client of 5.0 is told, and the metric and the audit log.
    pub(super) fn error(self) -> ProtocolError {
        let (reason, label, statement) = match self {
            Self::Text => (
                ReasonCode::MALFORMED_PACKET,
                "websocket_text",
                "MQTT-6.0.0-1",
            ),
            Self::Frame => (
                ReasonCode::MALFORMED_PACKET,
                "websocket_frame",
                "RFC 6455 section 5",
            ),
            Self::TooLarge => (
                ReasonCode::PACKET_TOO_LARGE,
                "websocket_too_large",
                "RFC 6455 section 10.4",
            ),
            Self::EmptyFrames => (
                ReasonCode::MESSAGE_RATE_TOO_HIGH,
                "websocket_empty_frames",
                "RFC 6455 section 7.4.1",
            ),
        };
        ProtocolError::new(reason, label, statement)
    }

    fn close_code(self) -> CloseCode {
        match self {
            Self::Text => CloseCode::Unsupported,
            Self::Frame => CloseCode::Protocol,
            Self::TooLarge => CloseCode::Size,
            Self::EmptyFrames => CloseCode::Policy,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_for_frames_outlives_a_wait_for_more_of_them() {
        let mut websocket = WebSocket::new(1_000);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (mut into, mut replies) = (Vec::new(), Vec::new());
        let mut poll = |bytes: Option<&[u8]>| {
            let polled =
                websocket.poll_input(
                    &mut cx,
                    &mut into,
                    &mut replies,
                    |_, received| match bytes {
                        None => Poll::Pending,
                        Some(bytes) => {
                            received.extend_from_slice(bytes);
                            Poll::Ready(Ok(Input::Bytes { more: false }))
                        }
                    },
                );
            (polled.is_ready(), websocket.received.capacity())
        };
        // PINGREQ in a frame with a mask of zeros.
        let (ready, kept) = poll(Some(&[0x82, 0x82, 0, 0, 0, 0, 0xC0, 0]));
        assert!(ready && kept > 0);
        assert_eq!(poll(None), (false, kept));
        assert_eq!(into, [0xC0, 0]);
    }
}
