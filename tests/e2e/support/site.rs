//! A directory with configuration files, and the real program run on it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::material::{MATERIAL, put};
use super::secrets;

/// Nothing here takes so long; who waits longer waits for something that does not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The password of every user, made once: hashing it for each test would be most of the test.
pub(crate) const PASSWORD: &str = "correct horse";

/// A place for one broker: files, and ports nobody else has.
pub(crate) struct Site {
    dir: tempfile::TempDir,
    pub(crate) plain: u16,
    pub(crate) tls: u16,
    pub(crate) metrics: u16,
}

/// Ports that are free, and that no outgoing connection is given: those are above 32,767. Each is
/// handed out once, beginning at another place in each process.
fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    [(); N].map(|()| {
        loop {
            let number = std::process::id() * 97 + NEXT.fetch_add(1, Ordering::Relaxed);
            let port = 20_000 + u16::try_from(number % 12_000).expect("small");
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    })
}

impl Site {
    /// Certificates are in place; users and rules are what the test writes.
    pub(crate) fn new() -> Self {
        let [plain, tls, metrics] = free_ports();
        let dir = tempfile::tempdir().expect("a directory");
        MATERIAL.write(dir.path());
        Self {
            dir,
            plain,
            tls,
            metrics,
        }
    }

    /// A site whose users all have [`PASSWORD`], with `acl`, a plain and a TLS listener on
    /// loopback, metrics and an audit log, and `more` directives.
    pub(crate) fn with_users(users: &[&str], acl: &str, more: &str) -> Self {
        let site = Self::new();
        site.users(users);
        site.write("acl.conf", acl);
        site.conf(&format!("{STANDARD}\n{more}"));
        site
    }

    /// Writes directives behind the `listener` line of the plain listener.
    pub(crate) fn on_plain_listener(&self, directives: &str) {
        let line = format!("listener {} 127.0.0.1\n", self.plain);
        let more = format!("{line}{directives}\n");
        let conf = self.read("portcullis.conf").replacen(&line, &more, 1);
        self.write("portcullis.conf", &conf);
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn path_text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        put(self.dir.path(), name, text);
    }

    /// As [`Site::write`], over a file that may not be written.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        self.write("next", text);
        std::fs::rename(self.path("next"), self.path(name)).expect("renamed");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn users(&self, users: &[&str]) {
        let mut lines = String::new();
        for user in users {
            lines.push_str(&format!("{user}:{}\n", stored_password()));
        }
        self.write("passwd", &lines);
    }

    /// Writes `portcullis.conf`, with the ports and the directory filled in. Tests may run as root,
    /// whose files nobody else can read, so the account stays.
    pub(crate) fn conf(&self, text: &str) {
        let account = if nix::unistd::geteuid().is_root() {
            "user root\n"
        } else {
            ""
        };
        self.write("portcullis.conf", &format!("{account}{}", self.fill(text)));
    }

    /// `text` with `{dir}`, `{plain}`, `{tls}` and `{metrics}` filled in.
    pub(crate) fn fill(&self, text: &str) -> String {
        text.replace("{dir}", &self.dir().display().to_string())
            .replace("{plain}", &self.plain.to_string())
            .replace("{tls}", &self.tls.to_string())
            .replace("{metrics}", &self.metrics.to_string())
    }

    /// Runs `portcullis -c portcullis.conf` and waits until it accepts connections.
    pub(crate) fn start(&self) -> Broker<'_> {
        let conf = self.path_text("portcullis.conf");
        self.start_with(&["-c", &conf])
    }

    pub(crate) fn start_with(&self, arguments: &[&str]) -> Broker<'_> {
        let mut broker = self.spawn(arguments);
        broker.until_ready();
        broker
    }

    /// Starts the program and does not wait for it.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Broker<'_> {
        self.spawn_with(&[], arguments)
    }

    pub(crate) fn spawn_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Broker<'_> {
        let log = File::create(self.path("broker.log")).expect("a log");
        let out = File::create(self.path("broker.out")).expect("a file");
        let child = program()
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(log)
            .spawn()
            .expect("the program starts");
        Broker { site: self, child }
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(&[], arguments)
    }

    /// Runs the program to its end, with variables in its environment.
    pub(crate) fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
        let output = program()
            .args(arguments)
            .envs(variables.iter().copied())
            .current_dir(self.dir())
            .stdin(Stdio::null())
            .output()
            .expect("the program runs");
        let ended = Ended {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        secrets::used_in_files(self.dir());
        secrets::assert_none_in("its output", &ended.out);
        secrets::assert_none_in("its errors", &ended.err);
        ended
    }

    /// Whatever a broker wrote here: its output, its logs, and what it serves as metrics.
    fn assert_nothing_shows_a_secret(&self, metrics: &str) {
        secrets::used_in_files(self.dir());
        secrets::assert_none_in("/metrics", metrics);
        for entry in std::fs::read_dir(self.dir())
            .expect("the directory")
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains(".log") || name == "broker.out" {
                let text = std::fs::read(entry.path()).unwrap_or_default();
                secrets::assert_none_in(&name, &String::from_utf8_lossy(&text));
            }
        }
    }

    pub(crate) fn run_conf(&self) -> Ended {
        self.run(&["-c", &self.path_text("portcullis.conf")])
    }
}

/// The program, without what the environment of the tests may say.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.env_remove("PORTCULLIS_SECURITY_PROFILE");
    command.env_remove("MOSQUITTO_PERSISTENCE_LOCATION");
    command
}

/// What a program said before it ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Both listeners on loopback with the same users and rules.
pub(crate) const STANDARD: &str = "\
listener {plain} 127.0.0.1
listener {tls} 127.0.0.1
certfile {dir}/server.crt
keyfile {dir}/server.key
allow_anonymous false
password_file {dir}/passwd
acl_file {dir}/acl.conf
metrics_listener {metrics} 127.0.0.1
audit_log {dir}/audit.log
connect_rate_per_ip 0
max_connections_per_ip 0
";

fn stored_password() -> &'static str {
    use std::sync::LazyLock;
    static STORED: LazyLock<String> = LazyLock::new(|| {
        portcullis::auth::StoredHash::create(
            PASSWORD.as_bytes(),
            portcullis::auth::HashAlgorithm::default(),
        )
        .expect("a hash")
        .as_str()
        .to_owned()
    });
    &STORED
}

/// The program while it runs. It is killed when dropped, so that no test leaves one behind.
pub(crate) struct Broker<'a> {
    pub(crate) site: &'a Site,
    child: Child,
}

impl Broker<'_> {
    pub(crate) fn until_ready(&mut self) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                panic!("it ended with {status}:\n{}", self.log());
            }
            if self.site.read("broker.log").contains("accepts connections") {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it never accepted connections:\n{}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        self.site.read("broker.log")
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("it runs");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("the child can be asked")
            .is_none()
    }

    /// SIGHUP, and what the audit log says of it.
    pub(crate) fn reload(&self) -> serde_json::Value {
        let before = self.audit("reload").len();
        self.signal(nix::sys::signal::Signal::SIGHUP);
        eventually("the reload is told", || {
            self.audit("reload").into_iter().nth(before)
        })
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        self.wait()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the program ends", || {
            self.child.try_wait().expect("the child can be asked")
        })
    }

    /// The audit events with this name so far.
    pub(crate) fn audit(&self, event: &str) -> Vec<serde_json::Value> {
        self.site
            .read("audit.log")
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|line| line["event"] == event)
            .collect()
    }

    /// Waits for an audit event with this name that `wanted` accepts.
    pub(crate) fn audited(
        &self,
        event: &str,
        wanted: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        eventually(&format!("an audit event {event}"), || {
            self.audit(event).into_iter().find(|line| wanted(line))
        })
    }

    pub(crate) fn http(&self, path: &str) -> String {
        self.try_http(path).expect("metrics are served")
    }

    fn try_http(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.site.metrics))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// The value of one sample, as it is named in the text: `name{label="value"}`.
    pub(crate) fn metric(&self, sample: &str) -> f64 {
        let text = self.http("/metrics");
        text.lines()
            .find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
            .unwrap_or_else(|| panic!("no sample {sample} in\n{text}"))
    }

    /// Waits until the sample has the value.
    pub(crate) fn metric_becomes(&self, sample: &str, value: f64) {
        let until = Instant::now() + PATIENCE;
        let mut last = self.metric(sample);
        while (last - value).abs() > f64::EPSILON {
            assert!(
                Instant::now() < until,
                "{sample} is {last} and never became {value}"
            );
            std::thread::sleep(Duration::from_millis(20));
            last = self.metric(sample);
        }
    }

    /// CPU time of all its threads so far, in clock ticks.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("it runs");
        // The second field is a name in brackets, which may hold anything.
        let (_, rest) = stat.rsplit_once(") ").expect("a name");
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = |field: usize| fields[field].parse::<u64>().expect("a number");
        ticks(11) + ticks(12)
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        status
            .expect("it runs")
            .lines()
            .find_map(|line| {
                line.strip_prefix("VmRSS:")?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            })
            .expect("a size")
    }
}

impl Drop for Broker<'_> {
    fn drop(&mut self) {
        // It may have ended, or have no such listener.
        let metrics = self.try_http("/metrics").unwrap_or_default();
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- what the broker said\n{}", self.log());
        } else {
            self.site.assert_nothing_shows_a_secret(&metrics);
        }
    }
}

/// Asks until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
