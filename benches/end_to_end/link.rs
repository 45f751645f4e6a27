//! A client connection: opened with blocking calls, then driven by readiness.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::job::Job;
use crate::wire::{self, Frame, PublishTemplate, Stamp};

const SETUP_TIMEOUT: Duration = Duration::from_secs(20);

/// How connections of one job are opened.
#[derive(Clone)]
pub(crate) struct Opener {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    users: bool,
}

impl Opener {
    pub(crate) fn new(job: &Job) -> io::Result<Self> {
        let tls = job
            .ca_file
            .as_deref()
            .map(|file| client_config(file, job))
            .transpose()?;
        Ok(Self {
            address: (Ipv4Addr::LOCALHOST, job.port).into(),
            tls,
            users: job.users,
        })
    }

    /// Connects and reads the CONNACK; `number` names the client and its user.
    pub(crate) fn open(&self, number: usize) -> io::Result<Opened> {
        self.open_with(number, true)
    }

    /// As [`Opener::open`], with a session that is kept.
    pub(crate) fn open_kept(&self, number: usize) -> io::Result<Opened> {
        self.open_with(number, false)
    }

    fn open_with(&self, number: usize, clean_session: bool) -> io::Result<Opened> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SETUP_TIMEOUT))?;
        // A reset on close: tens of thousands of connections must not linger in TIME_WAIT.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        let tls = match &self.tls {
            Some(config) => {
                let name = ServerName::from(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST));
                let connection = ClientConnection::new(Arc::clone(config), name);
                Some(Box::new(connection.map_err(io::Error::other)?))
            }
            None => None,
        };
        let mut opened = Opened { stream, tls };
        let user = format!("user{number}");
        let credentials = self.users.then_some((user.as_str(), "benchmark"));
        opened.write_all(&wire::connect(
            &format!("bench-{number}"),
            clean_session,
            credentials,
        ))?;
        let connack = opened.read_packet()?;
        if connack != [wire::CONNACK << 4, 2, 0, 0] {
            return Err(io::Error::other(format!(
                "client {number}: CONNACK {connack:?}"
            )));
        }
        Ok(opened)
    }
}

fn client_config(ca_file: &Path, job: &Job) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let pem = fs::read(ca_file)?;
    let certificate = CertificateDer::from_pem_slice(&pem).map_err(io::Error::other)?;
    roots.add(certificate).map_err(io::Error::other)?;
    let provider = if job.hybrid {
        aws_lc_rs::default_provider()
    } else {
        CryptoProvider {
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        }
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let mut config = match &job.identity {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificate = CertificateDer::from_pem_file(certificate);
            let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
            config
                .with_client_auth_cert(vec![certificate.map_err(io::Error::other)?], key)
                .map_err(io::Error::other)?
        }
    };
    // Every handshake is a full one, so that it counts the same for each broker.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// A connected client that still blocks.
pub(crate) struct Opened {
    pub(crate) stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Opened {
    /// Subscribes and insists on every filter being granted as asked.
    pub(crate) fn subscribe(&mut self, filters: &[String], qos: u8) -> io::Result<()> {
        self.write_all(&wire::subscribe(1, filters, qos))?;
        let suback = self.read_packet()?;
        let frame = Frame::split(&suback)?.ok_or(ErrorKind::UnexpectedEof)?;
        let granted = frame.body.get(2..).unwrap_or_default();
        if frame.kind() != wire::SUBACK || granted != vec![qos; filters.len()] {
            return Err(io::Error::other(format!("SUBACK {suback:?}")));
        }
        Ok(())
    }

    /// Publishes at QoS 1 and waits for the acknowledgement.
    pub(crate) fn publish_acked(&mut self, template: &PublishTemplate) -> io::Result<()> {
        let mut packet = Vec::new();
        let stamp = Stamp {
            stream: 0,
            sequence: 0,
            sent_ns: 0,
        };
        template.append(&mut packet, 1, &stamp);
        self.write_all(&packet)?;
        let puback = self.read_packet()?;
        if puback != [wire::PUBACK << 4, 2, 0, 1] {
            return Err(io::Error::other(format!("PUBACK {puback:?}")));
        }
        Ok(())
    }

    /// Publishes without waiting for anything.
    pub(crate) fn publish_all(&mut self, packets: &[u8]) -> io::Result<()> {
        self.write_all(packets)
    }

    /// Reads until so many messages have come; of a plain connection.
    pub(crate) fn receive(&mut self, count: usize) -> io::Result<()> {
        let mut buffer = vec![0; 256 * 1024];
        let (mut filled, mut received) = (0, 0);
        while received < count {
            let read_bytes = self.stream.read(&mut buffer[filled..])?;
            if read_bytes == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            filled += read_bytes;
            let mut at = 0;
            while let Some(frame) = Frame::split(&buffer[at..filled])? {
                received += usize::from(frame.kind() == wire::PUBLISH);
                at += frame.whole_bytes;
            }
            buffer.copy_within(at..filled, 0);
            filled -= at;
        }
        Ok(())
    }

    /// DISCONNECT, then wait for the broker to close.
    pub(crate) fn disconnect(mut self) {
        if self.write_all(&wire::DISCONNECT).is_err() {
            return;
        }
        let mut rest = [0; 1024];
        // Tickets may come first; an error is as good an end as a FIN.
        while self
            .stream
            .read(&mut rest)
            .is_ok_and(|read_bytes| read_bytes > 0)
        {}
    }

    /// Whether the broker has kept the connection.
    pub(crate) fn is_open(&self) -> bool {
        self.stream.set_nonblocking(true).is_ok()
            && match self.stream.peek(&mut [0]) {
                Ok(peeked) => peeked > 0,
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            }
    }

    /// Hands the connection to the event loop.
    pub(crate) fn into_link(self) -> io::Result<Link> {
        self.stream.set_nonblocking(true)?;
        let mut tls = self.tls;
        if let Some(tls) = &mut tls {
            tls.set_buffer_limit(None);
        }
        Ok(Link {
            stream: mio::net::TcpStream::from_std(self.stream),
            tls,
            out: Vec::new(),
            partial: Vec::new(),
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => {
                let mut stream = rustls::Stream::new(tls.as_mut(), &mut self.stream);
                stream.write_all(bytes)?;
                stream.flush()
            }
            None => self.stream.write_all(bytes),
        }
    }

    fn read_packet(&mut self) -> io::Result<Vec<u8>> {
        let mut packet = Vec::new();
        while Frame::split(&packet)?.is_none() {
            let mut byte = [0];
            match &mut self.tls {
                Some(tls) => {
                    rustls::Stream::new(tls.as_mut(), &mut self.stream).read_exact(&mut byte)?;
                }
                None => self.stream.read_exact(&mut byte)?,
            }
            packet.push(byte[0]);
        }
        Ok(packet)
    }
}

/// A connection in the event loop.
pub(crate) struct Link {
    pub(crate) stream: mio::net::TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Bytes to send; under TLS they are still plain.
    pub(crate) out: Vec<u8>,
    /// The beginning of a packet whose rest has not arrived.
    partial: Vec<u8>,
}

impl Link {
    /// Reads once and leaves all whole packets, and the tail, in `plain`. True: there may be more.
    pub(crate) fn read(&mut self, cipher: &mut [u8], plain: &mut Vec<u8>) -> io::Result<bool> {
        plain.clear();
        plain.append(&mut self.partial);
        let room = cipher.len();
        let read_bytes = loop {
            match self.stream.read(cipher) {
                Ok(0) => return Err(io::Error::other("the broker closed a connection")),
                Ok(read_bytes) => break read_bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        let mut records = &cipher[..read_bytes];
        match &mut self.tls {
            Some(tls) => {
                while !records.is_empty() {
                    tls.read_tls(&mut records)?;
                    let state = tls.process_new_packets().map_err(io::Error::other)?;
                    let start = plain.len();
                    plain.resize(start + state.plaintext_bytes_to_read(), 0);
                    tls.reader().read_exact(&mut plain[start..])?;
                }
            }
            None => plain.extend_from_slice(records),
        }
        Ok(read_bytes == room)
    }

    /// Keeps what `read` gave beyond the last whole packet.
    pub(crate) fn keep(&mut self, tail: &[u8]) {
        self.partial.extend_from_slice(tail);
    }

    /// Sends as much as the socket takes; the rest waits for the next edge of writability.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            if !self.out.is_empty() {
                tls.writer().write_all(&self.out)?;
                self.out.clear();
            }
            while tls.wants_write() {
                match tls.write_tls(&mut self.stream) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            return Ok(());
        }
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.write(&self.out[sent..]) {
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.out.drain(..sent);
        Ok(())
    }
}
