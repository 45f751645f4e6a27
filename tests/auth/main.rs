//! Who a client is: passwords, certificates, TLS files, and the tools that make them.

mod authenticator;
mod certificates;
mod jwt;
mod jwt_attacks;
mod material;
mod passwd;
mod passwords;
mod tls;
mod verifier;
