//! A session between its claim and the connection that lives on it.

use std::sync::Arc;

use crate::broker::{Effects, Session};
use crate::session::SessionState;

use super::Shared;

/// A claimed session: given back if the greeting ends before the connection lives.
pub(super) struct Claim {
    pub(super) shared: Arc<Shared>,
    pub(super) session: Arc<Session>,
    pub(super) state: Option<Box<SessionState>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            let mut effects = Effects::default();
            let now = super::now();
            self.shared
                .broker
                .release(&self.session, *state, None, false, now, &mut effects);
            self.shared.finish(&mut effects);
        }
    }
}
