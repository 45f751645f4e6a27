//! The end of a run: all go, all come back and take what is theirs, and the books are looked at.

use std::time::Duration;

use super::World;
use crate::client::Client;
use crate::oracle::Verdict;

impl World {
    /// All come back, are heard out and acknowledge, until nobody has anything left to say.
    pub(crate) fn rest(&mut self) -> Verdict {
        self.calm = true;
        for client in 0..self.clients.len() {
            self.connect(client, false);
        }
        for round in 0.. {
            self.step += 1;
            if round > 4_000 {
                return Err(format!("no rest for {:?}", self.host.ready()));
            }
            let mut busy = false;
            for client in 0..self.clients.len() {
                busy |= self.serve(client)?;
            }
            for task in self.host.ready() {
                busy = true;
                self.poll(task)?;
            }
            if !busy {
                break;
            }
        }
        let undone = self.clients.iter().position(|client| !client.is_done());
        undone.map_or(Ok(()), |client| {
            Err(format!("client {client} waits for ever"))
        })
    }

    pub(super) fn serve(&mut self, client: usize) -> Result<bool, String> {
        let Some(number) = self.clients[client].link else {
            // Superseded or timed out; it tries again.
            self.connect(client, false);
            return Ok(true);
        };
        self.reply(client, usize::MAX);
        self.links[number].line.narrow(None);
        let bytes = self.links[number].out.len();
        self.arrive(number, bytes);
        let unheard = self.links[number].line.said_bytes() - self.links[number].heard;
        self.hear(number, unheard)?;
        Ok(bytes + unheard > 0)
    }

    /// The broker's own numbers at rest.
    pub(crate) fn audit(&self) -> Verdict {
        let counts = self.host.broker().counts();
        let queued = self.host.broker().queued();
        if queued != (0, 0) {
            return Err(format!("{queued:?} still queued"));
        }
        if counts.sessions != self.clients.len() || counts.connected != self.clients.len() {
            return Err(format!("{counts:?} for {} clients", self.clients.len()));
        }
        match self.oracle.subscriptions() {
            Some(expected) if expected != counts.subscriptions => {
                Err(format!("{counts:?}, {expected} subscriptions expected"))
            }
            _ => Ok(()),
        }
    }

    /// When the longest interval of a session is over, it is gone.
    pub(crate) fn all_expired(&mut self) -> Verdict {
        self.all_away()?;
        self.wait(Duration::from_secs(7_200));
        let lives = |client: &&Client| {
            let profile = &client.profile;
            profile.session_expiry_s(profile.version == 3 && profile.expiry_s == 0) == u32::MAX
        };
        let expected = self.clients.iter().filter(lives).count();
        let counts = self.host.broker().counts();
        match counts.sessions {
            found if found == expected => Ok(()),
            _ => Err(format!("{counts:?}, {expected} sessions expected")),
        }
    }

    /// Nobody is connected: what is kept for those who are away is within its bound.
    pub(crate) fn all_away(&mut self) -> Verdict {
        self.calm = true;
        for number in 0..self.links.len() {
            self.cut(number);
        }
        for client in 0..self.clients.len() {
            self.leave(client);
        }
        self.poll_all()?;
        let counts = self.host.broker().counts();
        let (messages, _) = self.host.broker().queued();
        // Beside what may be kept, what the last turn before a connection ended was handed.
        let most = counts.sessions * (self.queued + 65_536);
        if counts.connected != 0 || messages > most {
            return Err(format!("{messages} queued, {counts:?}"));
        }
        Ok(())
    }
}
