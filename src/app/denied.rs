//! What to do when the broker may not use the directory of its store.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

/// What the broker sees of a directory that it may not use.
enum Sight {
    /// It is there and belongs to this account.
    Owned(Uid),
    /// There is none.
    Missing,
    /// Something above it may not be looked into, and belongs to this account.
    Hidden(PathBuf, Uid),
}

/// Who the broker is, why that account may not use `directory`, and the command that changes it.
pub(super) fn advice(directory: &Path) -> String {
    // The command may be given somewhere else.
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    told(&directory, &look(&directory), Uid::effective())
}

fn look(directory: &Path) -> Sight {
    let owner = |metadata: &fs::Metadata| Uid::from_raw(metadata.uid());
    match fs::metadata(directory) {
        Ok(metadata) => Sight::Owned(owner(&metadata)),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => directory
            .ancestors()
            .skip(1)
            .find_map(|above| Some((above, fs::metadata(above).ok()?)))
            .map_or(Sight::Missing, |(above, metadata)| {
                Sight::Hidden(above.to_owned(), owner(&metadata))
            }),
        Err(_) => Sight::Missing,
    }
}

fn told(directory: &Path, sight: &Sight, me: Uid) -> String {
    let (shown, name) = (quoted(directory), name(me));
    let (why, command) = match sight {
        Sight::Owned(owner) if *owner == me => (
            "the directory is its own, and something in it is not".to_owned(),
            format!("chown -R {name}: {shown} && chmod -R u+rwX {shown}"),
        ),
        Sight::Owned(owner) => (
            format!("the directory belongs to {}", self::name(*owner)),
            format!("chown -R {name}: {shown}"),
        ),
        Sight::Missing => (
            "there is no such directory, and it may not make one there".to_owned(),
            format!("mkdir -p -m 700 {shown} && chown {name}: {shown}"),
        ),
        Sight::Hidden(above, owner) => (
            format!(
                "it may not look into {}, which belongs to {}",
                above.display(),
                self::name(*owner)
            ),
            // A directory further up is not for the broker alone.
            if directory.parent() == Some(above) {
                format!("chown {name}: {}", quoted(above))
            } else {
                format!("chmod o+x {}", quoted(above))
            },
        ),
    };
    format!("the broker runs as {name}: {why}\nhelp: as root: {command}")
}

/// The name of an account, or its number if it has none.
fn name(account: Uid) -> String {
    let user = User::from_uid(account).ok().flatten();
    user.map_or_else(|| account.to_string(), |user| user.name)
}

/// As one word of a shell: root will run it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No machine has accounts of these numbers.
    const ME: Uid = Uid::from_raw(3_999_999_001);
    const OTHER: Uid = Uid::from_raw(3_999_999_002);

    #[test]
    fn what_root_is_told_to_do_makes_the_store_the_brokers_and_nothing_above_it() {
        let store = Path::new("/var/lib/portcullis/store");
        let above = |path: &str| Sight::Hidden(path.into(), OTHER);
        for (sight, command) in [
            (
                Sight::Owned(OTHER),
                "chown -R 3999999001: /var/lib/portcullis/store",
            ),
            (
                Sight::Owned(ME),
                "chown -R 3999999001: /var/lib/portcullis/store && chmod -R u+rwX /var/lib/portcullis/store",
            ),
            (
                Sight::Missing,
                "mkdir -p -m 700 /var/lib/portcullis/store && chown 3999999001: /var/lib/portcullis/store",
            ),
            (
                above("/var/lib/portcullis"),
                "chown 3999999001: /var/lib/portcullis",
            ),
            (above("/var"), "chmod o+x /var"),
        ] {
            let text = told(store, &sight, ME);
            assert!(
                text.starts_with("the broker runs as 3999999001: "),
                "{text}"
            );
            assert!(
                text.ends_with(&format!("\nhelp: as root: {command}")),
                "{text}"
            );
        }
        let text = told(store, &Sight::Owned(OTHER), ME);
        assert!(text.contains("belongs to 3999999002\n"), "{text}");
    }

    #[test]
    fn a_name_with_blanks_or_quotes_is_one_word_to_the_shell() {
        assert_eq!(quoted(Path::new("/a/b.c-d_e")), "/a/b.c-d_e");
        assert_eq!(quoted(Path::new("/a b;c")), "'/a b;c'");
        assert_eq!(quoted(Path::new("/it's")), "'/it'\\''s'");
    }
}
