//! Files that are looked at each second, so that a change of them needs no signal (`watch_files`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Settings;

/// What a file looks like from outside; `None` if it is not there. Links are followed, so that a
/// swapped link (as Kubernetes does it) is a change.
type Look = Option<(u64, u64, u64, i64, i64)>;

pub(super) type Looks = BTreeMap<PathBuf, Look>;

/// The files of a configuration, and how they looked when they were read.
#[derive(Debug, Default)]
pub(super) struct Watch {
    loaded: Looks,
    /// How they looked the last time, if that was different.
    changing: Option<Looks>,
}

impl Watch {
    /// Remembers how the files looked `before` they were read, so that what was written meanwhile
    /// counts as a change; files that were not looked at then as they look now.
    pub(super) fn loaded(&mut self, settings: &Settings, before: &Looks) {
        self.loaded = look(settings);
        for (path, look) in &mut self.loaded {
            if let Some(earlier) = before.get(path) {
                *look = *earlier;
            }
        }
        self.changing = None;
    }

    /// Whether they have changed and stayed as they are since the last time this was asked: whoever
    /// is still writing is given the time.
    pub(super) fn has_changed(&mut self, settings: &Settings) -> bool {
        if !settings.process.watch_files {
            return false;
        }
        let now = look(settings);
        if now == self.loaded {
            self.changing = None;
            return false;
        }
        if self.changing.as_ref() == Some(&now) {
            return true;
        }
        self.changing = Some(now);
        false
    }
}

/// How the files that `settings` name look now.
pub(super) fn look(settings: &Settings) -> Looks {
    let mut paths: BTreeSet<PathBuf> = settings.files.iter().cloned().collect();
    for listener in &settings.listeners {
        let group = &listener.security;
        let tokens = &group.tokens;
        let named = [
            &group.acl_file,
            &group.password_file,
            &tokens.jwks_file,
            &tokens.secret_file,
            &tokens.revoked_file,
        ];
        paths.extend(named.into_iter().flatten().map(|file| file.value.clone()));
        paths.extend(tokens.public_keys.iter().map(|file| file.value.clone()));
        let lists = [
            &listener.allow_addresses_file,
            &listener.deny_addresses_file,
        ];
        paths.extend(lists.into_iter().flatten().map(|file| file.value.clone()));
        if let Some(tls) = &listener.tls {
            paths.extend([tls.certfile.value.clone(), tls.keyfile.value.clone()]);
            let named = [&tls.cafile, &tls.crlfile, &tls.capath];
            paths.extend(named.into_iter().flatten().map(|file| file.value.clone()));
            if let Some(directory) = &tls.capath {
                paths.extend(entries(&directory.value));
            }
        }
    }
    paths
        .into_iter()
        .map(|path| {
            let look = fs::metadata(&path).ok().map(|data| {
                let changed = data.ctime().saturating_mul(1_000_000_000) + data.ctime_nsec();
                let written = data.mtime().saturating_mul(1_000_000_000) + data.mtime_nsec();
                (data.dev(), data.ino(), data.size(), written, changed)
            });
            (path, look)
        })
        .collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}
