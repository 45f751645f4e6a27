//! Brokers as children of the driver: their configuration, their start and their end.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::job::Load;
use crate::material::Material;
use crate::rows::{Row, WINDOW_INFLIGHT};

const START_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A broker to compare, by `NAME=PATH`. A name that begins with `portcullis` is configured as ours,
/// so that two builds can be compared; any other gets mosquitto's directives.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl FromStr for Contender {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, path) = text.split_once('=').ok_or("expected NAME=PATH")?;
        Ok(Self {
            name: name.to_owned(),
            path: path.into(),
        })
    }
}

impl Contender {
    pub(crate) fn is_ours(&self) -> bool {
        self.name.starts_with("portcullis")
    }

    /// The first line in which the program names itself.
    pub(crate) fn version(&self) -> String {
        let flag = if self.is_ours() { "--version" } else { "-h" };
        let output = Command::new(&self.path).arg(flag).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        text.unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) fn start(
        &self,
        row: &Row,
        material: &Material,
        directory: &Path,
    ) -> io::Result<Running> {
        let port = free_port()?;
        let conf_path = directory.join(format!("{}.conf", self.name));
        fs::write(&conf_path, self.conf(row, material, directory, port)?)?;
        let log_path = directory.join(format!("{}.log", self.name));
        let log = File::create(&log_path)?;
        let begin = Instant::now();
        let child = Command::new(&self.path)
            .arg("-c")
            .arg(&conf_path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| io::Error::other(format!("{}: {error}", self.path.display())))?;
        let mut running = Running {
            child,
            port,
            start_ms: 0.0,
        };
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if running.child.try_wait()?.is_some() || begin.elapsed() > START_TIMEOUT {
                let log = fs::read_to_string(&log_path).unwrap_or_default();
                return Err(io::Error::other(format!(
                    "{} did not start: {log}",
                    self.name
                )));
            }
            thread::sleep(Duration::from_micros(500));
        }
        running.start_ms = begin.elapsed().as_secs_f64() * 1000.0;
        Ok(running)
    }

    /// An empty store for a row whose sessions are kept. A name that ends in `memory` has none, to compare
    /// with.
    fn persistence(&self, row: &Row, directory: &Path) -> io::Result<Vec<String>> {
        let is_kept = matches!(row.load, Load::Messages(messages) if messages.kept);
        if !is_kept || self.name.ends_with("memory") {
            return Ok(vec!["persistence false".to_owned()]);
        }
        let store = directory.join(format!("{}-store", self.name));
        match fs::remove_dir_all(&store) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::DirBuilder::new().mode(0o700).create(&store)?;
        Ok(vec![
            "persistence true".to_owned(),
            format!("persistence_location {}/", store.display()),
        ])
    }

    fn conf(
        &self,
        row: &Row,
        material: &Material,
        directory: &Path,
        port: u16,
    ) -> io::Result<String> {
        let mut lines = self.persistence(row, directory)?;
        lines.extend([
            "log_dest none".to_owned(),
            "set_tcp_nodelay true".to_owned(),
            format!("max_inflight_messages {WINDOW_INFLIGHT}"),
            // The generator bounds what is on its way; no queue of a broker may be the bound.
            "max_queued_messages 1000000".to_owned(),
        ]);
        if Uid::effective().is_root() {
            // Both brokers would change to a user who cannot read the files of this run.
            lines.push("user root".to_owned());
        }
        if self.is_ours() {
            // As shipped: metrics, audit log and strict guard on. Only the limits of one address
            // are lifted, because every client of the run has the same one.
            lines.extend([
                format!("metrics_listener {}", free_port()?),
                format!("audit_log {}", directory.join("audit.log").display()),
                "max_queued_bytes 1000000000".to_owned(),
                "max_connections_per_ip 0".to_owned(),
                "connect_rate_per_ip 0".to_owned(),
                "global_max_connections -1".to_owned(),
                "max_retained_messages 2000000".to_owned(),
                "max_retained_bytes 2000000000".to_owned(),
                "memory_limit 4000000000".to_owned(),
            ]);
        }
        lines.push(format!("listener {port} 127.0.0.1"));
        if row.tls {
            lines.push(format!("certfile {}", material.certificate.display()));
            lines.push(format!("keyfile {}", material.key.display()));
            if row.mutual {
                lines.push(format!("cafile {}", material.ca.display()));
                lines.push("require_certificate true".to_owned());
            }
        }
        lines.push(format!("allow_anonymous {}", !row.users));
        if row.users {
            lines.push(format!("password_file {}", material.passwords.display()));
            lines.push(format!("acl_file {}", material.acl.display()));
        }
        Ok(lines.join("\n") + "\n")
    }
}

/// A started broker; ends with this value.
pub(crate) struct Running {
    child: Child,
    pub(crate) port: u16,
    pub(crate) start_ms: f64,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // By its own number, and only while it is still our child: the number cannot be reused.
        if let (Ok(None), Ok(pid)) = (self.child.try_wait(), i32::try_from(self.child.id())) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(2)),
                _ => return,
            }
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A free port below those that outgoing connections are given, so that the generator's do not take
/// it before the broker does.
fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if port >= 15_000 {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
}
