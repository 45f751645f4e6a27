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
        "user alice\n  may no longer write a  [new.conf:2; was old.conf:2]\n  \
         may no longer write a/b/+/#  [new.conf:2; was old.conf:2]\n  \
         may no longer write a/+/# but not a/b/#  [new.conf:2; was old.conf:2]\n\
         user bob\n  may now read x/+  [new.conf:6; was no rule]\n"
    );
    let same = site.run(&["acl", "diff", &old, &old]);
    assert_eq!((same.code, same.err.as_str()), (Some(0), ""));
    let json = site.run(&["acl", "diff", "--json", "-u", "bob", &old, &new]);
    let json: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json["differences"][0]["who"], "user bob");
    assert_eq!(json["differences"][0]["changes"][0]["filter"], "x/+");
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
        "user alice\n  may write in/alice  [acl.conf:3]\nuser carol\n",
        "user carol\n  may read news  [acl.conf:5]\n  may read news/+/# but not news/secret/#  [acl.conf:5]\n  may write in/carol",
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
