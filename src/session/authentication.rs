//! Re-authentication: AUTH packets of a client that named a method in CONNECT (section 4.12.1).

use crate::codec::{self, Auth, ReasonCode};

use super::error::ProtocolError;
use super::step::Step;

/// The method of a connection, and whether an exchange is under way.
#[derive(Debug)]
pub(super) struct Authentication {
    method: Box<str>,
    under_way: bool,
}

fn error(label: &'static str, statement: &'static str) -> ProtocolError {
    ProtocolError::new(ReasonCode::PROTOCOL_ERROR, label, statement)
}

impl Authentication {
    pub(super) fn new(method: Box<str>) -> Self {
        Self {
            method,
            under_way: false,
        }
    }

    pub(super) fn method(&self) -> &str {
        &self.method
    }

    /// Takes an AUTH. It must name the method of CONNECT [MQTT-4.12.1-1], begin an exchange when
    /// there is none, and go on with one that there is.
    pub(super) fn packet<'a>(&mut self, auth: &Auth<'a>) -> Result<Step<'a>, ProtocolError> {
        if auth.method != &*self.method {
            return Err(error("auth_method_changed", "MQTT-4.12.1-1"));
        }
        let begins = auth.reason == ReasonCode::RE_AUTHENTICATE;
        if begins == self.under_way {
            return Err(error("auth_not_expected", "MQTT-4.12.0-3"));
        }
        self.under_way = true;
        Ok(Step::Authenticate {
            begins,
            data: auth.data,
        })
    }

    /// Asks the client to go on, or tells it that it is done.
    pub(super) fn answer(&mut self, done: bool, data: &[u8], out: &mut Vec<u8>) {
        self.under_way = !done;
        let reason = if done {
            ReasonCode::SUCCESS
        } else {
            ReasonCode::CONTINUE_AUTHENTICATION
        };
        let data = (!data.is_empty()).then_some(data);
        codec::encode_auth(out, reason, &self.method, data);
    }
}
