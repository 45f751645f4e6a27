//! Names in the store's directory, and the file that says which store it is.

use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::error::{Damage, OpenError};
use super::frame::{FORMAT, StoreId};

/// Where everything is.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
    generation: u32,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            generation: 0,
        }
    }

    /// The same store with the log that `META` names.
    pub(super) fn of(&self, meta: &Meta) -> Self {
        Self {
            root: self.root.clone(),
            generation: meta.generation,
        }
    }

    /// The same store with another of its logs.
    pub(super) fn of_generation(&self, generation: u32) -> Self {
        Self {
            root: self.root.clone(),
            generation,
        }
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("LOCK")
    }

    pub(super) fn meta(&self) -> PathBuf {
        self.root.join("META")
    }

    /// The directory of the log. There is one on one machine; one that was salvaged has another name than
    /// the one it comes from.
    pub(super) fn log(&self) -> PathBuf {
        match self.generation {
            0 => self.root.join("s0"),
            generation => self.root.join(format!("s0-{generation}")),
        }
    }

    pub(super) fn segment(&self, number: u32) -> PathBuf {
        self.log().join(format!("{number:010}.seg"))
    }

    pub(super) fn sidecar(&self, number: u32) -> PathBuf {
        self.log().join(format!("{number:010}.idx"))
    }

    /// Room that was taken from the disk beforehand, for the next segment.
    pub(super) fn spare(&self) -> PathBuf {
        self.log().join("spare")
    }

    pub(super) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// The number of a segment or sidecar called `name`.
    pub(super) fn number(name: &str, extension: &str) -> Option<u32> {
        let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
        let is_number = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    }
}

/// What `META` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) store: StoreId,
    /// Which log holds: 0 for the first, one more each time it was salvaged.
    pub(super) generation: u32,
    /// The oldest segment there must be.
    pub(super) first: u32,
    /// The newest.
    pub(super) last: u32,
}

impl Meta {
    fn text(&self) -> String {
        let body = format!(
            "portcullis store\nformat {FORMAT}\nid {}\ngeneration {}\nfirst {}\nlast {}\n",
            self.store.hex(),
            self.generation,
            self.first,
            self.last,
        );
        let crc = crc32c::crc32c(body.as_bytes());
        format!("{body}crc {crc:08x}\n")
    }

    /// Reads `META`; `None` if there is none.
    pub(super) fn read(disk: &dyn Disk, layout: &Layout) -> Result<Option<Self>, OpenError> {
        let path = layout.meta();
        let file = match disk.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::Io { path, error }),
        };
        let mut bytes = [0; 1_024];
        let length = file.read_at(&mut bytes, 0).map_err(OpenError::io(&path))?;
        let text = std::str::from_utf8(bytes.get(..length).unwrap_or_default()).unwrap_or("");
        Self::parse(text)
            .map_err(|found| match found {
                Some(found) => OpenError::Newer {
                    file: path.clone(),
                    found,
                    known: FORMAT,
                },
                None => OpenError::Damaged(vec![Damage {
                    file: path,
                    offset: 0,
                    pos: None,
                    what: "it does not say which store this is".into(),
                }]),
            })
            .map(Some)
    }

    /// The error is a format that is not known, or nothing if it is no such file.
    pub(super) fn parse(text: &str) -> Result<Self, Option<u32>> {
        let (body, crc) = text.rsplit_once("crc ").ok_or(None)?;
        let crc = u32::from_str_radix(crc.strip_suffix('\n').ok_or(None)?, 16).map_err(|_| None)?;
        if crc != crc32c::crc32c(body.as_bytes()) {
            return Err(None);
        }
        let mut lines = body.lines();
        let mut field = |name: &str| {
            let line = lines.next()?.strip_prefix(name)?;
            Some(line.trim_start())
        };
        field("portcullis store").ok_or(None)?;
        let format: u32 = field("format")
            .and_then(|text| text.parse().ok())
            .ok_or(None)?;
        if format > FORMAT {
            return Err(Some(format));
        }
        let id = field("id").ok_or(None)?;
        let mut store = [0; 16];
        for (index, byte) in store.iter_mut().enumerate() {
            let digits = id.get(2 * index..2 * index + 2).ok_or(None)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| None)?;
        }
        let generation = field("generation")
            .and_then(|text| text.parse().ok())
            .ok_or(None)?;
        let first = field("first")
            .and_then(|text| text.parse().ok())
            .ok_or(None)?;
        let last = field("last")
            .and_then(|text| text.parse().ok())
            .ok_or(None)?;
        Ok(Self {
            store: StoreId(store),
            generation,
            first,
            last,
        })
    }

    /// Writes `META` so that a crash leaves the old one or the new one.
    pub(super) fn write(&self, disk: &dyn Disk, layout: &Layout) -> std::io::Result<()> {
        let new = layout.root().join("META.new");
        match disk.remove(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.create(&new)?;
        file.write_all_at(self.text().as_bytes(), 0)?;
        file.sync()?;
        disk.rename(&new, &layout.meta())?;
        disk.sync_dir(layout.root())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: Meta = Meta {
        store: StoreId(*b"0123456789abcdef"),
        generation: 2,
        first: 3,
        last: 4_000_000_000,
    };

    #[test]
    fn what_is_written_is_read_and_no_changed_bit_goes_unseen() {
        let text = META.text();
        assert_eq!(Meta::parse(&text), Ok(META));
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let changed = String::from_utf8_lossy(&bytes);
            let read = Meta::parse(&changed);
            // A letter of the checksum may be written large.
            assert!(
                read == Err(None) || read == Ok(META),
                "bit {bit}: {changed}"
            );
        }
    }

    #[test]
    fn a_newer_format_is_told_by_its_number() {
        let body = META.text().replace("format 1", "format 7");
        let body = body.split_once("crc").expect("a checksum").0;
        let text = format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes()));
        assert_eq!(Meta::parse(&text), Err(Some(7)));
    }
}
