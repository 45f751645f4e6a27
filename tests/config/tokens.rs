//! Tokens and Client Identifiers: lines that contradict each other, or that nothing could come of.

use portcullis::config::FindingKind;

use crate::support::{errors, only_error, read, read_compatible, settings};

const LISTENER: &str = "listener 1883 127.0.0.1\n";
const TLS: &str = "certfile /c\nkeyfile /k\n";
const KEY: &str = "jwt_public_key /k.pem\njwt_audience broker\n";

#[test]
fn what_says_where_the_client_id_comes_from_is_said_once() {
    for from in ["user", "certificate", "jwt:device"] {
        let asked = format!("{TLS}cafile /ca\nrequire_certificate true\nclientid_from {from}\n");
        settings(&format!("{LISTENER}{asked}{KEY}"));
        let both = format!("{LISTENER}{asked}use_username_as_clientid true\n{KEY}");
        let error = only_error(&both);
        assert!(
            error.starts_with("portcullis.conf:7:1: error: two lines say what the client id is"),
            "{error}"
        );
        settings(&format!(
            "{LISTENER}{asked}use_username_as_clientid false\n{KEY}"
        ));
    }
}

#[test]
fn a_pin_is_told_apart_from_what_is_none() {
    let pin = format!("sha256={}", "0f".repeat(32));
    let text =
        format!("{LISTENER}allow_anonymous true\npin_spki CN=a b,O=c {pin}\npin_spki x {pin}\n");
    let listeners = settings(&text).listeners;
    let pins = &listeners[0].security.pins;
    assert!(!pins.permit("CN=a b,O=c", None) && !pins.permit("x", None));
    assert!(pins.permit("CN=a", None));
    for (line, expected) in [
        ("pin_spki", "2:1: error: `pin_spki` has no value"),
        (
            "pin_spki pump7",
            "2:10: error: the pin is missing behind the user",
        ),
        (
            "pin_spki sha256=AAAA",
            "2:10: error: the user is missing before the pin",
        ),
        (
            "pin_spki a b sha1=00",
            "2:14: error: a pin begins with `sha256=`",
        ),
        (
            "pin_spki a sha256=AAAA",
            "2:12: error: the pin has 3 bytes, and SHA-256 has 32",
        ),
        (
            "pin_spki a sha256=?",
            "2:12: error: the pin is neither Base64 nor hexadecimal",
        ),
    ] {
        let error = only_error(&format!("{LISTENER}{line}\n"));
        let expected = format!("portcullis.conf:{expected}");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn a_client_id_out_of_a_token_needs_tokens() {
    let line = "clientid_from jwt:device\n";
    settings(&format!("{LISTENER}{line}{KEY}"));
    let error = only_error(&format!("{LISTENER}{line}"));
    assert!(
        error.starts_with(
            "portcullis.conf:2:1: error: the client id is to come out of a token, and no token is taken"
        ),
        "{error}"
    );
    // A key alone is none: nobody would look at a token.
    let others = "password_file /p\nauth_provider password\n";
    only_error(&format!("{LISTENER}{line}{KEY}{others}"));
    settings(&format!("{LISTENER}{line}{KEY}{others}auth_provider jwt\n"));
}

#[test]
fn a_client_id_out_of_a_certificate_needs_certificates() {
    let line = "clientid_from certificate\n";
    for more in ["", TLS] {
        let error = only_error(&format!("{LISTENER}{line}{more}"));
        assert!(
            error.starts_with(
                "portcullis.conf:2:1: error: the client id is to come out of a certificate, and no client is asked for one"
            ),
            "{error}"
        );
    }
    let asked = "cafile /ca\nrequire_certificate true\n";
    settings(&format!("{LISTENER}{line}{TLS}{asked}"));
}

#[test]
fn settings_for_tokens_need_a_key() {
    for line in [
        "jwt_issuer i",
        "jwt_audience a",
        "jwt_algorithms ES256",
        "jwt_revoked_file /r",
        "jwt_require_jti true",
        "jwt_max_lifetime 60",
        "jwt_groups_claim g",
        "jwt_acl_claim a",
        "jwt_username_claim email",
    ] {
        let error = only_error(&format!("{LISTENER}{line}\n"));
        assert!(error.contains("no key to verify them with"), "{error}");
        settings(&format!("{LISTENER}{line}\n{KEY}"));
    }
    for default in [
        "jwt_require_jti false",
        "jwt_max_lifetime 0",
        "jwt_username_claim sub",
    ] {
        settings(&format!("{LISTENER}{default}\n"));
    }
}

#[test]
fn hardened_takes_no_tokens_that_may_be_for_another_service() {
    let second = "listener 1884 127.0.0.1\n";
    let open = format!("{LISTENER}{second}jwt_public_key /k.pem\njwt_issuer i\n");
    let error = only_error(&open);
    assert!(
        error.starts_with(
            "portcullis.conf:3:16: error: tokens are taken that were issued for another service"
        ) && error.contains("write `jwt_audience TEXT`"),
        "{error}"
    );
    let loaded = read_compatible(&open);
    assert_eq!(errors(&loaded), [""; 0]);
    let found = loaded.settings.findings.iter();
    let found = found.filter(|finding| finding.kind == FindingKind::TokenWithoutAudience);
    assert_eq!(found.count(), 1);
    assert_eq!(
        errors(&read(&format!("{open}jwt_audience broker\n"))),
        [""; 0]
    );
    // Each group of its own is judged by itself.
    let apart =
        format!("per_listener_settings true\n{LISTENER}{KEY}{second}jwt_public_key /k.pem\n");
    assert_eq!(errors(&read(&apart)).len(), 1);
}
