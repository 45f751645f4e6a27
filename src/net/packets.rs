//! Whole packets read and written one at a time, before a connection has a turn of its own.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use crate::codec::{self, DecodeError};

use super::cores::with_core;
use super::transport::{Input, Transport};
use super::websocket::Violation;

/// Why there is no packet.
pub(super) enum NoPacket {
    /// The socket failed or the peer went away.
    Gone,
    /// What came is none.
    Malformed(DecodeError),
    /// What came is nothing that a WebSocket may bring.
    NoFrame(Violation),
}

impl From<io::Error> for NoPacket {
    fn from(error: io::Error) -> Self {
        Violation::of(&error).map_or(Self::Gone, Self::NoFrame)
    }
}

/// As [`read_packet`], for the first packet: anything but CONNECT is refused at its first byte.
pub(super) async fn read_first(
    transport: &mut Transport,
    buffer: &mut Vec<u8>,
    limits: &codec::Limits,
) -> Result<usize, NoPacket> {
    // A WebSocket may bring a ping first, which is nothing of MQTT.
    while buffer.is_empty() {
        read_more(transport, buffer).await?;
    }
    match buffer.first() {
        Some(&first) if codec::is_connect(first) => read_packet(transport, buffer, limits).await,
        _ => Err(NoPacket::Malformed(DecodeError::not_connect())), // [MQTT-3.1.0-1]
    }
}

/// Reads until one whole packet is there; gives its length. Nothing is reserved for bytes of a packet
/// that are only announced. For a WebSocket frame the library reserves what its header announces, at
/// most the largest packet; memory that nothing was written to is not resident.
pub(super) async fn read_packet(
    transport: &mut Transport,
    buffer: &mut Vec<u8>,
    limits: &codec::Limits,
) -> Result<usize, NoPacket> {
    loop {
        if let Some(length) =
            codec::frame_length(buffer, limits.max_packet_bytes).map_err(NoPacket::Malformed)?
            && buffer.len() >= length
        {
            return Ok(length);
        }
        read_more(transport, buffer).await?;
    }
}

async fn read_more(transport: &mut Transport, buffer: &mut Vec<u8>) -> Result<(), NoPacket> {
    let input = poll_fn(|cx| {
        with_core(|core| transport.poll_input(cx, &mut core.input, buffer))
            .unwrap_or(Poll::Ready(Ok(Input::Closed)))
    });
    match input.await? {
        Input::Closed => Err(NoPacket::Gone),
        Input::Bytes { .. } => Ok(()),
    }
}

pub(super) async fn send(transport: &mut Transport, out: &[u8]) -> io::Result<()> {
    let mut queued = false;
    poll_fn(|cx| {
        transport.send(cx, if queued { &[] } else { out })?;
        queued = true;
        if transport.is_blocked() {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    })
    .await
}

pub(super) async fn finish(transport: &mut Transport, out: &[u8]) -> io::Result<()> {
    let mut queued = false;
    poll_fn(|cx| {
        let bytes = if queued { &[][..] } else { out };
        if !queued && !out.is_empty() {
            transport.send(cx, bytes)?;
        } else {
            transport.send(cx, &[])?;
        }
        if !queued {
            queued = true;
            transport.close_notify(cx);
            transport.send(cx, &[])?;
        }
        if transport.is_blocked() {
            return Poll::Pending;
        }
        transport.poll_shutdown(cx)
    })
    .await
}
