//! `mosquitto_pub`, `mosquitto_sub` and `mosquitto_rr`: what they do with the broker.

use std::process::Command;

use nix::sys::signal::Signal;

use super::{Place, Sheet};
use crate::support::site::Site;
use crate::support::tools::{By, Tool, mosquitto, publisher, subscriber};

const ALL: [&str; 3] = ["3.1", "3.1.1", "5.0"];
const LATER: [&str; 2] = ["3.1.1", "5.0"];
const ANSWERS: &str = "demo/alice/answers/+";
const ANSWER: &str = "demo/alice/answers/1";
const REQUESTS: &str = "demo/alice/requests/+";
const REQUEST: &str = "demo/alice/requests/1";

fn protocol(version: &str) -> &'static str {
    match version {
        "3.1" => "mqttv31",
        "3.1.1" => "mqttv311",
        _ => "mqttv5",
    }
}

/// The programs in one version of MQTT.
struct Programs<'a> {
    site: &'a Site,
    by: By<'a>,
    version: &'static str,
}

impl Programs<'_> {
    /// A subscriber whose lines are written as `format` says, or in the usual way.
    fn listen(&self, user: &str, filter: &str, more: &[&str]) -> Tool {
        let usual = ["-V", self.version, "-t", filter];
        subscriber(self.site, self.by, user, &[&usual[..], more].concat())
    }

    fn publish(&self, user: &str, topic: &str, payload: &str, more: &[&str]) {
        let usual = ["-V", self.version, "-t", topic, "-m", payload];
        let ended = publisher(self.site, self.by, user, &[&usual[..], more].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.text);
    }
}

fn exchange(programs: &Programs<'_>, qos: &str) {
    let format = ["-q", qos, "-C", "1", "-F", "qos %q: %p"];
    let waiting = programs.listen("alice", ANSWERS, &format);
    programs.publish("inside", ANSWER, "sent", &["-q", qos]);
    waiting.until(&format!("qos {qos}: sent"));
    assert_eq!(waiting.finish().code, Some(0));
}

fn wrong_password(programs: &Programs<'_>) {
    let arguments = ["-V", programs.version, "-t", ANSWERS];
    let mut command = mosquitto(
        "mosquitto_sub",
        programs.site,
        programs.by,
        None,
        &arguments,
    );
    command.args(["-u", "alice", "-P", "wrong battery"]);
    let ended = Tool::start(command).finish();
    assert_ne!(ended.code, Some(0));
    let text = ended.text.to_lowercase();
    assert!(
        text.contains("bad user") || text.contains("not auth"),
        "{text}"
    );
}

fn retained(programs: &Programs<'_>) {
    programs.publish("inside", ANSWER, "kept", &["-q", "1", "-r"]);
    let later = programs.listen("alice", ANSWERS, &["-F", "retain %r: %p"]);
    later.until("retain 1: kept");
    programs.publish("inside", ANSWER, "", &["-q", "1", "-r"]);
}

fn will(programs: &Programs<'_>) {
    let waiting = programs.listen("inside", REQUESTS, &[]);
    let will = ["--will-topic", REQUEST, "--will-payload", "gone"];
    let dying = programs.listen("alice", ANSWERS, &will);
    dying.signal(Signal::SIGKILL);
    waiting.until(&format!("{REQUEST} gone"));
}

fn persistent(programs: &Programs<'_>) {
    let name = format!("kept-{}", programs.version);
    let keeping = ["-c", "-q", "1", "-i", &name];
    let first = programs.listen("alice", ANSWERS, &[&keeping[..], &["-E"]].concat());
    assert_eq!(first.finish().code, Some(0));
    programs.publish("inside", ANSWER, "while away", &["-q", "1"]);
    let usual = ["-v", "-V", programs.version, "-t", ANSWERS, "-C", "1"];
    let arguments = [&usual[..], &keeping].concat();
    let again = mosquitto(
        "mosquitto_sub",
        programs.site,
        programs.by,
        Some("alice"),
        &arguments,
    );
    let ended = Tool::start(again).finish();
    assert!(ended.text.contains("while away"), "{}", ended.text);
}

fn shared(programs: &Programs<'_>) {
    let filter = format!("$share/workers/{REQUESTS}");
    let arguments = ["-q", "1", "-C", "5"];
    let members = [(); 2].map(|()| programs.listen("inside", &filter, &arguments));
    for _ in 0..10 {
        programs.publish("alice", REQUEST, "job", &["-q", "1"]);
    }
    for member in members {
        assert_eq!(member.finish().code, Some(0));
    }
}

fn guarded(programs: &Programs<'_>) {
    let arguments = ["-V", programs.version, "-t", "#"];
    let trying = mosquitto(
        "mosquitto_sub",
        programs.site,
        programs.by,
        Some("alice"),
        &arguments,
    );
    let ended = Tool::start(trying).finish();
    assert!(ended.text.contains("denied"), "{}", ended.text);
}

fn arrives(programs: &Programs<'_>, format: &str, properties: &[&str], expected: &str) {
    let waiting = programs.listen("alice", ANSWERS, &["-q", "1", "-F", format]);
    let more = [&["-q", "1"], properties].concat();
    programs.publish("inside", ANSWER, "sent", &more);
    let line = waiting.until("seen ");
    assert!(line.contains(expected), "{line}");
}

fn respond(programs: &Programs<'_>) {
    let waiting = programs.listen("inside", REQUESTS, &["-F", "asked: %R %D"]);
    let arguments = [
        "-V",
        programs.version,
        "-q",
        "1",
        "-t",
        REQUEST,
        "-m",
        "ask",
    ];
    let answers = ["-e", ANSWER, "-D", "publish", "correlation-data", "mine"];
    let all = [&arguments[..], &answers].concat();
    let asking = mosquitto(
        "mosquitto_rr",
        programs.site,
        programs.by,
        Some("alice"),
        &all,
    );
    let asking = Tool::start(asking);
    waiting.until(&format!("asked: {ANSWER} mine"));
    let correlation = ["-D", "publish", "correlation-data", "mine"];
    programs.publish("inside", ANSWER, "the answer", &correlation);
    let ended = asking.finish();
    assert!(ended.text.contains("the answer"), "{}", ended.text);
}

fn identifiers(programs: &Programs<'_>) {
    let identifier = ["-D", "subscribe", "subscription-identifier", "7"];
    let format = ["-F", "seen %S"];
    let waiting = programs.listen("alice", ANSWERS, &[&identifier[..], &format].concat());
    programs.publish("inside", ANSWER, "sent", &[]);
    waiting.until("seen 7");
}

fn aliases_out(programs: &Programs<'_>) {
    let waiting = programs.listen("alice", ANSWERS, &["-C", "3", "-F", "on %t"]);
    let alias = ["-D", "publish", "topic-alias", "1", "--repeat", "3", "-d"];
    programs.publish("inside", ANSWER, "sent", &alias);
    for _ in 0..3 {
        waiting.until(&format!("on {ANSWER}"));
    }
}

pub(super) fn seen(place: &Place) -> String {
    let programs = |by, version| Programs {
        site: &place.site,
        by,
        version: protocol(version),
    };
    let plain = |version| programs(By::Plain, version);
    let mut sheet = Sheet::of(&version());
    for version in ALL {
        let feature = format!("connect {version}");
        sheet.tried(&feature, &[version], |version| {
            exchange(&plain(version), "0");
        });
    }
    sheet.tried("wrong password is refused", &ALL, |version| {
        wrong_password(&plain(version));
    });
    for qos in ["0", "1", "2"] {
        sheet.tried(&format!("QoS {qos}"), &ALL, |version| {
            exchange(&plain(version), qos);
        });
    }
    sheet.tried("retained", &ALL, |version| retained(&plain(version)));
    sheet.tried("will", &ALL, |version| will(&plain(version)));
    sheet.tried("persistent session", &ALL, |version| {
        persistent(&plain(version));
    });
    sheet.tried("shared subscription", &LATER, |version| {
        shared(&plain(version));
    });
    sheet.tried("# is refused", &LATER, |version| guarded(&plain(version)));
    sheet.tried("TLS", &ALL, |version| {
        exchange(&programs(By::Tls, version), "1");
    });
    sheet.cannot("WebSocket", "TCP and TLS only");
    sheet.tried("user properties", &["5.0"], |version| {
        let user = ["-D", "publish", "user-property", "a", "b"];
        arrives(&plain(version), "seen %P", &user, "seen a:b");
    });
    sheet.tried("message expiry", &["5.0"], |version| {
        let expiry = ["-D", "publish", "message-expiry-interval", "1999999"];
        // Some seconds may have gone, but not 100,000.
        arrives(&plain(version), "seen %E", &expiry, "seen 19");
    });
    sheet.tried("request and response", &["5.0"], |version| {
        respond(&plain(version));
    });
    sheet.tried("subscription identifiers", &["5.0"], |version| {
        identifiers(&plain(version));
    });
    sheet.tried("topic aliases to the broker", &["5.0"], |version| {
        aliases_out(&plain(version));
    });
    sheet.cannot(
        "topic aliases from the broker",
        "it ends the connection at a message whose Topic Name is empty",
    );
    sheet.said()
}

/// `mosquitto_sub version 2.0.11 running on …`
fn version() -> String {
    let mut help = Command::new("mosquitto_sub");
    help.arg("--help");
    let said = Tool::start(help).finish().text;
    let found = said.split("mosquitto_sub version ").nth(1);
    let version = found.and_then(|rest| rest.split(' ').next());
    version.expect("a version").to_owned()
}
