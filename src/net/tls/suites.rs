//! Cipher suites by the names operators know.

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, SupportedCipherSuite};

use super::{TlsError, TlsSettings};

/// TLS 1.2 suites, by OpenSSL's names.
pub const TLS12_SUITES: [(&str, CipherSuite); 6] = [
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// TLS 1.3 suites.
pub const TLS13_SUITES: [(&str, CipherSuite); 3] = [
    (
        "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_AES_256_GCM_SHA384,
    ),
    (
        "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_128_GCM_SHA256,
    ),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
];

/// The provider with only the suites that were named, in that order.
pub(super) fn provider(settings: &TlsSettings) -> Result<CryptoProvider, Vec<TlsError>> {
    let mut provider = super::provider();
    let mut errors = Vec::new();
    let mut suites = chosen(
        settings,
        "ciphers_tls1.3",
        settings.ciphers_tls13.as_deref(),
        &TLS13_SUITES,
        &provider,
        &mut errors,
    );
    suites.extend(chosen(
        settings,
        "ciphers",
        settings.ciphers.as_deref(),
        &TLS12_SUITES,
        &provider,
        &mut errors,
    ));
    if !errors.is_empty() {
        return Err(errors);
    }
    provider.cipher_suites = suites;
    Ok(provider)
}

fn chosen(
    settings: &TlsSettings,
    directive: &str,
    names: Option<&[String]>,
    table: &[(&str, CipherSuite)],
    provider: &CryptoProvider,
    errors: &mut Vec<TlsError>,
) -> Vec<SupportedCipherSuite> {
    let find = |wanted: CipherSuite| {
        let mut suites = provider.cipher_suites.iter();
        suites.find(|suite| suite.suite() == wanted).copied()
    };
    let Some(names) = names else {
        return table.iter().filter_map(|(_, suite)| find(*suite)).collect();
    };
    let mut suites: Vec<SupportedCipherSuite> = Vec::new();
    for name in names {
        let known = table.iter().find(|(known, _)| known == name);
        match known.and_then(|(_, suite)| find(*suite)) {
            Some(suite) if suites.contains(&suite) => {}
            Some(suite) => suites.push(suite),
            None => {
                let known: Vec<_> = table.iter().map(|(name, _)| *name).collect();
                let message = format!("`{directive}` names `{name}`, which is not offered");
                let error = TlsError::new(&settings.certfile, message);
                errors.push(error.help(format!("there are {}", known.join(", "))));
            }
        }
    }
    if names.is_empty() {
        let message = format!("`{directive}` names no cipher suite");
        errors.push(TlsError::new(&settings.certfile, message));
    }
    suites
}
