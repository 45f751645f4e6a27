//! Identity that is asked for over HTTPS: key sets, and tokens that only their issuer can read.
//!
//! What is asked runs on the runtime of the main thread, never on one that carries messages. Each
//! question is a connection of its own, within one time limit, without redirects or proxies, and with a
//! bound for the answer. Whatever is not a definite answer is none: nobody comes in by it.

mod breaker;
mod https;
mod introspection;
mod keys;
#[cfg(test)]
mod tests;

pub use https::{Endpoint, EndpointError};
pub use introspection::{Introspected, Introspection, IntrospectionSettings};
pub use keys::{RemoteKeys, RemoteKeysSettings};

/// Somebody who is asked for identities, as readiness and metrics see it.
pub trait Remote: Send + Sync {
    /// What it is called there.
    fn name(&self) -> String;
    /// Whether it can be relied on now.
    fn is_up(&self) -> bool;
    /// Whether it answers, which may be over while what it said earlier will still do.
    fn answers(&self) -> bool;
}
