//! What a new password must be (`portcullis passwd --min-length`, `--breached`).

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};

/// Longest line of a list: passwords are shorter, and a file that is no list ends here.
const MAX_LINE_BYTES: u64 = 4_096;

/// The rules of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct PasswordRules {
    /// Least number of characters.
    pub(super) min_length: usize,
    /// Passwords that are known to others: a line each, as they are or as SHA-1 in hexadecimal with
    /// whatever follows a colon (the form in which lists of breaches are given out).
    pub(super) breached: Option<PathBuf>,
}

impl PasswordRules {
    /// Whether the password may be used.
    ///
    /// # Errors
    /// Why not, in words that do not hold it; or that the list cannot be read.
    pub(super) fn check(&self, password: &str) -> Result<(), String> {
        let length = password.chars().count();
        if length < self.min_length {
            return Err(format!(
                "the password has {length} characters, and {} are the least",
                self.min_length
            ));
        }
        let Some(list) = &self.breached else {
            return Ok(());
        };
        match is_listed(list, password) {
            Ok(false) => Ok(()),
            Ok(true) => Err(format!(
                "the password is known to others: it stands in {}",
                list.display()
            )),
            Err(error) => Err(format!("{} cannot be read: {error}", list.display())),
        }
    }
}

/// Read from front to end, which takes a minute for the largest lists there are, once for a password.
fn is_listed(list: &Path, password: &str) -> io::Result<bool> {
    let mut hash = String::with_capacity(40);
    for byte in Sha1::digest(password.as_bytes()) {
        hash.push_str(&format!("{byte:02X}"));
    }
    let mut reader = BufReader::with_capacity(1 << 20, File::open(list)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = io::Read::take(&mut reader, MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(false);
        }
        let text = line.trim_ascii_end();
        let first = text.split(|&byte| byte == b':').next().unwrap_or_default();
        if text == password.as_bytes() || first.eq_ignore_ascii_case(hash.as_bytes()) {
            return Ok(true);
        }
    }
}
