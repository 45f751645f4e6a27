//! The process around the broker: daemon, pid file, account, service manager.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User};
use thiserror::Error;

/// The account used when started as root and none is named.
const DEFAULT_USER: &str = "portcullis";
/// The account used when there is no `portcullis` either.
const FALLBACK_USER: &str = "nobody";

/// What went wrong around the process.
#[derive(Debug, Error)]
pub(crate) enum ProcessError {
    /// `daemon(3)` failed.
    #[error("cannot go to the background: {0}")]
    Daemon(nix::Error),
    /// The pid file cannot be written.
    #[error("cannot write the pid file {}: {source}", path.display())]
    PidFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The account does not exist.
    #[error("there is no user {0:?} to change to; name another with `user`")]
    NoUser(String),
    /// The system refused the change.
    #[error("cannot change to user {user:?}: {source}")]
    Change {
        /// Which account.
        user: String,
        /// Why.
        source: nix::Error,
    },
}

/// Goes to the background. Must be called before any thread is started.
pub(crate) fn daemonize() -> Result<(), ProcessError> {
    nix::unistd::daemon(true, false).map_err(ProcessError::Daemon)
}

/// The pid file; removed when dropped.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    pub(crate) fn write(path: &Path) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::PidFile {
            path: path.to_owned(),
            source,
        };
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(path)
            .map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Gone already, or no longer ours to remove after privileges were dropped.
        drop(fs::remove_file(&self.path));
    }
}

/// Started as root: changes to `wanted`, or to `portcullis`, or to `nobody`. An account that was
/// named must exist. Otherwise does nothing.
pub(crate) fn drop_privileges(wanted: Option<&str>) -> Result<Option<String>, ProcessError> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    let name = wanted.unwrap_or(DEFAULT_USER);
    if name == "root" {
        // Only where it is written down: see `user` in docs/configuration.md.
        return Ok(Some(name.to_owned()));
    }
    let lookup = |name: &str| User::from_name(name).ok().flatten();
    let user = match (lookup(name), wanted) {
        (Some(user), _) => user,
        (None, Some(name)) => return Err(ProcessError::NoUser(name.to_owned())),
        (None, None) => {
            lookup(FALLBACK_USER).ok_or_else(|| ProcessError::NoUser(FALLBACK_USER.to_owned()))?
        }
    };
    change_to(&user).map_err(|source| ProcessError::Change {
        user: user.name.clone(),
        source,
    })?;
    Ok(Some(user.name))
}

fn change_to(user: &User) -> nix::Result<()> {
    let name = std::ffi::CString::new(user.name.as_str()).map_err(|_| nix::Error::EINVAL)?;
    nix::unistd::initgroups(&name, user.gid)?;
    nix::unistd::setgid(user.gid)?;
    nix::unistd::setuid(user.uid)?;
    // A process that can become root again has not dropped anything.
    if nix::unistd::setuid(Uid::from_raw(0)).is_ok()
        || nix::unistd::setgid(Gid::from_raw(0)).is_ok()
    {
        return Err(nix::Error::EPERM);
    }
    Ok(())
}

/// Raises the soft limit of open files to the hard one: each connection is one.
pub(crate) fn raise_descriptor_limit() -> Option<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok()?;
    }
    Some(hard)
}

/// Tells the service manager, if there is one; a broker started by hand has nobody to tell.
pub(crate) fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("the service manager could not be told: {error}");
    }
}
