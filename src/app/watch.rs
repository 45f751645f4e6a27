//! Files that are looked at each second, so that a change of them needs no signal (`watch_files`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::{self, Settings};

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
    /// What was to be loaded last and was refused: a file that it names may come, or be mended.
    refused: Option<Box<Settings>>,
}

impl Watch {
    /// How the files look now that `settings` name, those of settings that were refused among them.
    pub(super) fn look(&self, settings: &Settings) -> Looks {
        let mut looks = look(settings);
        looks.extend(self.refused.as_deref().map(look).unwrap_or_default());
        looks
    }

    /// Remembers how the files looked `before` they were read, so that what was written meanwhile
    /// counts as a change; files that were not looked at then as they look now.
    pub(super) fn loaded(
        &mut self,
        settings: &Settings,
        refused: Option<Box<Settings>>,
        before: &Looks,
    ) {
        self.refused = refused;
        self.loaded = self.look(settings);
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
        let now = self.look(settings);
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
fn look(settings: &Settings) -> Looks {
    let mut paths: BTreeSet<PathBuf> = settings.files.iter().cloned().collect();
    for listener in &settings.listeners {
        let group = &listener.security;
        let tokens = &group.tokens;
        let named = [
            &group.acl_file,
            &group.password_file,
            &group.group_file,
            &tokens.jwks_file,
            &tokens.jwks_cafile,
            &group.introspection.client_secret_file,
            &group.introspection.cafile,
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
            let named = [&tls.cafile, &tls.crlfile, &tls.capath, &tls.ocsp_file];
            paths.extend(named.into_iter().flatten().map(|file| file.value.clone()));
            if let Some(directory) = &tls.capath {
                paths.extend(entries(&directory.value));
            }
        }
    }
    for directory in &settings.include_dirs {
        let names = config::included_names(directory).unwrap_or_default();
        paths.extend(names.into_iter().map(|name| directory.join(name)));
    }
    let mut looks: Looks = paths
        .into_iter()
        .map(|path| {
            let look = fs::metadata(&path).ok().map(|data| {
                let changed = data.ctime().saturating_mul(1_000_000_000) + data.ctime_nsec();
                let written = data.mtime().saturating_mul(1_000_000_000) + data.mtime_nsec();
                (data.dev(), data.ino(), data.size(), written, changed)
            });
            (path, look)
        })
        .collect();
    // Of a directory only whether it is there, and the same: files that are not included come and go.
    looks.extend(settings.include_dirs.iter().map(|directory| {
        let look = fs::metadata(directory).ok();
        let look = look.map(|data| (data.dev(), data.ino(), 0, 0, 0));
        (directory.clone(), look)
    }));
    looks
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoadOptions;

    #[test]
    fn what_is_not_included_changes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str| fs::write(dir.path().join(name), "").expect("written");
        let text = format!("include_dir {}\n", dir.path().display());
        let read = || {
            let name = Path::new("portcullis.conf");
            config::read_text(name, text.as_bytes(), &LoadOptions::default()).settings
        };
        write("a.conf");
        let settings = read();
        let before = look(&settings);
        write("a.conf~");
        write(".a.conf.swp");
        assert_eq!(look(&settings), before);
        write("b.conf");
        assert_ne!(look(&settings), before);
        assert_eq!(look(&read()), look(&settings));
    }
}
