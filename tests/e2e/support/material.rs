//! Certificates, made anew for each run of the tests.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// A certificate authority, and the certificates the tests use.
pub(crate) struct Material {
    authority: CertifiedIssuer<'static, KeyPair>,
    pub(crate) server: Pair,
}

/// A certificate and its key in PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// One authority for the whole run: making keys is not what is tested here.
pub(crate) static MATERIAL: LazyLock<Material> = LazyLock::new(Material::new);

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Material {
    pub(crate) fn new() -> Self {
        let mut params = named("Test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let server = server(&authority);
        Self { authority, server }
    }

    pub(crate) fn ca(&self) -> String {
        self.authority.pem()
    }

    /// Another certificate for the server, of the same authority.
    pub(crate) fn another_server(&self) -> Pair {
        server(&self.authority)
    }

    pub(crate) fn client(&self, name: &str) -> Pair {
        self.client_with_serial(name, 4_711)
    }

    pub(crate) fn client_with_serial(&self, name: &str, serial: u64) -> Pair {
        let mut params = named(name);
        params.serial_number = Some(rcgen::SerialNumber::from(serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        sign(&params, &self.authority)
    }

    /// A revocation list.
    pub(crate) fn crl(&self, serials: &[u64]) -> String {
        let now = std::time::SystemTime::now();
        let day = std::time::Duration::from_secs(86_400);
        let params = rcgen::CertificateRevocationListParams {
            this_update: (now - day).into(),
            next_update: (now + day).into(),
            crl_number: rcgen::SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials
                .iter()
                .map(|serial| rcgen::RevokedCertParams {
                    serial_number: rcgen::SerialNumber::from(*serial),
                    revocation_time: (now - day).into(),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.authority).expect("a list");
        list.pem().expect("PEM")
    }

    /// Writes `ca.crt`, `server.crt` and `server.key`.
    pub(crate) fn write(&self, dir: &Path) {
        put(dir, "ca.crt", &self.ca());
        put(dir, "server.crt", &self.server.certificate);
        put(dir, "server.key", &self.server.key);
    }

    /// What a client trusts, and shows if it has something to show.
    pub(crate) fn tls(&self, identity: Option<&Pair>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca().as_bytes()).expect("PEM");
        roots.add(ca).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::from_pem_slice(pair.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes());
                builder
                    .with_client_auth_cert(vec![chain.expect("PEM")], key.expect("PEM"))
                    .expect("a key for the certificate")
            }
        })
    }
}

fn server(authority: &CertifiedIssuer<'static, KeyPair>) -> Pair {
    let mut params = named("localhost");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = vec![
        SanType::DnsName("localhost".try_into().expect("a name")),
        SanType::IpAddress([127, 0, 0, 1].into()),
    ];
    sign(&params, authority)
}

fn sign(params: &CertificateParams, authority: &CertifiedIssuer<'static, KeyPair>) -> Pair {
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

/// Writes a file that only its owner may read, as the hardened profile wants secrets.
pub(crate) fn put(dir: &Path, name: &str, text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(dir.join(name))
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("the file can be written");
}
