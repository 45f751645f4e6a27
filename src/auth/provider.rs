//! Where an identity can come from, and in which order a listener asks.

/// One line of `auth_provider`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// User name and password of CONNECT, against the password file.
    Password,
    /// A JSON Web Token in the password or in AUTH.
    Jwt,
    /// The client certificate of the TLS connection.
    Certificate,
    /// SCRAM-SHA-256 in AUTH, against the password file.
    Scram,
    /// A token in the password, by its issuer's word.
    Introspection,
}

impl Provider {
    /// Every provider.
    pub const ALL: [Self; 5] = [
        Self::Password,
        Self::Jwt,
        Self::Certificate,
        Self::Scram,
        Self::Introspection,
    ];

    /// Its name in `auth_provider`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Jwt => "jwt",
            Self::Certificate => "certificate",
            Self::Scram => "scram",
            Self::Introspection => "introspection",
        }
    }
}

/// Which field of a client certificate names the groups of its holder (`certificate_groups`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CertificateGroups {
    /// Every Organizational Unit of the subject.
    OrganizationalUnit,
    /// Every alternative name that is a DNS name.
    Dns,
    /// Every alternative name that is a URI.
    Uri,
}
