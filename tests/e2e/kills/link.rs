//! One connection that never blocks: bytes are read when they are there and written when they fit.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::support::raw::Packet;

pub(super) struct Link {
    stream: TcpStream,
    read: Vec<u8>,
    unwritten: Vec<u8>,
}

impl Link {
    /// `None` if nobody listens.
    pub(super) fn open(port: u16, registry: &Registry, token: Token) -> Option<Self> {
        // On loopback this takes no time, whether somebody is there or not.
        let stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_nonblocking(true).ok()?;
        let mut stream = TcpStream::from_std(stream);
        let both = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, token, both).ok()?;
        Some(Self {
            stream,
            read: Vec::new(),
            unwritten: Vec::new(),
        })
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.unwritten.extend_from_slice(bytes);
    }

    /// Whether so much waits to be written that more had better wait.
    pub(super) fn is_full(&self) -> bool {
        self.unwritten.len() > 65_536
    }

    /// Whatever has come; and whether there will be more.
    pub(super) fn read(&mut self) -> (Vec<Packet>, bool) {
        let mut chunk = [0; 16_384];
        let open = loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => break false,
                Ok(length) => self.read.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break false,
            }
        };
        let mut packets = Vec::new();
        while let Some(packet) = Packet::take(&mut self.read) {
            packets.push(packet);
        }
        (packets, open)
    }

    /// Writes what fits. The end of the connection is seen by reading.
    pub(super) fn write(&mut self) {
        while !self.unwritten.is_empty() {
            match self.stream.write(&self.unwritten) {
                Ok(length) => drop(self.unwritten.drain(..length)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}
