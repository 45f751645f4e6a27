//! Stored password hashes: mosquitto's `$6$`, `$7$` and argon2id, bcrypt, and verifiers of
//! SCRAM-SHA-256.
//!
//! Every form is taken apart once, when the file is read, and its costs are held against
//! [`HashLimits`]; verification then cannot fail for a reason in the file. Whole byte strings
//! are compared and in constant time.

mod parse;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, general_purpose};
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use super::limits::HashLimits;
use super::scram::ScramVerifier;

/// Bytes of a SHA-512 or PBKDF2 hash.
const SHA512_BYTES: usize = 64;
/// bcrypt reads no more of a password than this.
const BCRYPT_PASSWORD_BYTES: usize = 72;
/// Fewer rounds of PBKDF2-HMAC-SHA512 are warned of.
const PBKDF2_ROUNDS_FLOOR: u32 = 100_000;
/// Memory in KiB times passes: the least of the equivalent settings that OWASP recommends
/// (m=7168, t=5).
const ARGON2_WORK_FLOOR: u64 = 35_840;
/// What RFC 7677 asks for at least.
const SCRAM_ITERATIONS_FLOOR: u32 = 4_096;
/// A lower cost of bcrypt is warned of.
const BCRYPT_COST_FLOOR: u32 = 10;

/// PHC strings leave the padding out; some writers do not.
const PHC_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Some writers of bcrypt hashes leave bits set that do not count.
const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::BCRYPT,
    general_purpose::NO_PAD.with_decode_allow_trailing_bits(true),
);

/// A password hash as a password file holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredHash {
    text: Box<str>,
    form: Form,
}

#[derive(Clone, PartialEq, Eq)]
enum Form {
    Sha512 {
        salt: Box<[u8]>,
        hash: Box<[u8]>,
    },
    Pbkdf2 {
        rounds: u32,
        salt: Box<[u8]>,
        hash: Box<[u8]>,
    },
    Argon2id {
        version: Version,
        cost: Argon2Cost,
        salt: Box<[u8]>,
        hash: Box<[u8]>,
    },
    Bcrypt {
        cost: u32,
        salt: [u8; 16],
        hash: [u8; 23],
    },
    Scram(ScramVerifier),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Argon2Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// How new passwords are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// argon2id with this memory in KiB, passes and lanes.
    Argon2id {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over the memory.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// PBKDF2-HMAC-SHA512, mosquitto's `$7$`.
    Pbkdf2 {
        /// Rounds.
        rounds: u32,
    },
    /// One round of SHA-512, mosquitto's `$6$`.
    Sha512,
    /// A verifier of SCRAM-SHA-256: with it a client can prove its password without sending it.
    ScramSha256 {
        /// Iterations.
        iterations: u32,
    },
    /// bcrypt; read, and written only for decoys.
    Bcrypt {
        /// Logarithm of the rounds.
        cost: u32,
    },
}

impl Default for HashAlgorithm {
    fn default() -> Self {
        Self::Argon2id {
            memory_kib: 19_456,
            passes: 2,
            lanes: 1,
        }
    }
}

/// Why a text is not a hash we can verify, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashError {
    /// Bytes into the text.
    pub offset: usize,
    /// What is wrong there.
    pub problem: HashProblem,
}

/// What is wrong with a stored hash. Nothing of the text itself is told: it may be a password in
/// clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HashProblem {
    /// Nothing after the colon.
    #[error("the hash is empty")]
    Empty,
    /// No `$` at the beginning: most likely a password in clear.
    #[error("this is not a password hash; is it a password in clear?")]
    NotAHash,
    /// A `$…$` that is not one of ours.
    #[error("the form of this password hash is not known")]
    UnknownForm,
    /// A part is missing or there is one too many.
    #[error("the password hash does not have {expected} parts between `$`")]
    Parts {
        /// How many it should have.
        expected: usize,
    },
    /// A part is not base64.
    #[error("the {part} of the password hash is not base64")]
    Base64 {
        /// Which.
        part: &'static str,
    },
    /// A part has another length than it can have.
    #[error("the {part} of the password hash has {found} bytes, which cannot be")]
    Length {
        /// Which.
        part: &'static str,
        /// Bytes it has.
        found: usize,
    },
    /// A number is not one.
    #[error("the {part} of the password hash is not a number in its range")]
    Number {
        /// Which.
        part: &'static str,
    },
    /// An argon2id parameter that we do not know.
    #[error("the argon2id hash has a parameter other than m, t and p, or one twice")]
    Parameter,
    /// The version of argon2id is not 16 or 19.
    #[error("the version of the argon2id hash is not 16 or 19")]
    Version,
    /// A cost is above its bound.
    #[error("the {part} of the password hash is above {maximum}, the highest accepted here")]
    TooCostly {
        /// Which.
        part: &'static str,
        /// The bound.
        maximum: u64,
    },
}

/// Why a hash run could not be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HashFailure {
    /// No memory for argon2id.
    #[error("no memory for the password hash")]
    OutOfMemory,
    /// The system gives no random numbers for a salt.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// bcrypt would ignore the end of the password.
    #[error("the password is longer than the 72 bytes that bcrypt reads")]
    TooLong,
    /// The algorithm does not allow these costs.
    #[error("these costs are not possible for the algorithm")]
    ImpossibleCost,
}

/// Why a stored hash deserves a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Weakness {
    /// `$6$`: one round of SHA-512.
    SingleRound,
    /// `$7$` with few rounds.
    FewRounds,
    /// argon2id with little memory and few passes.
    LittleMemory,
    /// bcrypt with a low cost.
    LowCost,
}

impl Weakness {
    /// What it means, for an operator.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::SingleRound => {
                "$6$ hashes are one round of SHA-512: whoever reads the file tries billions a second"
            }
            Self::FewRounds => "$7$ hashes of fewer than 100000 rounds are fast to try",
            Self::LittleMemory => {
                "argon2id hashes with m×t below 35840 are weaker than recommended"
            }
            Self::LowCost => "bcrypt hashes with a cost below 10 are fast to try",
        }
    }
}

impl StoredHash {
    /// Reads one of the forms.
    ///
    /// # Errors
    /// The text is none of them, or its costs are above the bounds.
    pub fn parse(text: &str, limits: &HashLimits) -> Result<Self, HashError> {
        let form = parse::parse(text, limits)?;
        Ok(Self {
            text: text.into(),
            form,
        })
    }

    /// Hashes a password with a fresh salt.
    ///
    /// # Errors
    /// No memory, no randomness, or a password that the algorithm would cut.
    pub fn create(password: &[u8], algorithm: HashAlgorithm) -> Result<Self, HashFailure> {
        let form = match algorithm {
            HashAlgorithm::Sha512 => {
                // 12 bytes are what every version of mosquitto reads.
                let salt = random::<12>()?;
                Form::Sha512 {
                    hash: sha512(password, &salt).into(),
                    salt: salt.into(),
                }
            }
            HashAlgorithm::Pbkdf2 { rounds } => {
                let salt = random::<12>()?;
                Form::Pbkdf2 {
                    rounds,
                    hash: pbkdf2_sha512(password, &salt, rounds).into(),
                    salt: salt.into(),
                }
            }
            HashAlgorithm::Argon2id {
                memory_kib,
                passes,
                lanes,
            } => {
                let salt = random::<16>()?;
                let cost = Argon2Cost {
                    memory_kib,
                    passes,
                    lanes,
                };
                let mut hash = [0; 32];
                argon2id(password, &salt, Version::V0x13, cost, &mut hash)?;
                Form::Argon2id {
                    version: Version::V0x13,
                    cost,
                    salt: salt.into(),
                    hash: hash.into(),
                }
            }
            HashAlgorithm::Bcrypt { cost } => {
                if password.len() > BCRYPT_PASSWORD_BYTES {
                    return Err(HashFailure::TooLong);
                }
                if !(4..=31).contains(&cost) {
                    return Err(HashFailure::ImpossibleCost);
                }
                let salt = random::<16>()?;
                Form::Bcrypt {
                    cost,
                    hash: bcrypt(password, salt, cost),
                    salt,
                }
            }
            HashAlgorithm::ScramSha256 { iterations } => {
                Form::Scram(ScramVerifier::of(password, &random::<16>()?, iterations))
            }
        };
        Ok(Self {
            text: encode(&form).into(),
            form,
        })
    }

    /// A hash that costs what `algorithm` costs and that no password has: for user names that do
    /// not exist, so that they take as long as those that do.
    pub(super) fn decoy(algorithm: HashAlgorithm) -> Result<Self, HashFailure> {
        let form = match algorithm {
            HashAlgorithm::Sha512 => Form::Sha512 {
                salt: random::<12>()?.into(),
                hash: random::<SHA512_BYTES>()?.into(),
            },
            HashAlgorithm::Pbkdf2 { rounds } => Form::Pbkdf2 {
                rounds,
                salt: random::<12>()?.into(),
                hash: random::<SHA512_BYTES>()?.into(),
            },
            HashAlgorithm::Argon2id {
                memory_kib,
                passes,
                lanes,
            } => Form::Argon2id {
                version: Version::V0x13,
                cost: Argon2Cost {
                    memory_kib,
                    passes,
                    lanes,
                },
                salt: random::<16>()?.into(),
                hash: random::<32>()?.into(),
            },
            HashAlgorithm::Bcrypt { cost } => Form::Bcrypt {
                cost,
                salt: random()?,
                hash: random()?,
            },
            HashAlgorithm::ScramSha256 { iterations } => Form::Scram(ScramVerifier {
                iterations,
                salt: random::<16>()?.into(),
                stored_key: random()?,
                server_key: random()?,
            }),
        };
        Ok(Self {
            text: encode(&form).into(),
            form,
        })
    }

    /// What SCRAM needs, if this is a verifier of it.
    pub(super) fn scram(&self) -> Option<&ScramVerifier> {
        match &self.form {
            Form::Scram(verifier) => Some(verifier),
            _ => None,
        }
    }

    /// The text as it stands in the file.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The algorithm and its costs: hashes that have these in common take the same time.
    pub fn algorithm(&self) -> HashAlgorithm {
        match &self.form {
            Form::Sha512 { .. } => HashAlgorithm::Sha512,
            Form::Pbkdf2 { rounds, .. } => HashAlgorithm::Pbkdf2 { rounds: *rounds },
            Form::Argon2id { cost, .. } => HashAlgorithm::Argon2id {
                memory_kib: cost.memory_kib,
                passes: cost.passes,
                lanes: cost.lanes,
            },
            Form::Bcrypt { cost, .. } => HashAlgorithm::Bcrypt { cost: *cost },
            Form::Scram(verifier) => HashAlgorithm::ScramSha256 {
                iterations: verifier.iterations,
            },
        }
    }

    /// Whether a new hash of the same password would cost a thief more. A verifier of SCRAM is none that
    /// could be replaced: its users prove their password by it.
    pub fn is_weaker_than_new(&self) -> bool {
        let work = |memory_kib: u32, passes: u32| u64::from(memory_kib) * u64::from(passes);
        match (self.algorithm(), HashAlgorithm::default()) {
            (HashAlgorithm::ScramSha256 { .. }, _) => false,
            (
                HashAlgorithm::Argon2id {
                    memory_kib, passes, ..
                },
                HashAlgorithm::Argon2id {
                    memory_kib: new_memory,
                    passes: new_passes,
                    ..
                },
            ) => work(memory_kib, passes) < work(new_memory, new_passes),
            _ => true,
        }
    }

    /// Why this hash deserves a warning, if it does.
    pub fn weakness(&self) -> Option<Weakness> {
        match &self.form {
            Form::Sha512 { .. } => Some(Weakness::SingleRound),
            Form::Pbkdf2 { rounds, .. } if *rounds < PBKDF2_ROUNDS_FLOOR => {
                Some(Weakness::FewRounds)
            }
            Form::Argon2id { cost, .. }
                if u64::from(cost.memory_kib) * u64::from(cost.passes) < ARGON2_WORK_FLOOR =>
            {
                Some(Weakness::LittleMemory)
            }
            Form::Bcrypt { cost, .. } if *cost < BCRYPT_COST_FLOOR => Some(Weakness::LowCost),
            Form::Scram(verifier) if verifier.iterations < SCRAM_ITERATIONS_FLOOR => {
                Some(Weakness::FewRounds)
            }
            _ => None,
        }
    }

    /// Whether `password`, all of it, is the one. Takes as long for a wrong one.
    ///
    /// A NUL byte is refused: mosquitto takes what follows it for nothing, so that `secret` and
    /// `secret` with anything after a NUL are one password there.
    ///
    /// # Errors
    /// The run could not be completed.
    pub fn verify(&self, password: &[u8]) -> Result<bool, HashFailure> {
        if password.contains(&0) {
            return Ok(false);
        }
        match &self.form {
            Form::Sha512 { salt, hash } => Ok(same(&sha512(password, salt), hash)),
            Form::Pbkdf2 { rounds, salt, hash } => {
                Ok(same(&pbkdf2_sha512(password, salt, *rounds), hash))
            }
            Form::Argon2id {
                version,
                cost,
                salt,
                hash,
            } => {
                let mut found = Zeroizing::new(vec![0; hash.len()]);
                argon2id(password, salt, *version, *cost, &mut found)?;
                Ok(same(&found, hash))
            }
            Form::Bcrypt { cost, salt, hash } => {
                let whole = password.len() <= BCRYPT_PASSWORD_BYTES;
                Ok(same(&bcrypt(password, *salt, *cost), hash) && whole)
            }
            Form::Scram(verifier) => Ok(verifier.verify(password)),
        }
    }
}

impl std::fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A hash is as good as the password to whoever can afford to try.
        write!(f, "StoredHash({:?}, …)", self.algorithm())
    }
}

fn same(found: &[u8], stored: &[u8]) -> bool {
    found.ct_eq(stored).into()
}

fn sha512(password: &[u8], salt: &[u8]) -> [u8; SHA512_BYTES] {
    Sha512::new()
        .chain_update(password)
        .chain_update(salt)
        .finalize()
        .into()
}

fn pbkdf2_sha512(password: &[u8], salt: &[u8], rounds: u32) -> [u8; SHA512_BYTES] {
    pbkdf2::pbkdf2_hmac_array::<Sha512, SHA512_BYTES>(password, salt, rounds)
}

fn argon2id(
    password: &[u8],
    salt: &[u8],
    version: Version,
    cost: Argon2Cost,
    out: &mut [u8],
) -> Result<(), HashFailure> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(out.len()))
        .map_err(|_| HashFailure::ImpossibleCost)?;
    Argon2::new(Algorithm::Argon2id, version, params)
        .hash_password_into(password, salt, out)
        .map_err(|_| HashFailure::OutOfMemory)
}

fn bcrypt(password: &[u8], salt: [u8; 16], cost: u32) -> [u8; 23] {
    let mut key = Zeroizing::new([0; BCRYPT_PASSWORD_BYTES]);
    let length = password.len().min(BCRYPT_PASSWORD_BYTES);
    key[..length].copy_from_slice(&password[..length]);
    // The terminating NUL belongs to the key where there is room for it.
    let used = (length + 1).min(BCRYPT_PASSWORD_BYTES);
    let output = bcrypt::bcrypt(cost, salt, &key[..used]);
    let mut hash = [0; 23];
    hash.copy_from_slice(&output[..23]);
    hash
}

fn random<const N: usize>() -> Result<[u8; N], HashFailure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| HashFailure::NoRandomness)?;
    Ok(bytes)
}

fn encode(form: &Form) -> String {
    match form {
        Form::Sha512 { salt, hash } => {
            format!("$6${}${}", STANDARD.encode(salt), STANDARD.encode(hash))
        }
        Form::Pbkdf2 { rounds, salt, hash } => format!(
            "$7${rounds}${}${}",
            STANDARD.encode(salt),
            STANDARD.encode(hash)
        ),
        Form::Argon2id {
            version,
            cost,
            salt,
            hash,
        } => format!(
            "$argon2id$v={}$m={},t={},p={}${}${}",
            u32::from(*version),
            cost.memory_kib,
            cost.passes,
            cost.lanes,
            PHC_BASE64.encode(salt),
            PHC_BASE64.encode(hash)
        ),
        Form::Scram(verifier) => format!(
            "$scram-sha-256${}${}${}${}",
            verifier.iterations,
            STANDARD.encode(&verifier.salt),
            STANDARD.encode(verifier.stored_key),
            STANDARD.encode(verifier.server_key)
        ),
        Form::Bcrypt { cost, salt, hash } => format!(
            "$2b${cost:02}${}{}",
            BCRYPT_BASE64.encode(salt),
            BCRYPT_BASE64.encode(hash)
        ),
    }
}
