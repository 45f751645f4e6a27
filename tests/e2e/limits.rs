//! Every bound of the configuration, met by a client that goes over it.

use std::io::Read;
use std::net::TcpStream;

use crate::clients::ACL;
use crate::support::raw::{Hello, Raw, publish, subscribe};
use crate::support::site::{PATIENCE, Site};

fn site(more: &str) -> Site {
    Site::with_users(&["inside", "alice", "bob"], ACL, more)
}

#[test]
fn a_connection_that_never_says_connect_is_closed() {
    let site = site("connect_timeout 1");
    let broker = site.start();
    for (port, stage) in [(site.plain, "connect"), (site.tls, "tls")] {
        let mut silent = TcpStream::connect(("127.0.0.1", port)).expect("accepted");
        silent.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        assert_eq!(silent.read(&mut [0; 16]).expect("closed, not silent"), 0);
        let sample = format!("portcullis_connect_timeouts_total{{stage=\"{stage}\"}}");
        broker.metric_becomes(&sample, 1.0);
    }
}

#[test]
fn trickled_bytes_buy_no_time() {
    let site = site("connect_timeout 1");
    let _broker = site.start();
    let mut raw = Raw::plain(site.plain, 4);
    let hello = Hello::new(4, "slow", "alice").encode();
    // One byte each tenth of a second would take seconds; the connection ends before.
    let sent = hello.iter().take_while(|byte| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        raw.try_send(&[**byte]).is_ok()
    });
    assert!(sent.count() < hello.len());
}

#[test]
fn trickled_bytes_of_a_tls_handshake_buy_no_time() {
    let site = site("connect_timeout 1");
    let broker = site.start();
    let mut raw = Raw::plain(site.tls, 4);
    // A ClientHello of 512 bytes begins like this.
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3];
    hello.resize(517, 0);
    let sent = hello.iter().take_while(|byte| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        raw.try_send(&[**byte]).is_ok()
    });
    assert!(sent.count() < hello.len());
    broker.metric_becomes("portcullis_connect_timeouts_total{stage=\"tls\"}", 1.0);
}

#[test]
fn connections_over_the_limit_of_a_listener_are_refused() {
    let site = site("");
    site.on_plain_listener("max_connections 1");
    let broker = site.start();
    let (first, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    let mut second = Raw::plain(site.plain, 5);
    // It is closed before anything is read.
    drop(second.try_send(&Hello::new(5, "b", "bob").encode()));
    assert!(
        second
            .next()
            .is_none_or(|packet| packet.body.get(1) != Some(&0))
    );
    let sample = "portcullis_connects_refused_total{reason=\"max_connections\"}";
    broker.metric_becomes(sample, 1.0);
    first.disconnect();
}

#[test]
fn connections_and_their_rate_are_limited_for_each_address() {
    for (directive, reason) in [
        ("max_connections_per_ip 2", "connections_per_address"),
        ("connect_rate_per_ip 1 2", "connect_rate"),
    ] {
        let site = site("");
        let name = directive.split(' ').next().expect("a name");
        let conf = site.read("portcullis.conf");
        let conf = conf.replace(&format!("{name} 0"), directive);
        site.write("portcullis.conf", &conf);
        let broker = site.start();
        let kept: Vec<TcpStream> = (0..3)
            .map(|_| TcpStream::connect(("127.0.0.1", site.plain)).expect("a connection"))
            .collect();
        let sample = format!("portcullis_connects_refused_total{{reason=\"{reason}\"}}");
        broker.metric_becomes(&sample, 1.0);
        drop(kept);
    }
}

#[test]
fn repeated_failures_ban_the_address_for_a_time() {
    let site = site("auth_failure_limit 3 60 60");
    let broker = site.start();
    let wrong = Hello {
        password: Some("wrong battery".into()),
        ..Hello::new(5, "a", "alice")
    };
    for _ in 0..3 {
        assert_eq!(Raw::refused(site.plain, &wrong), 0x86);
    }
    let mut banned = Raw::plain(site.plain, 5);
    drop(banned.try_send(&Hello::new(5, "a", "alice").encode()));
    assert!(
        banned
            .next()
            .is_none_or(|packet| packet.body.get(1) == Some(&0x8A))
    );
    broker.metric_becomes("portcullis_bans_total", 1.0);
    broker.audited("banned", |line| line["address"] == "127.0.0.1");
}

#[test]
fn a_client_over_its_rate_waits_and_nothing_is_lost() {
    let site = site("client_message_rate 200 10");
    let broker = site.start();
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    assert_eq!(inside.subscribe(&[("demo/x", 0)]), [0]);
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "i2", "inside"));
    for number in 0..60 {
        alice.publish("demo/x", &number.to_string(), 0, 0);
    }
    for number in 0..60 {
        assert_eq!(inside.message().payload, number.to_string());
    }
    let sample = "portcullis_rate_limited_total{reason=\"message_rate\"}";
    assert!(broker.metric(sample) >= 1.0);
}

#[test]
fn a_client_over_its_rate_is_dropped_or_disconnected_where_the_operator_says_so() {
    let site = site("client_message_rate 1 5\nrate_action drop");
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    let codes: Vec<u8> = (1..=10)
        .map(|id| alice.publish_acked("demo/alice/requests/1", "x", id))
        .collect();
    assert!(codes.contains(&0x97), "{codes:?}");
    drop(broker);

    let site = self::site("client_message_rate 1 5\nrate_action disconnect");
    let _broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    for _ in 0..10 {
        if alice
            .try_send(&publish(5, "demo/alice/requests/1", b"x", 0, 0, false, &[]))
            .is_err()
        {
            break;
        }
    }
    alice.expect_disconnect(0x96);
}

#[test]
fn bytes_have_a_rate_of_their_own() {
    let site = site("client_byte_rate 1000 4000\nrate_action drop");
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    let codes: Vec<u8> = (1..=5)
        .map(|id| alice.publish_acked("demo/alice/requests/1", &"x".repeat(1500), id))
        .collect();
    assert_eq!(codes[0], 0);
    assert!(codes.contains(&0x97), "{codes:?}");
    let sample = "portcullis_rate_limited_total{reason=\"byte_rate\"}";
    assert!(broker.metric(sample) >= 1.0);
}

#[test]
fn a_packet_over_the_limit_ends_the_connection_before_it_is_read() {
    let site = site("max_packet_size 1000");
    let _broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    // Only the header: a megabyte is announced.
    alice.send(&[0x30, 0x80, 0x80, 0x40]);
    alice.expect_disconnect(0x95);
    // Before CONNECT the limit is much smaller.
    let mut stranger = Raw::plain(site.plain, 5);
    stranger.send(&[0x10, 0x80, 0x80, 0x04]);
    if let Some(packet) = stranger.next() {
        assert_eq!(packet.body.get(1), Some(&0x95));
        stranger.expect_end();
    }
}

#[test]
fn a_payload_over_message_size_limit_is_refused_and_the_client_stays() {
    let site = site("message_size_limit 10");
    let _broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    assert_eq!(
        alice.publish_acked("demo/alice/requests/1", "0123456789", 1),
        0
    );
    assert_eq!(
        alice.publish_acked("demo/alice/requests/1", "0123456789x", 2),
        0x97
    );
    alice.expect_silence();
}

#[test]
fn subscriptions_and_topic_levels_are_counted() {
    let site = site("max_subscriptions_per_client 2\nmax_topic_levels 5");
    let broker = site.start();
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    let filters = [("demo/1", 0), ("demo/2", 0), ("demo/1", 1), ("demo/3", 0)];
    assert_eq!(inside.subscribe(&filters), [0, 0, 1, 0x97]);
    assert_eq!(inside.publish_acked("demo/2/3/4/5", "x", 1), 0);
    assert_eq!(inside.publish_acked("demo/2/3/4/5/6", "x", 2), 0x90);
    let sample = "portcullis_subscribe_denied_total{reason=\"max_subscriptions\"}";
    assert!(broker.metric(sample) >= 1.0);
}

#[test]
fn retained_messages_are_counted_and_weighed() {
    let site = site("max_retained_messages 2");
    let _broker = site.start();
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    let codes: Vec<u8> = (1..=3_u8)
        .map(|id| {
            let topic = format!("demo/{id}");
            inside.send(&publish(5, &topic, b"x", 1, u16::from(id), true, &[]));
            inside.receive().body.get(2).copied().unwrap_or(0)
        })
        .collect();
    // The first two have no subscriber, which 5.0 may say.
    assert!(
        codes[..2].iter().all(|code| matches!(code, 0 | 0x10)),
        "{codes:?}"
    );
    assert_eq!(codes[2], 0x97);
}

#[test]
fn a_queue_for_an_absent_client_is_bounded_and_the_drops_are_counted() {
    let site = site("max_queued_messages 10\nmax_inflight_messages 5");
    let broker = site.start();
    let hello = Hello::new(5, "away", "alice").kept();
    let (mut alice, _) = Raw::hello(site.plain, &hello);
    assert_eq!(alice.subscribe(&[("demo/alice/answers/#", 1)]), [1]);
    alice.vanish();
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    broker.metric_becomes("portcullis_sessions_connected", 1.0);
    for id in 1..=30 {
        inside.publish_acked("demo/alice/answers/1", &id.to_string(), id);
    }
    let dropped = "portcullis_messages_dropped_total{reason=\"queue_full\"}";
    broker.metric_becomes(dropped, 20.0);
    let (mut alice, _) = Raw::hello(site.plain, &hello);
    for id in 1..=10 {
        assert_eq!(alice.message().payload, id.to_string());
    }
    alice.expect_silence();
}

#[test]
fn a_reader_that_stops_costs_bounded_memory_and_delays_nobody() {
    let site = site("max_queued_messages 100\nmax_queued_bytes 200000");
    let broker = site.start();
    let (mut stuck, _) = Raw::hello(site.plain, &Hello::new(4, "stuck", "inside"));
    assert_eq!(stuck.subscribe(&[("demo/flood", 0)]), [0]);
    let (mut quick, _) = Raw::hello(site.plain, &Hello::new(4, "quick", "inside"));
    assert_eq!(quick.subscribe(&[("demo/flood", 0)]), [0]);
    let (mut sender, _) = Raw::hello(site.plain, &Hello::new(4, "sender", "inside"));
    let payload = "x".repeat(10_000);
    let before = broker.resident_kib();
    // 60 MB for each of the two; the quick one reads every one of them.
    for number in 0..6_000 {
        sender.publish("demo/flood", &payload, 0, 0);
        let received = quick.message();
        assert_eq!(received.payload.len(), payload.len(), "message {number}");
    }
    let grown = broker.resident_kib().saturating_sub(before);
    assert!(
        grown < 16_384,
        "{grown} KiB for a client that does not read"
    );
    assert!(broker.metric("portcullis_messages_dropped_total{reason=\"queue_full\"}") > 0.0);
    drop(stuck);
}

#[test]
fn keep_alive_is_watched_and_max_keepalive_is_told() {
    let site = site("max_keepalive 30");
    let broker = site.start();
    // Without a Keep Alive the server sets its own [MQTT-3.1.2-21].
    let mut raw = Raw::plain(site.plain, 5);
    raw.send(
        &Hello {
            keep_alive_s: 600,
            ..Hello::new(5, "k", "alice")
        }
        .encode(),
    );
    let connack = raw.receive();
    assert_eq!(connack.body[1], 0);
    assert!(
        connack.body[3..]
            .windows(3)
            .any(|part| part == [0x13, 0, 30]),
        "{connack:02x?}"
    );
    let (mut silent, _) = Raw::hello(
        site.plain,
        &Hello {
            keep_alive_s: 1,
            ..Hello::new(5, "s", "alice")
        },
    );
    silent.expect_disconnect(0x8D);
    broker.audited("disconnect", |line| line["reason"] == "keep_alive");
}

#[test]
fn one_subscribe_with_many_filters_is_answered_filter_by_filter() {
    let site = site("");
    let _broker = site.start();
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    let names: Vec<String> = (0..100).map(|number| format!("demo/{number}")).collect();
    let filters: Vec<(&str, u8)> = names.iter().map(|name| (name.as_str(), 0)).collect();
    inside.send(&subscribe(5, 1, &filters, &[]));
    let suback = inside.receive();
    assert_eq!(suback.body.len(), 3 + 100);
}

#[test]
fn who_does_not_acknowledge_retained_messages_gets_no_longer_queue_than_others() {
    let site = site("max_queued_messages 10\nmax_inflight_messages 5");
    let broker = site.start();
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(4, "i", "inside"));
    for number in 0..50_u16 {
        let topic = format!("demo/kept/{number}");
        inside.send(&publish(4, &topic, b"x", 1, number + 1, true, &[]));
        assert_eq!(inside.receive().first, 0x40);
    }
    let (mut stuck, _) = Raw::hello(site.plain, &Hello::new(4, "stuck", "inside"));
    assert_eq!(stuck.subscribe(&[("demo/#", 1)]), [1]);
    // Five are on their way, the others are looked up when these are acknowledged.
    let first = stuck.unacknowledged();
    for id in 100..200 {
        assert_eq!(inside.publish_acked("demo/live", "y", id), 0);
    }
    broker.metric_becomes(
        "portcullis_messages_dropped_total{reason=\"queue_full\"}",
        90.0,
    );
    stuck.send(&crate::support::raw::ack(
        0x40,
        first.id.expect("an identifier"),
    ));
    let mut live = 0;
    for _ in 1..50 + 10 {
        let message = stuck.message();
        live += usize::from(message.topic == "demo/live");
    }
    assert_eq!(live, 10);
    stuck.expect_silence();
}

#[test]
fn over_all_clients_no_more_is_kept_than_memory_limit_and_the_operator_is_told() {
    let site = site("memory_limit 100000\nmax_queued_messages 1000");
    let broker = site.start();
    let hello = Hello::new(5, "away", "alice").kept();
    let (mut alice, _) = Raw::hello(site.plain, &hello);
    assert_eq!(alice.subscribe(&[("demo/alice/answers/#", 1)]), [1]);
    alice.vanish();
    broker.metric_becomes("portcullis_sessions_connected", 0.0);
    let (mut inside, _) = Raw::hello(site.plain, &Hello::new(5, "i", "inside"));
    let payload = "x".repeat(1_000);
    for id in 1..=120 {
        inside.publish_acked("demo/alice/answers/1", &payload, id);
    }
    broker.metric_becomes("portcullis_memory_pressed", 1.0);
    assert!(
        broker.log().contains("memory_limit is reached"),
        "{}",
        broker.log()
    );
    let dropped = "portcullis_messages_dropped_total{reason=\"queue_full\"}";
    broker.metric_becomes(dropped, 0.0);
    inside.publish_acked("demo/alice/answers/1", &payload, 121);
    broker.metric_becomes(dropped, 1.0);
    inside.publish_with("demo/kept", "x", 1, 122, true, &[]);
    assert_eq!(inside.receive().body.get(2), Some(&0x97));
    // Who reads is served as ever.
    assert_eq!(inside.subscribe(&[("demo/live", 0)]), [0]);
    inside.publish("demo/live", "live", 0, 0);
    assert_eq!(inside.message().payload, "live");
    let (mut alice, _) = Raw::hello(site.plain, &hello);
    for _ in 0..120 {
        alice.message();
    }
    broker.metric_becomes("portcullis_memory_pressed", 0.0);
}

#[test]
fn addresses_that_may_not_connect_are_closed_before_anything_and_at_the_reload_that_names_them() {
    let site = site("");
    site.on_plain_listener(
        &site.fill("deny_addresses_file {dir}/denied\nallow_addresses_file {dir}/allowed"),
    );
    site.write("allowed", "127.0.0.0/8 # loopback\n");
    site.write("denied", "198.51.100.0/24\n");
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    site.write("denied", "198.51.100.0/24\n127.0.0.1\n");
    broker.reload();
    alice.expect_disconnect(0x87);
    let mut raw = Raw::plain(site.plain, 5);
    drop(raw.try_send(&Hello::new(5, "a", "alice").encode()));
    assert!(raw.next().is_none());
    let sample = "portcullis_connects_refused_total{reason=\"address\"}";
    broker.metric_becomes(sample, 1.0);
    site.write("denied", "127.0.0.1/8\n");
    assert_eq!(broker.reload()["decision"], "deny");
    assert!(
        broker.log().contains("write 127.0.0.0/8"),
        "{}",
        broker.log()
    );
}
