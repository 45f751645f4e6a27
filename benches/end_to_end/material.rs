//! Files both brokers are given: certificates, a password file, an ACL. Made anew for each run of
//! the driver, so that no key lies in the repository.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::stat::{Mode, umask};
use pbkdf2::pbkdf2_hmac_array;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use sha2::Sha512;

const USERS: usize = 1000;
const PATTERNS: usize = 20;
const PAIRS: usize = 50;
/// `mosquitto_passwd`'s own number.
const ITERATIONS: u32 = 101;

pub(crate) struct Material {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_certificate: PathBuf,
    pub(crate) client_key: PathBuf,
    pub(crate) passwords: PathBuf,
    pub(crate) acl: PathBuf,
}

impl Material {
    pub(crate) fn write(directory: &Path) -> io::Result<Self> {
        // The broker's default profile refuses secrets that others may read.
        umask(Mode::from_bits_truncate(0o077));
        let file = |name: &str, content: &str| {
            let path = directory.join(name);
            fs::write(&path, content).map(|()| path)
        };
        let pem = Pem::generate().map_err(io::Error::other)?;
        Ok(Self {
            ca: file("ca.crt", &pem.ca)?,
            certificate: file("server.crt", &pem.certificate)?,
            key: file("server.key", &pem.key)?,
            client_certificate: file("client.crt", &pem.client_certificate)?,
            client_key: file("client.key", &pem.client_key)?,
            passwords: file("passwords", &passwords())?,
            acl: file("acl", &acl())?,
        })
    }
}

struct Pem {
    ca: String,
    certificate: String,
    key: String,
    client_certificate: String,
    client_key: String,
}

impl Pem {
    fn generate() -> Result<Self, rcgen::Error> {
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &ca)?;
        let client_key = KeyPair::generate()?;
        let mut client = CertificateParams::new(Vec::new())?;
        client.distinguished_name.push(DnType::CommonName, "bench");
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client = client.signed_by(&client_key, &ca)?;
        Ok(Self {
            client_certificate: client.pem(),
            client_key: client_key.serialize_pem(),
            ca: ca.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn passwords() -> String {
    let mut text = String::new();
    for user in 0..USERS {
        let salt = [user.to_le_bytes()[0]; 12];
        let hash = pbkdf2_hmac_array::<Sha512, 64>(b"benchmark", &salt, ITERATIONS);
        let (salt, hash) = (STANDARD.encode(salt), STANDARD.encode(hash));
        writeln!(text, "user{user}:$7${ITERATIONS}${salt}${hash}").expect("a String grows");
    }
    text
}

/// Clients 0 to 49 read, 50 to 99 write; the other users are there to be searched past.
fn acl() -> String {
    let mut text = String::new();
    for user in 0..USERS {
        let access = if user < PAIRS { "read" } else { "write" };
        let pair = user % PAIRS;
        write!(
            text,
            "user user{user}\n\
             topic read status/{user}/#\n\
             topic write telemetry/{user}/+/value\n\
             topic {access} pairs/{pair}\n\n"
        )
        .expect("a String grows");
    }
    for pattern in 0..PATTERNS {
        writeln!(text, "pattern readwrite devices/%u/channel{pattern}/#").expect("a String grows");
    }
    text
}
