//! The real broker: a session that goes on is held against the rights of its client of now.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longer than anything takes: only a failure waits for it.
const DEADLINE: Duration = Duration::from_secs(60);

struct Broker {
    child: Child,
    dir: tempfile::TempDir,
}

impl Broker {
    fn start(acl: &str, guard: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let conf = format!(
            "security_profile compatible\nallow_anonymous true\naudit_log off\n\
             subscribe_guard {guard}\nacl_file {0}/acl\nlistener 0 {0}/socket\n",
            dir.path().display()
        );
        std::fs::write(dir.path().join("acl"), acl).expect("written");
        std::fs::write(dir.path().join("conf"), conf).expect("written");
        let child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .arg("-q")
            .arg("-c")
            .arg(dir.path().join("conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("started");
        let broker = Self { child, dir };
        let until = Instant::now() + DEADLINE;
        while UnixStream::connect(broker.socket()).is_err() {
            assert!(Instant::now() < until, "the broker does not listen");
            std::thread::yield_now();
        }
        broker
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    fn reload(&self, acl: &str) {
        std::fs::write(self.dir.path().join("acl"), acl).expect("written");
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGHUP).expect("told");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Nothing can be done about a broker that is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A client of 3.1.1 that is called as its user.
struct Client(UnixStream);

impl Client {
    fn connect(socket: &Path, name: &str, clean: bool) -> (Self, bool) {
        let stream = UnixStream::connect(socket).expect("connected");
        stream.set_read_timeout(Some(DEADLINE)).expect("set");
        let flags = 0x80 | u8::from(clean) << 1;
        let mut client = Self(stream);
        let body = [
            &text("MQTT")[..],
            &[4, flags, 0, 0],
            &text(name),
            &text(name),
        ]
        .concat();
        client.send(0x10, &body);
        let (first, connack) = client.packet();
        assert_eq!((first, connack[1]), (0x20, 0), "{name} is let in");
        (client, connack[0] == 1)
    }

    fn send(&mut self, first: u8, body: &[u8]) {
        let length = u8::try_from(body.len()).expect("short");
        assert!(length < 128);
        let bytes = [&[first, length][..], body].concat();
        self.0.write_all(&bytes).expect("sent");
    }

    /// First byte and body of the next packet.
    fn packet(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).expect("a packet");
        let mut body = vec![0; usize::from(head[1])];
        self.0.read_exact(&mut body).expect("its body");
        (head[0], body)
    }

    fn subscribe(&mut self, filter: &str) -> u8 {
        self.send(0x82, &[&[0, 1][..], &text(filter), &[1]].concat());
        let (first, body) = self.packet();
        assert_eq!(first, 0x90);
        body[2]
    }

    fn publish(&mut self, topic: &str) {
        self.send(0x32, &[&text(topic)[..], &[0, 7], b"x"].concat());
        assert_eq!(self.packet(), (0x40, vec![0, 7]));
    }

    /// The topic of the next PUBLISH of QoS 1, which is acknowledged.
    fn received(&mut self) -> String {
        let (first, body) = self.packet();
        assert_eq!(first & 0xF6, 0x32, "a PUBLISH of QoS 1");
        let end = 2 + usize::from(body[0]) * 256 + usize::from(body[1]);
        self.send(0x40, &body[end..end + 2]);
        String::from_utf8(body[2..end].to_vec()).expect("UTF-8")
    }

    /// Leaves, and returns when the broker has closed.
    fn leave(mut self) {
        self.send(0xE0, &[]);
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("closed");
        assert!(rest.is_empty());
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

#[test]
fn under_the_filter_guard_a_resumed_session_is_sent_only_what_its_client_may_read() {
    let broker = Broker::start(
        "user reader\ntopic read open/#\nuser writer\ntopic #\n",
        "filter",
    );
    let (mut reader, _) = Client::connect(&broker.socket(), "reader", false);
    assert_eq!(reader.subscribe("#"), 1);
    reader.leave();
    let (mut writer, _) = Client::connect(&broker.socket(), "writer", true);
    writer.publish("secret/1");
    writer.publish("open/1");
    let (mut reader, present) = Client::connect(&broker.socket(), "reader", false);
    assert!(present);
    assert_eq!(reader.received(), "open/1");
    writer.publish("secret/2");
    writer.publish("open/2");
    assert_eq!(reader.received(), "open/2");
}

#[test]
fn a_right_taken_away_while_a_client_was_absent_is_gone_when_it_comes_back() {
    let broker = Broker::start(
        "user reader\ntopic read plant/#\nuser writer\ntopic #\n",
        "strict",
    );
    let (mut reader, _) = Client::connect(&broker.socket(), "reader", false);
    assert_eq!(reader.subscribe("plant/#"), 1);
    assert_eq!(reader.subscribe("plant/open"), 1);
    reader.leave();
    let (mut writer, _) = Client::connect(&broker.socket(), "writer", true);
    writer.publish("plant/secret");
    broker
        .reload("user reader\ntopic read plant/open\nuser writer\ntopic #\nuser probe\ntopic #\n");
    let until = Instant::now() + DEADLINE;
    loop {
        let (mut probe, _) = Client::connect(&broker.socket(), "probe", true);
        if probe.subscribe("probe") != 0x80 {
            break;
        }
        assert!(Instant::now() < until, "the new rules do not come");
    }
    let (mut reader, present) = Client::connect(&broker.socket(), "reader", false);
    assert!(present);
    writer.publish("plant/secret");
    writer.publish("plant/open");
    assert_eq!(reader.received(), "plant/open");
}
