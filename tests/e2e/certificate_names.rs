//! Names in client certificates that try to be somebody else's, with the real program.

use rcgen::{CertificateParams, DistinguishedName, DnType, SerialNumber};

use crate::certificates::site;
use crate::support::authority::client;
use crate::support::material::MATERIAL;
use crate::support::raw::{Hello, Raw};
use crate::support::site::Site;

const RULES: &str = "user alice\ntopic readwrite hers/#\npattern readwrite demo/%u/#\n";

fn by_certificate(more: &str) -> Site {
    let site = site(more);
    site.write("acl.conf", RULES);
    site
}

/// CONNECT with a certificate; the connection, and the code of CONNACK.
fn connect(site: &Site, params: &CertificateParams, hello: &Hello) -> (Raw, u8) {
    let pair = MATERIAL.authority.sign(params);
    let mut raw = Raw::tls(site.tls, hello.version, MATERIAL.tls(Some(&pair)));
    raw.send(&hello.encode());
    let connack = raw.receive();
    assert_eq!(connack.kind(), 2, "{connack:02x?}");
    (raw, connack.body[1])
}

/// A certificate with these attributes in the place of a Common Name.
fn with_subject(values: Vec<(DnType, &str)>) -> CertificateParams {
    let mut params = client("", 1);
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in values {
        params.distinguished_name.push(kind, value);
    }
    params
}

#[test]
fn a_name_that_could_be_taken_for_another_is_refused() {
    let site = by_certificate("");
    let broker = site.start();
    let mut subjects: Vec<(String, CertificateParams)> = [
        "alice\0.example.org",
        "\0",
        "alice\n1700000000: client mallory connected",
        "alice\r",
        "\u{1b}[2Jalice",
        "alice\u{85}",
        "",
        "+",
        "#",
        "alice/#",
        "al+ce",
        "*",
        "*.example.org",
        &"a".repeat(65),
    ]
    .into_iter()
    .map(|name| (name.to_owned(), client(name, 1)))
    .collect();
    // As it stands in names of more than one part, and without one.
    let second = DnType::CustomDnType(vec![2, 5, 4, 3]);
    let two = vec![(DnType::CommonName, "mallory"), (second, "alice")];
    subjects.push(("two names".into(), with_subject(two)));
    let none = vec![(DnType::OrganizationalUnitName, "alice")];
    subjects.push(("no name".into(), with_subject(none)));
    subjects.push(("no subject".into(), with_subject(vec![])));
    for (number, (name, params)) in subjects.iter().enumerate() {
        for (version, code) in [(5, 0x87), (4, 5)] {
            // What CONNECT says does not stand in for it.
            let hello = Hello::new(version, "c", "alice");
            let (mut raw, refused) = connect(&site, params, &hello);
            assert_eq!(refused, code, "{number}: {name:?}");
            raw.expect_end();
        }
    }
    let refusals = "portcullis_auth_failures_total{reason=\"certificate_identity\"}";
    let expected = u32::try_from(2 * subjects.len()).expect("small");
    broker.metric_becomes(refusals, f64::from(expected));
    assert_eq!(broker.audit("connect").len(), 0);
    for text in [broker.log(), site.read("audit.log")] {
        assert!(
            !text.lines().any(|line| line.starts_with("1700000000")),
            "{text}"
        );
        assert!(!text.contains('\u{1b}') && !text.contains('\0'), "{text}");
    }
}

#[test]
fn a_name_is_taken_letter_by_letter_and_what_connect_says_does_not_replace_it() {
    let site = by_certificate("");
    let broker = site.start();
    for name in [
        "alice ",
        " alice",
        "ALICE",
        "Alice",
        "alicе",
        "al\u{200b}ice",
        "a/b",
        "%c",
        "%u",
    ] {
        let mut hello = Hello::new(5, "alice", "alice");
        hello.password = None;
        let (mut raw, code) = connect(&site, &client(name, 1), &hello);
        assert_eq!(code, 0, "{name:?}");
        let told = name.replace('\u{200b}', "\\u{200b}");
        let event = broker.audited("connect", |line| line["username"] == told.as_str());
        assert_eq!(event["method"], "certificate", "{event}");
        // Nothing that is alice's, by name or by client id.
        assert_eq!(
            raw.subscribe(&[("hers/#", 0), ("demo/alice/#", 0)]),
            [0x87, 0x87],
            "{name:?}"
        );
        // A name that would be more than one level is bound by no pattern.
        let own = format!("demo/{name}/#");
        let expected = if name.contains('/') { 0x87 } else { 0 };
        assert_eq!(raw.subscribe(&[(&own, 0)]), [expected], "{name:?}");
        raw.disconnect();
    }
    let (mut alice, code) = connect(&site, &client("alice", 1), &Hello::nameless(5, "other"));
    assert_eq!(code, 0);
    assert_eq!(
        alice.subscribe(&[("hers/#", 0), ("demo/alice/#", 0)]),
        [0, 0]
    );
    alice.disconnect();
    let longest = "a".repeat(64);
    let (raw, code) = connect(&site, &client(&longest, 1), &Hello::nameless(5, "l"));
    assert_eq!(code, 0);
    raw.disconnect();
}

/// The whole subject is written with `+` and `#`; no pattern binds such a name, and no two subjects
/// are written alike.
#[test]
fn a_whole_subject_is_one_name_that_no_value_in_it_can_imitate() {
    let site = by_certificate("");
    let conf = site.read("portcullis.conf");
    let conf = conf.replace("use_identity_as_username", "use_subject_as_username");
    site.write("portcullis.conf", &conf);
    let rules = "user CN=alice,O=works\ntopic readwrite hers/#\npattern readwrite demo/%u/#\n";
    site.write("acl.conf", rules);
    let broker = site.start();
    let subject = |organization: &str, name: &str| {
        with_subject(vec![
            (DnType::OrganizationName, organization),
            (DnType::CommonName, name),
        ])
    };
    for (params, written, granted) in [
        (subject("works", "alice"), "CN=alice,O=works", 0),
        (
            subject("x", "alice,O=works"),
            "CN=alice\\,O=works,O=x",
            0x87,
        ),
        (subject("works", "alice "), "CN=alice\\ ,O=works", 0x87),
        (subject("works", "a+b"), "CN=a\\+b,O=works", 0x87),
    ] {
        let (mut raw, code) = connect(&site, &params, &Hello::nameless(5, "s"));
        assert_eq!(code, 0, "{written}");
        // Logs escape what they escape with.
        let told = written.replace('\\', "\\\\");
        broker.audited("connect", |line| line["username"] == told.as_str());
        assert_eq!(raw.subscribe(&[("hers/#", 0)]), [granted], "{written}");
        let own = raw.subscribe(&[(&format!("demo/{}/#", written.replace('+', "x")), 0)]);
        assert_eq!(own == [0], !written.contains('+'), "{written}");
        raw.disconnect();
    }
    for (organization, name) in [("works\0", "alice"), ("works", "alice\n")] {
        let (_, code) = connect(
            &site,
            &subject(organization, name),
            &Hello::nameless(5, "s"),
        );
        assert_eq!(code, 0x87, "{name:?}");
    }
}

#[test]
fn an_alternative_name_is_the_identity_where_the_operator_says_which() {
    let site = by_certificate("");
    let conf = site.read("portcullis.conf");
    let conf = conf.replace(
        "use_identity_as_username true",
        "certificate_identity san_dns",
    );
    site.write("portcullis.conf", &conf);
    let _broker = site.start();
    let dns = |names: &[&str]| {
        let mut params = client("mallory", 1);
        params.serial_number = Some(SerialNumber::from(9_u64));
        params.subject_alt_names = names
            .iter()
            .map(|name| rcgen::SanType::DnsName((*name).try_into().expect("ASCII")))
            .collect();
        params
    };
    for (names, expected) in [
        (&["alice"][..], 0),
        (&[], 0x87),
        (&["alice", "bob"], 0x87),
        (&["*"], 0x87),
        (&["alice\0.org"], 0x87),
        (&["alice\n"], 0x87),
        (&["#"], 0x87),
    ] {
        let (mut raw, code) = connect(&site, &dns(names), &Hello::nameless(5, "d"));
        assert_eq!(code, expected, "{names:?}");
        if code == 0 {
            assert_eq!(raw.subscribe(&[("hers/#", 0)]), [0]);
            raw.disconnect();
        }
    }
}
