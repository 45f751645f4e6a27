//! Password files: mosquitto's forms and bcrypt.
//!
//! A line is `user:hash`; what follows a second colon is ignored, lines that begin with `#` and
//! lines without a colon are skipped, as mosquitto does. Everything else that is not understood is
//! an error: a password that is silently not checked would be worse. The cost parameters of a hash
//! are input too, and bounded when they are read.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

/// Largest argon2 memory a file may ask for: 1 GiB.
const MAX_ARGON2_KIB: u32 = 1 << 20;
const MAX_ARGON2_PASSES: u32 = 64;
const MAX_ARGON2_LANES: u32 = 64;
const MAX_PBKDF2_ROUNDS: u32 = 10_000_000;
/// Above this bcrypt takes minutes.
const MAX_BCRYPT_COST: u32 = 18;
/// `$7$` below this is quick to try; mosquitto 2.0 writes 101 and 2.1 writes 1,000.
const WEAK_PBKDF2_ROUNDS: u32 = 100_000;

/// Memory of a new argon2id hash in KiB (OWASP's first choice), and its passes and lanes.
const NEW_ARGON2: (u32, u32, u32) = (19_456, 2, 1);
const NEW_SALT_BYTES: usize = 16;
/// Bytes of a `$6$` or `$7$` hash.
const SHA512_BYTES: usize = 64;

/// Which form a stored hash has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HashForm {
    /// `$6$`: one round of SHA-512.
    Sha512,
    /// `$7$`: PBKDF2 with HMAC-SHA-512.
    Pbkdf2,
    /// `$argon2id$`.
    Argon2id,
    /// `$2a$`, `$2b$`, `$2y$`.
    Bcrypt,
}

/// One stored hash. `Debug` shows its form only.
#[derive(Clone)]
pub(crate) enum Hash {
    Sha512 {
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    Pbkdf2 {
        rounds: u32,
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    Argon2id {
        params: Params,
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    Bcrypt(String),
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({:?})", self.form())
    }
}

impl Hash {
    fn form(&self) -> HashForm {
        match self {
            Self::Sha512 { .. } => HashForm::Sha512,
            Self::Pbkdf2 { .. } => HashForm::Pbkdf2,
            Self::Argon2id { .. } => HashForm::Argon2id,
            Self::Bcrypt(_) => HashForm::Bcrypt,
        }
    }

    /// Whether `password` is the one. The whole byte string counts; the comparison takes the same
    /// time wherever the first difference is.
    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Sha512 { salt, hash } => {
                let mut digest = Sha512::new();
                digest.update(password);
                digest.update(salt);
                digest.finalize().as_slice().ct_eq(hash).into()
            }
            Self::Pbkdf2 { rounds, salt, hash } => {
                let mut computed = [0; SHA512_BYTES];
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, *rounds, &mut computed);
                computed.as_slice().ct_eq(hash).into()
            }
            Self::Argon2id { params, salt, hash } => {
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
                let mut computed = vec![0; hash.len()];
                argon2
                    .hash_password_into(password, salt, &mut computed)
                    .is_ok()
                    && computed.as_slice().ct_eq(hash).into()
            }
            Self::Bcrypt(text) => bcrypt::non_truncating_verify(password, text).unwrap_or(false),
        }
    }
}

/// A line that is not understood. It never quotes the line: that may hold a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordError {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What was expected.
    pub message: String,
}

/// A hash that is weaker than it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordWarning {
    /// Line, from 1.
    pub line: u32,
    /// What is weak.
    pub message: String,
}

/// A stored user.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) hash: Arc<Hash>,
    /// Identifies the stored line, so that a change of password is noticed.
    pub(crate) fingerprint: [u8; 32],
}

/// All users of one file.
#[derive(Debug, Default)]
pub struct PasswordFile {
    users: HashMap<Box<str>, Entry>,
    /// What a password for a user that does not exist is compared with.
    decoy: Option<Arc<Hash>>,
}

/// What parsing a file gives.
pub type ParsedPasswords = (PasswordFile, Vec<PasswordWarning>);

impl PasswordFile {
    /// Parses a password file.
    ///
    /// # Errors
    /// Every line that is not understood.
    pub fn parse(text: &str) -> Result<ParsedPasswords, Vec<PasswordError>> {
        let mut file = Self::default();
        let mut warnings = Vec::new();
        let mut errors = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            if let Err((column, message)) = file.line(line, number, &mut warnings) {
                errors.push(PasswordError {
                    line: number,
                    column: u32::try_from(column).unwrap_or(u32::MAX),
                    message,
                });
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        file.decoy = file.most_common();
        Ok((file, warnings))
    }

    fn line(
        &mut self,
        line: &str,
        number: u32,
        warnings: &mut Vec<PasswordWarning>,
    ) -> Result<(), (usize, String)> {
        if line.starts_with('#') {
            return Ok(());
        }
        let Some((name, rest)) = line.split_once(':') else {
            return Ok(());
        };
        let trimmed = name.trim();
        if trimmed.is_empty() {
            return Err((1, "expected a user name before the colon".into()));
        }
        if trimmed.len() > 65_535 || trimmed.contains(char::is_control) {
            return Err((
                1,
                "the user name is too long or holds a control character".into(),
            ));
        }
        let column = name.chars().count() + 2;
        let stored = rest.split(':').next().unwrap_or_default().trim();
        let (hash, warning) = parse_hash(stored).map_err(|message| (column, message))?;
        if let Some(message) = warning {
            warnings.push(PasswordWarning {
                line: number,
                message,
            });
        }
        let fingerprint = sha2::Sha256::digest(stored.as_bytes()).into();
        let entry = Entry {
            hash: Arc::new(hash),
            fingerprint,
        };
        if self.users.insert(trimmed.into(), entry).is_some() {
            return Err((1, "this user name stands in the file twice".into()));
        }
        Ok(())
    }

    fn most_common(&self) -> Option<Arc<Hash>> {
        let mut counts: HashMap<HashForm, (usize, &Arc<Hash>)> = HashMap::new();
        for entry in self.users.values() {
            counts
                .entry(entry.hash.form())
                .or_insert((0, &entry.hash))
                .0 += 1;
        }
        counts
            .into_iter()
            .max_by_key(|(form, (count, _))| (*count, *form))
            .map(|(_, (_, hash))| Arc::clone(hash))
    }

    /// Number of users.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    pub(crate) fn entry(&self, user: &str) -> Option<&Entry> {
        self.users.get(user)
    }

    pub(crate) fn decoy(&self) -> Option<Arc<Hash>> {
        self.decoy.clone()
    }
}

fn parse_hash(stored: &str) -> Result<(Hash, Option<String>), String> {
    if stored.is_empty() {
        return Err("expected a password hash after the colon".into());
    }
    if let Some(rest) = stored.strip_prefix("$6$") {
        let (salt, hash) = salted(rest)?;
        let warning = "one round of SHA-512 is quick to guess: set the password again with `portcullis passwd`";
        return Ok((Hash::Sha512 { salt, hash }, Some(warning.into())));
    }
    if let Some(rest) = stored.strip_prefix("$7$") {
        let (rounds, rest) = rest
            .split_once('$')
            .ok_or("expected $7$<iterations>$<salt>$<hash>")?;
        let rounds: u32 = rounds
            .parse()
            .ok()
            .filter(|rounds| (1..=MAX_PBKDF2_ROUNDS).contains(rounds))
            .ok_or_else(|| format!("expected 1 to {MAX_PBKDF2_ROUNDS} iterations"))?;
        let (salt, hash) = salted(rest)?;
        let warning = (rounds < WEAK_PBKDF2_ROUNDS).then(|| {
            format!("{rounds} rounds of PBKDF2 are quick to guess: set the password again with `portcullis passwd`")
        });
        return Ok((Hash::Pbkdf2 { rounds, salt, hash }, warning));
    }
    if let Some(rest) = stored.strip_prefix("$argon2id$") {
        return Ok((argon2id(rest)?, None));
    }
    if ["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|form| stored.starts_with(form))
    {
        let parts: bcrypt::HashParts = stored
            .parse()
            .map_err(|_| "expected $2b$<cost>$ and 53 characters")?;
        if parts.get_cost() > MAX_BCRYPT_COST {
            return Err(format!(
                "expected a bcrypt cost of at most {MAX_BCRYPT_COST}"
            ));
        }
        return Ok((Hash::Bcrypt(stored.to_owned()), None));
    }
    Err("expected a hash that begins with $argon2id$, $7$, $6$ or $2b$; a password in clear text is not accepted, `portcullis passwd -U` hashes it".into())
}

fn salted(rest: &str) -> Result<(Vec<u8>, Vec<u8>), String> {
    let (salt, hash) = rest
        .split_once('$')
        .ok_or("expected <salt>$<hash> after the iterations")?;
    let salt = STANDARD.decode(salt).map_err(|_| "the salt is no base64")?;
    let hash = STANDARD.decode(hash).map_err(|_| "the hash is no base64")?;
    if hash.len() != SHA512_BYTES || salt.is_empty() || salt.len() > 64 {
        return Err("expected a salt of up to 64 bytes and a hash of 64".into());
    }
    Ok((salt, hash))
}

fn argon2id(rest: &str) -> Result<Hash, String> {
    const FORM: &str = "expected $argon2id$v=19$m=<KiB>,t=<passes>,p=<lanes>$<salt>$<hash>";
    let mut parts = rest.split('$');
    let (Some("v=19"), Some(costs), Some(salt), Some(hash), None) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return Err(FORM.into());
    };
    let mut numbers = [0; 3];
    for (number, (cost, key)) in numbers
        .iter_mut()
        .zip(costs.split(',').zip(["m=", "t=", "p="]))
    {
        *number = cost
            .strip_prefix(key)
            .and_then(|text| text.parse().ok())
            .ok_or(FORM)?;
    }
    let [memory, passes, lanes] = numbers;
    if memory > MAX_ARGON2_KIB || passes > MAX_ARGON2_PASSES || lanes > MAX_ARGON2_LANES {
        return Err(format!(
            "expected at most m={MAX_ARGON2_KIB}, t={MAX_ARGON2_PASSES}, p={MAX_ARGON2_LANES}"
        ));
    }
    let salt = STANDARD_NO_PAD.decode(salt).map_err(|_| FORM)?;
    let hash = STANDARD_NO_PAD.decode(hash).map_err(|_| FORM)?;
    let params = Params::new(memory, passes, lanes, Some(hash.len()))
        .map_err(|error| format!("the argon2id parameters are not allowed: {error}"))?;
    if !(8..=64).contains(&salt.len()) || !(16..=64).contains(&hash.len()) {
        return Err("expected a salt of 8 to 64 bytes and a hash of 16 to 64".into());
    }
    Ok(Hash::Argon2id { params, salt, hash })
}

/// What a password for an unknown user costs when a file has no users to take a measure from.
pub(crate) fn default_decoy() -> Option<Hash> {
    let (memory, passes, lanes) = NEW_ARGON2;
    let params = Params::new(memory, passes, lanes, Some(32)).ok()?;
    Some(Hash::Argon2id {
        params,
        salt: vec![0; NEW_SALT_BYTES],
        hash: vec![0; 32],
    })
}

fn salt() -> Result<[u8; NEW_SALT_BYTES], getrandom::Error> {
    let mut salt = [0; NEW_SALT_BYTES];
    getrandom::fill(&mut salt)?;
    Ok(salt)
}

/// Hashes a password with argon2id (m=19456, t=2, p=1), in the form the file holds.
///
/// # Errors
/// The system gives no random numbers or not enough memory.
pub fn hash_argon2id(password: &[u8]) -> Result<String, String> {
    let (memory, passes, lanes) = NEW_ARGON2;
    let params = Params::new(memory, passes, lanes, Some(32)).map_err(|error| error.to_string())?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let salt = salt().map_err(|error| error.to_string())?;
    let mut hash = [0; 32];
    argon2
        .hash_password_into(password, &salt, &mut hash)
        .map_err(|error| error.to_string())?;
    Ok(format!(
        "$argon2id$v=19$m={memory},t={passes},p={lanes}${}${}",
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(hash)
    ))
}

/// Hashes a password with PBKDF2-HMAC-SHA512, in mosquitto's `$7$` form.
///
/// # Errors
/// The system gives no random numbers.
pub fn hash_pbkdf2(password: &[u8], rounds: u32) -> Result<String, String> {
    let mut salt = [0; 64];
    getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
    let mut hash = [0; SHA512_BYTES];
    pbkdf2::pbkdf2_hmac::<Sha512>(password, &salt, rounds.max(1), &mut hash);
    Ok(format!(
        "$7${}${}${}",
        rounds.max(1),
        STANDARD.encode(salt),
        STANDARD.encode(hash)
    ))
}

/// Hashes a password with one round of SHA-512, in mosquitto's `$6$` form.
///
/// # Errors
/// The system gives no random numbers.
pub fn hash_sha512(password: &[u8]) -> Result<String, String> {
    let mut salt = [0; 64];
    getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
    let mut digest = Sha512::new();
    digest.update(password);
    digest.update(salt);
    Ok(format!(
        "$6${}${}",
        STANDARD.encode(salt),
        STANDARD.encode(digest.finalize())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `mosquitto_passwd` 2.1.2 for the password `secret`.
    const VECTORS: &str = "\
alice:$7$1000$K+44jU4vjePDO4K0pRzQcDyPVqXUpucH8Dmr26S8VPOL+CVU2jqeCOod314klJEil1h+L/Ov3Uh/B6g4Swfrsg==$NleI+TM3zFqox52625SBubeGWZEvDV0MsFj/0A8toFU/EMQUlnDgzg8bbnzkzdgO914HXgmB38U71pflkJIenw==
carol:$6$TJda2N8D8cxJtQSSzHg+KnM4FJTZ33gfH4iO/5KcBaXp/E6Dw+ULXgPzX3iIn2JOWqNARYH8WyJblQSuryaEIw==$wG7rUbBr8p8VsSXdsINo11sMYu1kEkR/8pWUIDzGYAt8veLgnIFyoonwLYULksntnb//axBRR5RKpbAIapplTQ==
dave:$7$5000$1gD08RGINydTsJiJxqE9+/xUxKsdTY32QH7G67Ktggr94z7pfoV7/SwxTH8SnaN8vsAmJ6qRna9hh8derIVXrg==$VJt2/uTaPfOUsGf9mabMFMKEaTQnp5rtAaFSdXyoEz/u2G/iMKOIMA2If7fiJuv+CN5/9TuzDffYf2/GueHaNw==
";

    fn verify(file: &PasswordFile, user: &str, password: &[u8]) -> bool {
        file.entry(user)
            .is_some_and(|entry| entry.hash.verify(password))
    }

    #[test]
    fn hashes_that_mosquitto_made_are_verified() {
        let (file, warnings) = PasswordFile::parse(VECTORS).expect("valid");
        for user in ["alice", "carol", "dave"] {
            assert!(verify(&file, user, b"secret"), "{user}");
            assert!(!verify(&file, user, b"Secret"), "{user}");
            assert!(!verify(&file, user, b""), "{user}");
            // mosquitto takes a password plus NUL plus anything.
            assert!(!verify(&file, user, b"secret\0x"), "{user}");
        }
        assert_eq!(warnings.len(), 3);
    }

    #[test]
    fn hashes_of_ours_are_verified() {
        let text = format!(
            "a:{}\nb:{}\nc:{}\nd:{}\n",
            hash_argon2id(b"pw").expect("hash"),
            hash_pbkdf2(b"pw", 1_000).expect("hash"),
            hash_sha512(b"pw").expect("hash"),
            bcrypt::hash("pw", 4).expect("hash"),
        );
        let (file, _) = PasswordFile::parse(&text).expect("valid");
        for user in ["a", "b", "c", "d"] {
            assert!(verify(&file, user, b"pw"), "{user}");
            assert!(!verify(&file, user, b"pw "), "{user}");
        }
    }

    #[test]
    fn every_bad_line_is_reported_and_no_password_is_quoted() {
        let text = "# comment\nno colon here\nplain:hunter2\n:x\nb:\nc:$7$0$AA==$AA==\n\
                    d:$argon2id$v=19$m=4194304,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA\n\
                    e:$2b$31$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\n";
        let errors = PasswordFile::parse(text).expect_err("bad");
        let lines: Vec<u32> = errors.iter().map(|error| error.line).collect();
        assert_eq!(lines, [3, 4, 5, 6, 7, 8]);
        assert!(
            errors
                .iter()
                .all(|error| !error.message.contains("hunter2"))
        );
    }

    #[test]
    fn a_user_that_stands_twice_is_an_error() {
        let line = format!("a:{}\n", hash_sha512(b"x").expect("hash"));
        let errors = PasswordFile::parse(&format!("{line}{line}")).expect_err("twice");
        assert_eq!(errors[0].line, 2);
    }

    #[test]
    fn text_after_a_second_colon_is_ignored_and_names_are_trimmed() {
        let line = format!("  a b :{}:rest\n", hash_sha512(b"x").expect("hash"));
        let (file, _) = PasswordFile::parse(&line).expect("valid");
        assert!(verify(&file, "a b", b"x"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = PasswordFile::parse(&text);
        }

        #[test]
        fn no_hash_makes_the_parser_panic(
            form in "(\\$6\\$|\\$7\\$|\\$argon2id\\$v=19\\$|\\$2b\\$)", rest in "[a-zA-Z0-9$=,+/]{0,100}"
        ) {
            let _ = PasswordFile::parse(&format!("u:{form}{rest}"));
        }
    }
}
