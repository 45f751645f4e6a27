//! Names in client certificates, compared with what openssl prints.

use portcullis::auth::{AlternativeName, CertificateIdentity, IdentityProblem};
use rcgen::string::{BmpString, Ia5String, PrintableString, TeletexString};
use rcgen::{DnType, DnValue, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::material::{Authority, DAY, Place, now, params};

fn identity(pem: &str) -> CertificateIdentity {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    CertificateIdentity::from_der(&der)
}

fn named(values: Vec<(DnType, DnValue)>) -> CertificateIdentity {
    let mut params = params("x");
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in values {
        params.distinguished_name.push(kind, value);
    }
    identity(&Authority::new("ca").sign(&params).certificate)
}

fn common_name(value: impl Into<DnValue>) -> Result<String, IdentityProblem> {
    named(vec![(DnType::CommonName, value.into())])
        .common_name()
        .map(ToString::to_string)
}

/// A self-signed certificate made by openssl, and its subject as openssl prints it.
fn by_openssl(place: &Place, subject: &str, options: &[&str]) -> (CertificateIdentity, String) {
    let mut arguments = vec![
        "req",
        "-new",
        "-x509",
        "-nodes",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-keyout",
        "k.pem",
        "-out",
        "c.pem",
        "-days",
        "30",
        "-utf8",
        "-subj",
        subject,
    ];
    arguments.extend(options);
    place.openssl(&arguments);
    let printed = place.openssl(&[
        "x509", "-in", "c.pem", "-noout", "-subject", "-nameopt", "RFC2253",
    ]);
    let printed = printed.trim_end_matches('\n');
    let printed = printed.strip_prefix("subject=").expect("a subject");
    let pem = std::fs::read_to_string(place.path("c.pem")).expect("the certificate");
    (identity(&pem), printed.to_owned())
}

#[test]
fn a_common_name_is_taken_as_it_is() {
    for name in ["pump7", "a b", " blank ", "Ünïcödé", "a/b", "%c", "CASE"] {
        assert_eq!(common_name(name).as_deref(), Ok(name));
    }
    let longest = "ü".repeat(64);
    assert_eq!(common_name(longest.as_str()), Ok(longest));
}

#[test]
fn a_common_name_that_could_be_taken_for_another_is_refused() {
    for name in ["bob\0.example", "bob\n", "\u{1b}[2J", "a\u{7f}", "a\u{85}"] {
        assert_eq!(
            common_name(name),
            Err(IdentityProblem::ControlCharacter),
            "{name:?}"
        );
    }
    assert_eq!(common_name(""), Err(IdentityProblem::Empty));
    for name in ["+", "#", "alice+", "a/#", "*", "*.example.org"] {
        let problem = common_name(name);
        assert_eq!(problem, Err(IdentityProblem::Wildcard), "{name:?}");
    }
    let long = "n".repeat(65);
    assert_eq!(common_name(long.as_str()), Err(IdentityProblem::TooLong));
}

#[test]
fn the_string_type_of_a_common_name_does_not_matter_unless_its_bytes_are_no_text() {
    let printable = PrintableString::try_from("pump7").expect("printable");
    assert_eq!(
        common_name(DnValue::PrintableString(printable)).as_deref(),
        Ok("pump7")
    );
    let ia5 = Ia5String::try_from("pump@7").expect("ASCII");
    assert_eq!(
        common_name(DnValue::Ia5String(ia5)).as_deref(),
        Ok("pump@7")
    );
    let teletex = TeletexString::try_from("pump7").expect("ASCII");
    assert_eq!(
        common_name(DnValue::TeletexString(teletex)).as_deref(),
        Ok("pump7")
    );
    let wide = BmpString::try_from("pump7").expect("UCS-2");
    assert_eq!(
        common_name(DnValue::BmpString(wide)),
        Err(IdentityProblem::NotUtf8)
    );
}

#[test]
fn no_common_name_and_two_of_them_are_refused() {
    let nameless = named(vec![(DnType::OrganizationName, "o".into())]);
    assert_eq!(nameless.common_name(), Err(IdentityProblem::NoCommonName));
    assert_eq!(nameless.subject().map(|subject| &**subject), Ok("O=o"));
    let place = Place::new();
    let (two, _) = by_openssl(&place, "/CN=alice/CN=admin", &[]);
    assert_eq!(two.common_name(), Err(IdentityProblem::SeveralCommonNames));
}

#[test]
fn an_empty_subject_names_nobody() {
    let empty = named(Vec::new());
    assert_eq!(empty.common_name(), Err(IdentityProblem::NoCommonName));
    assert_eq!(empty.subject(), Err(IdentityProblem::Empty));
}

#[test]
fn subjects_are_printed_as_openssl_prints_them() {
    let place = Place::new();
    let subjects = [
        "/CN=pump7",
        "/C=DE/ST=Bavaria/L=Munich/O=Works/OU=Pumps/CN=pump7/emailAddress=a@example.org",
        "/O=A, B + C/CN=x",
        "/CN=#first",
        "/CN=a#b",
        "/CN= leading and trailing ",
        "/CN=\\\\ back and \"quotes\" <angles>; = equals",
        "/CN=Jürgen Müller/O=日本",
        "/DC=org/DC=example/UID=u1/CN=x",
        "/GN=Given/SN=Surname/initials=GS/title=Dr/CN=x",
        "/serialNumber=42/street=Road 1/postalCode=12345/CN=x",
        "/dnQualifier=q/pseudonym=p/generationQualifier=III/name=n/description=d/CN=x",
        "/businessCategory=b/jurisdictionC=DE/organizationIdentifier=NTRDE-1/CN=x",
        "/CN=   ",
        "/CN= ",
    ];
    for subject in subjects {
        let (identity, printed) = by_openssl(&place, subject, &[]);
        assert_eq!(
            identity.subject().map(|text| &**text),
            Ok(printed.as_str()),
            "{subject}"
        );
    }
}

#[test]
fn several_values_of_one_part_are_joined_as_openssl_joins_them() {
    let place = Place::new();
    for subject in ["/O=o/OU=a+CN=b", "/CN=x+UID=7+OU=y/C=DE"] {
        let (identity, printed) = by_openssl(&place, subject, &["-multivalue-rdn"]);
        assert_eq!(
            identity.subject().map(|text| &**text),
            Ok(printed.as_str()),
            "{subject}"
        );
    }
}

#[test]
fn types_without_a_name_are_printed_as_numbers_with_their_encoding() {
    let place = Place::new();
    place.write(
        "o.cnf",
        "oid_section = oids\n[oids]\nodd = 1.3.6.1.4.1.99999.1\n[req]\ndistinguished_name = dn\nprompt = no\nstring_mask = utf8only\n[dn]\nodd = value\nCN = x\n",
    );
    place.openssl(&[
        "req",
        "-new",
        "-x509",
        "-nodes",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-keyout",
        "k.pem",
        "-out",
        "c.pem",
        "-config",
        "o.cnf",
    ]);
    let pem = std::fs::read_to_string(place.path("c.pem")).expect("the certificate");
    let printed = place.openssl(&[
        "x509", "-in", "c.pem", "-noout", "-subject", "-nameopt", "RFC2253",
    ]);
    assert_eq!(
        identity(&pem)
            .subject()
            .map(|text| format!("subject={text}\n")),
        Ok(printed)
    );
}

#[test]
fn wide_strings_of_a_subject_are_printed_as_text() {
    let wide = BmpString::try_from("Zürich").expect("UCS-2");
    let identity = named(vec![
        (DnType::LocalityName, DnValue::BmpString(wide)),
        (DnType::CommonName, "x".into()),
    ]);
    assert_eq!(
        identity.subject().map(|text| &**text),
        Ok("CN=x,L=Z\\C3\\BCrich")
    );
}

#[test]
fn a_control_character_anywhere_in_a_subject_refuses_it() {
    let identity = named(vec![
        (DnType::OrganizationName, "evil\0".into()),
        (DnType::CommonName, "x".into()),
    ]);
    assert_eq!(identity.subject(), Err(IdentityProblem::ControlCharacter));
    assert_eq!(identity.common_name().map(|name| &**name), Ok("x"));
}

#[test]
fn details_are_those_openssl_prints() {
    let place = Place::new();
    let (identity, _) = by_openssl(&place, "/O=Works/CN=x", &["-set_serial", "0xfedcba98"]);
    let details = identity.details().expect("details");
    let serial = place.openssl(&["x509", "-in", "c.pem", "-noout", "-serial"]);
    assert_eq!(serial.trim(), format!("serial={}", details.serial));
    let fingerprint = place.openssl(&["x509", "-in", "c.pem", "-noout", "-fingerprint", "-sha256"]);
    let (_, fingerprint) = fingerprint.trim().split_once('=').expect("a fingerprint");
    assert_eq!(
        fingerprint.replace(':', "").to_lowercase(),
        details.fingerprint
    );
    assert_eq!(details.issuer, "CN=x,O=Works");
    assert!((details.not_after - now() - 30 * DAY).abs() < 60);
}

#[test]
fn what_is_no_certificate_names_nobody() {
    let garbage = CertificateIdentity::from_der(&CertificateDer::from(vec![0x30, 0x03, 1, 2, 3]));
    assert_eq!(garbage.common_name(), Err(IdentityProblem::Unreadable));
    assert_eq!(garbage.subject(), Err(IdentityProblem::Unreadable));
    assert_eq!(garbage.details(), None);
    assert!(garbage.has_expired(std::time::SystemTime::now()));
}

fn with_alternatives(names: Vec<SanType>) -> CertificateIdentity {
    let mut params = params("cn");
    params.subject_alt_names = names;
    identity(&Authority::new("ca").sign(&params).certificate)
}

fn text(value: &str) -> Ia5String {
    value.try_into().expect("ASCII")
}

#[test]
fn an_alternative_name_is_the_identity_if_it_is_the_only_one_of_its_kind() {
    use AlternativeName::{Dns, Email, Uri};
    let one_of_each = with_alternatives(vec![
        SanType::DnsName(text("pump7.example.org")),
        SanType::Rfc822Name(text("pump7@example.org")),
        SanType::URI(text("spiffe://example.org/pump/7")),
        SanType::IpAddress([192, 0, 2, 1].into()),
    ]);
    let name = |kind| one_of_each.alternative_name(kind).map(ToString::to_string);
    assert_eq!(name(Dns).as_deref(), Ok("pump7.example.org"));
    assert_eq!(name(Email).as_deref(), Ok("pump7@example.org"));
    assert_eq!(name(Uri).as_deref(), Ok("spiffe://example.org/pump/7"));
    let two = with_alternatives(vec![
        SanType::DnsName(text("a.example")),
        SanType::DnsName(text("b.example")),
    ]);
    let problem = |identity: &CertificateIdentity, kind| {
        identity.alternative_name(kind).expect_err("no identity")
    };
    assert_eq!(problem(&two, Dns), IdentityProblem::SeveralAlternativeNames);
    assert_eq!(problem(&two, Uri), IdentityProblem::NoAlternativeName);
    assert_eq!(
        problem(&with_alternatives(vec![]), Dns),
        IdentityProblem::NoAlternativeName
    );
    for (bad, expected) in [
        ("*.example.org", IdentityProblem::Wildcard),
        ("+", IdentityProblem::Wildcard),
        ("a\0.example.org", IdentityProblem::ControlCharacter),
        ("a\n", IdentityProblem::ControlCharacter),
        ("", IdentityProblem::Empty),
    ] {
        let identity = with_alternatives(vec![SanType::DnsName(text(bad))]);
        assert_eq!(problem(&identity, Dns), expected, "{bad:?}");
    }
}
