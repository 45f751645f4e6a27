//! Who else could read or change a sensitive file.
//!
//! Symbolic links are followed: secrets of containers are mounted as links, and what matters is who
//! can reach the bytes.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::changes::Owner;
use crate::config::settings::Settings;
use crate::config::{Diagnostic, FindingKind, HardenedFinding, Located, SecurityProfile};

/// What kind of file it is, which decides who may do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SensitiveFile {
    /// A private key: nobody but the owner may read it.
    PrivateKey,
    /// A password file: nobody but the owner may read it.
    PasswordFile,
    /// An ACL file: nobody but owner and group may write it.
    AclFile,
    /// The directory of the store: messages and who subscribes to what, for nobody but the owner.
    Store,
}

/// What is wrong with a file's permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Group or world has some permission on a secret.
    GroupOrWorld {
        /// Permission bits.
        mode: u32,
    },
    /// Group or world has some permission on a directory of secrets.
    OpenDirectory {
        /// Permission bits.
        mode: u32,
    },
    /// World can write.
    WorldWritable {
        /// Permission bits.
        mode: u32,
    },
    /// It belongs to an account that is neither root nor the broker's.
    ForeignOwner {
        /// The owner.
        uid: u32,
    },
}

impl Exposure {
    /// The finding it is in the compatible profile.
    pub fn kind(self) -> FindingKind {
        match self {
            Self::GroupOrWorld { .. } | Self::OpenDirectory { .. } => FindingKind::SecretReadable,
            Self::WorldWritable { .. } => FindingKind::AclWritable,
            Self::ForeignOwner { .. } => FindingKind::ForeignOwner,
        }
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GroupOrWorld { mode } => {
                write!(f, "group or world can read or change it (mode {mode:04o})")
            }
            Self::OpenDirectory { mode } => {
                write!(f, "group or world can look into it (mode {mode:04o})")
            }
            Self::WorldWritable { mode } => write!(f, "world can write it (mode {mode:04o})"),
            Self::ForeignOwner { uid } => {
                write!(
                    f,
                    "it belongs to account {uid}, which is neither root nor the broker's"
                )
            }
        }
    }
}

/// What is wrong with the permissions of `path`, if anything is.
pub fn check(path: &Path, kind: SensitiveFile) -> io::Result<Option<Exposure>> {
    let metadata = fs::metadata(path)?;
    let me = nix::unistd::geteuid();
    Ok(judge(
        metadata.mode() & 0o7777,
        metadata.uid(),
        me.as_raw(),
        kind,
    ))
}

fn judge(mode: u32, owner: u32, me: u32, kind: SensitiveFile) -> Option<Exposure> {
    match kind {
        SensitiveFile::PrivateKey | SensitiveFile::PasswordFile if mode & 0o077 != 0 => {
            Some(Exposure::GroupOrWorld { mode })
        }
        SensitiveFile::Store if mode & 0o077 != 0 => Some(Exposure::OpenDirectory { mode }),
        SensitiveFile::AclFile if mode & 0o002 != 0 => Some(Exposure::WorldWritable { mode }),
        // Another account's cannot be opened, which the start tells with the broker's account.
        SensitiveFile::Store => None,
        // Root has yet to become the account the files belong to.
        _ if owner != 0 && owner != me && me != 0 => Some(Exposure::ForeignOwner { uid: owner }),
        _ => None,
    }
}

impl Settings {
    /// Checks every sensitive file that is named: an error each in hardened, a warning and a
    /// finding in compatible. Files that cannot be reached are left to those who open them.
    pub fn check_permissions(&mut self) -> Vec<Diagnostic> {
        let mut files: Vec<(Located<std::path::PathBuf>, SensitiveFile)> = Vec::new();
        for listener in &self.listeners {
            let group = &listener.security;
            let named = [
                (group.password_file.as_ref(), SensitiveFile::PasswordFile),
                (group.acl_file.as_ref(), SensitiveFile::AclFile),
                (group.tokens.secret_file.as_ref(), SensitiveFile::PrivateKey),
                (
                    group.introspection.client_secret_file.as_ref(),
                    SensitiveFile::PrivateKey,
                ),
                (
                    listener.tls.as_ref().map(|tls| &tls.keyfile),
                    SensitiveFile::PrivateKey,
                ),
            ];
            for (file, kind) in named {
                if let Some(file) = file
                    && !files.iter().any(|(known, _)| known.value == file.value)
                {
                    files.push((file.clone(), kind));
                }
            }
        }
        if let Some(store) = self.persistence.store()
            && let Some(entry) = self.written.entry(Owner::Global, "persistence")
        {
            let directory = Located::new(store.directory, entry.origin.clone());
            files.push((directory, SensitiveFile::Store));
        }
        let mut diagnostics = Vec::new();
        for (file, kind) in files {
            if let Ok(Some(exposure)) = check(&file.value, kind) {
                diagnostics.push(self.judge_exposure(&file, exposure));
            }
        }
        diagnostics
    }

    fn judge_exposure(
        &mut self,
        file: &Located<std::path::PathBuf>,
        exposure: Exposure,
    ) -> Diagnostic {
        let path = file.value.display();
        let message = format!("{path}: {exposure}");
        let remedy = match exposure {
            Exposure::GroupOrWorld { .. } => format!("chmod 600 {path}"),
            Exposure::OpenDirectory { .. } => format!("chmod 700 {path}"),
            Exposure::WorldWritable { .. } => format!("chmod o-w {path}"),
            Exposure::ForeignOwner { .. } => {
                format!("chown {path} to the account of the broker, or to root")
            }
        };
        if self.profile == SecurityProfile::Hardened {
            return Diagnostic::error(message).at(&file.origin).help(format!(
                "{remedy}; `security_profile compatible` would only warn"
            ));
        }
        self.findings.push(HardenedFinding {
            kind: exposure.kind(),
            origin: file.origin.clone(),
            message: message.clone(),
            remedy: remedy.clone(),
        });
        Diagnostic::warning(message).at(&file.origin).help(remedy)
    }
}
