//! `portcullis quickstart`: certificates, users, rules and a configuration to try the broker with.
//!
//! Everything is made once in one directory that only its owner may enter; a second run uses what
//! is there.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use zeroize::Zeroizing;

use crate::auth::{HashAlgorithm, StoredHash};
use crate::config::{Bind, LoadOptions};

use super::cli::{Quickstart, Stop};
use super::serve::{self, Start};
use super::{invalid, out};

/// The user on the inside, who sees everything below `demo/`.
const INSIDE: &str = "inside";
/// The user on the outside, who sees its own part.
const DEVICE: &str = "device";
const PASSWORD_BYTES: usize = 16;
/// Days the certificates last: long enough to try, short enough not to be kept.
const DAYS: i64 = 365;

/// Runs it.
pub(super) fn run(arguments: &Quickstart) -> Result<(), Stop> {
    let dir = absolute(&arguments.dir)
        .map_err(|error| invalid(format!("error: {}: {error}\n", arguments.dir.display())))?;
    let prepared = prepare(&dir, arguments)
        .map_err(|error| invalid(format!("error: {}: {error}\n", dir.display())))?;
    let conf = dir.join("portcullis.conf");
    let banner = banner(&dir, &prepared, &ports(&conf));
    serve::start(Start {
        config_file: Some(&conf),
        options: LoadOptions::default(),
        daemon: false,
        keep_account: true,
        ready: Box::new(move || out(&banner)),
    })
}

/// The ports of the configuration, which its owner may have changed since it was made.
struct Ports {
    tls: u16,
    metrics: Option<u16>,
}

fn ports(conf: &Path) -> Ports {
    let settings = crate::config::read(Some(conf), &LoadOptions::default()).settings;
    let tls = settings.listeners.iter().find_map(|l| match l.bind {
        Bind::Tcp { port, .. } => Some(port),
        Bind::Unix(_) => None,
    });
    Ports {
        tls: tls.unwrap_or_default(),
        metrics: settings.metrics_listener.map(|listener| listener.port),
    }
}

fn absolute(dir: &Path) -> io::Result<PathBuf> {
    std::path::absolute(dir)
}

struct Prepared {
    device_password: Zeroizing<String>,
    inside_password: Zeroizing<String>,
    made: bool,
}

fn prepare(dir: &Path, arguments: &Quickstart) -> io::Result<Prepared> {
    let note = dir.join("passwords.txt");
    if note.exists() {
        let text = Zeroizing::new(fs::read_to_string(&note)?);
        let find = |user: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(user)?.strip_prefix(' '))
                .map(|password| Zeroizing::new(password.to_owned()))
                .ok_or_else(|| {
                    io::Error::other(format!(
                        "passwords.txt does not name {user}; remove the directory to begin again"
                    ))
                })
        };
        return Ok(Prepared {
            device_password: find(DEVICE)?,
            inside_password: find(INSIDE)?,
            made: false,
        });
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    let prepared = Prepared {
        device_password: password()?,
        inside_password: password()?,
        made: true,
    };
    certificates(dir)?;
    let hash = |password: &str| {
        StoredHash::create(password.as_bytes(), HashAlgorithm::default())
            .map(|hash| hash.as_str().to_owned())
            .map_err(io::Error::other)
    };
    private(
        &dir.join("passwd"),
        &format!(
            "{DEVICE}:{}\n{INSIDE}:{}\n",
            hash(&prepared.device_password)?,
            hash(&prepared.inside_password)?
        ),
    )?;
    private(&dir.join("acl.conf"), ACL)?;
    private(&dir.join("portcullis.conf"), &configuration(dir, arguments))?;
    // Last: its presence says that everything is there.
    private(
        &note,
        &format!(
            "{DEVICE} {}\n{INSIDE} {}\n",
            &*prepared.device_password, &*prepared.inside_password
        ),
    )?;
    Ok(prepared)
}

fn password() -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0_u8; PASSWORD_BYTES]);
    getrandom::fill(&mut *bytes).map_err(io::Error::other)?;
    let mut text = Zeroizing::new(String::with_capacity(2 * PASSWORD_BYTES));
    for byte in bytes.iter() {
        text.push_str(&format!("{byte:02x}"));
    }
    Ok(text)
}

fn private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

fn certificates(dir: &Path) -> io::Result<()> {
    let ca = issuer().map_err(io::Error::other)?;
    let (server, server_key) = leaf(&ca, "localhost", true).map_err(io::Error::other)?;
    let (client, client_key) = leaf(&ca, DEVICE, false).map_err(io::Error::other)?;
    private(&dir.join("ca.crt"), &ca.pem())?;
    private(
        &dir.join("ca.key"),
        &Zeroizing::new(ca.key().serialize_pem()),
    )?;
    private(&dir.join("server.crt"), &server)?;
    private(&dir.join("server.key"), &server_key)?;
    private(&dir.join("client.crt"), &client)?;
    private(&dir.join("client.key"), &client_key)
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    let end = jiff::Timestamp::now()
        .checked_add(jiff::SignedDuration::from_hours(24 * DAYS))
        .unwrap_or(jiff::Timestamp::MAX)
        .to_zoned(jiff::tz::TimeZone::UTC);
    params.not_after = rcgen::date_time_ymd(
        i32::from(end.year()),
        end.month().unsigned_abs(),
        end.day().unsigned_abs(),
    );
    params
}

fn issuer() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = params("Portcullis quickstart CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

fn leaf(
    ca: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    server: bool,
) -> Result<(String, Zeroizing<String>), rcgen::Error> {
    let mut params = params(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if server {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into()?),
            SanType::IpAddress([127, 0, 0, 1].into()),
            SanType::IpAddress(std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)),
        ];
    } else {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    }
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, ca)?;
    Ok((certificate.pem(), Zeroizing::new(key.serialize_pem())))
}

const ACL: &str = "\
# Who may do what. The rules of a user stand below its `user` line; pattern rules hold for everybody.

# The service on the inside: every request of every device, and answers to them.
user inside
topic readwrite demo/#

# Each user has a space of its own: it reads the answers in it and writes the requests.
pattern read demo/%u/answers/#
pattern write demo/%u/requests/#
";

fn configuration(dir: &Path, arguments: &Quickstart) -> String {
    let dir = dir.display();
    let (port, metrics_port) = (arguments.port, arguments.metrics_port);
    format!(
        "\
# Made by `portcullis quickstart`. Each directive is explained in docs/configuration.md.
listener {port} 127.0.0.1
certfile {dir}/server.crt
keyfile {dir}/server.key
allow_anonymous false
password_file {dir}/passwd
acl_file {dir}/acl.conf

metrics_listener {metrics_port} 127.0.0.1
audit_log {dir}/audit.log
"
    )
}

fn banner(dir: &Path, prepared: &Prepared, ports: &Ports) -> String {
    let port = ports.tls;
    let ca = shell(&dir.join("ca.crt").display().to_string());
    let device = format!("-u {DEVICE} -P {}", &*prepared.device_password);
    let inside = format!("-u {INSIDE} -P {}", &*prepared.inside_password);
    let common = format!("-h localhost -p {port} --cafile {ca}");
    let curl = ports.metrics.map_or_else(String::new, |port| {
        format!("  curl -s http://127.0.0.1:{port}/metrics | grep subscribe_denied\n")
    });
    let files = if prepared.made {
        "Made certificates, users, rules and a configuration in"
    } else {
        "Using the files in"
    };
    format!(
        "
{files} {dir}

Portcullis accepts TLS connections on 127.0.0.1:{port}.
Stop it with Ctrl-C. Paste these into another terminal:

  # the device waits for answers in its own space
  mosquitto_sub {common} {device} -t 'demo/{DEVICE}/answers/#' -v

  # the service on the inside sends one
  mosquitto_pub {common} {inside} -t 'demo/{DEVICE}/answers/1' -m 'hello'

  # enumeration is refused: the device may not read everything
  mosquitto_sub {common} {device} -t '#' -v

  # what was counted, and why it was refused
{curl}  tail -n 3 {audit}

",
        dir = dir.display(),
        audit = shell(&dir.join("audit.log").display().to_string()),
    )
}

/// A path as a word for the shell.
fn shell(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    if path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', "'\\''"))
    }
}
