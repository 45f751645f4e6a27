//! The wire between one client and the broker: what the client sent becomes readable when the
//! simulation lets it, what the broker sent is kept to be read as far as the simulation lets it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each end can be closed or broken by itself"
)]
struct Inner {
    /// From the client, as far as the broker may read.
    up: Vec<u8>,
    read: usize,
    /// The client's side is closed: after `up` comes the end.
    up_closed: bool,
    /// From the broker; what is said after a reset is here too, though nobody hears it.
    down: Vec<u8>,
    /// Bytes the broker may still write; `None` is no bound.
    room: Option<usize>,
    was_full: bool,
    mute: bool,
    reset: bool,
    broker_closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The simulation's end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line(Arc<Mutex<Inner>>);

/// The broker's end.
#[derive(Debug)]
pub(crate) struct BrokerEnd(Arc<Mutex<Inner>>);

impl Line {
    pub(crate) fn broker_end(&self) -> BrokerEnd {
        BrokerEnd(Arc::clone(&self.0))
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let wakers = {
            let mut inner = self.0.lock();
            change(&mut inner);
            [inner.reader.take(), inner.writer.take()]
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Bytes of the client arrive at the broker.
    pub(crate) fn arrive(&self, bytes: &[u8]) {
        self.change(|inner| inner.up.extend_from_slice(bytes));
    }

    /// The client's side ends in order: what has arrived is still read.
    pub(crate) fn end(&self) {
        self.change(|inner| {
            inner.up_closed = true;
            inner.room = None;
        });
    }

    /// The connection breaks in both directions.
    pub(crate) fn reset(&self) {
        self.change(|inner| {
            inner.reset = true;
            inner.up_closed = true;
        });
    }

    /// From now on the broker may write so many bytes more.
    pub(crate) fn narrow(&self, room: Option<usize>) {
        let writer = {
            let mut inner = self.0.lock();
            inner.room = room;
            inner.writer.take_if(|_| room != Some(0))
        };
        writer.into_iter().for_each(Waker::wake);
    }

    /// What the broker has said since `from`.
    pub(crate) fn said(&self, from: usize) -> Vec<u8> {
        self.0.lock().down[from..].to_vec()
    }

    pub(crate) fn said_bytes(&self) -> usize {
        self.0.lock().down.len()
    }

    pub(crate) fn is_closed_by_broker(&self) -> bool {
        self.0.lock().broker_closed
    }

    /// Whether the broker ever found it full.
    pub(crate) fn was_full(&self) -> bool {
        self.0.lock().was_full
    }

    /// Whether the broker has read all that arrived.
    pub(crate) fn is_read(&self) -> bool {
        let inner = self.0.lock();
        inner.read == inner.up.len()
    }
}

impl AsyncRead for BrokerEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.0.lock();
        if inner.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let count = buf.remaining().min(inner.up.len() - inner.read);
        if count == 0 && !inner.up_closed {
            inner.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        buf.put_slice(&inner.up[inner.read..inner.read + count]);
        inner.read += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BrokerEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.lock();
        if inner.reset {
            // The broker believes it said this; it may try the same bytes again while it closes.
            if !std::mem::replace(&mut inner.mute, true) {
                inner.down.extend_from_slice(buf);
            }
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = inner.room.map_or(buf.len(), |room| room.min(buf.len()));
        if count < buf.len() {
            inner.was_full = true;
        }
        if count == 0 && !buf.is_empty() {
            inner.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        inner.down.extend_from_slice(&buf[..count]);
        inner.room = inner.room.map(|room| room - count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().broker_closed = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for BrokerEnd {
    fn drop(&mut self) {
        self.0.lock().broker_closed = true;
    }
}
