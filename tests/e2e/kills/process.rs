//! The broker that is killed: ours, or one to compare with.

use std::fs::File;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::support::site::{Broker, Site, eventually};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contender {
    Portcullis,
    /// As Debian has it, writing its state every second, which is as often as it can.
    Mosquitto,
}

pub(super) enum Process<'a> {
    Portcullis(Broker<'a>),
    Mosquitto(Child),
}

const PORTCULLIS: &str = "\
security_profile compatible
listener {plain} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {dir}/kept
max_queued_messages 0
max_queued_bytes 0
";

const MOSQUITTO: &str = "\
user root
listener {plain} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {dir}/kept/
autosave_interval 1
max_queued_messages 0
";

impl Contender {
    /// A place with its configuration and an empty store.
    pub(super) fn site(self) -> Site {
        let site = Site::new();
        std::fs::create_dir(site.path("kept")).expect("a directory");
        match self {
            Self::Portcullis => site.conf(PORTCULLIS),
            Self::Mosquitto => site.write("mosquitto.conf", &site.fill(MOSQUITTO)),
        }
        site
    }

    /// Starts it and waits until it accepts connections.
    pub(super) fn start(self, site: &Site) -> Process<'_> {
        match self {
            Self::Portcullis => Process::Portcullis(site.start()),
            Self::Mosquitto => {
                let process = self.begin(site);
                eventually("mosquitto accepts", || {
                    TcpStream::connect(("127.0.0.1", site.plain)).ok()
                });
                process
            }
        }
    }

    /// Starts it and does not wait.
    pub(super) fn begin(self, site: &Site) -> Process<'_> {
        match self {
            Self::Portcullis => {
                let conf = site.path_text("portcullis.conf");
                Process::Portcullis(site.spawn(&["-c", &conf]))
            }
            Self::Mosquitto => {
                let log = File::create(site.path("mosquitto.log")).expect("a log");
                let child = Command::new("/usr/sbin/mosquitto")
                    .args(["-c", &site.path_text("mosquitto.conf")])
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(log)
                    .spawn();
                Process::Mosquitto(child.expect("scripts/test.sh installs it"))
            }
        }
    }
}

impl Process<'_> {
    /// SIGKILL, and its end.
    pub(super) fn kill(self) {
        if let Process::Portcullis(broker) = &self {
            broker.signal(Signal::SIGKILL);
        }
        self.wait();
    }

    /// Waits for its end, which the other one does not reach by itself.
    pub(super) fn wait(mut self) {
        if let Process::Portcullis(broker) = &mut self {
            broker.wait();
        }
    }

    /// SIGTERM, which lets it say goodbye.
    pub(super) fn terminate(&self) {
        if let Process::Portcullis(broker) = self {
            broker.signal(Signal::SIGTERM);
        }
    }

    pub(super) fn is_running(&mut self) -> bool {
        match self {
            Process::Portcullis(broker) => broker.is_running(),
            Process::Mosquitto(child) => child.try_wait().expect("it can be asked").is_none(),
        }
    }
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        if let Process::Mosquitto(child) = self {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
