//! Response Information (section 3.2.2.3.15): where a client may have its answers sent.

use std::fmt;

/// A prefix of Topic Names with `%c` for the Client Identifier, `%u` for the user name and `%t` for
/// the topic token (`response_information`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseInformation(Box<str>);

impl ResponseInformation {
    /// Checks `template`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(template: &str) -> Result<Self, &'static str> {
        if template.is_empty() {
            return Err("it is empty");
        }
        if template.contains(['+', '#', '\0']) {
            return Err("a Response Topic holds no wildcards");
        }
        let mut rest = template;
        while let Some((_, after)) = rest.split_once('%') {
            if !after.starts_with(['c', 'u', 't']) {
                return Err(
                    "`%` stands before `c`, the client id, `u`, the user name, or `t`, the topic token",
                );
            }
            rest = after.get(1..).unwrap_or_default();
        }
        Ok(Self(template.into()))
    }

    /// Whether it tells the topic token.
    pub fn tells_token(&self) -> bool {
        self.0.contains("%t")
    }

    /// What this client is told; `None` if its names would reach into another client's topics, or it
    /// has no user name where one is asked for. What is bound is never looked at again.
    pub(super) fn bind(
        &self,
        client_id: &str,
        username: Option<&str>,
        token: Option<&str>,
    ) -> Option<String> {
        let mut bound = String::new();
        let mut rest = &*self.0;
        while let Some((before, after)) = rest.split_once('%') {
            bound.push_str(before);
            let value = match after.chars().next() {
                Some('u') => username?,
                Some('t') => token?,
                _ => client_id,
            };
            if value.is_empty() || value.contains(['/', '+', '#']) {
                return None;
            }
            bound.push_str(value);
            rest = after.get(1..).unwrap_or_default();
        }
        bound.push_str(rest);
        Some(bound)
    }
}

impl fmt::Display for ResponseInformation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
