//! Makes `tests/fixtures/store/mosquitto-2.0-v6.db` with a real mosquitto:
//! `PORTCULLIS_FIXTURE=FILE cargo test --lib make_a_mosquitto -- --ignored`.
//!
//! Sessions without a user name come first, so that mosquitto has no name to write for them by mistake, and no
//! memory of its own behind it.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A client that says only what it is told to, and answers nothing by itself.
struct Client(TcpStream);

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

impl Client {
    fn send(&mut self, first: u8, parts: &[&[u8]]) {
        let body = parts.concat();
        assert!(body.len() < 128, "its length is written in one byte");
        let mut packet = vec![first, u8::try_from(body.len()).unwrap()];
        packet.extend_from_slice(&body);
        self.0.write_all(&packet).unwrap();
    }

    /// The next packet: its first byte and its body.
    fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        assert!(head[1] < 128, "its length is one byte");
        let mut body = vec![0; usize::from(head[1])];
        self.0.read_exact(&mut body).unwrap();
        (head[0], body)
    }

    fn expect(&mut self, first: u8) -> Vec<u8> {
        let (found, body) = self.receive();
        assert_eq!(found, first, "{body:?}");
        body
    }

    /// Connects with a session that is kept.
    fn connect(port: u16, level: u8, id: &str, username: Option<&str>, properties: &[u8]) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self(stream);
        let flags = if username.is_some() { 0x80 } else { 0 };
        let name = username.map(text).unwrap_or_default();
        client.send(
            0x10,
            &[
                &text("MQTT"),
                &[level, flags, 0, 0],
                properties,
                &text(id),
                &name,
            ],
        );
        client.expect(0x20);
        client
    }

    fn subscribe(&mut self, properties: &[u8], filters: &[(&str, u8)]) {
        let filters: Vec<u8> = filters
            .iter()
            .flat_map(|(filter, options)| [text(filter), vec![*options]].concat())
            .collect();
        self.send(0x82, &[&[0, 1], properties, &filters]);
        let suback = self.expect(0x90);
        assert!(suback[2..].iter().all(|&code| code <= 2), "{suback:?}");
    }

    /// Publishes all the way.
    fn publish(&mut self, flags: u8, topic: &str, properties: &[u8], payload: &str) {
        let id: &[u8] = if flags & 6 == 0 { &[] } else { &[0, 9] };
        self.send(
            0x30 | flags,
            &[&text(topic), id, properties, payload.as_bytes()],
        );
        match flags & 6 {
            2 => drop(self.expect(0x40)),
            4 => {
                self.expect(0x50);
                self.send(0x62, &[&[0, 9]]);
                self.expect(0x70);
            }
            _ => {}
        }
    }

    fn disconnect(mut self) {
        self.send(0xE0, &[]);
        assert_eq!(self.0.read(&mut [0]).unwrap(), 0, "mosquitto closes");
    }
}

struct Mosquitto(Child);

impl Drop for Mosquitto {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start(directory: &Path, port: u16) -> Mosquitto {
    let directory = directory.to_str().unwrap();
    let conf = format!("{directory}/conf");
    let user = nix::unistd::User::from_uid(nix::unistd::getuid())
        .unwrap()
        .unwrap()
        .name;
    fs::write(
        &conf,
        format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser {user}\npersistence true\n\
             persistence_location {directory}/\n"
        ),
    )
    .unwrap();
    let mosquitto = Mosquitto(
        Command::new("/usr/sbin/mosquitto")
            .args(["-c", &conf])
            .spawn()
            .unwrap(),
    );
    until(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    mosquitto
}

fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never was so");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Two sessions and their subscriptions; the first stays connected.
fn sessions(port: u16) -> Client {
    let mut valve = Client::connect(port, 4, "valve", None, &[]);
    valve.subscribe(&[], &[("b/#", 2)]);
    let mut pump = Client::connect(port, 5, "pump", Some("plant"), &[5, 0x11, 0, 0, 0x0E, 0x10]);
    pump.subscribe(&[0], &[("a/zero", 0), ("/lead/+", 1), ("$share/g/s/+", 1)]);
    pump.subscribe(&[2, 0x0B, 7], &[("a/one/+", 1)]);
    // No Local, Retain As Published, Retain Handling 1.
    pump.subscribe(&[3, 0x0B, 0x80, 0x01], &[("a/two/#", 0x1E)]);
    pump.disconnect();
    valve
}

/// Three outgoing messages at different points of their exchange, and one of QoS 2 that is not released.
fn in_flight(valve: &mut Client, source: &mut Client) {
    source.publish(2, "b/puback", &[0], "one");
    source.publish(4, "b/pubrec", &[0], "two");
    source.publish(4, "b/pubcomp", &[0], "three");
    for _ in 0..3 {
        let (_, publish) = valve.receive();
        if publish.ends_with(b"three") {
            let id = &publish[11..13];
            valve.send(0x50, &[id]);
            assert_eq!(valve.expect(0x62), id);
        }
    }
    valve.send(0x34, &[&text("in/flight"), &[0, 77], b"held"]);
    valve.expect(0x50);
}

fn waiting_and_retained(source: &mut Client) {
    source.publish(2, "a/one/x", &[0], "first");
    // Message Expiry Interval of a million seconds, and a User Property.
    let properties: &[u8] = &[12, 2, 0, 0x0F, 0x42, 0x40, 0x26, 0, 1, b'k', 0, 1, b'v'];
    source.publish(5, "a/two/y", properties, "second");
    source.publish(2, "s/1", &[0], "shared");
    // Payload Format, Content Type, Response Topic, Correlation Data, User Property, and Message Expiry.
    let properties: Vec<u8> = [
        &[35, 1, 1, 3, 0, 4][..],
        b"text\x08\0\x03r/t\x09\0\x02cd",
        &[0x26, 0, 1, b'k', 0, 1, b'v', 2, 0, 0, 0x0E, 0x10],
    ]
    .concat();
    let properties = [
        &[u8::try_from(properties.len() - 1).unwrap()],
        &properties[1..],
    ]
    .concat();
    source.publish(3, "kept/1", &properties, "retained");
    source.publish(1, "kept/2", &[0], "");
    source.publish(5, "kept/3", &[0], "plain");
}

#[test]
#[ignore = "makes the fixture, with mosquitto 2.0"]
fn make_a_mosquitto() {
    let target = std::env::var_os("PORTCULLIS_FIXTURE").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mosquitto = start(directory.path(), port);

    let mut valve = sessions(port);
    let mut source = Client::connect(port, 5, "source", Some("writer"), &[0]);
    in_flight(&mut valve, &mut source);
    waiting_and_retained(&mut source);

    let file = directory.path().join("mosquitto.db");
    let pid = i32::try_from(mosquitto.0.id()).unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGUSR1,
    )
    .unwrap();
    until(|| file.exists());
    fs::copy(file, target).unwrap();
}
