//! A file is replaced whole: whoever reads it meanwhile sees the old or the new one.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

/// Replaces `file`. Owner and group stay, and only the owner may read; `taken` is told if it had to
/// change its owner, with the old one, because only root can give a file away.
pub(super) fn replace(file: &Path, text: &str, taken: impl FnOnce(&Path, u32)) -> io::Result<()> {
    // Through a link, so that the link stays one.
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = target.with_file_name(name);
    let result = exchange(&target, &temporary, text, taken);
    if result.is_err() {
        // It may never have been made.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn exchange(
    target: &Path,
    temporary: &Path,
    text: &str,
    taken: impl FnOnce(&Path, u32),
) -> io::Result<()> {
    let mut new = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    if let Ok(old) = fs::metadata(target)
        && fchown(&new, Some(old.uid()), Some(old.gid())).is_err()
    {
        taken(target, old.uid());
    }
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    fs::rename(temporary, target)?;
    // The new name is durable when its directory is.
    fs::File::open(directory(target))?.sync_all()
}

/// The directory a file is in.
pub(super) fn directory(file: &Path) -> &Path {
    let parent = file.parent();
    let named = parent.filter(|path| !path.as_os_str().is_empty());
    named.unwrap_or(Path::new("."))
}
