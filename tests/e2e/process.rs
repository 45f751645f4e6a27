//! The program as a program: exit codes, test of a configuration, quickstart.

use std::net::TcpListener;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::clients::ACL;
use crate::support::raw::{Hello, Raw};
use crate::support::site::Site;
use crate::support::tools::Tool;

fn site() -> Site {
    Site::with_users(&["inside", "alice"], ACL, "")
}

#[test]
fn test_config_says_ok_with_0_and_everything_wrong_with_3() {
    let site = site();
    let conf = site.path_text("portcullis.conf");
    let good = site.run(&["-c", &conf, "--test-config"]);
    assert_eq!(
        (good.code, good.out.trim()),
        (Some(0), "Configuration file is OK.")
    );
    let text = site.read("portcullis.conf");
    site.write(
        "portcullis.conf",
        &format!("{text}\nlistner 1\nmax_keepalive many\n"),
    );
    let bad = site.run(&["-c", &conf, "--test-config"]);
    assert_eq!(bad.code, Some(3));
    for expected in [
        "listner",
        "did you mean",
        "max_keepalive",
        "portcullis.conf:",
    ] {
        assert!(
            bad.err.contains(expected),
            "{expected} is not in\n{}",
            bad.err
        );
    }
    // An unknown option and a missing file.
    assert_eq!(site.run(&["--nonsense"]).code, Some(3));
    assert_eq!(site.run(&["-c", "/does/not/exist.conf"]).code, Some(3));
    assert_eq!(site.run(&["--version"]).code, Some(0));
    assert_eq!(site.run(&["--help"]).code, Some(0));
}

#[test]
fn a_missing_acl_file_ends_with_13_and_a_wrong_one_with_3() {
    let site = site();
    std::fs::remove_file(site.path("acl.conf")).expect("it was there");
    let missing = site.run_conf();
    assert_eq!(missing.code, Some(13), "{}", missing.err);
    assert!(missing.err.contains("acl.conf"), "{}", missing.err);
    site.write("acl.conf", "topic red demo/#\nuser\n");
    let wrong = site.run_conf();
    assert_eq!(wrong.code, Some(3));
    assert!(
        wrong.err.contains("acl.conf:1:") && wrong.err.contains("acl.conf:2:"),
        "{}",
        wrong.err
    );
}

#[test]
fn a_port_in_use_ends_with_1_and_is_named() {
    let site = site();
    let _held = TcpListener::bind(("127.0.0.1", site.plain)).expect("a free port");
    let ended = site.run_conf();
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    let named = format!("127.0.0.1:{}", site.plain);
    assert!(
        ended.err.contains(&named) && ended.err.contains("in use"),
        "{}",
        ended.err
    );
}

#[test]
fn hardened_refuses_what_is_open_and_names_line_reason_and_remedy() {
    let site = Site::new();
    site.conf("listener {plain} 0.0.0.0\nallow_anonymous true\n");
    let ended = site.run_conf();
    assert_eq!(ended.code, Some(3));
    for expected in [
        "portcullis.conf:",
        "certfile",
        "allow_anonymous",
        "acl_file",
        "compatible",
    ] {
        assert!(
            ended.err.contains(expected),
            "{expected} is not in\n{}",
            ended.err
        );
    }
    // The same conf is accepted where the operator says so, and what stands between is listed.
    let conf = site.path_text("portcullis.conf");
    let compatible = ["check", "--security-profile", "compatible", "-c", &conf];
    let accepted = site.run(&compatible);
    assert_eq!(accepted.code, Some(0), "{}", accepted.err);
    assert!(accepted.err.contains("warning"), "{}", accepted.err);
    let listed = site.run(&["check", "--security", "-c", &conf]);
    assert_eq!(listed.code, Some(3));
    for expected in ["portcullis.conf:", "help:", "stand between"] {
        assert!(
            listed.err.contains(expected),
            "{expected} is not in\n{}",
            listed.err
        );
    }
}

#[test]
fn compatible_counts_what_hardened_would_refuse() {
    let site = site();
    let conf = site.path_text("portcullis.conf");
    let broker = site.start_with(&["-c", &conf, "--security-profile", "compatible"]);
    let sample = "portcullis_hardened_findings{kind=\"guard_not_strict\"}";
    broker.metric_becomes(sample, 1.0);
    assert!(
        broker.log().contains("subscribe_guard strict"),
        "{}",
        broker.log()
    );
}

#[test]
fn secrets_that_others_can_read_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let site = site();
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(site.path("passwd"), open).expect("ours");
    let ended = site.run_conf();
    assert_eq!(ended.code, Some(3), "{}", ended.err);
    assert!(
        ended.err.contains("passwd") && ended.err.contains("chmod"),
        "{}",
        ended.err
    );
}

#[test]
fn check_opens_every_file_and_changes_nothing() {
    let site = site();
    let conf = site.path_text("portcullis.conf");
    let listing = |site: &Site| {
        let mut names: Vec<_> = std::fs::read_dir(site.dir())
            .expect("a directory")
            .map(|entry| {
                let entry = entry.expect("an entry");
                let data = entry.metadata().expect("metadata");
                (
                    entry.file_name(),
                    data.len(),
                    data.modified().expect("a time"),
                )
            })
            .collect();
        names.sort();
        names
    };
    let before = listing(&site);
    let good = site.run(&["check", "-c", &conf]);
    assert_eq!(good.code, Some(0), "{}", good.err);
    assert!(
        good.out.contains("valid for") && good.out.contains("in order"),
        "{}",
        good.out
    );
    assert_eq!(listing(&site), before);
    let other = crate::support::material::MATERIAL.another_server();
    site.write("server.key", &other.key);
    let bad = site.run(&["check", "-c", &conf]);
    assert_eq!(bad.code, Some(3), "{}", bad.err);
    assert!(bad.err.contains("server.key"), "{}", bad.err);
}

#[test]
fn local_only_mode_is_loopback_and_anonymous_in_both_profiles() {
    for profile in ["hardened", "compatible"] {
        let site = Site::new();
        let port = site.plain.to_string();
        let mut broker = site.start_with(&["-p", &port, "--security-profile", profile]);
        let (mut client, _) = Raw::hello(site.plain, &Hello::nameless(4, "local"));
        assert_eq!(client.subscribe(&[("#", 0)]), [0]);
        client.publish("any/thing", "x", 0, 0);
        assert_eq!(client.message().payload, "x");
        assert_eq!(broker.stop().code(), Some(0));
    }
}

#[test]
fn verbose_and_quiet_do_what_they_say() {
    let site = site();
    let conf = site.path_text("portcullis.conf");
    let broker = site.start_with(&["-v", "-c", &conf]);
    Raw::hello(site.plain, &Hello::new(4, "talker", "alice"))
        .0
        .disconnect();
    broker.audited("disconnect", |_| true);
    assert!(broker.log().contains("talker"), "{}", broker.log());
    drop(broker);
    // Wrong even when quiet: why it did not start is not a matter of taste.
    site.write("portcullis.conf", "nonsense\n");
    let ended = site.run(&["-q", "-c", &conf]);
    assert!(ended.err.contains("nonsense"), "{}", ended.err);
}

#[test]
fn a_daemon_leaves_its_pid_and_stops_at_sigterm() {
    let site = Site::with_users(
        &["alice"],
        ACL,
        "pid_file {dir}/portcullis.pid\nlog_dest file {dir}/own.log",
    );
    let started = site.run(&["-d", "-c", &site.path_text("portcullis.conf")]);
    assert_eq!(started.code, Some(0), "{}", started.err);
    crate::support::site::eventually("it accepts connections", || {
        site.read("own.log")
            .contains("accepts connections")
            .then_some(())
    });
    let pid: i32 = site
        .read("portcullis.pid")
        .trim()
        .parse()
        .expect("a number");
    Raw::hello(site.plain, &Hello::new(4, "d", "alice"))
        .0
        .disconnect();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
    crate::support::site::eventually("the pid file is gone", || {
        (!site.path("portcullis.pid").exists()).then_some(())
    });
}

#[test]
fn quickstart_prints_lines_that_work_as_they_stand_and_a_second_run_uses_the_same_files() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    let (port, metrics) = (site.tls.to_string(), site.metrics.to_string());
    let mut seen = Vec::new();
    for run in 0..2 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command
            .args(["quickstart", "--dir"])
            .arg(site.path("quick"));
        command.args(["--port", &port, "--metrics-port", &metrics]);
        let child = Tool::start(command);
        let sub = child.until("mosquitto_sub").trim().to_owned();
        let publish = child.until("mosquitto_pub").trim().to_owned();
        let refused = child.until("mosquitto_sub").trim().to_owned();
        let curl = child.until("curl").trim().to_owned();
        let shell = |line: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", line]);
            command
        };
        let waiting = Tool::start(shell(&format!("exec stdbuf -oL {sub} -d")));
        waiting.until("Subscribed (mid: ");
        assert_eq!(Tool::start(shell(&publish)).finish().code, Some(0));
        waiting.until("hello");
        let told = Tool::start(shell(&refused)).finish().text;
        assert!(
            told.contains("All subscription requests were denied"),
            "{told}"
        );
        let counted = Tool::start(shell(&curl)).finish().text;
        assert!(counted.contains("reason=\"wildcard\"} 1"), "{counted}");
        let mode = std::fs::metadata(site.path("quick"))
            .expect("made")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o700);
        seen.push((sub, site.read("quick/ca.crt"), site.read("quick/passwd")));
        child.signal(Signal::SIGINT);
        assert_eq!(child.finish().code, Some(0), "Ctrl-C stops run {run}");
    }
    assert_eq!(seen[0], seen[1]);
}
