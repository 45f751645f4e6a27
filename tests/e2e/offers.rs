//! What a listener offers and says: kinds of subscription, Response Information, Reason Strings, and
//! where to go when the broker is drained.

use crate::clients::ACL;
use crate::support::raw::{Hello, Packet, Raw, publish, put_bytes};
use crate::support::site::Site;

fn site(on_plain: &str) -> Site {
    let site = Site::with_users(&["inside", "alice", "bob"], ACL, "");
    site.on_plain_listener(on_plain);
    site
}

/// A property of text as it stands in a packet.
fn text_property(id: u8, text: &str) -> Vec<u8> {
    let mut bytes = vec![id];
    put_bytes(&mut bytes, text.as_bytes());
    bytes
}

fn holds(packet: &Packet, part: &[u8]) -> bool {
    packet.body.windows(part.len()).any(|window| window == part)
}

/// Connects and gives CONNACK.
fn connack(port: u16, hello: &Hello) -> (Raw, Packet) {
    let mut raw = Raw::plain(port, hello.version);
    raw.send(&hello.encode());
    let connack = raw.receive();
    assert_eq!(connack.kind(), 2, "{connack:02x?}");
    (raw, connack)
}

#[test]
fn what_is_switched_off_ends_a_version_5_connection_and_is_refused_to_older_ones() {
    let off =
        "wildcard_subscriptions false\nshared_subscriptions false\nsubscription_identifiers false";
    let site = site(off);
    let broker = site.start();
    let hello = Hello::new(5, "five", "alice");
    let (_, answer) = connack(site.plain, &hello);
    assert!(
        holds(&answer, &[0x28, 0, 0x29, 0, 0x2A, 0]),
        "{answer:02x?}"
    );
    for (filter, code) in [
        ("demo/alice/answers/#", 0xA2),
        ("$share/g/demo/alice/answers/1", 0x9E),
    ] {
        let (mut five, _) = Raw::hello(site.plain, &hello);
        five.send(&crate::support::raw::subscribe(5, 1, &[(filter, 0)], &[]));
        five.expect_disconnect(code);
        let (mut four, _) = Raw::hello(site.plain, &Hello::new(4, "four", "alice"));
        let codes = four.subscribe(&[(filter, 0), ("demo/alice/answers/1", 1)]);
        assert_eq!(codes, [0x80, 1], "{filter}");
    }
    let (mut five, _) = Raw::hello(site.plain, &hello);
    let filters = [("demo/alice/answers/1", 0)];
    five.send(&crate::support::raw::subscribe(5, 1, &filters, &[0x0B, 1]));
    five.expect_disconnect(0xA1);
    let denied = broker.audited("acl_denied", |line| {
        line["client_id"] == "five" || line["client_id"] == "four"
    });
    assert_eq!(denied["reason"], "wildcard_subscriptions_off");
    let sample = "portcullis_subscribe_denied_total{reason=\"shared_subscriptions_off\"}";
    broker.metric_becomes(sample, 1.0);
}

#[test]
fn response_information_names_the_client_that_asks_and_goes_with_the_acl() {
    let site = site("response_information demo/%u/answers/");
    let _broker = site.start();
    let asking = Hello::new(5, "a", "alice").with_property(&[0x19, 1]);
    let (mut alice, answer) = connack(site.plain, &asking);
    let told = text_property(0x1A, "demo/alice/answers/");
    assert!(holds(&answer, &told), "{answer:02x?}");
    assert_eq!(alice.subscribe(&[("demo/alice/answers/#", 0)]), [0]);
    let (_, silent) = connack(site.plain, &Hello::new(5, "b", "bob"));
    assert!(!silent.body.contains(&0x1A), "{silent:02x?}");
}

#[test]
fn refusals_are_told_in_words_but_never_by_which_rule() {
    let site = site("reason_strings true");
    let broker = site.start();
    let vague = "not authorized; the broker's audit log says by which rule";
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    // One that no rule grants, and one that is granted for reading only: both sound alike.
    for topic in ["demo/bob/orders/1", "demo/alice/answers/1"] {
        alice.send(&publish(5, topic, b"", 1, 9, false, &[]));
        let puback = alice.receive();
        assert_eq!(puback.body[..3], [0, 9, 0x87]);
        assert!(holds(&puback, &text_property(0x1F, vague)), "{puback:02x?}");
    }
    alice.send(&crate::support::raw::subscribe(5, 1, &[("a//#/b", 0)], &[]));
    let suback = alice.receive();
    let invalid = text_property(0x1F, "it is no valid Topic Filter");
    assert!(holds(&suback, &invalid), "{suback:02x?}");
    // A protocol error says which statement.
    alice.send(&publish(5, "", b"", 0, 0, false, &[0x23, 0, 7]));
    let disconnect = alice.receive();
    let statement = text_property(0x1F, "topic_alias_unknown [MQTT-3.3.2-12]");
    assert!(holds(&disconnect, &statement), "{disconnect:02x?}");
    // Who is not known is told no more than the code says.
    let mut stranger = Hello::new(5, "s", "nobody");
    stranger.password = Some("wrong battery".into());
    let (_, refused) = connack(site.plain, &stranger);
    let words = text_property(0x1F, "unknown user or wrong password");
    assert!(holds(&refused, &words), "{refused:02x?}");
    broker.audited("acl_denied", |line| line["reason"] == "read_only");
}

#[test]
fn mqtt_3_2_2_19_a_reason_string_that_makes_connack_too_large_is_left_out() {
    let site = site("reason_strings true");
    let _broker = site.start();
    let mut stranger = Hello::new(5, "s", "nobody");
    stranger.password = Some("wrong battery".into());
    let text = text_property(0x1F, "unknown user or wrong password");
    let with_text = 5 + text.len();
    let at = |bytes: usize| {
        let [high, low] = u16::try_from(bytes).expect("small").to_be_bytes();
        let hello = stranger.clone().with_property(&[0x27, 0, 0, high, low]);
        let mut raw = Raw::plain(site.plain, 5);
        raw.send(&hello.encode());
        raw.next().map(|packet| packet.body)
    };
    assert!(at(with_text).is_some_and(|body| body.ends_with(&text)));
    assert_eq!(at(with_text - 1), Some(vec![0, 0x86, 0]));
    assert_eq!(at(5), Some(vec![0, 0x86, 0]));
    assert_eq!(
        at(4),
        None,
        "not even the code is to be sent [MQTT-3.1.2-24]"
    );
}

#[test]
fn draining_sends_clients_elsewhere_until_the_line_is_gone() {
    let site = site("");
    let plain_conf = site.read("portcullis.conf");
    let broker = site.start();
    let (mut five, _) = Raw::hello(site.plain, &Hello::new(5, "five", "alice").kept());
    let (mut four, _) = Raw::hello(site.plain, &Hello::new(4, "four", "alice"));
    assert!(broker.http("/readyz").starts_with("HTTP/1.1 200"));
    let drained =
        format!("{plain_conf}drain use_another_server other.example:8883\ndrain_rate 0\n");
    site.write("portcullis.conf", &drained);
    assert_eq!(broker.reload()["decision"], "allow");
    let reference = text_property(0x1C, "other.example:8883");
    let goodbye = five.receive();
    assert_eq!((goodbye.first, goodbye.body[0]), (0xE0, 0x9C));
    assert!(holds(&goodbye, &reference), "{goodbye:02x?}");
    five.expect_end();
    four.expect_end();
    let (mut again, refused) = connack(site.plain, &Hello::new(5, "five", "alice"));
    assert_eq!(refused.body[1], 0x9C);
    assert!(holds(&refused, &reference), "{refused:02x?}");
    again.expect_end();
    let mut stranger = Hello::new(5, "s", "alice");
    stranger.password = Some("wrong battery".into());
    let (_, refused) = connack(site.plain, &stranger);
    assert_eq!(
        refused.body,
        [0, 0x86, 0],
        "only clients are told where to go"
    );
    assert_eq!(Raw::refused(site.plain, &Hello::new(4, "four", "alice")), 3);
    assert!(broker.http("/readyz").starts_with("HTTP/1.1 503"));
    let left = broker.audited("disconnect", |line| line["client_id"] == "five");
    assert_eq!(left["reason"], "drained");
    site.write("portcullis.conf", &plain_conf);
    broker.reload();
    let (five, present) = Raw::hello(site.plain, &Hello::new(5, "five", "alice").kept());
    assert!(present, "its session has waited");
    assert!(broker.http("/readyz").starts_with("HTTP/1.1 200"));
    five.disconnect();
}

#[test]
fn a_broker_that_starts_drained_for_good_says_so_to_everybody() {
    let site = Site::with_users(&["alice"], ACL, "drain server_moved");
    let broker = site.start();
    assert_eq!(Raw::refused(site.plain, &Hello::new(5, "a", "alice")), 0x9D);
    assert!(broker.log().contains("draining"), "{}", broker.log());
}

#[test]
fn a_packet_that_comes_too_slowly_ends_the_connection_and_a_slow_client_does_not() {
    let site = Site::with_users(&["alice"], ACL, "packet_timeout 1");
    let broker = site.start();
    let (mut slow, _) = Raw::hello(site.plain, &Hello::new(5, "slow", "alice"));
    let (mut idle, _) = Raw::hello(site.plain, &Hello::new(5, "idle", "alice"));
    let packet = publish(5, "demo/alice/orders/1", &[b'x'; 500], 0, 0, false, &[]);
    let sent = packet.iter().take_while(|byte| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        slow.try_send(&[**byte]).is_ok()
    });
    assert!(sent.count() < packet.len(), "trickled bytes buy no time");
    let left = broker.audited("disconnect", |line| line["client_id"] == "slow");
    assert_eq!(left["reason"], "packet_timeout");
    idle.expect_silence();
}
