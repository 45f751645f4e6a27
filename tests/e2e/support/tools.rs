//! The programs users have: run, and what they say.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use super::site::{PASSWORD, PATIENCE, Site};

/// A program that runs while the test goes on.
pub(crate) struct Tool {
    child: Child,
    lines: Receiver<String>,
}

/// How a program ended, and both of its outputs together.
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
}

impl Tool {
    /// Starts a program; its output and errors are read together.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/test.sh installs it"));
        let (send, lines) = channel();
        let errors = child.stderr.take().expect("piped");
        let output = child.stdout.take().expect("piped");
        let copy = send.clone();
        std::thread::spawn(move || {
            BufReader::new(errors)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| copy.send(line))
        });
        std::thread::spawn(move || {
            BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| send.send(line))
        });
        Self { child, lines }
    }

    /// Reads lines until one holds `part`.
    pub(crate) fn until(&self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("{part:?} was never said ({error}), only {seen:#?}"),
            }
        }
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("it runs");
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        let deadline = Instant::now() + PATIENCE;
        let mut text = Vec::new();
        let code = loop {
            text.extend(self.lines.try_iter());
            if let Some(status) = self.child.try_wait().expect("it can be asked") {
                break status.code();
            }
            assert!(Instant::now() < deadline, "it never ended: {text:#?}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        // Its output is closed now, so this ends.
        text.extend(self.lines.iter());
        Finished {
            code,
            text: text.join("\n"),
        }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// How to reach a listener with mosquitto's programs.
#[derive(Clone, Copy)]
pub(crate) enum By<'a> {
    Plain,
    Tls,
    /// TLS with `NAME.crt` and `NAME.key` of the site.
    Certificate(&'a str),
}

/// `mosquitto_pub` or `mosquitto_sub` for a user of the site.
pub(crate) fn mosquitto(
    program: &str,
    site: &Site,
    by: By<'_>,
    user: Option<&str>,
    arguments: &[&str],
) -> Command {
    // Its output is a pipe here, and lines are wanted when they are said.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", program]);
    command.args(["-h", "localhost"]);
    match by {
        By::Plain => {
            command.args(["-p", &site.plain.to_string()]);
        }
        By::Tls | By::Certificate(_) => {
            command.args(["-p", &site.tls.to_string()]);
            command.args(["--cafile", &site.path_text("ca.crt")]);
        }
    }
    if let By::Certificate(name) = by {
        command.args(["--cert", &site.path_text(&format!("{name}.crt"))]);
        command.args(["--key", &site.path_text(&format!("{name}.key"))]);
    }
    if let Some(user) = user {
        command.args(["-u", user, "-P", PASSWORD]);
    }
    command.args(arguments);
    command
}

/// `mosquitto_sub -d`, once its subscription is acknowledged.
pub(crate) fn subscriber(site: &Site, by: By<'_>, user: &str, arguments: &[&str]) -> Tool {
    let mut all = vec!["-d", "-v"];
    all.extend_from_slice(arguments);
    let tool = Tool::start(mosquitto("mosquitto_sub", site, by, Some(user), &all));
    tool.until("Subscribed (mid: ");
    tool
}

/// Runs `mosquitto_pub` to its end.
pub(crate) fn publisher(site: &Site, by: By<'_>, user: &str, arguments: &[&str]) -> Finished {
    Tool::start(mosquitto("mosquitto_pub", site, by, Some(user), arguments)).finish()
}
