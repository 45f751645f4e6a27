//! Certificates for tests: made here, and looked at with the openssl program.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis::net::tls::TlsSettings;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType, SerialNumber,
};

pub(crate) const DAY: i64 = 86_400;

/// A certificate and its key in PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A directory for one test.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// Runs openssl here.
    pub(crate) fn openssl(&self, arguments: &[&str]) -> String {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .expect("openssl is installed");
        assert!(
            output.status.success(),
            "openssl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// Settings with the files of the usual names: `server.crt`, `server.key`, and `ca.crt` where
    /// client certificates are required.
    pub(crate) fn settings(&self, require_certificate: bool) -> TlsSettings {
        TlsSettings {
            request_certificate: false,
            certfile: self.path("server.crt"),
            keyfile: self.path("server.key"),
            cafile: require_certificate.then(|| self.path("ca.crt")),
            capath: None,
            crlfile: None,
            ocsp_file: None,
            require_certificate,
            tls12: true,
            ciphers: None,
            ciphers_tls13: None,
        }
    }

    pub(crate) fn server(&self, pair: &Pair) {
        self.write("server.crt", &pair.certificate);
        self.write("server.key", &pair.key);
    }
}

pub(crate) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end")
}

pub(crate) fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    validity(&mut params, -DAY, 365 * DAY);
    params
}

/// Sets the validity, in seconds from now.
pub(crate) fn validity(params: &mut CertificateParams, from: i64, to: i64) {
    let start = rcgen::date_time_ymd(1970, 1, 1);
    let at = |offset: i64| {
        start + Duration::from_secs(u64::try_from(now() + offset).expect("after 1970"))
    };
    (params.not_before, params.not_after) = (at(from), at(to));
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    pub(crate) fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let params = Self::params(name, change);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// A CA below this one.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let params = Self::params(name, |_| {});
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::signed_by(params, key, &self.0).expect("a certificate"))
    }

    fn params(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        change(&mut params);
        params
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// What it signs with, in PEM.
    pub(crate) fn key(&self) -> String {
        self.0.key().serialize_pem()
    }

    pub(crate) fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn server(&self) -> Pair {
        let mut params = params("localhost");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into().expect("a name")),
            SanType::IpAddress([127, 0, 0, 1].into()),
        ];
        self.sign(&params)
    }

    pub(crate) fn client(&self, name: &str, serial: u64) -> Pair {
        let mut params = params(name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    /// A revocation list, its times in seconds from now.
    pub(crate) fn crl(&self, serials: &[u64], this_update: i64, next_update: i64) -> String {
        let mut times = params("");
        validity(&mut times, this_update, next_update);
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: times.not_before,
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: times.not_before,
            next_update: times.not_after,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.0).expect("a list");
        list.pem().expect("PEM")
    }
}
