//! Taking the text of a stored hash apart.

use argon2::Version;
use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD};

use crate::auth::scram::ScramVerifier;

use super::{
    Argon2Cost, BCRYPT_BASE64, Form, HashError, HashLimits, HashProblem, PHC_BASE64, SHA512_BYTES,
};

/// Salts of mosquitto up to 2.0, and of 2.1.
const MOSQUITTO_SALTS: [usize; 2] = [12, 64];

/// The form of `text`, its costs held against `limits`.
pub(super) fn parse(text: &str, limits: &HashLimits) -> Result<Form, HashError> {
    let parts = Parts::of(text)?;
    match parts.part(1).1 {
        "6" => parse_sha512(&parts),
        "7" => parse_pbkdf2(&parts, limits),
        "argon2id" => parse_argon2id(&parts, limits),
        "2a" | "2b" | "2y" => parse_bcrypt(&parts, limits),
        "scram-sha-256" => parse_scram(&parts, limits),
        _ => Err(parts.problem(1, HashProblem::UnknownForm)),
    }
}

/// A text cut at its `$`, with where each part begins.
struct Parts<'a> {
    parts: Vec<(usize, &'a str)>,
    length: usize,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self, HashError> {
        let whole = |problem| Err(HashError { offset: 0, problem });
        if text.is_empty() {
            return whole(HashProblem::Empty);
        }
        if !text.starts_with('$') || text.matches('$').count() < 2 {
            return whole(HashProblem::NotAHash);
        }
        let mut offset = 0;
        let mut parts = Vec::with_capacity(6);
        for part in text.split('$') {
            parts.push((offset, part));
            offset += part.len() + 1;
        }
        Ok(Self {
            parts,
            length: text.len(),
        })
    }

    /// Where a part begins, and the part; empty if there is none.
    fn part(&self, index: usize) -> (usize, &'a str) {
        self.parts.get(index).copied().unwrap_or((self.length, ""))
    }

    fn expect(&self, count: usize) -> Result<(), HashError> {
        // What stands before the first `$` is the empty part 0.
        if self.parts.len() == count + 1 {
            return Ok(());
        }
        let offset = self.part(count + 1).0.min(self.length);
        Err(HashError {
            offset,
            problem: HashProblem::Parts { expected: count },
        })
    }

    fn problem(&self, index: usize, problem: HashProblem) -> HashError {
        HashError {
            offset: self.part(index).0,
            problem,
        }
    }

    fn decode(
        &self,
        index: usize,
        part: &'static str,
        engine: &GeneralPurpose,
        length_is_right: impl FnOnce(usize) -> bool,
    ) -> Result<Box<[u8]>, HashError> {
        let bytes = engine
            .decode(self.part(index).1)
            .map_err(|_| self.problem(index, HashProblem::Base64 { part }))?;
        if length_is_right(bytes.len()) {
            Ok(bytes.into())
        } else {
            let found = bytes.len();
            Err(self.problem(index, HashProblem::Length { part, found }))
        }
    }
}

fn parse_sha512(parts: &Parts<'_>) -> Result<Form, HashError> {
    parts.expect(3)?;
    Ok(Form::Sha512 {
        salt: parts.decode(2, "salt", &STANDARD, |n| MOSQUITTO_SALTS.contains(&n))?,
        hash: parts.decode(3, "hash", &STANDARD, |n| n == SHA512_BYTES)?,
    })
}

fn parse_pbkdf2(parts: &Parts<'_>, limits: &HashLimits) -> Result<Form, HashError> {
    parts.expect(4)?;
    let rounds = decimal(parts.part(2).1)
        .filter(|rounds| *rounds >= 1)
        .ok_or_else(|| {
            parts.problem(
                2,
                HashProblem::Number {
                    part: "number of rounds",
                },
            )
        })?;
    bound(
        u64::from(rounds),
        u64::from(limits.pbkdf2_rounds),
        "number of rounds",
    )
    .map_err(|problem| parts.problem(2, problem))?;
    Ok(Form::Pbkdf2 {
        rounds,
        salt: parts.decode(3, "salt", &STANDARD, |n| MOSQUITTO_SALTS.contains(&n))?,
        hash: parts.decode(4, "hash", &STANDARD, |n| n == SHA512_BYTES)?,
    })
}

fn parse_argon2id(parts: &Parts<'_>, limits: &HashLimits) -> Result<Form, HashError> {
    // A hash of the first version may leave `v=16` out.
    let (version, costs) = match parts.part(2).1 {
        "v=19" => (Version::V0x13, 3),
        "v=16" => (Version::V0x10, 3),
        other if other.starts_with("v=") => return Err(parts.problem(2, HashProblem::Version)),
        _ => (Version::V0x10, 2),
    };
    parts.expect(costs + 2)?;
    let cost = argon2_cost(parts.part(costs).1, limits)
        .map_err(|problem| parts.problem(costs, problem))?;
    Ok(Form::Argon2id {
        version,
        cost,
        salt: parts.decode(costs + 1, "salt", &PHC_BASE64, |n| (8..=256).contains(&n))?,
        // A tag of a few bytes would have many passwords.
        hash: parts.decode(costs + 2, "hash", &PHC_BASE64, |n| (16..=256).contains(&n))?,
    })
}

fn argon2_cost(text: &str, limits: &HashLimits) -> Result<Argon2Cost, HashProblem> {
    let mut memory = None;
    let mut passes = None;
    let mut lanes = None;
    for parameter in text.split(',') {
        let (name, value) = parameter.split_once('=').ok_or(HashProblem::Parameter)?;
        let (slot, part, maximum) = match name {
            "m" => (&mut memory, "memory (m)", limits.argon2_memory_kib),
            "t" => (&mut passes, "number of passes (t)", limits.argon2_passes),
            "p" => (&mut lanes, "number of lanes (p)", limits.argon2_lanes),
            _ => return Err(HashProblem::Parameter),
        };
        if slot.is_some() {
            return Err(HashProblem::Parameter);
        }
        let value = decimal(value)
            .filter(|value| *value >= 1)
            .ok_or(HashProblem::Number { part })?;
        bound(u64::from(value), u64::from(maximum), part)?;
        *slot = Some(value);
    }
    let (Some(memory_kib), Some(passes), Some(lanes)) = (memory, passes, lanes) else {
        return Err(HashProblem::Parameter);
    };
    let work = u64::from(memory_kib) * u64::from(passes);
    bound(work, limits.argon2_work_kib, "memory times passes (m×t)")?;
    if memory_kib < lanes.saturating_mul(8) {
        return Err(HashProblem::Number { part: "memory (m)" });
    }
    Ok(Argon2Cost {
        memory_kib,
        passes,
        lanes,
    })
}

fn parse_scram(parts: &Parts<'_>, limits: &HashLimits) -> Result<Form, HashError> {
    parts.expect(5)?;
    let part = "number of iterations";
    let iterations = decimal(parts.part(2).1)
        .filter(|iterations| *iterations >= 1)
        .ok_or_else(|| parts.problem(2, HashProblem::Number { part }))?;
    let most = u64::from(limits.pbkdf2_rounds);
    bound(u64::from(iterations), most, part).map_err(|problem| parts.problem(2, problem))?;
    let key = |index, part| {
        let bytes = parts.decode(index, part, &STANDARD, |n| n == 32)?;
        let found = bytes.len();
        <[u8; 32]>::try_from(&*bytes)
            .map_err(|_| parts.problem(index, HashProblem::Length { part, found }))
    };
    Ok(Form::Scram(ScramVerifier {
        iterations,
        salt: parts.decode(3, "salt", &STANDARD, |n| (8..=256).contains(&n))?,
        stored_key: key(4, "stored key")?,
        server_key: key(5, "server key")?,
    }))
}

fn parse_bcrypt(parts: &Parts<'_>, limits: &HashLimits) -> Result<Form, HashError> {
    parts.expect(3)?;
    let cost = Some(parts.part(2).1)
        .filter(|text| text.len() == 2)
        .and_then(decimal)
        .filter(|cost| (4..=31).contains(cost))
        .ok_or_else(|| parts.problem(2, HashProblem::Number { part: "cost" }))?;
    bound(u64::from(cost), u64::from(limits.bcrypt_cost), "cost")
        .map_err(|problem| parts.problem(2, problem))?;
    let (_, text) = parts.part(3);
    // 22 characters of salt and 31 of hash.
    let (salt, hash) = text
        .split_at_checked(22)
        .filter(|_| text.len() == 53)
        .ok_or_else(|| {
            let found = text.len();
            parts.problem(
                3,
                HashProblem::Length {
                    part: "hash",
                    found,
                },
            )
        })?;
    let decode = |text: &str, part| {
        BCRYPT_BASE64
            .decode(text)
            .map_err(|_| parts.problem(3, HashProblem::Base64 { part }))
    };
    let mut form = ([0; 16], [0; 23]);
    let (salt, hash) = (decode(salt, "salt")?, decode(hash, "hash")?);
    form.0.copy_from_slice(&salt);
    form.1.copy_from_slice(&hash);
    Ok(Form::Bcrypt {
        cost,
        salt: form.0,
        hash: form.1,
    })
}

/// Digits only: `parse` would take a sign.
fn decimal(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn bound(value: u64, maximum: u64, part: &'static str) -> Result<(), HashProblem> {
    if value > maximum {
        return Err(HashProblem::TooCostly { part, maximum });
    }
    Ok(())
}
