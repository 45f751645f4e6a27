//! A session between its claim and the connection that lives on it.

use std::sync::Arc;

use crate::broker::{Session, Wakes};
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
            let mut wakes = Wakes::default();
            let now = super::now();
            self.shared
                .broker
                .release(&self.session, *state, None, false, now, &mut wakes);
            self.shared.wake(&mut wakes);
        }
    }
}
