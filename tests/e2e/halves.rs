//! What is written in one go arrives in two: half a packet, half a TLS record, half a frame.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

use crate::clients::ACL;
use crate::support::material::MATERIAL;
use crate::support::raw::{Hello, Raw, Stream};
use crate::support::site::{PATIENCE, Site, eventually};
use crate::websockets::framed_over;

/// Sends the second half of each write when the broker has read the first.
struct Halves(TcpStream);

impl Halves {
    fn to(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("accepted");
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(stream)
    }

    /// Bytes that the kernel keeps for the broker's end of this connection.
    fn unread(&self) -> Option<u64> {
        let port = |address: io::Result<std::net::SocketAddr>| {
            format!(":{:04X}", address.expect("connected").port())
        };
        let (ours, theirs) = (port(self.0.local_addr()), port(self.0.peer_addr()));
        let table = std::fs::read_to_string("/proc/net/tcp").expect("it can be read");
        table.lines().find_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let [_, local, remote, _, queues, ..] = columns[..] else {
                return None;
            };
            let received = queues.split(':').nth(1)?;
            let is_it = local.ends_with(&theirs) && remote.ends_with(&ours);
            is_it.then(|| u64::from_str_radix(received, 16).expect("hexadecimal"))
        })
    }
}

impl Read for Halves {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Halves {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let (first, second) = buf.split_at(buf.len() / 2);
        self.0.write_all(first)?;
        eventually("the broker reads it", || {
            self.unread().is_none_or(|bytes| bytes == 0).then_some(())
        });
        self.0.write_all(second)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Halves {
    fn wait_at_most(&self, time: Duration) {
        self.0.wait_at_most(time);
    }
}

impl Stream for StreamOwned<ClientConnection, Halves> {
    fn wait_at_most(&self, time: Duration) {
        self.sock.wait_at_most(time);
    }
}

fn over_tls(port: u16) -> StreamOwned<ClientConnection, Halves> {
    let name = "localhost".try_into().expect("a name");
    let tls = ClientConnection::new(MATERIAL.tls(None), name).expect("a TLS client");
    StreamOwned::new(tls, Halves::to(port))
}

/// CONNECT, and a message to and fro.
fn is_served(raw: &mut Raw, id: &str) {
    raw.send(&Hello::new(5, id, "inside").encode());
    let connack = raw.receive();
    assert_eq!((connack.first, connack.body[1]), (0x20, 0), "{id}");
    assert_eq!(raw.subscribe(&[("demo/own", 0)]), [0], "{id}");
    raw.publish("demo/own", id, 0, 0);
    assert_eq!(raw.message().payload, id);
}

#[test]
fn a_connect_in_two_pieces_is_a_connect_over_tcp_and_tls() {
    let site = Site::with_users(&["inside"], ACL, "");
    let _broker = site.start();
    is_served(&mut Raw::over(Halves::to(site.plain), 5), "tcp");
    is_served(&mut Raw::over(over_tls(site.tls), 5), "tls");
}

#[test]
fn a_connect_in_two_pieces_is_a_connect_over_websockets_with_and_without_tls() {
    let site = Site::with_users(&["inside"], ACL, "protocol websockets");
    site.on_plain_listener("protocol websockets");
    let _broker = site.start();
    // All of it in one frame, and a byte in each.
    for bytes in [usize::MAX, 1] {
        let plain = Halves::to(site.plain);
        is_served(&mut framed_over(plain, 5, bytes), "ws");
        is_served(&mut framed_over(over_tls(site.tls), 5, bytes), "wss");
    }
}
