//! OCSP responses for the server certificate, made and looked at by openssl.

use std::process::Command;

use crate::clients::ACL;
use crate::support::material::MATERIAL;
use crate::support::raw::{Hello, Raw};
use crate::support::site::Site;
use crate::support::tools::Tool;

fn openssl(site: &Site, line: &str) -> String {
    let mut command = Command::new("openssl");
    command
        .args(line.split_whitespace())
        .current_dir(site.dir());
    let ended = Tool::start(command).finish();
    assert_eq!(ended.code, Some(0), "{line}: {}", ended.text);
    ended.text
}

/// What the authority says of `server.crt`: `V` for good, `R` for revoked.
fn response(site: &Site, status: &str) -> Vec<u8> {
    site.write("ca.key", &MATERIAL.authority.key());
    let serial = openssl(site, "x509 -in server.crt -noout -serial");
    let serial = serial.trim().strip_prefix("serial=").expect("a serial");
    let revoked = if status == "R" { "250101000000Z" } else { "" };
    site.write(
        "index.txt",
        &format!("{status}\t491231235959Z\t{revoked}\t{serial}\tunknown\t/CN=localhost\n"),
    );
    openssl(
        site,
        "ocsp -index index.txt -CA ca.crt -rsigner ca.crt -rkey ca.key -issuer ca.crt \
         -cert server.crt -no_nonce -ndays 3 -respout response.der",
    );
    std::fs::read(site.path("response.der")).expect("a response")
}

fn put(site: &Site, response: &[u8]) {
    std::fs::write(site.path("server.ocsp"), response).expect("written");
}

/// What openssl is shown with the certificate.
fn shown(site: &Site, version: &str) -> String {
    let line = format!(
        "s_client -connect localhost:{} -CAfile ca.crt -status -verify_return_error {version}",
        site.tls
    );
    openssl(site, &line)
}

fn site() -> Site {
    let site = Site::with_users(&["alice"], ACL, "");
    name_the_file(&site);
    site
}

/// Gives a site's certificate a response.
pub(crate) fn staple(site: &Site) {
    put(site, &response(site, "V"));
    name_the_file(site);
}

fn name_the_file(site: &Site) {
    let conf = site.read("portcullis.conf");
    let line = format!("keyfile {}\n", site.path_text("server.key"));
    let with = format!("{line}ocsp_file {}\n", site.path_text("server.ocsp"));
    assert!(conf.contains(&line));
    site.write("portcullis.conf", &conf.replacen(&line, &with, 1));
}

#[test]
fn a_fresh_response_is_handed_out_and_one_that_is_too_old_is_not() {
    let site = site();
    let good = response(&site, "V");
    put(&site, &good);
    let broker = site.start();
    for version in ["-tls1_2", "-tls1_3"] {
        let shown = shown(&site, version);
        assert!(
            shown.contains("OCSP Response Status: successful"),
            "{shown}"
        );
        assert!(shown.contains("Cert Status: good"), "{shown}");
    }
    let until = format!(
        "portcullis_ocsp_expiry_timestamp_seconds{{listener=\"127.0.0.1:{}\"}}",
        site.tls
    );
    let expiry = broker.metric(&until);
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .expect("after 1970")
        .as_secs_f64();
    assert!(
        (2.9..3.1).contains(&((expiry - now) / 86_400.0)),
        "{expiry}"
    );

    put(&site, &response(&site, "R"));
    assert_eq!(broker.reload()["decision"], "allow");
    let told = "does not say that the certificate is good";
    assert!(broker.log().contains(told), "{}", broker.log());

    // The same with another time: its signature is for who looks at it.
    put(&site, &aged(&good));
    assert_eq!(broker.reload()["decision"], "allow");
    let told = "server.ocsp: the response is too old and is not handed out";
    assert!(broker.log().contains(told), "{}", broker.log());
    for version in ["-tls1_2", "-tls1_3"] {
        let shown = shown(&site, version);
        assert!(shown.contains("OCSP response: no response sent"), "{shown}");
    }
}

/// A response in which every time is ten years earlier.
fn aged(response: &[u8]) -> Vec<u8> {
    let mut aged = response.to_vec();
    for at in 0..aged.len() - 17 {
        // GeneralizedTime of 15 characters: `20261231235959Z`.
        if aged[at..].starts_with(&[0x18, 15]) && aged[at + 16] == b'Z' {
            aged[at + 4] -= 1;
        }
    }
    assert_ne!(aged, response);
    aged
}

#[test]
fn what_is_no_response_for_this_certificate_is_refused_with_its_place() {
    let site = site();
    let good = response(&site, "V");
    let mut other = good.clone();
    let told = |response: &[u8]| {
        put(&site, response);
        let ended = site.run(&["check", "-c", &site.path_text("portcullis.conf")]);
        assert_ne!(ended.code, Some(0));
        ended.out + &ended.err
    };
    let conf = site.read("portcullis.conf");
    let line = conf.lines().position(|line| line.starts_with("ocsp_file"));
    let place = format!("portcullis.conf:{}:", line.expect("a line") + 1);
    for cut in [0, 1, good.len() / 2, good.len() - 1] {
        let said = told(&good[..cut]);
        assert!(
            said.contains("server.ocsp: is no OCSP response in DER"),
            "{said}"
        );
        assert!(said.contains(&place), "{said}");
    }
    other.push(0);
    assert!(told(&other).contains("is no OCSP response in DER"));
    assert!(told(b"-----BEGIN OCSP RESPONSE-----").contains("is no OCSP response in DER"));
    let later = told(&[0x30, 3, 0x0A, 1, 3]);
    assert!(later.contains("the responder said \"tryLater\""), "{later}");

    // At a reload the last good one stays, and so does everything else.
    put(&site, &good);
    let broker = site.start();
    let (mut alice, _) = Raw::hello(site.plain, &Hello::new(5, "a", "alice"));
    let pair = MATERIAL.another_server();
    site.write("server.crt", &pair.certificate);
    site.write("server.key", &pair.key);
    assert_eq!(broker.reload()["decision"], "deny");
    let said = broker.log();
    assert!(
        said.contains("is an OCSP response for another certificate"),
        "{said}"
    );
    assert!(shown(&site, "-tls1_3").contains("Cert Status: good"));
    alice.expect_silence();
    // Together they are in order.
    put(&site, &response(&site, "V"));
    assert_eq!(broker.reload()["decision"], "allow");
    assert!(shown(&site, "-tls1_3").contains("Cert Status: good"));
}
