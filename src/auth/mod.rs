//! Who somebody is: passwords, client certificates, and the order in which they are asked for.
//!
//! [`PasswordFile`] is what the operator wrote, [`Verifier`] hashes on threads of its own,
//! [`CertificateIdentity`] is what a client certificate says, and [`Authenticator`] is one
//! listener's rules as of one generation of the configuration. Nothing here knows what somebody
//! may do; that is [`crate::policy`]. Clear passwords exist only as [`Secret`] and only between
//! CONNECT and the end of the hash run.

mod authenticator;
mod cache;
mod certificate;
mod counters;
mod distinguished_name;
mod enhanced;
mod hash;
pub mod jwt;
mod limits;
mod password_file;
mod pins;
mod provider;
pub mod remote;
mod scram;
mod secret;
mod strict_json;
mod users_json;
mod verifier;

pub use authenticator::{
    Authenticator, AuthenticatorSettings, CertificateTrust, Credentials, Identity, Proof, Verdict,
};
pub use cache::{CacheSettings, CredentialCache};
pub use certificate::{AlternativeName, CertificateDetails, CertificateIdentity, IdentityProblem};
pub use counters::HashCounts;
pub use enhanced::{Begun, Exchange, JWT_METHOD};
pub use hash::{HashAlgorithm, HashError, HashFailure, HashProblem, StoredHash, Weakness};
pub use limits::HashLimits;
pub use password_file::{ParsedPasswords, PasswordError, PasswordFile, PasswordWarning};
pub use pins::{KeyDigest, PinProblem, Pins, parse_pin};
pub use provider::{CertificateGroups, Provider};
pub use scram::{ITERATIONS as SCRAM_ITERATIONS, METHOD as SCRAM_METHOD, ScramProblem};
pub use secret::Secret;
pub use verifier::{Verifier, VerifyError};
