//! No secret reaches what the broker writes. Every test's site looks for those of its test
//! (`support::secrets`); here are the ways in which one is most easily let out.

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::material::MATERIAL;
use crate::support::raw::{Hello, Raw};
use crate::support::secrets::{WRONG, assert_none_in, form_in, used};
use crate::support::site::{PASSWORD, STANDARD, Site, eventually};
use crate::tokens::{by_jwt, now_s};

const SECRET: &str = "0123456789abcdef-not-to-be-seen-0123456789abcdef";

/// Password users and tokens under a secret, with every log that there is.
fn site() -> Site {
    let site = Site::new();
    site.users(&["alice", "inside"]);
    site.write(
        "acl.conf",
        "user alice\ntopic readwrite demo/#\ntopic read $SYS/#\n",
    );
    site.write("secret", &format!("{SECRET}\n"));
    site.conf(&format!(
        "{STANDARD}\njwt_secret_file {{dir}}/secret\njwt_audience broker\nlog_dest file {{dir}}/extra.log\n\
         log_dest stderr\nlog_dest stdout\nlog_type all\nsys_interval 1\nauth_failure_delay_ms 0 0\n\
         auth_failure_limit 0 1 1\n"
    ));
    site
}

fn token(secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), claims, &key).expect("a token");
    used(&token);
    token
}

/// Tokens of every kind that is refused, and one that is good.
fn tokens() -> Vec<String> {
    let claims = |user: &str, exp: u64| json!({"sub": user, "aud": "broker", "exp": exp});
    let good = token(SECRET, &claims("alice", now_s() + 600));
    let (front, signature) = good.rsplit_once('.').expect("three parts");
    let turned: String = signature.chars().rev().collect();
    vec![
        format!("{front}.{turned}"),
        format!("{front}.{signature}="),
        format!("{good}.{signature}"),
        front.to_owned(),
        token(SECRET, &claims("alice", 1_000_000_000)),
        token(SECRET, &claims("alice/x", now_s() + 600)),
        token(SECRET, &json!({"sub": "alice", "exp": "never"})),
        token(&SECRET.to_uppercase(), &claims("alice", now_s() + 600)),
        good,
    ]
}

fn connect(site: &Site, hello: &Hello) {
    let mut raw = Raw::plain(site.plain, hello.version);
    raw.send(&hello.encode());
    assert_eq!(raw.receive().kind(), 2);
    // More than a packet: what comes behind is an error that is told.
    drop(raw.try_send(&[0xF7, 0]));
    while raw.next().is_some() {}
}

#[test]
fn nothing_that_is_written_shows_a_password_or_a_token() {
    let site = site();
    let broker = site.start();
    used(SECRET);
    for version in [3, 4, 5] {
        for password in [PASSWORD, WRONG] {
            for user in ["alice", "nobody"] {
                let mut hello = Hello::new(version, "c", user);
                hello.password = Some(password.into());
                connect(&site, &hello);
            }
        }
        for token in tokens() {
            let mut hello = Hello::new(version, "c", "x");
            hello.password = Some(token);
            connect(&site, &hello);
        }
    }
    for token in tokens() {
        connect(
            &site,
            &Hello::nameless(5, "c").with_property(&by_jwt(&token)),
        );
    }
    // A CONNECT that ends in the middle of the password, and one with something behind it.
    let whole = Hello::new(5, "c", "alice").encode();
    let mut cut = whole[..whole.len() - 4].to_vec();
    cut[1] -= 4;
    let mut long = whole.clone();
    long.extend(b"correct horse");
    long[1] += 13;
    for bytes in [cut, long] {
        let mut raw = Raw::plain(site.plain, 5);
        raw.send(&bytes);
        while raw.next().is_some() {}
    }
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    assert_eq!(alice.subscribe(&[("$SYS/#", 0)]), [0]);
    // Until every topic was told twice, so once after all that.
    let mut said = String::new();
    eventually("$SYS is published", || {
        let message = alice.message();
        said.push_str(&format!("{} {}\n", message.topic, message.payload));
        let uptimes = said
            .lines()
            .filter(|line| line.contains("$SYS/broker/uptime"));
        (uptimes.count() >= 3).then_some(())
    });
    assert_none_in("$SYS", &said);
    broker.audited("authentication_failure", |line| {
        line["reason"] == "token_expired"
    });
    assert!(site.read("extra.log").contains("accepts connections"));
    assert!(site.read("broker.out").contains("accepts connections"));
}

#[test]
fn no_error_about_a_file_shows_the_secret_in_it() {
    let site = site();
    let conf = site.read("portcullis.conf");
    let broker = site.start();
    let check = || {
        used(SECRET);
        let ended = site.run(&["check", "-c", &site.path_text("portcullis.conf")]);
        assert!(ended.err.contains("passwd:3:"), "{}", ended.err);
        broker.reload();
    };
    let passwords = site.read("passwd");
    for line in [
        format!("bob:{PASSWORD}"),
        format!("bob:$7$101${PASSWORD}$x"),
        format!("bob:$argon2id$v=19$m=1,t=1,p=1${PASSWORD}"),
        passwords
            .replace("alice:", "bob:")
            .replace("$7$", "$8$")
            .replace("$argon2id$", "$argon2x$"),
    ] {
        site.write("passwd", &format!("{passwords}{line}\n"));
        check();
    }
    site.write("passwd", &passwords);
    // A key in the place of another file, and what is no key in its place.
    for (name, text) in [
        (
            "server.key",
            site.read("server.key").replacen("\nM", "\nA", 1),
        ),
        ("server.crt", site.read("server.key")),
        ("server.key", format!("{SECRET}\n")),
    ] {
        let before = site.read(name);
        site.write(name, &text);
        let ended = site.run(&["check", "-c", &site.path_text("portcullis.conf")]);
        assert_ne!(ended.code, Some(0), "{name}: {}", ended.out);
        site.write(name, &before);
    }
    // Where the name of an environment variable belongs.
    let plain = SECRET.replace('-', "_");
    used(&plain);
    for line in [
        format!("jwt_secret_env {SECRET}"),
        format!("jwt_secret_env {plain}"),
        "jwt_secret_env HOME".into(),
    ] {
        site.write("portcullis.conf", &format!("{conf}{line}\n"));
        assert_eq!(broker.reload()["decision"], "deny");
    }
}

#[test]
fn a_secret_is_found_in_every_form() {
    let secret = "correct horse";
    for text in [
        "user alice with correct horse here",
        "636f727265637420686f727365",
        "636F727265637420686F727365",
        "password=correct%20horse",
        "password=correct+horse",
        "[99, 111, 114, 114, 101, 99, 116, 32, 104, 111, 114, 115, 101]",
        "Y29ycmVjdCBob3JzZQ==",
        // Basic authentication, and behind users of other lengths.
        "Authorization: Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==",
        "Authorization: Basic Ym9iOmNvcnJlY3QgaG9yc2U=",
        "Authorization: Basic aXZhOmNvcnJlY3QgaG9yc2U6eA",
        "Authorization: Basic YWw6Y29ycmVjdCBob3JzZQ",
        "Authorization: Basic YWxhbjpjb3JyZWN0IGhvcnNl",
    ] {
        assert!(form_in(text, secret).is_some(), "{text}");
    }
    for text in ["correct", "horse correct", "Y29ycmVjdA==", ""] {
        assert_eq!(form_in(text, secret), None, "{text}");
    }
    assert_eq!(
        form_in("a\\nb\\\"c\\\"defgh", "a\nb\"c\"defgh"),
        Some("quoted")
    );
}

#[test]
fn a_key_in_the_place_of_rules_is_not_shown() {
    let site = Site::with_users(&["alice"], "", "");
    site.write("acl.conf", &MATERIAL.server.key);
    for arguments in [&["--test-config", "-c"][..], &["check", "-c"]] {
        let conf = site.path_text("portcullis.conf");
        let ended = site.run(&[arguments, &[conf.as_str()]].concat());
        assert_eq!(ended.code, Some(3), "{}", ended.err);
        assert!(
            ended.err.contains("acl.conf is PEM, not the ACL file"),
            "{}",
            ended.err
        );
        let body = MATERIAL.server.key.lines().nth(1).expect("a line");
        assert!(!ended.err.contains(body) && !ended.out.contains(body));
    }
}
