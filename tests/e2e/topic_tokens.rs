//! Topic tokens: topics that nobody but their client can find, read or forge.

use std::fs;
use std::path::Path;

use crate::support::raw::{Hello, Raw, Received, Will, put_bytes};
use crate::support::site::Site;

/// Asks for Response Information.
const ASKS: [u8; 2] = [0x19, 1];

fn acl() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/acl-topic-tokens.conf");
    fs::read_to_string(path).expect("readable")
}

fn site(more: &str) -> Site {
    let site = Site::with_users(&["pump7", "pump8", "mcp_server_001"], &acl(), "");
    site.on_plain_listener(&format!("topic_token_prefix mcp/res\n{more}"));
    site
}

struct Client {
    raw: Raw,
    token: String,
}

impl Client {
    /// Connects in 5.0 and takes what CONNACK tells.
    fn told(site: &Site, hello: &Hello) -> Self {
        let mut raw = Raw::plain(site.plain, 5);
        raw.send(&hello.clone().with_property(&ASKS).encode());
        let connack = raw.receive();
        assert_eq!(connack.body[1], 0, "{connack:02x?}");
        let told = String::from_utf8(connack.said(0x1A).expect("Response Information"));
        let told = told.expect("UTF-8");
        let levels: Vec<&str> = told.split('/').collect();
        assert_eq!(
            (levels[0], levels[1], levels[3]),
            ("mcp", "res", &*hello.client_id)
        );
        assert_eq!(levels.len(), 4);
        assert_eq!(levels[2].len(), 26);
        assert!(
            levels[2]
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        );
        let token = levels[2].to_owned();
        Self { raw, token }
    }

    fn new(site: &Site, user: &str) -> Self {
        Self::told(site, &Hello::new(5, user, user))
    }
}

fn server(site: &Site) -> Raw {
    let user = "mcp_server_001";
    let mut server = Raw::hello(site.plain, &Hello::new(5, user, user)).0;
    assert_eq!(server.subscribe(&[("mcp/req/+/+", 1)]), [1]);
    server
}

fn response_topic(topic: &str) -> Vec<u8> {
    let mut property = vec![0x08];
    put_bytes(&mut property, topic.as_bytes());
    property
}

#[test]
fn a_client_asks_and_is_answered_where_only_it_can_read_a6() {
    let site = site("response_topic_guard on");
    let _broker = site.start();
    let mut server = server(&site);
    let mut pump = Client::new(&site, "pump7");
    let (request, answer) = (
        format!("mcp/req/{}/pump7", pump.token),
        format!("mcp/res/{}/pump7", pump.token),
    );
    assert_eq!(pump.raw.subscribe(&[(&answer, 1)]), [1]);
    let property = response_topic(&answer);
    pump.raw
        .publish_with(&request, "status?", 1, 1, false, &property);
    assert_eq!(pump.raw.receive().first, 0x40);
    let asked = server.message();
    assert_eq!((&*asked.topic, &*asked.payload), (&*request, "status?"));
    assert_eq!(asked.properties, property);
    assert_eq!(server.publish_acked(&answer, "fine", 1), 0);
    assert_eq!(pump.raw.message().payload, "fine");
}

/// The three attacks: enumeration, injection, prediction (requirements A1 to A3).
#[test]
fn nobody_enumerates_injects_or_predicts_a1_a2_a3() {
    let site = site("response_topic_guard on");
    let broker = site.start();
    let mut server = server(&site);
    let mut pump = Client::new(&site, "pump7");
    let mut attacker = Client::new(&site, "pump8");
    let answer = format!("mcp/res/{}/pump7", pump.token);
    assert_eq!(pump.raw.subscribe(&[(&answer, 1)]), [1]);

    // Enumeration: no filter that could match another's topic.
    for filter in [
        "#",
        "mcp/#",
        "mcp/+/+",
        "mcp/+/+/+",
        "mcp/res/+/pump7",
        "mcp/res/#",
        "+/+/+/+",
        "$me/#",
        "$share/g/mcp/#",
    ] {
        assert_eq!(attacker.raw.subscribe(&[(filter, 0)]), [0x87], "{filter}");
    }
    let told = broker.audited("acl_denied", |line| line["topic"] == "mcp/#");
    assert_eq!(
        (&told["client_id"], &told["reason"]),
        (&"pump8".into(), &"wildcard".into())
    );

    // Injection: not even who knows the topic may answer, ask in the other's name, or have an answer
    // sent to the other.
    let forged = format!("mcp/req/{}/pump7", pump.token);
    assert_eq!(attacker.raw.publish_acked(&answer, "fake", 1), 0x87);
    assert_eq!(attacker.raw.publish_acked(&forged, "fake", 2), 0x87);
    let own = format!("mcp/req/{}/pump8", attacker.token);
    attacker
        .raw
        .publish_with(&own, "ask", 1, 3, false, &response_topic(&answer));
    let refused = attacker.raw.receive();
    assert_eq!((refused.first, refused.body[2]), (0x40, 0x87));
    let told = broker.audited("acl_denied", |line| line["reason"] == "response_topic");
    assert_eq!(told["client_id"], "pump8");

    // Prediction: another's name under one's own token, one's own under a guess, and the name of the
    // other as one's client id, all come to nothing.
    for topic in [
        format!("mcp/res/{}/pump7", attacker.token),
        format!("mcp/res/{}/pump8", "a".repeat(26)),
        answer.clone(),
        "mcp/res//pump8".to_owned(),
        "mcp/res/pump8".to_owned(),
    ] {
        assert_eq!(attacker.raw.subscribe(&[(&topic, 0)]), [0x87], "{topic}");
    }
    let mut hello = Hello::new(5, "pump7", "pump8");
    hello.clean = false;
    assert_eq!(Raw::refused(site.plain, &hello), 0x87);

    assert_eq!(server.publish_acked(&answer, "real", 1), 0);
    assert_eq!(pump.raw.message().payload, "real");
    pump.raw.expect_silence();
    attacker.raw.expect_silence();
    server.expect_silence();
}

fn token_of(message: &Received) -> String {
    assert_eq!(message.topic, "$me/token");
    assert!(message.retain);
    message.payload.clone()
}

#[test]
fn every_client_reads_its_own_token_under_its_own_topic() {
    let site = site("");
    let broker = site.start();
    let mut tokens = Vec::new();
    for (version, user) in [(5, "pump7"), (4, "pump8"), (4, "mcp_server_001")] {
        let mut raw = Raw::hello(site.plain, &Hello::new(version, user, user)).0;
        assert_eq!(raw.subscribe(&[("$me/token", 1)]), [1]);
        let token = token_of(&raw.message());
        if user != "mcp_server_001" {
            assert_eq!(
                raw.subscribe(&[(&format!("mcp/res/{token}/{user}"), 1)]),
                [1]
            );
        }
        tokens.push(token);
        // Nobody else publishes there.
        if version == 5 {
            assert_eq!(raw.publish_acked("$me/token", "x", 3), 0x87);
        }
    }
    broker.audited("subscribe", |line| {
        line["topic"] == "$me/token" && line["client_id"] == "pump8"
    });
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 3);
}

#[test]
fn a_session_that_goes_on_keeps_its_token_and_a_new_one_has_another() {
    let site = site("");
    let _broker = site.start();
    let kept = Hello::new(5, "pump7", "pump7").kept();
    let mut first = Client::told(&site, &kept);
    let answer = format!("mcp/res/{}/pump7", first.token);
    assert_eq!(first.raw.subscribe(&[(&answer, 1)]), [1]);
    first.raw.disconnect();
    let mut server = server(&site);
    assert_eq!(server.publish_acked(&answer, "while you were away", 1), 0);
    let mut again = Client::told(&site, &kept);
    assert_eq!(again.token, first.token);
    assert_eq!(again.raw.message().payload, "while you were away");
    again.raw.disconnect();
    let fresh = Client::new(&site, "pump7");
    assert_ne!(fresh.token, first.token);
}

#[test]
fn a_token_is_renewed_by_the_clock_and_the_old_one_holds_a_while_longer_a24() {
    let site = site("topic_token_rotation 1\ntopic_token_overlap 1");
    let broker = site.start();
    let mut raw = Raw::hello(site.plain, &Hello::new(5, "pump7", "pump7")).0;
    assert_eq!(raw.subscribe(&[("$me/token", 1)]), [1]);
    let first = token_of(&raw.message());
    assert_eq!(
        raw.subscribe(&[(&format!("mcp/res/{first}/pump7"), 1)]),
        [1]
    );
    let second = token_of(&raw.message());
    assert_ne!(first, second);
    // The subscription by the first ends when that is over, and not before.
    let lost = broker.audited("subscription_lost", |line| line["client_id"] == "pump7");
    assert_eq!(lost["topic"], format!("mcp/res/{first}/pump7"));
}

#[test]
fn the_operator_renews_every_token_with_a_reload_a24() {
    let site = site("topic_token_overlap 3600");
    let broker = site.start();
    let mut raw = Raw::hello(site.plain, &Hello::new(4, "pump7", "pump7")).0;
    assert_eq!(raw.subscribe(&[("$me/token", 0)]), [0]);
    let first = token_of(&raw.message());
    let old = format!("mcp/res/{first}/pump7");
    assert_eq!(raw.subscribe(&[(&old, 1)]), [1]);
    let conf = site.read("portcullis.conf");
    let conf = conf.replace(
        "topic_token_overlap",
        "topic_token_generation 1\ntopic_token_overlap",
    );
    site.write("portcullis.conf", &conf);
    broker.reload();
    let second = token_of(&raw.message());
    assert_ne!(first, second);
    let mut server = server(&site);
    assert_eq!(server.publish_acked(&old, "by the old one", 1), 0);
    assert_eq!(raw.message().payload, "by the old one");
    let new = format!("mcp/res/{second}/pump7");
    assert_eq!(raw.subscribe(&[(&new, 1)]), [1]);
}

#[test]
fn a_will_cannot_have_an_answer_sent_into_anothers_hands_either() {
    let site = site("response_topic_guard on");
    let acl = format!(
        "{}user pump8\ntopic write wills/#\ntopic read answers/pump8\n",
        acl()
    );
    site.write("acl.conf", &acl);
    let broker = site.start();
    let pump = Client::new(&site, "pump7");
    let hello = |topic: &str| {
        let mut will = Will::new("wills/8", "gone");
        will.properties = response_topic(topic);
        Hello::new(5, "pump8", "pump8").with_will(will)
    };
    let anothers = format!("mcp/res/{}/pump7", pump.token);
    assert_eq!(Raw::refused(site.plain, &hello(&anothers)), 0x87);
    let told = broker.audited("connect", |line| line["reason"] == "response_topic");
    assert_eq!(told["client_id"], "pump8");
    Raw::hello(site.plain, &hello("answers/pump8"));
}
