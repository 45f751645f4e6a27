//! Who is this client?
//!
//! Passwords and client certificates become a user name, or a refusal. Hashing runs on threads of
//! its own (`worker`), and what was verified once is remembered for a while (`cache`), so that a
//! thousand clients that come back at once do not cost a thousand hashes.

mod authenticator;
mod cache;
mod certificate;
mod password;
mod secret;
mod worker;

pub use authenticator::{
    Authenticator, AuthenticatorSettings, Credentials, Identity, Proof, Verdict,
};
pub use cache::{CacheSettings, CredentialCache};
pub use certificate::CertificateIdentity;
pub use password::{
    HashForm, ParsedPasswords, PasswordError, PasswordFile, PasswordWarning, hash_argon2id,
    hash_pbkdf2, hash_sha512,
};
pub use secret::Secret;
pub use worker::{Busy, HashCounts, Verifier};
