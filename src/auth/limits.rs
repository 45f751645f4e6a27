//! What the parameters of a stored hash may cost.
//!
//! Costs in a password file are input as everything else: a line that asks for 4 GiB or for 2³²
//! rounds would let whoever wrote it, or whoever names that user, stop the broker.

/// The highest costs accepted from a password file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashLimits {
    /// Memory of one argon2id run in KiB. One run goes on per hashing thread.
    pub argon2_memory_kib: u32,
    /// Passes of argon2id.
    pub argon2_passes: u32,
    /// Lanes of argon2id.
    pub argon2_lanes: u32,
    /// Memory in KiB times passes: what decides how long one run takes.
    pub argon2_work_kib: u64,
    /// Rounds of PBKDF2.
    pub pbkdf2_rounds: u32,
    /// Cost of bcrypt, the logarithm of its rounds.
    pub bcrypt_cost: u32,
}

impl Default for HashLimits {
    /// Each bound is some seconds of one processor.
    fn default() -> Self {
        Self {
            argon2_memory_kib: 1 << 20,
            argon2_passes: 64,
            argon2_lanes: 16,
            argon2_work_kib: 4 << 20,
            pbkdf2_rounds: 5_000_000,
            bcrypt_cost: 16,
        }
    }
}
