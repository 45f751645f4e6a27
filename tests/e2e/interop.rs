//! docs/interoperability.md: which client library does what with this broker, as it was seen.
//!
//! Each library has a driver in `tests/e2e/interop/` that tries every feature, in every version of
//! MQTT the library speaks, and says of each `yes`, `yes (a remark)`, `no (what happened)` or
//! `cannot (why the library has no such thing)`.

mod mosquitto;
mod rumqttc;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::libraries::site;
use crate::support::site::{PASSWORD, Site};
use crate::support::tools::Tool;

/// The rows of the table, by the names the drivers use.
const FEATURES: [&str; 20] = [
    "connect 3.1",
    "connect 3.1.1",
    "connect 5.0",
    "wrong password is refused",
    "QoS 0",
    "QoS 1",
    "QoS 2",
    "retained",
    "will",
    "persistent session",
    "shared subscription",
    "# is refused",
    "TLS",
    "WebSocket",
    "user properties",
    "message expiry",
    "request and response",
    "subscription identifiers",
    "topic aliases to the broker",
    "topic aliases from the broker",
];

/// What a driver says besides: which version of its library it found.
const VERSION: &str = "version";

/// A column of the table.
struct Library {
    name: &'static str,
    version: &'static str,
    from: &'static str,
    /// The file and the text that pin the version.
    pinned: Option<(&'static str, &'static str)>,
    driver: Driver,
}

enum Driver {
    /// The source, and the library it is linked with.
    C(&'static str, &'static str),
    Python(&'static str),
    Node(&'static str),
    Rust(fn(&Place) -> String),
}

/// The release that has these versions. Nothing pins them: what it mends may have another last number.
const DEBIAN: &str = "Debian 12";

const LIBRARIES: [Library; 9] = [
    Library {
        name: "mosquitto's programs",
        version: "2.0.11",
        from: DEBIAN,
        pinned: None,
        driver: Driver::Rust(mosquitto::seen),
    },
    Library {
        name: "paho (C)",
        // The package's; the library says 1.3.11 of itself.
        version: "1.3.12",
        from: DEBIAN,
        pinned: None,
        driver: Driver::C("paho_c.c", "-lpaho-mqtt3cs"),
    },
    Library {
        name: "paho-mqtt (Python)",
        version: "2.1.0",
        from: "PyPI",
        pinned: Some(("scripts/test.sh", "paho-mqtt==2.1.0")),
        driver: Driver::Python("paho_python.py"),
    },
    Library {
        name: "aiomqtt (Python)",
        version: "2.5.1",
        from: "PyPI",
        pinned: Some(("scripts/test.sh", "aiomqtt==2.5.1")),
        driver: Driver::Python("aiomqtt_client.py"),
    },
    Library {
        name: "gmqtt (Python)",
        version: "0.8.0",
        from: "PyPI",
        pinned: Some(("scripts/test.sh", "gmqtt==0.8.0")),
        driver: Driver::Python("gmqtt_client.py"),
    },
    Library {
        name: "awscrt (Python)",
        version: "0.38.1",
        from: "PyPI",
        pinned: Some(("scripts/test.sh", "awscrt==0.38.1")),
        driver: Driver::Python("awscrt_client.py"),
    },
    Library {
        name: "MQTT.js",
        version: "5.16.0",
        from: "npm",
        pinned: Some(("scripts/test.sh", "mqtt@5.16.0")),
        driver: Driver::Node("mqtt_js.js"),
    },
    Library {
        name: "paho-mqtt (JavaScript)",
        version: "1.1.0",
        from: "npm",
        pinned: Some(("scripts/test.sh", "paho-mqtt@1.1.0")),
        driver: Driver::Node("paho_js.js"),
    },
    Library {
        name: "rumqttc (Rust)",
        version: "0.25.1",
        from: "crates.io",
        pinned: None,
        driver: Driver::Rust(rumqttc::seen),
    },
];

/// What a driver said of each feature.
type Column = BTreeMap<String, String>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn source(name: &str) -> PathBuf {
    root().join("tests/e2e/interop").join(name)
}

/// A broker of its own for each driver, with a listener for `WebSockets` as well.
struct Place {
    site: Site,
    /// Whose ports nobody else has.
    other: Site,
}

impl Place {
    fn new() -> Self {
        let (site, other) = (site(), Site::new());
        site.on_plain_listener(&format!(
            "listener {} 127.0.0.1\nprotocol websockets",
            other.plain
        ));
        Self { site, other }
    }

    fn run(&self, mut command: Command) -> String {
        command
            .env("PLAIN_PORT", self.site.plain.to_string())
            .env("TLS_PORT", self.site.tls.to_string())
            .env("WS_PORT", self.other.plain.to_string())
            .env("FILES", self.site.dir())
            .env("PASSWORD", PASSWORD);
        let tool = Tool::start(command);
        let wanted = [VERSION].into_iter().chain(FEATURES);
        // They are said in this order, each in good time.
        let lines = wanted.map(|feature| tool.until(&format!("{feature}: ")));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// What a driver in Rust says, in the words of the others.
struct Sheet {
    lines: Vec<String>,
}

impl Sheet {
    fn of(version: &str) -> Self {
        let lines = vec![format!("{VERSION}: {version}")];
        Self { lines }
    }

    fn cannot(&mut self, feature: &str, reason: &str) {
        self.lines.push(format!("{feature}: cannot ({reason})"));
    }

    /// A panic is a `no`, as an exception is in the others.
    fn tried(&mut self, feature: &str, versions: &[&'static str], attempt: impl Fn(&'static str)) {
        let failed = versions.iter().find_map(|version| {
            let outcome = catch_unwind(AssertUnwindSafe(|| attempt(version)));
            let panic = outcome.err()?;
            let what = match panic.downcast::<String>() {
                Ok(text) => *text,
                Err(other) => format!("{:?}", other.downcast_ref::<&str>()),
            };
            Some(format!("no ({}, in {version})", what.escape_debug()))
        });
        let cell = failed.unwrap_or_else(|| String::from("yes"));
        self.lines.push(format!("{feature}: {cell}"));
    }

    /// Says more of a feature, if it was a `yes`.
    fn remark(&mut self, feature: &str, remark: &str) {
        let yes = format!("{feature}: yes");
        for line in self.lines.iter_mut().filter(|line| **line == yes) {
            *line = format!("{yes} ({remark})");
        }
    }

    fn said(self) -> String {
        self.lines.join("\n")
    }
}

impl Library {
    fn seen(&self) -> Column {
        let place = Place::new();
        let _broker = place.site.start();
        let said = match self.driver {
            Driver::Python(script) => {
                let mut command = Command::new(root().join("target/test-venv/bin/python"));
                command
                    .arg(source(script))
                    .env("PYTHONDONTWRITEBYTECODE", "1");
                place.run(command)
            }
            Driver::Node(script) => {
                let mut command = Command::new("node");
                command
                    .arg(source(script))
                    .env("NODE_PATH", root().join("target/test-js/node_modules"));
                place.run(command)
            }
            Driver::C(file, library) => {
                let program = place.site.path("driver");
                let mut compiler = Command::new("cc");
                compiler.args(["-Wall", "-Wextra", "-Werror", "-o"]);
                compiler.arg(&program).arg(source(file)).arg(library);
                let ended = Tool::start(compiler).finish();
                assert_eq!(ended.code, Some(0), "{}", ended.text);
                place.run(Command::new(program))
            }
            Driver::Rust(seen) => seen(&place),
        };
        let mut column = Column::new();
        for feature in FEATURES.into_iter().chain([VERSION]) {
            let start = format!("{feature}: ");
            let mut cells = said.lines().filter_map(|line| line.strip_prefix(&start));
            let cell = match (cells.next(), cells.next()) {
                (Some(cell), None) => cell.to_owned(),
                _ => format!("no (it was not said once, only: {})", said.escape_debug()),
            };
            column.insert(feature.to_owned(), cell);
        }
        column
    }
}

/// Every driver, all at the same time: they mostly wait.
static SEEN: LazyLock<Vec<Column>> = LazyLock::new(|| {
    std::thread::scope(|scope| {
        let drivers: Vec<_> = LIBRARIES
            .iter()
            .map(|library| scope.spawn(|| library.seen()))
            .collect();
        let columns = drivers.into_iter().map(std::thread::ScopedJoinHandle::join);
        columns.map(|column| column.expect("it ran")).collect()
    })
});

/// The sign of a cell, and what its note says.
fn remark(cell: &str) -> Option<(&'static str, &str)> {
    let cell = cell.strip_suffix(')')?;
    let yes = cell.strip_prefix("yes (").map(|remark| ("yes", remark));
    yes.or_else(|| Some(("–", cell.strip_prefix("cannot (")?)))
}

/// The cells that must not be as they are.
fn wrong() -> Vec<String> {
    let mut wrong = Vec::new();
    for (library, column) in LIBRARIES.iter().zip(SEEN.iter()) {
        for feature in FEATURES {
            let cell = &column[feature];
            if cell != "yes" && remark(cell).is_none() {
                wrong.push(format!("{}: {feature}: {cell}", library.name));
            }
        }
    }
    wrong
}

#[test]
fn every_library_does_all_it_can() {
    let wrong = wrong();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A version without its last number.
fn release(version: &str) -> &str {
    version
        .rsplit_once('.')
        .map_or(version, |(release, _)| release)
}

#[test]
fn the_versions_the_table_names_are_those_that_ran_and_that_are_installed() {
    for (library, column) in LIBRARIES.iter().zip(SEEN.iter()) {
        let (ran, named) = (&column[VERSION], library.version);
        if library.from == DEBIAN {
            assert_eq!(release(ran), release(named), "{}", library.name);
        } else {
            assert_eq!(ran, named, "{}", library.name);
        }
        if let Some((file, text)) = library.pinned {
            let there = std::fs::read_to_string(root().join(file)).expect("it is there");
            assert!(there.contains(text), "{file} does not have {text}");
            assert!(text.contains(library.version), "{text}");
        }
    }
}

const HEAD: &str = "\
# Interoperability

Which client library does what with Portcullis. This page is written by a test, `tests/e2e/interop.rs`,
from what its drivers in `tests/e2e/interop/` saw; the test fails when a library stops doing what is
said here (`PORTCULLIS_BLESS=1 cargo test --test e2e interop` writes the page again).

The broker runs in its hardened profile, with users and an ACL. Each driver tries a feature in every
version of MQTT its library speaks that has the feature, and `yes` means: in all of them. `–` means
that the library has no such thing or that it was not tried, as the note says. Nothing else can stand
here: what a library has and does not get from the broker fails the test.

";

fn page(seen: &[Column]) -> String {
    let mut page = String::from(HEAD);
    page.push_str("| library | version | from |\n| --- | --- | --- |\n");
    for library in &LIBRARIES {
        let row = [library.name, library.version, library.from].join(" | ");
        let _ = writeln!(page, "| {row} |");
    }
    page.push_str("\n| feature |");
    for library in &LIBRARIES {
        let _ = write!(page, " {} |", library.name);
    }
    let _ = writeln!(page, "\n| --- |{}", " --- |".repeat(LIBRARIES.len()));
    let mut notes: Vec<String> = Vec::new();
    for feature in FEATURES {
        let _ = write!(page, "| {} |", feature.replace("# ", "`#` "));
        for column in seen {
            let cell = &column[feature];
            let Some((sign, reason)) = remark(cell) else {
                let _ = write!(page, " {cell} |");
                continue;
            };
            let known = notes.iter().position(|note| note == reason);
            let number = known.unwrap_or_else(|| {
                notes.push(reason.to_owned());
                notes.len() - 1
            });
            let _ = write!(page, " {sign} ({}) |", number + 1);
        }
        page.push('\n');
    }
    page.push('\n');
    for (number, note) in notes.iter().enumerate() {
        let _ = writeln!(page, "{}. {note}", number + 1);
    }
    page
}

#[test]
fn the_table_is_what_was_seen() {
    let page = page(&SEEN);
    let path = root().join("docs/interoperability.md");
    if std::env::var_os("PORTCULLIS_BLESS").is_some() && wrong().is_empty() {
        std::fs::write(&path, &page).expect("written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = written
        .lines()
        .zip(page.lines())
        .find(|(old, new)| old != new);
    let remedy =
        "docs/interoperability.md is old: PORTCULLIS_BLESS=1 cargo test --test e2e interop";
    assert!(written == page, "{remedy}; first: {differs:#?}");
}
