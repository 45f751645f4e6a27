//! Which kinds of subscription a listener offers.

use crate::codec::ReasonCode;

use super::ProtocolError;

/// What SUBSCRIBE may ask for: `wildcard_subscriptions`, `shared_subscriptions` and
/// `subscription_identifiers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available {
    /// Filters with `+` or `#`.
    pub wildcards: bool,
    /// `$share/...`.
    pub shared: bool,
    /// Subscription Identifiers.
    pub identifiers: bool,
}

impl Default for Available {
    fn default() -> Self {
        Self {
            wildcards: true,
            shared: true,
            identifiers: true,
        }
    }
}

impl Available {
    /// Whether a filter without its `$share/NAME/` may be asked for at all. What CONNACK has said is
    /// not offered is a Protocol Error (sections 3.2.2.3.11 and 3.2.2.3.13).
    ///
    /// # Errors
    /// It is of a kind that is not offered.
    pub fn check(self, is_shared: bool, filter: &str) -> Result<(), ProtocolError> {
        if is_shared && !self.shared {
            return Err(ProtocolError::new(
                ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
                "shared_subscriptions_off",
                "section 3.2.2.3.13",
            ));
        }
        if !self.wildcards && filter.contains(['+', '#']) {
            return Err(ProtocolError::new(
                ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
                "wildcard_subscriptions_off",
                "section 3.2.2.3.11",
            ));
        }
        Ok(())
    }
}
