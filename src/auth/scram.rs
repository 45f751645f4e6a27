//! SCRAM-SHA-256, the server's half (RFC 5802, RFC 7677).
//!
//! The broker keeps no password and sees none: it holds what a password was turned into, the client
//! proves that it has the password, and the broker proves that it knew. Channel binding is not
//! offered. A user that does not exist is asked like any other and refused at the end.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

/// The Authentication Method of CONNECT and AUTH.
pub const METHOD: &str = "SCRAM-SHA-256";

/// Iterations of new verifiers. RFC 7677 asks for 4,096 at least; the client pays them at every
/// login, so a device must be able to.
pub const ITERATIONS: u32 = 15_000;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 18;
/// Longest message of a client that is read; names and nonces are short.
const MESSAGE_BYTES: usize = 2_048;

type Key = [u8; KEY_BYTES];

/// What a password was turned into.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ScramVerifier {
    pub(super) iterations: u32,
    pub(super) salt: Box<[u8]>,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    // HMAC takes keys of every length.
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("any key");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn sha256(bytes: &[u8]) -> Key {
    Sha256::digest(bytes).into()
}

impl ScramVerifier {
    /// Turns a password into a verifier. It is prepared as RFC 4013 says; one that cannot be is
    /// taken as it is.
    pub(super) fn of(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let text = std::str::from_utf8(password).ok();
        let prepared = text.and_then(|text| stringprep::saslprep(text).ok());
        let password = prepared.as_ref().map_or(password, |text| text.as_bytes());
        let salted = Zeroizing::new(pbkdf2::pbkdf2_hmac_array::<Sha256, KEY_BYTES>(
            password, salt, iterations,
        ));
        let client_key = Zeroizing::new(hmac(&*salted, &[b"Client Key"]));
        Self {
            iterations,
            salt: salt.into(),
            stored_key: sha256(&*client_key),
            server_key: hmac(&*salted, &[b"Server Key"]),
        }
    }

    /// Whether this is the verifier of `password`.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let found = Self::of(password, &self.salt, self.iterations);
        found.stored_key.ct_eq(&self.stored_key).into()
    }

    /// What a user that does not exist is asked with: the same at each try, so that the answer does
    /// not tell, and different in each process.
    fn of_nobody(username: &str, iterations: u32) -> Option<Self> {
        static SECRET: OnceLock<Option<Key>> = OnceLock::new();
        let secret = SECRET.get_or_init(|| {
            let mut secret = [0; KEY_BYTES];
            getrandom::fill(&mut secret).ok().map(|()| secret)
        });
        let name = username.as_bytes();
        let secret = secret.as_ref()?;
        Some(Self {
            iterations,
            salt: hmac(secret, &[b"salt", name])[..16].into(),
            stored_key: hmac(secret, &[b"stored", name]),
            server_key: hmac(secret, &[b"server", name]),
        })
    }
}

/// Why an exchange ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ScramProblem {
    /// The message is not what the RFC says.
    #[error("the client's message is not SCRAM")]
    Malformed,
    /// The client insists on channel binding.
    #[error("the client asks for channel binding, which is not offered")]
    ChannelBinding,
    /// The user does not exist, or the proof is wrong.
    #[error("the proof is wrong")]
    Proof,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

/// An exchange after its first message.
pub(super) struct Exchange {
    verifier: ScramVerifier,
    exists: bool,
    gs2_header: String,
    nonce: String,
    /// client-first-message-bare and server-first-message, as the proof covers them.
    said: String,
}

/// The client's first message.
pub(super) struct First<'a> {
    pub(super) username: String,
    gs2_header: &'a str,
    bare: &'a str,
    nonce: &'a str,
}

/// Reads the client's first message: `n,,n=user,r=nonce`.
pub(super) fn first(message: &[u8]) -> Result<First<'_>, ScramProblem> {
    let text = text(message)?;
    let mut parts = text.splitn(3, ',');
    let (binding, authzid, bare) = (parts.next(), parts.next(), parts.next());
    let (Some(binding), Some(authzid), Some(bare)) = (binding, authzid, bare) else {
        return Err(ScramProblem::Malformed);
    };
    match binding {
        // `y`: the client could bind and believes that we cannot, which is true.
        "n" | "y" => {}
        _ if binding.starts_with("p=") => return Err(ScramProblem::ChannelBinding),
        _ => return Err(ScramProblem::Malformed),
    }
    let gs2_header = &text[..text.len() - bare.len()];
    let mut attributes = bare.split(',');
    let username = attributes.next().and_then(|part| part.strip_prefix("n="));
    let nonce = attributes.next().and_then(|part| part.strip_prefix("r="));
    let (Some(username), Some(nonce)) = (username, nonce) else {
        return Err(ScramProblem::Malformed);
    };
    let username = decode_name(username)?;
    // To act for somebody else is not offered.
    let authzid = match authzid.strip_prefix("a=") {
        Some(name) => decode_name(name)?,
        None if authzid.is_empty() => username.clone(),
        None => return Err(ScramProblem::Malformed),
    };
    if nonce.is_empty() || username.is_empty() || authzid != username {
        return Err(ScramProblem::Malformed);
    }
    Ok(First {
        username,
        gs2_header,
        bare,
        nonce,
    })
}

fn text(message: &[u8]) -> Result<&str, ScramProblem> {
    let text = std::str::from_utf8(message).map_err(|_| ScramProblem::Malformed)?;
    if text.len() > MESSAGE_BYTES || text.contains('\0') {
        return Err(ScramProblem::Malformed);
    }
    Ok(text)
}

/// A saslname: `=2C` is a comma, `=3D` an equals sign, and neither stands for itself.
fn decode_name(name: &str) -> Result<String, ScramProblem> {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find('=') {
        out.push_str(&rest[..at]);
        match rest.get(at..at + 3) {
            Some("=2C") => out.push(','),
            Some("=3D") => out.push('='),
            _ => return Err(ScramProblem::Malformed),
        }
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    Ok(out)
}

impl Exchange {
    /// Answers the first message. `verifier` is the user's, `None` for one that does not exist;
    /// `iterations` are what such a one is asked with.
    pub(super) fn begin(
        first: &First<'_>,
        verifier: Option<&ScramVerifier>,
        iterations: u32,
    ) -> Result<(Self, String), ScramProblem> {
        let mut bytes = [0; NONCE_BYTES];
        getrandom::fill(&mut bytes).map_err(|_| ScramProblem::NoRandomness)?;
        Self::begin_with(first, verifier, iterations, &STANDARD.encode(bytes))
    }

    fn begin_with(
        first: &First<'_>,
        verifier: Option<&ScramVerifier>,
        iterations: u32,
        nonce: &str,
    ) -> Result<(Self, String), ScramProblem> {
        let exists = verifier.is_some();
        let verifier = match verifier {
            Some(verifier) => verifier.clone(),
            None => ScramVerifier::of_nobody(&first.username, iterations)
                .ok_or(ScramProblem::NoRandomness)?,
        };
        let nonce = format!("{}{nonce}", first.nonce);
        let answer = format!(
            "r={nonce},s={},i={}",
            STANDARD.encode(&verifier.salt),
            verifier.iterations
        );
        let exchange = Self {
            exists,
            gs2_header: STANDARD.encode(first.gs2_header),
            said: format!("{},{answer}", first.bare),
            nonce,
            verifier,
        };
        Ok((exchange, answer))
    }

    /// Judges the last message, and gives the answer that proves that we knew.
    pub(super) fn finish(self, message: &[u8]) -> Result<String, ScramProblem> {
        let text = text(message)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramProblem::Malformed)?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|part| part.strip_prefix("c="));
        let nonce = attributes.next().and_then(|part| part.strip_prefix("r="));
        // The nonce is what makes a recorded proof worthless.
        if binding != Some(&*self.gs2_header) || nonce != Some(&*self.nonce) {
            return Err(ScramProblem::Proof);
        }
        let proof: Key = STANDARD
            .decode(proof)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(ScramProblem::Malformed)?;
        let said: [&[u8]; 3] = [self.said.as_bytes(), b",", without_proof.as_bytes()];
        let signature = hmac(&self.verifier.stored_key, &said);
        let mut client_key = Zeroizing::new(proof);
        for (byte, mask) in client_key.iter_mut().zip(signature) {
            *byte ^= mask;
        }
        let right: bool = sha256(&*client_key).ct_eq(&self.verifier.stored_key).into();
        if !(right && self.exists) {
            return Err(ScramProblem::Proof);
        }
        let answer = hmac(&self.verifier.server_key, &said);
        Ok(format!("v={}", STANDARD.encode(answer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3: user `user`, password `pencil`.
    const CLIENT_FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn of_the_rfc() -> ScramVerifier {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        ScramVerifier::of(b"pencil", &salt, 4_096)
    }

    fn begun(verifier: Option<&ScramVerifier>) -> (Exchange, String) {
        let first = first(CLIENT_FIRST).expect("it is right");
        Exchange::begin_with(&first, verifier, 4_096, SERVER_NONCE).expect("random numbers")
    }

    #[test]
    fn the_exchange_of_the_rfc_comes_out_as_it_says() {
        let verifier = of_the_rfc();
        let (exchange, answer) = begun(Some(&verifier));
        assert_eq!(
            answer,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        assert_eq!(
            exchange.finish(CLIENT_FINAL.as_bytes()).as_deref(),
            Ok("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        );
        assert!(verifier.verify(b"pencil") && !verifier.verify(b"pencils"));
    }

    #[test]
    fn every_change_to_the_last_message_is_a_wrong_proof_or_no_message() {
        let verifier = of_the_rfc();
        for at in 0..CLIENT_FINAL.len() {
            let mut message = CLIENT_FINAL.as_bytes().to_vec();
            message[at] ^= 1;
            let (exchange, _) = begun(Some(&verifier));
            assert!(exchange.finish(&message).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_user_that_does_not_exist_is_asked_the_same_each_time_and_refused_at_the_end() {
        let (exchange, asked) = begun(None);
        assert_eq!(begun(None).1, asked);
        assert_eq!(
            exchange.finish(CLIENT_FINAL.as_bytes()),
            Err(ScramProblem::Proof)
        );
    }

    #[test]
    fn a_proof_is_good_for_its_own_exchange_alone() {
        let verifier = of_the_rfc();
        let first = first(CLIENT_FIRST).expect("it is right");
        let (exchange, _) = Exchange::begin(&first, Some(&verifier), 4_096).expect("random");
        assert_eq!(
            exchange.finish(CLIENT_FINAL.as_bytes()),
            Err(ScramProblem::Proof)
        );
    }

    #[test]
    fn first_messages_are_read_as_the_rfc_says() {
        let name = |message: &str| first(message.as_bytes()).map(|first| first.username);
        assert_eq!(name("n,,n=user,r=abc"), Ok("user".into()));
        assert_eq!(name("y,,n=a=2Cb=3Dc,r=abc,x=later"), Ok("a,b=c".into()));
        assert_eq!(name("n,a=user,n=user,r=abc"), Ok("user".into()));
        assert_eq!(
            name("p=tls-exporter,,n=user,r=abc"),
            Err(ScramProblem::ChannelBinding)
        );
        for wrong in [
            "",
            "n",
            "n,,",
            "n,,n=user",
            "n,,n=user,r=",
            "n,,n=,r=abc",
            "n,,r=abc,n=user",
            "n,,m=ext,n=user,r=abc",
            "n,a=other,n=user,r=abc",
            "n,user,n=user,r=abc",
            "x,,n=user,r=abc",
            "n,,n=us=er,r=abc",
            "n,,n=user=2,r=abc",
            "n,,n=us\0er,r=abc",
        ] {
            assert_eq!(name(wrong), Err(ScramProblem::Malformed), "{wrong:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(message in proptest::collection::vec(0_u8.., 0..200)) {
            let _ = first(&message);
            let (exchange, _) = begun(None);
            let _ = exchange.finish(&message);
        }
    }
}
