//! What rules give, told before they are live: `acl diff`, `acl report`, `acl explain`.

use serde_json::Value;

use crate::clients::ACL;
use crate::support::site::Site;

const OLD: &str = "user alice\ntopic readwrite a/#\npattern read dev/%c/#\n";
const NEW: &str = "user alice\ntopic read a/#\ntopic write a/b\npattern read dev/%c/#\nuser bob\ntopic read x/+\n";

#[test]
fn two_files_are_compared_user_by_user() {
    let site = Site::new();
    site.write("old.conf", OLD);
    site.write("new.conf", NEW);
    let (old, new) = (site.path_text("old.conf"), site.path_text("new.conf"));
    let ended = site.run(&["acl", "diff", &old, &new]);
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert_eq!(
        ended.out,
        "user alice\n  may no longer write a/# but not a/b  [no rule; was old.conf:2]\n\
         user bob\n  may now read x/+  [new.conf:6; was no rule]\n"
    );
    let same = site.run(&["acl", "diff", &old, &old]);
    assert_eq!((same.code, same.err.as_str()), (Some(0), ""));
    let json = site.run(&["acl", "diff", "--json", "-u", "bob", &old, &new]);
    let json: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json["differences"][0]["who"], "user bob");
    let change = &json["differences"][0]["changes"][0];
    assert_eq!(
        (&change["filter"], &change["new_rules"][0]),
        (&"x/+".into(), &"new.conf:6".into())
    );
    site.write("bad.conf", "user\ntopic a+ b\n");
    let bad = site.run(&["acl", "diff", &old, &site.path_text("bad.conf")]);
    assert_eq!(bad.code, Some(3));
    assert!(
        bad.err.contains("bad.conf:1:6: error:") && bad.err.contains("bad.conf:2:7: error:"),
        "{}",
        bad.err
    );
}

#[test]
fn a_report_tells_what_each_user_may_in_all_a28() {
    let site = Site::with_users(&["inside", "alice", "carol"], ACL, "");
    site.write(
        "acl.conf",
        "#!acl 2\nall\ntopic write in/%u\ngroup staff\ntopic read news/#\ntopic deny news/secret/#\nuser inside\ntopic readwrite #\n",
    );
    site.write("groups.conf", "group staff\nuser carol\n");
    let conf = site.read("portcullis.conf");
    site.write(
        "portcullis.conf",
        &format!("{conf}{}", site.fill("group_file {dir}/groups.conf\n")),
    );
    let ended = site.run(&["acl", "report", "-c", &site.path_text("portcullis.conf")]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    for expected in [
        "user alice\n  may write in/alice  [acl.conf:3]\nuser carol, in staff\n",
        "user carol, in staff\n  may read news/# but not news/secret/#  [acl.conf:5]\n  may write in/carol  [acl.conf:3]\n  \
         may not read news/secret/#  [acl.conf:6]\n  may not write news/secret/#",
        "user inside\n  may read #  [acl.conf:8]\n  may write #",
        "anonymous clients\n  may do nothing\n",
    ] {
        assert!(
            ended.out.contains(expected),
            "{expected}\nin\n{}",
            ended.out
        );
    }
}

#[test]
fn differences_know_clients_groups_addresses_and_qos() {
    let site = Site::new();
    let old = "#!acl 2\ngroup staff\nmax_qos 1\ntopic write orders/+\nclient pump-*\n\
               address 10.0.0.0/8\ntopic read lan/#\n";
    let new = "#!acl 2\ngroup staff\ntopic write orders/+\ntopic deny orders/closed\nclient pump-*\n\
               topic subscribe lan/#\n";
    site.write("old.conf", old);
    site.write("new.conf", new);
    let (old, new) = (site.path_text("old.conf"), site.path_text("new.conf"));
    let diff = |more: &[&str]| {
        let mut arguments = vec!["acl", "diff", old.as_str(), new.as_str()];
        arguments.extend(more);
        site.run(&arguments)
    };
    let ended = diff(&[]);
    assert_eq!(
        ended.out,
        "a member of staff\n  \
         may no longer write orders/closed  [new.conf:4; was old.conf:4]\n  \
         may now write orders/+ but not orders/closed, with QoS 2 at most instead of 1  \
         [new.conf:3; was old.conf:4]\n\
         client pump-*\n  may now subscribe to lan/#  [new.conf:6; was no rule]\n"
    );
    assert!(
        ended.err.contains("old.conf:7, grant nothing here"),
        "{}",
        ended.err
    );
    let ended = diff(&["-u", "bob", "-i", "pump-7", "-a", "10.0.0.9"]);
    assert_eq!(
        (ended.out.as_str(), ended.err.as_str()),
        (
            "user bob\n  may no longer read lan/#  [no rule; was old.conf:7]\n",
            ""
        )
    );
    assert_eq!(diff(&["-u", "bob", "-i", "valve"]).code, Some(0));
    assert_eq!(diff(&["-u", "bob", "-g", "staff"]).code, Some(1));
}

#[test]
fn a_report_of_a_configuration_without_rules_says_that_all_is_granted() {
    let site = Site::new();
    site.write(
        "open.conf",
        "listener 1883 127.0.0.1\nallow_anonymous true\n",
    );
    let ended = site.run(&["acl", "report", "-c", &site.path_text("open.conf")]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let (anonymous, others) = ended.out.split_once("any other user\n").expect("both");
    assert_eq!(anonymous, format!("anonymous clients\n{others}"));
    assert_eq!(
        others,
        "  may read $*/#  [no ACL is configured]\n  \
         may read #  [no ACL is configured]\n  \
         may write $SYS/broker/connection/+/state  [no ACL is configured]\n  \
         may write $*/# but not $CONTROL/#, $SYS/#, $me/#, $share/#  [no ACL is configured]\n  \
         may write #  [no ACL is configured]\n"
    );
}

#[test]
fn a_report_names_the_rules_that_decide_nothing_for_anybody_a28() {
    let site = Site::new();
    site.write(
        "acl.conf",
        "#!acl 2\nall\ntopic write $SYS/x\ntopic write to/%g\ngroup staff\ntopic read news/#\n\
         topic read news/sports\nuser bob\ntopic deny news/#\ntopic read news/x\nclient pump\ntopic read pump/a\n\
         address 10.0.0.0/8\ntopic read pump/a\n",
    );
    let acl = site.path_text("acl.conf");
    for more in [&[][..], &["-i", "valve", "-g", "staff", "-a", "192.0.2.1"]] {
        let mut arguments = vec!["acl", "report", "--json", acl.as_str()];
        arguments.extend(more);
        let ended = site.run(&arguments);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let told: Value = serde_json::from_str(&ended.out).expect("JSON");
        let idle = told["without_effect"].as_array().expect("a list");
        let idle: Vec<_> = idle.iter().map(|rule| &rule["rule"]).collect();
        assert_eq!(idle, ["acl.conf:3", "acl.conf:7", "acl.conf:10"]);
    }
}

#[test]
fn explain_knows_groups_addresses_tokens_and_qos() {
    let site = Site::with_users(&["inside", "alice"], ACL, "");
    site.write(
        "acl.conf",
        "#!acl 2\ngroup staff\naddress 10.0.0.0/8\ntopic read plant/#\nall\nmax_qos 0\ntopic write in/%t\n",
    );
    let conf = site.path_text("portcullis.conf");
    let explain = |more: &[&str]| {
        let mut arguments = vec!["acl", "explain", "-c", &conf, "-u", "alice", "-i", "a"];
        arguments.extend(more);
        let ended = site.run(&arguments);
        (ended.code, ended.out)
    };
    let subscribe = ["subscribe", "plant/#"];
    assert_eq!(explain(&subscribe).0, Some(1));
    assert_eq!(
        explain(&[&["-g", "staff"][..], &subscribe].concat()).0,
        Some(1)
    );
    let (code, told) = explain(&[&["-g", "staff", "-a", "10.1.1.1"][..], &subscribe].concat());
    assert_eq!(code, Some(0), "{told}");
    let publish = ["publish", "in/abc"];
    assert_eq!(explain(&[&["-t", "abc"][..], &publish].concat()).0, Some(0));
    let (code, told) = explain(&[&["-t", "abc", "-q", "1", "--json"][..], &publish].concat());
    assert_eq!(code, Some(1));
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(
        (&told["reason"], &told["rule"]),
        (&"rule_qos".into(), &"acl.conf:7".into())
    );
}
