//! Certificates, made anew for each run of the tests.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

pub(crate) use super::authority::Pair;
use super::authority::{Authority, DAY, named};

/// A certificate authority, and the certificates the tests use.
pub(crate) struct Material {
    pub(crate) authority: Authority,
    pub(crate) server: Pair,
}

/// One authority for the whole run: making keys is not what is tested here.
pub(crate) static MATERIAL: LazyLock<Material> = LazyLock::new(Material::new);

impl Material {
    pub(crate) fn new() -> Self {
        let authority = Authority::new("Test CA");
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
        self.authority.client(name, serial)
    }

    /// A revocation list.
    pub(crate) fn crl(&self, serials: &[u64]) -> String {
        self.authority.crl(serials, -DAY, DAY)
    }

    /// Writes `ca.crt`, `server.crt` and `server.key`.
    pub(crate) fn write(&self, dir: &Path) {
        put(dir, "ca.crt", &self.ca());
        put(dir, "server.crt", &self.server.certificate);
        put(dir, "server.key", &self.server.key);
    }

    /// What a client trusts, and shows if it has something to show.
    pub(crate) fn tls(&self, identity: Option<&Pair>) -> Arc<ClientConfig> {
        self.tls_of(identity, rustls::DEFAULT_VERSIONS)
    }

    /// As [`Material::tls`], with these versions alone.
    pub(crate) fn tls_of(
        &self,
        identity: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca().as_bytes()).expect("PEM");
        roots.add(ca).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
                let chain = chain.collect::<Result<_, _>>().expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes());
                builder
                    .with_client_auth_cert(chain, key.expect("PEM"))
                    .expect("a key for the certificate")
            }
        })
    }
}

fn server(authority: &Authority) -> Pair {
    let mut params: CertificateParams = named("localhost");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = vec![
        SanType::DnsName("localhost".try_into().expect("a name")),
        SanType::IpAddress([127, 0, 0, 1].into()),
    ];
    authority.sign(&params)
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
