//! `rehash_on_login`: writes the better hashes that were made at logins into the password files.
//!
//! Once a second, all at once, and only over what was read: the file is compared with what the broker
//! loaded while nobody else of ours may write it. The users in memory keep their old hashes, which are
//! of the same passwords, until the next reload.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::audit::{Auditor, Event};
use crate::auth::{Rehashed, Verifier};

use super::replace::{replace_alike, try_lock};

/// SHA-256 of each password file as it was read or written last.
pub(crate) type Digests = HashMap<PathBuf, [u8; 32]>;

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("it has changed since it was read; send SIGHUP")]
    Changed,
    #[error("it is not a file of lines")]
    Form,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Keeps the password files.
#[derive(Debug, Default)]
pub(crate) struct Rehasher {
    digests: Digests,
    waiting: Vec<Rehashed>,
}

impl Rehasher {
    /// The files were read.
    pub(crate) fn loaded(&mut self, digests: &Digests) {
        self.digests.clone_from(digests);
    }

    /// Writes what waits; gives the files it has written. After a failure nothing is made anew until
    /// the next reload.
    pub(crate) fn tick(&mut self, verifier: &Verifier, audit: &Auditor) -> Vec<PathBuf> {
        self.waiting.extend(verifier.take_rehashed());
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let waiting = std::mem::take(&mut self.waiting);
        let mut written = Vec::new();
        let mut left = waiting.clone();
        let mut all_were_read = true;
        for (path, digest) in &mut self.digests {
            match rewrite(path, digest, &waiting) {
                Ok(Some(done)) => {
                    left.retain(|one| done.iter().all(|known| known.old != one.old));
                    for one in &done {
                        verifier.replaced(one);
                        audit.record(&Event::PasswordRehashed {
                            user: &one.username,
                            file: path,
                        });
                    }
                    if !done.is_empty() {
                        written.push(path.clone());
                    }
                }
                // Somebody else is at it; what is for this file waits.
                Ok(None) => {
                    self.waiting.clone_from(&waiting);
                    all_were_read = false;
                }
                Err(failure) => {
                    all_were_read = false;
                    verifier.set_rehash(false);
                    tracing::warn!(
                        "rehash_on_login: {} stays as it is until the next reload: {failure}",
                        path.display()
                    );
                }
            }
        }
        if all_were_read {
            // Of a file in JSON: the old one stays, and is not made anew at every login.
            for mut one in left {
                one.new = one.old.clone();
                verifier.replaced(&one);
            }
        }
        written
    }
}

/// Replaces the hashes of the users that are in the file with the old ones. `None` if it is locked.
fn rewrite(
    path: &Path,
    digest: &mut [u8; 32],
    all: &[Rehashed],
) -> Result<Option<Vec<Rehashed>>, Failure> {
    let Some(_locked) = try_lock(path)? else {
        return Ok(None);
    };
    let bytes = Zeroizing::new(fs::read(path)?);
    if *digest != digest_of(&bytes) {
        return Err(Failure::Changed);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::Form)?;
    let mut new = Zeroizing::new(String::with_capacity(text.len() * 2));
    let mut done = Vec::new();
    for line in text.split_inclusive('\n') {
        let (user, rest) = line.split_once(':').unwrap_or((line, ""));
        let better = all.iter().find(|one| {
            let hash = rest.split(':').next().unwrap_or_default();
            user.trim() == &*one.username && hash.trim() == one.old.as_str()
        });
        match better {
            Some(one) => {
                new.push_str(user);
                new.push(':');
                new.push_str(&rest.replacen(one.old.as_str(), one.new.as_str(), 1));
                done.push(one.clone());
            }
            None => new.push_str(line),
        }
    }
    if done.is_empty() {
        return Ok(Some(done));
    }
    replace_alike(path, &new)?;
    *digest = digest_of(new.as_bytes());
    Ok(Some(done))
}

/// What a file holds, so that a change of it can be seen.
pub(crate) fn digest_of(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
