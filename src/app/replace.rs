//! A file is replaced whole: whoever reads it meanwhile sees the old or the new one.

use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// What only its owner may read.
const SECRET: u32 = 0o600;

/// Replaces `file`. Owner and group stay, and only the owner may read; `taken` is told if it had to
/// change its owner, with the old one, because only root can give a file away.
pub(super) fn replace(file: &Path, text: &str, taken: impl FnOnce(&Path, u32)) -> io::Result<()> {
    // Through a link, so that the link stays one.
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    exchange(&target, text, |new| {
        if let Ok(old) = fs::metadata(&target)
            && give(new, &old).is_err()
        {
            taken(&target, old.uid());
        }
        Ok(())
    })
}

/// Replaces `file`, whose owner, group and mode stay.
///
/// # Errors
/// As any of that cannot be done, nothing is.
pub(super) fn replace_alike(file: &Path, text: &str) -> io::Result<()> {
    let target = fs::canonicalize(file)?;
    let old = fs::metadata(&target)?;
    exchange(&target, text, |new| {
        give(new, &old)?;
        new.set_permissions(Permissions::from_mode(old.mode() & 0o7777))
    })
}

fn give(new: &File, old: &Metadata) -> io::Result<()> {
    fchown(new, Some(old.uid()), Some(old.gid()))
}

fn exchange(
    target: &Path,
    text: &str,
    prepare: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = target.with_file_name(name);
    let write = || {
        let mut new = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(SECRET)
            .open(&temporary)?;
        prepare(&new)?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        fs::rename(&temporary, target)?;
        // The new name is durable when its directory is.
        File::open(directory(target))?.sync_all()
    };
    let result = write();
    if result.is_err() {
        // It may never have been made.
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// Keeps others of us from writing files of this directory until it is dropped.
pub(super) fn lock(file: &Path) -> io::Result<File> {
    let directory = File::open(directory(file))?;
    directory.lock()?;
    Ok(directory)
}

/// As [`lock`], without waiting: `None` if somebody else has it.
pub(super) fn try_lock(file: &Path) -> io::Result<Option<File>> {
    let directory = File::open(directory(file))?;
    match directory.try_lock() {
        Ok(()) => Ok(Some(directory)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The directory a file is in.
pub(super) fn directory(file: &Path) -> &Path {
    let parent = file.parent();
    let named = parent.filter(|path| !path.as_os_str().is_empty());
    named.unwrap_or(Path::new("."))
}
